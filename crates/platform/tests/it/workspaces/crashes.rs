//! The server is killed before and after each effect; the next one finds its way out, and nothing is left behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use reeve_platform::workspaces::{Deleted, ForkWanted, NewWorkspace, Workspaces};
use reeve_types::{WorkspaceId, WorkspaceState};

use super::driver::Moment;
use super::{Yard, plain, yard};
use crate::support::user;

/// What is asked for when the crash comes, and at which step of the machine it comes.
const ACTS: [(&str, &str); 10] = [
    ("create", "create"),
    ("create", "start"),
    ("start", "start"),
    ("suspend", "suspend"),
    ("delete", "delete"),
    ("purge", "delete"),
    ("fork", "fork"),
    ("snapshot", "snapshot"),
    ("drop_snapshot", "drop_snapshot"),
    ("roll_back", "roll_back"),
];

/// A workspace in the state that the act begins from.
async fn prepared(yard: &Yard, act: &str) -> Option<WorkspaceId> {
    let (ws, me) = (yard.workspaces(), yard.asker(&user("alice", &["developer"])));
    if act == "create" {
        return None;
    }
    let site = ws.create(&me, NewWorkspace::named("site", "base")).await.unwrap();
    if matches!(act, "roll_back" | "drop_snapshot") {
        ws.snapshot(&me, &site.id, "first").await.unwrap();
    }
    if matches!(act, "start" | "roll_back") {
        ws.suspend(&me, &site.id).await.unwrap();
    }
    Some(site.id)
}

async fn ask(yard: &Yard, act: &'static str, site: Option<WorkspaceId>) {
    let (ws, me): (Workspaces, _) = (yard.workspaces().clone(), yard.asker(&user("alice", &["developer"])));
    let Some(id) = site else {
        let _ = ws.create(&me, NewWorkspace::named("site", "base")).await;
        return;
    };
    let snapshot = ws.snapshots(&me.principal, &id).await.unwrap().first().map(|snapshot| snapshot.id.clone());
    match (act, snapshot) {
        ("start", _) => _ = ws.start(&me, &id).await,
        ("suspend", _) => _ = ws.suspend(&me, &id).await,
        ("delete", _) => _ = ws.delete(&me, &id, false).await,
        ("purge", _) => _ = ws.delete(&me, &id, true).await,
        ("fork", _) => {
            let wanted = ForkWanted { name: "copy".to_owned(), snapshot_id: None, start: true };
            let _ = ws.fork(&me, &id, wanted).await;
        }
        ("snapshot", _) => _ = ws.snapshot(&me, &id, "second").await,
        ("drop_snapshot", Some(snapshot)) => _ = ws.drop_snapshot(&me, &id, &snapshot).await,
        ("roll_back", Some(snapshot)) => _ = ws.roll_back(&me, &id, &snapshot).await,
        (other, _) => panic!("nobody knows how to {other}"),
    }
}

/// The machine and the database say the same, and nothing is under way.
async fn all_is_well(yard: &Yard, when: &str) {
    let rows = yard.rows().await;
    let machine = yard.driver.there.lock().unwrap().clone();
    let expected: BTreeMap<WorkspaceId, bool> =
        rows.iter().map(|row| (row.workspace.id.clone(), row.workspace.state == WorkspaceState::Running)).collect();
    assert_eq!(machine, expected, "{when}");
    for row in &rows {
        use WorkspaceState as S;
        let rests = [S::Stopped, S::Running, S::Suspended, S::Deleted].contains(&row.workspace.state);
        assert!(row.made && rests, "{when}: {row:?}");
        let isolated = row.workspace.state != S::Running || row.workspace.isolation.is_some();
        assert!(isolated, "{when}: nobody knows what holds it");
    }
    assert!(yard.platform.store().unfinished_snapshots().await.unwrap().is_empty(), "{when}");
    let open = yard.platform.store().unsettled_actions().await.unwrap();
    assert!(open.is_empty(), "{when}: {open:?}");
    let verdict = yard.platform.store().verify_audit(vec![], vec![], |_| {}).await.unwrap();
    assert!(verdict.valid, "{when}: {verdict:?}");
}

async fn can_be_used_and_removed(yard: &Yard, when: &str) {
    let (ws, me) = (yard.workspaces(), yard.asker(&user("alice", &["developer"])));
    for row in yard.rows().await {
        let id = row.workspace.id;
        if row.workspace.state == WorkspaceState::Deleted {
            ws.restore(&me, &id).await.unwrap();
        }
        assert_eq!(ws.start(&me, &id).await.unwrap().state, WorkspaceState::Running, "{when}");
        assert_eq!(ws.delete(&me, &id, true).await.unwrap(), Deleted::Purged, "{when}");
    }
    assert!(yard.driver.there.lock().unwrap().is_empty(), "{when}");
}

#[tokio::test]
async fn whatever_step_a_crash_cuts_off_the_next_start_leads_out_of_it() {
    for (act, step) in ACTS {
        for moment in [Moment::Before, Moment::After] {
            let when = format!("{act}, killed {moment:?} {step}");
            let first = yard(plain()).await;
            let site = prepared(&first, act).await;
            first.driver.stop_at(step, moment);
            let first = Arc::new(first);
            let asking = tokio::spawn({
                let (first, site) = (Arc::clone(&first), site.clone());
                async move { ask(&first, act, site).await }
            });
            tokio::time::timeout(Duration::from_secs(20), first.driver.stopped.notified()).await.expect(&when);
            let second = first.killed().await;
            second.platform.settle_interrupted().await;
            second.workspaces().reconcile().await;
            // What the machine has and nobody knows is left alone for a while.
            second.clock.forward(Duration::from_secs(300));
            second.workspaces().reconcile().await;
            all_is_well(&second, &when).await;
            let states: Vec<_> = second.rows().await.iter().map(|row| row.workspace.state).collect();
            let expected = match (act, step) {
                ("create", "create") | ("purge", _) => vec![],
                ("suspend" | "roll_back", _) => vec![WorkspaceState::Suspended],
                ("delete", _) => vec![WorkspaceState::Deleted],
                _ => vec![WorkspaceState::Running],
            };
            assert_eq!(states, expected, "{when}");
            can_be_used_and_removed(&second, &when).await;
            asking.abort();
        }
    }
}

#[tokio::test]
async fn the_files_of_a_backup_go_back_into_the_rows_that_it_knows() {
    let first = yard(plain()).await;
    let (ws, alice) = (first.workspaces(), user("alice", &["developer"]));
    let me = first.asker(&alice);
    let running = ws.create(&me, NewWorkspace::named("running", "base")).await.unwrap().id;
    let deleted = ws.create(&me, NewWorkspace::named("deleted", "base")).await.unwrap().id;
    ws.snapshot(&me, &running, "first").await.unwrap();
    ws.delete(&me, &deleted, false).await.unwrap();
    let backup = first.dir.path().join("backup");
    let summary = first.platform.store().backup_to(&backup).await.unwrap();
    let exported: Vec<_> = ws.export_all(summary.workspaces).collect().await;
    assert_eq!(exported.len(), 2);

    let place = tempfile::tempdir().unwrap();
    reeve_store::Store::restore_from(&backup, &place.path().join("data")).unwrap();
    let clock = Arc::clone(&first.clock);
    let second = super::yard_on(place, clock, super::FakeDriver::default(), plain()).await;
    let ws = second.workspaces();
    for (known, files) in exported {
        ws.put_back(&known.tenant, &known.id, files.unwrap()).await.unwrap();
    }
    ws.reconcile().await;
    assert_eq!(ws.get(&alice, &running).await.unwrap().state, WorkspaceState::Suspended);
    assert_eq!(ws.get(&alice, &deleted).await.unwrap().state, WorkspaceState::Deleted);
    assert!(ws.snapshots(&alice, &running).await.unwrap().is_empty(), "a backup has no snapshots");
    let kept = second.driver.link.files.lock().unwrap()[&format!("import of {running}")].clone();
    assert_eq!(kept, format!("the files of {running}").into_bytes());
    let me = second.asker(&alice);
    assert_eq!(ws.start(&me, &running).await.unwrap().state, WorkspaceState::Running);
    let again = ws.put_back(&alice.tenant, &running, futures_util::stream::empty().boxed()).await.unwrap_err();
    assert!(again.to_string().contains("has its files"), "{again}");
    assert!(second.platform.store().verify_audit(vec![], vec![], |_| {}).await.unwrap().valid);
}
