//! What the kernel says, in the words of the API.

use reeve_types::{ProblemCode, WorkspaceError, WorkspacePath};
use rustix::io::Errno;

pub(super) type Outcome<T> = Result<T, WorkspaceError>;

/// An error number, on a path, while something was being done (`read`, `rename`).
pub(super) fn failed(doing: &str, path: &WorkspacePath, errno: Errno) -> WorkspaceError {
    let (code, why) = told(errno);
    WorkspaceError::new(code, format!("cannot {doing} `{path}`: {why}"))
}

pub(super) fn failed_io(doing: &str, path: &WorkspacePath, error: &std::io::Error) -> WorkspaceError {
    match Errno::from_io_error(error) {
        Some(errno) => failed(doing, path, errno),
        None => WorkspaceError::new(ProblemCode::Internal, format!("cannot {doing} `{path}`: {error}")),
    }
}

fn told(errno: Errno) -> (ProblemCode, String) {
    let (code, why) = match errno {
        Errno::NOENT => (ProblemCode::NotFound, "there is no such file or directory"),
        Errno::EXIST | Errno::NOTEMPTY => (ProblemCode::AlreadyExists, "something of that name is there already"),
        Errno::ISDIR => (ProblemCode::WrongFileType, "it is a directory"),
        Errno::NOTDIR => (ProblemCode::WrongFileType, "it, or something above it, is not a directory"),
        Errno::NXIO => (ProblemCode::WrongFileType, "it is no regular file"),
        Errno::XDEV | Errno::LOOP => {
            (ProblemCode::PathEscape, "a symbolic link on the way leads out of the workspace or in a circle")
        }
        Errno::ACCESS | Errno::PERM | Errno::ROFS => {
            (ProblemCode::Forbidden, "the workspace's user may not; change the permissions in a terminal")
        }
        Errno::NOSPC | Errno::DQUOT => {
            (ProblemCode::DiskFull, "the disk is full; delete something and empty the trash")
        }
        Errno::FBIG => (ProblemCode::TooLarge, "the file would be too large"),
        Errno::NAMETOOLONG => (ProblemCode::BadRequest, "the path is too long"),
        Errno::INVAL => (ProblemCode::BadRequest, "the filesystem does not take this"),
        Errno::TXTBSY | Errno::BUSY => (ProblemCode::Conflict, "it is in use; try again"),
        Errno::AGAIN => (ProblemCode::Conflict, "directories on the way keep changing; try again"),
        other => return (ProblemCode::Internal, other.to_string()),
    };
    (code, why.to_owned())
}

pub(super) fn missing(path: &WorkspacePath) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::NotFound, format!("there is no `{path}`"))
}
