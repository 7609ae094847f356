//! Containers of workspaces: made, started until the program inside answers, stopped, removed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::container::LogOutput;
use bollard::models::ContainerStateStatusEnum;
use bollard::query_parameters::{
    CreateContainerOptions, ListContainersOptions, LogsOptions, RemoveContainerOptions, StartContainerOptions,
    StopContainerOptions, UploadToContainerOptions,
};
use futures_util::StreamExt as _;
use reeve_types::workspace::{Egress, Isolation, WorkspaceSpec};
use reeve_types::{ProblemCode, WorkspaceError, WorkspaceId};

use super::container::{self, FILES_INSIDE, GRACE_SECONDS, token_of};
use super::engine::Known;
use super::failure::{self, aside, resting, shortened, unknown, unless_missing};
use super::held::Held;
use super::labels::{self, Role};
use super::volumes::Files;
use super::{Inner, asking, seeding, sockets};
use crate::client::{RuntimeClient, RuntimeHealth, RuntimeToken};

/// How long the program inside may take to answer for the first time.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// How long a program that was started earlier may take to answer.
const ANSWERS_AGAIN_WITHIN: Duration = Duration::from_secs(2);
/// How long a container that is being removed may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(15);
/// How often the engine is asked whether the container has ended meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A container as the engine lists it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) id: String,
    pub(super) workspace: Option<WorkspaceId>,
    pub(super) running: bool,
    pub(super) shape: String,
    /// How much its files may take, in bytes.
    pub(super) disk_limit: Option<u64>,
    /// What it may reach.
    pub(super) egress: Egress,
}

impl Inner {
    /// Containers of this installation with these labels.
    pub(super) async fn list(&self, known: &Known, wanted: &[(&str, &str)]) -> Result<Vec<Seen>, WorkspaceError> {
        let installation = self.layout.installation();
        let wanted: Vec<_> = wanted.iter().copied().chain([(labels::INSTALLATION, installation.as_str())]).collect();
        let filters = Some(labels::filter(&wanted));
        let options = ListContainersOptions { all: true, filters, ..ListContainersOptions::default() };
        let listed = known.docker.list_containers(Some(options)).await;
        let listed = listed.map_err(|error| known.failed("list containers", &error))?;
        let seen = listed.into_iter().filter_map(|container| {
            let labels = container.labels.filter(|labels| labels::carries(labels, &wanted))?;
            let state = container.state.map(|state| state.to_string());
            Some(Seen {
                id: container.id?,
                workspace: labels.get(labels::WORKSPACE).and_then(|id| id.parse().ok()),
                running: matches!(state.as_deref(), Some("running" | "paused" | "restarting")),
                shape: labels.get(labels::SHAPE).cloned().unwrap_or_default(),
                disk_limit: labels.get(labels::DISK_BYTES).and_then(|bytes| bytes.parse().ok()),
                egress: labels.get(labels::EGRESS).and_then(|told| serde_json::from_str(told).ok()).unwrap_or_default(),
            })
        });
        Ok(seen.collect())
    }

    /// The container of a workspace.
    pub(super) async fn find(&self, known: &Known, workspace: &WorkspaceId) -> Result<Option<Seen>, WorkspaceError> {
        let wanted = [(labels::WORKSPACE, workspace.as_str()), (labels::ROLE, Role::Workspace.as_str())];
        Ok(self.list(known, &wanted).await?.into_iter().next())
    }

    /// Lays out a workspace: its volumes, its container, and the files that its template begins with.
    pub(super) async fn create(&self, spec: WorkspaceSpec) -> Result<(), WorkspaceError> {
        if spec.directory.is_some() {
            let said = "a workspace of the driver `docker` has files of its own; choose the driver `namespace` to work in a \
                        directory of the host";
            return Err(WorkspaceError::new(ProblemCode::BadRequest, said));
        }
        asking::check(&spec)?;
        let template = self.template(&spec.template)?;
        let image = asking::image_of(template)?;
        let seeds = seeding::pack(&template.files, container::owner())?;
        let known = self.engine.reach().await?;
        self.check_egress(&known, &spec.egress)?;
        let held = self.workspaces.get(&spec.id);
        let _busy = held.busy.lock().await;
        if self.layout.is_complete(&spec.id) {
            return self.files_of(&known, &spec.id).await.map(drop);
        }
        let made = async {
            let _turn = self.turn().await?;
            let files = self.make_volumes(&known, &spec, image).await?;
            let id = self.make_container(&known, &spec, &files).await?;
            if let Some(seeds) = seeds {
                let into = UploadToContainerOptions { path: FILES_INSIDE.to_owned(), ..Default::default() };
                let put = known.docker.upload_to_container(&id, Some(into), bollard::body_full(seeds.into())).await;
                put.map_err(|error| known.failed("lay out the files of the template", &error))?;
            }
            self.complete(&spec.id).await
        };
        let made = made.await;
        self.undo_unless(&known, &spec.id, made).await
    }

    /// Takes back what was begun when it could not be finished.
    pub(super) async fn undo_unless(
        &self,
        known: &Known,
        workspace: &WorkspaceId,
        made: Result<(), WorkspaceError>,
    ) -> Result<(), WorkspaceError> {
        let Err(error) = made else { return Ok(()) };
        if let Err(left) = self.remove_all(known, workspace).await {
            tracing::warn!(%workspace, error = %left, "a workspace that was not finished is removed when it is swept");
        }
        Err(error)
    }

    /// Remembers that the files are there.
    pub(super) async fn complete(&self, workspace: &WorkspaceId) -> Result<(), WorkspaceError> {
        let (layout, workspace) = (self.layout.clone(), workspace.clone());
        aside(move || layout.mark_complete(&workspace)).await
    }

    /// Makes the container of a workspace with a token of its own; one that was there is replaced. Answers its id.
    async fn make_container(
        &self,
        known: &Known,
        spec: &WorkspaceSpec,
        files: &Files,
    ) -> Result<String, WorkspaceError> {
        self.remove_container(known, &spec.id).await?;
        let template = self.template(&spec.template)?;
        let image = asking::image_of(template)?;
        let sockets = self.layout.sockets(&spec.id);
        aside(move || sockets::prepare(&sockets)).await?;
        let plan = self.plan(&known.about, spec, template, files)?;
        let (name, body) = plan.with(&RuntimeToken::generate());
        let options = CreateContainerOptions { name: Some(name), ..CreateContainerOptions::default() };
        let made = known.docker.create_container(Some(options), body).await;
        Ok(made.map_err(|error| refused(known, image, &error))?.id)
    }

    /// Starts a workspace, and answers when the program inside does.
    pub(super) async fn start(&self, spec: WorkspaceSpec) -> Result<Isolation, WorkspaceError> {
        asking::check(&spec)?;
        let known = self.engine.reach().await?;
        self.check_egress(&known, &spec.egress)?;
        let held = self.workspaces.get(&spec.id);
        let _busy = held.busy.lock().await;
        let files = self.files_of(&known, &spec.id).await?;
        if !self.layout.is_complete(&spec.id) {
            return Err(unknown(&spec.id));
        }
        let template = self.template(&spec.template)?;
        let shape = self.plan(&known.about, &spec, template, &files)?.shape;
        let there = self.find(&known, &spec.id).await?.filter(|seen| seen.shape == shape);
        if let Some(seen) = there.as_ref().filter(|seen| seen.running)
            && let Ok(client) = self.client(&known, &spec.id, &seen.id).await
            && let Ok(health) = client.health(ANSWERS_AGAIN_WITHIN).await
        {
            self.open_way(&known, &held, &spec.id, &seen.id, &spec.egress).await?;
            held.keep_client(&client);
            return Ok(self.told(&known, &spec, &files.disk, health));
        }
        held.note_ended().await;
        let _turn = self.turn().await?;
        let id = match there {
            Some(seen) => {
                self.stop(&known, &seen).await?;
                let sockets = self.layout.sockets(&spec.id);
                aside(move || sockets::prepare(&sockets)).await?;
                seen.id
            }
            None => self.make_container(&known, &spec, &files).await?,
        };
        let started = known.docker.start_container(&id, None::<StartContainerOptions>).await;
        started.map_err(|error| known.failed(format!("start {}", spec.id), &error))?;
        let client = self.client(&known, &spec.id, &id).await?;
        let answered = async {
            let health = self.first_answer(&known, &id, &client).await?;
            self.open_way(&known, &held, &spec.id, &id, &spec.egress).await?;
            Ok(health)
        };
        match answered.await {
            Ok(health) => {
                held.keep_client(&client);
                held.note_started();
                Ok(self.told(&known, &spec, &files.disk, health))
            }
            Err(error) => {
                let ended = known.docker.kill_container(&id, None::<bollard::query_parameters::KillContainerOptions>);
                if let Err(left) = ended.await {
                    tracing::debug!(error = %left, "a container that did not answer was gone already");
                }
                Err(error)
            }
        }
    }

    fn told(&self, known: &Known, spec: &WorkspaceSpec, disk: &str, health: RuntimeHealth) -> Isolation {
        let about = &known.about;
        let gvisor = self.options.container_runtime.as_deref().is_some_and(|runtime| about.is_gvisor(runtime));
        let network = match spec.egress {
            Egress::None => "none",
            Egress::Allow { .. } => "allow",
            Egress::Public => "public",
        };
        Isolation {
            driver: reeve_types::workspace::DriverKind::Docker,
            tier: if gvisor { "gvisor" } else { "container" }.to_owned(),
            seccomp: about.seccomp,
            landlock: health.landlock,
            limits: about.limits.to_owned(),
            disk: disk.to_owned(),
            network: network.to_owned(),
            own_user: about.user_namespaces,
        }
    }

    async fn first_answer(
        &self,
        known: &Known,
        id: &str,
        client: &RuntimeClient,
    ) -> Result<RuntimeHealth, WorkspaceError> {
        let deadline = Instant::now() + ANSWERS_WITHIN;
        let mut pause = Duration::from_millis(1);
        let mut look_at = Instant::now() + LOOK_EVERY;
        loop {
            if let Ok(health) = client.health(ANSWERS_AGAIN_WITHIN).await {
                return Ok(health);
            }
            let late = Instant::now() >= deadline;
            if late || Instant::now() >= look_at {
                look_at = Instant::now() + LOOK_EVERY;
                if late || !self.is_running(known, id).await? {
                    return Err(self.complaint(known, id, late).await);
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(Duration::from_millis(20));
        }
    }

    async fn is_running(&self, known: &Known, id: &str) -> Result<bool, WorkspaceError> {
        let looked = known.docker.inspect_container(id, None).await;
        let state = looked.map_err(|error| known.failed("look at a container", &error))?.state.unwrap_or_default();
        Ok(matches!(state.status, Some(ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::CREATED)))
    }

    /// Why a container did not come up, in what its program said.
    async fn complaint(&self, known: &Known, id: &str, late: bool) -> WorkspaceError {
        let options = LogsOptions { stdout: true, stderr: true, tail: "5".to_owned(), ..LogsOptions::default() };
        let lines = known.docker.logs(id, Some(options)).filter_map(|line| async { line.ok() });
        let said: Vec<String> = lines.map(|line: LogOutput| shortened(&line.to_string())).collect().await;
        let how = if late { "did not answer in time" } else { "ended as soon as it was started" };
        let words = if said.is_empty() { String::new() } else { format!(": {}", shortened(&said.join(" "))) };
        let sentence = format!("the workspace's program {how}{words}; `reeve doctor` tells what is missing");
        WorkspaceError::new(ProblemCode::Unavailable, sentence)
    }

    /// The client of a container's program, with the token that the container was made with.
    pub(super) async fn client(
        &self,
        known: &Known,
        workspace: &WorkspaceId,
        id: &str,
    ) -> Result<Arc<RuntimeClient>, WorkspaceError> {
        let looked = known.docker.inspect_container(id, None).await;
        let config = looked.map_err(|error| known.failed("look at a container", &error))?.config;
        let token = token_of(&config.and_then(|config| config.env).unwrap_or_default());
        let token = token.ok_or_else(|| resting(workspace))?;
        Ok(Arc::new(RuntimeClient::new(workspace.clone(), self.layout.sockets(workspace), token)))
    }

    /// The way in. What is kept is enough; the engine is asked only after this server was restarted.
    pub(super) async fn connect(&self, workspace: &WorkspaceId) -> Result<Arc<RuntimeClient>, WorkspaceError> {
        let held = self.workspaces.get(workspace);
        if let Some(client) = held.client() {
            return Ok(client);
        }
        let known = self.engine.reach().await?;
        match self.find(&known, workspace).await? {
            Some(seen) if seen.running => {
                let client = self.client(&known, workspace, &seen.id).await?;
                if let Err(error) = self.open_way(&known, &held, workspace, &seen.id, &seen.egress).await {
                    tracing::warn!(%workspace, %error, "a workspace lost its way to the network; restart it");
                }
                held.keep_client(&client);
                Ok(client)
            }
            Some(_) => Err(resting(workspace)),
            None if self.layout.is_complete(workspace) => Err(resting(workspace)),
            None => Err(unknown(workspace)),
        }
    }

    /// Ends what runs; the container stays, and is started again when the workspace is.
    pub(super) async fn suspend(&self, workspace: &WorkspaceId) -> Result<(), WorkspaceError> {
        let held = self.workspaces.get(workspace);
        let _busy = held.busy.lock().await;
        self.end(&held, workspace).await
    }

    /// The same, for whoever keeps the workspace busy already.
    pub(super) async fn end(&self, held: &Held, workspace: &WorkspaceId) -> Result<(), WorkspaceError> {
        let known = self.engine.reach().await?;
        match self.find(&known, workspace).await? {
            Some(seen) => self.stop(&known, &seen).await?,
            None if self.layout.is_complete(workspace) => {}
            None => return Err(unknown(workspace)),
        }
        held.note_ended().await;
        let sockets = self.layout.sockets(workspace);
        aside(move || sockets::remove(&sockets)).await
    }

    async fn stop(&self, known: &Known, seen: &Seen) -> Result<(), WorkspaceError> {
        if !seen.running {
            return Ok(());
        }
        let options = StopContainerOptions { t: Some(GRACE_SECONDS), ..StopContainerOptions::default() };
        let stopped = known.docker.stop_container(&seen.id, Some(options)).await;
        unless_missing(stopped).map_err(|error| known.failed("stop a container", &error))
    }

    /// Removes the container and keeps the files. Nothing there is fine.
    pub(super) async fn rest(&self, workspace: &WorkspaceId) -> Result<(), WorkspaceError> {
        let known = self.engine.reach().await?;
        let held = self.workspaces.get(workspace);
        let _busy = held.busy.lock().await;
        if let Some(seen) = self.find(&known, workspace).await? {
            self.stop(&known, &seen).await?;
        }
        held.note_ended().await;
        self.remove_container(&known, workspace).await?;
        let sockets = self.layout.sockets(workspace);
        aside(move || sockets::remove(&sockets)).await
    }

    /// Removes everything of a workspace. Nothing there is fine.
    pub(super) async fn remove(&self, workspace: &WorkspaceId) -> Result<(), WorkspaceError> {
        let known = self.engine.reach().await?;
        let held = self.workspaces.get(workspace);
        let _busy = held.busy.lock().await;
        held.note_ended().await;
        self.remove_all(&known, workspace).await?;
        self.workspaces.forget(workspace);
        Ok(())
    }

    /// First the mark goes, so that what a crash leaves in the middle is known to be no workspace.
    pub(super) async fn remove_all(&self, known: &Known, workspace: &WorkspaceId) -> Result<(), WorkspaceError> {
        let (layout, id) = (self.layout.clone(), workspace.clone());
        aside(move || layout.unmark_complete(&id)).await?;
        for seen in self.list(known, &[(labels::WORKSPACE, workspace.as_str())]).await? {
            remove_container(known, &seen.id).await?;
        }
        self.remove_volumes(known, workspace).await?;
        let (layout, id) = (self.layout.clone(), workspace.clone());
        aside(move || {
            sockets::remove(&layout.sockets(&id))?;
            layout.remove(&id)
        })
        .await
    }

    async fn remove_container(&self, known: &Known, workspace: &WorkspaceId) -> Result<(), WorkspaceError> {
        let wanted = [(labels::WORKSPACE, workspace.as_str()), (labels::ROLE, Role::Workspace.as_str())];
        for seen in self.list(known, &wanted).await? {
            remove_container(known, &seen.id).await?;
        }
        Ok(())
    }

    /// Waits for its turn where many containers are made at once.
    pub(super) async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, WorkspaceError> {
        self.turns.acquire().await.map_err(|_| {
            WorkspaceError::new(ProblemCode::Unavailable, "the server is shutting down; try again when it is back")
        })
    }
}

/// Kills and removes a container with its nameless volumes. One that is not there is fine; one that somebody else is
/// removing is waited for.
pub(super) async fn remove_container(known: &Known, id: &str) -> Result<(), WorkspaceError> {
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        match known.docker.remove_container(id, Some(options)).await {
            Err(error) if failure::status(&error) == Some(409) && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => return unless_missing(other).map_err(|error| known.failed("remove a container", &error)),
        }
    }
}

/// A container could not be made; most often its image is not there.
pub(super) fn refused(known: &Known, image: &str, error: &bollard::errors::Error) -> WorkspaceError {
    if failure::is_missing(error) {
        let said = format!(
            "{} has no image `{image}`; build it with `scripts/images`, or `docker build` with the template's Dockerfile",
            known.about.name()
        );
        return WorkspaceError::new(ProblemCode::Unavailable, said);
    }
    known.failed("make a container", error)
}
