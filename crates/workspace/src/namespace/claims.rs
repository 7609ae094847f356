//! Whose a place is that workspaces are reached in: a file there names the data directory, and every server that uses
//! the place keeps the file locked. So what a server left that was killed, and whose data directory is gone, is told from
//! what somebody uses, and removed by whichever server starts next.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::{disk, system};

/// The file, in the place.
pub(super) const CLAIM: &str = "of";
/// How long another server may take to take a place down.
const TAKEN_DOWN_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Longest path that is read of one, in bytes.
const PATH_BYTES_MAX: u64 = 4096;

/// A place that this server uses, for as long as this lives.
#[derive(Debug)]
pub(super) struct Claim {
    file: File,
}

impl Claim {
    /// Claims a place for a data directory. Nothing when it was removed meanwhile: then it is to be made again.
    pub(super) fn lay(reach: &Path, root: &Path) -> io::Result<Option<Self>> {
        let path = reach.join(CLAIM);
        let mut options = std::fs::OpenOptions::new();
        let mut file = match options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        lock_shared(&file)?;
        let there = std::fs::symlink_metadata(&path).is_ok_and(|there| {
            file.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
        });
        if !there {
            return Ok(None);
        }
        if file.metadata()?.len() == 0 {
            file.write_all(root.as_os_str().as_bytes())?;
        }
        Ok(Some(Self { file }))
    }

    /// Whether no other server uses the place; if so, none can begin to before it is given up.
    pub(super) fn is_the_only_one(&self) -> bool {
        rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    /// Lets others have the place.
    pub(super) fn give_up(&self) {
        // What cannot be unlocked now is unlocked when the process ends.
        let _kept = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

/// Waits for whoever takes the place down at this moment.
fn lock_shared(file: &File) -> io::Result<()> {
    let deadline = Instant::now() + TAKEN_DOWN_WITHIN;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(LOOK_EVERY),
            locked => return Ok(locked?),
        }
    }
}

/// Removes the places beside `own` whose data directory is gone, which nobody uses and in which nothing is mounted for a
/// workspace. Answers their names. What carries no name of a data directory is left alone.
pub(super) fn sweep(own: &Path) -> Vec<String> {
    let beside = own.parent().map(std::fs::read_dir).and_then(Result::ok);
    let others = beside.into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path != own);
    others
        .filter_map(|place| match forsaken(&place) {
            Ok(Some(held)) => {
                system::take_down(&place);
                drop(held);
                Some(place.file_name()?.to_str()?.to_owned())
            }
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(place = %place.display(), %error, "it cannot be told whose this place is");
                None
            }
        })
        .collect()
}

/// The lock of a place that nobody needs any more.
fn forsaken(place: &Path) -> io::Result<Option<File>> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
    let file = match rustix::fs::open(place.join(CLAIM), flags, rustix::fs::Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        opened => File::from(opened?),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        locked => locked?,
    }
    let mut named = Vec::new();
    (&file).take(PATH_BYTES_MAX).read_to_end(&mut named)?;
    let root = PathBuf::from(std::ffi::OsStr::from_bytes(&named));
    // A path that cannot be looked at, for want of leave or of a disk, may be there.
    let gone = root.is_absolute()
        && std::fs::symlink_metadata(&root).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    if !gone {
        return Ok(None);
    }
    if disk::mounts_below(place).iter().any(|mount| !mount.starts_with(place.join(system::PROGRAMS))) {
        tracing::warn!(
            data_directory = %root.display(), place = %place.display(),
            "the data directory is gone, and what is mounted of its workspaces is still there; unmount it, or restart \
             this machine"
        );
        return Ok(None);
    }
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_uses_and_whose_data_is_gone_is_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let (reach, data) = (directory.path().join("reach"), directory.path().join("data"));
        let place = |name: &str| {
            let place = reach.join(name);
            std::fs::create_dir_all(place.join("etc/ssl")).expect("directories");
            std::fs::create_dir_all(place.join("bin")).expect("directories");
            std::fs::create_dir_all(place.join("0123456789abcdef/inside")).expect("directories");
            std::fs::write(place.join("bin/reeve-runtime-1-2"), "a copy").expect("a file");
            place
        };
        let claim = |name: &str| Claim::lay(&place(name), &data.join(name)).expect("claimed").expect("it is there");
        for name in ["kept", "gone", "used"] {
            std::fs::create_dir_all(data.join(name)).expect("a data directory");
        }
        drop((claim("kept"), claim("gone")));
        let used = claim("used");
        place("unnamed");
        let own = place("own");
        for name in ["gone", "used"] {
            std::fs::remove_dir(data.join(name)).expect("removed");
        }
        assert_eq!(sweep(&own), ["gone"]);
        let left = || {
            let mut left: Vec<_> = std::fs::read_dir(&reach).expect("there").flatten().map(|e| e.file_name()).collect();
            left.sort();
            left
        };
        assert_eq!(left(), ["kept", "own", "unnamed", "used"]);
        drop(used);
        assert_eq!(sweep(&own), ["used"]);
        assert_eq!(left(), ["kept", "own", "unnamed"]);
    }

    #[test]
    fn whoever_closes_knows_whether_another_server_is_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let lay = || Claim::lay(directory.path(), Path::new("/data")).expect("claimed").expect("it is there");
        let (first, second) = (lay(), lay());
        assert!(!first.is_the_only_one());
        drop(first);
        assert!(second.is_the_only_one());
    }
}
