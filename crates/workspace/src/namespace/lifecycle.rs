//! The life of a box: laid out, started, ended, removed.

use std::sync::Arc;
use std::time::Duration;

use reeve_types::workspace::{DriverKind, Egress, Isolation, WorkspaceSpec};
use reeve_types::{ProblemCode, WorkspaceError, WorkspaceId, WorkspaceLimits};
use rustix::process::Signal;

use super::boxes::Held;
use super::failure::{aside, cannot, resting};
use super::host_directory::{Doorkeeper, Opened, Owner};
use super::jail::Jail;
use super::kind::Kind;
use super::record::{Processes, Record};
use super::{Inner, disk, removing};
use crate::client::RuntimeToken;
use crate::egress::{self, Proxy, Rules};
use crate::process;
use crate::process::ProcessMark;
use crate::templates::{SeedFile, Template};

/// How long processes have to end by themselves.
const ENDS_BY_ITSELF: Duration = Duration::from_secs(3);
/// How long the kernel may take to end what was killed.
pub(super) const ENDS_WHEN_KILLED: Duration = Duration::from_secs(10);

impl Inner {
    /// The template of a workspace.
    pub(super) fn template(&self, name: &str) -> Result<&Template, WorkspaceError> {
        self.options.templates.get(name).filter(|found| found.drivers.contains(&DriverKind::Namespace)).ok_or_else(
            || {
                let said = format!("there is no template `{name}` for the driver `namespace`; there are {}", {
                    self.options.templates.names()
                });
                WorkspaceError::new(ProblemCode::BadRequest, said)
            },
        )
    }

    /// Opens the directory of the host that a workspace works in, if it may have it.
    pub(super) async fn open_directory(&self, spec: &WorkspaceSpec) -> Result<Option<Opened>, WorkspaceError> {
        let Some(wanted) = spec.directory.clone() else { return Ok(None) };
        let own = [&self.layout.root, &self.layout.reach].into_iter().chain(&self.options.forbidden).cloned().collect();
        let doorkeeper = Doorkeeper { own, users: self.options.users.clone(), as_root: self.layout.as_root };
        aside(move || doorkeeper.open(&wanted).map(Some)).await
    }

    /// Reserves a box: a key, a user, a record. Nothing is laid out yet. Where it works in somebody's directory, it runs
    /// as they.
    pub(super) fn reserve(
        &self,
        spec: Option<WorkspaceSpec>,
        owner: Option<Owner>,
    ) -> Result<Arc<Held>, WorkspaceError> {
        let key = format!("{:016x}", rand::random::<u64>());
        let uid = match owner {
            _ if !self.layout.as_root => None,
            Some(owner) => Some(owner.uid),
            None => Some(self.users.allocate()?),
        };
        let record = Record {
            spec,
            laid_out: false,
            removing: false,
            started: false,
            uid,
            gid: owner.filter(|_| self.layout.as_root).map(|owner| owner.gid),
            image: self.images.is_some(),
            token: RuntimeToken::generate().expose().to_owned(),
            processes: None,
        };
        let made = self.layout.make_box(&key).and_then(|()| record.write(&self.layout.record(&key)));
        if let Err(error) = made {
            if let Some(uid) = uid.filter(|_| owner.is_none()) {
                self.users.release(uid);
            }
            return Err(cannot("make the directory of a workspace", &error));
        }
        Ok(Arc::new(Held::new(key, record)))
    }

    /// Makes the place for the files of a reserved box, empty.
    pub(super) async fn lay_out(&self, held: &Held, limits: &WorkspaceLimits) -> Result<(), WorkspaceError> {
        let (layout, images, key) = (self.layout.clone(), self.images.clone(), held.key.clone());
        let (bytes, uid) = (limits.disk_bytes, held.record().uid);
        aside(move || match images {
            Some(tools) => tools.make(&layout, &key, bytes, uid),
            None => disk::make_plain(&layout, &key, uid),
        })
        .await
    }

    /// Puts the files of a template into a box.
    pub(super) async fn seed(&self, held: &Held, template: &Template) -> Result<(), WorkspaceError> {
        let (files, uid) = (self.layout.inside(&held.key).join("files"), held.record().uid);
        let seeds: Vec<SeedFile> = template.files.clone();
        aside(move || {
            seeds
                .iter()
                .try_for_each(|seed| write_seed(&files, seed, uid))
                .map_err(|error| cannot("write the files that the workspace begins with", &error))
        })
        .await
    }

    /// Makes the files of a box reachable, after a restart of the machine as well.
    pub(super) async fn attach(&self, held: &Held) -> Result<(), WorkspaceError> {
        let (layout, images, key) = (self.layout.clone(), self.images.clone(), held.key.clone());
        let image = held.record().image;
        aside(move || match (image, images) {
            (false, _) => disk::attach_plain(&layout, &key),
            (true, Some(tools)) => tools.attach(&layout, &key),
            (true, None) => {
                let said = "the workspace's files are in an image, and this server cannot mount images; run it as root";
                Err(WorkspaceError::new(ProblemCode::Unavailable, said))
            }
        })
        .await
    }

    /// Takes the files of a box that rests out of reach.
    pub(super) async fn detach(&self, held: &Held) -> Result<(), WorkspaceError> {
        if !self.layout.as_root {
            return Ok(());
        }
        let (layout, key) = (self.layout.clone(), held.key.clone());
        aside(move || {
            disk::unmount(&layout.inside(&key)).map_err(|error| cannot("unmount the files of a workspace", &error))?;
            layout.unmake_reachable(&key);
            Ok(())
        })
        .await
    }

    /// Starts the processes of a box and waits until the program inside answers.
    pub(super) async fn launch(
        self: &Arc<Self>,
        held: &Arc<Held>,
        kind: &Kind,
        limits: &WorkspaceLimits,
        environment: Vec<(String, String)>,
        directory: Option<&Opened>,
    ) -> Result<(), WorkspaceError> {
        let Some(bwrap) = &self.bwrap else {
            let said = "bubblewrap is not installed; install the package `bubblewrap` (`reeve doctor` tells more)";
            return Err(WorkspaceError::new(ProblemCode::Unavailable, said));
        };
        if !self.options.runtime.is_file() {
            let said = format!(
                "the program `{}` is not there; install `reeve-runtime` beside `reeve` (`reeve doctor` tells more)",
                self.options.runtime.display()
            );
            return Err(WorkspaceError::new(ProblemCode::Unavailable, said));
        }
        let cgroups = match &self.cgroups {
            None => Vec::new(),
            Some(groups) => {
                groups.make(&held.key, limits).map_err(|error| cannot("make a control group", &error))?;
                groups.directories(&held.key)
            }
        };
        let record = held.record();
        let token = RuntimeToken::new(&record.token);
        let jail = Jail {
            bwrap,
            runtime: &self.options.runtime,
            system: &self.system,
            filter: &self.filter,
            inside: self.layout.inside(&held.key),
            egress: kind.egress,
            mark: format!("{}/{}", self.layout.installation(), held.key),
            cgroups,
            uid: record.uid,
            gid: record.gid,
            directory: directory.map(|opened| &opened.handle),
            limits,
            token: &token,
            environment,
        };
        held.forget_client();
        let nobody = WorkspaceId::new(jiff::Timestamp::UNIX_EPOCH, 0);
        let client = crate::client::RuntimeClient::new(nobody, jail.inside.join("run"), token.clone());
        let jailed = match jail.start(&client).await {
            Ok(jailed) => jailed,
            Err(error) => {
                self.remove_group(held).await;
                return Err(error);
            }
        };
        let isolation = self.isolation(&record, kind, jailed.health.landlock);
        let processes = Processes { monitor: jailed.monitor, init: jailed.init, isolation };
        let mut child = jailed.child;
        tokio::spawn(async move { child.wait().await });
        held.note_start();
        held.remember(&self.layout, |record| record.processes = Some(processes))
    }

    fn isolation(&self, record: &Record, kind: &Kind, landlock: bool) -> Isolation {
        let on_host = record.spec.as_ref().is_some_and(|spec| spec.directory.is_some());
        Isolation {
            driver: DriverKind::Namespace,
            tier: "namespace".to_owned(),
            seccomp: true,
            landlock,
            limits: self.cgroups.as_ref().map_or("rlimit", |groups| groups.word()).to_owned(),
            disk: if on_host {
                "host"
            } else if record.image {
                "kernel"
            } else {
                "swept"
            }
            .to_owned(),
            network: if kind.egress { "allow" } else { "none" }.to_owned(),
            own_user: self.layout.as_root && !on_host,
        }
    }

    /// Opens the way to the network that a workspace was given.
    pub(super) fn open_egress(&self, held: &Held, spec: &WorkspaceSpec) -> Result<(), WorkspaceError> {
        if spec.egress == Egress::None {
            return Ok(());
        }
        let rules = Rules::new(&spec.egress, &self.options.reachable)?;
        let processes = held.running().ok_or_else(|| resting(&spec.id))?;
        held.set_proxy(None);
        let proxy = egress::listen(processes.init)
            .and_then(|listener| Proxy::open(spec.id.clone(), listener, rules, held.refusals()))
            .map_err(|error| cannot("open the workspace's way to the network", &error))?;
        held.set_proxy(Some(proxy));
        Ok(())
    }

    /// Refuses a way to the network that cannot be made or makes no sense, before anything is done for it.
    pub(super) fn check_egress(&self, egress: &Egress) -> Result<(), WorkspaceError> {
        if *egress == Egress::None {
            return Ok(());
        }
        Rules::new(egress, &self.options.reachable)?;
        match self.without_network() {
            None => Ok(()),
            Some(why) => {
                let said = format!("{why}; run Reeve as root, or choose no network");
                Err(WorkspaceError::new(ProblemCode::Unavailable, said))
            }
        }
    }

    /// Why no workspace here has a way to the network.
    pub(super) fn without_network(&self) -> Option<&'static str> {
        (!self.layout.as_root).then_some(egress::ROOT_ONLY)
    }

    /// Ends the processes of a box: asks if there is time, then insists.
    pub(super) async fn end(&self, held: &Held, gently: bool) -> Result<(), WorkspaceError> {
        if let Some((monitor, init)) = held.last_known() {
            if gently && init.runs() {
                self.ask_to_end(held, init);
                init.ended_within(ENDS_BY_ITSELF).await;
            }
            for process in [init, monitor] {
                process.signal(Signal::KILL);
            }
            if !init.ended_within(ENDS_WHEN_KILLED).await {
                let said =
                    "the workspace's processes do not end although they were killed; look at the machine's disks";
                return Err(WorkspaceError::new(ProblemCode::Internal, said));
            }
        }
        self.kill_group(held);
        held.set_proxy(None);
        held.forget_client();
        self.remove_group(held).await;
        self.unless_gone(
            held,
            held.remember(&self.layout, |record| {
                record.processes = None;
                record.started = false;
            }),
        )
    }

    /// What has been removed already needs no record; and a full disk must not keep anybody from making room.
    fn unless_gone(&self, held: &Held, remembered: Result<(), WorkspaceError>) -> Result<(), WorkspaceError> {
        match remembered {
            Err(error) if error.code == ProblemCode::DiskFull || !self.layout.own(&held.key).exists() => {
                tracing::debug!(%error, "a workspace that ends is not written down");
                Ok(())
            }
            other => other,
        }
    }

    /// The first process inside is the runtime, which ends what it started; what nobody waits for is asked by itself.
    fn ask_to_end(&self, held: &Held, init: ProcessMark) {
        let others: Vec<u32> = match &self.cgroups {
            Some(groups) => groups.processes(&held.key),
            None => process::children(init.pid()),
        };
        let monitor = held.last_known().map(|(monitor, _)| monitor);
        for mark in others.into_iter().filter_map(ProcessMark::of).chain([init]) {
            if Some(mark) != monitor {
                mark.signal(Signal::TERM);
            }
        }
    }

    /// A box whose start was cut off may have processes that no record names; its group does.
    fn kill_group(&self, held: &Held) {
        let Some(groups) = &self.cgroups else { return };
        for mark in groups.processes(&held.key).into_iter().filter_map(ProcessMark::of) {
            mark.signal(Signal::KILL);
        }
    }

    pub(super) async fn remove_group(&self, held: &Held) {
        let Some(groups) = &self.cgroups else { return };
        if let Err(error) = groups.remove(&held.key, ENDS_WHEN_KILLED).await {
            tracing::warn!(%error, "a control group of a workspace cannot be removed; it is tried again at the next start");
        }
    }

    /// Removes a box with everything that belongs to it.
    pub(super) async fn discard(&self, held: &Held) -> Result<(), WorkspaceError> {
        self.unless_gone(held, held.remember(&self.layout, |record| record.removing = true))?;
        self.end(held, false).await?;
        self.detach(held).await?;
        let (layout, key) = (self.layout.clone(), held.key.clone());
        aside(move || {
            for directory in [layout.reached(&key), layout.own(&key)] {
                removing::remove(&directory).map_err(|error| cannot("remove the files of a workspace", &error))?;
            }
            Ok(())
        })
        .await?;
        // Somebody's own number is none of those that are given out.
        if let Some(uid) = held.record().uid.filter(|_| held.record().gid.is_none()) {
            self.users.release(uid);
        }
        Ok(())
    }
}

fn write_seed(files: &std::path::Path, seed: &SeedFile, uid: Option<u32>) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, chown};
    let target = files.join(&seed.path);
    let below: Vec<_> = seed.path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
    for directory in below.into_iter().rev() {
        let directory = files.join(directory);
        if !directory.exists() {
            std::fs::create_dir(&directory)?;
            chown(&directory, uid, uid)?;
        }
    }
    let mode = if seed.executable { 0o755 } else { 0o644 };
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&target)?;
    std::io::Write::write_all(&mut file, &seed.content)?;
    chown(&target, uid, uid)
}
