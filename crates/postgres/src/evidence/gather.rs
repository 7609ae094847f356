//! Running the checks: a queue, and as many connections as the server can spare.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{join, join_all};
use jiff::Timestamp;
use reeve_diagnose::EvidenceSet;
use reeve_diagnose::evidence::{ConnectFailureKind, ConnectionCounts};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::SimpleQueryMessage;

use super::checks::{self, Check, Gathered};
use super::{APPLICATION_NAME, CollectOptions, connect_failure};
use crate::connect::{Access, ConnectOptions, Session, connect};
use crate::conninfo::Target;
use crate::failure::{QueryFailure, QueryFailureKind};

/// How much longer than the server's own limit an answer is waited for. Past that the server or the network hangs.
const ANSWER_GRACE: Duration = Duration::from_millis(500);

/// What every session of a look runs first. JIT and parallel workers cost more than these statements take.
const PREPARE: &str = "SET search_path = pg_catalog; SET jit = off; SET max_parallel_workers_per_gather = 0; \
                       SET idle_in_transaction_session_timeout = '10s'";

/// What a look brought.
#[derive(Debug, Clone)]
pub struct Collected {
    /// What was seen, and what could not be.
    pub evidence: EvidenceSet,
    /// How many checks were made.
    pub checks_run: u32,
}

/// Looks at a server. Bounded in time by the options, whatever the server does.
pub async fn collect(target: &Target, options: &CollectOptions) -> Collected {
    let started = Instant::now();
    let deadline = started + options.total_timeout;
    let collected_at = Some(Timestamp::now());
    let session = match connect(target, &connect_options(options, deadline)).await {
        Ok(session) => session,
        Err(failure) => {
            let failure = connect_failure(&failure, started.elapsed());
            let evidence = EvidenceSet { collected_at, connect_failure: Some(failure), ..EvidenceSet::default() };
            return Collected { evidence, checks_run: 0 };
        }
    };
    let look = Look::new(options, deadline);
    look.gathered().evidence.collected_at = collected_at;
    if let Err(failure) = look.open(&session).await {
        // It let us in and then fell silent: the same as if it had not answered at all.
        let mut gathered = look.gathered();
        gathered.evidence.connect_failure = Some(reeve_diagnose::evidence::ConnectFailure {
            kind: match failure.kind {
                QueryFailureKind::ConnectionLost => ConnectFailureKind::Dropped,
                _ => ConnectFailureKind::Hung,
            },
            address: target.display(),
            user: Some(target.user.clone()),
            database: Some(target.dbname.clone()),
            detail: failure.detail.clone(),
            hints: Vec::new(),
            after_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        drop(gathered);
        return look.finish();
    }
    let extra = look.spare_connections();
    let others = (0..extra).map(|_| look.join_in(target));
    join(look.work(session), join_all(others)).await;
    look.finish()
}

fn connect_options(options: &CollectOptions, deadline: Instant) -> ConnectOptions {
    let left = deadline.saturating_duration_since(Instant::now());
    ConnectOptions {
        access: Access::ReadOnly,
        statement_timeout: options.check_timeout,
        lock_timeout: options.lock_timeout,
        connect_timeout: options.connect_timeout.min(left),
        total_timeout: left,
        application_name: APPLICATION_NAME.to_owned(),
    }
}

/// One look in progress.
struct Look<'a> {
    options: &'a CollectOptions,
    deadline: Instant,
    queue: Mutex<VecDeque<Check>>,
    gathered: Mutex<Gathered>,
    /// Turns true when nothing is left to begin, so that nobody goes on connecting for nothing.
    drained: watch::Sender<bool>,
}

impl<'a> Look<'a> {
    fn new(options: &'a CollectOptions, deadline: Instant) -> Self {
        Self {
            options,
            deadline,
            queue: Mutex::default(),
            gathered: Mutex::default(),
            drained: watch::Sender::new(false),
        }
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Check> {
        let check = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if check.is_none() {
            self.drained.send_replace(true);
        }
        check
    }

    /// Learns what everything else depends on, and fills the queue. An error means that the server went silent.
    async fn open(&self, session: &Session) -> Result<(), QueryFailure> {
        self.answer(session, PREPARE).await?;
        for check in checks::first() {
            self.run(session, check).await?;
        }
        let mut gathered = self.gathered();
        let server = gathered.evidence.server.clone().unwrap_or_default();
        let rest = checks::rest(&server, &mut gathered);
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = rest.into();
        Ok(())
    }

    /// How many more connections the server can spare: it must keep most of what it has left.
    fn spare_connections(&self) -> usize {
        let gathered = self.gathered();
        let counts = gathered.evidence.connections.clone().unwrap_or_default();
        let ConnectionCounts { max, superuser_reserved, reserved, total, .. } = counts;
        let left = max.saturating_sub(superuser_reserved).saturating_sub(reserved).saturating_sub(total).max(0);
        usize::try_from(left / 4).unwrap_or(0).min(self.options.connections_max.saturating_sub(1))
    }

    /// Helps with the queue on one more connection, if it comes about before the queue is empty.
    async fn join_in(&self, target: &Target) {
        let mut drained = self.drained.subscribe();
        let options = connect_options(self.options, self.deadline);
        let session = tokio::select! {
            session = connect(target, &options) => session,
            _ = drained.wait_for(|drained| *drained) => return,
        };
        // Not getting one more connection only means that the others do all the work.
        let Ok(session) = session else { return };
        if self.answer(&session, PREPARE).await.is_ok() {
            self.work(session).await;
        }
    }

    /// Takes checks from the queue until it is empty or the connection is of no use any more.
    async fn work(&self, session: Session) {
        self.gathered().connections += 1;
        while Instant::now() < self.deadline
            && let Some(check) = self.next()
        {
            if self.run(&session, check).await.is_err() {
                return;
            }
        }
    }

    /// Makes one check and keeps what it says. An error means that the connection is of no use any more.
    async fn run(&self, session: &Session, check: Check) -> Result<(), QueryFailure> {
        let answer = self.answer(session, &check.sql).await;
        let mut gathered = self.gathered();
        match answer {
            Ok(Some(json)) => match (check.store)(&mut gathered, &json) {
                Ok(()) => gathered.checks_run += 1,
                Err(error) => {
                    tracing::warn!(check = check.name, error = %error, "answer of check {} cannot be read", check.name);
                    gathered.not_checked(check.name, format!("the answer cannot be read: {error}"));
                }
            },
            Ok(None) if check.name == "server_log" => gathered.not_checked(
                check.name,
                "the server does not write log files of its own (logging_collector is off); read its log on the host",
            ),
            Ok(None) => gathered.not_checked(check.name, "the server gave no answer to this question"),
            Err(failure) => {
                gathered.not_checked(check.name, self.reason(&failure));
                let cut = failure.kind == QueryFailureKind::ConnectionLost;
                if cut || failure.kind == QueryFailureKind::NoAnswer {
                    // When the time for everything is over, it is not the server that failed to answer.
                    if cut || Instant::now() < self.deadline {
                        gathered.silence.checks.push(check.name.to_owned());
                        gathered.silence.cut += usize::from(cut);
                    }
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    /// The first field of the first row.
    async fn answer(&self, session: &Session, sql: &str) -> Result<Option<String>, QueryFailure> {
        let patience = Instant::now() + self.patience();
        let Ok(messages) = timeout_at(patience.min(self.deadline), session.simple_query(sql)).await else {
            let detail = match patience < self.deadline {
                true => format!("no answer within {:.1} s", self.patience().as_secs_f64()),
                false => self.time_is_over(),
            };
            return Err(QueryFailure::new(QueryFailureKind::NoAnswer, detail));
        };
        Ok(messages?.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten().map(str::to_owned),
            _ => None,
        }))
    }

    /// How long one answer is waited for.
    fn patience(&self) -> Duration {
        self.options.check_timeout + ANSWER_GRACE
    }

    fn time_is_over(&self) -> String {
        format!("the time for the whole diagnosis ({} s) was over", self.options.total_timeout.as_secs())
    }

    fn reason(&self, failure: &QueryFailure) -> String {
        match failure.kind {
            QueryFailureKind::StatementTimeout => {
                format!("it took longer than {:.1} s and was cut off", self.options.check_timeout.as_secs_f64())
            }
            QueryFailureKind::LockTimeout => {
                format!("it waited for a lock for {:.1} s and was cut off", self.options.lock_timeout.as_secs_f64())
            }
            QueryFailureKind::PermissionDenied => {
                let said = failure.detail.trim_end_matches('.');
                format!("{said}; GRANT pg_monitor to the role, or look as superuser")
            }
            _ => failure.detail.trim_end_matches('.').to_owned(),
        }
    }

    fn finish(self) -> Collected {
        let (patience, time_is_over) = (self.patience(), self.time_is_over());
        let mut gathered = self.gathered.into_inner().unwrap_or_else(PoisonError::into_inner);
        let left = self.queue.into_inner().unwrap_or_else(PoisonError::into_inner);
        let over = Instant::now() >= self.deadline;
        for check in left {
            let reason = match over {
                true => time_is_over.clone(),
                false => "the server stopped answering before it was this check's turn".to_owned(),
            };
            gathered.not_checked(check.name, reason);
        }
        let Gathered { mut evidence, checks_run, sizes, read_only_file, connections, mut silence } = gathered;
        if !silence.checks.is_empty() && evidence.connect_failure.is_none() {
            silence.checks.sort();
            silence.complete = silence.checks.len() >= connections;
            silence.patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
            evidence.silence = Some(silence);
        }
        for database in evidence.databases.iter_mut().flatten() {
            database.size_bytes = sizes.get(&database.name).copied();
        }
        if let Some(server) = evidence.server.as_mut().filter(|server| read_only_file && server.read_only_by.is_none())
        {
            server.read_only_by = Some("configuration file".to_owned());
        }
        evidence.not_checked.sort_by(|a, b| a.check.cmp(&b.check));
        Collected { evidence, checks_run }
    }
}
