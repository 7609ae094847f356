//! What an agent says it did, held against what it did.

use reeve_platform::journeys::JourneyQuery;
use reeve_store::EventFilter;
use reeve_testkit::models::Scripted;
use reeve_types::event::VerificationPart;
use reeve_types::session::{Happening, SessionEvent};
use reeve_types::{EventId, EventType};
use serde_json::{Value, json};

use super::{Talk, alice, scripted};
use crate::support::user;

const STATE: &str = "state_what_was_done";

fn state(id: &str, entries: Value) -> Scripted {
    Scripted::call(id, STATE, json!({"entries": entries}))
}

fn change() -> Scripted {
    Scripted::call("c1", "change", json!({"pid": 4711}))
}

/// Sentences that were marked, why, whether they were stated, and the record.
fn marks(events: &[SessionEvent]) -> Vec<(&str, &str, bool, Option<&EventId>)> {
    let marks = events.iter().filter_map(|event| match &event.what {
        Happening::ClaimUnproven { claim, reason, stated, record, .. } => {
            Some((claim.as_str(), reason.as_str(), *stated, record.as_ref()))
        }
        _ => None,
    });
    marks.collect()
}

/// Answers the one question of a session as bob.
async fn answer(talk: &Talk, id: &reeve_types::SessionId, yes: bool) -> Vec<SessionEvent> {
    let events = talk.until(&alice(), id, |what| matches!(what, Happening::ToolWaiting { .. })).await;
    let Happening::ToolWaiting { approval_id, .. } = &events.last().unwrap().what else { unreachable!("waited for") };
    let bob = user("bob", &["dba"]);
    if yes {
        talk.platform.approve(&bob, approval_id, "go ahead", None).await.unwrap();
    } else {
        talk.platform.deny(&bob, approval_id, "not today").await.unwrap();
    }
    talk.to_the_end(&alice(), id).await
}

async fn verifications(talk: &Talk) -> Vec<(VerificationPart, String)> {
    let filter = EventFilter { types: vec![EventType::DelegationVerification], limit: 10, ..EventFilter::default() };
    let page = talk.platform.store().events(&alice().tenant, filter).await.unwrap();
    let told = page.events.into_iter().map(|stored| {
        let status = stored.event.outcome.map(|outcome| outcome.status).unwrap_or_default();
        (*stored.event.delegation_verification.unwrap(), status)
    });
    told.collect()
}

/// Whether the only journey of the agent has a mismatch, and how it ended.
async fn journey(talk: &Talk) -> (bool, &'static str) {
    let query = JourneyQuery { trace_id_prefix: Some("ses_".to_owned()), limit: 10, ..JourneyQuery::default() };
    let journeys = talk.platform.journeys(&alice().tenant, query).await.unwrap();
    let [journey] = journeys.as_slice() else { panic!("{journeys:#?}") };
    (journey.has_mismatch, journey.outcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stated_and_was_done_is_borne_out_and_recorded() {
    let model = scripted([
        change(),
        state("c2", json!([{"did": "Ended 4711.", "act": "1-1", "target": "4711", "outcome": "succeeded"}])),
        Scripted::Says("I terminated it.".to_owned()),
    ]);
    let talk = Talk::with(model.clone()).await;
    let session = talk.begin(&alice(), "free the lock").await;
    let events = answer(&talk, &session.id, true).await;
    assert_eq!(marks(&events), [], "what was stated counts, not how the answer is worded");
    let asked = model.asked();
    assert!(asked[0].system.contains(STATE) && asked[0].tools.iter().any(|tool| tool.name == STATE));
    let told = serde_json::to_string(&asked[1].messages).unwrap();
    assert!(told.contains("[act 1-1]\\nchanged"), "by this number it can be stated: {told}");
    let told = serde_json::to_string(&asked[2].messages).unwrap();
    assert!(told.contains("The record bears out all 1 entries."), "{told}");

    let all = verifications(&talk).await;
    let [(found, status)] = all.as_slice() else { panic!("{all:#?}") };
    assert_eq!((found.by.as_str(), found.mismatch, status.as_str()), ("statement", false, "verified"));
    assert_eq!(
        (&found.tools_confirmed[..], &found.write_confirmed[..]),
        (&["change".to_owned()][..], &["change".to_owned()][..])
    );
    let claim = &found.claims[0];
    let record = claim.record.as_ref().expect("the claim leads to the act's record");
    let record = talk.platform.store().event(&alice().tenant, record).await.unwrap().unwrap().event;
    assert_eq!((record.event_type, record.action_id), (EventType::ToolExecution, claim.action_id.clone()));
    assert!(!journey(&talk).await.0);
    assert_eq!(talk.sessions().counts().claims()[0], ("stated_borne_out", 1));
    assert!(talk.sessions().counts().mismatches().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_contradicts_the_outcome_is_marked_recorded_and_counted() {
    let stated = json!([{"did": "Ended 4711.", "act": "1-1", "outcome": "succeeded"}]);
    let model = scripted([change(), state("c2", stated), Scripted::Says("All is well.".to_owned())]);
    let talk = Talk::with(model.clone()).await;
    let session = talk.begin(&alice(), "free the lock").await;
    let events = answer(&talk, &session.id, false).await;
    let marked = marks(&events);
    let [(claim, reason, true, Some(record))] = marked.as_slice() else { panic!("{marked:?}") };
    assert_eq!((*claim, *reason), ("Ended 4711.", "act 1-1 was denied, not succeeded"));
    let told = serde_json::to_string(&model.asked()[2].messages).unwrap();
    assert!(told.contains("act 1-1 was denied, not succeeded"), "it is told so that it can correct itself: {told}");
    let record = talk.platform.store().event(&alice().tenant, record).await.unwrap().unwrap().event;
    let found = record.delegation_verification.expect("the record of the verification");
    assert_eq!(record.outcome.map(|outcome| outcome.status).as_deref(), Some("unverified_claim"));
    assert!(found.mismatch && found.mismatch_reason.contains("was denied") && found.write_confirmed.is_empty());
    assert_eq!(journey(&talk).await, (true, "unverified_claim"));
    assert_eq!(talk.sessions().counts().claims()[1], ("stated_unproven", 1));
    assert_eq!(talk.sessions().counts().mismatches(), [("database".to_owned(), "write", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_was_corrected_is_not_held_against_the_agent() {
    let entry = |outcome: &str| json!([{"did": "Ended 4711.", "tool": "change", "target": "4711", "outcome": outcome}]);
    let script =
        [change(), state("c2", entry("succeeded")), state("c3", entry("denied")), Scripted::Says("No.".to_owned())];
    let talk = Talk::with(scripted(script)).await;
    let session = talk.begin(&alice(), "free the lock").await;
    let events = answer(&talk, &session.id, false).await;
    assert_eq!(marks(&events), []);
    assert_eq!(verifications(&talk).await.len(), 1, "the last one counts");
    assert!(!journey(&talk).await.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_called_cannot_be_stated_and_words_are_a_last_net() {
    let invented = json!([{"did": "Restarted it.", "tool": "restart_server", "outcome": "succeeded"}]);
    let model = scripted([
        state("c1", invented),
        Scripted::Says("Done.".to_owned()),
        Scripted::Says("I have deleted the table.".to_owned()),
        Scripted::Says("Ich habe die Tabelle gelöscht.".to_owned()),
    ]);
    let talk = Talk::with(model).await;
    let session = talk.begin(&alice(), "one").await;
    let events = talk.to_the_end(&alice(), &session.id).await;
    assert_eq!(marks(&events)[0].1, "no call of this turn was `restart_server`");

    for (turn, marked) in [(2, 2), (3, 2)] {
        talk.sessions().prompt(&alice(), &session.id, "go on").await.unwrap();
        let events = talk
            .until(&alice(), &session.id, |what| matches!(what, Happening::TurnEnded { turn: of, .. } if *of == turn))
            .await;
        // The net knows no German, and nobody is told that it does.
        assert_eq!(marks(&events).len(), marked, "{:?}", marks(&events));
    }
    let all = verifications(&talk).await;
    let by: Vec<&str> = all.iter().map(|(found, _)| found.by.as_str()).collect();
    assert_eq!(by, ["words", "statement"], "newest first");
    let query = JourneyQuery { trace_id_prefix: Some("ses_".to_owned()), limit: 10, ..JourneyQuery::default() };
    let journeys = talk.platform.journeys(&alice().tenant, query).await.unwrap();
    assert!(
        journeys.iter().filter(|one| one.has_mismatch).count() == 2,
        "also where nothing else was recorded: {journeys:#?}"
    );
}
