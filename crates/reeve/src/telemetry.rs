//! Spans for a collector that speaks OTLP over HTTP: Jaeger, Tempo, and their like.
//!
//! The crates below know only `tracing`. A span of theirs that says its `otel.kind` is for traces and nothing else is: it
//! holds names, ids and numbers, never a prompt, an argument or a result. While this is off no such span is made.

mod post;
mod requests;

use std::time::Duration;

use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanExporter as _};
use reeve_types::event::SpanPart;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use crate::config::{OtelConfig, Sampling};
use post::{Mailbag, Postman};
pub(crate) use requests::traced;

/// How long the collector may take to accept a batch.
const POST_WITHIN: Duration = Duration::from_secs(10);
/// How long it may take to be connected to.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Spans on their way to a collector.
pub(crate) struct Telemetry {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    postman: Postman,
}

impl Telemetry {
    /// Begins to carry spans. Nothing waits for the collector, now or later. Must be called inside the runtime.
    pub(crate) fn start(config: &OtelConfig) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(POST_WITHIN)
            .connect_timeout(CONNECT_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(config.endpoint.as_str())
            .with_timeout(POST_WITHIN)
            .build()?;
        let resource = resource(&config.service_name);
        exporter.set_resource(&resource);
        let (bag, postman) = Mailbag::begin(exporter, place(&config.endpoint));
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(sampler(config.sampling))
            .with_span_processor(bag)
            .build();
        Ok(Self { tracer: provider.tracer("reeve"), provider, postman })
    }

    /// What takes spans out of the stream of events.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let for_traces = filter_fn(|meta| meta.is_span() && meta.fields().field("otel.kind").is_some());
        tracing_opentelemetry::layer()
            .with_tracer(self.tracer.clone())
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(for_traces.with_max_level_hint(LevelFilter::DEBUG))
    }

    /// Sends what is left, within a limit.
    pub(crate) async fn close(self, within: Duration) {
        self.postman.close(within).await;
        // Told last: what ended while the rest was on its way has no way any more.
        let _ = self.provider.shutdown();
    }
}

/// The span that the running code belongs to, as log lines and records name it.
pub(crate) fn here() -> Option<SpanPart> {
    Context::map_current(|context| {
        let span = context.span();
        let ids = span.span_context();
        ids.is_valid().then(|| SpanPart { trace_id: ids.trace_id().to_string(), span_id: ids.span_id().to_string() })
    })
}

/// A subscriber's root with a layer for log lines.
pub(crate) type Lines = Box<dyn Layer<Registry> + Send + Sync>;

/// Who speaks. `OTEL_RESOURCE_ATTRIBUTES` adds to it.
fn resource(service_name: &str) -> Resource {
    Resource::builder()
        .with_service_name(service_name.to_owned())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
        .build()
}

fn sampler(sampling: Sampling) -> Sampler {
    let here = Sampler::TraceIdRatioBased(sampling.part);
    if sampling.caller_decides { Sampler::ParentBased(Box::new(here)) } else { here }
}

/// The collector as log lines name it: an address may hold a password.
fn place(endpoint: &str) -> String {
    reqwest::Url::parse(endpoint).map_or_else(
        |_| "the collector".to_owned(),
        |url| {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_named_without_its_password() {
        assert_eq!(place("https://user:hush@tempo.example:443/x?y"), "https://tempo.example");
    }
}
