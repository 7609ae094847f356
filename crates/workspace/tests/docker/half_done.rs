//! What a server leaves that was killed in the middle, and what cannot be begun.

use std::collections::HashMap;

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::CreateContainerOptions;
use reeve_gate::workspace::Found;
use reeve_types::{ProblemCode, WorkspaceId};

use crate::actor::{Actor, snapshot_id, spec, until, workspace_id};
use crate::contract::Ground as _;
use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_finished_is_no_workspace_and_can_be_finished_or_swept() {
    let stage = Stage::new().await;
    let (actor, finished, swept, snapshot) = (stage.actor(), spec(), spec(), snapshot_id());
    for spec in [&finished, &swept] {
        actor.create(spec).await.expect("created");
        // As if the server had been killed before it noted that everything is there.
        std::fs::remove_file(stage.options.root.join(spec.id.as_str()).join("complete")).expect("a mark");
    }
    let next = stage.next_server().await;
    let found = next.found().await.expect("found");
    assert!(found.len() == 2 && found.iter().all(|found| !found.running && !found.files), "{found:?}");
    let heir = Actor::new(next.as_ref());
    assert_eq!(heir.start(&finished).await.expect_err("not finished").code, ProblemCode::NotFound);
    heir.create(&finished).await.expect("finished");
    heir.start(&finished).await.expect("started");
    assert!(heir.read(&finished.id, "README.md").await.is_ok(), "with all its files");
    next.sweep(&swept.id).await.expect("swept");

    heir.snapshot(&finished.id, &snapshot).await.expect("a snapshot");
    let mark = stage.options.root.join(finished.id.as_str()).join("snapshots").join(snapshot.as_str());
    std::fs::remove_file(mark).expect("a mark");
    heir.save(&finished.id, "a.txt", b"later").await;
    heir.snapshot(&finished.id, &snapshot).await.expect("made anew");
    let fork = spec();
    heir.fork(&fork, &finished.id, Some(&snapshot)).await.expect("forked");
    heir.start(&fork).await.expect("started");
    assert_eq!(heir.read(&fork.id, "a.txt").await.expect("read"), b"later", "half a snapshot is none");
    for id in [&finished.id, &fork.id] {
        heir.delete(id, true).await.expect("deleted");
    }
    assert_eq!(stage.left().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_ours_is_found_and_removed() {
    let stage = Stage::new().await;
    let actor = stage.actor();
    let own = spec();
    actor.create(&own).await.expect("created");
    let installation = stage.driver.installation();
    let chore = other_container(&stage, &own.id, &installation, "chore").await;
    let elsewhere = other_container(&stage, &workspace_id(), "another", "workspace").await;

    let next = stage.next_server().await;
    until("the work that an earlier server left is taken away", async || {
        stage.docker.inspect_container(&chore, None).await.is_err()
    })
    .await;
    let only = Found { workspace: own.id.clone(), running: false, files: true };
    assert_eq!(next.found().await.expect("found"), [only]);
    Actor::new(next.as_ref()).delete(&own.id, true).await.expect("deleted");
    assert!(stage.docker.inspect_container(&elsewhere, None).await.is_ok(), "another installation's stays");
}

async fn other_container(stage: &Stage, workspace: &WorkspaceId, installation: &str, role: &str) -> String {
    let labels = [
        ("app", "vibecode"),
        ("session_id", workspace.as_str()),
        ("reeve.installation", installation),
        ("reeve.role", role),
    ];
    let labels: HashMap<_, _> = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let body = ContainerCreateBody {
        image: Some("reeve/base:1".to_owned()),
        cmd: Some(vec!["true".to_owned()]),
        labels: Some(labels),
        ..ContainerCreateBody::default()
    };
    stage.docker.create_container(None::<CreateContainerOptions>, body).await.expect("a container").id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_not_there_is_named_and_leaves_nothing() {
    let stage = Stage::new().await;
    let mut spec = spec();
    spec.template = "python".to_owned();
    let error = stage.actor().create(&spec).await.expect_err("there is no such image");
    assert_eq!(error.code, ProblemCode::Unavailable);
    assert!(error.message.contains("reeve/python:1") && error.message.contains("scripts/images"), "{error}");
    assert_eq!(stage.left().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_their_owner_has_closed_travel_too() {
    let stage = Stage::new().await;
    let (actor, first, second, third) = (stage.actor(), spec(), spec(), spec());
    actor.begin(&first).await;
    let closed = "mkdir -p closed/below; echo in > closed/below/file; chmod 000 closed/below/file closed/below closed";
    assert_eq!(actor.shell(&first.id, closed).await.outcome.exit_code, 0);
    let archive = actor.export(&first.id).await;
    actor.import(&second, &archive).await.expect("imported");
    actor.fork(&third, &first.id, None).await.expect("forked");
    for spec in [&second, &third] {
        actor.start(spec).await.expect("started");
        let look = "stat -c %a closed; chmod 700 closed closed/below closed/below/file; cat closed/below/file";
        assert_eq!(actor.shell(&spec.id, look).await.stdout, "0\nin\n");
    }
}
