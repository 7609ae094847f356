//! Signing in over HTTP: tokens, cookies, accounts, and what the guide's clients see.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use jiff::Timestamp;
use reeve_gate::Clock;
use reeve_platform::accounts::AccountOptions;
use reeve_types::{PrincipalKind, TenantId};
use serde_json::{Value, json};

use crate::platform::{Answer, Client, Setup, TestPlatform};

pub(crate) const PASSWORD: &str = "correct horse battery";

/// A clock that stands still until it is told to go on.
pub(crate) struct StandingClock(Mutex<Timestamp>);

impl StandingClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new("2026-03-02T12:00:00Z".parse().unwrap())))
    }

    pub(crate) fn forward(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(by).unwrap();
    }
}

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
    fn random(&self) -> u128 {
        reeve_gate::SystemClock.random()
    }
}

async fn with_alice(setup: Setup) -> TestPlatform {
    let t = TestPlatform::of(setup);
    make_alice(&t, &["dba"]).await;
    t
}

async fn make_alice(t: &TestPlatform, roles: &[&str]) {
    let admin = t.user("root", &["admin"]).await;
    let body = json!({"email": "Alice@Example.com", "name": "Alice", "password": PASSWORD, "roles": roles});
    admin.post("/api/v1/accounts", body).await.expect(201);
}

/// A person of these roles who has signed in.
pub(crate) async fn signed_in_to(t: &TestPlatform, roles: &[&str]) -> Client {
    make_alice(t, roles).await;
    signed_in(t).await
}

pub(crate) async fn house() -> TestPlatform {
    with_alice(Setup::default()).await
}

fn credentials() -> Value {
    json!({"email": "alice@example.com", "password": PASSWORD})
}

fn cookies(answer: &Answer) -> Vec<String> {
    answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

/// What a browser sends back of a cookie.
fn pair(cookie: &str) -> &str {
    cookie.split(';').next().unwrap()
}

/// A client with the access token of a sign-in.
pub(crate) async fn signed_in(t: &TestPlatform) -> Client {
    let body = t.client(&[]).post("/api/v1/auth/login", credentials()).await.expect(200);
    t.client(&[("authorization", &format!("Bearer {}", body["access_token"].as_str().unwrap()))])
}

#[tokio::test]
async fn signing_in_gives_a_token_and_a_cookie_that_no_page_can_read() {
    let t = house().await;
    let answer = t.client(&[("user-agent", "Browser/1")]).post("/api/v1/auth/login", credentials()).await;
    let body = answer.expect(200);
    assert_eq!((body["token_type"].as_str(), body["expires_in"].as_u64()), (Some("bearer"), Some(3600)));
    assert!(body.get("refresh_token").is_none());
    let account = &body["account"];
    assert!(account["id"].as_str().unwrap().starts_with("usr_"));
    assert_eq!(
        (account["email"].as_str(), account["name"].as_str(), &account["roles"], account["tenant"].as_str()),
        (Some("alice@example.com"), Some("Alice"), &json!(["dba"]), Some("default"))
    );
    let set = cookies(&answer);
    assert_eq!(set.len(), 1);
    assert!(set[0].starts_with("reeve_refresh=rrt_"), "{set:?}");
    assert!(set[0].ends_with("; Path=/api; HttpOnly; SameSite=Strict; Max-Age=2592000"), "{set:?}");
    assert_eq!(answer.header("cache-control"), "no-store");

    let tls = t.client(&[("x-forwarded-proto", "https")]).post("/api/v1/auth/login", credentials()).await;
    assert!(cookies(&tls)[0].ends_with("; Secure"));

    let token = format!("Bearer {}", body["access_token"].as_str().unwrap());
    let alice = t.client(&[("authorization", &token)]);
    let me = alice.get("/api/v1/auth/me").await.expect(200);
    assert_eq!((&me["id"], &me["email"], &me["avatar"]), (&account["id"], &account["email"], &Value::Null));
    assert_eq!(me["username"], "alice@example.com");
    assert!(me["permissions"].as_array().unwrap().contains(&json!("approve")));
    assert_eq!(alice.get("/api/v1/whoami").await.expect(200)["auth_method"], "signed_in");
    let sessions = alice.get("/api/v1/auth/sessions").await.expect(200);
    let agents: Vec<&str> =
        sessions["sessions"].as_array().unwrap().iter().map(|s| s["user_agent"].as_str().unwrap()).collect();
    assert!(agents.contains(&"Browser/1"), "{sessions}");
}

#[tokio::test]
async fn wrong_credentials_are_refused_alike_and_recorded_without_secrets() {
    let t = house().await;
    let stranger = t.client(&[]);
    for (body, code) in [
        (json!({"email": "alice@example.com", "password": "wrong password"}), "unauthenticated"),
        (json!({"email": "nobody@example.com", "password": "wrong password"}), "unauthenticated"),
        (json!({"api_key": "wrong password"}), "unauthenticated"),
        (json!({"link": "wrong password"}), "unauthenticated"),
        (json!({}), "unauthenticated"),
        (json!({"email": "alice@example.com"}), "bad_request"),
        (json!({"email": "a@b", "password": "x", "link": "y"}), "bad_request"),
    ] {
        let answer = stranger.post("/api/v1/auth/login", body.clone()).await;
        answer.problem(code);
        assert!(cookies(&answer).is_empty(), "{body}");
        if code == "unauthenticated" {
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    let admin = t.user("root", &["admin"]).await;
    let records = admin.get("/api/v1/events?event_type=access_denied").await.expect(200).to_string();
    assert!(records.contains("`alice@example.com` was not let in"), "{records}");
    assert!(!records.contains("wrong password"), "{records}");
}

#[tokio::test]
async fn the_sixth_wrong_try_is_told_when_to_come_back() {
    let t = house().await;
    let wrong = json!({"email": "alice@example.com", "password": "wrong password"});
    for _ in 0..5 {
        t.client(&[]).post("/api/v1/auth/login", wrong.clone()).await.problem("unauthenticated");
    }
    let answer = t.client(&[]).post("/api/v1/auth/login", credentials()).await;
    answer.problem("rate_limited");
    assert_eq!(answer.status.as_u16(), 429);
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
}

#[tokio::test]
async fn an_expired_token_is_refused_and_says_that_it_can_be_renewed() {
    let clock = StandingClock::new();
    let t = with_alice(Setup { clock: Arc::<StandingClock>::clone(&clock), ..Setup::default() }).await;
    let alice = signed_in(&t).await;
    clock.forward(Duration::from_secs(3599));
    alice.get("/api/v1/tools").await.expect(200);
    clock.forward(Duration::from_secs(2));
    let answer = alice.get("/api/v1/tools").await;
    assert_eq!(answer.problem("unauthenticated")["token"], "expired");
    assert_eq!(answer.header("www-authenticate"), "Bearer error=\"invalid_token\"");
}

#[tokio::test]
async fn a_browser_renews_with_its_cookie_and_only_from_a_page_of_ours() {
    let clock = StandingClock::new();
    let t = with_alice(Setup { clock: Arc::<StandingClock>::clone(&clock), ..Setup::default() }).await;
    let first = t.client(&[]).post("/api/v1/auth/login", credentials()).await;
    let browser = |cookie: &str, origin: &str| {
        t.client(&[("host", "reeve.example"), ("origin", origin), ("cookie", pair(cookie))])
    };
    let cookie = cookies(&first).remove(0);
    let refresh = |client: Client| async move { client.post("/api/v1/auth/refresh", json!({})).await };
    refresh(browser(&cookie, "http://evil.example")).await.problem("forbidden");
    refresh(t.client(&[("host", "reeve.example"), ("cookie", pair(&cookie))])).await.problem("forbidden");
    refresh(t.client(&[])).await.problem("unauthenticated");

    let second = refresh(browser(&cookie, "http://reeve.example")).await;
    let token = second.expect(200)["access_token"].as_str().unwrap().to_owned();
    let renewed = cookies(&second).remove(0);
    assert_ne!(pair(&renewed), pair(&cookie));
    let again = refresh(browser(&cookie, "http://reeve.example")).await;
    again.problem("conflict");
    assert_eq!(again.header("retry-after"), "1");
    let alice = t.client(&[("authorization", &format!("Bearer {token}"))]);
    alice.get("/api/v1/tools").await.expect(200);

    clock.forward(Duration::from_secs(5));
    refresh(browser(&cookie, "http://reeve.example")).await.problem("unauthenticated");
    assert_eq!(alice.get("/api/v1/tools").await.problem("unauthenticated")["token"], "signed_out");
    refresh(browser(&renewed, "http://reeve.example")).await.problem("unauthenticated");
}

#[tokio::test]
async fn a_program_has_its_refresh_token_in_the_body() {
    let t = house().await;
    let mut wanted = credentials();
    wanted["want_refresh_token"] = json!(true);
    let first = t.client(&[]).post("/api/v1/auth/login", wanted).await;
    assert!(cookies(&first).is_empty());
    let token = first.expect(200)["refresh_token"].clone();
    let second = t.client(&[]).post("/api/v1/auth/refresh", json!({"refresh_token": token})).await;
    assert!(cookies(&second).is_empty());
    let second = second.expect(200);
    assert_ne!(second["refresh_token"], token);
    t.client(&[]).post("/api/v1/auth/refresh", json!({"refresh_token": token})).await.problem("unauthenticated");
    let next = json!({"refresh_token": second["refresh_token"]});
    t.client(&[]).post("/api/v1/auth/refresh", next).await.problem("unauthenticated");
}

#[tokio::test]
async fn signing_out_ends_tokens_streams_and_cookies_at_once() {
    let t = house().await;
    let alice = signed_in(&t).await;
    let stream = {
        let alice = alice.clone();
        let request = alice.request(Method::GET, "/api/v1/events/stream").body(Body::empty()).unwrap();
        tokio::spawn(async move { alice.send(request).await })
    };
    // The stream is open once its opening record has been read by nobody else; its end is what is waited for.
    tokio::task::yield_now().await;
    let answer = alice.post("/api/v1/auth/logout", json!({})).await;
    assert_eq!(answer.status.as_u16(), 204, "{}", answer.text);
    let gone = cookies(&answer);
    assert!(gone.iter().all(|cookie| cookie.contains("Max-Age=0")) && gone.len() == 2, "{gone:?}");
    let ended = tokio::time::timeout(Duration::from_secs(9), stream).await.expect("the stream ends").unwrap();
    assert!(matches!(ended.status.as_u16(), 200 | 401), "{}", ended.text);
    assert_eq!(alice.get("/api/v1/tools").await.problem("unauthenticated")["token"], "signed_out");
}

#[tokio::test]
async fn a_changed_password_signs_everybody_out_and_the_one_who_changed_it_in_again() {
    let t = house().await;
    let (one, other) = (signed_in(&t).await, signed_in(&t).await);
    let change = |old: &str, new: &str| json!({"old": old, "new": new});
    one.post("/api/v1/auth/password", change("wrong old one", "another password")).await.problem("forbidden");
    one.post("/api/v1/auth/password", change(PASSWORD, "short")).await.problem("bad_request");
    let changed = one.post("/api/v1/auth/password", change(PASSWORD, "another password")).await;
    assert!(cookies(&changed)[0].starts_with("reeve_refresh="));
    let token = changed.expect(200)["access_token"].as_str().unwrap().to_owned();
    for client in [&one, &other] {
        client.get("/api/v1/tools").await.problem("unauthenticated");
    }
    t.client(&[("authorization", &format!("Bearer {token}"))]).get("/api/v1/tools").await.expect(200);
}

#[tokio::test]
async fn sign_ins_are_listed_and_ended_one_by_one() {
    let t = house().await;
    let (one, other) = (signed_in(&t).await, signed_in(&t).await);
    let list = one.get("/api/v1/auth/sessions").await.expect(200)["sessions"].as_array().unwrap().clone();
    assert_eq!(list.len(), 2);
    let others = list.iter().find(|session| session["current"] == false).unwrap()["id"].as_str().unwrap().to_owned();
    let ended = one.delete(&format!("/api/v1/auth/sessions/{others}")).await;
    assert_eq!(ended.status.as_u16(), 204, "{}", ended.text);
    other.get("/api/v1/tools").await.problem("unauthenticated");
    one.delete(&format!("/api/v1/auth/sessions/{others}")).await.problem("not_found");
    let key = t.user("alice", &["dba"]).await;
    assert_eq!(key.get("/api/v1/auth/sessions").await.problem("forbidden")["permission"], "own_account");
    assert_eq!(key.get("/api/v1/auth/me").await.expect(200)["username"], "alice");
}

#[tokio::test]
async fn administrators_make_change_and_switch_off_accounts() {
    let t = house().await;
    let admin = t.user("root", &["admin"]).await;
    let alice = signed_in(&t).await;
    for path in ["/api/v1/accounts", "/api/v1/keys"] {
        alice.get(path).await.problem("forbidden");
    }
    alice.post("/api/v1/accounts/administrator/sign-in-link", json!({})).await.problem("forbidden");
    let taken = json!({"email": "ALICE@example.com", "password": PASSWORD});
    admin.post("/api/v1/accounts", taken).await.problem("already_exists");
    let list = admin.get("/api/v1/accounts").await.expect(200);
    assert!(!list.to_string().contains("argon2"), "{list}");
    let account = &list["accounts"][0];
    let path = format!("/api/v1/accounts/{}", account["id"].as_str().unwrap());
    assert_eq!((account["has_password"].as_bool(), account["disabled"].as_bool()), (Some(true), Some(false)));
    admin.patch(&path, json!({"roles": ["auditor"], "name": "Alice B."})).await.expect(200);
    assert_eq!(alice.get("/api/v1/auth/me").await.expect(200)["roles"], json!(["auditor"]));
    admin.patch(&path, json!({"is_admin": true})).await.problem("bad_request");
    admin.patch(&path, json!({"disabled": true})).await.expect(200);
    alice.get("/api/v1/tools").await.problem("unauthenticated");
    t.client(&[]).post("/api/v1/auth/login", credentials()).await.problem("forbidden");
    let other = t.key("other".parse().unwrap(), PrincipalKind::User, "eve", &["admin"]).await;
    other.patch(&path, json!({"disabled": false})).await.problem("not_found");
    assert_eq!(other.get("/api/v1/accounts").await.expect(200)["accounts"], json!([]));
    let records = admin.get("/api/v1/events?event_type=identity_changed").await.expect(200).to_string();
    for what in ["was given the roles auditor", "was switched off", "signed in with a password"] {
        assert!(records.contains(what), "{what}: {records}");
    }
    assert!(!records.contains(PASSWORD));
}

#[tokio::test]
async fn a_link_lets_somebody_in_once() {
    let t = house().await;
    let admin = t.user("root", &["admin"]).await.and("host", "reeve.example:8080");
    let made = admin.post("/api/v1/accounts/administrator/sign-in-link", json!({})).await.expect(201);
    let link = made["link"].as_str().unwrap();
    assert_eq!(made["url"], format!("http://reeve.example:8080/#/sign-in?link={link}"));
    let body = t.client(&[]).post("/api/v1/auth/login", json!({"link": link})).await.expect(200);
    assert_eq!(body["account"]["roles"], json!(["admin"]));
    t.client(&[]).post("/api/v1/auth/login", json!({"link": link})).await.problem("unauthenticated");
    let alices = admin.post("/api/v1/accounts/alice@example.com/sign-in-link", json!({})).await.expect(201);
    let body = t.client(&[]).post("/api/v1/auth/login", json!({"link": alices["link"]})).await.expect(200);
    assert_eq!(body["account"]["email"], "alice@example.com");
    admin.post("/api/v1/accounts/nobody@example.com/sign-in-link", json!({})).await.problem("not_found");
}

#[tokio::test]
async fn a_key_signs_a_person_in() {
    let t = house().await;
    let roles = std::iter::once("sre".to_owned()).collect();
    let identity = t.platform.identity();
    let made =
        identity.create_key(TenantId::default_tenant(), PrincipalKind::User, "bob".to_owned(), roles, String::new());
    let (_, key) = made.await.unwrap();
    let body = t.client(&[]).post("/api/v1/auth/login", json!({"api_key": key})).await.expect(200);
    assert_eq!((body["account"]["name"].as_str(), &body["account"]["email"]), (Some("bob"), &Value::Null));
}

#[tokio::test]
async fn strangers_sign_up_where_that_is_switched_on_and_administrators_anywhere() {
    let t = house().await;
    let body = json!({"email": "eve@example.com", "password": PASSWORD, "name": "Eve"});
    t.client(&[]).post("/api/v1/auth/signup", body.clone()).await.problem("forbidden");
    signed_in(&t).await.post("/api/v1/auth/signup", body.clone()).await.problem("forbidden");
    let admin = t.user("root", &["admin"]).await;
    assert_eq!(admin.post("/api/v1/auth/signup", body.clone()).await.expect(201)["account"]["name"], "Eve");
    let open = AccountOptions { registration: true, ..AccountOptions::default() };
    let t = TestPlatform::of(Setup { accounts: open, ..Setup::default() });
    let made = t.client(&[]).post("/api/v1/auth/signup", body.clone()).await.expect(201);
    assert_eq!(made["account"]["roles"], json!(["developer"]));
    t.client(&[]).post("/api/v1/auth/signup", body).await.problem("already_exists");
    let short = json!({"email": "bob@example.com", "password": "short"});
    t.client(&[]).post("/api/v1/auth/signup", short).await.problem("bad_request");
}

#[tokio::test]
async fn the_guides_clients_sign_in_as_the_guide_says() {
    let open = AccountOptions { registration: true, ..AccountOptions::default() };
    let t = TestPlatform::of(Setup { accounts: open, ..Setup::default() });
    let stranger = t.client(&[]);
    let new = json!({"username": "testuser", "email": "test@example.com", "password": "testpass123"});
    let made = stranger.post("/api/auth/signup", new.clone()).await;
    assert!(cookies(&made).is_empty());
    let made = made.expect(200);
    assert_eq!(made["token_type"], "bearer");
    assert_eq!(stranger.post("/api/auth/signup", new).await.status.as_u16(), 409);

    let wrong = json!({"email": "test@example.com", "password": "not this one"});
    let refused = stranger.post("/api/auth/login", wrong).await;
    assert_eq!((refused.status.as_u16(), refused.header("www-authenticate")), (401, "Bearer"));
    assert!(refused.json()["detail"].is_string());
    let right = json!({"email": "test@example.com", "password": "testpass123"});
    let answer = stranger.post("/api/auth/login", right).await;
    let token = answer.expect(200)["access_token"].as_str().unwrap().to_owned();
    let set = cookies(&answer);
    let access = set.iter().find(|cookie| cookie.starts_with("access_token=")).unwrap();
    assert!(access.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{access}");

    let browser = t.client(&[("host", "reeve.example"), ("cookie", pair(access))]);
    let bearer = t.client(&[("authorization", &format!("Bearer {token}"))]);
    for client in [&browser, &bearer] {
        for path in ["/api/auth/me", "/api/me"] {
            let me = client.get(path).await.expect(200);
            assert_eq!(
                (&me["id"], &me["username"], &me["email"], &me["avatar"]),
                (&json!(1), &json!("testuser"), &json!("test@example.com"), &Value::Null)
            );
        }
    }
    stranger.get("/api/me").await.problem("unauthenticated");
    // The cookie proves nothing to other sites' pages, and what is in Authorization comes first.
    browser.post("/api/auth/logout", json!({})).await.problem("forbidden");
    browser.and("origin", "http://evil.example").post("/api/auth/logout", json!({})).await.problem("forbidden");
    browser.and("authorization", "Bearer nonsense").get("/api/me").await.problem("unauthenticated");
    let page = browser.and("origin", "http://reeve.example");
    assert_eq!(page.get("/api/auth/sessions").await.expect(200)["sessions"].as_array().unwrap().len(), 2);
    assert_eq!(page.post("/api/auth/logout", json!({})).await.status.as_u16(), 204);
    bearer.get("/api/me").await.problem("unauthenticated");
}
