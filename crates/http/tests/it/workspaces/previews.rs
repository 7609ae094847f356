//! What a program serves, seen in a browser: passes, headers, streams, WebSockets, and the pages shown instead.

use axum::body::{Body, Bytes};
use axum::http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::server::{Followed, Line, Served, until};
use super::{Desk, Yard};
use crate::platform::Answer;

/// A workspace in which a program serves, and the server before it.
struct Stage {
    yard: Yard,
    served: Served,
    desk: Desk,
    port: u16,
    _program: (Followed, Line),
}

/// Runs a program of Python that serves, and tells the port that it prints first. It ends with what is returned.
async fn serving(served: &Served, desk: &Desk, script: &str) -> ((Followed, Line), u16) {
    let body = json!({"argv": ["python3", "-c", script], "timeout_ms": 600_000});
    let request = Request::post(desk.at("/executions"))
        .header("host", served.address.to_string())
        .header("authorization", desk.client.authorization())
        .header("accept", "text/event-stream")
        .header("content-type", "application/json");
    let (response, line) = served.open(request.body(Body::from(body.to_string())).unwrap()).await;
    let mut told = Followed::of(response);
    let first = told.until(|event| event["event"] != "start").await;
    let port = first["text"].as_str().unwrap_or_else(|| panic!("{first}")).trim().parse().unwrap();
    ((told, line), port)
}

impl Stage {
    async fn new() -> Self {
        let yard = Yard::new().await;
        let desk = yard.at_work("alice").await;
        Self::of(yard, desk).await
    }

    async fn of(yard: Yard, desk: Desk) -> Self {
        let served = Served::of(&yard.t).await;
        let (program, port) = serving(&served, &desk, include_str!("program.py")).await;
        Self { yard, served, desk, port, _program: program }
    }

    fn host(&self) -> String {
        let id = self.desk.id.trim_start_matches("wsp_");
        format!("{}--{id}.preview.localhost:{}", self.port, self.served.address.port())
    }

    /// A request of a browser at the preview.
    fn at(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> axum::http::request::Builder {
        let start = Request::builder().method(method).uri(path).header("host", self.host());
        headers.iter().fold(start, |request, (name, value)| request.header(*name, *value))
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.served.send(self.at(Method::GET, path, headers).body(Body::empty()).unwrap()).await
    }

    /// Where the platform lets a browser in.
    async fn invited(&self, path: &str) -> Value {
        let client = self.desk.client.and("host", &format!("localhost:{}", self.served.address.port()));
        client.post(&self.desk.at("/preview"), json!({"port": self.port, "path": path})).await.expect(200)
    }

    /// The cookie of a browser that was let in.
    async fn pass(&self) -> String {
        let url = self.invited("/").await["url"].as_str().unwrap().to_owned();
        let answer = self.get(below(&url), &[]).await;
        pair(answer.header("set-cookie")).to_owned()
    }
}

/// The path and query of an address.
fn below(url: &str) -> &str {
    let rest = url.strip_prefix("http://").unwrap();
    &rest[rest.find('/').unwrap()..]
}

fn pair(cookie: &str) -> &str {
    cookie.split(';').next().unwrap()
}

fn cookies(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn a_browser_gets_in_with_a_secret_once_and_with_its_pass_from_then_on() {
    let stage = Stage::new().await;
    let given = stage.invited("/page?x=1#top").await;
    let url = given["url"].as_str().unwrap();
    assert!(url.starts_with(&format!("http://{}/page?x=1&reeve_preview=", stage.host())), "{url}");
    assert!(url.ends_with("#top") && given["expires_at"].is_string());
    let private = stage.get("/page", &[("accept", "text/html")]).await;
    assert_eq!((private.status.as_u16(), private.header("x-reeve-preview")), (401, "not_signed_in"));
    assert!(private.text.contains(&format!("http://localhost:{}/", stage.served.address.port())), "{}", private.text);

    let target = below(url).split('#').next().unwrap();
    let entered = stage.get(target, &[]).await;
    assert_eq!((entered.status.as_u16(), entered.header("location")), (303, "/page?x=1"), "{}", entered.text);
    let set = cookies(&entered);
    assert!(set[0].starts_with("reeve_preview=") && set[0].ends_with("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"));
    assert!(set[1].ends_with("SameSite=None; Secure; Partitioned"), "for the frame beside the editor: {set:?}");
    assert!(cookies(&stage.get(target, &[]).await).is_empty(), "the secret is used up");

    let pass = pair(set[0]);
    let key = stage.desk.client.authorization();
    let sent = format!("theirs=2; {pass}; access_token=t; reeve_refresh=r");
    let told =
        stage.get("/page?x=1", &[("cookie", &sent), ("authorization", key), ("x-user", "root")]).await.expect(200);
    assert_eq!((&told["path"], &told["headers"]["cookie"]), (&json!("/page?x=1"), &json!("theirs=2")), "{told}");
    for kept in ["authorization", "x-user"] {
        assert_eq!(told["headers"][kept], Value::Null, "{told}");
    }
    assert_eq!(told["headers"]["host"], stage.host());
    assert_eq!(told["headers"]["x-forwarded-host"], stage.host());
    assert_eq!(
        (&told["headers"]["x-forwarded-proto"], &told["headers"]["x-forwarded-for"]),
        (&json!("http"), &json!("127.0.0.1"))
    );
    let own = stage.get("/", &[("cookie", pass), ("authorization", "Bearer their-own")]).await.expect(200);
    assert_eq!(own["headers"]["authorization"], "Bearer their-own", "a program's own tokens pass");
    let by_key = stage.get("/", &[("authorization", key)]).await.expect(200);
    assert_eq!(by_key["headers"]["authorization"], Value::Null);
    let forged = format!("{pass}x");
    assert_eq!(stage.get("/", &[("cookie", &forged)]).await.status.as_u16(), 401);
}

#[tokio::test]
async fn the_platform_and_a_program_never_answer_for_each_other() {
    let stage = Stage::new().await;
    let pass = stage.pass().await;
    let key = stage.desk.client.authorization().to_owned();
    let told = stage.get("/api/v1/whoami", &[("cookie", &pass), ("authorization", &key)]).await.expect(200);
    assert_eq!(told["path"], "/api/v1/whoami", "the program answers: {told}");
    assert_eq!(told["headers"]["authorization"], Value::Null);
    let answer = stage.get("/cookies", &[("cookie", &pass)]).await;
    assert_eq!(
        cookies(&answer),
        ["mine=1; Path=/"],
        "a program's cookie stays on its host, and none is the platform's"
    );
    for name in ["clear-site-data", "strict-transport-security", "x-frame-options", "x-request-id"] {
        assert_eq!(answer.header(name), "", "{name}");
    }
    assert_eq!(stage.get("/away", &[("cookie", &pass)]).await.header("location"), "/elsewhere");
    let evil = stage
        .get("/", &[("cookie", &pass), ("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")])
        .await;
    assert_eq!((evil.status.as_u16(), evil.header("x-reeve-preview")), (403, "foreign"));
    let posted = stage.at(Method::POST, "/form", &[("cookie", &pass), ("content-type", "text/plain")]);
    let posted = stage.served.send(posted.body(Body::from("hello")).unwrap()).await.expect(200);
    assert_eq!((&posted["body"], &posted["method"]), (&json!("hello"), &json!("POST")));
    let page = Request::get("/api/v1/whoami").header("host", "localhost").header("cookie", &pass);
    stage.served.send(page.body(Body::empty()).unwrap()).await.problem("unauthenticated");
}

#[tokio::test]
async fn nothing_is_held_back_in_either_direction() {
    let stage = Stage::new().await;
    let pass = stage.pass().await;
    let slow = stage.at(Method::GET, "/slow", &[("cookie", &pass)]).body(Body::empty()).unwrap();
    let (response, _line) = stage.served.open(slow).await;
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "first ", "it is here before the program has written the rest");
    assert_eq!(stage.get("/go", &[("cookie", &pass)]).await.text, "gone");
    assert_eq!(body.collect().await.unwrap().to_bytes(), "second");

    let (pieces, waiting) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(1);
    let content = Body::from_stream(futures_util::stream::unfold(waiting, async |mut waiting| {
        waiting.recv().await.map(|piece| (piece, waiting))
    }));
    let upload = stage.at(Method::POST, "/upload", &[("cookie", &pass)]).body(content).unwrap();
    let sending = stage.served.open(upload);
    let meanwhile = async {
        pieces.send(Ok(Bytes::from_static(b"begun, "))).await.unwrap();
        assert_eq!(stage.get("/arrived", &[("cookie", &pass)]).await.text, "yes", "it arrives before it is whole");
        pieces.send(Ok(Bytes::from_static(b"done"))).await.unwrap();
        drop(pieces);
    };
    let ((response, _line), ()) = tokio::join!(sending, meanwhile);
    let told: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(told["body"], "begun, done");
    let large = stage.get("/large", &[("cookie", &pass)]).await;
    assert_eq!((large.bytes.len(), large.header("content-length")), (8 << 20, "8388608"));
    let head = stage.at(Method::HEAD, "/large", &[("cookie", &pass)]).body(Body::empty()).unwrap();
    assert_eq!(stage.served.send(head).await.header("content-length"), "8388608");
}

#[tokio::test]
async fn a_websocket_goes_through() {
    let stage = Stage::new().await;
    let (pass, host) = (stage.pass().await, stage.host());
    let origin = format!("http://{host}");
    let headers = [("host", host.as_str()), ("cookie", pass.as_str()), ("origin", origin.as_str())];
    let mut socket = stage.served.socket("/live", &headers).await.unwrap();
    for words in ["one", "two"] {
        socket.send(tokio_tungstenite::tungstenite::Message::text(words)).await;
        assert_eq!(socket.next().await.into_text().unwrap(), format!("heard {words}"));
    }
    let alone = stage.served.socket("/live", &[("host", host.as_str())]).await;
    assert_eq!(alone.err().map(|status| status.as_u16()), Some(401));
    let evil = [("host", host.as_str()), ("cookie", pass.as_str()), ("origin", "http://evil.example")];
    assert_eq!(stage.served.socket("/live", &evil).await.err().map(|status| status.as_u16()), Some(403));
}

#[tokio::test]
async fn without_a_host_of_its_own_a_preview_has_a_path() {
    let stage = Stage::new().await;
    let given = stage.invited("/page").await;
    let own = given["fallback_url"].as_str().unwrap();
    let prefix = format!("/preview/{}/{}", stage.desk.id, stage.port);
    assert!(
        own.starts_with(&format!("http://localhost:{}{prefix}/page?reeve_preview=", stage.served.address.port())),
        "{own}"
    );
    let ask = async |path: &str, cookie: &str| {
        let request = Request::get(path).header("host", "localhost").header("cookie", cookie);
        stage.served.send(request.body(Body::empty()).unwrap()).await
    };
    let entered = ask(below(own), "").await;
    assert_eq!((entered.status.as_u16(), entered.header("location")), (303, &*format!("{prefix}/page")));
    let pass = pair(entered.header("set-cookie"));
    assert!(entered.header("set-cookie").contains(&format!("; Path={prefix}/;")), "{}", entered.header("set-cookie"));
    let answer = ask(&format!("{prefix}/page?x"), pass).await;
    let told = answer.expect(200);
    assert_eq!((&told["path"], &told["headers"]["x-forwarded-prefix"]), (&json!("/page?x"), &json!(prefix)));
    assert!(answer.header("content-security-policy").contains("sandbox allow-scripts"), "{:?}", answer.headers);
    assert!(!answer.header("content-security-policy").contains("allow-same-origin"));
    assert_eq!(cookies(&ask(&format!("{prefix}/cookies"), pass).await), [format!("mine=1; Path={prefix}/")]);
    assert_eq!(ask(&prefix, pass).await.header("location"), format!("{prefix}/"));
    let other = ask(&format!("/preview/{}/{}/", stage.desk.id, stage.port - 1), pass).await;
    assert_eq!(other.status.as_u16(), 401, "a pass is for one port");
    assert_eq!(ask("/preview/nothing/1/", pass).await.header("x-reeve-preview"), "unknown");
}

#[tokio::test]
async fn ports_are_listed_with_their_addresses() {
    let stage = Stage::new().await;
    let client = stage.desk.client.and("host", "localhost:8080");
    let ports = client.get(&stage.desk.at("/ports")).await.expect(200)["ports"].clone();
    let own = ports.as_array().unwrap().iter().find(|port| port["port"] == stage.port).unwrap().clone();
    let id = stage.desk.id.trim_start_matches("wsp_");
    assert_eq!(own["url"], format!("http://{}--{id}.preview.localhost:8080/", stage.port), "{own}");
    for port in [0, 65_536] {
        stage.desk.post("/preview", json!({"port": port})).await.problem("bad_request");
    }
}

#[tokio::test]
async fn a_page_says_what_is_wrong_and_a_sleeping_workspace_can_be_started_from_it() {
    let stage = Stage::new().await;
    let pass = stage.pass().await;
    let html = [("accept", "text/html"), ("cookie", pass.as_str())];
    stage.get("/", &html).await.expect(200);
    let begins = jiff::Timestamp::now();
    stage.desk.post("/suspend", json!({})).await.expect(200);
    let asleep = stage.get("/page", &html).await;
    assert_eq!((asleep.status.as_u16(), asleep.header("x-reeve-preview")), (503, "asleep"), "{}", asleep.text);
    assert!(asleep.text.contains("action=\"/__reeve/start?to=/page\""), "{}", asleep.text);
    assert!(asleep.header("content-security-policy").starts_with("default-src 'none'"));
    assert_eq!(stage.get("/page", &[("cookie", &pass)]).await.header("content-type"), "text/plain; charset=utf-8");

    let start = stage.at(Method::POST, "/__reeve/start?to=/page", &[("cookie", &pass)]).body(Body::empty()).unwrap();
    let started = stage.served.send(start).await;
    assert_eq!((started.status.as_u16(), started.header("location")), (303, "/page"), "{}", started.text);
    assert_eq!(stage.desk.get("").await.expect(200)["state"], "running");
    let quiet = stage.get("/page", &html).await;
    assert_eq!(
        (quiet.status.as_u16(), quiet.header("x-reeve-preview"), quiet.header("retry-after")),
        (502, "nothing_listens", "2")
    );
    assert!(quiet.text.contains("http-equiv=\"refresh\""));
    let seen = stage.desk.get("").await.expect(200);
    assert!(seen["last_active_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap() > begins);

    let rude = "import socket; s=socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)\nwhile 1: s.accept()[0].send(b'SSH-2.0\\r\\n')";
    let (_rude, port) = serving(&stage.served, &stage.desk, rude).await;
    let id = stage.desk.id.trim_start_matches("wsp_");
    let request = Request::get("/").header("host", format!("{port}--{id}.preview.localhost"));
    let request = request.header("authorization", stage.desk.client.authorization());
    let broke = stage.served.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!((broke.status.as_u16(), broke.header("x-reeve-preview")), (502, "broke_off"), "{}", broke.text);

    stage.desk.client.delete(&stage.desk.at("?force=true")).await.expect(200);
    until("nobody is let in any more", || async { stage.get("/", &html).await.header("x-reeve-preview") == "unknown" })
        .await;
}

#[tokio::test]
async fn http2_without_asking_is_spoken_before_previews_and_the_platform() {
    let stage = Stage::new().await;
    let pass = stage.pass().await;
    let host = stage.host();
    let request = Request::get(format!("http://{host}/page")).header("cookie", "theirs=2").header("cookie", &pass);
    let told = stage.served.send_http2(request.body(Body::empty()).unwrap()).await.expect(200);
    assert_eq!((&told["path"], &told["headers"]["host"]), (&json!("/page"), &json!(host)));
    assert_eq!(told["headers"]["cookie"], "theirs=2", "cookies of two lines are one for the program: {told}");
    let health = Request::get(format!("http://{}/health", stage.served.address)).body(Body::empty()).unwrap();
    assert_eq!(stage.served.send_http2(health).await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_page_waits_while_the_workspace_starts() {
    let stage = Stage::new().await;
    let pass = stage.pass().await;
    stage.desk.post("/suspend", json!({})).await.expect(200);
    let held = stage.yard.driver.hold_starting().await;
    let (client, path) = (stage.desk.client.clone(), stage.desk.at("/start"));
    let starting = tokio::spawn(async move { client.post(&path, json!({})).await });
    let html = [("accept", "text/html"), ("cookie", pass.as_str())];
    until("it says that it starts", || async { stage.get("/", &html).await.header("x-reeve-preview") == "starting" })
        .await;
    let page = stage.get("/", &html).await;
    assert_eq!((page.status.as_u16(), page.header("retry-after")), (503, "2"));
    assert!(page.text.contains("http-equiv=\"refresh\""), "{}", page.text);
    drop(held);
    starting.await.unwrap().expect(200);
    until("nothing listens yet", || async {
        stage.get("/", &html).await.header("x-reeve-preview") == "nothing_listens"
    })
    .await;
}

#[tokio::test]
async fn a_pass_ends_with_the_sign_in_that_it_was_given_for() {
    let (yard, desk) = super::rates::person(&crate::accounts::StandingClock::new()).await;
    let stage = Stage::of(yard, desk).await;
    let pass = stage.pass().await;
    stage.get("/", &[("cookie", &pass)]).await.expect(200);
    assert_eq!(stage.desk.client.post("/api/v1/auth/logout", json!({})).await.status.as_u16(), 204);
    // An answer that is on its way when the pass ends is cut off, so only how it begins is looked at.
    let begins = || async {
        let request = stage.at(Method::GET, "/", &[("cookie", &pass)]).body(Body::empty()).unwrap();
        stage.served.open(request).await.0.status()
    };
    until("the pass has ended", || async { begins().await.as_u16() == 401 }).await;
}
