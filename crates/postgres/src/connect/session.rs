//! An open session, and what is known about its server.

use std::collections::HashMap;
use std::future::Future;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use tokio_postgres::{CancelToken, Client, Connection, Row, SimpleQueryMessage, Statement};

use super::attempt::reopen;
use super::transport::Endpoint;
use super::{Access, ConnectOptions};
use crate::conninfo::{Host, HostPort, SslNegotiation, Target};
use crate::failure::{ConnectFailure, ConnectFailureKind, QueryFailure, QueryFailureKind, Stage};
use crate::tls::{Handed, Wire};

/// How much longer than the server's own limit an answer is waited for. Past that the server or the network hangs.
const ANSWER_GRACE: Duration = Duration::from_secs(5);
/// How long an answer is waited for when statements have no limit.
const ANSWER_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long sending a cancel request may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
/// How many prepared statements a session keeps; each costs the server memory.
pub(super) const STATEMENTS_MAX: usize = 64;

/// What the first query of a session found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// `150018` for 15.18.
    pub version_num: u32,
    /// `15.18 (Debian 15.18-1)`: the text of `server_version`.
    pub version: String,
    /// Whether the server is a standby, or recovering.
    pub in_recovery: bool,
    /// Whether sessions may not write unless they ask to. In a read-only session always true.
    pub read_only: bool,
    /// Whether our role is a superuser.
    pub superuser: bool,
    /// Whether our role sees everything that `pg_monitor` sees.
    pub monitor: bool,
    /// Whether our role may signal other roles' sessions.
    pub signal_backend: bool,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// The process of our session on the server.
    pub backend_pid: i32,
}

/// The settings that the session must have.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) default_read_only: bool,
    pub(super) statement_timeout_ms: u64,
    pub(super) standard_strings: bool,
}

#[derive(Debug, Default)]
pub(super) struct FirstAnswer {
    pub(super) server: ServerFacts,
    pub(super) settings: Settings,
}

const FIRST_QUERY: &str = "\
    SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.current_setting('server_version'), \
           pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only'), \
           coalesce((SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) current_user), false), \
           coalesce((SELECT pg_catalog.pg_has_role(r.oid, 'USAGE') FROM pg_catalog.pg_roles r \
                     WHERE r.rolname OPERATOR(pg_catalog.=) 'pg_monitor'), false), \
           coalesce((SELECT pg_catalog.pg_has_role(r.oid, 'USAGE') FROM pg_catalog.pg_roles r \
                     WHERE r.rolname OPERATOR(pg_catalog.=) 'pg_signal_backend'), false), \
           current_user, pg_catalog.current_database(), pg_catalog.pg_backend_pid(), \
           pg_catalog.current_setting('default_transaction_read_only'), \
           (SELECT s.setting FROM pg_catalog.pg_settings s WHERE s.name OPERATOR(pg_catalog.=) 'statement_timeout'), \
           pg_catalog.current_setting('standard_conforming_strings')";

/// Asks for everything in one round trip. Text in and text out, so that it works on any version and behind anything.
pub(super) async fn first_query(client: &Client) -> Result<FirstAnswer, tokio_postgres::Error> {
    let messages = client.simple_query(FIRST_QUERY).await?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let text = |column: usize| row.and_then(|row| row.try_get(column).ok().flatten()).unwrap_or_default().to_owned();
    let yes = |column: usize| matches!(text(column).as_str(), "t" | "on");
    Ok(FirstAnswer {
        server: ServerFacts {
            version_num: text(0).parse().unwrap_or_default(),
            version: text(1),
            in_recovery: yes(2),
            read_only: yes(3),
            superuser: yes(4),
            monitor: yes(4) || yes(5),
            signal_backend: yes(4) || yes(6),
            user: text(7),
            database: text(8),
            backend_pid: text(9).parse().unwrap_or_default(),
        },
        settings: Settings {
            default_read_only: yes(10),
            statement_timeout_ms: text(11).parse().unwrap_or(u64::MAX),
            standard_strings: yes(12),
        },
    })
}

/// Cancels what a session is doing, from another task. Cheap to clone.
#[derive(Clone)]
pub struct Canceller {
    token: CancelToken,
    endpoint: Endpoint,
    tls: Option<Arc<ClientConfig>>,
    host: Host,
    negotiation: SslNegotiation,
    /// For the failure's text.
    names: (String, String, String),
}

impl std::fmt::Debug for Canceller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Canceller").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Canceller {
    pub(super) fn new(
        token: CancelToken,
        endpoint: Endpoint,
        tls: Option<Arc<ClientConfig>>,
        target: &Target,
        place: &HostPort,
    ) -> Self {
        Self {
            token,
            endpoint,
            tls,
            host: place.host.clone(),
            negotiation: target.ssl.negotiation,
            names: (place.to_string(), target.user.clone(), target.dbname.clone()),
        }
    }

    /// Asks the server to cancel the statement that the session is running, as securely as the session itself.
    ///
    /// The server does not say whether there was anything to cancel; the statement's own answer tells.
    pub async fn cancel(&self) -> Result<(), ConnectFailure> {
        let deadline = Instant::now() + CANCEL_TIMEOUT;
        let failure = |kind: ConnectFailureKind, detail: String| ConnectFailure {
            kind,
            host: self.names.0.clone(),
            user: self.names.1.clone(),
            dbname: self.names.2.clone(),
            detail,
            sqlstate: None,
            earlier: Vec::new(),
            warnings: Vec::new(),
        };
        let wire = reopen(&self.endpoint, self.tls.as_ref(), &self.host, self.negotiation, deadline)
            .await
            .map_err(|broken| failure(broken.kind, broken.detail))?;
        match tokio::time::timeout_at(deadline, self.token.cancel_query_raw(wire, Handed)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failure(ConnectFailureKind::Interrupted, error.to_string())),
            Err(_) => Err(failure(
                ConnectFailureKind::Timeout { stage: Stage::Connect },
                "the cancel request was not taken in time".to_owned(),
            )),
        }
    }
}

/// A session on a server. Dropping it closes the connection.
///
/// Its own `query` and the like are bounded in time and give [`QueryFailure`]; through `Deref` the whole
/// `tokio_postgres::Client` is there for what they do not cover.
pub struct Session {
    client: Client,
    pump: AbortHandle,
    /// Why the connection ended, once it has.
    ended: Arc<Mutex<Option<QueryFailure>>>,
    canceller: Canceller,
    facts: ServerFacts,
    access: Access,
    encrypted: bool,
    answer_timeout: Duration,
    /// Statements that are prepared already, by their text.
    statements: Mutex<HashMap<String, Statement>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("facts", &self.facts).field("access", &self.access).finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl Deref for Session {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Session {
    pub(super) fn new(
        client: Client,
        connection: Connection<Wire, Wire>,
        canceller: Canceller,
        access: Access,
        options: &ConnectOptions,
        encrypted: bool,
    ) -> Self {
        let ended = Arc::new(Mutex::new(None));
        let reason = Arc::clone(&ended);
        let pump = tokio::spawn(async move {
            if let Err(error) = connection.await {
                *reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(QueryFailure::of(&error));
            }
        });
        let answer_timeout = if options.statement_timeout.is_zero() {
            ANSWER_TIMEOUT_MAX
        } else {
            options.statement_timeout.saturating_add(ANSWER_GRACE).min(ANSWER_TIMEOUT_MAX)
        };
        Self {
            client,
            pump: pump.abort_handle(),
            ended,
            canceller,
            facts: ServerFacts::default(),
            access,
            encrypted,
            answer_timeout,
            statements: Mutex::default(),
        }
    }

    pub(super) fn with_facts(mut self, facts: ServerFacts) -> Self {
        self.facts = facts;
        self
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The client by exclusive reference, as transactions need it.
    pub fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// What the first query found out.
    pub fn facts(&self) -> &ServerFacts {
        &self.facts
    }

    /// `150018` for 15.18.
    pub fn server_version_num(&self) -> u32 {
        self.facts.version_num
    }

    /// `PostgreSQL 15.18`.
    pub fn server_version(&self) -> String {
        format!("PostgreSQL {}", self.facts.version.split_whitespace().next().unwrap_or("?"))
    }

    /// Whether the server was a standby, or recovering, when the session began.
    pub fn is_in_recovery(&self) -> bool {
        self.facts.in_recovery
    }

    /// Whether the session may change anything.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Whether the session is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Cancels what the session is doing.
    pub async fn cancel(&self) -> Result<(), ConnectFailure> {
        self.canceller.cancel().await
    }

    /// A handle with which another task can cancel.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// The failure behind an error on this session; for a closed connection, the reason that the server gave.
    pub fn failure(&self, error: &tokio_postgres::Error) -> QueryFailure {
        let failure = QueryFailure::of(error);
        if !error.is_closed() {
            return failure;
        }
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or(failure)
    }

    /// Waits for an answer, a little longer than the server's own limit. When none comes the statement is cancelled.
    pub async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, QueryFailure> {
        match tokio::time::timeout(self.answer_timeout, answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.failure(&error)),
            Err(_) => {
                // A server that hangs will not take the request either; nothing more can be done.
                let _ = self.cancel().await;
                let waited = self.answer_timeout.as_secs();
                Err(QueryFailure::new(QueryFailureKind::NoAnswer, format!("no answer within {waited} s")))
            }
        }
    }

    /// A statement, prepared once in the life of the session: parsing and planning cost the server more than most looks.
    ///
    /// For texts of ours, of which there are few. Meant to run inside [`Session::within`].
    pub(crate) async fn prepared(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(known) = self.statements().get(sql) {
            return Ok(known.clone());
        }
        let statement = self.client.prepare(sql).await?;
        let mut kept = self.statements();
        if kept.len() < STATEMENTS_MAX {
            kept.insert(sql.to_owned(), statement.clone());
        }
        Ok(statement)
    }

    fn statements(&self) -> MutexGuard<'_, HashMap<String, Statement>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All rows of a query.
    pub async fn query(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, QueryFailure> {
        self.within(self.client.query(sql, params)).await
    }

    /// The one row of a query that always has one.
    pub async fn query_one(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Row, QueryFailure> {
        self.within(self.client.query_one(sql, params)).await
    }

    /// The row of a query that has at most one.
    pub async fn query_opt(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, QueryFailure> {
        self.within(self.client.query_opt(sql, params)).await
    }

    /// Runs a statement; the number of rows it touched.
    pub async fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, QueryFailure> {
        self.within(self.client.execute(sql, params)).await
    }

    /// Runs statements that are ours, one after another.
    pub async fn batch_execute(&self, sql: &str) -> Result<(), QueryFailure> {
        self.within(self.client.batch_execute(sql)).await
    }

    /// Runs statements that are ours, with every value as text.
    pub async fn simple_query(&self, sql: &str) -> Result<Vec<SimpleQueryMessage>, QueryFailure> {
        self.within(self.client.simple_query(sql)).await
    }
}
