//! What makes a box that runs fit for a workspace as it is wanted now, instead of one that is started anew.

use reeve_types::WorkspaceLimits;
use reeve_types::workspace::{Egress, WorkspaceSpec};

/// What decides how a box is started.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kind {
    template: String,
    limits: WorkspaceLimits,
    /// Whether there is a way to the network at all; where it leads is decided outside.
    pub(super) egress: bool,
}

impl Kind {
    pub(super) fn of(spec: &WorkspaceSpec) -> Self {
        // How long it may be idle is looked after by the service, and changes nothing inside.
        let limits = WorkspaceLimits { idle_timeout_ms: 0, ..spec.limits };
        Self { template: spec.template.clone(), limits, egress: spec.egress != Egress::None }
    }
}
