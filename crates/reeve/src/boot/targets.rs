//! From what the gate has resolved to connection parameters: the inventory's entry, or the target as it was given.

use std::sync::Arc;

use reeve_platform::inventory::{InventoryHolder, SameTarget};
use reeve_postgres::conninfo::{Conninfo, Surroundings, Target};
use reeve_postgres::tools::Targets;
use reeve_types::Resource;

/// Whether a connection string that was given names the place that an entry of the inventory describes.
pub(super) fn same_target() -> SameTarget {
    Arc::new(|given, known| match (Conninfo::parse(given), Conninfo::parse(known)) {
        (Ok(given), Ok(known)) => known.is_named_by(&given),
        _ => false,
    })
}

pub(super) struct InventoryTargets {
    inventory: Arc<InventoryHolder>,
    around: Surroundings,
}

impl InventoryTargets {
    pub(super) fn new(inventory: Arc<InventoryHolder>, around: Surroundings) -> Self {
        Self { inventory, around }
    }
}

impl Targets for InventoryTargets {
    fn target(&self, resource: &Resource, given: Option<&str>) -> Result<Target, String> {
        if self.inventory.current().is_some() {
            // The entry's own string is used, never the caller's: it is the entry's tags that policy has looked at.
            let (id, server) = self
                .inventory
                .database(&resource.name)
                .ok_or_else(|| format!("`{}` is no longer in the inventory", resource.name))?;
            let conninfo = Conninfo::parse(&server.connection_string)
                .map_err(|e| format!("the connection_string of `{id}` in the inventory is not valid: {e}"))?;
            return Target::resolve(&conninfo, &self.around, server.password_env.as_deref())
                .map_err(|e| format!("the connection parameters of `{id}` are not complete: {e}"));
        }
        Target::parse(given.unwrap_or_default(), &self.around)
            .map_err(|e| format!("the connection string is not valid: {e}"))
    }
}
