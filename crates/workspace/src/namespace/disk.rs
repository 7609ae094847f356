//! Where the files of a box lie, so that the disk has an end.
//!
//! As root each box has a file system of its own in a sparse image, mounted through a loop device: full is full, told
//! by the kernel to whoever writes. Making one is copying a blank one that was formatted once. Elsewhere files are in
//! a directory, and what they take is measured now and then.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use reeve_types::WorkspaceError;
use rustix::fs::{AtFlags, Mode, OFlags, SeekFrom, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::failure::cannot;
use super::layout::{Layout, make_private};

/// Tables of inodes are never written out: in a sparse file they are zeroes already, and writing them would take the room
/// that nobody uses yet.
const MOUNT_OPTIONS: &str = "loop,nosuid,nodev,noatime,noinit_itable";
/// Directories in every box.
pub(super) const DIRECTORIES: [&str; 3] = ["files", "home", "run"];
/// A file system needs room of its own besides what it offers.
const OVERHEAD_BYTES: u64 = 7 << 20;
/// How much is copied at once where the kernel does not copy by itself.
const PIECE_BYTES: usize = 256 * 1024;
/// Smallest image.
const IMAGE_BYTES_MIN: u64 = 16 << 20;

/// Programs that images are made with.
#[derive(Debug, Clone)]
pub(super) struct ImageTools {
    pub(super) format: std::path::PathBuf,
    pub(super) mount: std::path::PathBuf,
}

impl ImageTools {
    /// The programs, where the system has them.
    pub(super) fn find() -> Option<Self> {
        Some(Self { format: super::programs::find("mkfs.ext4")?, mount: super::programs::find("mount")? })
    }

    /// Tries the whole way once: format, copy, mount, unmount.
    pub(super) fn prove(&self, layout: &Layout) -> Result<(), WorkspaceError> {
        let key = format!("probe-{}", std::process::id());
        let attempt = layout
            .make_box(&key)
            .map_err(|error| cannot("make a directory for a trial", &error))
            .and_then(|()| self.make(layout, &key, IMAGE_BYTES_MIN, None));
        let undone = unmount(&layout.inside(&key));
        for leftover in [layout.own(&key), layout.reached(&key)] {
            // The trial's own directories; what cannot go now goes at the next start.
            let _left = std::fs::remove_dir_all(leftover);
        }
        attempt.and(undone.map_err(|error| cannot("unmount a file system", &error)))
    }

    /// Lays out an empty box in an image of its own and mounts it.
    pub(super) fn make(
        &self,
        layout: &Layout,
        key: &str,
        bytes: u64,
        owner: Option<u32>,
    ) -> Result<(), WorkspaceError> {
        let size = image_size(bytes);
        let blank = layout.blank(size);
        if !blank.exists() {
            self.format_blank(&blank, size)?;
        }
        copy_image(&blank, &layout.image(key)).map_err(|error| cannot("copy an empty file system", &error))?;
        self.attach(layout, key)?;
        lay_out(&layout.inside(key), owner)
    }

    /// Mounts the image of a box, unless it is mounted.
    pub(super) fn attach(&self, layout: &Layout, key: &str) -> Result<(), WorkspaceError> {
        let target = layout.inside(key);
        if is_mount(&target) {
            return Ok(());
        }
        layout.make_reachable(key).map_err(|error| cannot("make the directory of a workspace", &error))?;
        let mut command = Command::new(&self.mount);
        command.args(["-t", "ext4", "-o", MOUNT_OPTIONS]).arg(layout.image(key)).arg(&target);
        run(&mut command, "mount the files of a workspace")
    }

    fn format_blank(&self, blank: &Path, size: u64) -> Result<(), WorkspaceError> {
        let draft = blank.with_extension(format!("draft-{:016x}", rand::random::<u64>()));
        let file = File::create(&draft).map_err(|error| cannot("make an image", &error))?;
        file.set_len(size).map_err(|error| cannot("make an image", &error))?;
        let inodes = (size / 16384).max(4096).to_string();
        let mut command = Command::new(&self.format);
        command
            .args(["-q", "-F", "-m", "0", "-N", &inodes, "-O", "^resize_inode", "-J", "size=4"])
            .args(["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0"])
            .arg(&draft);
        let formatted = run(&mut command, "format an image");
        let kept = formatted
            .and_then(|()| std::fs::rename(&draft, blank).map_err(|error| cannot("keep an empty file system", &error)));
        if kept.is_err() {
            let _left = std::fs::remove_file(&draft);
        }
        kept
    }
}

/// Lays out an empty box in a directory.
pub(super) fn make_plain(layout: &Layout, key: &str, owner: Option<u32>) -> Result<(), WorkspaceError> {
    make_private(&layout.plain(key)).map_err(|error| cannot("make the directory of a workspace", &error))?;
    attach_plain(layout, key)?;
    lay_out(&layout.inside(key), owner)
}

/// Makes a directory reachable for the user of the box.
pub(super) fn attach_plain(layout: &Layout, key: &str) -> Result<(), WorkspaceError> {
    layout.make_reachable(key).map_err(|error| cannot("make the directory of a workspace", &error))?;
    let target = layout.inside(key);
    if !layout.as_root || is_mount(&target) {
        return Ok(());
    }
    let open = |error| cannot("open the directory of a workspace", &error);
    std::fs::set_permissions(layout.plain(key), PermissionsExt::from_mode(0o711)).map_err(open)?;
    rustix::mount::mount_bind(layout.plain(key), &target)
        .map_err(|error| cannot("mount the files of a workspace", &error.into()))
}

fn lay_out(inside: &Path, owner: Option<u32>) -> Result<(), WorkspaceError> {
    let lay = || -> io::Result<()> {
        if inside.join("lost+found").exists() {
            std::fs::remove_dir(inside.join("lost+found"))?;
        }
        std::fs::set_permissions(inside, PermissionsExt::from_mode(0o711))?;
        for name in DIRECTORIES {
            make_private(&inside.join(name))?;
            if owner.is_some() {
                chown(inside.join(name), owner, owner)?;
            }
        }
        std::fs::set_permissions(inside.join("files"), PermissionsExt::from_mode(0o755))
    };
    lay().map_err(|error| cannot("lay out the directories of a workspace", &error))
}

/// Whether something is mounted on a directory. The kernel is asked about this one; the list of all mounts, which grows
/// with every workspace, is read where it does not tell (before Linux 5.8).
pub(super) fn is_mount(path: &Path) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    match rustix::fs::statx(rustix::fs::CWD, path, flags, StatxFlags::empty()) {
        Err(Errno::NOENT) => return false,
        Ok(told) if told.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            return told.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
        }
        _ => {}
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let Some(wanted) = path.to_str() else { return false };
    mounts.lines().any(|line| line.split(' ').nth(4) == Some(wanted))
}

/// What is mounted somewhere below a directory.
pub(super) fn mounts_below(path: &Path) -> Vec<std::path::PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(std::path::PathBuf::from);
    places.filter(|place| place.starts_with(path)).collect()
}

/// Takes a mount away, and every mount on top of it. Nothing mounted is fine.
pub(super) fn unmount(path: &Path) -> io::Result<()> {
    while is_mount(path) {
        match rustix::mount::unmount(path, UnmountFlags::empty()) {
            Ok(()) | Err(Errno::INVAL) => {}
            // Somebody still looks into it. It goes when they are through; nobody new gets in.
            Err(Errno::BUSY) => rustix::mount::unmount(path, UnmountFlags::DETACH)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Bytes that the files of a mounted image take.
pub(super) fn image_usage(inside: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(inside)?;
    Ok(stat.f_blocks.saturating_sub(stat.f_bfree) * stat.f_frsize)
}

/// Bytes that a tree takes on disk. Links count once, and nothing is followed.
pub(super) fn measure(path: &Path) -> io::Result<u64> {
    let mut waiting = vec![path.to_path_buf()];
    let mut linked = std::collections::HashSet::new();
    let mut bytes = 0;
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.nlink() > 1 && !meta.is_dir() && !linked.insert(meta.ino()) {
                continue;
            }
            bytes += meta.blocks() * 512;
            if meta.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    Ok(bytes)
}

/// Bytes that one file takes on disk.
pub(super) fn blocks(path: &Path) -> io::Result<u64> {
    Ok(std::fs::symlink_metadata(path)?.blocks() * 512)
}

/// What an image must measure to offer so many bytes: tables of inodes and blocks are besides.
fn image_size(bytes: u64) -> u64 {
    let whole = (bytes + bytes / 50 + OVERHEAD_BYTES).max(IMAGE_BYTES_MIN);
    whole.next_multiple_of(1 << 20)
}

/// Copies a sparse file: by sharing blocks where the file system can, else only what is no hole.
fn copy_image(from: &Path, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::RDWR | OFlags::CLOEXEC;
    let target: File = rustix::fs::open(to, flags, Mode::RUSR | Mode::WUSR)?.into();
    if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        return Ok(());
    }
    let size = source.metadata()?.len();
    target.set_len(size)?;
    copy_data(&source, &target, size)
}

/// Copies everything that is no hole.
pub(super) fn copy_data(source: &File, target: &File, size: u64) -> io::Result<()> {
    let mut at = 0;
    while at < size {
        let begin = match rustix::fs::seek(source, SeekFrom::Data(at)) {
            Ok(begin) => begin,
            Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(source, SeekFrom::Hole(begin))?.min(size);
        if !copy_span(source, target, begin, end)? {
            return Ok(());
        }
        at = end.max(at + 1);
    }
    Ok(())
}

/// Copies from one place to the same place in the other file; tells whether there was that much.
fn copy_span(source: &File, target: &File, begin: u64, end: u64) -> io::Result<bool> {
    let (mut from, mut to) = (begin, begin);
    while from < end {
        let left = usize::try_from(end - from).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), left) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            // Two file systems, or one that does not do this.
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
                return copy_by_hand(source, target, from, end);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

fn copy_by_hand(source: &File, target: &File, begin: u64, end: u64) -> io::Result<bool> {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut at = begin;
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        let count = source.read_at(piece, at)?;
        if count == 0 {
            return Ok(false);
        }
        target.write_all_at(piece.get(..count).unwrap_or_default(), at)?;
        at += count as u64;
    }
    Ok(true)
}

fn run(command: &mut Command, what: &str) -> Result<(), WorkspaceError> {
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    let output = command.output().map_err(|error| cannot(what, &error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let words: String = said.trim().chars().take(300).collect();
    Err(cannot(what, &io::Error::other(words)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparse_file_stays_sparse_and_equal() {
        let directory = tempfile::tempdir().expect("a directory");
        let (from, to) = (directory.path().join("a"), directory.path().join("b"));
        let file = File::create(&from).expect("a file");
        file.set_len(64 << 20).expect("a size");
        std::os::unix::fs::FileExt::write_all_at(&file, b"here", 33 << 20).expect("written");
        copy_image(&from, &to).expect("a copy");
        let copy = std::fs::metadata(&to).expect("a copy");
        assert_eq!(copy.len(), 64 << 20);
        assert!(copy.blocks() * 512 < 1 << 20, "{} blocks", copy.blocks());
        assert!(std::fs::read(&from).expect("read") == std::fs::read(&to).expect("read"));
    }
}
