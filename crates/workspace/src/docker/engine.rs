//! The engine: found, asked which version it speaks, and asked again after it was away.

use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use reeve_types::{ProblemCode, WorkspaceError};
use tokio::sync::Mutex;

use super::about::About;
use super::failure;
use super::host::Host;

/// How long one answer of the engine may take, in seconds.
const ANSWERS_WITHIN: u64 = 120;

/// How long an engine may take to say what it is.
const MEETS_WITHIN: Duration = Duration::from_secs(15);

/// The way to the engine.
pub(super) struct Engine {
    host: Host,
    known: Mutex<Option<Known>>,
}

/// An engine that has answered once. Every request is a connection of its own, so nothing here breaks when the engine
/// is restarted.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) docker: Docker,
    pub(super) about: Arc<About>,
    address: Arc<str>,
}

impl Known {
    /// Puts a failure of the engine into words. `what` ends a sentence that begins with "cannot".
    pub(super) fn failed(&self, what: impl std::fmt::Display, error: &Error) -> WorkspaceError {
        failure::engine(&self.address, what, error)
    }
}

impl Engine {
    pub(super) fn new(host: Host) -> Self {
        Self { host, known: Mutex::default() }
    }

    /// The engine's address, for sentences.
    pub(super) fn address(&self) -> String {
        match &self.host {
            Host::Socket(path) => format!("unix://{}", path.display()),
            Host::Elsewhere(address) => address.clone(),
            Host::Nowhere(_) => "any of the usual sockets".to_owned(),
        }
    }

    /// The engine, asked for its version the first time.
    pub(super) async fn reach(&self) -> Result<Known, WorkspaceError> {
        let mut kept = self.known.lock().await;
        if let Some(known) = kept.as_ref() {
            return Ok(known.clone());
        }
        let known = match tokio::time::timeout(MEETS_WITHIN, self.meet()).await {
            Ok(met) => met?,
            Err(_) => return Err(failure::unreachable(&self.address(), "reach the engine", "it is silent")),
        };
        *kept = Some(known.clone());
        Ok(known)
    }

    /// Asks the engine once more what it is: it may have come back as another one.
    pub(super) async fn look_again(&self) -> Result<Known, WorkspaceError> {
        *self.known.lock().await = None;
        self.reach().await
    }

    async fn meet(&self) -> Result<Known, WorkspaceError> {
        let path = match &self.host {
            Host::Socket(path) => path.to_string_lossy().into_owned(),
            Host::Elsewhere(address) => {
                let said = format!(
                    "workspaces need an engine of containers on this machine, and `{address}` is not a socket of it; set \
                     DOCKER_HOST to unix:///path/to/docker.sock"
                );
                return Err(WorkspaceError::new(ProblemCode::Unavailable, said));
            }
            Host::Nowhere(places) => {
                let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
                let said = format!(
                    "there is no engine of containers: none of {} is there; start Docker or Podman, or set DOCKER_HOST",
                    places.join(", ")
                );
                return Err(WorkspaceError::new(ProblemCode::Unavailable, said));
            }
        };
        let address: Arc<str> = self.address().into();
        let failed = |error: &Error| failure::engine(&address, "reach the engine", error);
        let docker = Docker::connect_with_unix(&path, ANSWERS_WITHIN, bollard::API_DEFAULT_VERSION)
            .map_err(|error| failed(&error))?;
        let docker = docker.negotiate_version().await.map_err(|error| failed(&error))?;
        let version = docker.version().await.map_err(|error| failed(&error))?;
        let components = version.components.unwrap_or_default();
        let podman = components.iter().any(|component| component.name.contains("Podman"));
        let info = docker.info().await.map_err(|error| failed(&error))?;
        Ok(Known { docker, about: Arc::new(About::read(info, podman)), address })
    }
}
