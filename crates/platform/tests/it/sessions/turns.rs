//! What a turn does, step by step.

use reeve_gate::model::ModelFailureKind;
use reeve_platform::sessions::{ForkSession, SessionError, SessionPatch};
use reeve_testkit::models::Scripted;
use reeve_types::model::{Block, ModelRole};
use reeve_types::session::{Happening, SessionState, TurnEnd};
use serde_json::json;

use super::{Talk, alice, end_of, kinds, said, scripted};
use crate::support::user;

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_answered_by_events_and_a_call_is_an_act_with_a_record() {
    let model = scripted([
        Scripted::Calls("Let me look.".to_owned(), vec![("c1".to_owned(), "look".to_owned(), json!({}))]),
        Scripted::Says("All is well.".to_owned()),
    ]);
    let talk = Talk::with(model.clone()).await;
    let session = talk.begin(&alice(), "How is the database?\nTell me.").await;
    assert_eq!(session.title, "How is the database?");
    let events = talk.to_the_end(&alice(), &session.id).await;
    assert_eq!(
        kinds(&events),
        [
            "created",
            "prompt",
            "turn_started",
            "model_asked",
            "message",
            "model_replied",
            "tool_called",
            "tool_finished",
            "model_asked",
            "message",
            "model_replied",
            "turn_ended"
        ]
    );
    assert_eq!(said(&events), ["Let me look.", "All is well."]);
    assert_eq!(end_of(&events), (TurnEnd::Completed, String::new()));
    let Some(Happening::ToolFinished { record: Some(record), content, .. }) =
        events.iter().map(|event| &event.what).find(|what| matches!(what, Happening::ToolFinished { .. }))
    else {
        panic!("the call has no record");
    };
    assert_eq!(content, "seen");
    let record = talk.platform.store().event(&alice().tenant, record).await.unwrap().unwrap();
    assert_eq!(record.event.session.id, session.id.to_string());
    let principal = record.event.principal.unwrap();
    assert_eq!((principal.label(), principal.root().label()), ("agent:database".to_owned(), "user:alice".to_owned()));

    let now = talk.sessions().get(&alice(), &session.id).await.unwrap();
    assert_eq!((now.state, now.usage.input_tokens, now.usage.output_tokens), (SessionState::Idle, 20, 10));
    let second = &model.asked()[1];
    assert!(matches!(&second.messages[2].blocks[0], Block::ToolResult { content, .. } if content == "seen"));
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_wait_for_their_turn_and_can_be_taken_back() {
    let model = scripted([Scripted::WaitsThenSays("one".to_owned()), Scripted::Says("three".to_owned())]);
    let talk = Talk::with(model.clone()).await;
    let session = talk.begin(&alice(), "first").await;
    let second = talk.sessions().prompt(&alice(), &session.id, "second").await.unwrap();
    let third = talk.sessions().prompt(&alice(), &session.id, "third").await.unwrap();
    assert_eq!((second.position, third.position), (1, 2));
    talk.sessions().drop_prompt(&alice(), &session.id, &second.prompt_id).await.unwrap();
    assert_eq!(talk.sessions().get(&alice(), &session.id).await.unwrap().queued, 1);
    model.release();
    let events = talk.until(&alice(), &session.id, |what| matches!(what, Happening::TurnEnded { turn: 2, .. })).await;
    assert_eq!(said(&events), ["one", "three"]);
    let again = talk.sessions().drop_prompt(&alice(), &session.id, &third.prompt_id).await.unwrap_err();
    assert!(matches!(again, SessionError::Problem { .. }), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_turn_ends_and_the_next_prompt_goes_on_from_there() {
    let model = scripted([Scripted::WaitsThenSays("never".to_owned()), Scripted::Says("again".to_owned())]);
    let talk = Talk::with(model.clone()).await;
    let session = talk.begin(&alice(), "first").await;
    talk.until(&alice(), &session.id, |what| matches!(what, Happening::ModelAsked { .. })).await;
    talk.sessions().cancel(&alice(), &session.id).await.unwrap();
    let events = talk.to_the_end(&alice(), &session.id).await;
    assert_eq!(end_of(&events).0, TurnEnd::Cancelled);
    assert!(talk.sessions().cancel(&alice(), &session.id).await.is_err(), "nothing is in flight");
    talk.sessions().prompt(&alice(), &session.id, "second").await.unwrap();
    let events = talk.until(&alice(), &session.id, |what| matches!(what, Happening::TurnEnded { turn: 2, .. })).await;
    assert_eq!(said(&events), ["again"]);
    let last = model.asked().pop().unwrap();
    assert!(last.messages.iter().all(|message| message.role == ModelRole::User), "{:?}", last.messages);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_gets_wrong_is_told_to_it_and_a_loop_is_broken() {
    let missing = || Scripted::call("c", "no_such_tool", json!({}));
    let model =
        scripted([Scripted::call("c0", "look", json!("no object")), missing(), missing(), missing(), missing()]);
    let talk = Talk::with(model.clone()).await;
    let session = talk.begin(&alice(), "go").await;
    let events = talk.to_the_end(&alice(), &session.id).await;
    let (end, reason) = end_of(&events);
    assert_eq!(end, TurnEnd::LimitReached, "{reason}");
    assert!(reason.contains("no_such_tool"), "{reason}");
    let results: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.what {
            Happening::ToolFinished { is_error: true, content, .. } => Some(content.as_str()),
            _ => None,
        })
        .collect();
    assert!(results[0].contains("no JSON object") && results[1].contains("there is no tool"), "{results:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_fails_ends_the_turn_in_words_and_the_session_can_go_on() {
    let failed = Scripted::Fails(ModelFailureKind::Limited, "the provider is overloaded; try again".to_owned());
    let model = scripted([failed, Scripted::Says("better".to_owned())]);
    let talk = Talk::with(model.clone()).await;
    let session = talk.begin(&alice(), "first").await;
    let events = talk.to_the_end(&alice(), &session.id).await;
    assert_eq!(end_of(&events), (TurnEnd::Failed, "the provider is overloaded; try again".to_owned()));
    assert_eq!(talk.state(&alice(), &session.id).await, SessionState::Failed);
    talk.sessions().prompt(&alice(), &session.id, "again").await.unwrap();
    let events = talk.until(&alice(), &session.id, |what| matches!(what, Happening::TurnEnded { turn: 2, .. })).await;
    assert_eq!(said(&events), ["better"]);
    assert_eq!(talk.state(&alice(), &session.id).await, SessionState::Idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_claims_what_no_record_shows_is_marked() {
    let model = scripted([Scripted::Says("I terminated the blocking session.".to_owned())]);
    let talk = Talk::with(model).await;
    let session = talk.begin(&alice(), "free the lock").await;
    let events = talk.to_the_end(&alice(), &session.id).await;
    let claims: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.what {
            Happening::ClaimUnproven { claim, reason, .. } => Some((claim.as_str(), reason.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(claims, [("I terminated the blocking session.", "by its words; no call in this turn succeeded")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_held_against_the_calls_that_succeeded() {
    let model =
        scripted([Scripted::call("c1", "look", json!({})), Scripted::Says("I restarted the server.".to_owned())]);
    let talk = Talk::with(model).await;
    let session = talk.begin(&alice(), "look").await;
    let events = talk.to_the_end(&alice(), &session.id).await;
    let marked = events.iter().filter(|event| matches!(event.what, Happening::ClaimUnproven { .. })).count();
    assert_eq!(marked, 1, "{events:#?}");
    let reason = events.iter().find_map(|event| match &event.what {
        Happening::ClaimUnproven { reason, .. } => Some(reason.as_str()),
        _ => None,
    });
    assert_eq!(reason, Some("by its words; the calls that succeeded in this turn are look"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_shares_the_past_and_nothing_else() {
    let model = scripted([
        Scripted::Says("the first answer".to_owned()),
        Scripted::Says("the second answer".to_owned()),
        Scripted::Says("another second answer".to_owned()),
    ]);
    let talk = Talk::with(model.clone()).await;
    let session = talk.begin(&alice(), "one").await;
    let first = talk.to_the_end(&alice(), &session.id).await;
    talk.sessions().prompt(&alice(), &session.id, "two").await.unwrap();
    talk.until(&alice(), &session.id, |what| matches!(what, Happening::TurnEnded { turn: 2, .. })).await;

    let at = first.last().unwrap().seq;
    let wanted = ForkSession { at: Some(at), prompt: Some("another two".to_owned()), title: None };
    let fork = talk.sessions().fork(&alice(), &session.id, wanted).await.unwrap();
    assert_eq!((fork.parent.as_ref(), fork.title.as_str()), (Some(&session.id), "one (fork)"));
    let mut ends = 0;
    let events = {
        let counted = std::sync::Mutex::new(&mut ends);
        talk.until(&alice(), &fork.id, |what| {
            let mut ends = counted.lock().unwrap();
            **ends += usize::from(matches!(what, Happening::TurnEnded { .. }));
            **ends == 2
        })
        .await
    };
    assert_eq!(said(&events), ["the first answer", "another second answer"]);
    let asked = model.asked().pop().unwrap();
    let words: Vec<_> = asked
        .messages
        .iter()
        .flat_map(|message| &message.blocks)
        .filter_map(|block| match block {
            Block::Text { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(words, ["one", "the first answer", "another two"]);
    let beyond = ForkSession { at: Some(10_000), ..ForkSession::default() };
    assert!(talk.sessions().fork(&alice(), &session.id, beyond).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_session_is_closed_until_it_is_resumed() {
    let model = scripted([Scripted::WaitsThenSays("never".to_owned()), Scripted::Says("back".to_owned())]);
    let talk = Talk::with(model).await;
    let session = talk.begin(&alice(), "first").await;
    talk.sessions().prompt(&alice(), &session.id, "second").await.unwrap();
    talk.until(&alice(), &session.id, |what| matches!(what, Happening::ModelAsked { .. })).await;
    let closed = talk.sessions().kill(&alice(), &session.id, "enough").await.unwrap();
    assert_eq!((closed.state, closed.reason.as_str(), closed.queued), (SessionState::Closed, "enough", 0));
    assert!(talk.sessions().prompt(&alice(), &session.id, "third").await.is_err());
    assert!(talk.sessions().kill(&alice(), &session.id, "").await.is_err());
    talk.sessions().resume(&alice(), &session.id).await.unwrap();
    talk.sessions().prompt(&alice(), &session.id, "fourth").await.unwrap();
    let events = talk.until(&alice(), &session.id, |what| matches!(what, Happening::TurnEnded { turn: 2, .. })).await;
    assert_eq!(said(&events), ["back"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_session_is_not_there() {
    let talk = Talk::with(scripted([Scripted::Says("hello".to_owned())])).await;
    let session = talk.begin(&alice(), "hi").await;
    let mut elsewhere = user("alice", &["admin"]);
    elsewhere.tenant = "other".parse().unwrap();
    let (sessions, id) = (talk.sessions(), &session.id);
    for stranger in [user("bob", &["dba"]), elsewhere] {
        let gone = |result: Result<(), SessionError>| {
            assert!(matches!(result, Err(SessionError::NoSuchSession(_))), "{result:?}");
        };
        gone(sessions.get(&stranger, id).await.map(drop));
        gone(sessions.prompt(&stranger, id, "x").await.map(drop));
        gone(sessions.cancel(&stranger, id).await);
        gone(sessions.kill(&stranger, id, "").await.map(drop));
        gone(sessions.resume(&stranger, id).await.map(drop));
        gone(sessions.fork(&stranger, id, ForkSession::default()).await.map(drop));
        gone(sessions.patch(&stranger, id, SessionPatch::default()).await.map(drop));
        gone(sessions.follow(&stranger, id, 0).await.map(drop));
        gone(sessions.events(&stranger, id, 0, 10).await.map(drop));
        gone(sessions.share(&stranger, id, std::time::Duration::from_secs(60)).await.map(drop));
        gone(sessions.answer(&stranger, id, None, true, "", false).await.map(drop));
        assert!(sessions.list(&stranger, Default::default()).await.unwrap().sessions.is_empty());
    }
    assert_eq!(sessions.list(&user("root", &["admin"]), Default::default()).await.unwrap().sessions.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_link_reads_until_it_is_taken_back() {
    let talk = Talk::with(scripted([Scripted::Says("hello".to_owned())])).await;
    let session = talk.begin(&alice(), "hi").await;
    talk.to_the_end(&alice(), &session.id).await;
    let shared = talk.sessions().share(&alice(), &session.id, std::time::Duration::from_secs(60)).await.unwrap();
    let (seen, mut feed) = talk.sessions().shared(&shared.token, 0).await.unwrap();
    assert_eq!(seen.id, session.id);
    assert_eq!(feed.next().await.unwrap().seq, 1);
    assert_eq!(talk.sessions().unshare(&alice(), &session.id).await.unwrap(), 1);
    assert!(talk.sessions().shared(&shared.token, 0).await.is_err());
    let shared = talk.sessions().share(&alice(), &session.id, std::time::Duration::from_secs(60)).await.unwrap();
    talk.house.clock.forward(std::time::Duration::from_secs(61));
    assert!(talk.sessions().shared(&shared.token, 0).await.is_err(), "it has expired");
}
