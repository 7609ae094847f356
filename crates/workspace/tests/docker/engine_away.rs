//! An engine that is not there, is killed, and comes back.

use reeve_gate::workspace::{Found, WorkspaceDriver as _};
use reeve_types::{ProblemCode, WorkspaceError};
use reeve_workspace::DockerDriver;

use crate::actor::{Actor, spec};
use crate::stage::{Stage, options};

fn told_to_start_it(answer: Result<(), WorkspaceError>) {
    let error = answer.expect_err("there is no engine");
    assert_eq!(error.code, ProblemCode::Unavailable, "{error}");
    assert!(error.message.contains("start Docker or Podman"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_engine_the_server_starts_and_says_what_is_missing() {
    let root = tempfile::tempdir().expect("a directory");
    let mut options = options(root.path());
    options.host = Some(format!("unix://{}/none.sock", root.path().display()));
    let driver = DockerDriver::open(options.clone()).await.expect("the driver opens all the same");
    let actor = Actor::new(&driver);
    told_to_start_it(actor.create(&spec()).await);
    told_to_start_it(driver.found().await.map(drop));
    let looked = driver.readiness().await;
    assert!(looked.iter().any(|looked| looked.needed && !looked.ready), "{looked:?}");

    options.host = Some("tcp://192.0.2.1:2375".to_owned());
    let elsewhere = DockerDriver::open(options).await.expect("the driver opens");
    let error = Actor::new(&elsewhere).create(&spec()).await.expect_err("not on this machine");
    assert!(error.message.contains("on this machine"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_engine_is_told_in_words_and_nothing_is_lost_when_it_is_back() {
    let mut stage = Stage::new().await;
    if stage.daemon.given {
        // It is not the test's to kill.
        return;
    }
    let spec = spec();
    stage.actor().begin(&spec).await;
    stage.actor().save(&spec.id, "a.txt", b"kept").await;

    stage.daemon.kill();
    let actor = stage.actor();
    told_to_start_it(actor.create(&crate::actor::spec()).await);
    told_to_start_it(actor.suspend(&spec.id).await);
    told_to_start_it(stage.driver.found().await.map(drop));

    stage.daemon.start_again().await;
    let actor = stage.actor();
    let rests = Found { workspace: spec.id.clone(), running: false, files: true };
    assert_eq!(stage.driver.found().await.expect("found"), [rests], "an engine that comes back has ended it");
    let entered = actor.read(&spec.id, "a.txt").await.expect_err("it does not run");
    assert_eq!(entered.code, ProblemCode::NotRunning, "{entered}");
    actor.start(&spec).await.expect("started by the same driver");
    assert_eq!(actor.read(&spec.id, "a.txt").await.expect("read"), b"kept");
    actor.delete(&spec.id, true).await.expect("deleted");
    assert_eq!(stage.left().await, Vec::<String>::new());
}
