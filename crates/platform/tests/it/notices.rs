//! People are told once of each thing by each channel, however often it fails and whoever restarts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use reeve_platform::notify::{Channel, Notice, NoticeKind};
use reeve_types::ApprovalStatus;
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::support::{House, Plan, user};

/// A channel that fails as often as it is told and remembers what it carried.
struct TestChannel {
    name: &'static str,
    failures: Mutex<u32>,
    told: Mutex<Vec<Notice>>,
    tried: Notify,
}

impl TestChannel {
    fn new(name: &'static str, failures: u32) -> Arc<Self> {
        Arc::new(Self { name, failures: Mutex::new(failures), told: Mutex::default(), tried: Notify::new() })
    }

    fn told(&self) -> Vec<(NoticeKind, ApprovalStatus)> {
        self.told.lock().unwrap().iter().map(|notice| (notice.event_type, notice.status)).collect()
    }

    /// Waits until it has carried so many.
    async fn has_told(&self, count: usize) {
        let wait = async {
            while self.told.lock().unwrap().len() < count {
                let _ = tokio::time::timeout(Duration::from_millis(100), self.tried.notified()).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it is told");
    }
}

impl Channel for TestChannel {
    fn name(&self) -> &'static str {
        self.name
    }
    fn tell<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let mut failures = self.failures.lock().unwrap();
            if *failures > 0 {
                *failures -= 1;
                self.tried.notify_one();
                return Err("connection refused".to_owned());
            }
            self.told.lock().unwrap().push(notice.clone());
            self.tried.notify_one();
            Ok(())
        })
    }
}

fn plan(channels: &[&Arc<TestChannel>]) -> Plan {
    let channels = channels.iter().map(|channel| Arc::<TestChannel>::clone(channel) as Arc<dyn Channel>).collect();
    Plan { channels, ..Plan::default() }
}

fn run(house: &House) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let (stop, platform) = (CancellationToken::new(), house.platform.clone());
    let token = stop.clone();
    (stop, tokio::spawn(async move { platform.run(token).await }))
}

/// The first start with a channel tells only what happens from then on; this waits until it has read so far.
async fn ready(house: &House) {
    while house.platform.store().notified_up_to().await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_question_and_its_answer_are_told_once_by_every_channel() {
    let (hook, mail) = (TestChannel::new("webhook", 0), TestChannel::new("email", 0));
    let house = House::new(plan(&[&hook, &mail])).await;
    let (stop, running) = run(&house);
    ready(&house).await;

    let asked = house.question(&user("alice", &["dba"]), json!({"pid": 7})).await;
    house.platform.deny(&user("bob", &["dba"]), &asked.approval_id, "no").await.unwrap();

    for channel in [&hook, &mail] {
        channel.has_told(2).await;
        let created = (NoticeKind::ApprovalCreated, ApprovalStatus::Pending);
        assert_eq!(channel.told(), [created, (NoticeKind::ApprovalResolved, ApprovalStatus::Denied)]);
    }
    stop.cancel();
    running.await.unwrap();
    assert_eq!(house.platform.store().delivery_counts().await.unwrap().0.delivered, 4);
}

#[tokio::test]
async fn what_did_not_arrive_is_tried_again_and_survives_a_restart() {
    let hook = TestChannel::new("webhook", 1);
    let house = House::new(plan(&[&hook])).await;
    let (stop, running) = run(&house);
    ready(&house).await;
    house.question(&user("alice", &["dba"]), json!({"pid": 7})).await;
    hook.tried.notified().await;
    loop {
        let (_, errors) = house.platform.store().delivery_counts().await.unwrap();
        if errors == ["webhook: connection refused"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.cancel();
    running.await.unwrap();
    assert_eq!(hook.told(), []);
    let (dir, clock) = house.end().await;
    clock.forward(Duration::from_secs(3600 / 2));

    let house = House::on(dir, clock, plan(&[&hook])).await;
    let (stop, running) = run(&house);
    hook.has_told(1).await;
    stop.cancel();
    running.await.unwrap();
    assert_eq!(hook.told(), [(NoticeKind::ApprovalCreated, ApprovalStatus::Pending)]);
    assert_eq!(house.platform.store().delivery_counts().await.unwrap().0.pending, 0);
}

#[tokio::test]
async fn a_channel_that_was_taken_away_does_not_hold_up_the_others() {
    let (gone, mail) = (TestChannel::new("webhook", 1_000), TestChannel::new("email", 0));
    let house = House::new(plan(&[&gone])).await;
    let (stop, running) = run(&house);
    ready(&house).await;
    let alice = user("alice", &["dba"]);
    for pid in 0..60 {
        house.question(&alice, json!({"pid": pid})).await;
    }
    loop {
        if house.platform.store().delivery_counts().await.unwrap().0.pending == 60 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.cancel();
    running.await.unwrap();
    let (dir, clock) = house.end().await;
    clock.forward(Duration::from_secs(60));

    let house = House::on(dir, clock, plan(&[&mail])).await;
    let (stop, running) = run(&house);
    house.question(&alice, json!({"pid": 1000})).await;
    mail.has_told(1).await;
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn stopping_does_not_wait_for_a_channel_that_hangs() {
    struct TestHang(Notify);
    impl Channel for TestHang {
        fn name(&self) -> &'static str {
            "webhook"
        }
        fn tell<'a>(&'a self, _: &'a Notice) -> BoxFuture<'a, Result<(), String>> {
            self.0.notify_one();
            Box::pin(std::future::pending())
        }
    }
    let hang = Arc::new(TestHang(Notify::new()));
    let channels: Vec<Arc<dyn Channel>> = vec![Arc::<TestHang>::clone(&hang)];
    let house = House::new(Plan { channels, ..Plan::default() }).await;
    let (stop, running) = run(&house);
    ready(&house).await;
    house.question(&user("alice", &["dba"]), json!({})).await;
    hang.0.notified().await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(3), running).await.expect("it stops in time").unwrap();
}
