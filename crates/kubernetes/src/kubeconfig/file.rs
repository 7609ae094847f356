//! The file format, as far as it is read, and several files as one.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{FILE_BYTES_MAX, KubeconfigError};

/// One kubeconfig, or several merged.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Kubeconfig {
    #[serde(rename = "current-context")]
    pub(super) current_context: Option<String>,
    clusters: Option<Vec<NamedCluster>>,
    contexts: Option<Vec<NamedContext>>,
    users: Option<Vec<NamedUser>>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    #[serde(default)]
    cluster: ClusterEntry,
    /// The file that it stands in, which relative paths start from.
    #[serde(skip)]
    file: PathBuf,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    #[serde(default)]
    context: ContextEntry,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: UserEntry,
    #[serde(skip)]
    file: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct ClusterEntry {
    pub(super) server: Option<String>,
    pub(super) certificate_authority: Option<PathBuf>,
    pub(super) certificate_authority_data: Option<String>,
    pub(super) insecure_skip_tls_verify: Option<bool>,
    pub(super) tls_server_name: Option<String>,
    pub(super) proxy_url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ContextEntry {
    pub(super) cluster: Option<String>,
    pub(super) user: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct UserEntry {
    pub(super) token: Option<String>,
    #[serde(rename = "tokenFile")]
    pub(super) token_file: Option<PathBuf>,
    pub(super) client_certificate: Option<PathBuf>,
    pub(super) client_certificate_data: Option<String>,
    pub(super) client_key: Option<PathBuf>,
    pub(super) client_key_data: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    #[serde(rename = "as")]
    pub(super) act_as: Option<String>,
    pub(super) as_uid: Option<String>,
    pub(super) as_groups: Option<Vec<String>>,
    pub(super) as_user_extra: Option<IgnoredAny>,
    pub(super) exec: Option<IgnoredAny>,
    pub(super) auth_provider: Option<IgnoredAny>,
}

impl Kubeconfig {
    /// Understands one file.
    pub(super) fn parse(file: &Path, text: &str) -> Result<Self, KubeconfigError> {
        let mut config: Self = serde_saphyr::from_str(text).map_err(|error| {
            // The parser's own text would quote the file, which may hold tokens.
            let place = error.location().map(|at| format!(":{}:{}", at.line(), at.column())).unwrap_or_default();
            KubeconfigError(format!(
                "the kubeconfig {}{place} is not readable as YAML of that kind; `kubectl config view` shows what it makes of it",
                file.display()
            ))
        })?;
        config.clusters.iter_mut().flatten().for_each(|cluster| cluster.file = file.to_owned());
        config.users.iter_mut().flatten().for_each(|user| user.file = file.to_owned());
        Ok(config)
    }

    /// Adds another file: what stood first stays.
    pub(super) fn merge(&mut self, other: Self) {
        self.current_context = self.current_context.take().filter(|name| !name.is_empty()).or(other.current_context);
        self.clusters.get_or_insert_default().extend(other.clusters.unwrap_or_default());
        self.contexts.get_or_insert_default().extend(other.contexts.unwrap_or_default());
        self.users.get_or_insert_default().extend(other.users.unwrap_or_default());
    }

    pub(super) fn contexts(&self) -> impl Iterator<Item = &str> {
        self.contexts.iter().flatten().map(|context| context.name.as_str())
    }

    pub(super) fn context(&self, name: &str) -> Option<&ContextEntry> {
        self.contexts.iter().flatten().find(|context| context.name == name).map(|found| &found.context)
    }

    /// A cluster, with the file that it stands in.
    pub(super) fn cluster(&self, name: &str) -> Option<(&ClusterEntry, &Path)> {
        let found = self.clusters.iter().flatten().find(|cluster| cluster.name == name)?;
        Some((&found.cluster, &found.file))
    }

    /// A user, with the file that it stands in.
    pub(super) fn user(&self, name: &str) -> Option<(&UserEntry, &Path)> {
        let found = self.users.iter().flatten().find(|user| user.name == name)?;
        Some((&found.user, &found.file))
    }
}

/// A small file as text. `what` says what it is, and `by` which file names it, for people.
pub(super) fn read_text(path: &Path, what: &str, by: Option<&Path>) -> Result<String, KubeconfigError> {
    let named = by.map(|file| format!(", which {} names,", file.display())).unwrap_or_default();
    let bad = |why: String| KubeconfigError(format!("{what} {}{named} cannot be read: {why}", path.display()));
    let about = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?;
    if about.len() > FILE_BYTES_MAX {
        return Err(bad(format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))
}
