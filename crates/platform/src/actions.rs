//! Actions as their requesters see them.

use reeve_gate::StoredAction;
use reeve_store::ActionFilter;
use reeve_types::{ActionId, Principal, TenantId};

use crate::{Permission, Platform, PlatformError};

impl Platform {
    /// One action of the caller's tenant.
    pub async fn action(&self, tenant: &TenantId, id: &ActionId) -> Result<StoredAction, PlatformError> {
        self.store().action_of(tenant, id).await?.ok_or_else(|| PlatformError::NoSuchAction(id.clone()))
    }

    /// Actions of a tenant, newest first.
    pub async fn actions(&self, tenant: &TenantId, filter: ActionFilter) -> Result<Vec<StoredAction>, PlatformError> {
        Ok(self.store().actions(tenant, filter).await?)
    }

    /// Whether the caller may read what an action gave back: whoever asked for it, and whoever may run such tools.
    pub fn may_read_result(&self, caller: &Principal, action: &StoredAction) -> bool {
        caller.is_same_party(&action.requester)
            || Permission::RunDatabaseTools.allows(caller)
            || Permission::Approve.allows(caller)
    }
}
