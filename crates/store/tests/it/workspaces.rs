//! Rows of workspaces: only legal steps, quotas that hold under haste, tenants apart, spares that are nobody's.

use std::collections::BTreeMap;

use proptest::prelude::*;
use reeve_store::{Altered, Quota, Quotas, Store, StoredWorkspace};
use reeve_types::{WorkspaceId, WorkspaceState};

use crate::rooms::{NO_QUOTA, NO_QUOTAS, workspace};
use crate::support::{open, tenant};

async fn state_of(store: &Store, row: &StoredWorkspace) -> Option<WorkspaceState> {
    let found = store.workspace(&row.workspace.tenant, &row.workspace.id).await.unwrap();
    found.map(|row| row.workspace.state)
}

/// The steps that §4.2 of the behaviour allows, written down a second time, so that one of the two cannot change alone.
const LEGAL: [(WorkspaceState, &[WorkspaceState]); 8] = {
    use WorkspaceState as S;
    [
        (S::Stopped, &[S::Starting, S::Deleting]),
        (S::Starting, &[S::Running, S::Error]),
        (S::Running, &[S::Suspending, S::Error, S::Deleting]),
        (S::Suspending, &[S::Suspended, S::Error]),
        (S::Suspended, &[S::Starting, S::Deleting]),
        (S::Error, &[S::Starting, S::Deleting]),
        (S::Deleting, &[S::Deleted, S::Error]),
        (S::Deleted, &[S::Stopped, S::Deleting]),
    ]
};

#[derive(Debug, Clone)]
enum Step {
    Move(usize, WorkspaceState),
    Alter(usize),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let state = prop::sample::select(WorkspaceState::ALL.to_vec());
    prop_oneof![
        12 => (0..3usize, state).prop_map(|(which, to)| Step::Move(which, to)),
        2 => (0..3usize).prop_map(Step::Alter),
        1 => Just(Step::Reopen),
    ]
}

async fn only_legal_steps_are_made(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let rows = [workspace("default", "alice"), workspace("default", "bob"), workspace("acme", "carol")];
    let mut expected: BTreeMap<WorkspaceId, WorkspaceState> = BTreeMap::new();
    for row in &rows {
        assert_eq!(store.add_workspace(row.clone(), NO_QUOTAS).await.unwrap(), None);
        expected.insert(row.workspace.id.clone(), WorkspaceState::Stopped);
    }
    for step in steps {
        match step {
            Step::Move(which, to) => {
                let seen = &rows[which].workspace;
                let from = expected[&seen.id];
                let legal = LEGAL.iter().any(|(state, next)| *state == from && next.contains(&to));
                // Whatever the caller does to the row besides, its state is the one of the step.
                let sly = |row: &mut StoredWorkspace| row.workspace.state = WorkspaceState::Deleted;
                match store.move_workspace(&seen.tenant, &seen.id, to, None, sly).await.unwrap() {
                    Altered::Done(row) => {
                        assert!(legal, "{from} became {to}");
                        assert_eq!(row.workspace.state, to);
                        expected.insert(seen.id.clone(), to);
                    }
                    Altered::Elsewhere(state) => {
                        assert!(!legal, "{from} did not become {to}");
                        assert_eq!(state, from, "the refusal names the present state");
                    }
                    other => panic!("{other:?}"),
                }
            }
            Step::Alter(which) => {
                let seen = &rows[which].workspace;
                let altered = store.alter_workspace(&seen.tenant, &seen.id, |row| {
                    row.workspace.state = WorkspaceState::Running;
                    row.owner = "user:mallory".to_owned();
                    row.workspace.name.push('x');
                });
                let Altered::Done(row) = altered.await.unwrap() else { panic!("it is there") };
                assert_eq!(row.owner, rows[which].owner, "words change no owner");
            }
            Step::Reopen => {
                store.close().await;
                drop(store);
                store = open(dir.path());
            }
        }
        for row in store.every_workspace().await.unwrap() {
            assert_eq!(Some(&row.workspace.state), expected.get(&row.workspace.id));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_tried_only_the_closed_set_of_steps_is_made(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(only_legal_steps_are_made(steps));
    }
}

#[tokio::test]
async fn many_who_want_the_same_step_at_once_get_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let row = workspace("default", "alice");
    store.add_workspace(row.clone(), NO_QUOTAS).await.unwrap();
    let tries = (0..16).map(|_| {
        let (store, seen) = (store.clone(), row.workspace.clone());
        tokio::spawn(async move {
            let to = WorkspaceState::Starting;
            store.move_workspace(&seen.tenant, &seen.id, to, None, |_| ()).await.unwrap()
        })
    });
    let mut done = 0;
    for one in tries.collect::<Vec<_>>() {
        match one.await.unwrap() {
            Altered::Done(_) => done += 1,
            Altered::Elsewhere(state) => assert_eq!(state, WorkspaceState::Starting),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(done, 1);
}

#[tokio::test]
async fn quotas_hold_however_many_ask_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let owner = Quota { workspaces: 3, running: 1, disk_bytes: 0 };
    let quotas = Quotas { owner, tenant: Quota { disk_bytes: 450, ..NO_QUOTA } };
    let add = |of: &str, owner: &str| {
        let (store, row) = (store.clone(), workspace(of, owner));
        tokio::spawn(async move { store.add_workspace(row.clone(), quotas).await.unwrap().map_or(Ok(row), Err) })
    };
    let mut mine = Vec::new();
    for one in (0..12).map(|_| add("default", "alice")).collect::<Vec<_>>() {
        match one.await.unwrap() {
            Ok(row) => mine.push(row),
            Err(full) => assert_eq!(full, "you may have 3 workspaces; delete one first"),
        }
    }
    assert_eq!(mine.len(), 3);
    assert!(add("default", "bob").await.unwrap().is_ok(), "a quota of one owner is nobody else's");
    let full = add("default", "carol").await.unwrap().unwrap_err();
    assert!(full.contains("450 bytes for this tenant"), "{full}");
    assert!(add("acme", "carol").await.unwrap().is_ok(), "a quota of one tenant is no other tenant's");

    let start = |row: &StoredWorkspace| {
        let (store, seen) = (store.clone(), row.workspace.clone());
        async move {
            let to = WorkspaceState::Starting;
            store.move_workspace(&seen.tenant, &seen.id, to, Some(quotas), |_| ()).await.unwrap()
        }
    };
    assert!(matches!(start(&mine[0]).await, Altered::Done(_)));
    let Altered::Full(full) = start(&mine[1]).await else { panic!("one runs already") };
    assert_eq!(full, "you may run 1 workspaces at the same time; suspend one first");
    assert_eq!(state_of(&store, &mine[1]).await, Some(WorkspaceState::Stopped), "what is refused changes nothing");
}

#[tokio::test]
async fn no_tenant_reaches_a_workspace_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let row = workspace("acme", "alice");
    store.add_workspace(row.clone(), NO_QUOTAS).await.unwrap();
    let (other, id) = (tenant("default"), &row.workspace.id);
    assert_eq!(store.workspace(&other, id).await.unwrap(), None);
    assert_eq!(store.workspaces(&other, None, None, None, 10).await.unwrap(), []);
    let moved = store.move_workspace(&other, id, WorkspaceState::Starting, None, |_| ()).await.unwrap();
    assert_eq!(moved, Altered::Gone);
    assert_eq!(store.alter_workspace(&other, id, |row| row.made = false).await.unwrap(), Altered::Gone);
    store.remove_workspace(&other, id).await.unwrap();
    assert_eq!(store.workspace(&tenant("acme"), id).await.unwrap(), Some(row));
}

#[tokio::test]
async fn a_spare_is_in_no_list_and_no_quota_and_becomes_somebodys_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let quotas = Quotas { owner: Quota { workspaces: 1, running: 1, disk_bytes: 0 }, tenant: NO_QUOTA };
    let mut spare = workspace("default", "");
    spare.workspace.state = WorkspaceState::Running;
    let id = spare.workspace.id.clone();
    assert_eq!(store.add_workspace(spare, quotas).await.unwrap(), None);
    assert_eq!(store.workspaces(&tenant("default"), None, None, None, 10).await.unwrap(), []);
    let newer = workspace("acme", "bob");
    assert_eq!(store.add_workspace(newer.clone(), quotas).await.unwrap(), None);

    let claim = |owner: &'static str| {
        let (store, id) = (store.clone(), id.clone());
        async move {
            store
                .claim_workspace(&id, quotas, move |row| {
                    let wanted = workspace("acme", owner);
                    (row.owner, row.workspace.tenant) = (wanted.owner, wanted.workspace.tenant);
                    row.workspace.created_at = wanted.workspace.created_at;
                })
                .await
                .unwrap()
        }
    };
    let Altered::Full(_) = claim("bob").await else { panic!("bob has one") };
    assert_eq!(store.workspaces(&tenant("default"), None, None, None, 10).await.unwrap(), [], "it is a spare still");
    let (first, second) = tokio::join!(claim("alice"), claim("carol"));
    let claimed: Vec<&Altered> = [&first, &second].into_iter().filter(|a| matches!(a, Altered::Done(_))).collect();
    assert_eq!(claimed.len(), 1, "{first:?} {second:?}");
    let list = store.workspaces(&tenant("acme"), None, None, None, 10).await.unwrap();
    let ids: Vec<_> = list.iter().map(|row| &row.workspace.id).collect();
    assert_eq!(ids, [&id, &newer.workspace.id], "it is as new as its claim, although its id is older");
    let after = store.workspaces(&tenant("acme"), None, None, Some(id.clone()), 10).await.unwrap();
    assert_eq!(after, [newer]);
    assert!(!store.discard_spare(&id).await.unwrap(), "it is somebody's now");
}
