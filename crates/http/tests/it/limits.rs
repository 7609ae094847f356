//! How often somebody may call: the hundred-and-first call of a minute, and what is never counted.

use std::sync::Arc;
use std::time::Duration;

use reeve_http::{RateClass, RateLimits};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::accounts::{StandingClock, house, signed_in};
use crate::platform::{Setup, TestPlatform};

#[tokio::test]
async fn the_hundred_and_first_call_of_a_minute_waits_for_the_first_to_leave_it() {
    let clock = StandingClock::new();
    let t = TestPlatform::of(Setup { clock: Arc::<StandingClock>::clone(&clock), ..Setup::default() });
    let admin = t.user("root", &["admin"]).await;
    let link = admin.post("/api/v1/accounts/administrator/sign-in-link", json!({})).await.expect(201);
    let body = t.client(&[]).post("/api/v1/auth/login", json!({"link": link["link"]})).await.expect(200);
    let person = t.client(&[("authorization", &format!("Bearer {}", body["access_token"].as_str().unwrap()))]);
    for n in 0..100 {
        let answer = person.get("/api/v1/whoami").await;
        answer.expect(200);
        assert_eq!(answer.header("ratelimit-limit"), "100");
        assert_eq!(answer.header("ratelimit-remaining"), (99 - n).to_string());
        clock.forward(Duration::from_millis(300));
    }
    // Thirty seconds have passed.
    let refused = person.get("/api/v1/whoami").await;
    assert_eq!(refused.problem("rate_limited")["rate_class"], "general");
    assert_eq!((refused.header("retry-after"), refused.header("ratelimit-remaining")), ("30", "0"));
    // What the IDE asks by itself, and answering people, goes on.
    for _ in 0..50 {
        person.get("/api/v1/approvals").await.expect(200);
    }
    assert_eq!(person.get("/api/v1/approvals").await.header("ratelimit-limit"), "");
    clock.forward(Duration::from_secs(30));
    person.get("/api/v1/whoami").await.expect(200);
}

#[tokio::test]
async fn each_person_has_a_budget_of_their_own_whatever_page_they_use() {
    let t = house().await;
    let (one, other) = (signed_in(&t).await, signed_in(&t).await);
    for n in 0..100 {
        let client = if n % 2 == 0 { &one } else { &other };
        client.get("/api/v1/whoami").await.expect(200);
    }
    other.get("/api/v1/whoami").await.problem("rate_limited");
    t.user("bob", &[]).await.get("/api/v1/whoami").await.expect(200);
}

#[tokio::test]
async fn keys_have_a_larger_budget_and_zero_is_none() {
    let limits = RateLimits { key_calls: 3, ..RateLimits::default() };
    let t = TestPlatform::of(Setup { limits, ..Setup::default() });
    let (robot, other) = (t.user("robot", &[]).await, t.user("other", &[]).await);
    for _ in 0..3 {
        assert_eq!(robot.get("/api/v1/whoami").await.header("ratelimit-limit"), "3");
    }
    robot.get("/api/v1/whoami").await.problem("rate_limited");
    other.get("/api/v1/whoami").await.expect(200);
    assert_eq!(RateLimits::default().key_calls, 6_000);
    let t = TestPlatform::of(Setup { limits: RateLimits { key_calls: 0, ..limits }, ..Setup::default() });
    let robot = t.user("robot", &[]).await;
    for _ in 0..20 {
        robot.get("/api/v1/whoami").await.expect(200);
    }
}

#[tokio::test]
async fn whoever_has_not_signed_in_has_the_budget_of_their_address() {
    let limits = RateLimits { calls: 3, ..RateLimits::default() };
    let t = TestPlatform::of(Setup { limits, ..Setup::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, hard) = (listener.local_addr().unwrap(), CancellationToken::new());
    let serving = tokio::spawn(reeve_http::serve(vec![listener], t.router.clone(), t.stop.clone(), hard.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut ask = async |path: &str, method: &str| {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut bytes = vec![0; 16 * 1024];
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut bytes)).await.unwrap().unwrap();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    };
    for _ in 0..3 {
        assert!(ask("/api/v1/auth/signup", "POST").await.starts_with("HTTP/1.1 403"));
    }
    let refused = ask("/api/v1/auth/login", "POST").await.to_ascii_lowercase();
    assert!(refused.starts_with("http/1.1 429") && refused.contains("retry-after: "), "{refused}");
    for _ in 0..10 {
        assert!(ask("/health", "GET").await.starts_with("HTTP/1.1 200"), "health is free");
    }
    hard.cancel();
    let _ = serving.await;
}

/// A route that nobody thought about is counted; what is free, and what is dear, is written here.
#[test]
fn executions_and_saves_have_classes_of_their_own() {
    for route in reeve_http::route_table() {
        let expected = match (route.method.as_str(), route.path.as_str()) {
            ("POST", path) if path.ends_with("/executions") => RateClass::Execution,
            ("PUT", path) if path.ends_with("/files/content") => RateClass::Save,
            ("POST" | "PATCH" | "DELETE", path) if path.contains("/accounts") || path.contains("/keys") => {
                RateClass::General
            }
            _ => continue,
        };
        assert_eq!(route.rate, expected, "{route:?}");
    }
}
