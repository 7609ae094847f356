//! A stand-in for a Kubernetes API server. It knows no cluster: it plays back a scene, page by page, and says no the
//! way API servers do. What it cannot show is that a real one behaves so.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificates::Certificates;
use crate::scenes;

/// The token that it knows.
pub(crate) const TOKEN: &str = "reader-token-1";

/// How the server finds out who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// By the token.
    Token,
    /// By a client certificate, which the TLS layer has checked.
    Certificate,
}

pub(crate) struct ScriptedApiServer {
    pub(crate) address: SocketAddr,
    scheme: &'static str,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Script {
    door: Door,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ScriptedApiServer {
    /// Over plain HTTP.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, asked) = (listener.local_addr().expect("an address"), Arc::default());
        let router = router(Door::Token, Arc::clone(&asked));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { address, scheme: "http", asked, task }
    }

    /// Over TLS.
    pub(crate) async fn start_tls(certificates: &Certificates, door: Door) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, asked) = (listener.local_addr().expect("an address"), Arc::default());
        let router = router(door, Arc::clone(&asked));
        let listener = TlsListener { listener, acceptor: acceptor(certificates, door) };
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { address, scheme: "https", asked, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Paths and queries, in the order that they came.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for ScriptedApiServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, from) = self.listener.accept().await.expect("a connection");
            // Who does not get through the handshake is one of the things under test.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

fn acceptor(certificates: &Certificates, door: Door) -> TlsAcceptor {
    let read = |name: &str| CertificateDer::from_pem_slice(&certificates.pem(name)).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(&certificates.pem("server.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match door {
        Door::Token => builder.with_no_client_auth(),
        Door::Certificate => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(read("ca.crt")).expect("an authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let config = builder.with_single_cert(vec![read("server.crt")], key).expect("it fits");
    TlsAcceptor::from(Arc::new(config))
}

fn router(door: Door, asked: Arc<Mutex<Vec<String>>>) -> Router {
    Router::new().fallback(answer).with_state(Script { door, asked })
}

async fn answer(
    State(script): State<Script>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    script.asked.lock().unwrap().push(uri.to_string());
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if script.door == Door::Token && token != format!("Bearer {TOKEN}") {
        return status(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized");
    }
    let whom = headers.get("impersonate-user").and_then(|value| value.to_str().ok()).unwrap_or("reader");
    let path: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    match path.as_slice() {
        [.., "namespaces", "hang", _] => std::future::pending().await,
        [.., "namespaces", "secret", kind] => forbidden(whom, kind),
        [.., "namespaces", "busy", _] => {
            status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "etcdserver: request timed out")
        }
        [.., "namespaces", "proxy", _] => (StatusCode::FOUND, [("location", "https://sso.example")]).into_response(),
        [.., "namespaces", "page", _] => "<html>welcome</html>".into_response(),
        [.., "namespaces", "many", "pods"] => many(&query, 1203),
        [.., "namespaces", "endless", "pods"] => many(&query, usize::MAX),
        ["api", "v1", "namespaces", "shop", "pods", pod, "log"] => log(pod, &query),
        ["api", "v1", "namespaces", name] => match *name {
            "shop" | "empty" => axum::Json(json!({"kind": "Namespace", "metadata": {"name": name}})).into_response(),
            name => missing("namespaces", name),
        },
        ["api", "v1", "namespaces", namespace, kind] => list(&select(scenes::all(kind), Some(namespace), &query)),
        ["api", "v1", "namespaces", namespace, kind, name] => {
            one(select(scenes::all(kind), Some(namespace), &query), kind, name)
        }
        ["api", "v1", "nodes", name] => one(scenes::all("nodes"), "nodes", name),
        ["api", "v1", kind] => list(&select(scenes::all(kind), None, &query)),
        ["apis", "metrics.k8s.io", "v1beta1", "namespaces", "shop", "pods"] => list(&scenes::metrics()),
        _ => (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
    }
}

fn status(code: StatusCode, reason: &str, message: &str) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16(),
    });
    (code, axum::Json(body)).into_response()
}

fn forbidden(whom: &str, kind: &str) -> Response {
    let message = format!(
        "{kind} is forbidden: User \"{whom}\" cannot list resource \"{kind}\" in API group \"\" in the namespace \"secret\""
    );
    status(StatusCode::FORBIDDEN, "Forbidden", &message)
}

fn missing(kind: &str, name: &str) -> Response {
    status(StatusCode::NOT_FOUND, "NotFound", &format!("{kind} \"{name}\" not found"))
}

/// What the selectors of a request leave; those that the tools send.
fn select(items: Vec<Value>, namespace: Option<&str>, query: &BTreeMap<String, String>) -> Vec<Value> {
    let label = query.get("labelSelector").and_then(|selector| selector.split_once('='));
    let field = query.get("fieldSelector").and_then(|selector| selector.split_once('='));
    let fits = |item: &Value| {
        let labelled = label.is_none_or(|(key, value)| item["metadata"]["labels"][key] == value);
        let field = field
            .is_none_or(|(path, value)| item.pointer(&format!("/{}", path.replace('.', "/"))) == Some(&json!(value)));
        labelled && field && namespace.is_none_or(|namespace| item["metadata"]["namespace"] == namespace)
    };
    items.into_iter().filter(fits).collect()
}

fn list(items: &[Value]) -> Response {
    axum::Json(json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": items}))
        .into_response()
}

fn one(items: Vec<Value>, kind: &str, name: &str) -> Response {
    match items.into_iter().find(|item| item["metadata"]["name"] == name) {
        Some(item) => axum::Json(item).into_response(),
        None => missing(kind, name),
    }
}

/// A page of pods, and where the next one begins.
fn many(query: &BTreeMap<String, String>, whole: usize) -> Response {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let (from, limit) = (number("continue").unwrap_or(0), number("limit").unwrap_or(500));
    let to = from.saturating_add(limit).min(whole);
    let items: Vec<Value> = (from..to).map(|n| scenes::plain_pod("many", &format!("pod-{n}"))).collect();
    let next = if to < whole { to.to_string() } else { String::new() };
    axum::Json(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": next}, "items": items}))
        .into_response()
}

fn log(pod: &str, query: &BTreeMap<String, String>) -> Response {
    match (pod, query.get("container").map(String::as_str), query.contains_key("previous")) {
        ("crashing", None | Some("web"), true) => "starting\nFATAL: no DATABASE_URL\n".into_response(),
        ("crashing", None | Some("web"), false) => status(
            StatusCode::BAD_REQUEST,
            "BadRequest",
            "container \"web\" in pod \"crashing\" is waiting to start: CrashLoopBackOff",
        ),
        ("well", Some("web"), false) => {
            let lines: usize = query["tailLines"].parse().unwrap();
            (0..1000).skip(1000 - lines).map(|n| format!("line {n}\n")).collect::<String>().into_response()
        }
        ("well", None, _) => status(
            StatusCode::BAD_REQUEST,
            "BadRequest",
            "a container name must be specified for pod well, choose one of: [web sidecar]",
        ),
        ("well", Some("sidecar"), _) => "".into_response(),
        (pod, ..) => missing("pods", pod),
    }
}
