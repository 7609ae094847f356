//! Reading records back: by id, by filter, by sequence number, and as journeys.

use reeve_types::event::OutcomePart;
use reeve_types::{ActionId, Digest, Effect, Event, EventId, EventType, TenantId, TraceId};
use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter, types::Value};

use crate::project::event_of;
use crate::writer::with_hash;
use crate::{Store, StoreError, micros};

/// Which records a list should show. Empty fields match everything.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Of this conversation.
    pub session_id: Option<String>,
    /// Of this journey.
    pub trace_id: Option<String>,
    /// Of journeys whose id starts so.
    pub trace_id_prefix: Option<String>,
    /// Of these types.
    pub types: Vec<EventType>,
    /// About tools of this agent.
    pub agent: Option<String>,
    /// About tools of this class.
    pub action_class: Option<String>,
    /// Recorded at or after this moment.
    pub since: Option<jiff::Timestamp>,
    /// That ended so.
    pub outcome_status: Option<String>,
    /// That came by this way.
    pub origin: Option<String>,
    /// About this tool.
    pub tool_name: Option<String>,
    /// With this decision of policy.
    pub effect: Option<Effect>,
    /// Before (newest first) or after (oldest first) this sequence number: the cursor.
    pub beyond: Option<u64>,
    /// At most so many.
    pub limit: usize,
    /// Oldest first instead of newest first.
    pub ascending: bool,
}

/// One record as it is stored.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// Its sequence number.
    pub seq: u64,
    /// The record.
    pub event: Event,
    /// As it is served: canonical JSON plus `event_hash`.
    pub json: String,
}

/// A page of records.
#[derive(Debug, Clone)]
pub struct EventPage {
    /// The records.
    pub events: Vec<StoredEvent>,
    /// Where the next page goes on; absent when there is none.
    pub next: Option<u64>,
}

/// Which journeys a list should show. Empty fields match everything.
#[derive(Debug, Clone, Default)]
pub struct JourneyFilter {
    /// Begun at or after this moment.
    pub from: Option<jiff::Timestamp>,
    /// Begun before this moment.
    pub until: Option<jiff::Timestamp>,
    /// This one journey.
    pub trace_id: Option<String>,
    /// Whose id starts so.
    pub trace_id_prefix: Option<String>,
    /// Look at most at so many journeys, newest first.
    pub limit: usize,
}

fn stored(row: &Row<'_>) -> rusqlite::Result<(i64, String, Vec<u8>)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn event(raw: (i64, String, Vec<u8>)) -> Result<StoredEvent, StoreError> {
    let (seq, canonical, hash) = raw;
    let corrupt = |reason: String| StoreError::Corrupt { what: format!("record {seq}"), reason };
    let hash: [u8; 32] = hash.try_into().map_err(|_| corrupt("its hash is not 32 bytes long".to_owned()))?;
    let json = with_hash(&canonical, &Digest(hash));
    Ok(StoredEvent { seq: u64::try_from(seq).unwrap_or(0), event: event_of(&canonical).map_err(corrupt)?, json })
}

impl Store {
    /// One record of a tenant.
    pub async fn event(&self, tenant: &TenantId, id: &EventId) -> Result<Option<StoredEvent>, StoreError> {
        let (tenant, id) = (tenant.as_str().to_owned(), id.clone());
        self.read(move |db| {
            let row = db
                .prepare_cached(
                    "SELECT seq, canonical, event_hash FROM audit.events WHERE event_id = ?1 AND tenant = ?2",
                )?
                .query_row([id.as_str(), tenant.as_str()], stored)
                .optional()?;
            row.map(event).transpose()
        })
        .await
    }

    /// The record of how an act ended.
    pub async fn outcome_of(
        &self,
        tenant: &TenantId,
        trace: &TraceId,
        action: &ActionId,
    ) -> Result<Option<EventId>, StoreError> {
        let (tenant, trace, action) = (tenant.as_str().to_owned(), trace.clone(), action.clone());
        self.read(move |db| {
            let id: Option<String> = db
                .prepare_cached(
                    "SELECT event_id FROM audit.events WHERE trace_id = ?1 AND action_id = ?2 AND tenant = ?3
                       AND event_type = 'tool_execution' ORDER BY seq DESC LIMIT 1",
                )?
                .query_row([trace.as_str(), action.as_str(), tenant.as_str()], |row| row.get(0))
                .optional()?;
            Ok(id.and_then(|id| id.parse().ok()))
        })
        .await
    }

    /// Records of a tenant, newest first unless asked otherwise or a journey is named.
    pub async fn events(&self, tenant: &TenantId, filter: EventFilter) -> Result<EventPage, StoreError> {
        let tenant = tenant.as_str().to_owned();
        self.read(move |db| list(db, &tenant, &filter)).await
    }

    /// Records of all tenants from a sequence number on, for the platform's own consumers: oldest first.
    pub async fn records_from(&self, seq: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT seq, canonical, event_hash FROM audit.events WHERE seq >= ?1 ORDER BY seq LIMIT ?2",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query_map([i64::try_from(seq).unwrap_or(i64::MAX), limit], stored)?;
            rows.map(|row| event(row?)).collect()
        })
        .await
    }

    /// All records of the newest journeys that match, each journey's records oldest first.
    pub async fn journey_records(
        &self,
        tenant: &TenantId,
        filter: JourneyFilter,
    ) -> Result<Vec<Vec<StoredEvent>>, StoreError> {
        let tenant = tenant.as_str().to_owned();
        self.read(move |db| {
            let traces = traces(db, &tenant, &filter)?;
            traces
                .into_iter()
                .map(|trace| {
                    let one =
                        EventFilter { trace_id: Some(trace), limit: 500, ascending: true, ..EventFilter::default() };
                    Ok(list(db, &tenant, &one)?.events)
                })
                .collect()
        })
        .await
    }
}

fn traces(db: &Connection, tenant: &str, filter: &JourneyFilter) -> Result<Vec<String>, StoreError> {
    if let Some(trace) = &filter.trace_id {
        return Ok(vec![trace.clone()]);
    }
    let mut sql = "SELECT trace_id FROM audit.events WHERE tenant = ?".to_owned();
    let mut values = vec![Value::Text(tenant.to_owned())];
    if let Some(from) = filter.from {
        sql.push_str(" AND at_us >= ?");
        values.push(Value::Integer(micros(from)));
    }
    if let Some(until) = filter.until {
        sql.push_str(" AND at_us < ?");
        values.push(Value::Integer(micros(until)));
    }
    if let Some(prefix) = &filter.trace_id_prefix {
        sql.push_str(" AND trace_id >= ? AND trace_id < ?");
        values.extend([Value::Text(prefix.clone()), Value::Text(format!("{prefix}\u{10ffff}"))]);
    }
    sql.push_str(" GROUP BY trace_id ORDER BY max(seq) DESC LIMIT ?");
    values.push(Value::Integer(i64::try_from(filter.limit).unwrap_or(50)));
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn list(db: &Connection, tenant: &str, filter: &EventFilter) -> Result<EventPage, StoreError> {
    let mut sql = "SELECT seq, canonical, event_hash FROM audit.events WHERE tenant = ?".to_owned();
    let mut values = vec![Value::Text(tenant.to_owned())];
    let equal = [
        ("session_id", &filter.session_id),
        ("trace_id", &filter.trace_id),
        ("agent", &filter.agent),
        ("action_class", &filter.action_class),
        ("outcome", &filter.outcome_status),
        ("origin", &filter.origin),
        ("tool_name", &filter.tool_name),
    ];
    for (column, wanted) in equal {
        if let Some(wanted) = wanted {
            sql.push_str(&format!(" AND {column} = ?"));
            values.push(Value::Text(wanted.clone()));
        }
    }
    if let Some(effect) = filter.effect {
        sql.push_str(" AND effect = ?");
        values.push(Value::Text(effect.as_str().to_owned()));
    }
    if let Some(prefix) = &filter.trace_id_prefix {
        sql.push_str(" AND trace_id >= ? AND trace_id < ?");
        values.extend([Value::Text(prefix.clone()), Value::Text(format!("{prefix}\u{10ffff}"))]);
    }
    if !filter.types.is_empty() {
        sql.push_str(&format!(" AND event_type IN ({})", vec!["?"; filter.types.len()].join(",")));
        values.extend(filter.types.iter().map(|kind| Value::Text(kind.as_str().to_owned())));
    }
    if let Some(since) = filter.since {
        sql.push_str(" AND at_us >= ?");
        values.push(Value::Integer(micros(since)));
    }
    if let Some(beyond) = filter.beyond {
        sql.push_str(if filter.ascending { " AND seq > ?" } else { " AND seq < ?" });
        values.push(Value::Integer(i64::try_from(beyond).unwrap_or(i64::MAX)));
    }
    sql.push_str(if filter.ascending { " ORDER BY seq" } else { " ORDER BY seq DESC" });
    sql.push_str(" LIMIT ?");
    values.push(Value::Integer(i64::try_from(filter.limit.saturating_add(1)).unwrap_or(101)));
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), stored)?;
    let mut events: Vec<StoredEvent> = rows.map(|row| event(row?)).collect::<Result<_, _>>()?;
    let more = events.len() > filter.limit;
    events.truncate(filter.limit);
    let next = if more { events.last().map(|last| last.seq) } else { None };
    Ok(EventPage { events, next })
}

impl StoredEvent {
    /// How it ended, when it says so.
    pub fn outcome(&self) -> Option<&OutcomePart> {
        self.event.outcome.as_ref()
    }
}
