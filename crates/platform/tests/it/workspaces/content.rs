//! Content whose act needs approval waits aside, is written once, and is thrown away when somebody says no.

use std::sync::atomic::Ordering;

use reeve_platform::workspaces::{Content, NewWorkspace, NotDone, SaveWanted};
use reeve_types::workspace::files::Saved;
use reeve_types::{Approval, Digest, Principal, WorkspaceId};

use super::{Yard, plain, until, yard};
use crate::support::user;

const TEXT: &str = "print('not yet')";

fn alice() -> Principal {
    user("alice", &["developer"])
}

async fn site(yard: &Yard) -> WorkspaceId {
    let made = yard.workspaces().create(&yard.asker(&alice()), NewWorkspace::named("site", "base")).await.unwrap();
    yard.every_change_asks();
    made.id
}

async fn save(yard: &Yard, id: &WorkspaceId, path: &str) -> Result<Saved, NotDone> {
    let wanted = SaveWanted { path: path.parse().unwrap(), ..SaveWanted::default() };
    yard.workspaces().save(&yard.asker(&alice()), id, wanted, Content::Bytes(TEXT.into())).await
}

async fn question(yard: &Yard, id: &WorkspaceId, path: &str) -> Approval {
    match save(yard, id, path).await {
        Err(NotDone::Awaiting { approval, .. }) => *approval,
        other => panic!("people should have been asked: {other:?}"),
    }
}

fn written(yard: &Yard) -> Vec<String> {
    yard.driver.link.files.lock().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn content_waits_by_its_digest_and_is_written_once_after_a_yes() {
    let yard = yard(plain()).await;
    let (stop, tending) = yard.tended();
    let id = site(&yard).await;
    let approval = question(&yard, &id, "a.py").await;
    let shown = approval.arguments.to_string();
    assert!(shown.contains(&Digest::of(TEXT.as_bytes()).to_string()) && !shown.contains("print"), "{shown}");
    assert_eq!((yard.staged(), written(&yard).len()), (1, 0), "it waits, and nothing is written");

    yard.platform.approve(&user("dora", &["dba"]), &approval.approval_id, "fine", None).await.unwrap();
    until("the file", || !written(&yard).is_empty()).await;
    until("the content's end", || yard.staged() == 0).await;
    let saved = save(&yard, &id, "a.py").await.unwrap();
    assert_eq!(saved.size, TEXT.len() as u64, "asking again collects the answer");
    assert_eq!(yard.driver.link.saves.load(Ordering::SeqCst), 1);
    stop.cancel();
    tending.await.unwrap();
}

#[tokio::test]
async fn content_is_thrown_away_when_somebody_says_no_but_not_what_another_act_needs() {
    let yard = yard(plain()).await;
    let (stop, tending) = yard.tended();
    let id = site(&yard).await;
    let (first, second) = (question(&yard, &id, "a.py").await, question(&yard, &id, "b.py").await);
    assert_eq!(yard.staged(), 1, "the same content of the same person");
    let dora = user("dora", &["dba"]);
    yard.platform.deny(&dora, &first.approval_id, "no").await.unwrap();
    yard.platform.approve(&dora, &second.approval_id, "this one", None).await.unwrap();
    until("the file", || written(&yard) == ["b.py"]).await;
    until("the content's end", || yard.staged() == 0).await;

    let third = question(&yard, &id, "c.py").await;
    assert_eq!(yard.staged(), 1);
    yard.platform.deny(&dora, &third.approval_id, "no").await.unwrap();
    until("the content's end", || yard.staged() == 0).await;
    assert_eq!(written(&yard), ["b.py"]);
    stop.cancel();
    tending.await.unwrap();
}

#[tokio::test]
async fn content_outlives_a_crash_together_with_its_question() {
    let first = yard(plain()).await;
    let id = site(&first).await;
    let approval = question(&first, &id, "a.py").await;
    std::fs::write(first.dir.path().join("data/staging/partial-0"), "it never arrived").unwrap();
    let second = first.killed().await;
    let (stop, tending) = second.tended();
    second.platform.approve(&user("dora", &["dba"]), &approval.approval_id, "fine", None).await.unwrap();
    until("the file", || !written(&second).is_empty()).await;
    assert_eq!(second.driver.link.files.lock().unwrap()["a.py"], TEXT.as_bytes());
    until("the content's end", || second.staged() == 0).await;
    stop.cancel();
    tending.await.unwrap();
}

#[tokio::test]
async fn who_knows_a_digest_does_not_have_the_content() {
    let yard = yard(plain()).await;
    let id = site(&yard).await;
    let approval = question(&yard, &id, "a.py").await;
    let bob = user("bob", &["developer"]);
    yard.nothing_asks();
    let mine = yard.workspaces().create(&yard.asker(&bob), NewWorkspace::named("mine", "base")).await.unwrap();
    let mut arguments = approval.arguments.as_object().cloned().unwrap();
    arguments.insert("workspace_id".to_owned(), serde_json::json!(mine.id));
    let trace = yard.platform.new_trace("dt");
    let origin = reeve_types::Origin::DirectTool;
    let done = yard.platform.run_tool(&bob, "workspace_save_file", arguments, None, "", trace, origin, "").await;
    let reeve_gate::Submission::Done(done) = done.unwrap() else { panic!("policy lets it") };
    assert!(done.outcome.unwrap_err().message.contains("no longer here"));
    assert!(written(&yard).is_empty());
}
