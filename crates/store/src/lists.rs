//! Lists of sessions that were read a moment ago.
//!
//! Pages and clients look at the same list again and again, far more often than a session changes. A list holds as long as
//! no transaction of the state has committed since before it was read, and no longer: the writer counts them, and this
//! process is the only one that writes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use reeve_types::TenantId;

use crate::{SessionFilter, StoredSession};

/// How many lists are kept; one holds at most a page of sessions.
const LISTS_MAX: usize = 32;

type Wanted = (TenantId, SessionFilter);

#[derive(Default)]
pub(crate) struct Lists {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// How many transactions had committed when these were read.
    as_of: u64,
    lists: HashMap<Wanted, Arc<[StoredSession]>>,
}

impl Lists {
    /// The list as it is after so many transactions, if it was read since the last of them.
    pub(crate) fn get(&self, wanted: &Wanted, commits: u64) -> Option<Arc<[StoredSession]>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_of == commits { kept.lists.get(wanted).cloned() } else { None }
    }

    /// Keeps a list whose reading began after so many transactions.
    pub(crate) fn keep(&self, wanted: Wanted, commits: u64, list: &Arc<[StoredSession]>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if commits < kept.as_of {
            return;
        }
        if commits > kept.as_of || kept.lists.len() >= LISTS_MAX {
            kept.lists.clear();
            kept.as_of = commits;
        }
        kept.lists.insert(wanted, Arc::clone(list));
    }
}
