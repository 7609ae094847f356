//! What the server keeps in mind of each workspace. Everything here can be forgotten: the engine knows it too.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reeve_types::WorkspaceId;

use super::network::Way;
use crate::client::RuntimeClient;

/// A size counts for this many times as long as it took to measure it, so measuring never takes much of anything.
const COUNTS_FOR: u32 = 50;
/// How long a size counts at most.
const COUNTS_AT_MOST: Duration = Duration::from_secs(60);

/// What is kept of one workspace.
#[derive(Default)]
pub(super) struct Held {
    /// One change after another.
    pub(super) busy: tokio::sync::Mutex<()>,
    /// Its way to the network, if it has one and runs.
    pub(super) way: tokio::sync::Mutex<Option<Way>>,
    refused: Arc<AtomicU64>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    client: Option<Arc<RuntimeClient>>,
    measured: Option<Measured>,
    started: Option<Instant>,
}

struct Measured {
    bytes: u64,
    until: Instant,
}

impl Held {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way in, while it is thought to run.
    pub(super) fn client(&self) -> Option<Arc<RuntimeClient>> {
        self.kept().client.clone()
    }

    pub(super) fn keep_client(&self, client: &Arc<RuntimeClient>) {
        self.kept().client = Some(Arc::clone(client));
    }

    /// It runs no longer: nothing leads in, nothing leads out.
    pub(super) async fn note_ended(&self) {
        self.kept().client = None;
        self.close_way().await;
    }

    async fn close_way(&self) {
        if let Some(way) = self.way.lock().await.take() {
            way.close().await;
        }
    }

    /// Where its proxy counts what it refuses.
    pub(super) fn refusals(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.refused)
    }

    pub(super) fn refused_connections(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// It was started just now.
    pub(super) fn note_started(&self) {
        self.kept().started = Some(Instant::now());
    }

    /// How long ago this server started it, if it did.
    pub(super) fn running_for(&self) -> Option<Duration> {
        self.kept().started.map(|at| at.elapsed())
    }

    /// The size of its files, if it was measured a short while ago.
    pub(super) fn measured(&self) -> Option<u64> {
        self.kept().measured.as_ref().filter(|measured| Instant::now() < measured.until).map(|measured| measured.bytes)
    }

    pub(super) fn note_measured(&self, bytes: u64, took: Duration) {
        let until = Instant::now() + took.saturating_mul(COUNTS_FOR).min(COUNTS_AT_MOST);
        self.kept().measured = Some(Measured { bytes, until });
    }
}

/// All that anything is kept of.
#[derive(Default)]
pub(super) struct Workspaces(Mutex<HashMap<WorkspaceId, Arc<Held>>>);

impl Workspaces {
    pub(super) fn get(&self, workspace: &WorkspaceId) -> Arc<Held> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(workspace.clone()).or_default())
    }

    /// Ends every way to the network, with all that goes through it.
    pub(super) async fn close_ways(&self) {
        let all: Vec<Arc<Held>> = {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.values().map(Arc::clone).collect()
        };
        for held in all {
            held.close_way().await;
        }
    }

    pub(super) fn forget(&self, workspace: &WorkspaceId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(workspace);
    }
}
