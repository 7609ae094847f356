//! The life of a workspace: states, quotas, idle time, what the reconciler finds, and the record of it all.

use std::sync::atomic::Ordering;
use std::time::Duration;

use reeve_platform::workspaces::{Deleted, NewWorkspace, NotDone, Quota, WorkspaceFilter, WorkspacesOptions};
use reeve_types::workspace::files::TreeQuery;
use reeve_types::workspace::processes::ExecRequest;
use reeve_types::{EventType, ProblemCode, ResourceKind, WorkspaceId, WorkspaceState};

use super::{plain, yard};
use crate::support::user;
use reeve_gate::Clock as _;

#[tokio::test]
async fn a_workspace_lives_through_its_states_and_nobody_else_sees_it() {
    let yard = yard(plain()).await;
    let (alice, bob) = (user("alice", &["developer"]), user("bob", &["developer"]));
    let (ws, me) = (yard.workspaces(), yard.asker(&alice));
    let made = ws.create(&me, NewWorkspace::named("site", "base")).await.unwrap();
    assert_eq!((made.state, made.owner.as_str()), (WorkspaceState::Running, "alice"));
    assert!(matches!(ws.get(&bob, &made.id).await, Err(NotDone::NoSuchWorkspace(_))));
    assert!(ws.list(&bob, WorkspaceFilter::default()).await.unwrap().workspaces.is_empty());
    assert!(ws.get(&user("root", &["admin"]), &made.id).await.is_ok());

    assert_eq!(ws.suspend(&me, &made.id).await.unwrap().state, WorkspaceState::Suspended);
    let again = ws.suspend(&me, &made.id).await.unwrap_err();
    assert_eq!((again.code(), again.to_string().contains("suspended")), (ProblemCode::Conflict, true), "{again}");
    assert_eq!(ws.start(&me, &made.id).await.unwrap().state, WorkspaceState::Running);
    let Deleted::Kept(kept) = ws.delete(&me, &made.id, false).await.unwrap() else { panic!("it is kept at first") };
    assert_eq!(kept.state, WorkspaceState::Deleted);
    assert_eq!(ws.restore(&me, &made.id).await.unwrap().state, WorkspaceState::Stopped);
    assert_eq!(ws.delete(&me, &made.id, true).await.unwrap(), Deleted::Purged);
    assert!(yard.driver.there.lock().unwrap().is_empty(), "nothing is left on the machine");
}

#[tokio::test]
async fn every_change_is_recorded_with_what_held_the_workspace() {
    let yard = yard(plain()).await;
    let (ws, me) = (yard.workspaces(), yard.asker(&user("alice", &["developer"])));
    let made = ws.create(&me, NewWorkspace::named("site", "base")).await.unwrap();
    ws.suspend(&me, &made.id).await.unwrap();
    ws.start(&me, &made.id).await.unwrap();
    ws.snapshot(&me, &made.id, "first").await.unwrap();
    ws.delete(&me, &made.id, true).await.unwrap();

    let records = yard.platform.store().records_from(0, usize::MAX).await.unwrap();
    let done: Vec<_> = records.iter().filter(|record| record.event.event_type == EventType::ToolExecution).collect();
    let told: Vec<_> = done
        .iter()
        .map(|record| {
            let event = &record.event;
            let resource = event.resource.as_ref().unwrap();
            assert_eq!(resource.kind, ResourceKind::Workspace);
            let tool = event.tool.as_ref().unwrap();
            let tier = resource.tags.contains("isolation:pretended")
                || tool.result.contains("isolation pretended with seccomp");
            (tool.name.as_str(), tier)
        })
        .collect();
    let expected = [
        ("workspace_start", true),
        ("workspace_create", true),
        ("workspace_suspend", true),
        ("workspace_start", true),
        ("workspace_snapshot", true),
        ("workspace_delete", true),
    ];
    assert_eq!(told, expected);
    let intents = records.iter().filter(|record| record.event.event_type == EventType::EffectIntent).count();
    assert_eq!(intents, expected.len(), "nothing began that was not announced");
    assert!(yard.platform.store().verify_audit(vec![], vec![], |_| {}).await.unwrap().valid);
}

#[tokio::test]
async fn a_quota_is_held_and_a_failed_start_says_why() {
    let quota_per_owner = Quota { workspaces: 1, running: 0, disk_bytes: 0 };
    let yard = yard(WorkspacesOptions { quota_per_owner, ..plain() }).await;
    let me = yard.asker(&user("alice", &[]));
    yard.driver.refuses_to_start.store(true, Ordering::SeqCst);
    let made = yard.workspaces().create(&me, NewWorkspace::named("one", "base")).await.unwrap();
    assert_eq!((made.state, made.problem.is_some()), (WorkspaceState::Error, true));
    let full = yard.workspaces().create(&me, NewWorkspace::named("two", "base")).await.unwrap_err();
    assert_eq!(full.code(), ProblemCode::QuotaReached, "{full}");
    assert_eq!(yard.driver.there.lock().unwrap().len(), 1, "what is refused leaves nothing");
}

#[tokio::test]
async fn the_idle_rest_the_lost_are_noted_the_unknown_are_swept_and_the_deleted_purged() {
    let yard = yard(plain()).await;
    let alice = user("alice", &[]);
    let (ws, me) = (yard.workspaces(), yard.asker(&alice));
    let idle = ws.create(&me, NewWorkspace::named("idle", "base")).await.unwrap();
    yard.clock.forward(Duration::from_secs(7_000));
    ws.suspend_idle().await;
    assert_eq!(ws.get(&alice, &idle.id).await.unwrap().state, WorkspaceState::Running);
    yard.clock.forward(Duration::from_secs(300));
    ws.suspend_idle().await;
    assert_eq!(ws.get(&alice, &idle.id).await.unwrap().state, WorkspaceState::Suspended);

    let lost = ws.create(&me, NewWorkspace::named("lost", "base")).await.unwrap();
    let stray = WorkspaceId::new(yard.clock.now(), yard.clock.random());
    yard.driver.there.lock().unwrap().extend([(lost.id.clone(), false), (stray.clone(), true)]);
    ws.reconcile().await;
    assert_eq!(ws.get(&alice, &lost.id).await.unwrap().state, WorkspaceState::Suspended);
    assert!(yard.driver.there.lock().unwrap().contains_key(&stray), "it is left alone at first");
    ws.delete(&me, &lost.id, false).await.unwrap();
    yard.clock.forward(Duration::from_secs(8 * 24 * 3600));
    ws.reconcile().await;
    let left: Vec<_> = yard.driver.there.lock().unwrap().keys().cloned().collect();
    assert_eq!(left, [idle.id], "the stray one is swept and the deleted one purged");
}

#[tokio::test]
async fn using_it_keeps_it_awake_and_looking_at_its_state_does_not() {
    let yard = yard(plain()).await;
    let alice = user("alice", &["developer"]);
    let (ws, me) = (yard.workspaces(), yard.asker(&alice));
    let id = ws.create(&me, NewWorkspace::named("site", "base")).await.unwrap().id;
    let almost = Duration::from_secs(7_000);
    yard.clock.forward(almost);
    ws.tree(&me, &id, &TreeQuery::default()).await.unwrap();
    yard.clock.forward(almost);
    ws.suspend_idle().await;
    let seen = ws.get(&alice, &id).await.unwrap();
    assert_eq!((seen.state, seen.alive_because.as_deref()), (WorkspaceState::Running, Some("file")));

    let wanted = ExecRequest { argv: vec!["sleep".to_owned()], ..ExecRequest::default() };
    let running = ws.execute(&me, &id, &wanted).await.unwrap();
    yard.clock.forward(almost * 2);
    ws.suspend_idle().await;
    let seen = ws.get(&alice, &id).await.unwrap();
    let busy = (seen.state, seen.alive_because.as_deref(), seen.suspends_at);
    assert_eq!(busy, (WorkspaceState::Running, Some("execution"), None), "a silent program is work");
    let began = yard.clock.now();
    drop(running);
    // The end of the program is its last use; it is told of a moment later.
    let ended = async {
        while ws.get(&alice, &id).await.unwrap().suspends_at.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the program ends with its follower");
    for _ in 0..3 {
        yard.clock.forward(Duration::from_secs(2_500));
        ws.get(&alice, &id).await.unwrap();
        ws.usage(&alice, &id).await.unwrap();
        ws.list(&alice, WorkspaceFilter::default()).await.unwrap();
    }
    ws.suspend_idle().await;
    let seen = ws.get(&alice, &id).await.unwrap();
    assert_eq!((seen.state, seen.last_active_at), (WorkspaceState::Suspended, began), "polling is no use");
}

#[tokio::test]
async fn what_runs_although_it_should_rest_is_ended_and_what_is_deleted_stays_deleted() {
    let yard = yard(plain()).await;
    let alice = user("alice", &["developer"]);
    let (ws, me) = (yard.workspaces(), yard.asker(&alice));
    let resting = ws.create(&me, NewWorkspace::named("resting", "base")).await.unwrap().id;
    let deleted = ws.create(&me, NewWorkspace::named("deleted", "base")).await.unwrap().id;
    ws.suspend(&me, &resting).await.unwrap();
    let Deleted::Kept(before) = ws.delete(&me, &deleted, false).await.unwrap() else { panic!("it is kept at first") };
    yard.driver.there.lock().unwrap().extend([(resting.clone(), true), (deleted.clone(), true)]);
    yard.clock.forward(Duration::from_secs(60));
    ws.reconcile().await;
    assert_eq!(ws.get(&alice, &resting).await.unwrap().state, WorkspaceState::Suspended);
    let after = ws.get(&alice, &deleted).await.unwrap();
    assert_eq!((after.state, after.purged_at), (WorkspaceState::Deleted, before.purged_at));
    assert!(yard.driver.there.lock().unwrap().values().all(|runs| !runs));
}
