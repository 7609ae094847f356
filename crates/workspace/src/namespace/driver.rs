//! [`WorkspaceDriver`] with namespaces.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reeve_gate::Permitted;
use reeve_gate::workspace::{
    Answer, Browse, ByteStream, ForkWorkspace, Found, Readiness, RemoveWorkspace, TakeSnapshot, WorkspaceDriver,
    WorkspaceLink,
};
use reeve_types::workspace::{DriverKind, Egress, Isolation, WorkspaceSpec, WorkspaceUsage};
use reeve_types::{ProblemCode, WorkspaceError, WorkspaceId};

use super::boxes::Held;
use super::failure::{aside, resting, unknown};
use super::host_directory::Owner;
use super::kind::Kind;
use super::{Inner, NamespaceDriver, disk, readiness};

/// How long a box that was started earlier may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// Longest name and value of an environment variable, in bytes.
const VARIABLE_BYTES_MAX: (usize, usize) = (128, 32 * 1024);

impl WorkspaceDriver for NamespaceDriver {
    fn kind(&self) -> DriverKind {
        DriverKind::Namespace
    }

    fn readiness(&self) -> BoxFuture<'_, Vec<Readiness>> {
        Box::pin(readiness::look(&self.0))
    }

    fn without_network(&self) -> Option<&'static str> {
        self.0.without_network()
    }

    fn create(&self, spec: Permitted<WorkspaceSpec>) -> Answer<'_, ()> {
        Box::pin(async move { create(&self.0, spec.open().0).await })
    }

    fn start(&self, spec: Permitted<WorkspaceSpec>) -> Answer<'_, Isolation> {
        Box::pin(async move { start(&self.0, spec.open().0).await })
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
        Box::pin(usage(&self.0, workspace))
    }

    fn connect<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Arc<dyn WorkspaceLink>> {
        Box::pin(async move {
            let held = self.0.boxes.get(workspace).ok_or_else(|| unknown(workspace))?;
            if held.running().is_none() || !held.record().started {
                return Err(resting(workspace));
            }
            let client: Arc<dyn WorkspaceLink> = held.client(&self.0.layout, workspace);
            Ok(client)
        })
    }

    fn found(&self) -> Answer<'_, Vec<Found>> {
        Box::pin(async move {
            let all = self.0.boxes.all().into_iter().map(|(workspace, held)| async move {
                let running = held.running().is_some()
                    && held.record().started
                    && held.client(&self.0.layout, &workspace).health(ANSWERS_WITHIN).await.is_ok();
                let files = held.record().laid_out;
                Found { workspace, running, files }
            });
            Ok(futures_util::future::join_all(all).await)
        })
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

async fn create(inner: &Arc<Inner>, spec: WorkspaceSpec) -> Result<(), WorkspaceError> {
    check(&spec)?;
    inner.check_egress(&spec.egress)?;
    let template = inner.template(&spec.template)?.clone();
    if let Some(opened) = inner.open_directory(&spec).await? {
        // Nothing is written into somebody's directory because a workspace begins to work in it.
        return inner.new_box(spec, Some(opened.owner), |_| async { Ok(()) }).await;
    }
    let seed = |held: Arc<Held>| async move { inner.seed(&held, &template).await };
    inner.new_box(spec, None, seed).await
}

async fn start(inner: &Arc<Inner>, spec: WorkspaceSpec) -> Result<Isolation, WorkspaceError> {
    check(&spec)?;
    inner.check_egress(&spec.egress)?;
    let directory = inner.open_directory(&spec).await?;
    if directory.is_some() && inner.boxes.get(&spec.id).is_none() {
        // All that counts of it is on the host: what a restored database knows can be made again.
        create(inner, spec.clone()).await?;
    }
    let held = inner.boxes.get(&spec.id).ok_or_else(|| unknown(&spec.id))?;
    let _busy = held.busy.lock().await;
    let record = held.record();
    if !record.laid_out || record.removing {
        return Err(unknown(&spec.id));
    }
    if let Some(opened) = &directory
        && record.uid.is_some_and(|uid| uid != opened.owner.uid)
    {
        let said = "the directory of the host belongs to somebody else since the workspace was made; make another one";
        return Err(WorkspaceError::new(ProblemCode::Conflict, said));
    }
    let as_before = record.spec.as_ref().is_some_and(|before| same_box(before, &spec));
    if let Some(processes) = held.running().filter(|_| as_before) {
        if held.client(&inner.layout, &spec.id).health(ANSWERS_WITHIN).await.is_ok() {
            if !record.started {
                inner.open_egress(&held, &spec)?;
                held.remember(&inner.layout, |record| record.started = true)?;
            }
            return Ok(told(processes.isolation, &spec));
        }
        tracing::warn!(workspace = %spec.id, "a workspace runs and does not answer; it is started anew");
    }
    inner.end(&held, false).await?;
    let _turn = inner.turn().await?;
    inner.attach(&held).await?;
    let mut environment: BTreeMap<String, String> = inner.template(&spec.template)?.env.clone();
    environment.extend(spec.environment.iter().cloned());
    inner.launch(&held, &Kind::of(&spec), &spec.limits, environment.into_iter().collect(), directory.as_ref()).await?;
    if let Err(error) = inner.open_egress(&held, &spec) {
        inner.end(&held, false).await?;
        return Err(error);
    }
    held.remember(&inner.layout, |record| {
        record.started = true;
        record.spec = Some(spec.clone());
    })?;
    let processes = held.running().ok_or_else(|| resting(&spec.id))?;
    Ok(told(processes.isolation, &spec))
}

/// Whether a box that was started for one spec serves another as well.
fn same_box(before: &WorkspaceSpec, now: &WorkspaceSpec) -> bool {
    Kind::of(before) == Kind::of(now)
        && before.environment == now.environment
        && before.egress == now.egress
        && path_of(before) == path_of(now)
}

fn path_of(spec: &WorkspaceSpec) -> Option<&str> {
    spec.directory.as_ref().map(|directory| directory.path.as_str())
}

fn told(isolation: Isolation, spec: &WorkspaceSpec) -> Isolation {
    let network = match spec.egress {
        Egress::None => "none",
        Egress::Allow { .. } => "allow",
        Egress::Public => "public",
    };
    Isolation { network: network.to_owned(), ..isolation }
}

/// Refuses what cannot be made as it was asked for.
fn check(spec: &WorkspaceSpec) -> Result<(), WorkspaceError> {
    let wrong = |said: String| Err(WorkspaceError::new(ProblemCode::BadRequest, said));
    for (name, value) in &spec.environment {
        let plain = !name.is_empty()
            && name.len() <= VARIABLE_BYTES_MAX.0
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !plain || name.starts_with("REEVE_") {
            return wrong(format!("`{}` cannot be the name of an environment variable", name.escape_default()));
        }
        if value.len() > VARIABLE_BYTES_MAX.1 || value.contains('\0') {
            return wrong(format!("the value of `{name}` is longer than 32 KiB or holds a NUL"));
        }
    }
    let limits = &spec.limits;
    if limits.memory_bytes < 32 << 20 || limits.pids < 16 || limits.cpu_millis < 10 || limits.open_files < 64 {
        return wrong("a workspace needs at least 32 MiB of memory, 16 processes, 0.01 cores and 64 open files".into());
    }
    if limits.disk_bytes < 16 << 20 || limits.disk_bytes > 16 << 40 {
        return wrong("a workspace's disk measures 16 MiB to 16 TiB".into());
    }
    Ok(())
}

async fn usage(inner: &Arc<Inner>, workspace: &WorkspaceId) -> Result<WorkspaceUsage, WorkspaceError> {
    let held = inner.boxes.get(workspace).ok_or_else(|| unknown(workspace))?;
    let mut usage = WorkspaceUsage { disk_bytes: inner.disk_usage(&held).await, ..WorkspaceUsage::default() };
    if held.running().is_none() || !held.record().started {
        return Ok(usage);
    }
    if let Some(groups) = &inner.cgroups {
        let told = groups.usage(&held.key);
        usage.memory_bytes = told.memory_bytes;
        usage.cpu_ms = told.cpu_ms;
        usage.pids = told.pids;
        usage.out_of_memory = told.out_of_memory;
    }
    if let Ok(stats) = held.client(&inner.layout, workspace).stats().await {
        usage.terminals = stats.terminals;
        usage.executions = stats.executions;
    }
    Ok(usage)
}

impl Inner {
    /// Waits for its turn where many boxes are made at once.
    pub(super) async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, WorkspaceError> {
        self.turns.acquire().await.map_err(|_| {
            WorkspaceError::new(ProblemCode::Unavailable, "the server is shutting down; try again when it is back")
        })
    }

    /// Lays out a box for a workspace, filled by `fill`. One that is there already is left as it is.
    pub(super) async fn new_box<F, W>(
        &self,
        spec: WorkspaceSpec,
        owner: Option<Owner>,
        fill: F,
    ) -> Result<(), WorkspaceError>
    where
        F: FnOnce(Arc<Held>) -> W,
        W: Future<Output = Result<(), WorkspaceError>>,
    {
        if let Some(there) = self.boxes.get(&spec.id) {
            return self.finished(&there, &spec.id).await;
        }
        let held = self.reserve(Some(spec.clone()), owner)?;
        let _busy = held.busy.lock().await;
        if let Err(there) = self.boxes.add(&spec.id, Arc::clone(&held)) {
            self.discard(&held).await?;
            return self.finished(&there, &spec.id).await;
        }
        let made = async {
            let _turn = self.turn().await?;
            self.lay_out(&held, &spec.limits).await?;
            fill(Arc::clone(&held)).await?;
            held.remember(&self.layout, |record| record.laid_out = true)
        };
        if let Err(error) = made.await {
            self.boxes.remove(&spec.id);
            if let Err(left) = self.discard(&held).await {
                tracing::warn!(workspace = %spec.id, error = %left, "a workspace that was not finished stays until the next start");
            }
            return Err(error);
        }
        Ok(())
    }

    async fn finished(&self, there: &Held, workspace: &WorkspaceId) -> Result<(), WorkspaceError> {
        let _busy = there.busy.lock().await;
        if there.record().laid_out && !there.record().removing {
            return Ok(());
        }
        let said = format!("{workspace} is being made or removed by somebody else; try again");
        Err(WorkspaceError::new(ProblemCode::Conflict, said))
    }

    async fn suspend(&self, workspace: &WorkspaceId) -> Result<(), WorkspaceError> {
        let held = self.boxes.get(workspace).ok_or_else(|| unknown(workspace))?;
        let _busy = held.busy.lock().await;
        self.end(&held, true).await?;
        self.detach(&held).await
    }

    /// Ends what runs and keeps the files. Nothing there is fine.
    async fn rest(&self, workspace: &WorkspaceId) -> Result<(), WorkspaceError> {
        match self.boxes.get(workspace) {
            Some(_) => self.suspend(workspace).await,
            None => Ok(()),
        }
    }

    /// Removes everything of a workspace. Nothing there is fine.
    pub(super) async fn remove(&self, workspace: &WorkspaceId) -> Result<(), WorkspaceError> {
        let Some(held) = self.boxes.get(workspace) else { return Ok(()) };
        let _busy = held.busy.lock().await;
        self.discard(&held).await?;
        self.boxes.remove(workspace);
        Ok(())
    }

    /// Bytes that the files of a box take; nothing when it cannot be told.
    pub(super) async fn disk_usage(&self, held: &Held) -> Option<u64> {
        let inside = self.layout.inside(&held.key);
        if held.record().image && disk::is_mount(&inside) {
            return disk::image_usage(&inside).ok();
        }
        if let Some(bytes) = held.measured() {
            return Some(bytes);
        }
        let path = if held.record().image { self.layout.image(&held.key) } else { self.layout.plain(&held.key) };
        let began = std::time::Instant::now();
        let measured = aside(move || {
            let size = if path.is_dir() { disk::measure(&path) } else { disk::blocks(&path) };
            size.map_err(|error| super::failure::cannot("measure a workspace's files", &error))
        });
        let bytes = measured.await.ok()?;
        held.note_measured(bytes, began.elapsed());
        Some(bytes)
    }
}
