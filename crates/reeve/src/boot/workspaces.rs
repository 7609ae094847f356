//! From settings to the service of workspaces: which drivers there are, what they make workspaces from, and where the
//! program inside is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use reeve_gate::Clock;
use reeve_gate::workspace::{Readiness, WorkspaceDriver};
use reeve_platform::workspaces::{
    LimitsWanted, Template, TenantWorkdirs, Workspaces, WorkspacesOptions, WorkspacesParts,
};
use reeve_store::{Quota, Store};
use reeve_types::WorkspaceLimits;
use reeve_types::workspace::DriverKind;
use reeve_workspace::namespace::{Toolchain, find_toolchains, runtime_beside_this_program};
use reeve_workspace::{DockerDriver, DockerOptions, NamespaceDriver, NamespaceOptions, Templates};

use crate::config::{WorkspacesConfig, WorkspacesQuota};

/// The directory of the data directory in which workspaces live.
const DIRECTORY: &str = "workspaces";
/// The files of the data directory of which one may say where tenants work.
const TENANTS_FILES: [&str; 2] = ["tenants.yaml", "tenants.json"];

/// The service, and what has to be closed with the server.
pub(super) struct Opened {
    pub(super) workspaces: Workspaces,
    pub(super) drivers: Drivers,
}

/// The drivers that were opened, for their end.
#[derive(Default, Clone)]
pub(crate) struct Drivers {
    namespace: Option<NamespaceDriver>,
    docker: Option<DockerDriver>,
}

impl Drivers {
    /// Ends what the drivers do in the background. Workspaces that run go on running.
    pub(crate) async fn close(&self) {
        if let Some(namespace) = &self.namespace {
            namespace.close().await;
        }
        if let Some(docker) = &self.docker {
            docker.close().await;
        }
    }
}

/// Opens the service. `None` where workspaces are switched off.
pub(super) async fn open(
    config: &WorkspacesConfig,
    mounted: Vec<Toolchain>,
    store: &Store,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Option<Opened>> {
    let Some(kind) = config.driver else { return Ok(None) };
    match open_with(config, kind, mounted, store, clock).await {
        Err(error) if !config.chosen => {
            tracing::warn!("there are no workspaces on this server: {error:#}");
            Ok(None)
        }
        opened => opened.map(Some),
    }
}

async fn open_with(
    config: &WorkspacesConfig,
    kind: DriverKind,
    mounted: Vec<Toolchain>,
    store: &Store,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Opened> {
    let templates = templates(config)?;
    let root = store.dir().join(DIRECTORY);
    let runtime = runtime(config)?;
    let mut drivers = Drivers::default();
    let mut all: Vec<Arc<dyn WorkspaceDriver>> = Vec::new();
    if kind == DriverKind::Docker {
        let docker = docker(config, &root, &runtime, &templates).await?;
        all.push(Arc::new(docker.clone()));
        drivers.docker = Some(docker);
    }
    // Whoever asks for it may have it beside the other one, on a machine that can.
    match namespace(config, &root, runtime, &templates, mounted).await {
        Ok(namespace) => {
            all.push(Arc::new(namespace.clone()));
            drivers.namespace = Some(namespace);
        }
        Err(error) if kind == DriverKind::Namespace => return Err(error),
        Err(error) => tracing::warn!("there is no driver `namespace` beside Docker: {error:#}"),
    }
    let parts = WorkspacesParts {
        store: store.clone(),
        clock: Arc::clone(clock),
        drivers: all,
        templates: templates.all().map(described).collect(),
        options: WorkspacesOptions { tenant_workdirs: tenant_workdirs(config, store.dir())?, ..options(config, kind) },
    };
    let workspaces = Workspaces::open(parts).await.map_err(|error| anyhow::anyhow!(error.chain()))?;
    Ok(Opened { workspaces, drivers })
}

/// What this machine has of what workspaces need. Tried in a directory of its own, so that a server that runs is left
/// alone.
pub(crate) async fn readiness(config: &WorkspacesConfig) -> anyhow::Result<Vec<Readiness>> {
    let root = std::env::temp_dir().join(format!("reeve-doctor-{}", std::process::id()));
    let found = look(config, &root).await;
    let _ = std::fs::remove_dir_all(&root);
    found
}

async fn look(config: &WorkspacesConfig, root: &Path) -> anyhow::Result<Vec<Readiness>> {
    let (runtime, templates) = (runtime(config)?, templates(config)?);
    if config.driver == Some(DriverKind::Docker) {
        let driver = open_docker(config, root, &runtime, &templates).await?;
        let found = driver.readiness().await;
        driver.close().await;
        return Ok(found);
    }
    let options = NamespaceOptions {
        reach: Some(root.join("reach")),
        ..NamespaceOptions::new(root.join("kept"), runtime, templates)
    };
    let driver = NamespaceDriver::open(options).await.context("workspaces cannot be held on this machine")?;
    let found = driver.readiness().await;
    driver.close().await;
    Ok(found)
}

async fn namespace(
    config: &WorkspacesConfig,
    root: &Path,
    runtime: PathBuf,
    templates: &Templates,
    mounted: Vec<Toolchain>,
) -> anyhow::Result<NamespaceDriver> {
    let home = crate::config::surroundings::variable("HOME").map(PathBuf::from);
    let mut toolchains = home.as_deref().map(find_toolchains).unwrap_or_default();
    toolchains.extend(mounted);
    let options = NamespaceOptions {
        toolchains,
        reachable: config.reachable.clone(),
        forbidden: root.parent().map(Path::to_owned).into_iter().collect(),
        ..NamespaceOptions::new(root.join(DriverKind::Namespace.as_str()), runtime, templates.clone())
    };
    let driver = NamespaceDriver::open(options).await.context("workspaces cannot be held on this machine")?;
    warn_of_missing(&driver).await;
    Ok(driver)
}

async fn docker(
    config: &WorkspacesConfig,
    root: &Path,
    runtime: &Path,
    templates: &Templates,
) -> anyhow::Result<DockerDriver> {
    let driver = open_docker(config, root, runtime, templates).await?;
    warn_of_missing(&driver).await;
    Ok(driver)
}

async fn open_docker(
    config: &WorkspacesConfig,
    root: &Path,
    runtime: &Path,
    templates: &Templates,
) -> anyhow::Result<DockerDriver> {
    // Images have C libraries of their own age; a program that brings its own runs in all of them.
    let beside = runtime.with_file_name("reeve-runtime-static");
    let runtime = if config.runtime.is_none() && beside.is_file() { beside } else { runtime.to_owned() };
    let options = DockerOptions {
        host: config.docker_host.clone(),
        container_runtime: config.docker_runtime.clone(),
        reachable: config.reachable.clone(),
        ..DockerOptions::new(root.join(DriverKind::Docker.as_str()), runtime, templates.clone())
    };
    DockerDriver::open(options).await.context("workspaces cannot be held with Docker")
}

async fn warn_of_missing(driver: &dyn WorkspaceDriver) {
    for missing in driver.readiness().await.iter().filter(|found| found.needed && !found.ready) {
        let kind = driver.kind();
        tracing::warn!("{kind}: workspaces cannot be made yet: {}: {}", missing.what, missing.detail);
    }
}

fn runtime(config: &WorkspacesConfig) -> anyhow::Result<PathBuf> {
    if let Some(named) = &config.runtime {
        anyhow::ensure!(
            named.is_file(),
            "workspaces.runtime names {}, and there is no `reeve-runtime`",
            named.display()
        );
        return Ok(named.clone());
    }
    runtime_beside_this_program().context(
        "the program that runs inside workspaces, `reeve-runtime`, is not beside this one; put it there, name it in \
         workspaces.runtime, or do without workspaces: workspaces.driver = \"none\"",
    )
}

fn templates(config: &WorkspacesConfig) -> anyhow::Result<Templates> {
    match &config.templates {
        Some(directory) => Templates::with_own(directory),
        None => Templates::built_in(),
    }
    .context("the templates of workspaces cannot be used")
}

fn options(config: &WorkspacesConfig, kind: DriverKind) -> WorkspacesOptions {
    let quota =
        |of: WorkspacesQuota| Quota { workspaces: of.workspaces, running: of.running, disk_bytes: of.disk_bytes };
    WorkspacesOptions {
        default_driver: Some(kind),
        quota_per_owner: quota(config.user),
        quota_per_tenant: quota(config.tenant),
        limits: config.limits,
        limits_max: config.limits_max,
        run_max: config.run_max,
        snapshots_max: config.snapshots_max,
        keep_deleted: config.keep_deleted,
        egress_by_choice: config.egress_by_choice,
        warm: config.warm,
        host_directories: config.host_directories,
        ..WorkspacesOptions::default()
    }
}

/// Which directories of the host each tenant may work in: from the file that was named, or the one of the data directory.
fn tenant_workdirs(config: &WorkspacesConfig, data_dir: &Path) -> anyhow::Result<TenantWorkdirs> {
    let found: Vec<PathBuf> = match &config.tenants_file {
        Some(named) => vec![named.clone()],
        None => TENANTS_FILES.iter().map(|name| data_dir.join(name)).filter(|path| path.exists()).collect(),
    };
    let workdirs = match found.as_slice() {
        [] => TenantWorkdirs::default(),
        [path] => TenantWorkdirs::load(path)?,
        _ => anyhow::bail!("{} holds both {}; keep one", data_dir.display(), TENANTS_FILES.join(" and ")),
    };
    if !workdirs.is_empty() && !config.host_directories {
        tracing::warn!(
            "tenantWorkdirs says where tenants may work on this host, and nobody may: workspaces.host_directories is off"
        );
    }
    Ok(workdirs)
}

/// A template as the service tells it.
fn described(template: &reeve_workspace::Template) -> Template {
    Template {
        name: template.name.clone(),
        title: template.title.clone(),
        description: template.description.clone(),
        drivers: template.drivers.clone(),
        languages: template.languages.clone(),
        default_command: template.default_command.clone(),
        ports: template.ports.clone(),
        limits: template.limits.map(all_wanted).unwrap_or_default(),
        egress: template.egress.clone(),
        environment: Vec::new(),
        tags: std::collections::BTreeSet::new(),
    }
}

fn all_wanted(limits: WorkspaceLimits) -> LimitsWanted {
    LimitsWanted {
        memory_bytes: Some(limits.memory_bytes),
        cpu_millis: Some(limits.cpu_millis),
        pids: Some(limits.pids),
        disk_bytes: Some(limits.disk_bytes),
        open_files: Some(limits.open_files),
        idle_timeout_ms: Some(limits.idle_timeout_ms),
    }
}
