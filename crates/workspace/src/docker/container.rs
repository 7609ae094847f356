//! What the engine is told to make: the whole boundary of a workspace, in one place.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountBindOptions, MountType,
    ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use reeve_types::workspace::{Egress, WorkspaceSpec};
use reeve_types::{Digest, WorkspaceError};

use super::about::About;
use super::labels::{self, Names, Role};
use super::volumes::Files;
use super::{Inner, asking};
use crate::client::RuntimeToken;
use crate::egress;
use crate::templates::Template;

/// Where the program inside is seen.
const RUNTIME_INSIDE: &str = "/opt/reeve/reeve-runtime";
/// Where the files are seen.
pub(super) const FILES_INSIDE: &str = "/workspace";
/// Where the home directory is seen.
pub(super) const HOME_INSIDE: &str = "/home/reeve";
/// Where the sockets are seen.
const SOCKETS_INSIDE: &str = "/run/reeve";
/// The variable that hands the token over.
pub(super) const TOKEN: &str = "REEVE_RUNTIME_TOKEN";
/// The user inside.
const INSIDE_UID: u32 = 1000;
/// How long the program inside has to end, in seconds, before it is killed.
pub(super) const GRACE_SECONDS: i32 = 10;
/// Largest `/tmp`, in bytes.
const TMP_BYTES_MAX: u64 = 1 << 30;

/// Who the user inside is. A server that is not root could not reach the sockets of another user than its own.
pub(super) fn owner() -> (u32, u32) {
    let user = rustix::process::geteuid();
    if user.is_root() { (INSIDE_UID, INSIDE_UID) } else { (user.as_raw(), rustix::process::getegid().as_raw()) }
}

/// A container to be made.
pub(super) struct Plan {
    /// Its name.
    pub(super) name: String,
    /// A digest of all that decides how it is started.
    pub(super) shape: String,
    body: ContainerCreateBody,
}

impl Plan {
    /// The body for the engine, with a token.
    pub(super) fn with(mut self, token: &RuntimeToken) -> (String, ContainerCreateBody) {
        self.body.env.get_or_insert_default().push(format!("{TOKEN}={}", token.expose()));
        (self.name, self.body)
    }
}

/// The token among the variables of a container.
pub(super) fn token_of(variables: &[String]) -> Option<RuntimeToken> {
    let value = variables.iter().find_map(|variable| variable.strip_prefix(TOKEN)?.strip_prefix('='))?;
    Some(RuntimeToken::new(value))
}

impl Inner {
    /// How the container of a workspace is made. Its volumes are those that are there, whatever they are called: they were
    /// named after whoever had the workspace first, and under another name the engine would silently make empty ones.
    pub(super) fn plan(
        &self,
        about: &About,
        spec: &WorkspaceSpec,
        template: &Template,
        files: &Files,
    ) -> Result<Plan, WorkspaceError> {
        let image = asking::image_of(template)?;
        let mut body = ContainerCreateBody {
            hostname: Some("workspace".to_owned()),
            user: Some(format!("{}:{}", owner().0, owner().1)),
            env: Some(variables(spec, template)),
            entrypoint: Some(vec![RUNTIME_INSIDE.to_owned()]),
            cmd: Some(vec!["serve".to_owned()]),
            image: Some(image.to_owned()),
            working_dir: Some(FILES_INSIDE.to_owned()),
            stop_signal: Some("SIGTERM".to_owned()),
            stop_timeout: Some(GRACE_SECONDS.into()),
            healthcheck: Some(no_healthcheck()),
            labels: Some(decided(spec)),
            host_config: Some(HostConfig {
                mounts: Some(self.mounts(spec, files)),
                runtime: self.options.container_runtime.clone(),
                userns_mode: (about.podman && about.rootless)
                    .then(|| format!("keep-id:uid={},gid={}", owner().0, owner().1)),
                ..limited(spec, about)
            }),
            ..ContainerCreateBody::default()
        };
        let shape = Digest::of_value(&body).map_err(|error| {
            let said = format!("the container of {} cannot be described: {error}", spec.id);
            WorkspaceError::new(reeve_types::ProblemCode::Internal, said)
        })?;
        let shape = shape.to_string();
        let mut labels = labels::of_spec(&self.options.prefix, &self.layout.installation(), spec);
        labels.insert(labels::ROLE.to_owned(), Role::Workspace.as_str().to_owned());
        labels.insert(labels::VOLUME.to_owned(), files.name.clone());
        labels.insert(labels::SHAPE.to_owned(), shape.clone());
        body.labels.get_or_insert_default().extend(labels);
        Ok(Plan { name: Names::of(&self.options.prefix, spec).container, shape, body })
    }

    fn mounts(&self, spec: &WorkspaceSpec, files: &Files) -> Vec<Mount> {
        let outside = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
        vec![
            volume(files.name.clone(), FILES_INSIDE, false),
            volume(files.home(), HOME_INSIDE, false),
            bind(outside(self.layout.sockets(&spec.id)), SOCKETS_INSIDE, false),
            bind(outside(self.options.runtime.clone()), RUNTIME_INSIDE, true),
        ]
    }
}

/// Everything that keeps a container of ours in: no capabilities, no way to gain any, a read-only system, no network but
/// its own loopback (whoever may reach more has a proxy there). The engine's own filter of system calls stays as it is.
pub(super) fn confined() -> HostConfig {
    HostConfig {
        network_mode: Some("none".to_owned()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        privileged: Some(false),
        readonly_rootfs: Some(true),
        ipc_mode: Some("private".to_owned()),
        init: Some(false),
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), ..RestartPolicy::default() }),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some([("max-size", "64k"), ("max-file", "1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
        }),
        ..HostConfig::default()
    }
}

/// Labels that say what the engine itself is not asked for; with them a container of another shape is another one.
fn decided(spec: &WorkspaceSpec) -> HashMap<String, String> {
    let mut labels = HashMap::from([(labels::DISK_BYTES.to_owned(), spec.limits.disk_bytes.to_string())]);
    if spec.egress != Egress::None {
        labels.insert(labels::EGRESS.to_owned(), serde_json::json!(spec.egress).to_string());
    }
    labels
}

fn limited(spec: &WorkspaceSpec, about: &About) -> HostConfig {
    let limits = &spec.limits;
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let cpu_millis = about.cores.map_or(limits.cpu_millis, |cores| limits.cpu_millis.min(cores.saturating_mul(1000)));
    let tmp = (limits.memory_bytes / 2).clamp(16 << 20, TMP_BYTES_MAX);
    HostConfig {
        memory: Some(bytes(limits.memory_bytes)),
        memory_swap: Some(bytes(limits.memory_bytes)),
        nano_cpus: Some(i64::from(cpu_millis) * 1_000_000),
        pids_limit: Some(limits.pids.into()),
        ulimits: Some(vec![ulimit("nofile", bytes(limits.open_files)), ulimit("core", 0)]),
        shm_size: Some(bytes(tmp)),
        tmpfs: Some(tmpfs(tmp)),
        ..confined()
    }
}

/// `/tmp` in memory; programs may be run there, as anywhere in a workspace.
pub(super) fn tmpfs(bytes: u64) -> HashMap<String, String> {
    HashMap::from([("/tmp".to_owned(), format!("rw,exec,nosuid,nodev,mode=1777,size={bytes}"))])
}

fn ulimit(name: &str, value: i64) -> ResourcesUlimits {
    ResourcesUlimits { name: Some(name.to_owned()), soft: Some(value), hard: Some(value) }
}

/// Images may bring a check of their own, which would run as a stranger to the program inside.
fn no_healthcheck() -> HealthConfig {
    HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }
}

/// A volume, seen at a place.
pub(super) fn volume(name: String, target: &str, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(name),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..Mount::default()
    }
}

fn bind(source: String, target: &str, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        bind_options: Some(MountBindOptions {
            propagation: Some(bollard::models::MountBindOptionsPropagationEnum::RPRIVATE),
            ..MountBindOptions::default()
        }),
        ..Mount::default()
    }
}

/// What programs find in their environment, besides what the image brings.
fn variables(spec: &WorkspaceSpec, template: &Template) -> Vec<String> {
    let usual = [
        ("LANG", "C.UTF-8"),
        ("TERM", "xterm-256color"),
        ("SHELL", "/bin/bash"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("PYTHONUNBUFFERED", "1"),
    ];
    let own = [("HOME", HOME_INSIDE), ("USER", "reeve"), ("LOGNAME", "reeve")];
    let proxy: Vec<_> = (spec.egress != Egress::None).then(egress::variables).into_iter().flatten().collect();
    let mut all: BTreeMap<&str, &str> = usual.into();
    all.extend(proxy.iter().map(|(name, value)| (*name, value.as_str())));
    all.extend(template.env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    all.extend(spec.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    all.retain(|name, _| !name.starts_with("REEVE_"));
    all.extend(own);
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}
