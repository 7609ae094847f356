//! Files: watching, also when there is more than the kernel tells.
#![expect(clippy::expect_used, reason = "a test that cannot go on says so")]

use std::time::Duration;

use hyper::Method;
use reeve_types::workspace::files::{FileEvent, FileOperation, FileType, SaveFile};
use tokio::sync::mpsc::Receiver;

use crate::files::{Place, path, wish};
use crate::running::{Events, Running, SOON, until as until_so};

async fn next(events: &mut Receiver<FileEvent>) -> FileEvent {
    tokio::time::timeout(Duration::from_secs(10), events.recv()).await.expect("an event in time").expect("an event")
}

async fn until(events: &mut Receiver<FileEvent>, wanted: &FileEvent) {
    while next(events).await != *wanted {}
}

#[tokio::test]
async fn those_who_watch_see_what_happens_and_know_their_own_saves() {
    let place = Place::new();
    place.write("old", "x");
    place.write("node_modules/m/f", "x");
    let mut events = place.files.watch().expect("a watcher").into_receiver();
    assert_eq!(next(&mut events).await, FileEvent::Hello);
    place.write("node_modules/m/g", "unseen");
    place.write("dir/new", "x");
    until(&mut events, &FileEvent::Created { path: path(b"dir"), kind: FileType::Directory }).await;
    until(&mut events, &FileEvent::Created { path: path(b"dir/new"), kind: FileType::File }).await;
    place.write("old", "changed by a program");
    assert_eq!(next(&mut events).await, FileEvent::Changed { path: path(b"old"), etag: None, origin: None });
    let save = SaveFile { origin: Some("tab-1".into()), ..wish(b"old", b"saved") };
    let saved = place.save_as(save, b"saved").expect("a save");
    let echo = FileEvent::Changed { path: path(b"old"), etag: Some(saved.etag), origin: Some("tab-1".into()) };
    assert_eq!(next(&mut events).await, echo);
    place.do_(FileOperation::Move { from: path(b"dir"), to: path(b"moved") }).expect("a move");
    assert_eq!(next(&mut events).await, FileEvent::Renamed { from: path(b"dir"), to: path(b"moved") });
    std::fs::remove_file(place.at("moved/new")).expect("removed");
    assert_eq!(next(&mut events).await, FileEvent::Deleted { path: path(b"moved/new") });
    place.do_(FileOperation::Trash { path: path(b"moved") }).expect("trashed");
    assert_eq!(next(&mut events).await, FileEvent::Deleted { path: path(b"moved") });
}

/// Events come faster than they are taken, until the kernel drops some. What appeared meanwhile is watched all the same.
#[tokio::test]
async fn what_the_kernel_drops_is_looked_at_again() {
    let place = Place::new();
    std::fs::create_dir(place.at("busy")).expect("a directory");
    let mut events = place.files.watch().expect("a watcher").into_receiver();
    assert_eq!(next(&mut events).await, FileEvent::Hello);
    for number in 0..1000 {
        place.write(&format!("busy/{number}"), "");
    }
    until_so("whoever is told takes no more", || async { events.len() == events.max_capacity() }).await;
    let held: usize = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .expect("the kernel's limit");
    for number in 0..held {
        let (one, other) = (place.at("busy/one"), place.at("busy/other"));
        let (from, to) = if number % 2 == 0 { (&one, &other) } else { (&other, &one) };
        std::fs::write(from, "").and_then(|()| std::fs::rename(from, to)).expect("a rename");
    }
    std::fs::create_dir_all(place.at("unseen/below")).expect("directories");
    until(&mut events, &FileEvent::Resync).await;
    let mut round = 0;
    let told = async {
        loop {
            round += 1;
            place.write(&format!("unseen/below/{round}"), "x");
            let event = tokio::time::timeout(Duration::from_millis(500), events.recv()).await;
            if let Ok(Some(FileEvent::Created { path, .. })) = event
                && path.to_string().starts_with("/workspace/unseen/below/")
            {
                break;
            }
        }
    };
    tokio::time::timeout(SOON, told).await.expect("the new directory is watched");
}

/// The kernel lets this runtime watch three directories; there are more.
#[tokio::test]
async fn what_cannot_be_watched_is_looked_at_now_and_then() {
    let few = "echo 3 > /proc/sys/user/max_inotify_watches && exec \"$@\"";
    let before = ["unshare", "--user", "--map-root-user", "sh", "-c", few, "sh"];
    let may = std::process::Command::new(before[0]).args(&before[1..]).arg("true").output();
    if !may.is_ok_and(|output| output.status.success()) {
        println!("skipped: no user namespace can be made here");
        return;
    }
    let prepare = |root: &std::path::Path| {
        for name in ["a/1", "b/2", "c/3", "d/4"] {
            std::fs::create_dir_all(root.join(name)).expect("directories");
        }
    };
    let runtime = Running::start_prepared(&before, &[], prepare).await;
    let mut events = Events::of(runtime.send(runtime.request(Method::GET, "/v1/watch", "")).await);
    assert_eq!(events.next::<FileEvent>().await, Some(FileEvent::Hello));
    assert_eq!(events.next::<FileEvent>().await, Some(FileEvent::Resync), "it is said that not all is watched");
    for name in ["d/4/deep", "c/3/deep"] {
        runtime.write(name, "x");
        assert_eq!(events.next::<FileEvent>().await, Some(FileEvent::Resync), "{name}");
    }
}
