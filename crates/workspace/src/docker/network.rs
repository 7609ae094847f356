//! The way to the network that a container was given: the proxy of [`crate::egress`], which listens in the container's own
//! network although it belongs to the server. A server that comes back opens it again by the container's label.

use reeve_types::workspace::Egress;
use reeve_types::{ProblemCode, WorkspaceError, WorkspaceId};

use super::Inner;
use super::container::{TOKEN, token_of};
use super::engine::Known;
use super::failure::{aside, cannot, resting};
use super::held::Held;
use crate::egress::{self, Proxy, ROOT_ONLY, Rules};
use crate::process::ProcessMark;

/// An open way to the network, for as long as it is kept.
pub(super) struct Way {
    /// The container's first process: another one has another network.
    init: ProcessMark,
    proxy: Proxy,
}

impl Way {
    /// Whether it leads out of the container that runs now.
    fn is_open(&self) -> bool {
        self.init.runs()
    }

    /// Closes it, and answers when the place where it listened is free.
    pub(super) async fn close(self) {
        self.proxy.end().await;
    }
}

impl Inner {
    /// Why no workspace here has a way to the network.
    pub(super) fn without_network(&self) -> Option<&'static str> {
        (!rustix::process::geteuid().is_root()).then_some(ROOT_ONLY)
    }

    /// Refuses a way to the network that cannot be made or makes no sense, before anything is done for it.
    pub(super) fn check_egress(&self, known: &Known, egress: &Egress) -> Result<(), WorkspaceError> {
        if *egress == Egress::None {
            return Ok(());
        }
        Rules::new(egress, &self.options.reachable)?;
        let refused = |said: String| Err(WorkspaceError::new(ProblemCode::Unavailable, said));
        if let Some(why) = self.without_network() {
            return refused(format!("{why}; run Reeve as root, or choose no network"));
        }
        match &self.options.container_runtime {
            Some(runtime) if known.about.is_gvisor(runtime) => refused(format!(
                "containers of `{runtime}` have a network that only gVisor reaches into; choose no network, or the engine's \
                 own runtime in `workspaces.docker.runtime`"
            )),
            _ => Ok(()),
        }
    }

    /// Opens the way that a container's label tells of, unless it is open already.
    pub(super) async fn open_way(
        &self,
        known: &Known,
        held: &Held,
        workspace: &WorkspaceId,
        container: &str,
        egress: &Egress,
    ) -> Result<(), WorkspaceError> {
        if *egress == Egress::None {
            return Ok(());
        }
        let mut kept = held.way.lock().await;
        if kept.as_ref().is_some_and(Way::is_open) {
            return Ok(());
        }
        if let Some(old) = kept.take() {
            old.close().await;
        }
        let rules = Rules::new(egress, &self.options.reachable)?;
        let init = self.first_process(known, workspace, container).await?;
        let refused = held.refusals();
        let listener = aside(move || egress::listen(init).map_err(|error| cannot("listen inside a workspace", &error)));
        let proxy = Proxy::open(workspace.clone(), listener.await?, rules, refused)
            .map_err(|error| cannot("open the workspace's way to the network", &error))?;
        *kept = Some(Way { init, proxy });
        Ok(())
    }

    /// The first process of a container, which must be one of this machine as this server sees it: an engine that counts
    /// its processes elsewhere would name somebody else's.
    async fn first_process(
        &self,
        known: &Known,
        workspace: &WorkspaceId,
        container: &str,
    ) -> Result<ProcessMark, WorkspaceError> {
        let looked = known.docker.inspect_container(container, None).await;
        let looked = looked.map_err(|error| known.failed("look at a container", &error))?;
        let token = token_of(&looked.config.and_then(|config| config.env).unwrap_or_default());
        let token = token.ok_or_else(|| resting(workspace))?;
        let pid =
            looked.state.and_then(|state| state.pid).and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
        let mark = pid.ok_or_else(|| resting(workspace)).map(ProcessMark::of)?;
        mark.filter(|mark| mark.was_given(TOKEN, token.expose())).ok_or_else(|| {
            let said = format!(
                "{} runs its containers where this server does not see their processes, so {workspace} cannot be given a \
                 way to the network; choose none, or run both on one machine",
                known.about.name()
            );
            WorkspaceError::new(ProblemCode::Unavailable, said)
        })
    }
}
