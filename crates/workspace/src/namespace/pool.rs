//! Spare boxes: laid out and started before anybody asks, so that creating a workspace is taking one.
//!
//! A spare is started exactly as it would be for its workspace; whose it is stands in its record only. So a workspace
//! that got a spare cannot be told from one that did not, except by how soon it was there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reeve_types::workspace::{Egress, WorkspaceSpec};
use reeve_types::{WorkspaceError, WorkspaceLimits};

use super::boxes::Held;
use super::{Inner, NamespaceDriver};

/// How many kinds of spares are kept at most; the one that was asked for longest ago goes first.
const KINDS_MAX: usize = 8;

/// What makes one box usable instead of another.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kind {
    template: String,
    limits: WorkspaceLimits,
    /// Whether there is a way to the network at all; where it leads is decided outside.
    pub(super) egress: bool,
}

impl Kind {
    pub(super) fn of(spec: &WorkspaceSpec) -> Self {
        Self { egress: spec.egress != Egress::None, ..Self::usual(&spec.template, &spec.limits) }
    }

    pub(super) fn usual(template: &str, limits: &WorkspaceLimits) -> Self {
        let limits = WorkspaceLimits { idle_timeout_ms: 0, ..*limits };
        Self { template: template.to_owned(), limits, egress: false }
    }
}

pub(super) struct Pool {
    spares: usize,
    shelves: Mutex<Vec<Shelf>>,
}

/// Spares of one kind; the shelf that was used last stands last.
struct Shelf {
    kind: Kind,
    ready: Vec<Arc<Held>>,
    in_the_making: usize,
}

impl Pool {
    pub(super) fn new(spares: usize) -> Self {
        Self { spares, shelves: Mutex::default() }
    }

    fn shelves(&self) -> MutexGuard<'_, Vec<Shelf>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A spare of a kind, if there is one that still runs.
    pub(super) fn take(&self, kind: &Kind) -> Option<Arc<Held>> {
        let mut shelves = self.shelves();
        let shelf = shelves.iter_mut().find(|shelf| shelf.kind == *kind)?;
        shelf.ready.pop()
    }

    /// Everything on the shelves.
    fn clear(&self) -> Vec<Arc<Held>> {
        self.shelves().drain(..).flat_map(|shelf| shelf.ready).collect()
    }

    /// Notes that a spare is about to be made, if one is missing; tells which old spares make room for it.
    fn begin(&self, kind: &Kind) -> Option<Vec<Arc<Held>>> {
        let mut shelves = self.shelves();
        let mut shelf = match shelves.iter().position(|shelf| shelf.kind == *kind) {
            Some(at) => shelves.remove(at),
            None => Shelf { kind: kind.clone(), ready: Vec::new(), in_the_making: 0 },
        };
        let missing = shelf.ready.len() + shelf.in_the_making < self.spares;
        shelf.in_the_making += usize::from(missing);
        shelves.push(shelf);
        let surplus = shelves.len().saturating_sub(KINDS_MAX);
        let old = shelves.drain(..surplus).flat_map(|shelf| shelf.ready).collect();
        missing.then_some(old)
    }

    /// Puts a spare on its shelf. Gives it back when the shelf is gone.
    fn finish(&self, kind: &Kind, made: Option<Arc<Held>>) -> Option<Arc<Held>> {
        let mut shelves = self.shelves();
        let Some(shelf) = shelves.iter_mut().find(|shelf| shelf.kind == *kind) else { return made };
        shelf.in_the_making = shelf.in_the_making.saturating_sub(1);
        shelf.ready.extend(made);
        None
    }

    fn ready(&self) -> usize {
        self.shelves().iter().map(|shelf| shelf.ready.len()).sum()
    }
}

/// Makes spares in the background until there are enough of a kind.
pub(super) fn refill(inner: &Arc<Inner>, kind: Kind) {
    if inner.options.spares == 0 || inner.background.is_cancelled() {
        return;
    }
    let inner = Arc::clone(inner);
    tokio::spawn(async move {
        while let Some(old) = inner.pool.begin(&kind) {
            for spare in old {
                discard(&inner, &spare).await;
            }
            let made = make_spare(&inner, &kind).await;
            let failed = made.is_err();
            if let Err(error) = &made {
                tracing::warn!(%error, "a spare workspace cannot be made; the next one is made when it is asked for");
            }
            let unwanted = inner.pool.finish(&kind, made.ok());
            let closing = inner.background.is_cancelled();
            if closing {
                for spare in inner.pool.clear() {
                    discard(&inner, &spare).await;
                }
            }
            if let Some(spare) = unwanted {
                discard(&inner, &spare).await;
            }
            if failed || closing {
                return;
            }
        }
    });
}

async fn make_spare(inner: &Arc<Inner>, kind: &Kind) -> Result<Arc<Held>, WorkspaceError> {
    let template = inner.template(&kind.template)?.clone();
    let held = inner.reserve(None, None)?;
    let made = async {
        inner.lay_out(&held, &kind.limits).await?;
        inner.seed(&held, &template).await?;
        inner.launch(&held, kind, &kind.limits, template.env.clone().into_iter().collect(), None).await?;
        held.remember(&inner.layout, |record| record.laid_out = true)
    };
    match made.await {
        Ok(()) => Ok(held),
        Err(error) => {
            discard(inner, &held).await;
            Err(error)
        }
    }
}

async fn discard(inner: &Arc<Inner>, spare: &Held) {
    if let Err(error) = inner.discard(spare).await {
        tracing::warn!(%error, "a spare workspace cannot be removed; it is tried again at the next start");
    }
}

impl NamespaceDriver {
    /// How many spare boxes are ready.
    pub fn spares_ready(&self) -> usize {
        self.0.pool.ready()
    }

    /// Ends the spares that are ready.
    pub(super) async fn drop_spares(&self) {
        for spare in self.0.pool.clear() {
            discard(&self.0, &spare).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_spares_are_made_than_wanted() {
        let pool = Pool::new(1);
        let kind = Kind::usual("base", &WorkspaceLimits::default());
        assert!(pool.begin(&kind).is_some());
        assert!(pool.begin(&kind).is_none(), "one is in the making");
        assert!(pool.finish(&kind, None).is_none());
        assert!(pool.begin(&kind).is_some(), "it failed, so another one may be made");
        assert_eq!(pool.ready(), 0);
    }

    #[test]
    fn idle_time_makes_no_other_kind() {
        let one = WorkspaceLimits { idle_timeout_ms: 5, ..WorkspaceLimits::default() };
        assert_eq!(Kind::usual("base", &one), Kind::usual("base", &WorkspaceLimits::default()));
        let other = WorkspaceLimits { pids: 5, ..WorkspaceLimits::default() };
        assert_ne!(Kind::usual("base", &other), Kind::usual("base", &WorkspaceLimits::default()));
    }
}
