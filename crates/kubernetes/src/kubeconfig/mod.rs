//! Where a cluster is and who we are there: `KUBECONFIG`, `~/.kube/config`, or the account of the pod that we run in.
//!
//! Files are read anew for every call, because tokens in them are short-lived. Plugins that fetch credentials
//! (`exec`, `auth-provider`) are refused: a command line in a file is code.

mod file;
mod resolve;

use std::ffi::OsString;
use std::path::PathBuf;

use reeve_types::Digest;
use reeve_types::secret::{ExposeSecret as _, SecretString};

/// Where the account of a pod is mounted.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The longest kubeconfig, certificate, key or token file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What of the process decides where clusters are found.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `KUBECONFIG`: files between colons.
    pub kubeconfig: Option<OsString>,
    /// The home directory.
    pub home: Option<PathBuf>,
    /// `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`, inside a cluster.
    pub service: Option<(String, String)>,
    /// Where the account of our pod is mounted.
    pub service_account: PathBuf,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            kubeconfig: std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()),
            home: std::env::var_os("HOME").filter(|value| !value.is_empty()).map(PathBuf::from),
            service: text("KUBERNETES_SERVICE_HOST").zip(text("KUBERNETES_SERVICE_PORT")),
            service_account: PathBuf::from(SERVICE_ACCOUNT),
        }
    }
}

/// A cluster cannot be found, or nobody says who we are there. The text is a sentence for people and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KubeconfigError(pub(crate) String);

/// Where a cluster is, and who we are there.
#[derive(Debug, Clone)]
pub struct Access {
    /// The context, as people know it.
    pub context: String,
    /// The file that says so, or `the service account of this pod`.
    pub source: String,
    /// The user's name in that file.
    pub user: String,
    pub(crate) server: reqwest::Url,
    /// Certificates of authorities in PEM; those of the system when absent.
    pub(crate) authorities: Option<Vec<u8>>,
    pub(crate) trusts_anybody: bool,
    /// Our certificate and key in PEM.
    pub(crate) certificate: Option<SecretString>,
    pub(crate) credentials: Credentials,
    /// Whom to act as.
    pub(crate) impersonate: Vec<(&'static str, String)>,
    pub(crate) proxy: Option<String>,
}

impl Access {
    /// The API server's address.
    pub fn server(&self) -> &str {
        self.server.as_str()
    }

    /// Equal for accesses that can share connections.
    pub(crate) fn connection_key(&self) -> Digest {
        let mut bytes = Vec::new();
        let parts = [
            self.server.as_str().as_bytes(),
            self.authorities.as_deref().unwrap_or_default(),
            self.certificate.as_ref().map(|pem| pem.expose_secret().as_bytes()).unwrap_or_default(),
            self.proxy.as_deref().unwrap_or_default().as_bytes(),
            if self.trusts_anybody { b"anybody" } else { b"" },
        ];
        for part in parts {
            bytes.extend_from_slice(&part.len().to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Digest::of(&bytes)
    }
}

/// What every request brings.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// Nothing, or a certificate.
    None,
    Token(SecretString),
    Password(String, SecretString),
}

pub use resolve::find;
