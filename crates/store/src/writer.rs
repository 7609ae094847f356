//! The one thread that writes.
//!
//! It takes every request that waits, checks each against the present state, appends what passes, and commits once:
//! first the log (with fsync), then the state. Nobody is answered before the commit. When the log cannot commit,
//! everything in the batch is undone and refused.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reeve_audit::{Checkpoint, Sealed, SigningKey, TiledTree, seal};
use reeve_gate::{Clock, Entry, Expectation, LedgerError, Recorded};
use reeve_types::{Digest, Event};
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::{broadcast, oneshot};

use crate::{StoreError, audit_log, micros, project};

/// Most requests in one transaction.
const BATCH_MAX: usize = 512;
/// How long after its last record the log is given a new signed checkpoint.
const CHECKPOINT_DELAY: Duration = Duration::from_millis(250);
/// How many records may be without a signed checkpoint while the log is never idle.
const CHECKPOINT_RECORDS: u64 = 1024;

/// A record that has just become durable.
#[derive(Debug)]
pub struct Published {
    /// Its sequence number.
    pub seq: u64,
    /// The record.
    pub event: Event,
    /// The record as it is served: canonical JSON plus `event_hash`.
    pub json: String,
}

type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Works inside the open transaction; when there is none, it only says why.
type Work = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Option<Finish> + Send>;

enum Job {
    Record { expect: Vec<Expectation>, entries: Vec<Entry>, reply: oneshot::Sender<Result<Vec<Recorded>, LedgerError>> },
    State(Work),
    Checkpoint(oneshot::Sender<Result<(), StoreError>>),
    Cosignature { size: u64, witness: String, note: String, at_us: i64, reply: oneshot::Sender<Result<(), StoreError>> },
    Close(oneshot::Sender<()>),
}

/// How the rest of the store talks to the writer.
#[derive(Clone)]
pub(crate) struct Handle {
    jobs: Sender<Job>,
    trouble: Arc<Mutex<Option<String>>>,
    commits: Arc<AtomicU64>,
}

impl Handle {
    /// How many transactions with work of others on the state have committed. Counted after the commit and before anybody is told of it, so
    /// what was read after so many of them is still so while the number is the same.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Acquire)
    }

    pub(crate) async fn record(
        &self,
        expect: Vec<Expectation>,
        entries: Vec<Entry>,
    ) -> Result<Vec<Recorded>, LedgerError> {
        let (reply, answer) = oneshot::channel();
        let closed = || LedgerError::Unavailable("the store is closed".to_owned());
        self.jobs.send(Job::Record { expect, entries, reply }).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    pub(crate) async fn state<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel::<Result<T, StoreError>>();
        let job: Work = Box::new(move |connection| match connection.and_then(work) {
            Ok(value) => {
                let finish: Finish = Box::new(move |committed| {
                    let _ = reply.send(committed.map(|()| value));
                });
                Some(finish)
            }
            Err(error) => {
                let _ = reply.send(Err(error));
                None
            }
        });
        self.jobs.send(Job::State(job)).map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub(crate) async fn checkpoint(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job::Checkpoint(reply)).map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub(crate) async fn cosignature(
        &self,
        size: u64,
        witness: String,
        note: String,
        at_us: i64,
    ) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job::Cosignature { size, witness, note, at_us, reply }).map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub(crate) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.jobs.send(Job::Close(reply)).is_ok() {
            let _ = answer.await;
        }
    }

    pub(crate) fn health(&self) -> Result<(), String> {
        match self.trouble.lock().ok().and_then(|trouble| trouble.clone()) {
            None => Ok(()),
            Some(reason) => Err(reason),
        }
    }
}

/// Starts the writer; it first brings the state up to the log.
pub(crate) fn start(
    audit: Connection,
    state: Connection,
    key: SigningKey,
    clock: Arc<dyn Clock>,
    published: broadcast::Sender<Arc<Published>>,
) -> Result<Handle, StoreError> {
    let (tree, head) = audit_log::restore(&audit)?;
    let signed = audit_log::last_checkpoint_size(&audit)?;
    project::catch_up(&audit, &state)?;
    let (jobs, waiting) = mpsc::channel();
    let trouble = Arc::new(Mutex::new(None));
    let commits = Arc::new(AtomicU64::new(0));
    let writer = Writer {
        audit,
        state,
        key,
        clock,
        published,
        tree,
        head,
        signed,
        sign_failing: false,
        behind: false,
        trouble: Arc::clone(&trouble),
        commits: Arc::clone(&commits),
    };
    std::thread::Builder::new()
        .name("store-writer".to_owned())
        .spawn(move || writer.run(&waiting))
        .map_err(|source| StoreError::File { path: "the writer thread".into(), source })?;
    Ok(Handle { jobs, trouble, commits })
}

struct Writer {
    audit: Connection,
    state: Connection,
    key: SigningKey,
    clock: Arc<dyn Clock>,
    published: broadcast::Sender<Arc<Published>>,
    tree: TiledTree,
    /// Hash of the newest record.
    head: Digest,
    /// Size of the newest signed checkpoint.
    signed: u64,
    /// Whether the last attempt to sign the head failed.
    sign_failing: bool,
    /// Whether records are on disk that the state does not know.
    behind: bool,
    trouble: Arc<Mutex<Option<String>>>,
    commits: Arc<AtomicU64>,
}

type Reply = oneshot::Sender<Result<Vec<Recorded>, LedgerError>>;

/// What one transaction has gathered and must still tell.
#[derive(Default)]
struct Batch {
    recorded: Vec<(Reply, Vec<Recorded>)>,
    /// Refused for what this batch, or an earlier one, holds; told after the commit, so that whoever is told can see it.
    conflicts: Vec<(Reply, String)>,
    finishes: Vec<Finish>,
    published: Vec<Published>,
}

impl Writer {
    fn run(mut self, waiting: &Receiver<Job>) {
        let mut grown: Option<Instant> = None;
        loop {
            let first = match grown {
                None => waiting.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(since) => waiting.recv_timeout(CHECKPOINT_DELAY.saturating_sub(since.elapsed())),
            };
            let first_timed_out = matches!(first, Err(RecvTimeoutError::Timeout));
            match first {
                Ok(job) => {
                    let jobs: Vec<Job> = std::iter::once(job).chain(waiting.try_iter().take(BATCH_MAX)).collect();
                    if let Some(done) = self.serve(jobs) {
                        // Closed means closed: whoever is told may move or copy the files.
                        drop(self);
                        let _ = done.send(());
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.sign_head(),
                Err(RecvTimeoutError::Disconnected) => {
                    self.sign_head();
                    return;
                }
            }
            if self.tree.size() >= self.signed + CHECKPOINT_RECORDS {
                self.sign_head();
            }
            grown = match (self.tree.size() > self.signed, first_timed_out) {
                (false, _) => None,
                (true, true) => Some(Instant::now()),
                (true, false) => grown.or_else(|| Some(Instant::now())),
            };
        }
    }

    /// Serves a batch. Returns whom to tell when the store is to close.
    fn serve(&mut self, jobs: Vec<Job>) -> Option<oneshot::Sender<()>> {
        let (mut writes, mut checkpoints, mut close) = (Vec::new(), Vec::new(), None);
        for job in jobs {
            match job {
                Job::Checkpoint(reply) => checkpoints.push(reply),
                Job::Close(reply) => close = Some(reply),
                Job::Cosignature { size, witness, note, at_us, reply } => {
                    let kept = audit_log::insert_cosignature(&self.audit, size, &witness, &note, at_us);
                    let _ = reply.send(kept);
                }
                other => writes.push(other),
            }
        }
        if !writes.is_empty() {
            self.commit(writes);
        }
        for reply in checkpoints {
            let _ = reply.send(self.try_sign_head());
        }
        if close.is_some() {
            self.sign_head();
        }
        close
    }

    fn commit(&mut self, writes: Vec<Job>) {
        let before = (self.tree.clone(), self.head);
        let durable_state = writes.iter().any(|job| matches!(job, Job::State(_)));
        let mut batch = Batch::default();
        let mut waiting = writes.into_iter();
        let outcome = self.begin(durable_state).and_then(|()| {
            for job in waiting.by_ref() {
                self.take(job, &mut batch)?;
            }
            self.audit.execute_batch("COMMIT")?;
            Ok(())
        });
        if let Err(error) = outcome {
            let _ = self.audit.execute_batch("ROLLBACK");
            let _ = self.state.execute_batch("ROLLBACK");
            (self.tree, self.head) = before;
            self.refuse(batch, waiting, &error);
            return;
        }
        // From here on the records are on disk. Should the state not follow, it is brought up from the log at once, or,
        // when even that fails, before anything else is held against it.
        let state = self.state.execute_batch("COMMIT").map_err(StoreError::from).or_else(|error| {
            tracing::error!("the state database did not commit and is rebuilt from the log: {error}");
            let _ = self.state.execute_batch("ROLLBACK");
            self.behind = true;
            self.follow()?;
            if batch.finishes.is_empty() { Ok(()) } else { Err(error) }
        });
        if durable_state {
            self.commits.fetch_add(1, Ordering::Release);
        }
        self.tell(batch, state);
    }

    /// Brings the state up to the log when it has stayed behind.
    fn follow(&mut self) -> Result<(), StoreError> {
        if self.behind {
            project::catch_up(&self.audit, &self.state)?;
            self.behind = false;
        }
        Ok(())
    }

    fn begin(&mut self, durable_state: bool) -> Result<(), StoreError> {
        self.follow()?;
        self.state.pragma_update(None, "synchronous", if durable_state { "full" } else { "normal" })?;
        self.audit.execute_batch("BEGIN IMMEDIATE")?;
        self.state.execute_batch("BEGIN IMMEDIATE")?;
        Ok(())
    }

    /// Takes one request into the open transaction. An error means that the whole batch is lost.
    fn take(&mut self, job: Job, batch: &mut Batch) -> Result<(), StoreError> {
        match job {
            Job::State(work) => {
                if let Err(error) = self.state.execute_batch("SAVEPOINT job") {
                    let _ = work(Err(StoreError::Unavailable(error.to_string())));
                    return Err(error.into());
                }
                match work(Ok(&self.state)) {
                    Some(finish) => batch.finishes.push(finish),
                    None => self.state.execute_batch("ROLLBACK TO job")?,
                }
                self.state.execute_batch("RELEASE job")?;
            }
            Job::Record { expect, entries, reply } => {
                // The reply must not be lost when anything below fails, so it goes into the batch first.
                batch.recorded.push((reply, Vec::new()));
                if let Some(reason) = project::first_broken(&self.state, &expect)? {
                    if let Some((reply, _)) = batch.recorded.pop() {
                        batch.conflicts.push((reply, reason));
                    }
                    return Ok(());
                }
                let mut places = Vec::with_capacity(entries.len());
                for entry in entries {
                    places.push(self.append(entry, batch)?);
                }
                if let Some(last) = batch.recorded.last_mut() {
                    last.1 = places;
                }
            }
            Job::Checkpoint(_) | Job::Cosignature { .. } | Job::Close(_) => {}
        }
        Ok(())
    }

    fn append(&mut self, entry: Entry, batch: &mut Batch) -> Result<Recorded, StoreError> {
        let seq = self.tree.size();
        let sealed = seal(&entry.event, seq, self.head)
            .map_err(|e| StoreError::Corrupt { what: entry.event.event_id.to_string(), reason: e.to_string() })?;
        audit_log::insert(&self.audit, &entry.event, &sealed)?;
        for tile in self.tree.append(sealed.leaf_hash) {
            audit_log::insert_tile(&self.audit, &tile)?;
        }
        self.head = sealed.event_hash;
        project::apply(&self.state, seq, &entry.event, entry.result.as_ref())?;
        let recorded = Recorded { seq, event_hash: sealed.event_hash };
        batch.published.push(Published { seq, json: served(&sealed), event: entry.event });
        Ok(recorded)
    }

    fn refuse(&self, batch: Batch, untouched: impl Iterator<Item = Job>, error: &StoreError) {
        let reason = error.chain();
        tracing::error!("nothing could be committed: {reason}");
        if let Ok(mut trouble) = self.trouble.lock() {
            *trouble = Some(reason.clone());
        }
        for (reply, _) in batch.recorded {
            let _ = reply.send(Err(LedgerError::Unavailable(reason.clone())));
        }
        for (reply, _) in batch.conflicts {
            let _ = reply.send(Err(LedgerError::Unavailable(reason.clone())));
        }
        for finish in batch.finishes {
            finish(Err(StoreError::Unavailable(reason.clone())));
        }
        for job in untouched {
            match job {
                Job::Record { reply, .. } => {
                    let _ = reply.send(Err(LedgerError::Unavailable(reason.clone())));
                }
                Job::State(work) => {
                    let _ = work(Err(StoreError::Unavailable(reason.clone())));
                }
                Job::Checkpoint(_) | Job::Cosignature { .. } | Job::Close(_) => {}
            }
        }
    }

    fn tell(&self, batch: Batch, state: Result<(), StoreError>) {
        if let Ok(mut trouble) = self.trouble.lock() {
            *trouble = state.as_ref().err().map(StoreError::chain);
        }
        for record in batch.published {
            // Nobody listening is fine.
            let _ = self.published.send(Arc::new(record));
        }
        let reason = state.err().map(|e| e.chain());
        for (reply, places) in batch.recorded {
            let _ = reply.send(Ok(places));
        }
        for (reply, reason) in batch.conflicts {
            let _ = reply.send(Err(LedgerError::Conflict(reason)));
        }
        for finish in batch.finishes {
            finish(reason.clone().map_or(Ok(()), |reason| Err(StoreError::Unavailable(reason))));
        }
    }

    fn sign_head(&mut self) {
        match self.try_sign_head() {
            Ok(()) => self.sign_failing = false,
            // It is tried again every quarter of a second; saying so once is enough.
            Err(error) if !self.sign_failing => {
                tracing::error!("the audit log's head could not be signed: {}", error.chain());
                self.sign_failing = true;
            }
            Err(_) => {}
        }
    }

    fn try_sign_head(&mut self) -> Result<(), StoreError> {
        let size = self.tree.size();
        if size == self.signed {
            return Ok(());
        }
        let checkpoint = Checkpoint { origin: self.key.name().to_owned(), size, root: self.tree.root() };
        let note = reeve_audit::sign(&checkpoint, &self.key)
            .map_err(|e| StoreError::Corrupt { what: "checkpoint".to_owned(), reason: e.to_string() })?;
        let size_db = i64::try_from(size).unwrap_or(i64::MAX);
        self.audit.execute(
            "INSERT OR IGNORE INTO checkpoints (size, at_us, note) VALUES (?1, ?2, ?3)",
            params![size_db, micros(self.clock.now()), note.to_string()],
        )?;
        self.signed = size;
        Ok(())
    }
}

/// The record as clients get it: the canonical object with its hash added.
pub(crate) fn served(sealed: &Sealed) -> String {
    let text = String::from_utf8_lossy(&sealed.canonical);
    with_hash(&text, &sealed.event_hash)
}

/// Adds the hash to a canonical object.
pub(crate) fn with_hash(canonical: &str, event_hash: &Digest) -> String {
    let body = canonical.strip_suffix('}').unwrap_or(canonical);
    format!("{body},\"event_hash\":\"{event_hash}\"}}")
}

/// The last sequence number whose record has been applied to the state, plus one.
pub(crate) fn applied(state: &Connection) -> Result<u64, StoreError> {
    let text: Option<String> =
        state.query_row("SELECT value FROM meta WHERE name = 'applied'", [], |row| row.get(0)).optional()?;
    Ok(text.and_then(|t| t.parse().ok()).unwrap_or(0))
}
