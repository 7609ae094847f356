//! No room: writes are refused with a reason, reads are served, and when there is room again everything goes on.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use reeve_gate::{Clock as _, Entry, Expectation, Ledger as _, LedgerError, SystemClock};
use reeve_store::{NewUpload, Store};
use reeve_types::event::{ApprovalPart, ToolPart};
use reeve_types::{
    ActionClass, ActionId, ActionState, AuthMethod, Event, EventType, Principal, PrincipalKind, Resource, ResourceKind,
    TenantId,
};
use rustix::process::{Resource as Limited, Rlimit, getrlimit, setrlimit};

/// Ignores the signal that a write beyond the limit sends, so that the write itself fails.
const WITHOUT_SIGNAL: [&str; 4] = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];

fn run(part: &str, wrapper: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let status = super::child(part, dir.path(), wrapper).status().unwrap();
    assert!(status.success(), "the child that played `{part}` failed: {status}");
}

pub(crate) fn a_log_that_cannot_grow_refuses_and_recovers() {
    run("limit", &WITHOUT_SIGNAL);
}

pub(crate) fn a_state_that_stays_behind_is_never_asked() {
    run("state-limit", &WITHOUT_SIGNAL);
}

/// Needs a file system of its own; where the system gives none to this user, the limit above must do.
pub(crate) fn a_full_disk_refuses_changes_and_serves_reads() {
    let mount = "mount -t tmpfs -o size=4m reeve-test \"$2\" && exec \"$@\"";
    let alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"];
    let probe = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs none /mnt"])
        .output();
    if !probe.is_ok_and(|done| done.status.success()) {
        println!("a_full_disk_refuses_changes_and_serves_reads: this user may not mount, so only the limit was tried");
        return;
    }
    run("disk", &[&alone[..], &[mount, "sh"]].concat());
}

fn event(kind: EventType, note: &str) -> Event {
    let trace = "sys_full".parse().unwrap();
    let mut event = Event::new(kind, TenantId::default_tenant(), trace, SystemClock.now(), SystemClock.random());
    note.clone_into(&mut event.note);
    event
}

async fn append(store: &Store, events: Vec<Event>) -> Result<(), LedgerError> {
    store.record(vec![], events.into_iter().map(Entry::from).collect()).await.map(|_| ())
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

fn limit_files(bytes: Option<u64>) {
    let now = getrlimit(Limited::Fsize);
    setrlimit(Limited::Fsize, Rlimit { current: bytes, maximum: now.maximum }).unwrap();
}

/// Appends until it is refused; gives how many went in and the reason.
async fn until_refused(store: &Store) -> (usize, String) {
    for taken in 0..100_000 {
        match append(store, vec![event(EventType::Lifecycle, &"x".repeat(3000))]).await {
            Ok(()) => {}
            Err(LedgerError::Unavailable(reason)) => return (taken, reason),
            Err(other) => panic!("{other}"),
        }
    }
    panic!("it was never refused");
}

async fn refuses_serves_and_recovers(store: &Store, before: usize, room_again: impl FnOnce()) {
    let (taken, reason) = until_refused(store).await;
    assert!(reason.starts_with("the database refused: "), "{reason}");
    assert_eq!(store.health(), Err(reason));
    let there = store.records_from(0, usize::MAX).await.unwrap();
    assert_eq!(there.len(), before + taken, "exactly what was answered is served");

    // Many at once, of both kinds: each is told why, none that the store is closed.
    let upload = NewUpload {
        upload_id: "ul_1".to_owned(),
        filename: "f".to_owned(),
        content: vec![7; 6_000_000],
        expires_at: SystemClock.now().checked_add(std::time::Duration::from_secs(60)).unwrap(),
    };
    let tenant = TenantId::default_tenant();
    let big = event(EventType::Lifecycle, &"x".repeat(6_000_000));
    let (a, b, c) = tokio::join!(
        append(store, vec![big.clone()]),
        store.keep_upload(&tenant, upload, SystemClock.now()),
        append(store, vec![big]),
    );
    for told in [a.unwrap_err().to_string(), b.unwrap_err().chain(), c.unwrap_err().to_string()] {
        assert!(told.contains("the database refused: ") || told.contains("disk"), "{told}");
        assert!(!told.contains("closed"), "{told}");
    }

    room_again();
    append(store, vec![event(EventType::Lifecycle, "room again")]).await.unwrap();
    assert_eq!(store.health(), Ok(()));
    let stored = store.records_from(0, usize::MAX).await.unwrap();
    assert_eq!(stored.len(), before + taken + 1);
    assert!(stored.iter().enumerate().all(|(at, record)| record.seq == at as u64), "no number was lost");
    let verdict = store.verify_audit(vec![], vec![], |_| {}).await.unwrap();
    assert!(verdict.valid, "{verdict:?}");
    store.prove(&stored[before + taken].event.event_id).await.unwrap();
    store.close().await;
}

pub(crate) async fn child_with_a_limit(dir: PathBuf) {
    let store = Store::open(&dir, Arc::new(SystemClock)).unwrap();
    append(&store, (0..10).map(|n| event(EventType::Lifecycle, &n.to_string())).collect()).await.unwrap();
    limit_files(Some(size(&dir.join("audit.db-wal")) + 64 * 1024));
    refuses_serves_and_recovers(&store, 10, || limit_files(None)).await;
}

pub(crate) async fn child_on_a_small_disk(dir: PathBuf) {
    let store = Store::open(&dir, Arc::new(SystemClock)).unwrap();
    append(&store, (0..10).map(|n| event(EventType::Lifecycle, &n.to_string())).collect()).await.unwrap();
    let filler = dir.join("filler");
    std::fs::write(&filler, vec![0u8; 2 * 1024 * 1024]).unwrap();
    refuses_serves_and_recovers(&store, 10, || std::fs::remove_file(&filler).unwrap()).await;
}

fn about(kind: EventType, id: &ActionId) -> Event {
    let mut event = event(kind, "");
    event.action_id = Some(id.clone());
    event.action_class = Some(ActionClass::Write);
    event.principal = Some(Principal::new(PrincipalKind::User, "alice", AuthMethod::ApiKey));
    event.resource = Some(Resource::new(ResourceKind::Database, "orders"));
    event.tool = Some(ToolPart { name: "change".to_owned(), ..ToolPart::default() });
    event.approval = None::<ApprovalPart>;
    event
}

/// The log has room and the state has none: what the log took must count, although the tables do not show it yet.
pub(crate) async fn child_whose_state_stays_behind(dir: PathBuf) {
    let store = Store::open(&dir, Arc::new(SystemClock)).unwrap();
    // Makes the journal of the state long and leaves that of the log short.
    let upload = NewUpload {
        upload_id: "ul_1".to_owned(),
        filename: "f".to_owned(),
        content: vec![7; 1_000_000],
        expires_at: SystemClock.now().checked_add(std::time::Duration::from_secs(60)).unwrap(),
    };
    store.keep_upload(&TenantId::default_tenant(), upload, SystemClock.now()).await.unwrap();
    let ids: Vec<ActionId> = (0..64).map(|n| ActionId::new(SystemClock.now(), n)).collect();
    for id in &ids {
        append(&store, vec![about(EventType::EffectIntent, id)]).await.unwrap();
    }
    let (log, state) = (size(&dir.join("audit.db-wal")), size(&dir.join("reeve.db-wal")));
    assert!(state > log + 200_000, "the journals are {log} and {state} bytes long");
    limit_files(Some(state));

    let (mut once, mut refused) = (Vec::new(), 0);
    for id in &ids {
        // Twice the same outcome, each expecting that the act still runs: only one may be taken, whatever the tables show.
        for _ in 0..2 {
            let expect = vec![Expectation::ActionIn(id.clone(), ActionState::Running)];
            match store.record(expect, vec![about(EventType::ToolExecution, id).into()]).await {
                Ok(_) => once.push(id.clone()),
                Err(LedgerError::Unavailable(_)) => refused += 1,
                Err(LedgerError::Conflict(_)) => {}
            }
        }
    }
    limit_files(None);
    assert!(refused > 0 && !once.is_empty(), "the limit was not where it should be: {refused}, {}", once.len());
    let mut distinct = once.clone();
    distinct.dedup();
    assert_eq!(once, distinct, "an outcome was taken twice");

    append(&store, vec![event(EventType::Lifecycle, "room again")]).await.unwrap();
    assert_eq!(store.health(), Ok(()));
    let tenant = TenantId::default_tenant();
    for id in &ids {
        let state = store.action_of(&tenant, id).await.unwrap().unwrap().state;
        assert_eq!(state == ActionState::Unknown, once.contains(id), "{id} is {state}");
    }
    store.close().await;
}
