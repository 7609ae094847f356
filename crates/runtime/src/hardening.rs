//! What the runtime takes away from itself, and so from every program it starts.

use std::path::Path;

use landlock::{
    ABI, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreated, RulesetCreatedAttr as _, RulesetError, RulesetStatus,
};
use rustix::process::DumpableBehavior;

/// Directories that programs may write below, besides the root and the directory of the sockets.
const WRITABLE: [&str; 5] = ["/tmp", "/var/tmp", "/home", "/dev/shm", "/run/reeve"];
/// Devices that every program may expect to write to.
const DEVICES: [&str; 8] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts"];

/// Which protections hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hardening {
    /// Whether Landlock keeps writes to the writable directories.
    pub(crate) landlock: bool,
}

/// Takes away what can be taken away: to be called before any thread is started. A kernel without Landlock is no
/// failure; what holds is told.
pub(crate) fn harden(root: &Path, sockets: &Path) -> rustix::io::Result<Hardening> {
    // The environment and memory of this process hold the token: neither a debugger nor a core dump may see them.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(Hardening { landlock: confine_writes(&[root, sockets]).unwrap_or(false) })
}

fn confine_writes(own: &[&Path]) -> Result<bool, RulesetError> {
    let writing = AccessFs::from_write(ABI::V3);
    let mut rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(writing)?.create()?;
    for directory in own.iter().copied().chain(WRITABLE.map(Path::new)) {
        rules = allow(rules, directory, writing)?;
    }
    for device in DEVICES {
        rules = allow(rules, Path::new(device), AccessFs::WriteFile.into())?;
    }
    Ok(rules.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

/// What is not there needs no leave.
fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(opened) => rules.add_rule(PathBeneath::new(opened, access)),
        Err(_) => Ok(rules),
    }
}
