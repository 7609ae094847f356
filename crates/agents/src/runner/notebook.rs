//! For tests: a session that keeps what it is told, and what an agent says of one.

use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use reeve_platform::sessions::{Choice as Decided, ExternalPeer, PermissionAsked, SessionTools};
use reeve_types::WorkspacePath;
use reeve_types::session::Happening;
use reeve_types::workspace::processes::{ExecRequest, ExecResult};
use serde_json::Value;

use super::hearing::Hearing;
use super::spending::Spending;
use crate::acp::NewSession;

/// Keeps what it is told, and says no.
#[derive(Default)]
pub(super) struct Notebook {
    pub(super) said: Mutex<usize>,
    pub(super) happened: Mutex<Vec<Happening>>,
}

impl ExternalPeer for Notebook {
    fn said(&self, text: String) -> BoxFuture<'_, ()> {
        *self.said.lock().expect("no panic") += text.len();
        Box::pin(async {})
    }
    fn thought(&self, _: String) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
    fn happened(&self, what: Happening) -> BoxFuture<'_, ()> {
        self.happened.lock().expect("no panic").push(what);
        Box::pin(async {})
    }
    fn permission(&self, _: PermissionAsked) -> BoxFuture<'_, Decided> {
        Box::pin(async { Decided::Reject })
    }
    fn read_file(&self, path: String) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { Ok(path) })
    }
    fn write_file(&self, _: String, _: String) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
    fn run(&self, _: ExecRequest) -> BoxFuture<'_, Result<ExecResult, String>> {
        Box::pin(async { Err("nothing is run here".to_owned()) })
    }
    fn tools(&self, _: &[String]) -> Option<Arc<dyn SessionTools>> {
        None
    }
}

impl Notebook {
    /// What an agent's conversation comes to in it.
    pub(super) fn hearing(self: &Arc<Self>) -> Hearing {
        Hearing::new(Arc::clone(self) as Arc<dyn ExternalPeer>, WorkspacePath::root(), Arc::new(Spending::default()))
    }

    /// Warnings so far.
    pub(super) fn warnings(&self) -> Vec<String> {
        let happened = self.happened.lock().expect("no panic");
        let warning = |what: &Happening| match what {
            Happening::Warning { message } => Some(message.clone()),
            _ => None,
        };
        happened.iter().filter_map(warning).collect()
    }
}

/// The session `s`, as an agent tells it.
pub(super) fn session(told: Value) -> NewSession {
    NewSession::told("s", told)
}
