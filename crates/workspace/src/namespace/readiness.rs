//! What the driver needs of this machine, for `reeve doctor`.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use reeve_gate::workspace::Readiness;
use tokio::process::Command;

use super::{Inner, programs};

/// Where Ubuntu says whether programs without privileges may make user namespaces.
const APPARMOR_SWITCH: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
/// Where Debian said so once.
const DEBIAN_SWITCH: &str = "/proc/sys/kernel/unprivileged_userns_clone";
const LIMIT: &str = "/proc/sys/user/max_user_namespaces";

/// Looks at everything.
pub(super) async fn look(inner: &Arc<Inner>) -> Vec<Readiness> {
    vec![
        bubblewrap(inner).await,
        user_namespaces(inner).await,
        runtime(inner),
        control_groups(inner),
        disk(inner),
        own_users(inner),
        landlock(),
    ]
}

async fn bubblewrap(inner: &Inner) -> Readiness {
    let version = match &inner.bwrap {
        None => None,
        Some(bwrap) => said(Command::new(bwrap).arg("--version")).await.ok(),
    };
    Readiness {
        what: "bubblewrap",
        ready: version.is_some(),
        needed: true,
        detail: version.unwrap_or_else(|| "not installed; install the package `bubblewrap`".to_owned()),
    }
}

/// Tries it, because what switches say and what the kernel does are two things.
async fn user_namespaces(inner: &Inner) -> Readiness {
    let Some(bwrap) = &inner.bwrap else {
        return missing("user namespaces", "cannot be tried without bubblewrap");
    };
    let mut command = Command::new(&inner.options.runtime);
    command.arg("confine");
    if inner.layout.as_root {
        let nobody = inner.options.users.start.to_string();
        command.args(["--uid", &nobody, "--gid", &nobody]);
    }
    command.arg("--").arg(bwrap).args(["--unshare-user", "--unshare-pid", "--unshare-net", "--disable-userns"]);
    command.args(["--ro-bind", "/", "/", "--proc", "/proc", "--", "/bin/true"]);
    match said(&mut command).await {
        Ok(_) => Readiness {
            what: "user namespaces",
            ready: true,
            needed: true,
            detail: "programs without privileges may make them".to_owned(),
        },
        Err(error) => missing("user namespaces", &format!("{}: {error}", why_not())),
    }
}

fn why_not() -> String {
    if is_set_to(APPARMOR_SWITCH, "1") {
        return format!(
            "AppArmor forbids them to programs without a profile; install a profile for bwrap that allows `userns`, or \
             set {APPARMOR_SWITCH} to 0"
        );
    }
    if is_set_to(DEBIAN_SWITCH, "0") {
        return format!("this kernel forbids them; set {DEBIAN_SWITCH} to 1");
    }
    if is_set_to(LIMIT, "0") {
        return format!("this kernel allows none; raise {LIMIT}");
    }
    "a trial failed; inside a container, allow user namespaces and mounts in it".to_owned()
}

fn runtime(inner: &Inner) -> Readiness {
    let path = &inner.options.runtime;
    let ready = path.is_file();
    let detail = if ready {
        path.display().to_string()
    } else {
        format!("{} is not there; install `reeve-runtime` beside `reeve`", path.display())
    };
    Readiness { what: "reeve-runtime", ready, needed: true, detail }
}

fn control_groups(inner: &Inner) -> Readiness {
    let detail = match &inner.cgroups {
        Some(groups) => format!("limits by {}", groups.word()),
        None => {
            "no control group may be made, so limits hold for single processes only; run Reeve as root, or delegate \
                 the controllers memory, cpu and pids to it"
                .to_owned()
        }
    };
    Readiness { what: "cgroups", ready: inner.cgroups.is_some(), needed: false, detail }
}

fn disk(inner: &Inner) -> Readiness {
    let detail = if inner.images.is_some() {
        "each workspace has a file system of its own, so full is full".to_owned()
    } else if !inner.layout.as_root {
        "sizes are measured now and then; run Reeve as root for a limit by the kernel".to_owned()
    } else if programs::find("mkfs.ext4").is_none() {
        "sizes are measured now and then; install `e2fsprogs` for a limit by the kernel".to_owned()
    } else {
        "sizes are measured now and then, because images cannot be mounted here".to_owned()
    };
    Readiness { what: "disk limits", ready: inner.images.is_some(), needed: false, detail }
}

fn own_users(inner: &Inner) -> Readiness {
    let range = &inner.options.users;
    let detail = if inner.layout.as_root {
        format!("workspaces run as users {} to {}", range.start, range.end.saturating_sub(1))
    } else {
        "workspaces run as the server's own user; run Reeve as root to give each a user of its own".to_owned()
    };
    Readiness { what: "users", ready: inner.layout.as_root, needed: false, detail }
}

fn landlock() -> Readiness {
    let modules = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let ready = modules.trim().split(',').any(|module| module == "landlock");
    let detail = if ready {
        "the kernel has it".to_owned()
    } else if modules.is_empty() {
        "cannot be told, because securityfs is not mounted; workspaces are held without it".to_owned()
    } else {
        "the kernel does not have it; workspaces are held without it".to_owned()
    };
    Readiness { what: "landlock", ready, needed: false, detail }
}

fn missing(what: &'static str, detail: &str) -> Readiness {
    Readiness { what, ready: false, needed: true, detail: detail.to_owned() }
}

fn is_set_to(switch: &str, value: &str) -> bool {
    std::fs::read_to_string(Path::new(switch)).is_ok_and(|text| text.trim() == value)
}

/// The first line that a program says, or why it failed.
async fn said(command: &mut Command) -> Result<String, String> {
    let running = command.env_clear().stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(10), running)
        .await
        .map_err(|_| "it did not end".to_owned())?
        .map_err(|error| error.to_string())?;
    let line = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned();
    if output.status.success() { Ok(line(&output.stdout)) } else { Err(line(&output.stderr)) }
}
