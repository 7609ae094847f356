//! The coding agent that Reeve runs itself, with a scripted model: what it asks in which mode, and an edit that waits for its
//! owner while the server is killed.

use serde_json::{Value, json};

use crate::conversation::{Cleared, content, event, events, prompt, said, turn, workspace};
use crate::model_server::{Answer, Asked, ModelServer};
use crate::server::{Home, Server, eventually, text};

/// Writes a file, runs a program, and says how both went.
fn script(asked: &Asked) -> Answer {
    let told = asked.last_words();
    let results = asked.results();
    let since: Vec<_> = results.iter().rev().take(asked.place() % 3).rev().copied().collect();
    match asked.place() % 3 {
        0 => Answer::words("I write.")
            .calling("write_file", json!({"path": "notes.txt", "content": format!("{told}\n")})),
        1 => Answer::words("I try.").calling("run_command", json!({"argv": ["sh", "-c", "echo ran >> ran.txt"]})),
        _ => {
            let went =
                |result: &str| if result.contains("only plans") || result.contains("not done") { "no" } else { "yes" };
            let went: Vec<_> = since.iter().map(|result| went(result)).collect();
            Answer::words(format!("went: {}", went.join(" ")))
        }
    }
}

fn home(model: &ModelServer) -> Home {
    Home::new().with("REEVE_WORKSPACES_DRIVER", "namespace").with("REEVE_WORKSPACES_WARM", "0").with_file(
        "REEVE_MODELS_FILE",
        "models.toml",
        &model.settings(),
    )
}

fn coder(server: &Server, workspace: &str, mode: &str) -> String {
    let wanted = json!({"agent": "coder", "workspace_id": workspace, "mode": mode});
    server.post("/api/v1/sessions", &wanted).expect(201)["id"].as_str().expect("an id").to_owned()
}

fn answer(server: &Server, session: &str, verb: &str) -> Value {
    server.post(&format!("/api/v1/sessions/{session}/{verb}"), &json!({})).expect(200)
}

fn questions(server: &Server, session: &str) -> Vec<String> {
    let all = events(server, session);
    let asked = all.iter().filter(|event| event["event"] == "tool_waiting");
    asked.filter_map(|event| event["question"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_mode_says_what_the_coder_asks_its_owner() {
    let model = ModelServer::start(script);
    let home = home(&model);
    let cleared = Cleared(&home);
    let server = home.start();
    let place = workspace(&server);
    let (edit, program) = ("Write notes.txt".to_owned(), "Run echo ran >> ran.txt".to_owned());

    let session = coder(&server, &place, "plan");
    turn(&server, &session, "plan it");
    assert_eq!((said(&server, &session).as_str(), questions(&server, &session)), ("went: no no", Vec::new()));
    assert_ne!(content(&server, &place, "notes.txt")["exit_code"], 0, "nothing is changed by planning");

    let session = coder(&server, &place, "accept_edits");
    prompt(&server, &session, "edit it");
    event(&server, &session, "tool_waiting", 0);
    assert_eq!(content(&server, &place, "notes.txt")["stdout"], "edit it\n", "an edit is not asked about");
    answer(&server, &session, "reject");
    event(&server, &session, "turn_ended", 0);
    assert_eq!(
        (said(&server, &session).as_str(), questions(&server, &session)),
        ("went: yes no", vec![program.clone()])
    );

    let session = coder(&server, &place, "auto");
    turn(&server, &session, "do it");
    assert_eq!((said(&server, &session).as_str(), questions(&server, &session)), ("went: yes yes", Vec::new()));
    assert_eq!(content(&server, &place, "ran.txt")["stdout"], "ran\n", "it ran once, in all modes together");

    let session = coder(&server, &place, "ask");
    prompt(&server, &session, "ask for it");
    let waiting = event(&server, &session, "tool_waiting", 0);
    let question =
        server.get(&format!("/api/v1/approvals/{}", waiting["approval_id"].as_str().expect("an id"))).expect(200);
    let detail = question["request_context"]["arguments"]["detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail.contains("-do it") && detail.contains("+ask for it"), "the change is in the question: {question}");
    answer(&server, &session, "approve");
    event(&server, &session, "tool_waiting", 1);
    answer(&server, &session, "approve");
    event(&server, &session, "turn_ended", 0);
    assert_eq!(
        (said(&server, &session).as_str(), questions(&server, &session)),
        ("went: yes yes", vec![edit, program])
    );
    drop((server, cleared));
}

#[test]
fn an_edit_that_waits_outlives_a_killed_server_and_is_made_once_by_the_yes_to_the_first_question() {
    let model = ModelServer::start(script);
    let home = home(&model);
    let cleared = Cleared(&home);
    let server = home.start();
    // Its owner is a developer: who may approve nothing else may answer their own agent.
    let key = server.user("dora", &["developer"]);
    let as_dora = |server: &Server, method: &str, path: &str, body: Option<&Value>| {
        server.request(method, path, Some(&key), body)
    };
    let made = as_dora(&server, "POST", "/api/v1/workspaces", Some(&json!({"name": "hers", "template": "base"})));
    let place = made.expect(201)["id"].as_str().expect("an id").to_owned();
    let wanted = json!({"agent": "coder", "workspace_id": place, "prompt": "remember the milk"});
    let made = as_dora(&server, "POST", "/api/v1/sessions", Some(&wanted)).expect(201);
    let session = made["id"].as_str().expect("an id").to_owned();
    let waiting = event(&server, &session, "tool_waiting", 0);
    let question = format!("/api/v1/approvals/{}", waiting["approval_id"].as_str().expect("an id"));
    server.kill();

    let server = home.start();
    eventually(|| (server.get(&format!("/api/v1/sessions/{session}")).expect(200)["state"] == "waiting").then_some(()));
    assert_eq!(as_dora(&server, "GET", &question, None).expect(200)["status"], "pending", "it is the same question");
    let nosy = server.user("nosy", &["developer"]);
    let refused = server.request("POST", &format!("{question}/approve"), Some(&nosy), Some(&json!({})));
    assert_eq!(refused.status, 403, "{}", refused.text);
    as_dora(&server, "POST", &format!("{question}/approve"), Some(&json!({}))).expect(200);
    event(&server, &session, "tool_waiting", 1);
    assert_eq!(content(&server, &place, "notes.txt")["stdout"], "remember the milk\n");
    assert_eq!(questions(&server, &session).len(), 2, "one for the edit, one for the program");
    server.kill();

    // And answered at the very moment at which it is back.
    let server = home.start();
    eventually(|| {
        (as_dora(&server, "POST", &format!("/api/v1/sessions/{session}/approve"), Some(&json!({}))).status == 200)
            .then_some(())
    });
    assert_eq!(event(&server, &session, "turn_ended", 0)["end"], "completed");
    assert_eq!(said(&server, &session), "went: yes yes");
    assert_eq!(content(&server, &place, "ran.txt")["stdout"], "ran\n", "it ran once");
    assert_eq!(server.post("/api/v1/audit/verify", &json!({})).expect(200)["valid"], true);
    drop((server, cleared));
}

#[test]
fn an_edit_of_a_file_that_has_changed_since_is_asked_about_anew() {
    let model = ModelServer::start(script);
    let home = home(&model);
    let cleared = Cleared(&home);
    let server = home.start();
    let place = workspace(&server);
    let session = coder(&server, &place, "ask");
    prompt(&server, &session, "mine");
    let first = event(&server, &session, "tool_waiting", 0);
    let argv = json!({"argv": ["sh", "-c", "echo theirs > notes.txt"]});
    server.post(&format!("/api/v1/workspaces/{place}/executions"), &argv).expect(200);
    server.kill();

    let server = home.start();
    let second = event(&server, &session, "tool_waiting", 1);
    assert_ne!(first["approval_id"], second["approval_id"]);
    let first = format!("/api/v1/approvals/{}", first["approval_id"].as_str().expect("an id"));
    assert_eq!(server.get(&first).expect(200)["status"], "cancelled", "what was shown is no longer what would happen");
    let second = format!("/api/v1/approvals/{}", second["approval_id"].as_str().expect("an id"));
    let detail = server.get(&second).expect(200)["request_context"]["arguments"]["detail"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(detail.contains("-theirs") && detail.contains("+mine"), "{detail}");
    drop((server, cleared));
}

#[test]
fn a_session_is_begun_followed_steered_and_read_from_the_command_line() {
    let model = ModelServer::start(script);
    let home = home(&model);
    let cleared = Cleared(&home);
    let server = home.start();
    let place = workspace(&server);
    let said = |arguments: &[&str]| {
        let output = server.cli(&home, arguments);
        (output.status.code(), text(&output))
    };
    let begin =
        ["session", "create", "tidy up", "--agent", "coder", "--workspace", &place, "--mode", "auto", "--attach"];
    let (code, told) = said(&begin);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("▸ Write notes.txt") && told.contains("went: yes yes"), "{told}");
    let (_, list) = said(&["session", "list", "--agent", "coder", "--limit", "1"]);
    assert!(list.contains("tidy up") && list.contains("idle"), "{list}");
    let listed = server.get("/api/v1/sessions").expect(200);
    let id = listed["sessions"][0]["id"].as_str().expect("an id").to_owned();

    let ask = json!({"mode": "ask"});
    server.request("PATCH", &format!("/api/v1/sessions/{id}"), Some(server.token()), Some(&ask)).expect(200);
    assert_eq!(said(&["session", "send", &id, "and again"]).0, Some(0));
    event(&server, &id, "tool_waiting", 0);
    let (code, told) = said(&["session", "approve", &id, "--remember", "--reason", "it is only notes"]);
    assert!(code == Some(0) && told.contains("approved"), "{told}");
    event(&server, &id, "tool_waiting", 1);
    assert!(
        said(&["session", "show", &id]).1.contains("write_file (edit), by user:admin"),
        "what is allowed is listed"
    );
    assert_eq!(said(&["session", "revoke", &id, "--tool", "write_file", "--kind", "edit"]).0, Some(0));
    assert!(!said(&["session", "show", &id]).1.contains("allowed"), "and can be taken back");
    assert_eq!(said(&["session", "reject", &id, "--reason", "not now"]).0, Some(0));
    let (code, told) = said(&["session", "attach", &id]);
    assert!(code == Some(0) && told.contains("went: yes no"), "{told}");

    let (_, export) = said(&["session", "export", &id]);
    assert!(export.contains("and again") && export.contains("went: yes no"), "{export}");
    assert_eq!(said(&["session", "kill", &id, "--reason", "done"]).0, Some(0));
    assert!(said(&["session", "send", &id, "more"]).1.contains("resume it first"));
    assert_eq!(said(&["session", "resume", &id]).0, Some(0));
    let (code, agents) = said(&["agents", "doctor"]);
    assert!(code == Some(0) && agents.contains("coder: can start"), "{agents}");
    assert!(said(&["models", "list"]).1.contains("scripted/claude-scripted  (the usual one)"));
    assert_eq!(said(&["models", "check"]).0, Some(0));
    drop((server, cleared));
}
