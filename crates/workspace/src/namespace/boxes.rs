//! The boxes that there are, in memory: their record, what runs, and who is at work on them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reeve_types::{WorkspaceError, WorkspaceId};

use super::failure::cannot;
use super::layout::Layout;
use super::record::{Processes, Record};
use crate::client::{RuntimeClient, RuntimeToken};
use crate::egress::Proxy;
use crate::process::ProcessMark;

/// A measured size is believed for so many times as long as measuring took: looking often must not cost much.
const BELIEVED_TIMES: u32 = 20;

/// One box.
pub(super) struct Held {
    pub(super) key: String,
    /// Held by whoever changes the box: one at a time.
    pub(super) busy: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

struct State {
    record: Record,
    client: Option<Arc<RuntimeClient>>,
    proxy: Option<Proxy>,
    refused: Arc<std::sync::atomic::AtomicU64>,
    /// A size in bytes, and until when it is believed.
    measured: Option<(Instant, u64)>,
    started_at: Option<Instant>,
    /// What was known of its size when it was started, in bytes.
    at_start: u64,
}

impl Held {
    pub(super) fn new(key: String, record: Record) -> Self {
        let state = State {
            record,
            client: None,
            proxy: None,
            refused: Arc::default(),
            measured: None,
            started_at: None,
            at_start: 0,
        };
        Self { key, busy: tokio::sync::Mutex::new(()), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered of it.
    pub(super) fn record(&self) -> Record {
        self.state().record.clone()
    }

    /// Changes what is remembered, on disk first.
    pub(super) fn remember(&self, layout: &Layout, change: impl FnOnce(&mut Record)) -> Result<(), WorkspaceError> {
        let mut state = self.state();
        let mut record = state.record.clone();
        change(&mut record);
        record.write(&layout.record(&self.key)).map_err(|error| cannot("remember a workspace", &error))?;
        state.record = record;
        Ok(())
    }

    /// Its processes, if they run.
    pub(super) fn running(&self) -> Option<Processes> {
        self.state().record.processes.clone().filter(|processes| processes.init.runs())
    }

    /// The processes that were last known, whether they run or not.
    pub(super) fn last_known(&self) -> Option<(ProcessMark, ProcessMark)> {
        self.state().record.processes.as_ref().map(|processes| (processes.monitor, processes.init))
    }

    /// The way in. Made once and kept.
    pub(super) fn client(&self, layout: &Layout, workspace: &WorkspaceId) -> Arc<RuntimeClient> {
        let mut state = self.state();
        if let Some(client) = &state.client {
            return Arc::clone(client);
        }
        let token = RuntimeToken::new(&state.record.token);
        let directory = layout.inside(&self.key).join("run");
        let client = Arc::new(RuntimeClient::new(workspace.clone(), directory, token));
        state.client = Some(Arc::clone(&client));
        client
    }

    /// Forgets the way in: its connections lead to processes that are gone.
    pub(super) fn forget_client(&self) {
        self.state().client = None;
    }

    pub(super) fn set_proxy(&self, proxy: Option<Proxy>) {
        self.state().proxy = proxy;
    }

    pub(super) fn take_proxy(&self) -> Option<Proxy> {
        self.state().proxy.take()
    }

    pub(super) fn refusals(&self) -> Arc<std::sync::atomic::AtomicU64> {
        Arc::clone(&self.state().refused)
    }

    pub(super) fn refused_connections(&self) -> u64 {
        self.state().refused.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(super) fn note_start(&self) {
        let mut state = self.state();
        state.started_at = Some(Instant::now());
        state.at_start = state.measured.map_or(0, |(_, bytes)| bytes);
    }

    pub(super) fn size_at_start(&self) -> u64 {
        self.state().at_start
    }

    pub(super) fn running_for(&self) -> Option<Duration> {
        self.state().started_at.map(|at| at.elapsed())
    }

    pub(super) fn measured(&self) -> Option<u64> {
        self.state().measured.filter(|(until, _)| Instant::now() < *until).map(|(_, bytes)| bytes)
    }

    pub(super) fn note_measured(&self, bytes: u64, took: Duration) {
        self.state().measured = Some((Instant::now() + took * BELIEVED_TIMES, bytes));
    }
}

/// All boxes that belong to somebody.
#[derive(Default)]
pub(super) struct Boxes {
    by_workspace: Mutex<HashMap<WorkspaceId, Arc<Held>>>,
}

impl Boxes {
    fn all_of_them(&self) -> MutexGuard<'_, HashMap<WorkspaceId, Arc<Held>>> {
        self.by_workspace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, workspace: &WorkspaceId) -> Option<Arc<Held>> {
        self.all_of_them().get(workspace).cloned()
    }

    /// Adds a box, unless its workspace has one; gives the one that is there then.
    pub(super) fn add(&self, workspace: &WorkspaceId, held: Arc<Held>) -> Result<(), Arc<Held>> {
        match self.all_of_them().entry(workspace.clone()) {
            std::collections::hash_map::Entry::Occupied(there) => Err(Arc::clone(there.get())),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(held);
                Ok(())
            }
        }
    }

    pub(super) fn remove(&self, workspace: &WorkspaceId) {
        self.all_of_them().remove(workspace);
    }

    pub(super) fn all(&self) -> Vec<(WorkspaceId, Arc<Held>)> {
        self.all_of_them().iter().map(|(id, held)| (id.clone(), Arc::clone(held))).collect()
    }
}
