//! Spares: taken at once, made anew, nobody's until then, and gone with the server.

use std::sync::atomic::Ordering;

use futures_util::{FutureExt as _, StreamExt as _};
use reeve_platform::workspaces::{
    LimitsWanted, NewWorkspace, NotDone, Quota, WorkspaceEvent, WorkspaceFilter, WorkspacesOptions,
};
use reeve_store::ApprovalFilter;
use reeve_types::{EventType, Principal, TenantId, WorkspaceState};

use super::{until, yard};
use crate::support::user;

fn warm() -> WorkspacesOptions {
    WorkspacesOptions {
        warm: 1,
        quota_per_owner: Quota { workspaces: 2, running: 2, disk_bytes: 0 },
        ..WorkspacesOptions::default()
    }
}

#[tokio::test]
async fn a_spare_becomes_somebodys_at_once_and_another_one_is_made() {
    let yard = yard(warm()).await;
    let (stop, tending) = yard.tended();
    let ws = yard.workspaces();
    until("a spare", || ws.spares_ready() == 1).await;
    let there: Vec<_> = yard.driver.there.lock().unwrap().keys().cloned().collect();
    let (alice, root) = (user("alice", &["developer"]), user("root", &["admin"]));
    assert!(ws.list(&root, WorkspaceFilter::default()).await.unwrap().workspaces.is_empty(), "nobody sees a spare");
    assert!(matches!(ws.get(&root, &there[0]).await, Err(NotDone::NoSuchWorkspace(_))));

    let wanted = NewWorkspace { tags: vec!["web".to_owned()], ..NewWorkspace::named("site", "base") };
    let alice = Principal { tenant: "acme".parse().unwrap(), ..alice };
    let made = ws.create(&yard.asker(&alice), wanted).await.unwrap();
    assert_eq!(vec![made.id.clone()], there, "it is the one that waited");
    assert_eq!((made.state, made.owner.as_str(), made.name.as_str()), (WorkspaceState::Running, "alice", "site"));
    assert_eq!((made.tenant.as_str(), made.isolation.is_some()), ("acme", true));
    assert_eq!(ws.list(&alice, WorkspaceFilter::default()).await.unwrap().workspaces, vec![made.clone()]);
    let records = yard.platform.store().records_from(0, usize::MAX).await.unwrap();
    let told = records
        .iter()
        .rev()
        .find(|record| record.event.event_type == EventType::ToolExecution && record.event.tenant == alice.tenant);
    let told = &told.unwrap().event.tool.as_ref().unwrap().result;
    assert!(told.contains("from a spare: isolation pretended with seccomp"), "{told}");

    until("another spare", || ws.spares_ready() == 1).await;
    ws.create(&yard.asker(&alice), NewWorkspace::named("second", "base")).await.unwrap();
    until("another spare", || ws.spares_ready() == 1).await;
    let full = ws.create(&yard.asker(&alice), NewWorkspace::named("third", "base")).await.unwrap_err();
    assert!(full.to_string().contains("you may have 2 workspaces"), "{full}");
    assert_eq!(ws.spares_ready(), 1, "what a quota refuses takes none");

    stop.cancel();
    tending.await.unwrap();
    assert_eq!(yard.driver.there.lock().unwrap().len(), 2, "only what is somebody's is left");
    assert!(yard.rows().await.iter().all(|row| !row.is_spare()));
}

#[tokio::test]
async fn what_is_unusual_is_made_for_itself() {
    let yard = yard(warm()).await;
    let (stop, tending) = yard.tended();
    let ws = yard.workspaces();
    until("a spare", || ws.spares_ready() == 1).await;
    let made = yard.driver.made.load(Ordering::SeqCst);
    let limits = LimitsWanted { pids: Some(64), ..LimitsWanted::default() };
    let small = NewWorkspace { limits, ..NewWorkspace::named("small", "base") };
    let small = ws.create(&yard.asker(&user("alice", &[])), small).await.unwrap();
    assert_eq!(small.limits.pids, 64);
    assert_eq!(yard.driver.made.load(Ordering::SeqCst), made + 1);
    assert_eq!(ws.spares_ready(), 1);
    // How long it may be idle changes nothing about how it runs.
    let limits = LimitsWanted { idle_timeout_ms: Some(60_000), ..LimitsWanted::default() };
    let short = NewWorkspace { limits, ..NewWorkspace::named("short", "base") };
    let waiting: Vec<_> =
        yard.rows().await.into_iter().filter(|row| row.is_spare()).map(|row| row.workspace.id).collect();
    let short = ws.create(&yard.asker(&user("alice", &[])), short).await.unwrap();
    assert_eq!((waiting, short.limits.idle_timeout_ms), (vec![short.id], 60_000));
    stop.cancel();
    tending.await.unwrap();
}

#[tokio::test]
async fn a_spare_of_an_earlier_server_is_never_claimed_and_goes() {
    let first = yard(warm()).await;
    let (stop, tending) = first.tended();
    until("a spare", || first.workspaces().spares_ready() == 1).await;
    let second = first.killed().await;
    let old: Vec<_> = second.driver.there.lock().unwrap().keys().cloned().collect();
    let me = second.asker(&user("alice", &[]));
    let made = second.workspaces().create(&me, NewWorkspace::named("site", "base")).await.unwrap();
    assert!(!old.contains(&made.id), "nobody knows what it was made from");
    second.workspaces().reconcile().await;
    let left: Vec<_> = second.driver.there.lock().unwrap().keys().cloned().collect();
    assert_eq!(left, [made.id]);
    assert_eq!(second.rows().await.len(), 1);
    stop.cancel();
    tending.await.unwrap();
}

#[tokio::test]
async fn a_spare_that_died_is_not_given_to_anybody() {
    let yard = yard(warm()).await;
    let (stop, tending) = yard.tended();
    let ws = yard.workspaces();
    until("a spare", || ws.spares_ready() == 1).await;
    let dead = yard.driver.there.lock().unwrap().keys().next().cloned().unwrap();
    yard.driver.there.lock().unwrap().insert(dead.clone(), false);
    let made = ws.create(&yard.asker(&user("alice", &[])), NewWorkspace::named("site", "base")).await.unwrap();
    assert_eq!((made.id == dead, made.state), (false, WorkspaceState::Running));
    until("another spare", || ws.spares_ready() == 1).await;
    assert!(!yard.driver.there.lock().unwrap().contains_key(&dead));
    stop.cancel();
    tending.await.unwrap();
}

#[tokio::test]
async fn nobody_is_asked_for_a_spare_and_nobody_hears_of_one() {
    let yard = yard(warm()).await;
    yard.every_change_asks();
    let mut events = Box::pin(yard.workspaces().events(&user("root", &["admin"])));
    assert_eq!(events.next().await, Some(WorkspaceEvent::Hello));
    let (stop, tending) = yard.tended();
    // Its own wish for one is what it is told of last, so the pool has been looked over by then.
    let asked = yard.workspaces().create(&yard.asker(&user("alice", &[])), NewWorkspace::named("site", "base")).await;
    assert!(matches!(asked, Err(NotDone::Awaiting { .. })), "{asked:?}");
    stop.cancel();
    tending.await.unwrap();
    let filter = ApprovalFilter { limit: 10, ..ApprovalFilter::default() };
    let asked = yard.platform.approvals(&TenantId::default_tenant(), filter).await.unwrap();
    assert_eq!(asked.len(), 1, "only what somebody wanted");
    assert!(yard.rows().await.is_empty());
    assert_eq!(events.next().now_or_never(), None);
}
