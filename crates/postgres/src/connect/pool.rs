//! Read-only sessions that are lent out again, so that a short look does not cost a new server process each time.
//!
//! Only sessions that ran fixed statements to their end come back; one that failed, ran out of time or was cut off is
//! closed. At most [`LENT_MAX`] are lent for one target at a time, so that looking can never exhaust its connections.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reeve_types::Digest;
use reeve_types::secret::ExposeSecret as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{ConnectOptions, Session, connect};
use crate::conninfo::Target;
use crate::failure::ConnectFailure;

/// Sessions lent for one target at a time.
pub const LENT_MAX: usize = 8;
/// How long a session lives at most; whether the server is a standby and what the role may do is looked up again then.
const LIFETIME: Duration = Duration::from_secs(30);
/// How long a session may lie unused.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Sessions by target.
#[derive(Default)]
pub struct SessionPool {
    places: Mutex<HashMap<Digest, Place>>,
}

struct Place {
    turns: Arc<Semaphore>,
    idle: Vec<Idle>,
}

struct Idle {
    session: Session,
    opened: Instant,
    since: Instant,
}

impl Default for Place {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(LENT_MAX)), idle: Vec::new() }
    }
}

impl SessionPool {
    /// An empty pool.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A session on the target: one that lies ready, or a new one. Waits for its turn within the options' total time.
    pub async fn lend(self: &Arc<Self>, target: &Target, options: &ConnectOptions) -> Result<Lent, ConnectFailure> {
        let key = key(target, options);
        let turns = Arc::clone(&self.places().entry(key).or_default().turns);
        // Whoever cannot get a turn in time gets a session of its own rather than none: the server's limit decides.
        let turn =
            tokio::time::timeout(options.total_timeout / 2, turns.acquire_owned()).await.ok().and_then(Result::ok);
        if let Some(Idle { session, opened, .. }) = self.take(key) {
            return Ok(Lent { session, opened, key, pool: Arc::clone(self), _turn: turn });
        }
        let session = connect(target, options).await?;
        Ok(Lent { session, opened: Instant::now(), key, pool: Arc::clone(self), _turn: turn })
    }

    fn take(&self, key: Digest) -> Option<Idle> {
        let mut places = self.places();
        let idle = &mut places.get_mut(&key)?.idle;
        drop_stale(idle);
        idle.pop()
    }

    fn put(self: &Arc<Self>, key: Digest, session: Session, opened: Instant) {
        let mut places = self.places();
        let Some(place) = places.get_mut(&key) else { return };
        let sweep = place.idle.is_empty();
        place.idle.push(Idle { session, opened, since: Instant::now() });
        if sweep {
            let pool = Arc::downgrade(self);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(IDLE_MAX).await;
                    let Some(pool) = pool.upgrade() else { return };
                    if pool.sweep(key) {
                        return;
                    }
                }
            });
        }
    }

    /// Closes what has lain too long. Returns whether nothing is left.
    fn sweep(&self, key: Digest) -> bool {
        let mut places = self.places();
        let Some(place) = places.get_mut(&key) else { return true };
        drop_stale(&mut place.idle);
        let empty = place.idle.is_empty();
        if empty && Arc::strong_count(&place.turns) == 1 {
            places.remove(&key);
        }
        empty
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Digest, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn drop_stale(idle: &mut Vec<Idle>) {
    idle.retain(|kept| {
        !kept.session.is_closed() && kept.opened.elapsed() < LIFETIME && kept.since.elapsed() < IDLE_MAX
    });
}

/// What makes two sessions interchangeable: the same place, role, database, password, TLS and limits.
fn key(target: &Target, options: &ConnectOptions) -> Digest {
    let mut text = format!("{target:?} {options:?}");
    for host in &target.hosts {
        let password = host.password.as_ref().map_or("", |password| password.expose_secret());
        // Only its digest is kept, and that only in memory.
        let _ = write!(text, " {}", Digest::of(password.as_bytes()));
    }
    Digest::of(text.as_bytes())
}

/// A session on loan. Dropped, it is closed; given back, it serves the next look.
pub struct Lent {
    session: Session,
    opened: Instant,
    key: Digest,
    pool: Arc<SessionPool>,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Lent {
    /// Says that every statement ran to its end and nothing about the session was changed.
    pub fn give_back(self) {
        if !self.session.is_closed() && self.opened.elapsed() < LIFETIME {
            self.pool.put(self.key, self.session, self.opened);
        }
    }
}

impl Deref for Lent {
    type Target = Session;
    fn deref(&self) -> &Session {
        &self.session
    }
}
