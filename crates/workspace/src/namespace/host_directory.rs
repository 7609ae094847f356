//! A directory of the host at `/workspace`: whether a workspace may have it, decided about an open handle.
//!
//! What is decided about is what is mounted: the directory is opened once, everything is asked of the handle, and
//! bubblewrap gets that handle. How the path reads, and what somebody makes of it meanwhile, does not matter. Whether
//! a directory lies in another is found by walking up from the handle, not by comparing names.

use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use reeve_types::workspace::{Confines, HostDirectory};
use reeve_types::{ProblemCode, WorkspaceError};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Places of a machine that no workspace gets, nor anything in them, nor what holds them.
const NOBODYS: [&str; 12] =
    ["/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/var/lib"];
/// File systems that are windows into the kernel, wherever they are mounted: proc, sysfs, cgroup, cgroup2, devpts,
/// debugfs, tracefs, securityfs.
const KERNELS: [u64; 8] =
    [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270, 0x1cd1, 0x6462_6720, 0x7472_6163, 0x7363_6673];
/// Deepest directory that can be worked in.
const DEPTH_MAX: usize = 256;
/// How often a resolution is tried again when directories are renamed under it.
const TRIES: u32 = 64;
const EXECUTE: u32 = 0o1;

/// A directory that a workspace may have.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) handle: OwnedFd,
    pub(super) owner: Owner,
}

/// Whose files are in it: programs inside run as them, so that both sides can change what the other made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Who decides.
#[derive(Debug, Clone)]
pub(super) struct Doorkeeper {
    /// What is Reeve's own on this machine.
    pub(super) own: Vec<PathBuf>,
    /// Users that workspaces with files of their own run as.
    pub(super) users: Range<u32>,
    pub(super) as_root: bool,
}

/// What tells one directory from every other.
type Identity = (u64, u64);

/// One directory on the way up.
struct Step {
    identity: Identity,
    mode: u32,
    owner: Owner,
}

impl Doorkeeper {
    /// Opens a directory, if a workspace may have it.
    pub(super) fn open(&self, wanted: &HostDirectory) -> Result<Opened, WorkspaceError> {
        let path = plain(&wanted.path)?;
        let opened = open_directory(path).map_err(|errno| match &wanted.within {
            Some(confines) => not_there(path, confines),
            None => unopened(path, errno),
        })?;
        let way = way_up(&opened).map_err(|errno| unopened(path, errno))?;
        if let Some(confines) = &wanted.within {
            confined(path, &way, confines)?;
        }
        self.nobodys(path, &opened, &way)?;
        let owner = self.owner(path, &way)?;
        Ok(Opened { handle: opened, owner })
    }

    /// Refuses what no workspace gets.
    fn nobodys(&self, path: &Path, opened: &OwnedFd, way: &[Step]) -> Result<(), WorkspaceError> {
        let stat = rustix::fs::fstatfs(opened).map_err(|errno| unopened(path, errno))?;
        #[expect(clippy::cast_sign_loss, reason = "magic numbers are bits")]
        let kind = stat.f_type as u64 & 0xffff_ffff;
        if KERNELS.contains(&kind) {
            return Err(refused(path, "it is a window into the kernel"));
        }
        let this = way.first().map(|step| step.identity);
        for place in NOBODYS.iter().map(Path::new).chain(self.own.iter().map(PathBuf::as_path)) {
            let Ok(other) = open_directory(place) else { continue };
            let theirs = way_up(&other).map_err(|errno| unopened(place, errno))?;
            let Some(place_itself) = theirs.first().map(|step| step.identity) else { continue };
            if way.iter().any(|step| step.identity == place_itself) {
                return Err(refused(path, &format!("it is {}, or in it", place.display())));
            }
            if theirs.iter().any(|step| Some(step.identity) == this) {
                return Err(refused(path, &format!("it holds {}", place.display())));
            }
        }
        Ok(())
    }

    /// Whom programs inside must run as, and whether they can.
    fn owner(&self, path: &Path, way: &[Step]) -> Result<Owner, WorkspaceError> {
        let Some(Step { owner, .. }) = way.first() else { return Err(refused(path, "it is nowhere")) };
        let owner = *owner;
        let server = rustix::process::geteuid().as_raw();
        if !self.as_root && owner.uid != server {
            return Err(refused(
                path,
                &format!(
                    "it belongs to user {}, and Reeve runs as user {server}: what one of them writes the other could not \
                     change; run Reeve as its owner or as root",
                    owner.uid
                ),
            ));
        }
        if owner.uid == 0 {
            return Err(refused(path, "it belongs to root, and no workspace runs as root; give it to a user (chown)"));
        }
        if self.users.contains(&owner.uid) {
            return Err(refused(path, "it belongs to a user whom other workspaces run as; give it to another (chown)"));
        }
        // A group of root's would open what is root's group's.
        let owner = Owner { gid: if owner.gid == 0 { owner.uid } else { owner.gid }, ..owner };
        // Who is not root has just walked there.
        if let Some(closed) = way.iter().position(|step| self.as_root && !lets(step, owner)) {
            let how = if closed == 0 { "is closed to its owner" } else { "cannot be reached by its owner" };
            let what = format!("it {how}, user {}; open the directories that lead to it (chmod +x)", owner.uid);
            return Err(refused(path, &what));
        }
        Ok(owner)
    }
}

/// Whether a user may walk through.
fn lets(step: &Step, who: Owner) -> bool {
    let bits = if step.owner.uid == who.uid {
        step.mode >> 6
    } else if step.owner.gid == who.gid {
        step.mode >> 3
    } else {
        step.mode
    };
    bits & EXECUTE != 0
}

/// Refuses what is not in one of a tenant's directories. `way` leads up from the directory.
fn confined(path: &Path, way: &[Step], confines: &Confines) -> Result<(), WorkspaceError> {
    let root = open_directory(Path::new(&confines.root)).map_err(|_| outside(path, confines))?;
    let within = |directory: &OwnedFd| identity(directory).is_ok_and(|one| way.iter().any(|step| step.identity == one));
    let fine = if confines.below.is_empty() {
        within(&root)
    } else {
        // Beneath the root, so that a link which the tenant puts there leads nowhere else.
        confines.below.iter().filter_map(|below| open_beneath(&root, Path::new(below)).ok()).any(|one| within(&one))
    };
    if fine { Ok(()) } else { Err(outside(path, confines)) }
}

/// Why what a confined caller named was not opened. They do not learn what there is outside of their root.
fn not_there(path: &Path, confines: &Confines) -> WorkspaceError {
    let below = path.strip_prefix(&confines.root).ok();
    let tried = below.and_then(|below| {
        let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
        open_directory(Path::new(&confines.root)).ok().map(|root| open_beneath(&root, below))
    });
    match tried {
        Some(Err(errno @ (Errno::NOENT | Errno::NOTDIR))) => unopened(path, errno),
        _ => outside(path, confines),
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    resolved(CWD, path, ResolveFlags::NO_MAGICLINKS)
}

fn open_beneath(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    resolved(root.as_fd(), path, ResolveFlags::NO_MAGICLINKS | ResolveFlags::BENEATH)
}

fn resolved(at: impl AsFd, path: &Path, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut tried = 0;
    loop {
        match rustix::fs::openat2(&at, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if tried < TRIES => tried += 1,
            answer => return answer,
        }
    }
}

/// A directory and everything above it, up to the root of this machine.
fn way_up(directory: &OwnedFd) -> Result<Vec<Step>, Errno> {
    let mut way = vec![step(directory)?];
    let mut here = resolved(directory, Path::new("."), ResolveFlags::empty())?;
    while way.len() < DEPTH_MAX {
        let above = resolved(&here, Path::new(".."), ResolveFlags::empty())?;
        let next = step(&above)?;
        if way.last().is_some_and(|last| last.identity == next.identity) {
            return Ok(way);
        }
        way.push(next);
        here = above;
    }
    Err(Errno::NAMETOOLONG)
}

fn step(directory: &OwnedFd) -> Result<Step, Errno> {
    let stat = rustix::fs::fstat(directory)?;
    let owner = Owner { uid: stat.st_uid, gid: stat.st_gid };
    Ok(Step { identity: (stat.st_dev, stat.st_ino), mode: stat.st_mode, owner })
}

fn identity(directory: &OwnedFd) -> Result<Identity, Errno> {
    Ok(step(directory)?.identity)
}

/// An absolute path that says where it leads.
fn plain(text: &str) -> Result<&Path, WorkspaceError> {
    let path = Path::new(text);
    let plain =
        path.is_absolute() && !text.contains('\0') && !path.components().any(|part| part == Component::ParentDir);
    if plain {
        return Ok(path);
    }
    let said = format!("`{}` names no directory of the host: give an absolute path without `..`", path.display());
    Err(WorkspaceError::new(ProblemCode::BadRequest, said))
}

fn refused(path: &Path, why: &str) -> WorkspaceError {
    let said = format!("`{}` cannot be worked in: {why}", path.display());
    WorkspaceError::new(ProblemCode::Forbidden, said)
}

fn unopened(path: &Path, errno: Errno) -> WorkspaceError {
    let shown = path.display();
    let (code, said) = match errno {
        Errno::NOENT => (ProblemCode::NotFound, format!("there is no directory `{shown}` on the host; make it first")),
        Errno::NOTDIR => (ProblemCode::WrongFileType, format!("`{shown}` is no directory of the host")),
        Errno::ACCESS => (ProblemCode::Forbidden, format!("`{shown}` is closed to the user that Reeve runs as")),
        other => (ProblemCode::BadRequest, format!("`{shown}` cannot be opened: {other}")),
    };
    WorkspaceError::new(code, said)
}

fn outside(path: &Path, confines: &Confines) -> WorkspaceError {
    let where_ = match confines.below.as_slice() {
        [] => format!("below `{}`", confines.root),
        below => format!("below {} of `{}`", below.join(", "), confines.root),
    };
    let said = format!("`{}` is not one of your tenant's directories, which lie {where_}", path.display());
    WorkspaceError::new(ProblemCode::TenantWorkdirDenied, said)
}

#[cfg(test)]
mod tests;
