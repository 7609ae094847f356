//! Carrying ended spans to the collector: a bounded bag, and one task that empties it. A full bag drops what comes, a
//! collector that does not answer loses what it was sent; both are counted and said, once each time it begins and ends.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Spans that wait at most.
const BAG_SPANS_MAX: usize = 2048;
/// Spans that go at once at most.
const BATCH_SPANS_MAX: usize = 512;
/// How long a span waits for others to go with.
const GATHERED_FOR: Duration = Duration::from_secs(1);

/// What became of spans.
#[derive(Debug, Default)]
struct Carried {
    arrived: AtomicU64,
    /// The bag was full.
    dropped: AtomicU64,
    /// The collector did not take them.
    lost: AtomicU64,
}

impl Carried {
    fn missing(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed) + self.lost.load(Ordering::Relaxed)
    }
}

/// Where ended spans are put. Putting one in never waits.
pub(super) struct Mailbag {
    spans: mpsc::Sender<SpanData>,
    carried: Arc<Carried>,
}

/// The task that carries them.
pub(super) struct Postman {
    stop: CancellationToken,
    task: JoinHandle<()>,
    carried: Arc<Carried>,
    place: String,
}

impl Mailbag {
    /// An empty bag, and its task; `place` is what log lines call the collector.
    pub(super) fn begin(exporter: impl SpanExporter + 'static, place: String) -> (Self, Postman) {
        let (spans, waiting) = mpsc::channel(BAG_SPANS_MAX);
        let (carried, stop) = (Arc::new(Carried::default()), CancellationToken::new());
        let round = Round { exporter, waiting, carried: Arc::clone(&carried), place: place.clone(), silent: false };
        let task = tokio::spawn(round.go(stop.clone()));
        (Self { spans, carried: Arc::clone(&carried) }, Postman { stop, task, carried, place })
    }
}

impl fmt::Debug for Mailbag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbag").field("carried", &self.carried).finish_non_exhaustive()
    }
}

impl SpanProcessor for Mailbag {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.spans.try_send(span).is_err() {
            self.carried.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Postman {
    /// Carries what is in the bag, and goes; what is not carried within the limit is lost.
    pub(super) async fn close(self, within: Duration) {
        self.stop.cancel();
        let stopper = self.task.abort_handle();
        if tokio::time::timeout(within, self.task).await.is_err() {
            stopper.abort();
            tracing::warn!("{} took longer than {within:?} to accept the last spans; they are lost", self.place);
        }
        let (arrived, missing) = (self.carried.arrived.load(Ordering::Relaxed), self.carried.missing());
        if missing > 0 {
            tracing::warn!(arrived, missing, "{missing} spans did not reach {}; {arrived} did", self.place);
        }
    }
}

struct Round<E> {
    exporter: E,
    waiting: mpsc::Receiver<SpanData>,
    carried: Arc<Carried>,
    place: String,
    /// Whether the collector did not take the last batch.
    silent: bool,
}

impl<E: SpanExporter> Round<E> {
    async fn go(mut self, stop: CancellationToken) {
        let mut batch = Vec::new();
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                got = self.waiting.recv_many(&mut batch, BATCH_SPANS_MAX) => if got == 0 { return },
            }
            let enough = tokio::time::sleep(GATHERED_FOR);
            tokio::pin!(enough);
            while batch.len() < BATCH_SPANS_MAX {
                let room = BATCH_SPANS_MAX - batch.len();
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = &mut enough => break,
                    got = self.waiting.recv_many(&mut batch, room) => if got == 0 { break },
                }
            }
            // Told to stop while a batch is on its way: it is waited for, within the limit of whoever stops.
            self.carry(std::mem::take(&mut batch)).await;
        }
        self.waiting.close();
        while self.waiting.recv_many(&mut batch, BATCH_SPANS_MAX).await > 0 {
            self.carry(std::mem::take(&mut batch)).await;
            if self.silent {
                break;
            }
        }
        while self.waiting.recv().await.is_some() {
            self.carried.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn carry(&mut self, batch: Vec<SpanData>) {
        let count = batch.len() as u64;
        match self.exporter.export(batch).await {
            Ok(()) => {
                self.carried.arrived.fetch_add(count, Ordering::Relaxed);
                if std::mem::take(&mut self.silent) {
                    tracing::info!("{} takes spans again; {} did not reach it", self.place, self.carried.missing());
                }
            }
            Err(_) => {
                self.carried.lost.fetch_add(count, Ordering::Relaxed);
                if !std::mem::replace(&mut self.silent, true) {
                    // The exporter's own words may repeat the address, and with it a password.
                    tracing::warn!(
                        "{} does not take spans; they are dropped until it does, and nothing else waits for it. Is a \
                         collector listening there for OTLP over HTTP (otel.endpoint)?",
                        self.place
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::error::OTelSdkError;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tokio::sync::Semaphore;

    use super::*;

    /// A collector that takes one batch for each leaf it is given, and refuses when told to.
    #[derive(Debug)]
    struct Slow {
        turns: Arc<Semaphore>,
        refuses: bool,
    }

    impl SpanExporter for Slow {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            if let Ok(turn) = self.turns.acquire().await {
                turn.forget();
            }
            if self.refuses { Err(OTelSdkError::InternalFailure("no".to_owned())) } else { Ok(()) }
        }
    }

    fn ended(provider: &SdkTracerProvider, count: usize) {
        for _ in 0..count {
            provider.tracer("t").start("x").end();
        }
    }

    #[tokio::test]
    async fn a_full_bag_drops_and_counts_and_nothing_waits() {
        let turns = Arc::new(Semaphore::new(0));
        let (bag, postman) = Mailbag::begin(Slow { turns: Arc::clone(&turns), refuses: false }, "c".to_owned());
        let provider = SdkTracerProvider::builder().with_span_processor(bag).build();
        // One thread, no wait: the task cannot have taken any.
        ended(&provider, BAG_SPANS_MAX + 7);
        assert_eq!(postman.carried.dropped.load(Ordering::Relaxed), 7);
        turns.add_permits(100);
        let carried = Arc::clone(&postman.carried);
        postman.close(Duration::from_secs(20)).await;
        assert_eq!(carried.arrived.load(Ordering::Relaxed), BAG_SPANS_MAX as u64);
    }

    #[tokio::test]
    async fn what_the_collector_refuses_is_counted() {
        let turns = Arc::new(Semaphore::new(100));
        let (bag, postman) = Mailbag::begin(Slow { turns, refuses: true }, "c".to_owned());
        let provider = SdkTracerProvider::builder().with_span_processor(bag).build();
        ended(&provider, BATCH_SPANS_MAX + 3);
        let carried = Arc::clone(&postman.carried);
        postman.close(Duration::from_secs(20)).await;
        assert_eq!(carried.lost.load(Ordering::Relaxed), BATCH_SPANS_MAX as u64 + 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_never_answers_does_not_hold_up_the_end() {
        let (bag, postman) =
            Mailbag::begin(Slow { turns: Arc::new(Semaphore::new(0)), refuses: false }, "c".to_owned());
        let provider = SdkTracerProvider::builder().with_span_processor(bag).build();
        ended(&provider, 1);
        let began = tokio::time::Instant::now();
        postman.close(Duration::from_secs(2)).await;
        assert_eq!(began.elapsed().as_secs(), 2);
    }
}
