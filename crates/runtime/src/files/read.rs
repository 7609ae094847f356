//! Reading a file, whole or in part.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use reeve_types::workspace::files::{ByteRange, FileHead};
use reeve_types::{ProblemCode, WorkspaceError, WorkspacePath};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::Files;
use super::entry::described;
use super::failure::{Outcome, failed, failed_io};

/// How much of a file is looked at to tell text from other content, in bytes.
const LOOKED_AT: usize = 64 * 1024;

impl Files {
    /// Opens a regular file, positioned at the first byte that is wanted. A symbolic link inside is followed.
    ///
    /// # Errors
    /// `not_found`, `path_escape`, `wrong_file_type` for anything but a regular file, `range_not_satisfiable`.
    pub fn open_file(&self, path: &WorkspacePath, part: Option<ByteRange>) -> Outcome<(FileHead, File)> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = self.root().open_at(path, flags).map_err(|errno| failed("read", path, errno))?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| failed("read", path, errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(failed("read", path, Errno::ISDIR)),
            _ => return Err(failed("read", path, Errno::NXIO)),
        }
        let mut file = File::from(fd);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let (start, end) = wanted(path, part, size)?;
        let etag = self.etag(&file).map_err(|error| failed_io("read", path, &error))?;
        let binary = is_binary(&file).map_err(|error| failed_io("read", path, &error))?;
        file.seek(SeekFrom::Start(start)).map_err(|error| failed_io("read", path, &error))?;
        let entry = described(path.clone(), &stat);
        Ok((FileHead { entry, etag, binary, size, start, end }, file))
    }
}

fn wanted(path: &WorkspacePath, part: Option<ByteRange>, size: u64) -> Outcome<(u64, u64)> {
    let Some(ByteRange { start, end }) = part else { return Ok((0, size)) };
    let end = end.unwrap_or(size).min(size);
    if start >= end {
        let message = format!("`{path}` has {size} bytes; ask for a part that begins and ends within them");
        return Err(WorkspaceError::new(ProblemCode::RangeNotSatisfiable, message));
    }
    Ok((start, end))
}

pub(super) fn is_binary(file: &File) -> std::io::Result<bool> {
    let mut head = vec![0; LOOKED_AT];
    let mut filled = 0;
    while let Some(rest) = head.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    head.truncate(filled);
    Ok(head.contains(&0) || !reads_as_text(&head))
}

/// A character that the window cuts in two is no fault of the text.
fn reads_as_text(head: &[u8]) -> bool {
    match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && head.len() == LOOKED_AT,
    }
}
