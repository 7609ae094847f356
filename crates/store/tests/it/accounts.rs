//! Rows of accounts and sign-ins: unique, apart by tenant, and nothing is used twice.

use std::time::Duration;

use reeve_gate::{Clock as _, SystemClock};
use reeve_store::{AccountChange, Rotation};

use crate::rooms::{account, login};
use crate::support::{open, tenant};

#[tokio::test]
async fn an_address_and_a_principal_are_given_once_however_many_ask_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tries = (0..16).map(|n| {
        let (store, new) = (store.clone(), account("default", &format!("alice{n}"), "alice@example.org"));
        tokio::spawn(async move { store.add_account(new).await.unwrap() })
    });
    let mut made = Vec::new();
    for one in tries.collect::<Vec<_>>() {
        made.extend(one.await.unwrap());
    }
    assert_eq!(made.len(), 1);
    let elsewhere = account("acme", "alice", "alice@example.org");
    assert_eq!(store.add_account(elsewhere).await.unwrap(), None, "an address is unique in the installation");
    let same_name = account("default", &made[0].principal, "other@example.org");
    assert_eq!(store.add_account(same_name).await.unwrap(), None, "a principal is unique in its tenant");
    let other_tenant = account("acme", &made[0].principal, "other@example.org");
    let other = store.add_account(other_tenant).await.unwrap().unwrap();
    assert!(other.number > made[0].number, "numbers are never given twice");
}

#[tokio::test]
async fn no_tenant_changes_or_lists_an_account_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let alice = store.add_account(account("acme", "alice", "alice@example.org")).await.unwrap().unwrap();
    let change = AccountChange { name: Some("Mallory".to_owned()), ..AccountChange::default() };
    assert_eq!(store.change_account(&tenant("default"), &alice.account_id, change.clone()).await.unwrap(), None);
    assert_eq!(store.accounts(&tenant("default")).await.unwrap(), []);
    assert_eq!(store.accounts(&tenant("acme")).await.unwrap(), vec![alice.clone()]);
    let changed = store.change_account(&tenant("acme"), &alice.account_id, change).await.unwrap().unwrap();
    assert_eq!((changed.name.as_str(), changed.roles), ("Mallory", alice.roles));

    let mine = login("acme", "account:alice");
    store.add_login(mine.clone(), "hash".to_owned()).await.unwrap();
    let now = SystemClock.now();
    assert_eq!(store.logins(&tenant("default"), "account:alice", now).await.unwrap(), []);
    assert!(store.end_logins(&tenant("default"), "account:alice", None, now).await.unwrap().is_empty());
    assert_eq!(store.logins(&tenant("acme"), "account:alice", now).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_refresh_token_is_taken_once_and_a_sign_in_that_ended_takes_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mine = login("default", "account:alice");
    store.add_login(mine.clone(), "first".to_owned()).await.unwrap();
    let now = SystemClock.now();
    let later = now.checked_add(Duration::from_secs(60)).unwrap();
    let tries = (0..8).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.rotate_refresh("first", format!("next{n}"), now, later).await.unwrap() })
    });
    let mut rotated = 0;
    for one in tries.collect::<Vec<_>>() {
        match one.await.unwrap() {
            Rotation::Rotated(_) => rotated += 1,
            Rotation::Reused { login, .. } => assert_eq!(login.login_id, mine.login_id),
            Rotation::Unknown => panic!("it is known"),
        }
    }
    assert_eq!(rotated, 1);
    assert!(store.end_login(&mine.login_id, now).await.unwrap());
    assert!(!store.end_login(&mine.login_id, now).await.unwrap(), "it has ended");
    for n in 0..8 {
        let after = store.rotate_refresh(&format!("next{n}"), "x".to_owned(), now, later).await.unwrap();
        assert_eq!(after, Rotation::Unknown);
    }
}

#[tokio::test]
async fn a_sign_in_link_is_used_once_and_not_after_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let alice = store.add_account(account("default", "alice", "alice@example.org")).await.unwrap().unwrap();
    let now = SystemClock.now();
    let soon = now.checked_add(Duration::from_secs(60)).unwrap();
    for hash in ["used", "old"] {
        store.add_sign_in_link(hash.to_owned(), &alice.account_id, now, soon).await.unwrap();
    }
    let (one, two) = tokio::join!(store.use_sign_in_link("used", now), store.use_sign_in_link("used", now));
    let used: Vec<_> = [one.unwrap(), two.unwrap()].into_iter().flatten().collect();
    assert_eq!(used, [alice]);
    assert_eq!(store.use_sign_in_link("old", soon).await.unwrap(), None);
}
