//! Copying a file or a whole directory.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::beneath::{names_in, open_child_dir, open_child_file};
use super::save::keep_attributes;

/// How deep a directory may be that is copied, packed or searched.
pub(super) const LEVELS_MAX: u32 = 200;

/// Copies a name into another directory. Links stay links; sockets, pipes and devices are left out. Answers how many
/// files and directories were made. What is half-made when it fails, the caller removes.
pub(super) fn copy(
    from: impl AsFd,
    name: &[u8],
    to: impl AsFd,
    new_name: &[u8],
    level: u32,
) -> Result<u64, std::io::Error> {
    let stat = rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => copy_file(from, name, to, new_name),
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(&from, name, Vec::new())?;
            rustix::fs::symlinkat(&target, &to, new_name)?;
            Ok(1)
        }
        FileType::Directory if level >= LEVELS_MAX => Err(Errno::NAMETOOLONG.into()),
        FileType::Directory => {
            let inside = open_child_dir(&from, name)?;
            rustix::fs::mkdirat(&to, new_name, Mode::from_raw_mode(0o700))?;
            let made = open_child_dir(&to, new_name)?;
            let mut count = 1;
            for (child, _) in names_in(&inside)? {
                count += copy(&inside, &child, &made, &child, level + 1)?;
            }
            rustix::fs::fchmod(&made, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
            Ok(count)
        }
        _ => Ok(0),
    }
}

fn copy_file(from: impl AsFd, name: &[u8], to: impl AsFd, new_name: &[u8]) -> Result<u64, std::io::Error> {
    let (fd, stat) = open_child_file(from, name)?;
    let mut source = File::from(fd);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut made = File::from(rustix::fs::openat(to, new_name, flags, Mode::from_raw_mode(0o600))?);
    std::io::copy(&mut source, &mut made)?;
    keep_attributes(&source, &stat, &made)?;
    Ok(1)
}

/// How many files and directories there are, and the bytes of their content.
pub(super) fn measure(dir: impl AsFd, name: &[u8], level: u32) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok((1, u64::try_from(stat.st_size).unwrap_or(0)));
    }
    let (mut count, mut size) = (1, 0);
    if level < LEVELS_MAX {
        let inside = open_child_dir(&dir, name)?;
        for (child, _) in names_in(&inside)? {
            let (more, bytes) = measure(&inside, &child, level + 1).unwrap_or((0, 0));
            count += more;
            size += bytes;
        }
    }
    Ok((count, size))
}
