//! The server ends at each step of a turn, and starts again.

use std::sync::Arc;

use reeve_testkit::models::Scripted;
use reeve_types::session::{Happening, SessionState, TurnEnd};
use serde_json::json;

use super::{Talk, alice, end_of, kinds, said, scripted};
use crate::support::user;

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_still_answers_after_a_restart_and_the_act_happens_once() {
    let talk = Talk::with(scripted([Scripted::call("c1", "change", json!({}))])).await;
    let session = talk.begin(&alice(), "change it").await;
    let events = talk.until(&alice(), &session.id, |what| matches!(what, Happening::ToolWaiting { .. })).await;
    let Happening::ToolWaiting { approval_id, .. } = events.last().unwrap().what.clone() else { panic!() };
    let left = talk.crash().await;

    let model = scripted([Scripted::Says("It is changed.".to_owned())]);
    let talk = Talk::again(left, model.clone()).await;
    assert_eq!(talk.state(&alice(), &session.id).await, SessionState::Waiting);
    talk.platform.approve(&user("bob", &["dba"]), &approval_id, "yes", None).await.unwrap();
    let events = talk.to_the_end(&alice(), &session.id).await;
    assert_eq!(end_of(&events).0, TurnEnd::Completed);
    assert_eq!(talk.house.tool.runs(), 1);
    assert_eq!(said(&events), ["It is changed."]);
    let counted = |kind: &str| kinds(&events).iter().filter(|seen| **seen == kind).count();
    assert_eq!((counted("tool_called"), counted("tool_waiting"), counted("tool_finished")), (1, 1, 1));
    assert_eq!(model.asked().len(), 1, "the answer that was there was not bought again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_given_while_nobody_waits_is_found_done() {
    let talk = Talk::with(scripted([Scripted::call("c1", "change", json!({}))])).await;
    let session = talk.begin(&alice(), "change it").await;
    let events = talk.until(&alice(), &session.id, |what| matches!(what, Happening::ToolWaiting { .. })).await;
    let Happening::ToolWaiting { approval_id, action_id, .. } = events.last().unwrap().what.clone() else { panic!() };
    let left = talk.crash().await;

    // A server without sessions carries the act out; then one with sessions goes on.
    let house = crate::support::House::on(left.0, left.1, super::plan()).await;
    house.platform.approve(&user("bob", &["dba"]), &approval_id, "yes", None).await.unwrap();
    house.reaches(&action_id, reeve_types::ActionState::Succeeded).await;
    assert_eq!(house.tool.runs(), 1);
    let left = house.end().await;

    let talk = Talk::again(left, scripted([Scripted::Says("It is changed.".to_owned())])).await;
    let events = talk.to_the_end(&alice(), &session.id).await;
    assert_eq!((end_of(&events).0, talk.house.tool.runs()), (TurnEnd::Completed, 0), "it was not done again");
    assert_eq!(said(&events), ["It is changed."]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_cut_off_at_any_event_goes_on_and_nothing_happens_twice() {
    // However the turn is cut, the database of each round is as a crash leaves it.
    let script = || {
        [
            Scripted::call("c1", "look", json!({})),
            Scripted::call("c2", "change", json!({})),
            Scripted::Says("Looked, and changed.".to_owned()),
        ]
    };
    let all = {
        let talk = Talk::with(reeve_testkit::models::ScriptedModels::by_place(script())).await;
        let session = talk.begin(&alice(), "go").await;
        approve_when_asked(&talk, &session.id).await;
        kinds(&talk.to_the_end(&alice(), &session.id).await).len()
    };
    for cut in 3..all as u64 + 1 {
        let model = reeve_testkit::models::ScriptedModels::by_place(script());
        let talk = Talk::with(model.clone()).await;
        let session = talk.begin(&alice(), "go").await;
        let seen = {
            let reached = std::sync::atomic::AtomicU64::new(0);
            let stop_at = |what: &Happening| {
                let n = reached.fetch_add(u64::from(what.as_str() != "delta"), std::sync::atomic::Ordering::SeqCst) + 1;
                n >= cut || matches!(what, Happening::TurnEnded { .. } | Happening::ToolWaiting { .. })
            };
            talk.until(&alice(), &session.id, stop_at).await
        };
        let first = std::sync::Arc::clone(&talk.house.tool);
        let left = talk.crash().await;
        let asked_before = model.asked().len();

        let talk = Talk::again(left, model.clone() as Arc<dyn reeve_gate::model::Models>).await;
        approve_when_asked(&talk, &session.id).await;
        let events = talk.to_the_end(&alice(), &session.id).await;
        assert!(events.len() >= seen.len(), "nothing that was told is lost");
        assert_eq!(&events[..seen.len()], &seen[..], "what was told is what is there");
        let done = first.runs() + talk.house.tool.runs();
        assert_eq!(done, 1, "cut at event {cut}: the change happened {done} times");
        let asked = events.iter().filter(|event| matches!(event.what, Happening::ModelReplied { .. })).count();
        assert!(asked <= 3 && asked_before <= 3, "cut at event {cut}: {asked} answers");
    }
}

/// Says yes to the question of a session, unless its turn has ended.
async fn approve_when_asked(talk: &Talk, id: &reeve_types::SessionId) {
    let events = talk
        .until(&alice(), id, |what| matches!(what, Happening::ToolWaiting { .. } | Happening::TurnEnded { .. }))
        .await;
    if let Happening::ToolWaiting { approval_id, .. } = &events.last().unwrap().what {
        talk.platform.approve(&user("bob", &["dba"]), approval_id, "yes", None).await.unwrap();
    }
}
