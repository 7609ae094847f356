//! Packing a file or directory into an archive, while it is sent.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use flate2::Compression;
use flate2::write::GzEncoder;
use reeve_types::WorkspacePath;
use reeve_types::workspace::files::ArchiveFormat;
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;
use zip::write::SimpleFileOptions;

use super::Files;
use super::beneath::{open_child_dir, open_child_file, visible_names};
use super::copy::LEVELS_MAX;
use super::entry::shown;
use super::failure::{Outcome, failed, failed_io};
use super::own::is_own;

/// From this size on, a ZIP entry needs 64-bit fields.
const ZIP64_FROM: u64 = u32::MAX as u64;

impl Files {
    /// Writes an archive of a file, or of a directory with all it holds. Links are packed as links. Names in a ZIP are
    /// text: bytes that are no UTF-8 are written as `\xNN` there, and as they are in a tar.
    ///
    /// # Errors
    /// `not_found`, `path_escape`; `internal` when the receiver goes away.
    pub fn archive(&self, path: &WorkspacePath, format: ArchiveFormat, to: &mut dyn Write) -> Outcome<()> {
        let packed = match format {
            ArchiveFormat::TarGz => self.tar(path, to),
            ArchiveFormat::Zip => self.zip(path, to),
        };
        packed.map_err(|error| match error {
            Trouble::There(errno) => failed("pack", path, errno),
            Trouble::Io(error) => failed_io("pack", path, &error),
        })
    }

    fn tar(&self, path: &WorkspacePath, to: &mut dyn Write) -> Result<(), Trouble> {
        let mut builder = tar::Builder::new(GzEncoder::new(to, Compression::fast()));
        self.walk(path, &mut |item| add_to_tar(&mut builder, item))?;
        builder.into_inner()?.finish()?.flush()?;
        Ok(())
    }

    fn zip(&self, path: &WorkspacePath, to: &mut dyn Write) -> Result<(), Trouble> {
        let mut writer = zip::ZipWriter::new_stream(to);
        self.walk(path, &mut |item| add_to_zip(&mut writer, item))?;
        writer.finish().map_err(io::Error::from)?.flush()?;
        Ok(())
    }

    /// Shows every item from the path down, parents before what is in them.
    fn walk(&self, path: &WorkspacePath, each: &mut dyn FnMut(Item<'_>) -> io::Result<()>) -> Result<(), Trouble> {
        if path.is_root() {
            let stat = rustix::fs::fstat(self.root().fd())?;
            each(Item::Directory { name: b"workspace", stat: &stat })?;
            return walk_dir(self.root().fd(), true, b"workspace", 0, each);
        }
        if is_own(path) {
            return Err(Trouble::There(Errno::NOENT));
        }
        let name = path.name().unwrap_or_default();
        let dir = self.root().open_dir(&path.parent())?;
        walk_one(&dir, name, name.to_vec(), 0, each)
    }
}

enum Trouble {
    There(Errno),
    Io(io::Error),
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Self {
        Self::There(errno)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

enum Item<'a> {
    Directory { name: &'a [u8], stat: &'a Stat },
    File { name: &'a [u8], stat: &'a Stat, file: File },
    Link { name: &'a [u8], stat: &'a Stat, target: &'a [u8] },
}

fn walk_dir(
    dir: impl AsFd,
    in_root: bool,
    path: &[u8],
    level: u32,
    each: &mut dyn FnMut(Item<'_>) -> io::Result<()>,
) -> Result<(), Trouble> {
    if level >= LEVELS_MAX {
        return Err(Trouble::There(Errno::NAMETOOLONG));
    }
    for (name, _) in visible_names(&dir, in_root)? {
        match walk_one(&dir, &name, [path, b"/", &name].concat(), level, each) {
            // What is gone or shut meanwhile is left out; the rest is still wanted.
            Err(Trouble::There(Errno::NOENT | Errno::ACCESS | Errno::LOOP | Errno::NXIO)) => {}
            other => other?,
        }
    }
    Ok(())
}

fn walk_one(
    dir: impl AsFd,
    name: &[u8],
    path: Vec<u8>,
    level: u32,
    each: &mut dyn FnMut(Item<'_>) -> io::Result<()>,
) -> Result<(), Trouble> {
    let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let (fd, stat) = open_child_file(&dir, name)?;
            each(Item::File { name: &path, stat: &stat, file: File::from(fd) })?;
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(&dir, name, Vec::new())?;
            each(Item::Link { name: &path, stat: &stat, target: target.as_bytes() })?;
        }
        FileType::Directory => {
            let inside = open_child_dir(&dir, name)?;
            each(Item::Directory { name: &path, stat: &stat })?;
            walk_dir(&inside, false, &path, level + 1, each)?;
        }
        _ => {}
    }
    Ok(())
}

fn add_to_tar<W: Write>(builder: &mut tar::Builder<W>, item: Item<'_>) -> io::Result<()> {
    match item {
        Item::Directory { name, stat } => {
            builder.append_data(&mut header(stat, tar::EntryType::Directory, 0), as_path(name), io::empty())
        }
        Item::Link { name, stat, target } => {
            let mut header = header(stat, tar::EntryType::Symlink, 0);
            builder.append_link(&mut header, as_path(name), as_path(target))
        }
        Item::File { name, stat, file } => {
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            // A file that shrinks while it is packed is filled up: the size was told before the bytes.
            let exact = file.chain(io::repeat(0)).take(size);
            builder.append_data(&mut header(stat, tar::EntryType::Regular, size), as_path(name), exact)
        }
    }
}

fn header(stat: &Stat, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header
}

fn as_path(name: &[u8]) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt as _;
    std::path::Path::new(std::ffi::OsStr::from_bytes(name))
}

fn add_to_zip<W: Write>(writer: &mut zip::ZipWriter<zip::write::StreamWriter<W>>, item: Item<'_>) -> io::Result<()> {
    let options = |stat: &Stat| SimpleFileOptions::default().unix_permissions(stat.st_mode & 0o777);
    match item {
        Item::Directory { name, stat } => writer.add_directory(shown(name), options(stat)).map_err(io::Error::from),
        Item::Link { name, stat, target } => {
            writer.add_symlink(shown(name), shown(target), options(stat)).map_err(io::Error::from)
        }
        Item::File { name, stat, mut file } => {
            let large = u64::try_from(stat.st_size).unwrap_or(0) >= ZIP64_FROM;
            writer.start_file(shown(name), options(stat).large_file(large)).map_err(io::Error::from)?;
            io::copy(&mut file, writer).map(drop)
        }
    }
}
