//! Copying the files of a workspace, while programs in it may still change them.
//!
//! Both sides are walked by handles of directories and nothing is followed, so a directory that turns into a link in the
//! middle leads nowhere. Blocks are shared where the file system can; else only what is no hole is copied.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

/// Deepest tree that is copied.
const DEPTH_MAX: usize = 400;
/// Largest extended attribute, and largest list of their names, in bytes.
const XATTR_BYTES_MAX: usize = 64 * 1024;
/// Attributes that programs set for themselves; all others are the system's.
const XATTR_PREFIX: &[u8] = b"user.";

/// Copies everything in `from` into `to`, which must be empty. The copies belong to `owner` if there is one, else to
/// whom the originals belong.
pub(super) fn copy_tree(from: &Path, to: &Path, owner: Option<u32>) -> io::Result<()> {
    let mut copy = Copying { owner, top: directory(rustix::fs::CWD, to)?, links: HashMap::new() };
    let source = directory(rustix::fs::CWD, from)?;
    let target = directory(rustix::fs::CWD, to)?;
    copy.directory(&source, &target, &mut Vec::new())?;
    let stat = rustix::fs::fstat(&source)?;
    copy.dress(&source, &target, &stat)
}

struct Copying {
    owner: Option<u32>,
    top: OwnedFd,
    /// Where files with several names were copied to first.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl Copying {
    fn directory(&mut self, source: &OwnedFd, target: &OwnedFd, below: &mut Vec<u8>) -> io::Result<()> {
        if below.iter().filter(|byte| **byte == b'/').count() > DEPTH_MAX {
            return Err(io::Error::other(format!("directories are nested more than {DEPTH_MAX} levels deep")));
        }
        for entry in Dir::read_from(source)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let length = below.len();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(name.to_bytes());
            match self.entry(source, target, name, below) {
                // Gone meanwhile, or something else by now: then it is no longer to be copied.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => {}
                other => other?,
            }
            below.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, source: &OwnedFd, target: &OwnedFd, name: &CStr, below: &mut Vec<u8>) -> io::Result<()> {
        let stat = rustix::fs::statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let inner = directory(source, name)?;
                rustix::fs::mkdirat(target, name, Mode::RWXU)?;
                let copy = directory(target, name)?;
                self.directory(&inner, &copy, below)?;
                self.dress(&inner, &copy, &stat)
            }
            FileType::RegularFile => self.file(source, target, name, below),
            FileType::Symlink => self.symlink(source, target, name, &stat),
            FileType::Fifo => {
                rustix::fs::mknodat(target, name, FileType::Fifo, mode_of(&stat), 0)?;
                Ok(rustix::fs::chownat(target, name, self.user(&stat), self.group(&stat), AtFlags::SYMLINK_NOFOLLOW)?)
            }
            // Sockets live with their process; devices there are none.
            _ => Ok(()),
        }
    }

    fn file(&mut self, source: &OwnedFd, target: &OwnedFd, name: &CStr, below: &[u8]) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let original = File::from(rustix::fs::openat(source, name, flags, Mode::empty())?);
        let stat = rustix::fs::fstat(&original)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let identity = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&identity) {
                let first = CString::new(first.as_slice()).map_err(io::Error::other)?;
                return Ok(rustix::fs::linkat(&self.top, &first, target, name, AtFlags::empty())?);
            }
            self.links.insert(identity, below.to_vec());
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let copy = File::from(rustix::fs::openat(target, name, flags, Mode::RUSR | Mode::WUSR)?);
        if rustix::fs::ioctl_ficlone(&copy, &original).is_err() {
            let size = u64::try_from(stat.st_size).unwrap_or_default();
            copy.set_len(size)?;
            super::disk::copy_data(&original, &copy, size)?;
        }
        self.dress(&original, &copy, &stat)
    }

    fn symlink(&self, source: &OwnedFd, target: &OwnedFd, name: &CStr, stat: &Stat) -> io::Result<()> {
        let leads_to = rustix::fs::readlinkat(source, name, Vec::new())?;
        rustix::fs::symlinkat(&leads_to, target, name)?;
        rustix::fs::chownat(target, name, self.user(stat), self.group(stat), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(rustix::fs::utimensat(target, name, &times_of(stat), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Owner, attributes, permissions and times, in the order in which none undoes another.
    fn dress(&self, original: &impl AsFd, copy: &impl AsFd, stat: &Stat) -> io::Result<()> {
        rustix::fs::fchown(copy, self.user(stat), self.group(stat))?;
        copy_attributes(original.as_fd(), copy.as_fd())?;
        rustix::fs::fchmod(copy, mode_of(stat))?;
        Ok(rustix::fs::futimens(copy, &times_of(stat))?)
    }

    fn user(&self, stat: &Stat) -> Option<Uid> {
        may_give_away().then(|| Uid::from_raw(self.owner.unwrap_or(stat.st_uid)))
    }

    fn group(&self, stat: &Stat) -> Option<Gid> {
        may_give_away().then(|| Gid::from_raw(self.owner.unwrap_or(stat.st_gid)))
    }
}

/// Who is not root owns what they make, and may not give it away; root must always say.
fn may_give_away() -> bool {
    rustix::process::geteuid().is_root()
}

fn directory(at: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Copies what programs have noted with a file. A file system that keeps no notes has none.
fn copy_attributes(original: BorrowedFd<'_>, copy: BorrowedFd<'_>) -> io::Result<()> {
    for (name, value) in attributes(original)? {
        match rustix::fs::fsetxattr(copy, &name, &value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The extended attributes of a file that are its workspace's own.
pub(super) fn attributes(file: BorrowedFd<'_>) -> io::Result<Vec<(CString, Vec<u8>)>> {
    let mut names = vec![0_u8; XATTR_BYTES_MAX];
    let length = match rustix::fs::flistxattr(file, names.as_mut_slice()) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(length) => length,
        Err(error) => return Err(error.into()),
    };
    let mut all = Vec::new();
    for name in names.get(..length).unwrap_or_default().split(|byte| *byte == 0) {
        if !name.starts_with(XATTR_PREFIX) {
            continue;
        }
        let name = CString::new(name).map_err(io::Error::other)?;
        let mut value = vec![0_u8; XATTR_BYTES_MAX];
        match rustix::fs::fgetxattr(file, &name, value.as_mut_slice()) {
            Ok(length) => {
                value.truncate(length);
                all.push((name, value));
            }
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(all)
}

pub(super) fn mode_of(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode & 0o7777)
}

#[expect(clippy::useless_conversion, reason = "the types of seconds and nanoseconds differ between architectures")]
fn times_of(stat: &Stat) -> Timestamps {
    let nanoseconds = |n: u64| i64::try_from(n).unwrap_or_default().into();
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime.into(), tv_nsec: nanoseconds(stat.st_atime_nsec.into()) },
        last_modification: Timespec { tv_sec: stat.st_mtime.into(), tv_nsec: nanoseconds(stat.st_mtime_nsec.into()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt};

    #[test]
    fn a_copy_is_equal_in_everything_that_counts() {
        let directory = tempfile::tempdir().expect("a directory");
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        std::fs::create_dir_all(from.join("a/b")).expect("directories");
        std::fs::create_dir(&to).expect("a directory");
        std::fs::write(from.join("a/b/file"), b"\xff\x00text").expect("a file");
        std::fs::hard_link(from.join("a/b/file"), from.join("a/second")).expect("a second name");
        std::fs::set_permissions(from.join("a/b/file"), PermissionsExt::from_mode(0o640)).expect("a mode");
        std::os::unix::fs::symlink("/etc/passwd", from.join("link")).expect("a link");
        std::fs::set_permissions(from.join("a/b"), PermissionsExt::from_mode(0o511)).expect("a mode");
        copy_tree(&from, &to, None).expect("a copy");
        let (original, copy) =
            (from.join("a/b/file").metadata().expect("there"), to.join("a/b/file").metadata().expect("there"));
        assert_eq!(std::fs::read(to.join("a/b/file")).expect("read"), b"\xff\x00text");
        assert_eq!((copy.mode(), copy.mtime_nsec()), (original.mode(), original.mtime_nsec()));
        assert_eq!(copy.ino(), to.join("a/second").metadata().expect("there").ino(), "one file with two names");
        assert_eq!(std::fs::read_link(to.join("link")).expect("a link"), Path::new("/etc/passwd"));
        assert_eq!(to.join("a/b").metadata().expect("there").mode() & 0o777, 0o511);
    }
}
