//! Calls that other programs make, handed on to a provider over a real socket.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use reeve_gate::relay::{ModelRelay as _, RelayAnswer, RelayCall, RelayMeter, Speech};
use reeve_model::{Catalog, ModelsConfig};
use reeve_types::TenantId;
use reeve_types::model::Usage;
use tokio::sync::Notify;

const KEY: &str = "sk-the-real-one";

#[derive(Clone, Default)]
struct Heard {
    requests: Arc<Mutex<Vec<String>>>,
    go_on: Arc<Notify>,
}

/// Says what it was asked, streams in two pieces, and repeats keys in refusals.
async fn provider(State(heard): State<Heard>, request: Request) -> Response {
    let line = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
    heard.requests.lock().expect("no panic").push(line);
    if request.uri().path().ends_with("/models") {
        return (StatusCode::UNAUTHORIZED, format!("the key {KEY} is wrong")).into_response();
    }
    let pieces = futures_util::stream::unfold(0, move |number| {
        let go_on = Arc::clone(&heard.go_on);
        async move {
            match number {
                0 => Some((Ok::<_, std::io::Error>(Bytes::from_static(b"first ")), 1)),
                1 => {
                    go_on.notified().await;
                    Some((Ok(Bytes::from_static(b"second")), 2))
                }
                _ => None,
            }
        }
    });
    ([("set-cookie", "a=b"), ("request-id", "req_1")], Body::from_stream(pieces)).into_response()
}

async fn house() -> (Catalog, Heard) {
    let heard = Heard::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = axum::Router::new().fallback(provider).with_state(heard.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let text = format!(
        "[providers.house]\nkind = 'anthropic'\nbase_url = 'http://{address}'\nkey = '{KEY}'\nmodels = ['m-1']\n\
         tenants.acme.key = 'sk-of-acme'\n\
         [providers.keyless]\nkind = 'gemini'\n"
    );
    let config: ModelsConfig = toml::from_str(&text).expect("a configuration");
    (Catalog::new(config).expect("a catalog"), heard)
}

/// Counts what is used.
#[derive(Default)]
struct Meter(Mutex<Vec<(String, Usage)>>);

impl RelayMeter for Meter {
    fn used(&self, model: &str, more: Usage) {
        self.0.lock().expect("no panic").push((model.to_owned(), more));
    }
}

fn meter() -> Arc<Meter> {
    Arc::default()
}

fn call(method: &str, path: &str, body: &'static str) -> RelayCall {
    let headers = [("x-api-key", "the-agents"), ("authorization", "Bearer x"), ("anthropic-beta", "b-1")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    RelayCall { method: method.to_owned(), path: path.to_owned(), headers, body: Bytes::from_static(body.as_bytes()) }
}

async fn text(answer: RelayAnswer) -> String {
    let pieces: Vec<Bytes> = answer.body.map(|piece| piece.expect("a piece")).collect().await;
    String::from_utf8(pieces.concat()).expect("UTF-8")
}

#[tokio::test]
async fn a_call_goes_on_with_the_tenants_key_and_its_answer_comes_as_it_is_said() {
    let (catalog, heard) = house().await;
    let tenant = TenantId::default_tenant();
    let mut answer =
        catalog.relay(&tenant, "house", call("POST", "/v1/messages?beta=true", r#"{"model":"m-1"}"#), meter()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers, [("request-id".to_owned(), "req_1".to_owned())]);
    let first = tokio::time::timeout(Duration::from_secs(10), answer.body.next()).await.expect("in time");
    assert_eq!(first.expect("a piece").expect("bytes"), "first ", "before the rest is there");
    heard.go_on.notify_one();
    assert_eq!(text(answer).await, "second");
    heard.go_on.notify_one();
    let acme: TenantId = "acme".parse().expect("a tenant");
    let asked = call("POST", "/v1/messages", r#"{"model":"m-1"}"#);
    text(catalog.relay(&acme, "house", asked, meter()).await).await;
    let requests = heard.requests.lock().expect("no panic").clone();
    let [house, acme] = requests.as_slice() else { panic!("{requests:?}") };
    assert!(house.starts_with("POST /v1/messages?beta=true") && house.contains("b-1"), "{house}");
    assert!(
        house.contains("anthropic-version") && !house.contains("the-agents") && !house.contains("Bearer"),
        "{house}"
    );
    assert!(house.contains(KEY) && acme.contains("sk-of-acme") && !acme.contains("the-agents"), "{acme}");
}

#[tokio::test]
async fn a_refusal_does_not_repeat_the_key_and_what_is_no_call_of_a_listed_model_is_refused_here() {
    let (catalog, heard) = house().await;
    let tenant = TenantId::default_tenant();
    let refused = catalog.relay(&tenant, "house", call("GET", "/v1/models", ""), meter()).await;
    assert_eq!(refused.status, 401);
    assert_eq!(text(refused).await, "the key *** is wrong");
    for (path, body) in
        [("/v1/messages", r#"{"model":"m-2"}"#), ("/v1/messages", "no request"), ("/v1/files", r#"{"model":"m-1"}"#)]
    {
        let refused = catalog.relay(&tenant, "house", call("POST", path, body), meter()).await;
        assert_eq!(refused.status, 404, "{path} {body}");
        assert!(text(refused).await.contains("reeve:"));
    }
    assert_eq!(catalog.relay(&tenant, "gone", call("GET", "/v1/models", ""), meter()).await.status, 404);
    assert_eq!(heard.requests.lock().expect("no panic").len(), 1, "only the first went out");
}

#[tokio::test]
async fn a_provider_is_found_by_its_name_or_by_how_it_is_spoken_to() {
    let (catalog, _) = house().await;
    let found = catalog.provider(None, Some(Speech::Anthropic), None).expect("a provider");
    assert_eq!((found.provider.as_str(), found.model.as_deref()), ("house", Some("m-1")));
    assert!(catalog.provider(None, Some(Speech::Gemini), None).expect_err("no key").contains("`gemini`"));
    assert!(catalog.provider(Some("keyless"), None, None).expect_err("no key").contains("no key"));
    assert!(catalog.provider(Some("house"), Some(Speech::Openai), None).expect_err("another").contains("speaks"));
    assert!(catalog.provider(Some("nobody"), None, None).expect_err("none").contains("nobody"));
}

#[tokio::test]
async fn the_tokens_of_an_answer_that_passes_are_counted_and_priced_before_it_has_passed() {
    const ANSWER: &str = "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":100}}}\n\n\
                          data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":10}}\n\n";
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = axum::Router::new().fallback(async || ([("content-type", "text/event-stream")], ANSWER));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let config = format!(
        "[providers.house]\nkind = 'anthropic'\nbase_url = 'http://{address}'\nkey = '{KEY}'\n\
         [[prices]]\nmodel = 'm-1'\ninput = 3.0\noutput = 15.0\n"
    );
    let catalog = Catalog::new(toml::from_str(&config).expect("a configuration")).expect("a catalog");
    let (tenant, meter) = (TenantId::default_tenant(), meter());
    let asked = call("POST", "/v1/messages", r#"{"model":"m-1"}"#);
    let answer = catalog.relay(&tenant, "house", asked, Arc::clone(&meter) as Arc<dyn RelayMeter>).await;
    assert_eq!(text(answer).await, ANSWER, "and nothing of it is changed");
    let heard = meter.0.lock().expect("no panic").clone();
    let mut sum = Usage::default();
    heard.iter().for_each(|(model, more)| {
        assert_eq!(model, "m-1");
        sum += *more;
    });
    let cost_micro_usd = Some(100 * 3 + 10 * 15);
    assert_eq!(sum, Usage { input_tokens: 100, output_tokens: 10, cost_micro_usd, ..Usage::default() });
}
