//! A data directory from a backup: only where nobody works, and where nothing newer is.
//!
//! What was in the directory is moved aside, not deleted. While the files change places a marker stands in the
//! directory; a store with that marker does not open, and the same restore run again finishes the work.

use std::fs::File;
use std::path::{Path, PathBuf};

use reeve_types::Digest;
use rusqlite::{Connection, OpenFlags};

use crate::backup::{BackupError, BackupSummary, STAGING, copy_file};
use crate::{
    AUDIT_FILE, KEY_FILE, SCHEMA_VERSION, STATE_FILE, Store, StoreError, audit_log, create_private_dir, lock,
    write_private,
};

/// Stands in the data directory while its files change places.
const MARKER: &str = "reeve.restoring";
/// Where files wait, complete, for their place.
const ARRIVING: &str = "restoring";

/// Refuses a directory in which a restore was cut off.
pub(crate) fn refuse_unfinished(dir: &Path) -> Result<(), StoreError> {
    if !dir.join(MARKER).exists() {
        return Ok(());
    }
    let dir = dir.display();
    Err(StoreError::Unavailable(format!("a restore into {dir} was cut off half way; run the same restore again")))
}

impl Store {
    /// Makes `data_dir` what it was when the backup in `dir` was taken. What was there is moved into a directory
    /// `replaced-<time>` inside it. The files of workspaces are no part of the store and come back by themselves.
    ///
    /// # Errors
    ///
    /// A server uses `data_dir`; it holds records that the backup lacks, or another log; the backup is damaged, not
    /// whole or of a newer version; a file cannot be written.
    pub fn restore_from(dir: &Path, data_dir: &Path) -> Result<BackupSummary, BackupError> {
        let summary = BackupSummary::read(dir)?;
        for needed in [AUDIT_FILE, STATE_FILE, KEY_FILE] {
            if !summary.files.contains_key(needed) {
                return Err(BackupError::Unusable { path: dir.to_owned(), reason: format!("it has no {needed}") });
            }
        }
        create_private_dir(data_dir)?;
        let _held = lock::DirectoryLock::acquire(data_dir).map_err(StoreError::from)?;
        refuse_newer(dir, data_dir, &summary)?;
        let arriving = data_dir.join(ARRIVING);
        let _ = std::fs::remove_dir_all(&arriving);
        let fetched = fetch(dir, &arriving, &summary);
        if fetched.is_err() {
            let _ = std::fs::remove_dir_all(&arriving);
        }
        fetched?;
        write_private(&data_dir.join(MARKER), "run the same restore again\n")?;
        move_aside(data_dir, &summary)?;
        for name in summary.files.keys() {
            renamed(&arriving.join(name), &data_dir.join(name))?;
        }
        synced(data_dir)?;
        let marker = data_dir.join(MARKER);
        std::fs::remove_file(&marker).map_err(|source| StoreError::File { path: marker, source })?;
        let _ = std::fs::remove_dir_all(&arriving);
        synced(data_dir)?;
        Ok(summary)
    }
}

fn open_log(path: &Path) -> Result<Connection, StoreError> {
    // Not read-only: what a stopped server left in the journal counts.
    let log = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let found: i64 = log.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: SCHEMA_VERSION });
    }
    Ok(log)
}

/// The log that is there must be the beginning of the one that comes.
fn refuse_newer(dir: &Path, data_dir: &Path, summary: &BackupSummary) -> Result<(), BackupError> {
    let path = data_dir.join(AUDIT_FILE);
    if !path.exists() {
        return Ok(());
    }
    let (found, last_hash) = audit_log::end_of(&open_log(&path)?, "main")?;
    if found == 0 {
        return Ok(());
    }
    if found > summary.records {
        return Err(BackupError::Newer { path: data_dir.to_owned(), found, records: summary.records });
    }
    let coming = Connection::open_with_flags(dir.join(AUDIT_FILE), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let same: Option<Digest> = audit_log::hash_at(&coming, found - 1)?;
    if same == Some(last_hash) { Ok(()) } else { Err(BackupError::AnotherLog { path: data_dir.to_owned() }) }
}

/// Copies every file beside its place, and holds each against what the backup says of it.
fn fetch(dir: &Path, arriving: &Path, summary: &BackupSummary) -> Result<(), BackupError> {
    create_private_dir(arriving)?;
    create_private_dir(&arriving.join(STAGING))?;
    for (name, expected) in &summary.files {
        let copied = copy_file(&dir.join(name), &arriving.join(name))?;
        if copied != *expected {
            let reason =
                format!("{name} is not the file that was backed up ({} bytes, {})", copied.bytes, copied.sha256);
            return Err(BackupError::Unusable { path: dir.to_owned(), reason });
        }
    }
    synced(arriving)?;
    Ok(())
}

/// Moves away what is there: the databases with their journals, and whatever else has a successor.
fn move_aside(data_dir: &Path, summary: &BackupSummary) -> Result<(), BackupError> {
    let journals =
        [AUDIT_FILE, STATE_FILE].iter().flat_map(|name| ["-wal", "-shm", "-journal"].map(|end| format!("{name}{end}")));
    let names = summary.files.keys().filter(|name| !name.contains('/')).cloned().chain(journals);
    let there: Vec<String> = names.chain([STAGING.to_owned()]).filter(|name| data_dir.join(name).exists()).collect();
    if !there.is_empty() {
        let aside = free_name(data_dir);
        create_private_dir(&aside)?;
        for name in there {
            renamed(&data_dir.join(&name), &aside.join(&name))?;
        }
    }
    create_private_dir(&data_dir.join(STAGING))?;
    Ok(())
}

fn free_name(data_dir: &Path) -> PathBuf {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut names = std::iter::once(format!("replaced-{now}")).chain((2..).map(|n| format!("replaced-{now}-{n}")));
    names
        .find_map(|name| Some(data_dir.join(name)).filter(|path| !path.exists()))
        .unwrap_or_else(|| data_dir.join("replaced"))
}

fn renamed(from: &Path, to: &Path) -> Result<(), StoreError> {
    std::fs::rename(from, to).map_err(|source| StoreError::File { path: to.to_owned(), source })
}

fn synced(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(|source| StoreError::File { path: dir.to_owned(), source })
}
