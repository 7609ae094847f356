//! The tools of the `k8s` agent: what people, models and playbooks may look at in a cluster.
//!
//! Each tool is a [`define::Definition`]: what it is, and one function that does it. [`ClusterTool`] is what they
//! share: opening the permit, finding the cluster, the deadline, and turning what went wrong into a report.

mod define;
mod describe;
mod events;
mod job;
mod logs;
mod network;
mod nodes;
mod pods;
mod render;
mod resources;
mod trouble;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use reeve_gate::{Permitted, TaskCx, Tool, ToolCall, ToolFailure};
use reeve_types::{Arguments, Resource, ToolOutput, ToolSpec};

use crate::client::{ClientOptions, Clients};
use crate::kubeconfig::Surroundings;
use define::Definition;
use job::Job;

/// Where a call leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The context of the kubeconfig; its current one when absent.
    pub context: Option<String>,
    /// The namespace; absent for the cluster as a whole, `all` for all of them.
    pub namespace: Option<String>,
}

/// Knows where the clusters that the gate has resolved are.
pub trait Clusters: Send + Sync {
    /// The place that a context and a namespace name, as the caller wrote them. `resource` is what policy has looked
    /// at; a place that is not this resource must be refused.
    ///
    /// The error is a sentence for people.
    fn place(&self, resource: &Resource, context: Option<&str>, namespace: Option<&str>) -> Result<Place, String>;
}

/// What every tool of this module holds.
struct Kit {
    clusters: Arc<dyn Clusters>,
    around: Surroundings,
    options: ClientOptions,
    clients: Clients,
}

/// Every tool of the `k8s` agent.
pub fn all(clusters: Arc<dyn Clusters>, around: Surroundings, options: ClientOptions) -> Vec<Arc<dyn Tool>> {
    let kit = Arc::new(Kit { clusters, around, options, clients: Clients::default() });
    let families = [
        pods::tools(),
        network::tools(),
        events::tools(),
        logs::tools(),
        describe::tools(),
        nodes::tools(),
        resources::tools(),
    ];
    let tool = |definition| Arc::new(ClusterTool { definition, kit: Arc::clone(&kit) }) as Arc<dyn Tool>;
    families.into_iter().flatten().map(tool).collect()
}

/// One tool, ready for the gate.
struct ClusterTool {
    definition: Definition,
    kit: Arc<Kit>,
}

impl Tool for ClusterTool {
    fn spec(&self) -> &ToolSpec {
        &self.definition.spec
    }

    /// `context/namespace`: the cluster alone would leave policies for a namespace blind.
    fn target_of(&self, arguments: &Arguments) -> Option<String> {
        let (context, namespace) = self.definition.named_by(arguments);
        Some(format!("{}/{}", context.unwrap_or_default(), namespace.unwrap_or_default()))
    }

    fn run<'a>(&'a self, call: Permitted<ToolCall>, cx: &'a TaskCx) -> BoxFuture<'a, Result<ToolOutput, ToolFailure>> {
        Box::pin(async move {
            // What the limits bound is changes, and nothing here changes anything.
            let (call, _) = call.open();
            Job::new(&self.kit, &self.definition, call, cx).carry_out(self.definition.body).await
        })
    }
}
