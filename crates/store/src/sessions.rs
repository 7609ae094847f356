//! Sessions and their events. Every change is one transaction that looks at the present row, appends the events that the
//! change is, and keeps the row that follows from them.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use reeve_types::model::Usage;
use reeve_types::session::{Happening, Session, SessionEvent, SessionState};
use reeve_types::{Digest, Principal, PromptId, SessionId, TenantId, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use crate::{Store, StoreError, micros, moment, parse_json, to_json};

/// A prompt that waits for its turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedPrompt {
    /// Its id.
    pub id: PromptId,
    /// The words.
    pub text: String,
    /// Who said it.
    pub by: String,
}

/// The turn in flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenTurn {
    /// Its number.
    pub number: u64,
    /// What it answers.
    pub prompt: QueuedPrompt,
    /// When it began.
    pub began_at: Timestamp,
    /// Whether somebody wants it to end.
    pub cancelled: bool,
    /// Whether the prompt has gone to an external agent; it is never sent twice.
    #[serde(default)]
    pub sent: bool,
    /// What it has used.
    #[serde(default)]
    pub usage: Usage,
}

/// A session with what only the platform needs to know of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredSession {
    /// As its owner sees it.
    pub session: Session,
    /// Whom the agent acts for.
    #[serde(with = "findable")]
    pub principal: Principal,
    /// Prompts that wait, oldest first.
    pub queue: VecDeque<QueuedPrompt>,
    /// The turn in flight.
    pub turn: Option<OpenTurn>,
    /// Calls of models so far.
    pub calls: u64,
    /// What an external agent calls this session.
    pub external_id: Option<String>,
    /// Environment variables that its maker gave an external agent.
    pub environment: Vec<(String, String)>,
}

/// A principal with what it is found again by, which is kept nowhere else.
mod findable {
    use reeve_types::Principal;
    use reeve_types::principal::KnownBy;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Findable<P> {
        #[serde(flatten)]
        principal: P,
        /// Of the principal, and of whomever it acts for, in order.
        #[serde(default)]
        known_by: Vec<Option<KnownBy>>,
    }

    pub(super) fn serialize<S: Serializer>(principal: &Principal, serializer: S) -> Result<S::Ok, S::Error> {
        let chain = std::iter::successors(Some(principal), |one| one.on_behalf_of.as_deref());
        Findable { principal, known_by: chain.map(|one| one.known_by.clone()).collect() }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Principal, D::Error> {
        let Findable { mut principal, known_by } = Findable::<Principal>::deserialize(deserializer)?;
        let mut link = Some(&mut principal);
        for known in known_by {
            let Some(one) = link else { break };
            one.known_by = known;
            link = one.on_behalf_of.as_deref_mut();
        }
        Ok(principal)
    }
}

/// A session to be made: its first row and its first events.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// The row; its sequence number is set from the events.
    pub row: StoredSession,
    /// What has happened in it so far.
    pub events: Vec<Happening>,
}

/// What became of a change.
#[derive(Debug)]
pub enum SessionChange<T> {
    /// It was made.
    Done {
        /// The row after it.
        row: Box<StoredSession>,
        /// The events that it is, numbered.
        events: Vec<SessionEvent>,
        /// What the change gave back.
        value: T,
    },
    /// There is no such session.
    Gone,
    /// The present row does not allow it; in words. Nothing was changed.
    Refused(String),
}

/// Which sessions to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct SessionFilter {
    /// Whose: `user:alice`. Everybody's of the tenant when absent.
    pub owner: Option<String>,
    /// In which state.
    pub state: Option<SessionState>,
    /// Of which agent.
    pub agent: Option<String>,
    /// In which workspace.
    pub workspace: Option<WorkspaceId>,
    /// Continued from which session.
    pub parent: Option<SessionId>,
    /// With which words in the title.
    pub search: Option<String>,
    /// Those that were put away instead of those that were not.
    pub archived: bool,
    /// Older than this one.
    pub before: Option<SessionId>,
    /// At most how many.
    pub limit: usize,
}

/// Longest answer of [`Store::session_event_texts`], in bytes of JSON, so that a page of large events stays a page.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

fn stored(db: &Connection, tenant: Option<&str>, id: &str) -> Result<Option<StoredSession>, StoreError> {
    let body: Option<String> = db
        .prepare_cached("SELECT body FROM sessions WHERE session_id = ?1 AND (?2 IS NULL OR tenant = ?2)")?
        .query_row(params![id, tenant], |row| row.get(0))
        .optional()?;
    body.map(|body| parse_json(id, &body)).transpose()
}

fn put(db: &Connection, row: &StoredSession) -> Result<(), StoreError> {
    let seen = &row.session;
    db.prepare_cached(
        "INSERT INTO sessions (session_id, tenant, owner, state, agent, workspace, parent, title, archived, created_us, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (session_id) DO UPDATE SET
             state = ?4, workspace = ?6, title = ?8, archived = ?9, body = ?11",
    )?
    .execute(params![
        seen.id.as_str(),
        seen.tenant.as_str(),
        seen.owner,
        seen.state.as_str(),
        seen.agent,
        seen.workspace_id.as_ref().map(WorkspaceId::as_str),
        seen.parent.as_ref().map(SessionId::as_str),
        seen.title,
        seen.archived,
        micros(seen.created_at),
        to_json(seen.id.as_str(), row)?,
    ])?;
    Ok(())
}

/// What a query counts, by word.
fn counts(db: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<Vec<(String, u64)>, StoreError> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(values, |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
    rows.map(|row| row.map(|(word, n)| (word, u64::try_from(n).unwrap_or(0))).map_err(StoreError::from)).collect()
}

/// Numbers what has happened and keeps it; the row learns how far the stream has come.
fn append(
    db: &Connection,
    row: &mut StoredSession,
    at: Timestamp,
    happenings: Vec<Happening>,
) -> Result<Vec<SessionEvent>, StoreError> {
    let mut insert =
        db.prepare_cached("INSERT INTO session_events (session_id, seq, kind, body) VALUES (?1, ?2, ?3, ?4)")?;
    let mut events = Vec::with_capacity(happenings.len());
    for what in happenings {
        row.session.last_seq += 1;
        let event = SessionEvent { session_id: row.session.id.clone(), seq: row.session.last_seq, at, what };
        let seq = i64::try_from(event.seq).unwrap_or(i64::MAX);
        insert.execute(params![
            event.session_id.as_str(),
            seq,
            event.what.as_str(),
            to_json("session event", &event)?
        ])?;
        events.push(event);
    }
    if !events.is_empty() {
        row.session.updated_at = at;
    }
    row.session.queued = row.queue.len();
    Ok(events)
}

impl Store {
    /// Keeps a new session with its first events.
    pub async fn add_session(
        &self,
        new: NewSession,
        at: Timestamp,
    ) -> Result<(StoredSession, Vec<SessionEvent>), StoreError> {
        self.write(move |db| {
            let NewSession { mut row, events } = new;
            let events = append(db, &mut row, at, events)?;
            put(db, &row)?;
            Ok((row, events))
        })
        .await
    }

    /// Changes a session in one transaction. `how` sees the present row, changes it and says what has happened; when it
    /// refuses, nothing is kept.
    pub async fn alter_session<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        id: &SessionId,
        at: Timestamp,
        how: impl FnOnce(&mut StoredSession, &mut Vec<Happening>) -> Result<T, String> + Send + 'static,
    ) -> Result<SessionChange<T>, StoreError> {
        let (tenant, id) = (tenant.clone(), id.clone());
        self.write(move |db| {
            let Some(mut row) = stored(db, Some(tenant.as_str()), id.as_str())? else {
                return Ok(SessionChange::Gone);
            };
            let before = (row.session.id.clone(), row.session.tenant.clone(), row.session.owner.clone());
            let mut happenings = Vec::new();
            let value = match how(&mut row, &mut happenings) {
                Ok(value) => value,
                Err(reason) => return Ok(SessionChange::Refused(reason)),
            };
            (row.session.id, row.session.tenant, row.session.owner) = before;
            let events = append(db, &mut row, at, happenings)?;
            put(db, &row)?;
            Ok(SessionChange::Done { row: Box::new(row), events, value })
        })
        .await
    }

    /// One session of a tenant.
    pub async fn session(&self, tenant: &TenantId, id: &SessionId) -> Result<Option<StoredSession>, StoreError> {
        let (tenant, id) = (tenant.clone(), id.clone());
        self.read(move |db| stored(db, Some(tenant.as_str()), id.as_str())).await
    }

    /// Sessions of a tenant, newest first.
    pub async fn sessions(&self, tenant: &TenantId, filter: SessionFilter) -> Result<Arc<[StoredSession]>, StoreError> {
        let commits = self.writer.commits();
        let wanted = (tenant.clone(), filter);
        if let Some(list) = self.lists.get(&wanted, commits) {
            return Ok(list);
        }
        let (tenant, filter) = wanted.clone();
        let list: Arc<[StoredSession]> = self.listed(tenant, filter).await?.into();
        self.lists.keep(wanted, commits, &list);
        Ok(list)
    }

    async fn listed(&self, tenant: TenantId, filter: SessionFilter) -> Result<Vec<StoredSession>, StoreError> {
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT body FROM sessions
                 WHERE tenant = ?1 AND archived = ?2 AND (?3 IS NULL OR owner = ?3) AND (?4 IS NULL OR state = ?4)
                   AND (?5 IS NULL OR agent = ?5) AND (?6 IS NULL OR workspace = ?6) AND (?7 IS NULL OR parent = ?7)
                   AND (?8 IS NULL OR instr(lower(title), lower(?8)) > 0) AND (?9 IS NULL OR session_id < ?9)
                 ORDER BY session_id DESC LIMIT ?10",
            )?;
            let values = params![
                tenant.as_str(),
                filter.archived,
                filter.owner,
                filter.state.map(SessionState::as_str),
                filter.agent,
                filter.workspace.as_ref().map(WorkspaceId::as_str),
                filter.parent.as_ref().map(SessionId::as_str),
                filter.search,
                filter.before.as_ref().map(SessionId::as_str),
                i64::try_from(filter.limit).unwrap_or(100),
            ];
            let rows = statement.query_map(values, |row| row.get::<_, String>(0))?;
            rows.map(|body| parse_json("session", &body?)).collect()
        })
        .await
    }

    /// How many sessions of a tenant are in each state.
    pub async fn session_counts(&self, tenant: &TenantId) -> Result<Vec<(String, u64)>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |db| {
            counts(db, "SELECT state, count(*) FROM sessions WHERE tenant = ?1 GROUP BY state", [tenant.as_str()])
        })
        .await
    }

    /// The same of all tenants together, for whoever watches the installation.
    pub async fn session_counts_of_all(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.read(|db| counts(db, "SELECT state, count(*) FROM sessions GROUP BY state", [])).await
    }

    /// Sessions of every tenant whose turn a stopped process left, or whose prompts wait: for the platform's own tending.
    pub async fn unsettled_sessions(&self) -> Result<Vec<StoredSession>, StoreError> {
        self.read(|db| {
            let mut statement = db.prepare_cached(
                "SELECT body FROM sessions WHERE state IN ('running', 'waiting') ORDER BY session_id",
            )?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            rows.map(|body| parse_json("session", &body?)).collect()
        })
        .await
    }

    /// Events of a session after a sequence number, oldest first. Whoever asks has looked the session up in its tenant.
    pub async fn session_events(
        &self,
        row: &StoredSession,
        after: u64,
        limit: usize,
    ) -> Result<Vec<SessionEvent>, StoreError> {
        let texts = self.session_event_texts(&row.session.id, after, limit).await?;
        texts.iter().map(|(_, text)| parse_json("session event", text)).collect()
    }

    /// The same as JSON, as they are served. At least one event if there is one, and at most about 4 MiB.
    pub async fn session_event_texts(
        &self,
        id: &SessionId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, String)>, StoreError> {
        let id = id.clone();
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT seq, body FROM session_events WHERE session_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
            )?;
            let limit = i64::try_from(limit).unwrap_or(1000);
            let after = i64::try_from(after).unwrap_or(i64::MAX);
            let mut rows = statement.query(params![id.as_str(), after, limit])?;
            let (mut page, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                let text: String = row.get(1)?;
                bytes += text.len();
                page.push((u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0), text));
                if bytes > PAGE_BYTES_MAX {
                    break;
                }
            }
            Ok(page)
        })
        .await
    }

    /// Copies the events of one session up to a sequence number into another, which must be new: a fork.
    pub async fn fork_session(
        &self,
        new: NewSession,
        from: &SessionId,
        upto: u64,
        at: Timestamp,
    ) -> Result<(StoredSession, Vec<SessionEvent>), StoreError> {
        let from = from.clone();
        self.write(move |db| {
            let NewSession { mut row, events } = new;
            let mut statement =
                db.prepare_cached("SELECT body FROM session_events WHERE session_id = ?1 AND seq <= ?2 ORDER BY seq")?;
            let upto = i64::try_from(upto).unwrap_or(i64::MAX);
            let bodies: Vec<String> = statement
                .query_map(params![from.as_str(), upto], |row| row.get::<_, String>(0))?
                .collect::<Result<_, _>>()?;
            let mut copied = Vec::with_capacity(bodies.len());
            for body in bodies {
                copied.push(parse_json::<SessionEvent>("session event", &body)?);
            }
            for event in copied {
                append(db, &mut row, event.at, vec![event.what])?;
            }
            db.execute(
                "INSERT INTO session_blobs (session_id, digest, content)
                 SELECT ?1, digest, content FROM session_blobs WHERE session_id = ?2",
                params![row.session.id.as_str(), from.as_str()],
            )?;
            let events = append(db, &mut row, at, events)?;
            put(db, &row)?;
            Ok((row, events))
        })
        .await
    }

    /// Keeps a text too long for an event.
    pub async fn keep_session_text(&self, id: &SessionId, content: String) -> Result<Digest, StoreError> {
        let id = id.clone();
        let digest = Digest::of(content.as_bytes());
        self.write(move |db| {
            db.prepare_cached("INSERT OR IGNORE INTO session_blobs (session_id, digest, content) VALUES (?1, ?2, ?3)")?
                .execute(params![id.as_str(), digest.to_string(), content])?;
            Ok(digest)
        })
        .await
    }

    /// A text that was kept.
    pub async fn session_text(&self, id: &SessionId, digest: Digest) -> Result<Option<String>, StoreError> {
        let id = id.clone();
        self.read(move |db| {
            Ok(db
                .prepare_cached("SELECT content FROM session_blobs WHERE session_id = ?1 AND digest = ?2")?
                .query_row(params![id.as_str(), digest.to_string()], |row| row.get(0))
                .optional()?)
        })
        .await
    }

    /// Lets whoever holds the token with this hash read a session, until it expires.
    pub async fn share_session(
        &self,
        row: &StoredSession,
        hash: String,
        at: Timestamp,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let (id, tenant) = (row.session.id.clone(), row.session.tenant.clone());
        self.write(move |db| {
            db.execute(
                "INSERT INTO session_shares (hash, session_id, tenant, created_us, expires_us) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![hash, id.as_str(), tenant.as_str(), micros(at), micros(until)],
            )?;
            Ok(())
        })
        .await
    }

    /// The session that a shared token opens.
    pub async fn shared_session(&self, hash: String, now: Timestamp) -> Result<Option<StoredSession>, StoreError> {
        self.read(move |db| {
            let found: Option<(String, i64)> = db
                .prepare_cached("SELECT session_id, expires_us FROM session_shares WHERE hash = ?1")?
                .query_row([&hash], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            match found {
                Some((id, until)) if moment(until) > now => stored(db, None, &id),
                _ => Ok(None),
            }
        })
        .await
    }

    /// Takes every shared token of a session back; says how many there were.
    pub async fn unshare_session(&self, row: &StoredSession) -> Result<usize, StoreError> {
        let id = row.session.id.clone();
        self.write(move |db| Ok(db.execute("DELETE FROM session_shares WHERE session_id = ?1", [id.as_str()])?)).await
    }
}
