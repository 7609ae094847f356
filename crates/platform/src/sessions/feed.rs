//! Telling those who watch. What is told is on disk already; a watcher that misses something reads it from there.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use reeve_store::{StoreError, StoredSession};
use reeve_types::session::{Session, SessionEvent};
use reeve_types::{Principal, SessionId, TenantId};
use tokio::sync::broadcast;

use super::{SessionError, Sessions, lock};
use crate::Permission;

/// Events that one watcher may lag behind before it reads from the database.
const LAG_MAX: usize = 256;
/// Events read from the database at once.
const PAGE: usize = 500;
/// What is remembered of the stream of all sessions.
const RECENT_MAX: usize = 1024;

/// One event as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its place in the stream.
    pub seq: u64,
    /// The event as JSON.
    pub json: Arc<str>,
}

/// What happened in any session that a watcher may see.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its place in the stream of all sessions. Numbers grow, and begin above those of earlier processes.
    pub id: u64,
    tenant: TenantId,
    owner: String,
    /// The session after the event, as it is listed.
    pub session: Arc<Session>,
    /// The kind of event.
    pub event: &'static str,
}

/// What happens in all sessions, from some place on.
pub struct Overview {
    /// What happened after that place, oldest first.
    pub missed: VecDeque<Told>,
    /// Whether more has happened since then than is remembered: lists are to be read anew.
    pub gap: bool,
    /// What happens from now on.
    pub live: broadcast::Receiver<Told>,
}

/// What was told last of all sessions, for watchers that come back.
struct Recent {
    next: u64,
    kept: VecDeque<Told>,
}

pub(super) struct Feeds {
    each: Mutex<HashMap<SessionId, broadcast::Sender<Frame>>>,
    all: broadcast::Sender<Told>,
    recent: Mutex<Recent>,
}

impl Feeds {
    /// The time makes numbers of this process greater than those of earlier ones.
    pub(super) fn new(now: jiff::Timestamp) -> Self {
        let next = u64::try_from(now.as_microsecond()).unwrap_or(1);
        Self {
            each: Mutex::default(),
            all: broadcast::channel(RECENT_MAX).0,
            recent: Mutex::new(Recent { next, kept: VecDeque::new() }),
        }
    }
}

impl Feeds {
    pub(super) fn tell(&self, row: &StoredSession, events: Vec<SessionEvent>) {
        // Deltas are for those who watch this session; lists need not hear of each word.
        // Of events that were written together, the one that means most to people stands for all.
        let listed = || events.iter().filter(|event| !matches!(event.what.as_str(), "delta" | "thought"));
        let journal = |event: &&SessionEvent| matches!(event.what.as_str(), "model_asked" | "model_replied");
        let listed = listed().rfind(|event| !journal(event)).or_else(|| listed().next_back());
        if let Some(event) = listed {
            // Remembering and telling are one step, so that whoever comes between misses nothing and hears nothing twice.
            let mut recent = lock(&self.recent);
            let told = Told {
                id: recent.next,
                tenant: row.session.tenant.clone(),
                owner: row.session.owner.clone(),
                session: Arc::new(row.session.clone()),
                event: event.what.as_str(),
            };
            recent.next += 1;
            if recent.kept.len() == RECENT_MAX {
                recent.kept.pop_front();
            }
            recent.kept.push_back(told.clone());
            let _ = self.all.send(told);
        }
        let mut each = lock(&self.each);
        let Some(sender) = each.get(&row.session.id) else { return };
        if sender.receiver_count() == 0 {
            each.remove(&row.session.id);
            return;
        }
        for event in events {
            match serde_json::to_string(&event) {
                Ok(json) => drop(sender.send(Frame { seq: event.seq, json: json.into() })),
                Err(error) => tracing::error!(session.id = %event.session_id, "an event cannot be told: {error}"),
            }
        }
    }

    fn overview(&self, after: Option<u64>) -> Overview {
        let recent = lock(&self.recent);
        let live = self.all.subscribe();
        let Some(after) = after else { return Overview { missed: VecDeque::new(), gap: false, live } };
        let first = recent.kept.front().map_or(recent.next, |told| told.id);
        let gap = after + 1 < first || after >= recent.next;
        let missed =
            if gap { VecDeque::new() } else { recent.kept.iter().filter(|told| told.id > after).cloned().collect() };
        Overview { missed, gap, live }
    }

    fn subscribe(&self, id: &SessionId) -> broadcast::Receiver<Frame> {
        let mut each = lock(&self.each);
        match each.get(id) {
            Some(sender) => sender.subscribe(),
            None => {
                let (sender, receiver) = broadcast::channel(LAG_MAX);
                each.insert(id.clone(), sender);
                receiver
            }
        }
    }
}

/// One watcher's place in one session's stream.
pub struct Feed {
    sessions: Sessions,
    id: SessionId,
    /// The last event that was given out.
    last: u64,
    live: broadcast::Receiver<Frame>,
    /// Read from the database and not yet given out, newest first.
    read: Vec<Frame>,
    /// Whether the database may hold events that were not read.
    behind: bool,
}

impl Feed {
    /// The next event; waits for it. There is no end: a session goes on as long as it exists.
    ///
    /// # Errors
    ///
    /// The database cannot be read.
    pub async fn next(&mut self) -> Result<Frame, StoreError> {
        loop {
            if let Some(frame) = self.ready().await? {
                return Ok(frame);
            }
            match self.live.recv().await {
                Ok(frame) if frame.seq <= self.last => {}
                Ok(frame) if frame.seq == self.last + 1 => {
                    self.last = frame.seq;
                    return Ok(frame);
                }
                // Missed, or told out of order: the database has them in order.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => self.behind = true,
                Err(broadcast::error::RecvError::Closed) => {
                    self.live = self.sessions.core.feeds.subscribe(&self.id);
                    self.behind = true;
                }
            }
        }
    }

    /// What is on disk and was not given out yet.
    ///
    /// # Errors
    ///
    /// The database cannot be read.
    pub async fn ready(&mut self) -> Result<Option<Frame>, StoreError> {
        if self.read.is_empty() && self.behind {
            let page = self.sessions.platform.store().session_event_texts(&self.id, self.last, PAGE).await?;
            self.behind = !page.is_empty();
            self.read = page.into_iter().rev().map(|(seq, json)| Frame { seq, json: json.into() }).collect();
        }
        let next = self.read.pop();
        if let Some(frame) = &next {
            self.last = frame.seq;
        }
        Ok(next)
    }
}

impl Sessions {
    /// Follows a session from after a sequence number: what is on disk first, then what happens.
    ///
    /// # Errors
    ///
    /// The caller may not see it.
    pub async fn follow(&self, caller: &Principal, id: &SessionId, after: u64) -> Result<Feed, SessionError> {
        self.visible(caller, id).await?;
        Ok(self.feed(id, after))
    }

    pub(super) fn feed(&self, id: &SessionId, after: u64) -> Feed {
        // Listening comes first, so that nothing falls between the two.
        let live = self.core.feeds.subscribe(id);
        Feed { sessions: self.clone(), id: id.clone(), last: after, live, read: Vec::new(), behind: true }
    }

    /// Events of a session after a sequence number, as JSON, oldest first.
    ///
    /// # Errors
    ///
    /// The caller may not see it.
    pub async fn events(
        &self,
        caller: &Principal,
        id: &SessionId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, String)>, SessionError> {
        self.visible(caller, id).await?;
        Ok(self.platform.store().session_event_texts(id, after, limit.clamp(1, 1000)).await?)
    }

    /// Everything that changes in lists of sessions, from now on or from after a place. Hold each against
    /// [`Told::is_for`].
    pub fn watch_all(&self, after: Option<u64>) -> Overview {
        self.core.feeds.overview(after)
    }
}

impl Told {
    /// Whether a caller may see it.
    pub fn is_for(&self, caller: &Principal) -> bool {
        caller.tenant == self.tenant && (caller.root().label() == self.owner || Permission::Administer.allows(caller))
    }
}
