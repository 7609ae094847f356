//! `reeve backup` and `reeve restore`: the whole installation in one file, and back.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reeve_platform::backup::{RETURNING, STORE_PART};
use reeve_store::{BackupSummary, Store};
use serde_json::{Value, json};

use super::Session;
use crate::bundle;
use crate::client::{Ask, Reach, server_runs};
use crate::exit::{self, Failure, Outcome};
use crate::render::pairs;

/// How long laying out may take: the files of every workspace are copied.
const LAYING_OUT: Duration = Duration::from_secs(6 * 60 * 60);

/// Write everything into one file, while the server runs: database, audit log, keys, workspaces
#[derive(Debug, Args)]
#[command(after_help = "\
The database and the audit log are copied as of one moment, and then the files of every workspace. Snapshots of \
workspaces are not in it. The file holds the keys of this installation, so only you can read it; keep it so.

Examples:
  reeve backup reeve-2026-01-31.tar
  reeve backup - | ssh backups 'cat > reeve.tar'
  reeve restore reeve-2026-01-31.tar --data-dir /var/lib/reeve")]
pub(super) struct Backup {
    /// The file to write; it must not exist. `-` is standard output
    file: PathBuf,
}

/// Make the data directory what it was when a backup was taken
#[derive(Debug, Args)]
#[command(after_help = "\
Refused while a server uses the data directory, and when the directory holds records that came after the backup. What \
was there is moved aside, not deleted. The files of workspaces come back when the server is started.")]
pub(super) struct Restore {
    /// The file that `reeve backup` wrote
    file: PathBuf,
}

pub(super) async fn take(command: Backup, session: &mut Session) -> Outcome {
    let to_output = command.file.as_os_str() == "-";
    if !to_output && command.file.exists() {
        let said = format!("{} is there already; name a new file", command.file.display());
        return Err(Failure::usage(said));
    }
    let laid_out = if server_runs(&session.config.data_dir) {
        let ask = Ask::post("/backups", &json!({})).patience(LAYING_OUT);
        session.fetch(Reach::Server, "copying", ask).await?.json()?
    } else {
        lay_out_here(session).await?
    };
    let directory = laid_out.get("directory").and_then(Value::as_str).map(PathBuf::from).unwrap_or_default();
    if !directory.starts_with(&session.config.data_dir) {
        let said = format!(
            "the server laid the backup out in {}, which is not below this data directory",
            directory.display()
        );
        return Err(Failure::could_not(said).hint("run this on the server's machine, with its --data-dir"));
    }
    let written = {
        let (from, file) = (directory.clone(), command.file.clone());
        let work =
            tokio::task::spawn_blocking(
                move || if to_output { to_standard_output(&from) } else { to_file(&from, &file) },
            );
        session.term.progress("writing", work).await.map_err(Failure::could_not)?
    };
    let _ = std::fs::remove_dir_all(&directory);
    let bytes = written
        .map_err(|error| Failure::could_not(format!("{} cannot be written: {error}", command.file.display())))?;
    if !to_output {
        report(session, &laid_out, &command.file, bytes)?;
    }
    Ok(exit::DONE)
}

/// Without a server this process is one for a moment.
async fn lay_out_here(session: &mut Session) -> Result<Value, Failure> {
    let built = crate::boot::build(&session.config).await.map_err(|error| Failure::could_not(format!("{error:#}")))?;
    let laid_out = session.term.progress("copying", built.platform.lay_out_backup("the command line")).await;
    built.drivers.close().await;
    built.platform.store().close().await;
    serde_json::to_value(laid_out.map_err(Failure::could_not)?).map_err(Failure::could_not)
}

fn to_standard_output(directory: &Path) -> std::io::Result<u64> {
    bundle::pack(directory, std::io::stdout().lock()).map(|()| 0)
}

/// Writes beside the file and renames, so that a file of this name is always whole.
fn to_file(directory: &Path, file: &Path) -> std::io::Result<u64> {
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let mut options = OpenOptions::new();
    let mut opened = options.write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    let packed = bundle::pack(directory, std::io::BufWriter::new(&mut opened)).and_then(|()| {
        opened.flush()?;
        opened.sync_all()?;
        opened.metadata()
    });
    let placed = packed.and_then(|meta| std::fs::hard_link(&partial, file).map(|()| meta.len()));
    std::fs::remove_file(&partial)?;
    placed
}

fn report(session: &mut Session, laid_out: &Value, file: &Path, bytes: u64) -> Result<(), Failure> {
    let summary = laid_out.get("summary").cloned().unwrap_or_default();
    let number = |of: &Value, key: &str| of.get(key).map(ToString::to_string).unwrap_or_default();
    let listed = |key: &str| laid_out.get(key).and_then(Value::as_array).map_or(0, Vec::len);
    if session.json {
        let told = json!({
            "file": file, "bytes": bytes, "records": summary.get("records"), "taken_at": summary.get("taken_at"),
            "last_hash": summary.get("last_hash"), "workspaces": laid_out.get("workspaces"), "gone": laid_out.get("gone"),
            "on_host": laid_out.get("on_host"),
        });
        return session.term.print_json(&told);
    }
    let mut rows = vec![
        ("File", file.display().to_string()),
        ("Size", format!("{:.1} MB", bytes as f64 / 1e6)),
        ("Records", number(&summary, "records")),
        ("Workspaces", listed("workspaces").to_string()),
    ];
    if listed("gone") > 0 {
        rows.push(("Purged meanwhile", listed("gone").to_string()));
    }
    if listed("on_host") > 0 {
        rows.push(("Not in it, on the host", listed("on_host").to_string()));
    }
    let text = pairs(session.term.look(), &rows);
    session.term.print(&text)
}

pub(super) async fn restore(command: Restore, session: &mut Session) -> Outcome {
    let (data_dir, file) = (session.config.data_dir.clone(), command.file.clone());
    let work = tokio::task::spawn_blocking(move || restore_here(&file, &data_dir));
    let (summary, workspaces) = session.term.progress("restoring", work).await.map_err(Failure::could_not)??;
    if session.json {
        session.term.print_json(&json!({
            "data_dir": session.config.data_dir, "records": summary.records, "taken_at": summary.taken_at,
            "last_hash": summary.last_hash, "workspaces": workspaces,
        }))?;
        return Ok(exit::DONE);
    }
    let rows = [
        ("Data directory", session.config.data_dir.display().to_string()),
        ("As of", crate::render::moment(&summary.taken_at.to_string())),
        ("Records", summary.records.to_string()),
        ("Workspaces", format!("{workspaces}, whose files come back when the server is started")),
    ];
    let text = pairs(session.term.look(), &rows);
    session.term.print(&text)?;
    Ok(exit::DONE)
}

fn restore_here(file: &Path, data_dir: &Path) -> Result<(BackupSummary, usize), Failure> {
    if server_runs(data_dir) {
        let said = format!("a server uses {}", data_dir.display());
        return Err(Failure::could_not(said).hint("stop it, or restore into another directory with --data-dir"));
    }
    let unreadable = |error| Failure::could_not(format!("{} cannot be read: {error}", file.display()));
    let archive = File::open(file).map_err(unreadable)?;
    let place = data_dir.join(format!("unpacked-{}", std::process::id()));
    let restored = take_out(archive, &place, data_dir).map_err(|failure| match failure {
        TakeOut::Unpack(error) => Failure::could_not(format!("{} is no whole backup: {error}", file.display())),
        TakeOut::Place(path, error) => Failure::could_not(format!("{} cannot be written: {error}", path.display())),
        TakeOut::Store(said) => Failure::could_not(said),
    });
    let _ = std::fs::remove_dir_all(&place);
    restored
}

enum TakeOut {
    Unpack(std::io::Error),
    Place(PathBuf, std::io::Error),
    Store(String),
}

fn take_out(archive: File, place: &Path, data_dir: &Path) -> Result<(BackupSummary, usize), TakeOut> {
    bundle::unpack(std::io::BufReader::new(archive), place).map_err(TakeOut::Unpack)?;
    let summary =
        Store::restore_from(&place.join(STORE_PART), data_dir).map_err(|error| TakeOut::Store(error.to_string()))?;
    let returning = data_dir.join(RETURNING);
    let at = |error| TakeOut::Place(returning.clone(), error);
    let _ = std::fs::remove_dir_all(&returning);
    bundle::private_directory(&returning).map_err(at)?;
    let archives = bundle::archives(place).map_err(at)?;
    for archive in &archives {
        let name = archive.file_name().unwrap_or_default();
        std::fs::rename(archive, returning.join(name)).map_err(at)?;
    }
    Ok((summary, archives.len()))
}
