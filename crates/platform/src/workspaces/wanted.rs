//! What callers want: a new workspace, other words for one, a page of a list.

use reeve_types::workspace::{DriverKind, Egress};
use reeve_types::{
    Digest, ProblemCode, SnapshotId, Workspace, WorkspaceError, WorkspaceId, WorkspacePath, WorkspaceState,
};
use serde::{Deserialize, Serialize};

use super::options::LimitsWanted;

/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 100;
/// Longest description, in characters.
const DESCRIPTION_CHARS_MAX: usize = 500;
/// Most labels of one workspace.
const TAGS_MAX: usize = 20;
/// Longest label, in characters.
const TAG_CHARS_MAX: usize = 63;
/// Longest path of a directory of the host, in bytes.
const DIRECTORY_BYTES_MAX: usize = 4096;
/// Most hosts that one workspace may be allowed to reach.
const HOSTS_MAX: usize = 100;

/// A workspace to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewWorkspace {
    /// 1 to 100 letters, digits, spaces, `-`, `_` and `.`.
    pub name: String,
    /// From what.
    #[serde(default = "base")]
    pub template: String,
    /// By which driver, if not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<DriverKind>,
    /// At most 500 characters.
    #[serde(default)]
    pub description: String,
    /// What it may use, as far as it is not what the template says.
    #[serde(default)]
    pub limits: LimitsWanted,
    /// What it may reach, if not what the template says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,
    /// Labels: letters, digits, `-`, `_` and `.`, at most 20 of at most 63 characters.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The directory of the host that it works in, absolute, instead of files of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Whether it is started as well.
    #[serde(default = "yes")]
    pub start: bool,
}

impl NewWorkspace {
    /// A workspace of this name from a template, with nothing else said.
    pub fn named(name: impl Into<String>, template: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            template: template.into(),
            driver: None,
            description: String::new(),
            limits: LimitsWanted::default(),
            egress: None,
            tags: Vec::new(),
            directory: None,
            start: true,
        }
    }
}

fn base() -> String {
    "base".to_owned()
}

fn yes() -> bool {
    true
}

/// A copy of a workspace to be made. Limits, network and labels are those of the original.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForkWanted {
    /// The name of the new one.
    pub name: String,
    /// With the files of this snapshot; as they are now when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<SnapshotId>,
    /// Whether it is started as well.
    #[serde(default)]
    pub start: bool,
}

/// Other words for a workspace, or another idle time. What is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkspaceChange {
    /// Its new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its new description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How long nobody may use it before it is suspended, in milliseconds; 0 never suspends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
}

/// Which workspaces are listed.
#[derive(Debug, Clone, Default)]
pub struct WorkspaceFilter {
    /// Only those in this state; all but deleted ones when absent.
    pub state: Option<WorkspaceState>,
    /// How many at most, 1 to 200.
    pub limit: Option<u32>,
    /// Where the last page ended.
    pub cursor: Option<WorkspaceId>,
}

/// Part of a list, newest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkspacePage {
    /// The workspaces.
    pub workspaces: Vec<Workspace>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<WorkspaceId>,
}

/// A file to be saved, without its content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SaveWanted {
    /// Which file.
    pub path: WorkspacePath,
    /// Save only if the file has this entity tag.
    pub if_match: Option<String>,
    /// Save only if there is no such file.
    pub if_none_match: bool,
    /// Make the directories above it.
    pub create_parents: bool,
    /// Who saves, so that a client knows its own echo among file events.
    pub origin: Option<String>,
    /// SHA-256 that the content must have, when the client said so.
    pub sha256: Option<Digest>,
}

/// Checks a workspace's name.
pub(crate) fn checked_name(name: &str) -> Result<&str, WorkspaceError> {
    let trimmed = name.trim();
    let fine = !trimmed.is_empty()
        && trimmed.chars().count() <= NAME_CHARS_MAX
        && trimmed.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.'));
    if fine {
        Ok(trimmed)
    } else {
        Err(bad("a workspace's name has 1 to 100 letters, digits, spaces, `-`, `_` and `.`"))
    }
}

/// Checks a workspace's description.
pub(crate) fn checked_description(text: &str) -> Result<&str, WorkspaceError> {
    let fine = text.chars().count() <= DESCRIPTION_CHARS_MAX && !text.contains('\0');
    if fine { Ok(text) } else { Err(bad("a workspace's description has at most 500 characters")) }
}

/// Checks how a directory of the host is written, and writes it in one way: absolute, without `.`, `..` and surplus
/// slashes. What is there, and whether it may be had, is found out when it is opened.
pub(crate) fn checked_directory(text: &str) -> Result<String, WorkspaceError> {
    let fine = text.starts_with('/')
        && text.len() <= DIRECTORY_BYTES_MAX
        && !text.chars().any(char::is_control)
        && !text.split('/').any(|part| part == "..");
    if !fine {
        return Err(bad("a directory of the host is an absolute path without `..`, of at most 4096 bytes"));
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    Ok(format!("/{}", parts.join("/")))
}

/// Checks labels. A colon is for labels that Reeve gives, so that nobody can claim one of those.
pub(crate) fn checked_tags(tags: &[String]) -> Result<Vec<String>, WorkspaceError> {
    let fine = |tag: &String| {
        !tag.is_empty()
            && tag.chars().count() <= TAG_CHARS_MAX
            && tag.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    if tags.len() > TAGS_MAX || !tags.iter().all(fine) {
        return Err(bad("a workspace has at most 20 labels, each of 1 to 63 letters, digits, `-`, `_` and `.`"));
    }
    let mut tags = tags.to_vec();
    tags.sort();
    tags.dedup();
    Ok(tags)
}

/// Checks what a workspace wants to reach. Whether a name leads somewhere it must not is found out when it is reached.
pub(crate) fn checked_egress(egress: &Egress) -> Result<Egress, WorkspaceError> {
    if let Egress::Allow { hosts } = egress
        && (hosts.len() > HOSTS_MAX || !hosts.iter().all(|host| is_host(host)))
    {
        let message = "`egress.hosts` names at most 100 hosts, each as `host`, `host:port` or `*.domain`";
        return Err(bad(message));
    }
    Ok(egress.clone())
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let host = host.strip_prefix("*.").unwrap_or(host);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    host.len() <= 253
        && host.split('.').all(label)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

fn bad(message: &str) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_labels_and_hosts_are_what_they_say() {
        for (name, fine) in [("My site 2.0", true), ("größe_1", true), ("", false), ("  ", false), ("a/b", false)] {
            assert_eq!(checked_name(name).is_ok(), fine, "{name:?}");
        }
        assert!(checked_name(&"n".repeat(101)).is_err());
        assert_eq!(checked_tags(&["b".to_owned(), "a".to_owned(), "b".to_owned()]).unwrap(), ["a", "b"]);
        assert!(checked_tags(&["egress:none".to_owned()]).is_err(), "labels of Reeve's own cannot be claimed");
        for (host, fine) in [
            ("example.org", true),
            ("*.example.org", true),
            ("example.org:8443", true),
            ("example.org:0", false),
            ("http://example.org", false),
            ("a..b", false),
            ("*", false),
            ("", false),
        ] {
            let egress = Egress::Allow { hosts: vec![host.to_owned()] };
            assert_eq!(checked_egress(&egress).is_ok(), fine, "{host:?}");
        }
    }

    #[test]
    fn a_directory_of_the_host_is_written_in_one_way() {
        for (text, wanted) in [
            ("/home/me", Some("/home/me")),
            ("//home/./me///", Some("/home/me")),
            ("/", Some("/")),
            ("/a..b", Some("/a..b")),
            ("home/me", None),
            ("", None),
            ("~/me", None),
            ("/home/../etc", None),
            ("/home/me\n", None),
            ("/home/\0", None),
        ] {
            assert_eq!(checked_directory(text).ok().as_deref(), wanted, "{text:?}");
        }
    }

    #[test]
    fn what_is_not_said_of_a_new_workspace_has_its_usual_value() {
        let wanted: NewWorkspace = serde_json::from_str(r#"{"name": "a", "limits": {"pids": 64}}"#).unwrap();
        assert_eq!((wanted.template.as_str(), wanted.start, wanted.limits.pids), ("base", true, Some(64)));
        assert!(serde_json::from_str::<NewWorkspace>(r#"{"name": "a", "limits": {"pid": 64}}"#).is_err());
    }
}
