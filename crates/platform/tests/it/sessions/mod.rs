//! Sessions over the real gate and the real store, with a model that follows a script.

mod claims;
mod crashes;
mod supervision;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use reeve_gate::model::Models;
use reeve_platform::Platform;
use reeve_platform::sessions::{Definitions, NewSessionWanted, Sessions, SessionsOptions, SessionsParts};
use reeve_testkit::models::ScriptedModels;
use reeve_types::session::{Happening, Session, SessionEvent, SessionState, TurnEnd};
use reeve_types::{ActionClass, Principal, SessionId};
use tokio_util::sync::CancellationToken;

use crate::support::{House, Plan, TestClock, TestTool, asks, user};

/// A platform with sessions that runs, and ends with the test.
struct Talk {
    house: House,
    platform: Platform,
    _ending: Ending,
}

/// Stops what runs when the test ends, however it ends.
struct Ending(CancellationToken, tokio::task::AbortHandle);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.cancel();
        self.1.abort();
    }
}

fn plan() -> Plan {
    Plan {
        policy: asks("approval_quorum: 1"),
        tools: vec![
            TestTool::new("change", ActionClass::Write, "changed"),
            TestTool::new("look", ActionClass::Read, "seen"),
        ],
        ..Plan::default()
    }
}

impl Talk {
    async fn with(models: Arc<dyn Models>) -> Self {
        Self::in_house(House::new(plan()).await, models)
    }

    fn in_house(house: House, models: Arc<dyn Models>) -> Self {
        let definitions = Definitions::load(None).unwrap();
        let options = SessionsOptions { default_target: Some("db".to_owned()), ..SessionsOptions::default() };
        let platform =
            house.platform.clone().with_sessions(SessionsParts { models, definitions, external: None, options });
        let stop = CancellationToken::new();
        let (runner, until) = (platform.clone(), stop.clone());
        let running = tokio::spawn(async move { runner.run(until).await });
        Self { house, platform, _ending: Ending(stop, running.abort_handle()) }
    }

    fn sessions(&self) -> Sessions {
        self.platform.sessions().unwrap()
    }

    /// As a crash leaves it: from one moment on nothing more is written, and the files are as they are.
    async fn crash(self) -> (Arc<tempfile::TempDir>, Arc<TestClock>) {
        let (dir, clock) = self.house.end().await;
        // What still runs here holds the lock of this directory; a crash would have ended it.
        let copy = tempfile::tempdir().unwrap();
        copy_all(dir.path(), copy.path());
        (Arc::new(copy), clock)
    }

    async fn again(left: (Arc<tempfile::TempDir>, Arc<TestClock>), models: Arc<dyn Models>) -> Self {
        Self::in_house(House::on(left.0, left.1, plan()).await, models)
    }

    async fn begin(&self, who: &Principal, prompt: &str) -> Session {
        let wanted = NewSessionWanted {
            agent: Some("database".to_owned()),
            prompt: Some(prompt.to_owned()),
            ..NewSessionWanted::default()
        };
        self.sessions().create(who, wanted).await.unwrap()
    }

    /// Every event up to one that is wanted.
    async fn until(&self, who: &Principal, id: &SessionId, wanted: impl Fn(&Happening) -> bool) -> Vec<SessionEvent> {
        let mut feed = self.sessions().follow(who, id, 0).await.unwrap();
        let mut seen: Vec<SessionEvent> = Vec::new();
        let waiting = async {
            loop {
                let frame = feed.next().await.unwrap();
                let event: SessionEvent = serde_json::from_str(&frame.json).unwrap();
                assert_eq!((event.seq, frame.seq), (seen.len() as u64 + 1, event.seq), "the stream has no gap");
                seen.push(event);
                if wanted(&seen[seen.len() - 1].what) {
                    break;
                }
            }
        };
        let outcome = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        assert!(outcome.is_ok(), "it never came; there were {seen:#?}");
        seen
    }

    async fn to_the_end(&self, who: &Principal, id: &SessionId) -> Vec<SessionEvent> {
        self.until(who, id, |what| matches!(what, Happening::TurnEnded { .. })).await
    }

    async fn state(&self, who: &Principal, id: &SessionId) -> SessionState {
        self.sessions().get(who, id).await.unwrap().state
    }
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn alice() -> Principal {
    user("alice", &["dba"])
}

fn kinds(events: &[SessionEvent]) -> Vec<&'static str> {
    events.iter().map(|event| event.what.as_str()).filter(|kind| *kind != "delta").collect()
}

fn end_of(events: &[SessionEvent]) -> (TurnEnd, String) {
    match events.last().map(|event| &event.what) {
        Some(Happening::TurnEnded { end, reason, .. }) => (*end, reason.clone()),
        other => panic!("the turn has not ended: {other:?}"),
    }
}

fn said(events: &[SessionEvent]) -> Vec<&str> {
    let said = events.iter().filter_map(|event| match &event.what {
        Happening::Message { text, .. } => Some(text.as_str()),
        _ => None,
    });
    said.collect()
}

fn scripted(script: impl IntoIterator<Item = reeve_testkit::models::Scripted>) -> Arc<ScriptedModels> {
    ScriptedModels::new(script)
}
