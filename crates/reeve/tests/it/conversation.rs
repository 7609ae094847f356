//! Sessions as a client sees them: workspaces, prompts, events, and what was said.

use std::time::Duration;

use serde_json::{Value, json};

use crate::server::{Home, Server, eventually};

/// Removes what a test has made, also when it fails.
pub(crate) struct Cleared<'a>(pub(crate) &'a Home);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        let mut server = self.0.start();
        let all = server.get("/api/v1/workspaces?limit=200");
        for workspace in all.body["workspaces"].as_array().into_iter().flatten() {
            let id = workspace["id"].as_str().unwrap_or_default();
            let _ =
                server.request("DELETE", &format!("/api/v1/workspaces/{id}?force=true"), Some(server.token()), None);
        }
        server.signal("TERM");
        let _ = server.wait(Duration::from_secs(20));
    }
}

pub(crate) fn workspace(server: &Server) -> String {
    let made = server.post("/api/v1/workspaces", &json!({"name": "agents", "template": "base"})).expect(201);
    made["id"].as_str().expect("an id").to_owned()
}

pub(crate) fn begin(server: &Server, workspace: &str, agent: &str) -> String {
    let made = server.post("/api/v1/sessions", &json!({"agent": agent, "workspace_id": workspace})).expect(201);
    made["id"].as_str().expect("an id").to_owned()
}

pub(crate) fn prompt(server: &Server, session: &str, text: &str) {
    server.post(&format!("/api/v1/sessions/{session}/prompts"), &json!({"text": text})).expect(202);
}

pub(crate) fn events(server: &Server, session: &str) -> Vec<Value> {
    let page = server.get(&format!("/api/v1/sessions/{session}/events?limit=1000")).expect(200);
    page["events"].as_array().cloned().unwrap_or_default()
}

/// The event of a kind that comes after some others of its kind.
pub(crate) fn event(server: &Server, session: &str, kind: &str, after: usize) -> Value {
    eventually(|| events(server, session).into_iter().filter(|event| event["event"] == kind).nth(after))
}

/// Says something, and waits until the turn has ended.
pub(crate) fn turn(server: &Server, session: &str, text: &str) -> Value {
    let before = ends(server, session);
    prompt(server, session, text);
    event(server, session, "turn_ended", before)
}

pub(crate) fn ends(server: &Server, session: &str) -> usize {
    events(server, session).iter().filter(|event| event["event"] == "turn_ended").count()
}

/// What the agent said last.
pub(crate) fn said(server: &Server, session: &str) -> String {
    let all = events(server, session);
    let last = all.iter().rev().find(|event| event["event"] == "message");
    last.and_then(|event| event["text"].as_str()).unwrap_or_default().to_owned()
}

pub(crate) fn content(server: &Server, workspace: &str, path: &str) -> Value {
    let argv = json!({"argv": ["cat", path]});
    server.post(&format!("/api/v1/workspaces/{workspace}/executions"), &argv).expect(200)
}

pub(crate) fn said_so_far(server: &Server, session: &str) -> String {
    let all = events(server, session);
    let words = all.iter().filter(|event| event["event"] == "delta").filter_map(|event| event["text"].as_str());
    words.collect()
}
