//! The coding agent at a terminal of its workspace, with a scripted model: it opens programs, answers what they ask, reads what
//! they show, and leaves nothing behind.

use serde_json::{Value, json};

use crate::conversation::{Cleared, event, events, prompt, said, turn, workspace};
use crate::model_server::{Answer, Asked, ModelServer};
use crate::server::{Home, Server, eventually};

/// Makes the calls that the prompt lists, one after another, and says the results: `["tool", {…}]` each.
fn script(asked: &Asked) -> Answer {
    let calls: Vec<(String, Value)> = serde_json::from_str(&asked.last_words()).expect("a list of calls");
    let results = asked.results();
    let before = asked.results_before();
    let done = results.len() - before;
    match calls.get(done) {
        Some((tool, input)) => Answer::words("I go on.").calling(tool, input.clone()),
        None => Answer::words(format!("said: {}", results[before..].join("\n---\n"))),
    }
}

const REST: &str = "version: \"1\"
policies:
  - name: the-rest
    resources: [{type: workspace}]
    rules: [{action: [read, write, destructive], effect: allow}]
  - name: agents-ask-their-owners
    resources: [{type: agent}]
    rules: [{action: read, effect: allow}, {action: [write, destructive], effect: require_approval}]
";
const NOBODY_TYPES: &str = "
  - name: no-agent-types
    priority: 90
    resources: [{type: workspace, match: {tool: workspace_type}}]
    rules: [{action: write, effect: deny, message: no typing here}]
";

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

fn terminals(server: &Server, workspace: &str) -> Vec<Value> {
    let listed = server.get(&format!("/api/v1/workspaces/{workspace}/terminals")).expect(200);
    listed["terminals"].as_array().cloned().expect("a list")
}

/// Has the agent make calls; answers what came back.
fn calls(server: &Server, session: &str, calls: &Value) -> Vec<String> {
    let end = turn(server, session, &calls.to_string());
    let words = said(server, session);
    assert_eq!(end["end"], "completed", "{end} {words}");
    words.strip_prefix("said: ").unwrap_or(&words).split("\n---\n").map(str::to_owned).collect()
}

fn running(server: &Server, workspace: &str, program: &str) -> String {
    let argv = json!({"argv": ["sh", "-c", format!("pgrep -x {program} || true")]});
    let ran = server.post(&format!("/api/v1/workspaces/{workspace}/executions"), &argv).expect(200);
    ran["stdout"].as_str().unwrap_or_default().trim().to_owned()
}

#[test]
fn the_coder_talks_with_programs_in_a_terminal_that_people_see_and_a_kill_closes_it() {
    let model = ModelServer::start(script);
    let home = home(&model);
    let cleared = Cleared(&home);
    let server = home.start();
    let place = workspace(&server);
    let session = coder(&server, &place, "auto");
    let asks = "read -p 'Who are you? ' name; echo \"Hello, $name!\"; exec sh -i";
    let told = calls(
        &server,
        &session,
        &json!([
            ["open_terminal", {"argv": ["bash", "-c", asks]}],
            ["read_terminal", {"wait_for": "Who are you?", "timeout_seconds": 60}],
            ["type_in_terminal", {"text": "Ada"}],
            ["read_terminal", {"wait_for": "Hello, Ada!", "timeout_seconds": 60}],
            ["type_in_terminal", {"text": "echo $((6*7)) > answer; echo th''ere"}],
            ["read_terminal", {"wait_for": "there", "timeout_seconds": 60, "lines": 20}],
        ]),
    );
    assert!(told[1].contains("Who are you?") && told[3].contains("Hello, Ada!"), "{told:?}");
    assert!(!told[5].contains('\u{1b}'), "{told:?}");

    let seen = terminals(&server, &place);
    assert_eq!((seen.len(), &seen[0]["session"]), (1, &json!(session)), "a person sees it in the list: {seen:?}");
    let acts = events(&server, &session);
    let recorded = |tool: &str| {
        let called = acts.iter().find(|event| event["event"] == "tool_called" && event["tool"] == tool);
        let id = called.expect(tool)["call_id"].clone();
        let ended = acts.iter().find(|event| event["event"] == "tool_finished" && event["call_id"] == id).expect(tool);
        server.get(&format!("/api/v1/events/{}", ended["record"].as_str().expect("a record"))).expect(200)
    };
    assert_eq!(recorded("type_in_terminal")["tool"]["name"], "workspace_type");
    assert_eq!(recorded("open_terminal")["tool"]["name"], "workspace_open_terminal");

    server.post(&format!("/api/v1/sessions/{session}/kill"), &json!({})).expect(200);
    eventually(|| terminals(&server, &place).is_empty().then_some(()));
    assert_eq!(running(&server, &place, "sh").lines().count(), 1, "only the shell that looks");
    drop((server, cleared));
}

#[test]
fn an_interpreter_floods_and_ends_and_both_stay_within_bounds() {
    let model = ModelServer::start(script);
    let home = home(&model);
    let cleared = Cleared(&home);
    let server = home.start();
    let place = workspace(&server);
    let session = coder(&server, &place, "auto");
    let told = calls(
        &server,
        &session,
        &json!([
            ["open_terminal", {"argv": ["sh", "-i"]}],
            ["type_in_terminal", {"text": "while :; do echo flood; done"}],
            ["read_terminal", {"quiet_seconds": 30, "timeout_seconds": 1, "lines": 5}],
            ["type_in_terminal", {"keys": ["ctrl_c"]}],
            ["type_in_terminal", {"text": "echo al''ive"}],
            ["read_terminal", {"wait_for": "alive", "timeout_seconds": 60, "lines": 3}],
            ["type_in_terminal", {"text": "exit 7"}],
            ["type_in_terminal", {"text": "echo late"}],
            ["open_terminal", {"argv": ["true"]}],
            ["read_terminal", {}],
            ["close_terminal", {"terminal": "trm_00000000000000000000000000"}],
        ]),
    );
    let flood = &told[2];
    assert!(
        flood.lines().filter(|line| *line == "flood").count() <= 5 && flood.contains("lines above are left out"),
        "{flood}"
    );
    assert!(told[5].contains("alive"), "{told:?}");
    assert!(told[6].contains("ended with exit code 7"), "the end of the program is told: {}", told[6]);
    assert!(told[7].contains("open one"), "{}", told[7]);
    assert!(told[8].contains("[terminal trm_"), "{}", told[8]);
    assert!(told[8].contains("exit code 0"), "a program that ends at once is read all the same: {}", told[8]);
    assert!(told[10].contains("no terminal"), "{}", told[10]);
    drop((server, cleared));
}

#[test]
fn each_typing_is_asked_about_and_policy_can_forbid_it() {
    let model = ModelServer::start(script);
    let home = home(&model).policy(REST);
    let cleared = Cleared(&home);
    let server = home.start();
    let place = workspace(&server);
    let session = coder(&server, &place, "ask");
    let wanted =
        json!([["open_terminal", {"argv": ["sh", "-i"]}], ["type_in_terminal", {"text": "echo forbidden > it"}]]);
    prompt(&server, &session, &wanted.to_string());
    let question = |after| event(&server, &session, "tool_waiting", after)["question"].clone();
    assert_eq!(question(0), "Open terminal sh -i");
    server.post(&format!("/api/v1/sessions/{session}/approve"), &json!({})).expect(200);
    assert_eq!(question(1), "Type echo forbidden > it");
    server.post(&format!("/api/v1/sessions/{session}/reject"), &json!({"reason": "not that"})).expect(200);
    event(&server, &session, "turn_ended", 0);
    assert!(said(&server, &session).contains("not that"), "{}", said(&server, &session));
    drop(server);

    std::fs::write(home.path().join("policies.yaml"), format!("{REST}{NOBODY_TYPES}")).expect("a policy");
    let server = home.start();
    let session = coder(&server, &place, "auto");
    let told = calls(&server, &session, &wanted);
    assert!(told[1].contains("no typing here"), "{told:?}");
    let looked = json!({"argv": ["sh", "-c", "test ! -e it && echo clean"]});
    let ran = server.post(&format!("/api/v1/workspaces/{place}/executions"), &looked).expect(200);
    assert_eq!(ran["stdout"], "clean\n", "{ran}");
    drop((server, cleared));
}
