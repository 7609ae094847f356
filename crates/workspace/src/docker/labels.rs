//! Names and labels: by them everything of a workspace is found again, whatever happened in between.

use std::collections::HashMap;

use reeve_types::workspace::WorkspaceSpec;
use reeve_types::{SnapshotId, WorkspaceId};

/// The owner.
pub(super) const USER: &str = "user_id";
/// The workspace.
pub(super) const WORKSPACE: &str = "session_id";
/// When it was made.
pub(super) const CREATED: &str = "created_at";
/// The volume with the files.
pub(super) const VOLUME: &str = "volume_name";
/// Which installation of Reeve made it; others leave it alone.
pub(super) const INSTALLATION: &str = "reeve.installation";
/// What it is: one of [`Role`].
pub(super) const ROLE: &str = "reeve.role";
/// Whose installation it belongs to.
pub(super) const TENANT: &str = "reeve.tenant";
/// What it was made from.
pub(super) const TEMPLATE: &str = "reeve.template";
/// Which image works on the files.
pub(super) const IMAGE: &str = "reeve.image";
/// A digest of all that decides how a container is started.
pub(super) const SHAPE: &str = "reeve.shape";
/// How a volume ends: `kernel` or `swept`.
pub(super) const DISK: &str = "reeve.disk";
/// Which snapshot a volume is.
pub(super) const SNAPSHOT: &str = "reeve.snapshot";
/// What the workspace may reach, as JSON.
pub(super) const EGRESS: &str = "reeve.egress";
/// How many bytes the files may take.
pub(super) const DISK_BYTES: &str = "reeve.disk_bytes";

/// Longest part of an owner's name in a name.
const OWNER_CHARS_MAX: usize = 40;

/// What a container or a volume is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The container of a workspace.
    Workspace,
    /// A container that works on volumes for a moment.
    Chore,
    /// The volume with the files.
    Files,
    /// The volume with the home directory.
    Home,
    /// A volume with a copy of the files.
    Snapshot,
}

impl Role {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::Chore => "chore",
            Self::Files => "files",
            Self::Home => "home",
            Self::Snapshot => "snapshot",
        }
    }
}

/// What everything of one workspace is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    /// The container.
    pub(super) container: String,
}

impl Names {
    pub(super) fn of(prefix: &str, spec: &WorkspaceSpec) -> Self {
        Self { container: format!("{prefix}-{}-{}", plain(&spec.owner), spec.id) }
    }

    pub(super) fn files(&self) -> String {
        format!("{}-ws", self.container)
    }

    pub(super) fn home(&self) -> String {
        format!("{}-home", self.container)
    }
}

/// What a snapshot's volume is called.
pub(super) fn snapshot_name(files: &str, snapshot: &SnapshotId) -> String {
    format!("{files}-{snapshot}")
}

/// An owner's name as engines take names.
fn plain(owner: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '_' };
    owner.chars().take(OWNER_CHARS_MAX).map(fits).collect()
}

/// Labels of everything of one workspace.
pub(super) fn of_spec(prefix: &str, installation: &str, spec: &WorkspaceSpec) -> HashMap<String, String> {
    let tenant = spec.tenant.to_string();
    let mut labels = of_workspace(prefix, installation, &spec.id);
    let more = [(USER, spec.owner.as_str()), (TENANT, tenant.as_str()), (TEMPLATE, spec.template.as_str())];
    labels.extend(more.map(|(key, value)| (key.to_owned(), value.to_owned())));
    labels.insert(CREATED.to_owned(), jiff::Timestamp::now().to_string());
    labels
}

/// The labels without which nothing is ours.
pub(super) fn of_workspace(prefix: &str, installation: &str, workspace: &WorkspaceId) -> HashMap<String, String> {
    [("app", prefix), (INSTALLATION, installation), (WORKSPACE, workspace.as_str())]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Whether something carries all of these labels. Podman (4.3) lists volumes that carry any of them, so what an engine
/// lists is looked at once more before it is believed: another workspace's files must not be taken for this one's.
pub(super) fn carries(labels: &HashMap<String, String>, wanted: &[(&str, &str)]) -> bool {
    wanted.iter().all(|(key, value)| labels.get(*key).is_some_and(|there| there == value))
}

/// A filter for lists of the engine.
pub(super) fn filter(wanted: &[(&str, &str)]) -> HashMap<String, Vec<String>> {
    let labels = wanted.iter().map(|(key, value)| format!("{key}={value}")).collect();
    HashMap::from([("label".to_owned(), labels)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_label_of_two_is_not_enough() {
        let labels =
            HashMap::from([(INSTALLATION, "a"), (WORKSPACE, "wsp_1")].map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert!(carries(&labels, &[(WORKSPACE, "wsp_1"), (INSTALLATION, "a")]));
        assert!(!carries(&labels, &[(WORKSPACE, "wsp_2"), (INSTALLATION, "a")]));
        assert!(!carries(&labels, &[(WORKSPACE, "wsp_1"), (ROLE, "files")]));
    }

    #[test]
    fn any_owner_makes_a_name_that_engines_take() {
        assert_eq!(plain("ada"), "ada");
        assert_eq!(plain("ada@example.org/../x y"), "ada_example.org_.._x_y");
        assert_eq!(plain(&"ü".repeat(200)).len(), OWNER_CHARS_MAX);
    }
}
