//! Users of this machine that workspaces run as: each its own, out of a range that belongs to nobody else.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reeve_types::{ProblemCode, WorkspaceError};

pub(super) struct Users {
    range: Range<u32>,
    state: Mutex<State>,
}

struct State {
    taken: BTreeSet<u32>,
    next: u32,
}

impl Users {
    /// `seed` decides where allocation begins, so that two installations on one machine begin apart.
    pub(super) fn new(range: Range<u32>, seed: u64) -> Self {
        let size = u64::from(range.end.saturating_sub(range.start)).max(1);
        let begin = range.start + u32::try_from(seed % size).unwrap_or_default();
        Self { range, state: Mutex::new(State { taken: BTreeSet::new(), next: begin }) }
    }

    /// Notes that a user is somebody's already.
    pub(super) fn keep(&self, uid: u32) {
        self.state().taken.insert(uid);
    }

    /// A user that nobody has.
    pub(super) fn allocate(&self) -> Result<u32, WorkspaceError> {
        let mut state = self.state();
        for _ in self.range.clone() {
            let candidate = state.next;
            state.next = if candidate + 1 >= self.range.end { self.range.start } else { candidate + 1 };
            if state.taken.insert(candidate) {
                return Ok(candidate);
            }
        }
        let said = format!(
            "all users from {} to {} belong to workspaces; remove some, or widen the range",
            self.range.start,
            self.range.end.saturating_sub(1)
        );
        Err(WorkspaceError::new(ProblemCode::QuotaReached, said))
    }

    /// Takes a user back.
    pub(super) fn release(&self, uid: u32) {
        self.state().taken.remove(&uid);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_is_given_twice_until_it_comes_back() {
        let users = Users::new(10..13, 2);
        users.keep(10);
        assert_eq!(users.allocate(), Ok(12));
        assert_eq!(users.allocate(), Ok(11));
        assert!(users.allocate().is_err());
        users.release(12);
        assert_eq!(users.allocate(), Ok(12));
    }
}
