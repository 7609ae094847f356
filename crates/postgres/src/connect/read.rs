//! Running a statement that passed the guard.

use tokio_postgres::SimpleQueryMessage;

use super::session::Session;
use crate::failure::QueryFailure;
use crate::guard::{GuardOptions, Guarded, ReadKind, Refused, verify_in_catalog};

/// Rows fetched at a time.
const FETCH_ROWS: u32 = 200;

/// How much of an answer is taken.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimits {
    /// Rows at most.
    pub rows_max: usize,
    /// Bytes of values at most; the row that crosses the limit is left out.
    pub bytes_max: usize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self { rows_max: 1000, bytes_max: reeve_types::limits::TOOL_OUTPUT_BYTES_MAX }
    }
}

/// An answer with every value as the text that PostgreSQL writes for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextRows {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows; `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// Whether there would have been more.
    pub truncated: bool,
}

/// A read that was refused, or failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The guard's second layer refused it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The server did.
    #[error(transparent)]
    Failed(#[from] QueryFailure),
}

impl Session {
    /// Runs a guarded statement in a read-only transaction that is always rolled back, after asking the catalog what
    /// its names mean. Passwords inside connection strings are masked in the answer.
    pub async fn read_guarded(
        &mut self,
        guarded: &Guarded,
        options: &GuardOptions,
        limits: ReadLimits,
    ) -> Result<TextRows, ReadError> {
        // The first ROLLBACK ends what a read that was abandoned half-way may have left open. Then the built-in
        // functions and types come first whatever the role's own search path says.
        self.batch_execute(
            "ROLLBACK; BEGIN READ ONLY; \
             SELECT pg_catalog.set_config('search_path', \
                    pg_catalog.concat_ws(', ', 'pg_catalog', nullif(pg_catalog.current_setting('search_path'), '')), true)",
        )
        .await?;
        let answer = self.in_transaction(guarded, options, limits).await;
        // Whatever happened, nothing is kept. A connection that is gone has kept nothing either.
        let rolled_back = self.batch_execute("ROLLBACK").await;
        let answer = answer?;
        rolled_back?;
        Ok(answer)
    }

    async fn in_transaction(
        &self,
        guarded: &Guarded,
        options: &GuardOptions,
        limits: ReadLimits,
    ) -> Result<TextRows, ReadError> {
        verify_in_catalog(self, guarded, options).await?;
        let mut answer = TextRows::default();
        let mut bytes = 0;
        if guarded.kind() != ReadKind::Select {
            let messages = self.simple_query(guarded.sql()).await?;
            take(messages, &mut answer, &mut bytes, limits);
            return Ok(answer);
        }
        self.batch_execute(&format!("DECLARE reeve_read NO SCROLL CURSOR FOR {}", guarded.sql())).await?;
        let fetch = format!("FETCH {FETCH_ROWS} FROM reeve_read");
        loop {
            let messages = self.simple_query(&fetch).await?;
            let fetched = take(messages, &mut answer, &mut bytes, limits);
            if fetched < FETCH_ROWS as usize || answer.truncated {
                return Ok(answer);
            }
        }
    }
}

/// Moves rows into the answer as far as the limits go; the number that came.
fn take(messages: Vec<SimpleQueryMessage>, answer: &mut TextRows, bytes: &mut usize, limits: ReadLimits) -> usize {
    let mut fetched = 0;
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                answer.columns = columns.iter().map(|column| column.name().to_owned()).collect();
            }
            SimpleQueryMessage::Row(row) => {
                fetched += 1;
                let cells: Vec<Option<String>> =
                    (0..row.len()).map(|index| row.try_get(index).ok().flatten().map(without_passwords)).collect();
                *bytes += cells.iter().flatten().map(String::len).sum::<usize>();
                if answer.truncated || answer.rows.len() >= limits.rows_max || *bytes > limits.bytes_max {
                    answer.truncated = true;
                } else {
                    answer.rows.push(cells);
                }
            }
            _ => {}
        }
    }
    fetched
}

/// Settings and statements may hold connection strings.
fn without_passwords(value: &str) -> String {
    let lower = value.to_ascii_lowercase();
    if lower.contains("password=") || lower.contains("password =") || lower.contains("://") {
        return reeve_types::mask_dsn(value);
    }
    value.to_owned()
}
