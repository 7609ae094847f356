//! How often somebody may run and save; what the IDE asks by itself is never counted.

use std::sync::Arc;
use std::time::Duration;

use reeve_platform::workspaces::WorkspacesOptions;
use serde_json::json;

use super::{Desk, Yard};
use crate::accounts::{PASSWORD, StandingClock, signed_in};
use crate::platform::Setup;

/// Somebody who signed in with a password, at a workspace of theirs.
pub(crate) async fn person(clock: &Arc<StandingClock>) -> (Yard, Desk) {
    person_of(Setup { clock: Arc::<StandingClock>::clone(clock), ..Setup::default() }).await
}

async fn person_of(setup: Setup) -> (Yard, Desk) {
    let yard = Yard::with(setup, WorkspacesOptions::default()).await;
    let admin = yard.t.user("root", &["admin"]).await;
    let body = json!({"email": "alice@example.com", "password": PASSWORD, "roles": ["developer"]});
    admin.post("/api/v1/accounts", body).await.expect(201);
    let client = signed_in(&yard.t).await;
    let made = client.post("/api/v1/workspaces", json!({"name": "site"})).await.expect(201);
    let id = made["id"].as_str().unwrap().to_owned();
    (yard, Desk { client, id })
}

#[tokio::test]
async fn the_eleventh_run_and_the_sixty_first_save_of_a_minute_wait() {
    let clock = StandingClock::new();
    let (_yard, desk) = person(&clock).await;
    let run = || desk.post("/executions", json!({"argv": ["true"]}));
    for n in 0..10 {
        let ran = run().await;
        ran.expect(200);
        assert_eq!((ran.header("ratelimit-limit"), ran.header("ratelimit-remaining")), ("10", &*(9 - n).to_string()));
    }
    clock.forward(Duration::from_secs(18));
    let refused = run().await;
    assert_eq!(refused.problem("rate_limited")["rate_class"], "execution");
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, "42"));
    let path = desk.at("/files/content?path=a.txt");
    for n in 0..60 {
        let saved = desk.client.put(&path, format!("{n}")).await;
        assert!(saved.status.is_success(), "{n}: {}", saved.text);
    }
    let refused = desk.client.put(&path, "61").await;
    assert_eq!(refused.problem("rate_limited")["rate_class"], "save");
    assert_eq!(refused.header("retry-after"), "60");
    let alias = json!({"session_id": desk.id, "path": "a.txt", "content": "62"});
    desk.client.post("/api/vibecode/files/save", alias).await.problem("rate_limited");
    desk.client.post("/api/vibecode/exec", json!({"session_id": desk.id, "cmd": "true"})).await.problem("rate_limited");
    desk.client
        .post("/api/vibecode/exec/stream", json!({"session_id": desk.id, "cmd": "true"}))
        .await
        .problem("rate_limited");
    clock.forward(Duration::from_secs(42));
    run().await.expect(200);
}

#[tokio::test]
async fn what_the_ide_asks_by_itself_costs_nothing() {
    let clock = StandingClock::new();
    let (_yard, desk) = person(&clock).await;
    desk.save("a.txt", "x").await;
    for _ in 0..30 {
        for path in [
            "",
            "/tree",
            "/files/stat?path=a.txt",
            "/files/content?path=a.txt",
            "/terminals",
            "/ports",
            "/usage",
            "/languages",
            "/files/trash",
        ] {
            let polled = desk.get(path).await;
            assert_eq!((polled.status.as_u16(), polled.header("ratelimit-limit")), (200, ""), "{path}");
        }
        desk.client.get("/api/v1/workspaces").await.expect(200);
        desk.client.get("/api/v1/workspace-templates").await.expect(200);
        assert_eq!(desk.post("/files/search", json!({"text": "x"})).await.status.as_u16(), 200);
        desk.client.post("/api/v1/ws-tickets", json!({"workspace_id": desk.id})).await.expect(200);
    }
    // Making the workspace was the first of a hundred.
    for _ in 0..99 {
        desk.client.get("/api/v1/whoami").await.expect(200);
    }
    desk.client.get("/api/v1/whoami").await.problem("rate_limited");
    desk.get("/tree").await.expect(200);
}

#[tokio::test]
async fn what_may_follow_at_the_cursor_is_counted_apart() {
    let clock = StandingClock::new();
    let models = reeve_testkit::models::ScriptedModels::new([]);
    let setup = Setup { clock: Arc::<StandingClock>::clone(&clock), models: Some(models), ..Setup::default() };
    let (_yard, desk) = person_of(setup).await;
    for _ in 0..10 {
        desk.post("/executions", json!({"argv": ["true"]})).await.expect(200);
    }
    while desk.client.get("/api/v1/whoami").await.status.is_success() {}
    let body = json!({"session_id": desk.id, "content": "x = ", "cursor_offset": 4});
    let suggest = || desk.client.post("/api/ide/copilot/suggest", body.clone());
    for _ in 0..120 {
        suggest().await.expect(200);
    }
    assert_eq!(suggest().await.problem("rate_limited")["rate_class"], "suggestion");
    desk.save("a.txt", "saving goes on").await;
    clock.forward(Duration::from_secs(60));
    suggest().await.expect(200);
}
