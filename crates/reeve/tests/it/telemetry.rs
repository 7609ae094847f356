//! Traces, as a collector that a test plays is sent them.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use serde_json::{Value, json};

use crate::server::{ASK, Home, Server, eventually};

/// The trace of a caller, and its span.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// What a collector was sent.
#[derive(Clone, Default)]
struct Collector {
    url: String,
    bodies: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let bodies: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let kept = Arc::clone(&bodies);
        let take = move |headers: HeaderMap, body: Bytes| {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            kept.lock().expect("the bodies").push(body);
            std::future::ready(())
        };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let router = axum::Router::new().route("/v1/traces", post(take));
                axum::serve(listener, router).await.expect("it serves");
            });
        });
        Self { url, bodies }
    }

    fn sent(&self) -> Vec<ExportTraceServiceRequest> {
        let bodies = self.bodies.lock().expect("the bodies");
        bodies.iter().map(|body| ExportTraceServiceRequest::decode(body.clone()).expect("OTLP")).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let resources = self.sent().into_iter().flat_map(|sent| sent.resource_spans);
        resources.flat_map(|one| one.scope_spans).flat_map(|one| one.spans).collect()
    }

    fn holds(&self, text: &str) -> bool {
        let bodies = self.bodies.lock().expect("the bodies");
        bodies.iter().any(|body| body.windows(text.len()).any(|window| window == text.as_bytes()))
    }
}

fn traced(collector: &Collector) -> Home {
    Home::new()
        .policy(ASK)
        .with("AEGIS_OTEL_ENABLED", "true")
        .with("AEGIS_OTEL_OTLP_ENDPOINT", &collector.url)
        .with("REEVE_LOG_FORMAT", "json")
}

fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::IntValue(number)) => number.to_string(),
        Some(Any::BoolValue(yes)) => yes.to_string(),
        other => format!("{other:?}"),
    };
    all.iter().map(|one| (one.key.clone(), text(&one.value))).collect()
}

fn one<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
    let mut found = spans.iter().filter(|span| span.name == name);
    let first = found.next().unwrap_or_else(|| panic!("there is no span `{name}` among {names:?}"));
    assert!(found.next().is_none(), "`{name}` is there twice: {names:?}");
    first
}

fn ended(mut server: Server) -> String {
    server.signal("TERM");
    let status = server.wait(Duration::from_secs(30)).expect("it ends");
    assert!(status.success(), "{}", server.log());
    // The reader of its pipe may be a moment behind.
    eventually(|| server.log().contains("stopped; ").then(|| server.log()))
}

fn ask(server: &Server, method: &str, path: &str, parent: Option<String>, body: &Value) -> (Value, Option<String>) {
    let client = reqwest::blocking::Client::new();
    let method = method.parse().expect("a method");
    let mut request = client.request(method, format!("{}{path}", server.url)).bearer_auth(server.token());
    if let Some(parent) = parent {
        request = request.header("traceparent", parent);
    }
    let answer = request.json(body).send().expect("an answer");
    let own = answer.headers().get("traceparent").map(|value| value.to_str().expect("text").to_owned());
    (answer.json().expect("JSON"), own)
}

#[test]
fn a_request_its_turn_and_what_the_turn_did_are_one_trace_without_what_was_said() {
    let collector = Collector::start();
    let home = traced(&collector).with("AEGIS_OTEL_SERVICE_NAME", "steward");
    let script = home.path().join("script.jsonl");
    let target = "host=127.0.0.1 port=1 dbname=shop password=hush-password";
    let call = json!({"text": "hush-thought", "tools": [
        {"name": "get_server_info", "input": {"connection_string": target}},
    ]});
    std::fs::write(&script, format!("{call}\n{}\n", json!({"text": "hush-answer"}))).expect("a script");
    let models = format!(
        "[models]\ndefault = \"script/demo\"\n\n[models.providers.script]\nkind = \"replay\"\nscript = {:?}\n",
        script
    );
    let home = home.with_file("REEVE_MODELS_FILE", "models.toml", &models);
    let server = home.start();
    let body = json!({"agent": "database", "prompt": "hush-prompt"});
    let (session, own) = ask(&server, "POST", "/v1/sessions", Some(format!("00-{TRACE}-{CALLER}-01")), &body);
    let id = session["id"].as_str().unwrap_or_else(|| panic!("no session: {session}")).to_owned();
    let done = eventually(|| {
        let now = server.get(&format!("/v1/sessions/{id}")).expect(200);
        (now["state"] != "running").then_some(now)
    });
    assert_eq!(done["state"], "idle", "{done}");
    let records = server.get("/api/v1/events?event_type=tool_execution&tool_name=get_server_info").expect(200);
    let metrics = server.get_as(None, "/metrics").text;
    for line in [
        "reeve_sessions_opened_total 1",
        "reeve_turns_total{what=\"completed\"} 1",
        "reeve_model_calls_total{what=\"answered\"} 2",
        "reeve_model_call_duration_seconds_count 2",
        "reeve_model_cost_usd_total ",
        "reeve_agent_tool_calls_total 1",
        "reeve_agent_tool_failures_total 1",
        "aegis_tool_calls_total 1",
        "aegis_permission_response_latency_ms_bucket{le=\"+Inf\"} 0",
    ] {
        assert!(metrics.contains(line), "no `{line}` in\n{metrics}");
    }
    let log = ended(server);

    let spans: Vec<Span> = collector.spans().into_iter().filter(|span| hex(&span.trace_id) == TRACE).collect();
    let request = one(&spans, "POST /v1/sessions");
    assert_eq!((hex(&request.parent_span_id).as_str(), request.kind), (CALLER, SpanKind::Server as i32));
    assert_eq!(own, Some(format!("00-{TRACE}-{}-01", hex(&request.span_id))));
    assert_eq!(attributes(&request.attributes)["http.response.status_code"], "201");
    assert_eq!(one(&spans, "session.create").parent_span_id, request.span_id);
    let turn = one(&spans, "invoke_agent database");
    assert_eq!(turn.parent_span_id, request.span_id);
    assert_eq!(attributes(&turn.attributes)["gen_ai.conversation.id"], id);
    assert_eq!(attributes(&turn.attributes)["reeve.turn.end"], "completed");
    assert!(request.end_time_unix_nano <= turn.end_time_unix_nano, "a request ends with its answer");
    let chats: Vec<_> = spans.iter().filter(|span| span.name.starts_with("chat script")).collect();
    assert_eq!(chats.len(), 2);
    assert!(chats.iter().all(|chat| chat.parent_span_id == turn.span_id && chat.kind == SpanKind::Client as i32));
    let act = one(&spans, "execute_tool get_server_info");
    assert_eq!(act.parent_span_id, turn.span_id);
    let about = attributes(&act.attributes);
    assert_eq!((about["reeve.decision"].as_str(), about["reeve.outcome"].as_str()), ("allow", "failed"));
    assert!(about["reeve.action_id"].starts_with("act_"), "{about:?}");
    assert_eq!(about["reeve.trace_id"], attributes(&turn.attributes)["reeve.trace_id"]);
    assert_eq!(records[0]["span"], json!({"trace_id": TRACE, "span_id": hex(&act.span_id)}), "{records}");

    let resource = collector.sent().remove(0).resource_spans.remove(0).resource.expect("a resource");
    assert_eq!(attributes(&resource.attributes)["service.name"], "steward");
    assert!(!collector.holds("hush-"), "a span holds what was said, or a secret");
    let line = log.lines().find(|line| line.contains("a turn has ended")).expect("a line about the turn");
    let line: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!((&line["traceId"], &line["spanId"]), (&json!(TRACE), &json!(hex(&turn.span_id))));
}

#[test]
fn what_was_not_chosen_is_not_sent_and_without_telemetry_nothing_is() {
    let collector = Collector::start();
    let home = traced(&collector).with("AEGIS_OTEL_SAMPLE_RATE", "0");
    let server = home.start();
    let (_, none) = ask(&server, "GET", "/api/v1/tools", None, &json!({}));
    assert!(none.is_some_and(|parent| parent.ends_with("-00")), "the caller is told that it is not sampled");
    ask(&server, "GET", "/api/v1/tools", Some(format!("00-{TRACE}-{CALLER}-00")), &json!({}));
    ask(&server, "GET", "/api/v1/events", Some(format!("00-{TRACE}-{CALLER}-01")), &json!({}));
    ended(server);
    let spans = collector.spans();
    assert_eq!(spans.len(), 1, "{spans:?}");
    assert_eq!(hex(&one(&spans, "GET /api/v1/events").parent_span_id), CALLER);

    let home = Home::new().with("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url);
    let server = home.start();
    let (_, none) = ask(&server, "GET", "/api/v1/tools", Some(format!("00-{TRACE}-{CALLER}-01")), &json!({}));
    assert_eq!(none, None);
    let records = server.get("/api/v1/events?limit=100").expect(200);
    let records = records.as_array().expect("records");
    assert!(!records.is_empty() && records.iter().all(|record| record["span"].is_null()), "{records:?}");
    ended(server);
    assert_eq!(collector.spans().len(), 1);
}

#[test]
fn a_dead_collector_does_no_harm_and_is_said_once() {
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port");
    let collector = Collector {
        url: format!("http://user:hush@{}", gone.local_addr().expect("an address")),
        ..Collector::default()
    };
    drop(gone);
    let home = traced(&collector);
    let server = home.start();
    for _ in 0..2 {
        server.get("/api/v1/tools").expect(200);
        eventually(|| server.log().contains("does not take spans").then_some(()));
    }
    let log = ended(server);
    assert_eq!(log.matches("does not take spans").count(), 1, "{log}");
    assert!(!log.contains("hush"), "{log}");
}

#[test]
fn a_collector_that_never_answers_does_not_hold_up_requests_or_the_end() {
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let collector =
        Collector { url: format!("http://{}", silent.local_addr().expect("an address")), ..Collector::default() };
    let home = traced(&collector);
    let server = home.start();
    for _ in 0..200 {
        server.get("/api/v1/tools").expect(200);
    }
    let began = std::time::Instant::now();
    ended(server);
    // Less than it waits for the collector when nobody is in a hurry.
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A collector that others have written, as `scripts/otlp-collector` installs it.
struct Rotel {
    child: std::process::Child,
    url: String,
    printed: Arc<Mutex<String>>,
}

impl Rotel {
    /// Nothing where it is not installed.
    fn start() -> Option<Self> {
        let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/otlp-collector/lib");
        let versions = std::fs::read_dir(target).ok()?.flatten();
        let program =
            versions.map(|one| one.path().join("site-packages/rotel/rotel-agent")).find(|one| one.exists())?;
        // Both are let go of before the collector takes them; nobody else is given them meanwhile.
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [http, grpc] = ports.each_ref().map(|port| port.local_addr().expect("an address"));
        drop(ports);
        let mut child = std::process::Command::new(program)
            .args(["start", "--exporter", "blackhole", "--debug-log", "traces", "--debug-log-verbosity", "detailed"])
            .args(["--otlp-http-endpoint", &http.to_string(), "--otlp-grpc-endpoint", &grpc.to_string()])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("the collector starts");
        let printed: Arc<Mutex<String>> = Arc::default();
        let (kept, output) = (Arc::clone(&printed), child.stdout.take().expect("its output"));
        std::thread::spawn(move || {
            for line in std::io::BufRead::lines(std::io::BufReader::new(output)).map_while(Result::ok) {
                kept.lock().expect("no panic").push_str(&format!("{line}\n"));
            }
        });
        eventually(|| std::net::TcpStream::connect(http).is_ok().then_some(()));
        Some(Self { child, url: format!("http://{http}"), printed })
    }

    fn printed(&self) -> String {
        self.printed.lock().expect("no panic").clone()
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_collector_that_others_have_written_decodes_what_is_sent() {
    let Some(rotel) = Rotel::start() else {
        println!("skipped: there is no collector in target/otlp-collector; scripts/otlp-collector installs it");
        return;
    };
    let home = Home::new().with("AEGIS_OTEL_ENABLED", "true").with("AEGIS_OTEL_OTLP_ENDPOINT", &rotel.url);
    let server = home.start();
    let parent = Some(format!("00-{TRACE}-{CALLER}-01"));
    ask(&server, "POST", "/api/v1/sessions", parent, &json!({"agent": "general", "title": "traced"}));
    ended(server);
    let spans = eventually(|| Some(rotel.printed()).filter(|text| text.contains("session.create")));
    assert!(spans.contains(TRACE) && spans.contains("POST /api/v1/sessions"), "{spans}");
    assert!(spans.contains("service.name") && spans.contains("reeve"), "{spans}");
}
