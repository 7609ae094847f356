//! A backup is one moment, taken while everything goes on; a restore loses nothing that is newer.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reeve_store::{BackupError, BackupSummary, Store};
use reeve_types::WorkspaceState;
use rusqlite::Connection;

use crate::rooms::{NO_QUOTAS, account, workspace};
use crate::support::{fill, open, tenant};

fn restored(backup: &Path) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    Store::restore_from(backup, dir.path()).unwrap();
    let store = open(dir.path());
    (dir, store)
}

async fn holds(store: &Store) {
    let verdict = store.verify_audit(vec![], vec![], |_| {}).await.unwrap();
    assert!(verdict.valid, "{verdict:?}");
}

#[tokio::test]
async fn what_is_restored_is_what_was_there_and_its_log_holds_and_goes_on() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    fill(&store, 700).await;
    let kept = workspace("acme", "alice");
    for row in [
        kept.clone(),
        workspace("default", ""),
        reeve_store::StoredWorkspace { made: false, ..workspace("default", "bob") },
    ] {
        store.add_workspace(row, NO_QUOTAS).await.unwrap();
    }
    let alice = store.add_account(account("acme", "alice", "alice@example.org")).await.unwrap().unwrap();
    std::fs::create_dir(dir.path().join("staging")).unwrap();
    std::fs::write(dir.path().join("staging/abc"), "waits").unwrap();
    std::fs::write(dir.path().join("staging/partial-1"), "arrives").unwrap();

    let backup = place.path().join("backup");
    let summary = store.backup_to(&backup).await.unwrap();
    assert_eq!(summary.records, 700);
    let names: Vec<_> = summary.workspaces.iter().map(|known| &known.id).collect();
    assert_eq!(names, [&kept.workspace.id], "neither a spare nor one that was never made");
    assert_eq!(BackupSummary::read(&backup).unwrap(), summary);
    assert_eq!(std::fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o700);
    for name in summary.files.keys() {
        assert_eq!(std::fs::metadata(backup.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    // What happens afterwards is no part of it.
    fill(&store, 5).await;

    let (new, copy) = restored(&backup);
    assert_eq!(copy.log_head().await.unwrap().last_hash, summary.last_hash);
    assert_eq!(copy.workspace(&tenant("acme"), &kept.workspace.id).await.unwrap(), Some(kept));
    assert_eq!(copy.account(&alice.account_id).await.unwrap(), Some(alice));
    assert_eq!(std::fs::read_to_string(new.path().join("staging/abc")).unwrap(), "waits");
    assert!(!new.path().join("staging/partial-1").exists());
    fill(&copy, 300).await;
    holds(&copy).await;
    assert_eq!(copy.log_head().await.unwrap().size, 1000);
}

#[tokio::test]
async fn a_backup_under_load_is_one_moment() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (store, stop) = (store.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let row = workspace("default", "alice");
                store.add_workspace(row.clone(), NO_QUOTAS).await.unwrap();
                while !stop.load(Ordering::SeqCst) {
                    fill(&store, 3).await;
                    let seen = &row.workspace;
                    for to in [WorkspaceState::Starting, WorkspaceState::Error] {
                        store.move_workspace(&seen.tenant, &seen.id, to, None, |_| ()).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for n in 0..5 {
        let backup = place.path().join(n.to_string());
        let summary = store.backup_to(&backup).await.unwrap();
        let db = Connection::open(backup.join("reeve.db")).unwrap();
        let applied: Option<String> =
            db.query_row("SELECT max(value) FROM meta WHERE name = 'applied'", [], |row| row.get(0)).unwrap();
        assert_eq!(
            applied.map_or(0, |text| text.parse().unwrap()),
            summary.records,
            "the state is that of the log's end"
        );
        let (_new, copy) = restored(&backup);
        assert_eq!(copy.log_head().await.unwrap().size, summary.records);
        holds(&copy).await;
    }
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn a_restore_goes_over_nothing_that_is_live_newer_or_another() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    fill(&store, 10).await;
    let backup = place.path().join("backup");
    store.backup_to(&backup).await.unwrap();
    let taken = store.backup_to(&backup).await.unwrap_err();
    assert!(matches!(taken, BackupError::Occupied { .. }), "{taken}");

    let live = Store::restore_from(&backup, dir.path()).unwrap_err();
    assert!(live.to_string().contains("another Reeve (process "), "{live}");
    fill(&store, 1).await;
    store.close().await;
    drop(store);
    let newer = Store::restore_from(&backup, dir.path()).unwrap_err();
    assert!(matches!(newer, BackupError::Newer { found: 11, records: 10, .. }), "{newer}");

    let other = tempfile::tempdir().unwrap();
    let store = open(other.path());
    fill(&store, 3).await;
    store.close().await;
    drop(store);
    let another = Store::restore_from(&backup, other.path()).unwrap_err();
    assert!(matches!(another, BackupError::AnotherLog { .. }), "{another}");
    let kept = open(other.path());
    assert_eq!(kept.log_head().await.unwrap().size, 3, "what is refused changes nothing");
}

#[tokio::test]
async fn over_an_older_directory_what_was_there_is_moved_aside() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    fill(&store, 4).await;
    let early = place.path().join("early");
    store.backup_to(&early).await.unwrap();
    fill(&store, 4).await;
    let late = place.path().join("late");
    store.backup_to(&late).await.unwrap();

    let (old, copy) = restored(&early);
    copy.close().await;
    drop(copy);
    Store::restore_from(&late, old.path()).unwrap();
    let names: Vec<String> =
        std::fs::read_dir(old.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let aside = names.iter().find(|name| name.starts_with("replaced-")).unwrap();
    assert!(old.path().join(aside).join("audit.db").exists(), "{names:?}");
    let copy = open(old.path());
    assert_eq!(copy.log_head().await.unwrap().size, 8);
    holds(&copy).await;
}

#[tokio::test]
async fn a_damaged_or_unfinished_backup_is_refused_before_anything_changes() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    fill(&store, 10).await;
    let backup = place.path().join("backup");
    store.backup_to(&backup).await.unwrap();
    let new = tempfile::tempdir().unwrap();
    let refused = || Store::restore_from(&backup, new.path()).unwrap_err().to_string();

    let whole = std::fs::read(backup.join("reeve.db")).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(backup.join("reeve.db"), damaged).unwrap();
    assert!(refused().contains("reeve.db is not the file that was backed up"), "{}", refused());
    std::fs::write(backup.join("reeve.db"), whole).unwrap();

    let manifest = std::fs::read_to_string(backup.join("backup.json")).unwrap();
    std::fs::write(backup.join("backup.json"), manifest.replace("\"format\": 1", "\"format\": 2")).unwrap();
    assert!(refused().contains("a newer version of Reeve wrote it"), "{}", refused());
    std::fs::write(backup.join("backup.json"), manifest.replace("\"reeve.db\"", "\"../reeve.db\"")).unwrap();
    assert!(refused().contains("names a file outside"), "{}", refused());
    std::fs::remove_file(backup.join("backup.json")).unwrap();
    assert!(refused().contains("may be unfinished"), "{}", refused());
    assert!(!new.path().join("audit.db").exists());
}

#[tokio::test]
async fn a_restore_that_was_cut_off_keeps_the_store_shut_until_it_is_run_again() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    fill(&store, 10).await;
    let backup = place.path().join("backup");
    store.backup_to(&backup).await.unwrap();

    let (new, copy) = restored(&backup);
    copy.close().await;
    drop(copy);
    // As a kill between the first file and the last would leave it.
    std::fs::write(new.path().join("reeve.restoring"), "").unwrap();
    std::fs::remove_file(new.path().join("reeve.db")).unwrap();
    let Err(shut) = Store::open(new.path(), Arc::new(reeve_gate::SystemClock)) else { panic!("it is half of a store") };
    assert!(shut.to_string().contains("run the same restore again"), "{shut}");
    Store::restore_from(&backup, new.path()).unwrap();
    holds(&open(new.path())).await;
}
