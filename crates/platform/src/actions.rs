//! Actions as their requesters see them.

use reeve_gate::{Ledger as _, StoredAction};
use reeve_store::ActionFilter;
use reeve_types::{ActionId, Principal, TenantId};

use crate::{Permission, Platform, PlatformError};

impl Platform {
    /// One action of the caller's tenant. A requester who reads the result of an ended act has collected it.
    pub async fn action(&self, caller: &Principal, id: &ActionId) -> Result<StoredAction, PlatformError> {
        let found = self.store().action_of(&caller.tenant, id).await?;
        let action = found.ok_or_else(|| PlatformError::NoSuchAction(id.clone()))?;
        if action.state.is_final() && action.collected_at.is_none() && caller.is_same_party(&action.requester) {
            self.store().collect(id, self.clock().now()).await?;
        }
        Ok(action)
    }

    /// Actions of a tenant, newest first.
    pub async fn actions(&self, tenant: &TenantId, filter: ActionFilter) -> Result<Vec<StoredAction>, PlatformError> {
        Ok(self.store().actions(tenant, filter).await?)
    }

    /// Whether the caller may read what an action gave back: whoever asked for it, and whoever may run such tools.
    pub fn may_read_result(&self, caller: &Principal, action: &StoredAction) -> bool {
        caller.is_same_party(&action.requester)
            || Permission::to_run(action.resource.kind).allows(caller)
            || Permission::Approve.allows(caller)
    }
}
