//! Sessions and turns with an agent that behaves: every method and every kind of update.

use std::sync::Arc;

use reeve_agents::acp::{
    AcpError, Choice, ContentBlock, McpServer, PermissionKind, PlanPriority, PlanStatus, SessionRequest, StopReason,
    TextChange, ToolContent, ToolKind, ToolStatus, Update,
};
use reeve_types::secret::SecretString;
use serde_json::{Value, json};

use crate::script::{Agent, Ear, connected, options, plainly, prompted};

/// Whether an update was read as it should be.
type Expected = Box<dyn Fn(&Update) -> bool>;

fn request() -> SessionRequest {
    SessionRequest { cwd: "/workspace".to_owned(), ..SessionRequest::default() }
}

async fn answered(agent: &mut Agent, method: &str, result: Value) -> Value {
    let (id, params) = agent.hear_request(method).await;
    agent.answer(&id, result).await;
    params
}

#[tokio::test]
async fn an_agent_says_what_it_can_and_what_it_cannot_is_not_asked() {
    let (ear, _mind) = Ear::new();
    let capabilities = json!({"loadSession": true, "promptCapabilities": {"image": true},
        "sessionCapabilities": {"resume": {}, "close": {}}, "mcpCapabilities": {"http": true}});
    let (connection, _agent) = connected(&ear, options(), capabilities).await;
    let info = connection.info();
    assert_eq!((info.name.as_deref(), info.auth_methods[0].id.as_str()), (Some("script"), "key"));
    assert!(info.loads_sessions && info.resumes_sessions && info.closes_sessions);
    assert!(info.takes_images && !info.takes_audio && info.reaches_mcp_over_http);
    let (connection, _agent) = plainly(&ear).await;
    let cannot = connection.load_session("s", request()).await.expect_err("it cannot");
    assert!(matches!(cannot, AcpError::Unsupported { .. }));
    assert!(matches!(connection.resume_session("s", request()).await, Err(AcpError::Unsupported { .. })));
    connection.close("s").await.expect("nothing to be told");
}

#[tokio::test]
async fn a_session_has_modes_models_and_settings() {
    let (ear, _mind) = Ear::new();
    let capabilities = json!({"loadSession": true, "sessionCapabilities": {"resume": {}, "close": {}}});
    let (connection, mut agent) = connected(&ear, options(), capabilities).await;
    let settings = json!([
        {"id": "m", "name": "Model", "category": "model", "type": "select", "currentValue": "a", "options": [
            {"value": "a", "name": "A"}, {"value": "b", "name": "B", "description": "better"}]},
        {"id": "broken"},
        {"id": "t", "name": "Think", "type": "boolean", "currentValue": true},
    ]);
    let told = json!({"sessionId": "s-1", "configOptions": settings,
        "modes": {"currentModeId": "default", "availableModes": [{"id": "default", "name": "Ask"}, {"id": "plan", "name": "Plan"}, 7]},
        "models": {"currentModelId": "a", "availableModels": [{"modelId": "a", "name": "A"}]}});
    let servers = vec![
        McpServer::Stdio {
            name: "tools".to_owned(),
            command: "/bin/tools".to_owned(),
            args: vec!["-x".to_owned()],
            env: vec![("KEY".to_owned(), SecretString::from("hidden"))],
        },
        McpServer::Http {
            name: "web".to_owned(),
            url: "http://x/mcp".to_owned(),
            headers: vec![("Authorization".to_owned(), SecretString::from("hidden"))],
        },
    ];
    assert!(!format!("{servers:?}").contains("hidden"));
    let meta = json!({"reeve": {"sessionId": "r"}}).as_object().cloned();
    let asked = SessionRequest { mcp_servers: servers, meta, ..request() };
    let (begun, params) =
        tokio::join!(connection.new_session(asked), answered(&mut agent, "session/new", told.clone()));
    assert_eq!(
        params,
        json!({"cwd": "/workspace", "_meta": {"reeve": {"sessionId": "r"}}, "mcpServers": [
            {"name": "tools", "command": "/bin/tools", "args": ["-x"], "env": [{"name": "KEY", "value": "hidden"}]},
            {"type": "http", "name": "web", "url": "http://x/mcp", "headers": [{"name": "Authorization", "value": "hidden"}]},
        ]})
    );
    let begun = begun.expect("a session");
    assert_eq!(begun.session_id, "s-1");
    let modes = begun.modes.clone().expect("modes");
    assert_eq!((modes.current.as_str(), modes.available.len()), ("default", 2));
    assert_eq!(begun.models.clone().expect("models").current, "a");
    assert_eq!(begun.config_options.iter().map(|option| option.id.as_str()).collect::<Vec<_>>(), ["m", "t"]);

    let (loaded, params) =
        tokio::join!(connection.load_session("s-1", request()), answered(&mut agent, "session/load", told.clone()));
    assert_eq!(params, json!({"sessionId": "s-1", "cwd": "/workspace", "mcpServers": []}));
    assert_eq!(loaded.expect("loaded"), begun);
    let (resumed, params) =
        tokio::join!(connection.resume_session("s-1", request()), answered(&mut agent, "session/resume", json!(null)));
    assert_eq!((&params["sessionId"], &params["cwd"]), (&json!("s-1"), &json!("/workspace")));
    assert_eq!(resumed.expect("resumed").session_id, "s-1");

    let (set, params) =
        tokio::join!(connection.set_mode("s-1", "plan"), answered(&mut agent, "session/set_mode", json!({})));
    assert_eq!((set, params), (Ok(()), json!({"sessionId": "s-1", "modeId": "plan"})));
    let (set, params) = tokio::join!(
        connection.set_config_option("s-1", "t", json!(false)),
        answered(&mut agent, "session/set_config_option", json!({"configOptions": settings}))
    );
    assert_eq!(params, json!({"sessionId": "s-1", "configId": "t", "type": "boolean", "value": false}));
    assert_eq!(set.expect("set").len(), 2);
    let (set, params) =
        tokio::join!(connection.set_model("s-1", "b"), answered(&mut agent, "session/set_model", json!(null)));
    assert_eq!((set, params), (Ok(()), json!({"sessionId": "s-1", "modelId": "b"})));
    let (closed, params) = tokio::join!(connection.close("s-1"), answered(&mut agent, "session/close", json!({})));
    assert_eq!((closed, params), (Ok(()), json!({"sessionId": "s-1"})));
    for refused in [
        connection.set_mode("s-1", "bypassPermissions").await,
        connection.set_config_option("s-1", "mode", json!("yolo")).await.map(drop),
    ] {
        assert!(matches!(refused, Err(AcpError::Unsafe(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn a_session_without_a_name_is_none() {
    let (ear, _mind) = Ear::new();
    let (connection, mut agent) = plainly(&ear).await;
    for told in [json!({}), json!({"sessionId": 7}), json!({"sessionId": ""})] {
        let (begun, _) = tokio::join!(connection.new_session(request()), answered(&mut agent, "session/new", told));
        assert!(matches!(begun, Err(AcpError::Malformed { method: "session/new", .. })), "{begun:?}");
    }
}

#[tokio::test]
async fn a_session_that_begins_without_asking_is_refused() {
    let (ear, _mind) = Ear::new();
    let (connection, mut agent) = plainly(&ear).await;
    let setting = json!({"id": "mode", "name": "Mode", "category": "mode", "type": "select", "currentValue": "yolo",
        "options": [{"value": "yolo", "name": "Yolo"}]});
    for told in [
        json!({"sessionId": "s", "modes": {"currentModeId": "bypassPermissions", "availableModes": []}}),
        json!({"sessionId": "s", "configOptions": [setting]}),
    ] {
        let (begun, _) = tokio::join!(connection.new_session(request()), answered(&mut agent, "session/new", told));
        assert!(matches!(begun, Err(AcpError::Unsafe(_))), "{begun:?}");
    }
}

#[tokio::test]
async fn every_kind_of_update_is_told_in_order_and_before_the_end_of_the_turn() {
    let (ear, mut mind) = Ear::new();
    let (connection, mut agent) = plainly(&ear).await;
    let (turn, id) = prompted(&connection, &mut agent).await;
    let text = |text: &str| json!({"type": "text", "text": text});
    let table: Vec<(Value, Expected)> = vec![
        (
            json!({"sessionUpdate": "agent_message_chunk", "content": text("a"), "messageId": "m"}),
            Box::new(
                |u| matches!(u, Update::AgentMessage { content, message_id: Some(id) } if content.as_text() == Some("a") && id == "m"),
            ),
        ),
        (
            json!({"sessionUpdate": "agent_thought_chunk", "content": text("b")}),
            Box::new(|u| matches!(u, Update::AgentThought { content, .. } if content.as_text() == Some("b"))),
        ),
        (
            json!({"sessionUpdate": "user_message_chunk", "content": {"type": "image", "mimeType": "image/png", "data": "AA=="}}),
            Box::new(|u| matches!(u, Update::UserMessage { content: ContentBlock::Image { .. }, .. })),
        ),
        (
            json!({"sessionUpdate": "tool_call", "toolCallId": "t", "title": "Run", "kind": "execute", "rawInput": {"command": "ls"}}),
            Box::new(
                |u| matches!(u, Update::ToolCall(call) if call.kind == ToolKind::Execute && call.status == ToolStatus::Pending && call.input == Some(json!({"command": "ls"}))),
            ),
        ),
        (
            json!({"sessionUpdate": "tool_call_update", "toolCallId": "t", "status": "completed", "rawOutput": "x",
                "locations": [{"path": "/workspace/a", "line": 3}], "content": [
                    {"type": "content", "content": text("out")},
                    {"type": "diff", "path": "/workspace/a", "oldText": null, "newText": "n"},
                    {"type": "terminal", "terminalId": "term"}]}),
            Box::new(|u| {
                let Update::ToolCallUpdate(change) = u else { return false };
                let content = change.content.as_deref().unwrap_or_default();
                change.status == Some(ToolStatus::Completed)
                    && change.output == Some(json!("x"))
                    && matches!(&change.locations.as_deref(), Some([place]) if place.line == Some(3))
                    && matches!(content, [ToolContent::Content { .. }, ToolContent::Diff { old_text: None, .. }, ToolContent::Terminal { terminal_id }] if terminal_id == "term")
            }),
        ),
        (
            json!({"sessionUpdate": "plan", "entries": [{"content": "one", "priority": "high", "status": "in_progress"}]}),
            Box::new(
                |u| matches!(u, Update::Plan { id: None, entries } if matches!(entries.as_slice(), [step] if step.priority == PlanPriority::High && step.status == PlanStatus::InProgress)),
            ),
        ),
        (
            json!({"sessionUpdate": "plan_update", "plan": {"type": "markdown", "planId": "p", "content": "# P"}}),
            Box::new(|u| matches!(u, Update::PlanText { markdown: Some(text), .. } if text == "# P")),
        ),
        (
            json!({"sessionUpdate": "plan_removed", "planId": "p"}),
            Box::new(|u| matches!(u, Update::PlanRemoved { id } if id == "p")),
        ),
        (
            json!({"sessionUpdate": "available_commands_update", "availableCommands": [{"name": "init", "description": "d", "input": {"hint": "what"}}]}),
            Box::new(|u| matches!(u, Update::Commands { commands } if commands[0].hint.as_deref() == Some("what"))),
        ),
        (
            json!({"sessionUpdate": "current_mode_update", "currentModeId": "plan"}),
            Box::new(|u| matches!(u, Update::Mode { id } if id == "plan")),
        ),
        (
            json!({"sessionUpdate": "config_option_update", "configOptions": [{"id": "t", "name": "T", "type": "boolean", "currentValue": true}]}),
            Box::new(|u| matches!(u, Update::ConfigOptions { options } if options.len() == 1)),
        ),
        (
            json!({"sessionUpdate": "session_info_update", "title": "T", "updatedAt": null}),
            Box::new(
                |u| matches!(u, Update::SessionInfo { title: TextChange::Set(title), updated_at: TextChange::Removed } if title == "T"),
            ),
        ),
        (
            json!({"sessionUpdate": "usage_update", "used": 10, "size": 100, "cost": {"amount": 0.5, "currency": "USD"}}),
            Box::new(
                |u| matches!(u, Update::Usage { used: 10, size: 100, cost: Some(cost) } if cost.currency == "USD"),
            ),
        ),
        (
            json!({"sessionUpdate": "notice", "severity": "warning", "title": "W"}),
            Box::new(|u| matches!(u, Update::Notice { severity, .. } if severity == "warning")),
        ),
        (
            json!({"sessionUpdate": "compaction_update", "compactionId": "c", "status": "completed", "summary": [text("s")]}),
            Box::new(
                |u| matches!(u, Update::Compaction { status, summary: Some(summary), .. } if status == "completed" && summary.len() == 1),
            ),
        ),
        (
            json!({"sessionUpdate": "compaction_summary_chunk", "compactionId": "c", "content": text("s")}),
            Box::new(|u| matches!(u, Update::CompactionSummary { .. })),
        ),
        (
            json!({"sessionUpdate": "holographic_update", "x": 1}),
            Box::new(|u| matches!(u, Update::Unsupported { kind } if kind == "holographic_update")),
        ),
        (
            json!({"sessionUpdate": "tool_call", "title": 7}),
            Box::new(|u| matches!(u, Update::Malformed { kind: Some(kind), .. } if kind == "tool_call")),
        ),
        (json!({"sessionUpdate": 7}), Box::new(|u| matches!(u, Update::Malformed { kind: None, .. }))),
        (json!(null), Box::new(|u| matches!(u, Update::Malformed { kind: None, .. }))),
    ];
    for (update, _) in &table {
        agent.update(update.clone()).await;
    }
    agent.answer(&id, json!({"stopReason": "end_turn"})).await;
    assert_eq!(turn.await.expect("no panic"), Ok(StopReason::EndTurn));
    for (told, expected) in &table {
        let update = mind.update().await;
        assert!(expected(&update), "{told} was read as {update:?}");
    }
    assert!(mind.is_silent());
    assert_eq!(connection.counts().updates, table.len() as u64);
}

#[tokio::test]
async fn many_questions_wait_at_once_and_each_gets_its_own_answer() {
    let (ear, mut mind) = Ear::new();
    let (connection, mut agent) = plainly(&ear).await;
    let (_turn, _) = prompted(&connection, &mut agent).await;
    let offered = json!([
        {"optionId": "yes!", "name": "Yes", "kind": "allow_once"}, {"optionId": "strange", "name": "?", "kind": "maybe"},
        {"optionId": "always!", "name": "Always", "kind": "allow_always"}, {"optionId": "no!", "name": "No", "kind": "reject_once"},
    ]);
    let ids = [json!(1), json!("1"), json!(1.5), json!("x")];
    for (number, id) in ids.iter().enumerate() {
        let call =
            json!({"toolCallId": format!("t{number}"), "title": "Run", "kind": "execute", "rawInput": {"n": number}});
        let params = json!({"sessionId": "s", "toolCall": call, "options": offered});
        agent.ask(id.clone(), "session/request_permission", params).await;
    }
    let mut open = std::collections::BTreeMap::new();
    for _ in &ids {
        let (question, answer) = mind.question().await;
        assert_eq!(question.session_id, "s");
        assert_eq!(question.options.len(), 3, "what cannot be read cannot be chosen");
        assert_eq!(question.options[2].kind, PermissionKind::RejectOnce);
        open.insert(question.tool_call.id.clone(), answer);
    }
    let choices = [Choice::AllowAlways, Choice::RejectAlways, Choice::Cancelled, Choice::AllowOnce];
    let expected = [json!("always!"), json!("no!"), json!(null), json!("yes!")];
    for number in [3, 1, 0, 2] {
        let answer = open.remove(&format!("t{number}")).expect("open");
        answer.send(choices[number]).expect("it waits");
        let told = agent.hear().await;
        assert_eq!(told["id"], ids[number]);
        assert_eq!(told["result"]["outcome"]["optionId"], expected[number], "{told}");
    }
}

#[tokio::test]
async fn files_and_terminals_are_served_with_the_codes_of_the_protocol() {
    let (ear, _mind) = Ear::new();
    let (_connection, mut agent) = plainly(&ear).await;
    let terminal = json!({"sessionId": "s", "terminalId": "t"});
    let file = |path: &str| json!({"sessionId": "s", "path": path});
    let table = [
        (
            "fs/write_text_file",
            json!({"sessionId": "s", "path": "/workspace/a", "content": "1\n2\n3\n"}),
            Ok(json!({})),
        ),
        (
            "fs/read_text_file",
            json!({"sessionId": "s", "path": "/workspace/a", "line": 2, "limit": 1}),
            Ok(json!({"content": "2"})),
        ),
        ("fs/read_text_file", file("/workspace/b"), Err(-32002)),
        ("fs/read_text_file", file("/etc/passwd"), Err(-32001)),
        ("fs/read_text_file", file("relative"), Err(-32602)),
        ("fs/read_text_file", json!({"sessionId": "s"}), Err(-32602)),
        ("fs/read_text_file", json!(null), Err(-32602)),
        ("fs/delete", file("/workspace/a"), Err(-32601)),
        (
            "terminal/create",
            json!({"sessionId": "s", "command": "ls", "args": ["-l"], "env": [{"name": "A", "value": "b"}]}),
            Ok(json!({"terminalId": "ls [\"-l\"] [(\"A\", \"b\")]"})),
        ),
        ("terminal/output", terminal.clone(), Ok(json!({"output": "t", "truncated": true}))),
        ("terminal/kill", terminal.clone(), Ok(json!({}))),
        ("terminal/wait_for_exit", terminal.clone(), Ok(json!({"exitCode": 3, "signal": null}))),
        ("terminal/release", terminal.clone(), Err(-32602)),
        ("terminal/input", terminal, Err(-32601)),
    ];
    for (number, (method, params, expected)) in table.into_iter().enumerate() {
        agent.ask(json!(number), method, params.clone()).await;
        let told = agent.hear().await;
        assert_eq!(told["id"], number);
        match expected {
            Ok(result) => assert_eq!(told["result"], result, "{method} {params}"),
            Err(code) => assert_eq!(told["error"]["code"], code, "{method} {params}: {told}"),
        }
    }
}

#[tokio::test]
async fn fifty_thousand_updates_pass_in_order() {
    let (ear, mut mind) = Ear::new();
    let (connection, agent) = plainly(&ear).await;
    let telling = tokio::spawn(async move {
        let mut agent = agent;
        for number in 0..50_000 {
            let content = json!({"type": "text", "text": number.to_string()});
            agent.update(json!({"sessionUpdate": "agent_message_chunk", "content": content})).await;
        }
    });
    for number in 0..50_000 {
        let Update::AgentMessage { content, .. } = mind.update().await else { panic!("something else") };
        assert_eq!(content.as_text(), Some(number.to_string().as_str()));
    }
    telling.await.expect("no panic");
    assert!(Arc::strong_count(&connection) == 1 && connection.counts().garbage == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_agents_at_once_lose_nothing() {
    let mut agents = tokio::task::JoinSet::new();
    for _ in 0..50 {
        agents.spawn(async {
            let (ear, mut mind) = Ear::new();
            let (connection, mut agent) = plainly(&ear).await;
            let (turn, id) = prompted(&connection, &mut agent).await;
            let hearing = tokio::spawn(async move {
                let mut heard = String::new();
                for _ in 0..200 {
                    let Update::AgentMessage { content, .. } = mind.update().await else { panic!("something else") };
                    heard.push_str(content.as_text().unwrap_or_default());
                }
                let (_, answer) = mind.question().await;
                answer.send(Choice::AllowOnce).expect("it waits");
                heard
            });
            let mut said = String::new();
            for number in 0..200 {
                let content = json!({"type": "text", "text": format!("{number},")});
                agent.update(json!({"sessionUpdate": "agent_message_chunk", "content": content})).await;
                said.push_str(&format!("{number},"));
            }
            let options = json!([{"optionId": "a", "name": "Yes", "kind": "allow_once"}]);
            let question = json!({"sessionId": "s", "toolCall": {"toolCallId": "t"}, "options": options});
            agent.ask(json!("q"), "session/request_permission", question).await;
            assert_eq!(agent.hear().await["result"]["outcome"]["optionId"], "a");
            agent.answer(&id, json!({"stopReason": "end_turn"})).await;
            assert_eq!(turn.await.expect("no panic"), Ok(StopReason::EndTurn));
            assert_eq!(hearing.await.expect("no panic"), said);
        });
    }
    while let Some(done) = agents.join_next().await {
        done.expect("every agent is heard");
    }
}

#[tokio::test]
async fn what_a_turn_used_is_told_with_its_end() {
    let (ear, _mind) = Ear::new();
    let (connection, mut agent) = plainly(&ear).await;
    let usage = json!({"inputTokens": 10, "outputTokens": 4, "cachedReadTokens": 3, "totalTokens": 17});
    for (told, expected) in [(usage, Some((10, 4, 3))), (json!(null), None), (json!("much"), None)] {
        let asking = Arc::clone(&connection);
        let turn = tokio::spawn(async move { asking.prompt("s", vec![ContentBlock::text("do it")]).await });
        let (id, _) = agent.hear_request("session/prompt").await;
        agent.answer(&id, json!({"stopReason": "end_turn", "usage": told})).await;
        let done = turn.await.expect("no panic").expect("an end");
        assert_eq!(done.stop, StopReason::EndTurn);
        let used = done.usage.map(|usage| (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens));
        assert_eq!(used, expected, "{told}");
    }
}
