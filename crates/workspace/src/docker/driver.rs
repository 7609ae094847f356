//! [`WorkspaceDriver`] with containers: each method in one line, the work is beside it by topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reeve_gate::Permitted;
use reeve_gate::workspace::{
    Answer, Browse, ByteStream, ForkWorkspace, Found, Readiness, RemoveWorkspace, TakeSnapshot, WorkspaceDriver,
    WorkspaceLink,
};
use reeve_types::workspace::{DriverKind, Isolation, WorkspaceSpec, WorkspaceUsage};
use reeve_types::{ProblemCode, WorkspaceError, WorkspaceId};

use super::labels::{self, Role};
use super::{DockerDriver, Inner, readiness};

/// How long a program that was started earlier may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

impl WorkspaceDriver for DockerDriver {
    fn kind(&self) -> DriverKind {
        DriverKind::Docker
    }

    fn readiness(&self) -> BoxFuture<'_, Vec<Readiness>> {
        Box::pin(readiness::look(&self.0))
    }

    fn without_network(&self) -> Option<&'static str> {
        self.0.without_network()
    }

    fn create(&self, spec: Permitted<WorkspaceSpec>) -> Answer<'_, ()> {
        Box::pin(async move { self.0.create(spec.open().0).await })
    }

    fn start(&self, spec: Permitted<WorkspaceSpec>) -> Answer<'_, Isolation> {
        Box::pin(async move { self.0.start(spec.open().0).await })
    }

    fn suspend(&self, workspace: Permitted<WorkspaceId>) -> Answer<'_, ()> {
        Box::pin(async move { self.0.suspend(&workspace.open().0).await })
    }

    fn snapshot(&self, what: Permitted<TakeSnapshot>) -> Answer<'_, u64> {
        Box::pin(async move { self.0.take_snapshot(what.open().0).await })
    }

    fn roll_back(&self, what: Permitted<TakeSnapshot>) -> Answer<'_, ()> {
        Box::pin(async move { self.0.roll_back(what.open().0).await })
    }

    fn drop_snapshot(&self, what: Permitted<TakeSnapshot>) -> Answer<'_, ()> {
        Box::pin(async move { self.0.drop_snapshot(what.open().0).await })
    }

    fn fork(&self, what: Permitted<ForkWorkspace>) -> Answer<'_, ()> {
        Box::pin(async move { self.0.fork(what.open().0).await })
    }

    fn delete(&self, what: Permitted<RemoveWorkspace>) -> Answer<'_, ()> {
        Box::pin(async move {
            let what = what.open().0;
            if what.with_files { self.0.remove(&what.workspace).await } else { self.0.rest(&what.workspace).await }
        })
    }

    fn usage<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, WorkspaceUsage> {
        Box::pin(self.0.usage(workspace))
    }

    fn connect<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Arc<dyn WorkspaceLink>> {
        Box::pin(async move {
            let link: Arc<dyn WorkspaceLink> = self.0.connect(workspace).await?;
            Ok(link)
        })
    }

    fn found(&self) -> Answer<'_, Vec<Found>> {
        Box::pin(found(&self.0))
    }

    fn sweep<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, ()> {
        Box::pin(self.0.remove(workspace))
    }

    fn export<'a>(&'a self, leave: &'a Browse) -> Answer<'a, ByteStream> {
        Box::pin(async move {
            if !leave.holds() {
                let said = format!("the leave to look into {} is over; ask for a new one", leave.workspace());
                return Err(WorkspaceError::new(ProblemCode::Forbidden, said));
            }
            self.0.export(leave.workspace()).await
        })
    }

    fn import(&self, spec: Permitted<WorkspaceSpec>, files: ByteStream) -> Answer<'_, ()> {
        Box::pin(async move { self.0.import(spec.open().0, files).await })
    }
}

/// Everything of this installation: containers, volumes, and what lies on this machine.
async fn found(inner: &Arc<Inner>) -> Result<Vec<Found>, WorkspaceError> {
    let known = inner.engine.reach().await?;
    let mut all: BTreeMap<WorkspaceId, Found> = BTreeMap::new();
    let mut note = |workspace: WorkspaceId| {
        let nothing = Found { workspace: workspace.clone(), running: false, files: false };
        all.entry(workspace).or_insert(nothing);
    };
    inner.layout.workspaces().into_iter().for_each(&mut note);
    let volumes = inner.list_volumes(&known, &[]).await?;
    let of_volumes = volumes.into_iter().filter_map(|volume| {
        let role = volume.labels.get(labels::ROLE).map(String::as_str);
        let workspace: WorkspaceId = volume.labels.get(labels::WORKSPACE)?.parse().ok()?;
        Some((workspace, role == Some(Role::Files.as_str())))
    });
    let of_volumes: Vec<_> = of_volumes.collect();
    of_volumes.iter().for_each(|(workspace, _)| note(workspace.clone()));
    let containers = inner.list(&known, &[(labels::ROLE, Role::Workspace.as_str())]).await?;
    containers.iter().filter_map(|seen| seen.workspace.clone()).for_each(&mut note);
    for (workspace, _) in of_volumes.iter().filter(|(_, files)| *files) {
        if let Some(found) = all.get_mut(workspace) {
            found.files = inner.layout.is_complete(workspace);
        }
    }
    let looks = containers.into_iter().filter(|seen| seen.running).filter_map(|seen| seen.workspace);
    let answers = looks.map(|workspace| async move {
        let answers = match inner.connect(&workspace).await {
            Ok(client) => client.health(ANSWERS_WITHIN).await.is_ok(),
            Err(_) => false,
        };
        (workspace, answers)
    });
    for (workspace, answers) in futures_util::future::join_all(answers).await {
        if let Some(found) = all.get_mut(&workspace) {
            found.running = answers;
        }
    }
    Ok(all.into_values().collect())
}
