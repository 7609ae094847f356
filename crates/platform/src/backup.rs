//! A backup of the whole installation while it runs: the store as of one moment, and the files of its workspaces.
//!
//! It is laid out in a directory of the data directory, because it holds the keys that sign the log and sign people in:
//! whoever may read the data directory may have them, and nobody gets them over the network.

use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use reeve_gate::workspace::ByteStream;
use reeve_store::{BackedUpWorkspace, BackupError, BackupSummary};
use reeve_types::{EventType, ProblemCode, WorkspaceId};
use serde::Serialize;
use tokio::io::AsyncWriteExt as _;

use crate::Platform;
use crate::workspaces::pieces;

/// Where backups are laid out, in the data directory.
pub const BACKUPS: &str = "backups";
/// Where the store is, in a backup.
pub const STORE_PART: &str = "store";
/// Where the files of workspaces are, in a backup: one `{id}.tar` each.
pub const WORKSPACES_PART: &str = "workspaces";

/// Where the files of workspaces wait for their return after a restore, in the data directory: one `{id}.tar` each.
pub const RETURNING: &str = "returning";

/// A backup, laid out. Its directory is the caller's to take away and remove.
#[derive(Debug, Serialize)]
pub struct LaidOut {
    /// The directory, whose name is the moment: its parts are `store` and `workspaces`.
    pub directory: PathBuf,
    /// What is in the store's part.
    pub summary: BackupSummary,
    /// The workspaces whose files are in it.
    pub workspaces: Vec<WorkspaceId>,
    /// Workspaces that were purged while the backup was taken: only their rows are in it.
    pub gone: Vec<WorkspaceId>,
    /// Workspaces that work in a directory of the host: their rows are in it, and what is in the directory is not.
    pub on_host: Vec<WorkspaceId>,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupFailure {
    /// The store could not be copied.
    #[error(transparent)]
    Store(#[from] BackupError),
    /// The files of a workspace could not be read.
    #[error("the files of workspace {name} ({id}) cannot be backed up: {why}")]
    Workspace {
        /// Which.
        id: WorkspaceId,
        /// Its name.
        name: String,
        /// Why not.
        why: String,
    },
    /// There are workspaces, and nothing that reads their files.
    #[error("there are workspaces, and this server has no driver to read their files with; set workspaces.driver")]
    NoDriver,
    /// A file could not be written.
    #[error("{} cannot be written: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

fn unreadable(known: &BackedUpWorkspace, why: &dyn std::fmt::Display) -> BackupFailure {
    BackupFailure::Workspace { id: known.id.clone(), name: known.name.clone(), why: why.to_string() }
}

async fn keep(known: &BackedUpWorkspace, mut files: ByteStream, path: &Path) -> Result<(), BackupFailure> {
    let mut options = tokio::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).await.map_err(unwritable(path))?;
    while let Some(piece) = files.next().await {
        let piece = piece.map_err(|error| unreadable(known, &error))?;
        file.write_all(&piece).await.map_err(unwritable(path))?;
    }
    file.sync_all().await.map_err(unwritable(path))
}

fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> BackupFailure + '_ {
    move |source| BackupFailure::File { path: path.to_owned(), source }
}

async fn private_directory(path: &Path) -> Result<(), BackupFailure> {
    let mut builder = tokio::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).await.map_err(unwritable(path))
}

impl Platform {
    /// Lays a backup out while everything goes on. What fails leaves nothing behind.
    ///
    /// # Errors
    ///
    /// The store or the files of one workspace cannot be copied: a backup that lacks something nobody knows of is none.
    pub async fn lay_out_backup(&self, by: &str) -> Result<LaidOut, BackupFailure> {
        let stamp = self.clock().now().strftime("%Y%m%dT%H%M%SZ");
        let name = format!("{stamp}-{:08x}", self.clock().random() & 0xffff_ffff);
        let all = self.store().dir().join(BACKUPS);
        private_directory(&all).await?;
        let directory = all.join(name);
        private_directory(&directory).await?;
        let laid_out = self.lay_out_in(&directory).await;
        match &laid_out {
            Ok(done) => {
                let files = done.workspaces.len();
                let note = format!(
                    "{by} took a backup: {} records, the files of {files} workspace{}",
                    done.summary.records,
                    if files == 1 { "" } else { "s" }
                );
                if let Err(error) = self.record(self.own_event(EventType::Lifecycle, note)).await {
                    tracing::error!("a backup could not be recorded: {error}");
                }
            }
            Err(_) => {
                let _ = tokio::fs::remove_dir_all(&directory).await;
            }
        }
        laid_out
    }

    async fn lay_out_in(&self, directory: &Path) -> Result<LaidOut, BackupFailure> {
        let summary = self.store().backup_to(&directory.join(STORE_PART)).await?;
        let place = directory.join(WORKSPACES_PART);
        private_directory(&place).await?;
        let (mut workspaces, mut gone) = (Vec::new(), Vec::new());
        let rows = self.store().every_workspace().await.map_err(BackupError::Store)?;
        let of_host =
            |id: &WorkspaceId| rows.iter().any(|row| row.workspace.id == *id && row.workspace.directory.is_some());
        let (on_host, wanted): (Vec<_>, Vec<_>) =
            summary.workspaces.iter().cloned().partition(|known| of_host(&known.id));
        let on_host = on_host.into_iter().map(|known| known.id).collect();
        if wanted.is_empty() {
            return Ok(LaidOut { directory: directory.to_owned(), summary, workspaces, gone, on_host });
        }
        let service = self.workspaces().ok_or(BackupFailure::NoDriver)?;
        let mut all = std::pin::pin!(service.export_all(wanted));
        while let Some((known, files)) = all.next().await {
            match files {
                Ok(files) => {
                    keep(&known, files, &place.join(format!("{}.tar", known.id))).await?;
                    workspaces.push(known.id);
                }
                Err(error) if error.code() == ProblemCode::NotFound => gone.push(known.id),
                Err(error) => return Err(unreadable(&known, &error)),
            }
        }
        Ok(LaidOut { directory: directory.to_owned(), summary, workspaces, gone, on_host })
    }

    /// What a new process does first: removes what backups that were cut off have left, and puts the files back that a
    /// restore has left waiting.
    pub(crate) async fn settle_backups(&self) {
        let _ = tokio::fs::remove_dir_all(self.store().dir().join(BACKUPS)).await;
        let returning = self.store().dir().join(RETURNING);
        if !returning.is_dir() {
            return;
        }
        let Some(service) = self.workspaces() else {
            tracing::warn!("the files of restored workspaces wait in {}, and there is no driver", returning.display());
            return;
        };
        let rows = match self.store().every_workspace().await {
            Ok(rows) => rows,
            Err(error) => return tracing::error!("restored workspaces cannot be listed: {}", error.chain()),
        };
        for known in rows.iter().map(|row| &row.workspace) {
            let path = returning.join(format!("{}.tar", known.id));
            let Ok(file) = tokio::fs::File::open(&path).await else { continue };
            match service.put_back(&known.tenant, &known.id, pieces(file)).await {
                Ok(_) => {
                    tracing::info!(workspace.id = %known.id, "its files are back");
                    let _ = tokio::fs::remove_file(&path).await;
                }
                Err(error) => {
                    tracing::error!(workspace.id = %known.id, "its files wait in {}: {error}", path.display());
                }
            }
        }
        // Only when it is empty: what could not be put back is tried again at the next start.
        let _ = tokio::fs::remove_dir(&returning).await;
    }
}
