//! From what the gate has resolved to a context of the kubeconfig: the inventory's own, or the one that was given.

use std::sync::Arc;

use reeve_gate::Tool;
use reeve_kubernetes::client::ClientOptions;
use reeve_kubernetes::kubeconfig::Surroundings;
use reeve_kubernetes::tools::{Clusters, Place};
use reeve_platform::clusters::cluster_place;
use reeve_platform::inventory::InventoryHolder;
use reeve_types::Resource;

/// The tools for clusters. They are there without a cluster too: each call then says what is missing.
pub(super) fn tools(inventory: &Arc<InventoryHolder>) -> Vec<Arc<dyn Tool>> {
    let clusters = InventoryClusters { inventory: Arc::clone(inventory) };
    reeve_kubernetes::tools::all(Arc::new(clusters), Surroundings::of_process(), ClientOptions::default())
}

struct InventoryClusters {
    inventory: Arc<InventoryHolder>,
}

impl Clusters for InventoryClusters {
    fn place(&self, resource: &Resource, context: Option<&str>, namespace: Option<&str>) -> Result<Place, String> {
        let inventory = self.inventory.current();
        let place = cluster_place(inventory.as_deref(), context, namespace).map_err(|unknown| unknown.to_string())?;
        // Policy has looked at `resource`; the inventory may have been read again since.
        if place.resource != *resource {
            return Err(format!("the inventory now describes `{}` differently; ask again", resource.name));
        }
        Ok(Place { context: place.context, namespace: place.namespace })
    }
}
