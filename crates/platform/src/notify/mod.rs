//! Telling people: every question to people, and how each was settled, goes to every channel that is set up.
//!
//! The log is read in order from where reading stopped; notices go through an outbox in the store, so that neither a
//! crash nor a dead receiver loses one. A notice is retried for a day, then given up visibly.

pub mod wording;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use reeve_store::{Delivery, StoredEvent};
use reeve_types::{ApprovalStatus, Event, EventType};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::latency::{BUCKETS_MS, Latency};
use crate::{Platform, PlatformError};

/// How often a notice is tried before it is given up.
const ATTEMPTS_MAX: u32 = 12;
/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(3 * 3600);
/// How long one try may take.
const TRY_LIMIT: Duration = Duration::from_secs(15);
/// How often the outbox is looked at when nothing happens.
const IDLE: Duration = Duration::from_secs(5);

/// What happened to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// People are asked.
    ApprovalCreated,
    /// It was settled.
    ApprovalResolved,
}

/// What people are told about a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// What happened.
    pub event_type: NoticeKind,
    /// The question.
    pub approval_id: String,
    /// How it stands.
    pub status: ApprovalStatus,
    /// How much harm the act could do.
    pub action: String,
    /// The tool.
    pub tool: String,
    /// The agent.
    pub agent: String,
    /// `database:orders`.
    pub resource: String,
    /// The arguments in words, secrets masked.
    pub arguments: String,
    /// Who asked for the act.
    pub requested_by: String,
    /// When.
    pub requested_at: jiff::Timestamp,
    /// When this happened.
    pub timestamp: jiff::Timestamp,
    /// Until when it can be answered.
    pub expires_at: jiff::Timestamp,
    /// Who settled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_by: Option<String>,
    /// When it was settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<jiff::Timestamp>,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Where it can be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// A way to tell people.
pub trait Channel: Send + Sync {
    /// `webhook`, `email`.
    fn name(&self) -> &'static str;

    /// Whether this channel carries such a notice.
    fn wants(&self, notice: &Notice) -> bool {
        let _ = notice;
        true
    }

    /// Tells. An error is a sentence that names no secret; it is tried again later.
    fn tell<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), String>>;

    /// The addresses of people to whom this channel speaks one by one.
    fn receivers(&self) -> &[String] {
        &[]
    }

    /// The same with links, `(yes, no)`, for those of the receivers who can answer with one click.
    fn tell_with_links<'a>(&'a self, notice: &'a Notice, links: &'a Links) -> BoxFuture<'a, Result<(), String>> {
        let _ = links;
        self.tell(notice)
    }
}

/// By address: a link that says yes and one that says no.
pub type Links = BTreeMap<String, (String, String)>;

/// What became of tries to tell people, for metrics; they start at zero with the process.
#[derive(Debug)]
pub struct NoticeCounts {
    webhooks_sent: AtomicU64,
    webhooks_failed: AtomicU64,
    /// How long channels took to take a notice, or to fail to.
    pub latency: Latency,
}

impl Default for NoticeCounts {
    fn default() -> Self {
        Self {
            webhooks_sent: AtomicU64::new(0),
            webhooks_failed: AtomicU64::new(0),
            latency: Latency::new(&BUCKETS_MS),
        }
    }
}

impl NoticeCounts {
    fn count(&self, channel: &str, arrived: bool, took: Duration) {
        self.latency.observe(took);
        if channel == "webhook" {
            let counter = if arrived { &self.webhooks_sent } else { &self.webhooks_failed };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Webhooks that took a notice, and tries that failed.
    pub fn webhooks(&self) -> (u64, u64) {
        (self.webhooks_sent.load(Ordering::Relaxed), self.webhooks_failed.load(Ordering::Relaxed))
    }
}

impl Platform {
    /// Reads the log for what people should be told and carries the outbox, until `stop`.
    pub(crate) async fn tell_people(&self, stop: CancellationToken) {
        if self.parts.channels.is_empty() {
            return;
        }
        let mut records = self.store().subscribe();
        loop {
            if let Err(error) = self.fill_outbox().await {
                tracing::error!("notices could not be prepared: {error}");
            }
            self.carry_outbox(&stop).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(IDLE) => {}
                () = next_notice(&mut records) => {}
            }
        }
    }

    async fn fill_outbox(&self) -> Result<(), PlatformError> {
        let store = self.store();
        // On the first start with a channel only what happens from now on is told.
        let mut from = match store.notified_up_to().await? {
            Some(from) => from,
            None => {
                let size = store.log_head().await?.size;
                store.enqueue(&reeve_types::TenantId::default_tenant(), vec![], size, self.clock().now()).await?;
                size
            }
        };
        loop {
            let page = store.records_from(from, 500).await?;
            let Some(last) = page.last().map(|record| record.seq) else { return Ok(()) };
            for record in page.iter().filter(|record| is_notice(&record.event)) {
                self.enqueue(record).await?;
            }
            from = last + 1;
            store.enqueue(&reeve_types::TenantId::default_tenant(), vec![], from, self.clock().now()).await?;
        }
    }

    async fn enqueue(&self, record: &StoredEvent) -> Result<(), PlatformError> {
        let Some(notice) = self.notice(&record.event).await? else { return Ok(()) };
        let payload = serde_json::to_string(&notice).map_err(|e| PlatformError::Invalid(e.to_string()))?;
        let subject = record.event.event_id.to_string();
        let wanted = self.parts.channels.iter().filter(|channel| channel.wants(&notice));
        let notices = wanted.map(|channel| (subject.clone(), channel.name(), payload.clone())).collect();
        self.store().enqueue(&record.event.tenant, notices, record.seq + 1, self.clock().now()).await?;
        Ok(())
    }

    async fn notice(&self, event: &Event) -> Result<Option<Notice>, PlatformError> {
        let Some(part) = &event.approval else { return Ok(None) };
        let Some(approval) = self.store().approval(&event.tenant, &part.approval_id).await? else { return Ok(None) };
        let created = event.event_type == EventType::ApprovalRequested;
        let base = self.parts.options.base_url.as_deref().map(|url| url.trim_end_matches('/'));
        Ok(Some(Notice {
            event_type: if created { NoticeKind::ApprovalCreated } else { NoticeKind::ApprovalResolved },
            approval_id: approval.approval_id.to_string(),
            status: if created { ApprovalStatus::Pending } else { part.status },
            action: approval.action_class.to_string(),
            tool: approval.tool_name.clone(),
            agent: approval.agent_name.clone(),
            resource: approval.resource.label(),
            arguments: in_words(&approval.arguments),
            requested_by: approval.requester.label(),
            requested_at: approval.requested_at,
            timestamp: event.timestamp,
            expires_at: approval.expires_at,
            resolved_by: (!created).then(|| approval.resolved_by.clone()).flatten(),
            resolved_at: (!created).then_some(approval.resolved_at).flatten(),
            reason: if created { approval.message.clone() } else { part.reason.clone() },
            link: base.map(|base| format!("{base}/api/v1/approvals/{}", approval.approval_id)),
        }))
    }

    async fn carry_outbox(&self, stop: &CancellationToken) {
        let now = self.clock().now();
        let due = match self.store().due_deliveries(now).await {
            Ok(due) => due,
            Err(error) => return tracing::error!("the outbox could not be read: {}", error.chain()),
        };
        for delivery in due {
            let now = self.clock().now();
            let next = now.checked_add(TRY_LIMIT + pause(delivery.attempts)).unwrap_or(now);
            if let Err(error) = self.store().begin_delivery(delivery.delivery_id, next).await {
                return tracing::error!("a notice waits until the outbox can be written: {}", error.chain());
            }
            // A try may be broken off; that something arrived is noted even while the server stops.
            let told = tokio::select! {
                () = stop.cancelled() => return,
                told = self.try_to_tell(&delivery) => told,
            };
            let now = self.clock().now();
            let noted = match told {
                Ok(()) => self.store().delivered(delivery.delivery_id, now).await,
                Err(reason) => {
                    let again = (delivery.attempts + 1 < ATTEMPTS_MAX)
                        .then(|| now.checked_add(pause(delivery.attempts)).unwrap_or(now));
                    let channel = delivery.channel.as_str();
                    tracing::warn!(channel, attempt = delivery.attempts + 1, "a notice did not arrive: {reason}");
                    self.store().not_delivered(delivery.delivery_id, reason, again, now).await
                }
            };
            if let Err(error) = noted {
                tracing::error!("the outbox could not be written: {}", error.chain());
            }
        }
    }

    async fn try_to_tell(&self, delivery: &Delivery) -> Result<(), String> {
        // A channel that was taken out of the configuration must not hold up the others; it may come back.
        let channel = self.channel(&delivery.channel).ok_or("this channel is not set up any more")?;
        let notice: Notice =
            serde_json::from_str(&delivery.payload).map_err(|e| format!("the notice cannot be read: {e}"))?;
        let event = match notice.event_type {
            NoticeKind::ApprovalCreated => "approval_created",
            NoticeKind::ApprovalResolved => "approval_resolved",
        };
        let span = tracing::debug_span!(
            parent: None,
            "channel",
            otel.kind = "internal",
            otel.name = format!("channel.{}.{event}", channel.name()),
            otel.status_code = tracing::field::Empty,
            reeve.notice.attempt = i64::from(delivery.attempts) + 1,
        );
        let began = Instant::now();
        // Made at this moment and never stored: whoever reads the outbox cannot answer for anybody.
        let links = match notice.event_type {
            NoticeKind::ApprovalCreated => self.links_for(channel.receivers(), &notice.approval_id).await,
            NoticeKind::ApprovalResolved => Links::new(),
        };
        let telling = channel.tell_with_links(&notice, &links);
        let told = match tokio::time::timeout(TRY_LIMIT, telling).instrument(span.clone()).await {
            Ok(told) => told,
            Err(_) => Err(format!("no answer within {} s", TRY_LIMIT.as_secs())),
        };
        self.notices().count(channel.name(), told.is_ok(), began.elapsed());
        if told.is_err() {
            span.record("otel.status_code", "error");
        }
        told
    }

    fn channel(&self, name: &str) -> Option<&Arc<dyn Channel>> {
        self.parts.channels.iter().find(|channel| channel.name() == name)
    }
}

/// 2 s, 4 s, 8 s … up to three hours.
fn pause(attempts: u32) -> Duration {
    Duration::from_secs(2u64.saturating_pow(attempts.saturating_add(1))).min(PAUSE_MAX)
}

fn is_notice(event: &Event) -> bool {
    matches!(event.event_type, EventType::ApprovalRequested | EventType::ApprovalResolved)
}

fn in_words(arguments: &serde_json::Value) -> String {
    let Some(object) = arguments.as_object() else { return String::new() };
    let words: Vec<String> = object
        .iter()
        .map(|(key, value)| match value {
            serde_json::Value::String(text) => format!("{key}={text}"),
            other => format!("{key}={other}"),
        })
        .collect();
    words.join(" ").chars().take(500).collect()
}

async fn next_notice(records: &mut tokio::sync::broadcast::Receiver<Arc<reeve_store::Published>>) {
    while let Ok(record) = records.recv().await {
        if is_notice(&record.event) {
            return;
        }
    }
}
