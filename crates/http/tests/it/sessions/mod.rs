//! Sessions over the API: the real service and the real gate, with models that follow a script.

mod doors;
mod limits;
mod links;
mod making;
mod neighbours;
mod reading;
mod sockets;
mod standing;
mod steering;
mod streams;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Response};
use futures_util::StreamExt as _;
use reeve_testkit::models::{Scripted, ScriptedModels};
use serde_json::{Value, json};

use crate::platform::{Client, Setup, TestPlatform};
use crate::unconfined::SOON;

/// A platform with sessions, and what its model says.
pub(crate) struct Room {
    pub(crate) t: TestPlatform,
    pub(crate) models: Arc<ScriptedModels>,
}

impl Room {
    pub(crate) fn with(script: impl IntoIterator<Item = Scripted>) -> Self {
        Self::of(Setup::default(), script)
    }

    pub(crate) fn of(setup: Setup, script: impl IntoIterator<Item = Scripted>) -> Self {
        let models = ScriptedModels::new(script);
        let t = TestPlatform::of(Setup { models: Some(Arc::<ScriptedModels>::clone(&models)), ..setup });
        Self { t, models }
    }

    /// Somebody who has sessions.
    pub(crate) async fn developer(&self, name: &str) -> Client {
        self.t.user(name, &["developer", "dba"]).await
    }

    /// Somebody who sees and answers everything.
    pub(crate) async fn admin(&self) -> Client {
        self.t.user("root", &["admin"]).await
    }
}

pub(crate) fn says(words: &str) -> Scripted {
    Scripted::Says(words.to_owned())
}

/// A model that looks at a database before it answers.
pub(crate) fn looks() -> [Scripted; 2] {
    [Scripted::call("c1", "test_look", json!({"connection_string": "orders"})), says("There are three rows.")]
}

/// A model that wants to change a database, which people are asked about.
pub(crate) fn changes() -> [Scripted; 2] {
    [Scripted::call("c1", "test_change", json!({"connection_string": "orders"})), says("That is that.")]
}

/// Makes a session; gives its id.
pub(crate) async fn begin(client: &Client, wanted: Value) -> String {
    let made = client.post("/api/v1/sessions", wanted).await.expect(201);
    made["id"].as_str().unwrap().to_owned()
}

pub(crate) fn at(id: &str, rest: &str) -> String {
    format!("/api/v1/sessions/{id}{rest}")
}

/// A stream as it is read.
pub(crate) struct Watched {
    body: axum::body::BodyDataStream,
    text: String,
}

impl Watched {
    pub(crate) async fn open(client: &Client, path: &str) -> Self {
        Self::of(open(client, path).await)
    }

    pub(crate) fn of(response: Response<Body>) -> Self {
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next frame; nothing when the stream has ended.
    pub(crate) async fn frame(&mut self) -> Option<String> {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let frame = frame.to_owned();
                self.text = rest.to_owned();
                return Some(frame);
            }
            let bytes = tokio::time::timeout(SOON, self.body.next()).await.expect("a frame comes in time")?;
            self.text.push_str(std::str::from_utf8(&bytes.unwrap()).unwrap());
        }
    }

    /// The next object, and the id it came with. Signs of life between two objects are passed over.
    pub(crate) async fn told(&mut self) -> (Option<u64>, Value) {
        let mut frame = self.frame().await.expect("the stream goes on");
        while frame == ":ping" {
            frame = self.frame().await.expect("the stream goes on");
        }
        assert!(!frame.lines().any(|line| line.starts_with("event:")), "{frame}");
        let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name).map(str::trim));
        let data = serde_json::from_str(field("data:").expect("a frame with data")).unwrap();
        (field("id:").map(|id| id.parse().unwrap()), data)
    }

    /// Everything up to an event of a kind, each with its number as id and none left out.
    pub(crate) async fn until(&mut self, kind: &str) -> Vec<Value> {
        let mut seen: Vec<Value> = Vec::new();
        loop {
            let (id, event) = self.told().await;
            assert_eq!(json!(id), event["seq"], "{event}");
            if let Some(last) = seen.last() {
                assert_eq!(last["seq"].as_u64().unwrap() + 1, event["seq"].as_u64().unwrap(), "a gap before {event}");
            }
            seen.push(event);
            if seen.last().unwrap()["event"] == kind {
                return seen;
            }
        }
    }
}

pub(crate) async fn open(client: &Client, path: &str) -> Response<Body> {
    let request = client.request(Method::GET, path).header("accept", "text/event-stream");
    client.open(request.body(Body::empty()).unwrap()).await
}

/// Waits until a session's turn has ended, or another event of this kind has come; gives every event.
pub(crate) async fn events_until(client: &Client, id: &str, kind: &str) -> Vec<Value> {
    let mut watched = Watched::open(client, &at(id, "/events")).await;
    assert_eq!(watched.told().await.1["event"], "connected");
    watched.until(kind).await
}

pub(crate) fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}
