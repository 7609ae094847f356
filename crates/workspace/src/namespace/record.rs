//! What the driver remembers of each box on disk, so that a later server finds it.
//!
//! A box is what holds one workspace: files, a user, a group, perhaps processes.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use reeve_types::workspace::{Isolation, WorkspaceSpec};
use serde::{Deserialize, Serialize};

use crate::process::ProcessMark;

/// One box.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// Whose it is. One that is nobody's is removed.
    pub(super) spec: Option<WorkspaceSpec>,
    /// Whether its files were laid out to the end.
    pub(super) laid_out: bool,
    /// Whether it is being removed.
    pub(super) removing: bool,
    /// Whether somebody asked for its processes.
    pub(super) started: bool,
    /// The user and group of this machine that it runs as; those of the server when absent.
    pub(super) uid: Option<u32>,
    /// The group, where it is not that of the user's own number: of a directory of the host that is worked in.
    #[serde(default)]
    pub(super) gid: Option<u32>,
    /// Whether its files are in an image of their own.
    pub(super) image: bool,
    /// The secret of the program inside.
    pub(super) token: String,
    /// Its processes, while they run.
    pub(super) processes: Option<Processes>,
}

/// The processes that hold a box from outside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Processes {
    /// bubblewrap, waiting for the end.
    pub(super) monitor: ProcessMark,
    /// The first process inside; when it ends, everything inside ends.
    pub(super) init: ProcessMark,
    /// What holds it.
    pub(super) isolation: Isolation,
}

impl Record {
    /// Writes it as a whole or not at all, readable for the server only.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let fresh = path.with_extension("new");
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&serde_json::to_vec(self).map_err(io::Error::other)?)?;
        std::fs::rename(&fresh, path)
    }

    pub(super) fn read(path: &Path) -> io::Result<Self> {
        serde_json::from_slice(&std::fs::read(path)?).map_err(io::Error::other)
    }
}
