//! Logins and accounts that hold, in memory: every request of a signed-in person looks both up.
//!
//! This process is the only one that writes the store, so what was read stays true until it is changed here. Every change
//! moves the generation on, and what a look that began before finds is not kept.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reeve_store::{StoredAccount, StoredLogin};
use reeve_types::{AccountId, LoginId};

use super::{AccountError, Accounts};

/// How many of each are kept.
const KEPT_MAX: usize = 4096;

#[derive(Default)]
pub(super) struct Live {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    generation: u64,
    logins: HashMap<LoginId, StoredLogin>,
    accounts: HashMap<AccountId, StoredAccount>,
}

impl Live {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets logins that were ended.
    pub(super) fn forget_logins(&self, ids: &[LoginId]) {
        let mut known = self.lock();
        known.generation += 1;
        for id in ids {
            known.logins.remove(id);
        }
    }

    /// Forgets an account that was changed.
    pub(super) fn forget_account(&self, id: &AccountId) {
        let mut known = self.lock();
        known.generation += 1;
        known.accounts.remove(id);
    }
}

impl Accounts {
    /// A login that has not ended.
    pub(super) async fn login(&self, id: &LoginId) -> Result<Option<StoredLogin>, AccountError> {
        let generation = {
            let known = self.parts.live.lock();
            if let Some(login) = known.logins.get(id) {
                return Ok(Some(login.clone()));
            }
            known.generation
        };
        let found = self.parts.store.login(id).await?.filter(|login| login.ended_at.is_none());
        let mut known = self.parts.live.lock();
        if let Some(login) = &found
            && known.generation == generation
        {
            if known.logins.len() >= KEPT_MAX {
                known.logins.clear();
            }
            known.logins.insert(id.clone(), login.clone());
        }
        Ok(found)
    }

    /// An account, switched off or not.
    pub(super) async fn account(&self, id: &AccountId) -> Result<Option<StoredAccount>, AccountError> {
        let generation = {
            let known = self.parts.live.lock();
            if let Some(account) = known.accounts.get(id) {
                return Ok(Some(account.clone()));
            }
            known.generation
        };
        let found = self.parts.store.account(id).await?;
        let mut known = self.parts.live.lock();
        if let Some(account) = &found
            && known.generation == generation
        {
            if known.accounts.len() >= KEPT_MAX {
                known.accounts.clear();
            }
            known.accounts.insert(id.clone(), account.clone());
        }
        Ok(found)
    }
}
