//! Tenants: made and listed by whoever operates the installation.
//!
//! A new tenant has one thing, the key of its first administrator, who makes keys and users in it. It has no targets: the
//! inventory and the servers of other programs' tools are the first tenant's.

use std::collections::BTreeSet;
use std::sync::Arc;

use reeve_gate::{Refusal, UnknownTarget};
use reeve_store::{StoreError, StoredTenant};
use reeve_types::secret::SecretString;
use reeve_types::{Arguments, EventType, KeyId, Principal, PrincipalKind, ResourceKind, TenantId, ToolSpec, TraceId};
use serde_json::Value;

use crate::inventory::Inventory;
use crate::{Platform, PlatformError};

/// Whom the first key of a tenant speaks for.
const FIRST_PRINCIPAL: &str = "admin";
/// How many tenants one installation holds.
const TENANTS_MAX: usize = 10_000;

/// A tenant that was made, with the key of its first administrator.
#[derive(Debug)]
pub struct MadeTenant {
    /// Its name.
    pub tenant: TenantId,
    /// The id of the key.
    pub key_id: KeyId,
    /// The key; it is stored nowhere.
    pub key: SecretString,
    /// Whom it speaks for.
    pub principal: &'static str,
}

/// A tenant as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub name: TenantId,
    /// Who made it; nobody made the first one.
    pub made_by: Option<String>,
    /// When.
    pub created_at: Option<jiff::Timestamp>,
}

impl Platform {
    /// Makes a tenant and the key of its first administrator. Recorded for the operator and in the new tenant.
    ///
    /// # Errors
    ///
    /// There is one of that name, or nothing can be recorded; then there is no new tenant.
    pub async fn create_tenant(
        &self,
        by: &Principal,
        trace: TraceId,
        name: TenantId,
    ) -> Result<MadeTenant, PlatformError> {
        if name == TenantId::default_tenant() {
            return Err(taken(&name));
        }
        if self.store().tenants().await?.len() >= TENANTS_MAX {
            return Err(PlatformError::Conflict(format!(
                "there are {TENANTS_MAX} tenants, which is the most there can be"
            )));
        }
        let now = self.clock().now();
        let roles = BTreeSet::from(["admin".to_owned()]);
        let note = "the first key of the tenant".to_owned();
        let (key, text) =
            self.identity().fresh_key(name.clone(), PrincipalKind::User, FIRST_PRINCIPAL.to_owned(), roles, note);
        let key_id = key.key_id.clone();
        let row = StoredTenant { tenant: name.clone(), made_by: by.root().label(), created_at: now };
        if !self.store().add_tenant(row, key).await? {
            return Err(taken(&name));
        }
        if let Err(error) = self.record_tenant(by, trace, &name, &key_id).await {
            // What cannot be recorded does not stay.
            self.store().revoke_key(&name, &key_id, now).await?;
            self.store().drop_tenant(&name).await?;
            return Err(error);
        }
        Ok(MadeTenant { tenant: name, key_id, key: text.into(), principal: FIRST_PRINCIPAL })
    }

    async fn record_tenant(
        &self,
        by: &Principal,
        trace: TraceId,
        name: &TenantId,
        key_id: &KeyId,
    ) -> Result<(), PlatformError> {
        use reeve_gate::Ledger as _;
        let note = format!("the tenant {name} was made, with the key {key_id} for its first administrator");
        let event = |tenant: &TenantId| {
            let mut event = self.event(EventType::IdentityChanged, tenant, trace.clone());
            event.principal = Some(by.clone());
            event.note.clone_from(&note);
            event
        };
        let both = vec![event(&by.tenant).into(), event(name).into()];
        self.store().record(vec![], both).await?;
        Ok(())
    }

    /// Every tenant, the first one first.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        let first = Tenant { name: TenantId::default_tenant(), made_by: None, created_at: None };
        let made = self.store().tenants().await?.into_iter().map(|row| Tenant {
            name: row.tenant,
            made_by: Some(row.made_by),
            created_at: Some(row.created_at),
        });
        Ok(std::iter::once(first).chain(made).collect())
    }

    /// The inventory as a tenant sees it: the first tenant's own, and an empty one for every other.
    pub fn inventory_of(&self, tenant: &TenantId) -> Option<Arc<Inventory>> {
        if has_targets(tenant) { self.inventory().current() } else { Some(Arc::default()) }
    }

    /// Refuses a call on what only the first tenant has.
    pub(crate) fn within_reach(
        &self,
        tenant: &TenantId,
        spec: &ToolSpec,
        arguments: &Arguments,
    ) -> Result<(), PlatformError> {
        if has_targets(tenant) || is_everybodys(spec.resource_kind) {
            return Ok(());
        }
        let named = spec.target_argument.as_deref().and_then(|name| arguments.get(name)).and_then(Value::as_str);
        let target = named.map_or_else(|| "(no target given)".to_owned(), reeve_types::mask_dsn);
        Err(Refusal::UnknownTarget(UnknownTarget { target, known: Vec::new() }).into())
    }
}

/// Whether a tenant has targets besides what its people make in it.
pub fn has_targets(tenant: &TenantId) -> bool {
    *tenant == TenantId::default_tenant()
}

/// What every tenant has of its own: workspaces, and sessions with agents.
fn is_everybodys(kind: ResourceKind) -> bool {
    matches!(kind, ResourceKind::Workspace | ResourceKind::Agent)
}

fn taken(name: &TenantId) -> PlatformError {
    PlatformError::Conflict(format!("there is a tenant `{name}` already; choose another name"))
}
