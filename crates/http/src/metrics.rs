//! Numbers for Prometheus. Labels hold routes, methods, statuses and agents: never a name of a person, target or tool.

mod agents;

use std::time::Duration;

use axum::http::Method;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use reeve_platform::Platform;
use reeve_store::StoreError;
use reeve_types::session::SessionState;

/// The media type of the text that [`HttpMetrics::encode`] writes.
pub(crate) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    method: String,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    what: &'static str,
}

/// Numbers of those who watch sessions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watching {
    pub(crate) clients: Gauge,
    pub(crate) events: Counter,
}

/// Numbers of sessions, counted where they are asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct SessionCounters {
    pub(crate) created: Counter,
    pub(crate) prompts: Counter,
    pub(crate) prompts_refused: Counter,
    pub(crate) batches: Counter,
    watching: Watching,
}

impl SessionCounters {
    /// Under Reeve's names, and under those that a guide's dashboards read.
    fn register(&self, own: &mut Registry, aegis: &mut Registry) {
        let clients = self.watching.clients.clone();
        own.register("sse_clients", "Streams and sockets of sessions that are open", clients);
        own.register("session_events", "Events of sessions told to those who watch", self.watching.events.clone());
        own.register("sessions_created", "Sessions made", self.created.clone());
        own.register("prompts", "Prompts taken in", self.prompts.clone());
        aegis.register("sessions_created", "Sessions made", self.created.clone());
        aegis.register("prompts_sent", "Prompts taken in", self.prompts.clone());
        aegis.register("prompts_delivered", "Prompts taken in", self.prompts.clone());
        aegis.register("prompts_failed", "Prompts refused", self.prompts_refused.clone());
        aegis.register("batches_created", "Batches of sessions made", self.batches.clone());
    }
}

/// Counters of the API itself; they start at zero with the process.
pub(crate) struct HttpMetrics {
    registry: Registry,
    aegis: Registry,
    pub(crate) sessions: SessionCounters,
    requests: Family<Answered, Counter>,
    durations: Family<Asked, Histogram, fn() -> Histogram>,
}

fn durations() -> Histogram {
    Histogram::new([0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0])
}

impl Default for HttpMetrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("reeve");
        let requests = Family::default();
        let family = Family::<Asked, Histogram, fn() -> Histogram>::new_with_constructor(durations);
        registry.register("http_requests", "Requests answered, by route and status", requests.clone());
        registry.register_with_unit("http_request_duration", "How long answers took", Unit::Seconds, family.clone());
        let (mut aegis, sessions) = (Registry::with_prefix("aegis"), SessionCounters::default());
        sessions.register(&mut registry, &mut aegis);
        Self { registry, aegis, sessions, requests, durations: family }
    }
}

impl HttpMetrics {
    /// The numbers of those who watch sessions.
    pub(crate) fn watching(&self) -> Watching {
        self.sessions.watching.clone()
    }

    /// Counts one answered request.
    pub(crate) fn observe(&self, method: &Method, route: &str, status: u16, took: Duration) {
        let method = known(method).to_owned();
        let answered = Answered { method: method.clone(), route: route.to_owned(), status };
        self.requests.get_or_create(&answered).inc();
        self.durations.get_or_create(&Asked { method, route: route.to_owned() }).observe(took.as_secs_f64());
    }

    /// Everything as text, with the platform's own numbers of this moment.
    pub(crate) async fn encode(&self, platform: &Platform) -> Result<String, StoreError> {
        let own = platform_numbers(platform).await?;
        let (sessions, aegis) = session_numbers(platform).await?;
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &own))
            .and_then(|()| encode_registry(&mut text, &sessions))
            .and_then(|()| encode_registry(&mut text, &self.aegis))
            .and_then(|()| encode_registry(&mut text, &aegis))
            .and_then(|()| encode_registry(&mut text, &agents::mismatches(platform)))
            .and_then(|()| encode_eof(&mut text));
        Ok(text)
    }
}

/// A client may send any word as a method; only those of the API become labels.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

async fn platform_numbers(platform: &Platform) -> Result<Registry, StoreError> {
    let store = platform.store();
    let head = store.log_head().await?;
    let (deliveries, _) = store.delivery_counts().await?;
    let pending = store.pending_approvals(platform.clock().now()).await?;

    let mut registry = Registry::with_prefix("reeve");
    let acts = Family::<What, Counter>::default();
    registry.register("acts", "Acts by what became of them", acts.clone());
    for (what, count) in platform.gate().counts() {
        acts.get_or_create(&What { what }).inc_by(count);
    }
    let outbox = Family::<What, Gauge>::default();
    registry.register("notices", "Notices to people in the outbox, by state", outbox.clone());
    for (what, count) in
        [("pending", deliveries.pending), ("delivered", deliveries.delivered), ("failed", deliveries.failed)]
    {
        set(&outbox.get_or_create(&What { what }), count);
    }
    let writable = u64::from(store.health().is_ok());
    for (name, help, value) in [
        ("approvals_pending", "Questions that wait for people", pending),
        ("audit_records", "Records in the audit log", head.size),
        ("audit_signed_records", "Records under a signed checkpoint", head.signed_size),
        ("audit_witnessed_records", "Records under a checkpoint that a witness cosigned", head.witnessed_size),
        ("audit_writable", "Whether the audit log could commit when it was last tried", writable),
    ] {
        let gauge = Gauge::<i64>::default();
        set(&gauge, value);
        registry.register(name, help, gauge);
    }
    Ok(registry)
}

/// How many sessions are in which state, under Reeve's name and under the guide's.
async fn session_numbers(platform: &Platform) -> Result<(Registry, Registry), StoreError> {
    let (mut own, mut aegis) = (Registry::with_prefix("reeve"), Registry::with_prefix("aegis"));
    let counts = platform.store().session_counts_of_all().await?;
    let (states, active) = (Family::<InState, Gauge>::default(), Gauge::<i64>::default());
    own.register("sessions", "Sessions by what they are doing", states.clone());
    aegis.register("sessions_active", "Sessions with a turn in flight", active.clone());
    for state in SessionState::ALL {
        let count = counts.iter().find(|(word, _)| word == state.as_str()).map_or(0, |(_, count)| *count);
        set(&states.get_or_create(&InState { state: state.as_str() }), count);
        if state.in_turn() {
            active.inc_by(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
    agents::register(platform, &mut own, &mut aegis);
    Ok((own, aegis))
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
