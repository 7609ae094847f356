//! Notices that must reach someone: an outbox with retries, so that a crash or a dead webhook loses none.

use reeve_types::TenantId;
use rusqlite::{Row, params};

use crate::{Store, StoreError, micros};

/// A notice that is due.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Its number.
    pub delivery_id: i64,
    /// Where it goes: `webhook`, `email`.
    pub channel: String,
    /// What it says.
    pub payload: String,
    /// How often it has been tried.
    pub attempts: u32,
}

/// How the outbox stands.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct DeliveryCounts {
    /// Waiting or being retried.
    pub pending: u64,
    /// Arrived.
    pub delivered: u64,
    /// Given up.
    pub failed: u64,
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery { delivery_id: row.get(0)?, channel: row.get(1)?, payload: row.get(2)?, attempts: row.get(3)? })
}

impl Store {
    /// Puts notices into the outbox and moves the reader's place in the log, in one transaction. The same subject goes
    /// to the same channel only once.
    pub async fn enqueue(
        &self,
        tenant: &TenantId,
        notices: Vec<(String, &'static str, String)>,
        read_up_to: u64,
        now: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        let tenant = tenant.as_str().to_owned();
        self.write(move |db| {
            for (subject, channel, payload) in notices {
                db.execute(
                    "INSERT OR IGNORE INTO deliveries (tenant, subject, channel, payload, created_us, next_us)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
                    params![tenant, subject, channel, payload, micros(now)],
                )?;
            }
            db.execute(
                "INSERT INTO meta (name, value) VALUES ('notified', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1",
                [read_up_to.to_string()],
            )?;
            Ok(())
        })
        .await
    }

    /// The sequence number from which the log has not yet been read for notices.
    pub async fn notified_up_to(&self) -> Result<Option<u64>, StoreError> {
        self.read(|db| {
            use rusqlite::OptionalExtension as _;
            let text: Option<String> =
                db.query_row("SELECT value FROM meta WHERE name = 'notified'", [], |row| row.get(0)).optional()?;
            Ok(text.and_then(|text| text.parse().ok()))
        })
        .await
    }

    /// Notices whose time has come, oldest first.
    pub async fn due_deliveries(&self, now: jiff::Timestamp) -> Result<Vec<Delivery>, StoreError> {
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT delivery_id, channel, payload, attempts FROM deliveries
                 WHERE done_us IS NULL AND failed_us IS NULL AND next_us <= ?1 ORDER BY delivery_id LIMIT 50",
            )?;
            let rows = statement.query_map([micros(now)], delivery)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Takes a due notice in hand: whatever becomes of this try, the next one is not before `again`. Without this on
    /// disk a notice is not sent, so that a store that cannot write does not send the same notice over and over.
    pub async fn begin_delivery(&self, id: i64, again: jiff::Timestamp) -> Result<(), StoreError> {
        self.write(move |db| {
            db.execute("UPDATE deliveries SET next_us = ?2 WHERE delivery_id = ?1", params![id, micros(again)])?;
            Ok(())
        })
        .await
    }

    /// Notes that a notice arrived.
    pub async fn delivered(&self, id: i64, now: jiff::Timestamp) -> Result<(), StoreError> {
        self.write(move |db| {
            db.execute(
                "UPDATE deliveries SET done_us = ?2, attempts = attempts + 1, last_error = NULL WHERE delivery_id = ?1",
                params![id, micros(now)],
            )?;
            Ok(())
        })
        .await
    }

    /// Notes that a notice did not arrive; it is tried again at `again`, or given up when that is absent.
    pub async fn not_delivered(
        &self,
        id: i64,
        error: String,
        again: Option<jiff::Timestamp>,
        now: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            db.execute(
                "UPDATE deliveries SET attempts = attempts + 1, last_error = ?2, next_us = coalesce(?3, next_us),
                        failed_us = CASE WHEN ?3 IS NULL THEN ?4 END WHERE delivery_id = ?1",
                params![id, error, again.map(micros), micros(now)],
            )?;
            Ok(())
        })
        .await
    }

    /// How the outbox stands, and the newest errors in words.
    pub async fn delivery_counts(&self) -> Result<(DeliveryCounts, Vec<String>), StoreError> {
        self.read(|db| {
            let count = |sql: &str| -> Result<u64, StoreError> {
                let n: i64 = db.query_row(sql, [], |row| row.get(0))?;
                Ok(u64::try_from(n).unwrap_or(0))
            };
            let counts = DeliveryCounts {
                pending: count("SELECT count(*) FROM deliveries WHERE done_us IS NULL AND failed_us IS NULL")?,
                delivered: count("SELECT count(*) FROM deliveries WHERE done_us IS NOT NULL")?,
                failed: count("SELECT count(*) FROM deliveries WHERE failed_us IS NOT NULL")?,
            };
            let mut statement = db.prepare_cached(
                "SELECT channel || ': ' || last_error FROM deliveries WHERE last_error IS NOT NULL
                 ORDER BY delivery_id DESC LIMIT 5",
            )?;
            let errors = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            Ok((counts, errors))
        })
        .await
    }
}
