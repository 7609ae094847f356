//! Agents that do not keep to the protocol: wrong ids, answers twice, never or too late, requests nobody knows.

use std::time::Duration;

use reeve_agents::acp::{AcpError, Choice, End, Options, ProtocolWarning, StopReason};
use serde_json::{Value, json};

use crate::script::{Ear, Heard, SOON, connected, opening, options, plainly, prompted};

#[tokio::test]
async fn ids_of_every_type_come_back_as_they_came() {
    let (ear, _mind) = Ear::new();
    let (_connection, mut agent) = plainly(&ear).await;
    let ids = [
        "7",
        "\"7\"",
        "null",
        "1.0",
        "1e3",
        "-0",
        "123456789012345678901234567890",
        "true",
        "[1]",
        "{\"a\":null}",
        "\"\\u00fc\\n\"",
        "18446744073709551615",
    ];
    for id in ids {
        agent.raw(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"no/such\"}}\n").as_bytes()).await;
        let line = agent.hear_line().await;
        let expected = format!("\"id\":{id},\"error\":{{\"code\":-32601,");
        assert!(line.contains(&expected), "{id}: {line}");
    }
    // Behind a length an id may hold line breaks; they may not come back.
    let body = "{\"jsonrpc\":\"2.0\",\"id\":[\n1],\"method\":\"no/such\"}";
    agent.raw(format!("Content-Length: {}\n\n{body}", body.len()).as_bytes()).await;
    assert!(agent.hear_line().await.contains("\"id\":[1],"));
}

#[tokio::test]
async fn answers_that_nobody_asked_for_and_second_answers_are_ignored() {
    let (ear, mut mind) = Ear::new();
    let (connection, mut agent) = plainly(&ear).await;
    let (turn, id) = prompted(&connection, &mut agent).await;
    for stranger in [json!(99), json!(0), json!(-1), json!("1"), json!(null), json!(id.as_f64())] {
        agent.answer(&stranger, json!({"stopReason": "refusal"})).await;
    }
    agent.answer(&id, json!({"stopReason": "end_turn"})).await;
    agent.answer(&id, json!({"stopReason": "refusal"})).await;
    agent.say(json!({"jsonrpc": "2.0", "id": id, "error": {"code": 1, "message": "no"}})).await;
    assert_eq!(turn.await.expect("no panic"), Ok(StopReason::EndTurn));
    assert!(matches!(mind.warning().await, ProtocolWarning::UnknownAnswer(id) if id == "99"));
    assert!(matches!(mind.warning().await, ProtocolWarning::RepeatedAnswer(number) if json!(number) == id));
    let (turn, id) = prompted(&connection, &mut agent).await;
    agent.answer(&id, json!({"stopReason": "max_tokens"})).await;
    assert_eq!(turn.await.expect("no panic"), Ok(StopReason::MaxTokens));
    let counts = connection.counts();
    assert_eq!((counts.unknown_answers, counts.repeated_answers), (6, 2));
    assert!(mind.is_silent(), "each kind is told once");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_never_answers_times_out_and_may_answer_later() {
    let (ear, mut mind) = Ear::new();
    let soon = Duration::from_secs(3);
    let (connection, mut agent) = connected(&ear, Options { answer_within: soon, ..options() }, json!({})).await;
    let failed = connection.authenticate("key").await.expect_err("no answer");
    assert_eq!(failed, AcpError::TimedOut { method: "authenticate", after: soon });
    let (id, _) = agent.hear_request("authenticate").await;
    agent.answer(&id, json!({})).await;
    let (turn, id) = prompted(&connection, &mut agent).await;
    agent.answer(&id, json!({"stopReason": "end_turn"})).await;
    assert_eq!(turn.await.expect("no panic"), Ok(StopReason::EndTurn));
    assert_eq!(connection.counts().late_answers, 1);
    assert!(mind.is_silent(), "a late answer is no offence");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_never_introduces_itself_is_given_up() {
    let (opening, _agent) = opening(options());
    let failed = opening.await.expect("no panic").err().expect("no connection");
    assert_eq!(failed, AcpError::TimedOut { method: "initialize", after: SOON });
}

#[tokio::test]
async fn an_agent_of_another_version_or_without_sense_is_refused() {
    for (answer, expected) in [
        (json!({"protocolVersion": 2}), "version 2"),
        (json!({"protocolVersion": 0}), "version 0"),
        (json!({}), "cannot be used"),
        (json!(null), "cannot be used"),
        (json!("yes"), "cannot be used"),
    ] {
        let (opening, mut agent) = opening(options());
        let (id, _) = agent.hear_request("initialize").await;
        agent.answer(&id, answer.clone()).await;
        let failed = opening.await.expect("no panic").err().expect("no connection").to_string();
        assert!(failed.contains(expected), "{answer}: {failed}");
    }
}

#[tokio::test]
async fn a_turn_that_ends_after_it_was_cancelled_ends() {
    let (ear, mut mind) = Ear::new();
    let (connection, mut agent) = plainly(&ear).await;
    let (turn, prompt) = prompted(&connection, &mut agent).await;
    let question = json!({"sessionId": "s", "toolCall": {"toolCallId": "t"},
        "options": [{"optionId": "a", "name": "Yes", "kind": "allow_once"}]});
    agent.ask(json!("q"), "session/request_permission", question).await;
    let (_, answer) = mind.question().await;
    connection.cancel("s").await.expect("told");
    let notice = agent.hear().await;
    assert_eq!((&notice["method"], notice.get("id")), (&json!("session/cancel"), None), "it is a notification");
    let void = agent.hear().await;
    assert_eq!(void, json!({"jsonrpc": "2.0", "id": "q", "result": {"outcome": {"outcome": "cancelled"}}}));
    assert!(matches!(mind.next().await, Heard::Withdrawn(id) if id == "t"));
    assert!(answer.send(Choice::AllowOnce).is_err(), "an answer after that is nobody's");
    agent.update(json!({"sessionUpdate": "tool_call", "toolCallId": "t2", "title": "late"})).await;
    mind.update().await;
    agent.answer(&prompt, json!({"stopReason": "cancelled"})).await;
    assert_eq!(turn.await.expect("no panic"), Ok(StopReason::Cancelled));
}

#[tokio::test]
async fn an_agent_may_take_its_own_request_back() {
    let (ear, mut mind) = Ear::new();
    let (_connection, mut agent) = plainly(&ear).await;
    let question = json!({"sessionId": "s", "toolCall": {"toolCallId": "t"}, "options": []});
    agent.ask(json!(5), "session/request_permission", question).await;
    agent.ask(json!("5"), "terminal/wait_for_exit", json!({"sessionId": "s", "terminalId": "x"})).await;
    let (_, _answer) = mind.question().await;
    let take_back = |id: Value| json!({"jsonrpc": "2.0", "method": "$/cancel_request", "params": {"requestId": id}});
    agent.say(take_back(json!("5"))).await;
    let answer = agent.hear().await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("5"), &json!(-32800)));
    agent.say(take_back(json!(5))).await;
    assert_eq!(agent.hear().await["result"]["outcome"]["outcome"], "cancelled");
}

#[tokio::test]
async fn more_requests_than_allowed_are_refused_and_the_others_are_served() {
    let (ear, mut mind) = Ear::new();
    let (_connection, mut agent) = connected(&ear, Options { requests_max: 3, ..options() }, json!({})).await;
    let options = json!([{"optionId": "a", "name": "Yes", "kind": "allow_once"}]);
    for number in 0..5 {
        let question = json!({"sessionId": "s", "toolCall": {"toolCallId": format!("t{number}")}, "options": options});
        agent.ask(json!(number), "session/request_permission", question).await;
    }
    for _ in 0..2 {
        let refused = agent.hear().await;
        assert!(refused["id"].as_i64() >= Some(3) && refused["error"]["code"] == -32603, "{refused}");
    }
    let mut questions = Vec::new();
    while questions.len() < 3 {
        match mind.next().await {
            Heard::Question(_, answer) => questions.push(answer),
            Heard::Warning(ProtocolWarning::TooManyRequests(3)) => {}
            other => panic!("{other:?}"),
        }
    }
    for answer in questions {
        answer.send(Choice::AllowOnce).expect("it waits");
    }
    for _ in 0..3 {
        assert_eq!(agent.hear().await["result"]["outcome"]["optionId"], "a");
    }
}

#[tokio::test]
async fn open_requests_hold_only_so_many_bytes() {
    let (ear, mut mind) = Ear::new();
    let (_connection, mut agent) = connected(&ear, Options { frame_bytes_max: 10_000, ..options() }, json!({})).await;
    for number in 0..5 {
        let call = json!({"toolCallId": format!("t{number}"), "rawInput": "x".repeat(9_000)});
        let question = json!({"sessionId": "s", "toolCall": call, "options": []});
        agent.ask(json!(number), "session/request_permission", question).await;
    }
    for refused in 3..5 {
        let told = agent.hear().await;
        assert_eq!((&told["id"], &told["error"]["code"]), (&json!(refused), &json!(-32603)), "{told}");
    }
    let mut open = 0;
    while open < 3 {
        match mind.next().await {
            Heard::Question(..) => open += 1,
            Heard::Warning(ProtocolWarning::TooManyRequests(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn notifications_that_nobody_knows_are_ignored() {
    let (ear, mut mind) = Ear::new();
    let (connection, mut agent) = plainly(&ear).await;
    for method in ["_vendor/thing", "$/progress", "session/unheard_of", "terminal/event"] {
        agent.say(json!({"jsonrpc": "2.0", "method": method, "params": {}})).await;
    }
    let (turn, id) = prompted(&connection, &mut agent).await;
    agent.answer(&id, json!({"stopReason": "a reason of its own"})).await;
    assert_eq!(turn.await.expect("no panic"), Ok(StopReason::Other("a reason of its own".to_owned())));
    assert_eq!(connection.counts().unknown_notifications, 2);
    assert!(
        matches!(mind.warning().await, ProtocolWarning::UnknownNotification(method) if method == "session/unheard_of")
    );
    assert!(mind.is_silent());
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_reads_nothing_has_an_end() {
    let (ear, _mind) = Ear::new();
    let (connection, agent) = plainly(&ear).await;
    let prompt = vec![reeve_agents::acp::ContentBlock::text("x".repeat(1_000_000))];
    let failed = connection.prompt("s", prompt).await.expect_err("nobody reads it");
    assert_eq!(failed, AcpError::Ended { why: End::NotReading(SOON) });
    drop(agent);
}

#[tokio::test]
async fn errors_of_the_agent_are_told_in_its_words_and_without_its_control_characters() {
    let (ear, _mind) = Ear::new();
    let (connection, mut agent) = plainly(&ear).await;
    for (error, expected) in [
        (json!({"code": -32000, "message": "log in"}), "signed in: log in"),
        (json!({"code": -32603, "message": "bad\u{1b}[31m thing\n"}), "error -32603: bad [31m thing "),
        (json!({"message": 7}), "error -32603: it gives no reason"),
        (json!("oops"), "error -32603: it gives no reason"),
    ] {
        let (turn, id) = prompted(&connection, &mut agent).await;
        agent.say(json!({"jsonrpc": "2.0", "id": id, "error": error})).await;
        let failed = turn.await.expect("no panic").expect_err("refused").to_string();
        assert!(failed.contains(expected), "{failed}");
    }
}

#[tokio::test]
async fn giving_the_connection_up_withdraws_what_the_agent_asks() {
    let (ear, mut mind) = Ear::new();
    let (connection, mut agent) = plainly(&ear).await;
    let question = json!({"sessionId": "s", "toolCall": {"toolCallId": "t"}, "options": []});
    agent.ask(json!(1), "session/request_permission", question).await;
    let (_, _answer) = mind.question().await;
    drop(connection);
    assert!(matches!(mind.next().await, Heard::Withdrawn(id) if id == "t"));
    assert!(agent.hears_nothing_more().await);
}
