//! Ending a query, or a whole session: look at it, end exactly that one, and look whether it has ended.

use jiff::Timestamp;
use reeve_gate::ProbeVerdict;
use reeve_types::{ActionClass, Reversibility, ToolOutput, VerifyStatus};

use super::args;
use super::define::{Definition, moment, pid};
use super::job::Job;
use super::moments::{asked_at, was_before};
use super::params::{Param, bound};
use super::rows::Row;
use super::session_facts::{SessionFacts, inspect, name, no_such_session, plan};
use super::trouble::Trouble;
use super::verify::until;
use crate::connect::{APPLICATION_NAME, Session};

const BACKEND_START: &str = "backend_start of the session as it was seen, RFC 3339; when the process id belongs to another session by now, nothing is done.";
const QUERY_START: &str =
    "query_start as it was seen, RFC 3339; when the session runs another query by now, nothing is done.";

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::change(
            "cancel_query",
            "Cancels the query that a session is running; the session itself lives on. Looks at the session first and checks afterwards.",
            ActionClass::Write,
            Reversibility::Partial {
                description: "the query's work is lost and its transaction fails, but the client keeps its session and may run it again".to_owned(),
            },
            |job| Box::pin(cancel_query(job)),
        )
        .required("pid", pid())
        .optional("expected_backend_start", moment(BACKEND_START))
        .optional("expected_query_start", moment(QUERY_START))
        .capabilities(&["sessions", "locks", "slow_queries"])
        .auto_remediation()
        .probed_by(|job| Box::pin(was_cancelled(job))),
        Definition::change(
            "terminate_connection",
            "Ends a session: its open transaction is rolled back and its locks are released. Looks at the session first and checks afterwards.",
            ActionClass::Destructive,
            Reversibility::Irreversible {
                reason: "the session's open transaction is rolled back and cannot be resumed; the client must connect again".to_owned(),
            },
            |job| Box::pin(terminate_connection(job)),
        )
        .required("pid", pid())
        .optional("expected_backend_start", moment(BACKEND_START))
        .optional("expected_query_start", moment(QUERY_START))
        .capabilities(&["sessions", "locks", "connections"])
        .probed_by(|job| Box::pin(was_terminated(job))),
    ]
}

/// What may be told to end. Everything else keeps the server alive, or comes back by itself at once.
const MAY_END: [&str; 9] = [
    "client backend",
    "walsender",
    "autovacuum worker",
    "parallel worker",
    "logical replication worker",
    "logical replication apply worker",
    "logical replication parallel worker",
    "logical replication tablesync worker",
    "logical replication table synchronization worker",
];

/// The session, when it is the one that was meant and may be touched.
async fn chosen(job: &Job<'_>, session: &Session) -> Result<SessionFacts, Trouble> {
    let pid = args::needed_integer(job.args(), "pid")?;
    let facts = inspect(session, pid).await?.ok_or_else(|| no_such_session(pid))?;
    facts.expect_moment("backend_start", args::moment(job.args(), "expected_backend_start")?)?;
    facts.expect_moment("query_start", args::moment(job.args(), "expected_query_start")?)?;
    if facts.is_self() || is_ours(facts.application()) {
        return Err(Trouble::failed(format!(
            "process {pid} is a session of Reeve itself; it ends by itself, and nothing was done"
        )));
    }
    if let Some(kind) = facts.backend_type().filter(|kind| !MAY_END.contains(kind)) {
        return Err(Trouble::failed(format!(
            "process {pid} is the server's own {kind}, not a session of a client; ending it could harm the whole server, and nothing was done"
        )));
    }
    facts.respect_age_limit(job)?;
    Ok(facts)
}

/// Whether a session bears one of Reeve's own names (`reeve`, `reeve diagnose`).
fn is_ours(application: &str) -> bool {
    application.strip_prefix(APPLICATION_NAME).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// Sends the signal to exactly the session that was looked at. Between looking and acting it may have become another.
async fn signal(
    job: &Job<'_>,
    session: &Session,
    function: &str,
    facts: &SessionFacts,
    same_query: bool,
) -> Result<(), Trouble> {
    let sql = format!(
        "SELECT pg_catalog.{function}(a.pid) FROM pg_stat_activity a
         WHERE a.pid = $1 AND a.backend_start IS NOT DISTINCT FROM $2
               AND ($3::boolean IS FALSE OR a.query_start IS NOT DISTINCT FROM $4)"
    );
    let params = [
        Param::number(facts.pid()),
        Param::optional(facts.moment("backend_start")),
        Param::from(serde_json::Value::Bool(same_query)),
        Param::optional(facts.moment("query_start")),
    ];
    let answer =
        job.effect(session.query_opt(&sql, &bound(&params))).await.map_err(|trouble| denied(session, trouble))?;
    match answer {
        None => Err(Trouble::failed(format!(
            "the session with process id {} is another one now; nothing was done",
            facts.pid()
        ))),
        Some(row) if row.try_get::<_, bool>(0)? => {
            job.has_changed_something();
            Ok(())
        }
        Some(_) => Err(Trouble::failed(format!("process {} had ended before it could be signalled", facts.pid()))),
    }
}

/// A refusal for want of privileges, with the grant that would help.
pub(super) fn denied(session: &Session, trouble: Trouble) -> Trouble {
    if !trouble.is_permission() {
        return trouble;
    }
    let user = &session.facts().user;
    trouble.noted(format!(
        "Nothing was done. To let role \"{user}\" end sessions of other roles: GRANT pg_signal_backend TO \"{user}\"; sessions of superusers can be ended by superusers only."
    ))
}

const STILL_THERE: &str = "SELECT a.state, a.query_start FROM pg_stat_activity a WHERE a.pid = $1 AND a.backend_start IS NOT DISTINCT FROM $2";

fn identity(facts: &SessionFacts) -> [Param; 2] {
    [Param::number(facts.pid()), Param::optional(facts.moment("backend_start"))]
}

async fn cancel_query(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let session = job.look().await?;
    let facts = chosen(job, &session).await?;
    if !facts.is_hidden() && facts.state() != "active" {
        let advice = if facts.transaction_seconds().is_some() {
            "; terminate_connection would end its open transaction"
        } else {
            ""
        };
        return Err(Trouble::failed(format!(
            "{} runs no query that could be cancelled{advice}; nothing was done",
            name(&facts)
        )));
    }
    signal(job, &session, "pg_cancel_backend", &facts, true).await?;
    let started = facts.moment("query_start").map(str::to_owned);
    let looks = until(job, &session, STILL_THERE, &identity(&facts), |row| ended_query(row, started.as_deref())).await;
    let verdict = if looks.has_shown() {
        "The query has ended."
    } else {
        "The query is still running: it ends at the next point where it can be interrupted."
    };
    let mut output = ToolOutput::with_data(
        format!("Cancelled the query of {}.\n{verdict}\n\nBefore:\n{}", name(&facts), plan(&facts)),
        facts.data(),
    );
    output.pre_state = Some(facts.data());
    output.affected = Some(1);
    Ok(looks.note(output, VerifyStatus::Warning))
}

fn ended_query(row: Option<&Row>, started: Option<&str>) -> bool {
    row.is_none_or(|row| match row.text("state") {
        Some("active") => row.text("query_start") != started,
        // Hidden from the role: nothing can be said.
        None => false,
        Some(_) => true,
    })
}

async fn terminate_connection(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let session = job.look().await?;
    let facts = chosen(job, &session).await?;
    let same_query = args::text(job.args(), "expected_query_start").is_some();
    signal(job, &session, "pg_terminate_backend", &facts, same_query).await?;
    let looks = until(job, &session, STILL_THERE, &identity(&facts), |row| row.is_none()).await;
    let verdict = if looks.has_shown() {
        "The session is gone."
    } else {
        "The session is still there although it was told to end; it may hang in the kernel or in an extension. A person must look at the process on the server's host; never kill it with SIGKILL, which makes the whole server restart."
    };
    let mut output = ToolOutput::with_data(
        format!("Terminated {}.\n{verdict}\n\nBefore:\n{}", name(&facts), plan(&facts)),
        facts.data(),
    );
    output.pre_state = Some(facts.data());
    output.affected = Some(1);
    Ok(looks.note(output, VerifyStatus::EscalationRequired))
}

/// A moment of the session compared with what the call expected, or with when it was asked for.
fn is_another(found: Option<&str>, expected: Option<Timestamp>, asked: Option<Timestamp>) -> Option<bool> {
    let found: Timestamp = found?.parse().ok()?;
    match (expected, asked) {
        (Some(expected), _) => Some(found.duration_since(expected).abs().as_millis() >= 1),
        (None, Some(asked)) => was_before(found, asked).map(|before| !before),
        (None, None) => None,
    }
}

async fn was_terminated(job: &Job<'_>) -> Result<ProbeVerdict, Trouble> {
    let pid = args::needed_integer(job.args(), "pid")?;
    let expected = args::moment(job.args(), "expected_backend_start")?;
    let session = job.look().await?;
    let Some(facts) = inspect(&session, pid).await? else {
        return Ok(ProbeVerdict::Happened(format!("there is no session with process id {pid} any more")));
    };
    Ok(match is_another(facts.moment("backend_start"), expected, asked_at(&job.call.action_id)) {
        Some(true) => ProbeVerdict::Happened(format!("process id {pid} belongs to another session now")),
        Some(false) => ProbeVerdict::DidNotHappen(format!("{} is still there", name(&facts))),
        None => ProbeVerdict::CannotTell(format!(
            "{} is there, and it cannot be told whether it is the one that was meant",
            name(&facts)
        )),
    })
}

async fn was_cancelled(job: &Job<'_>) -> Result<ProbeVerdict, Trouble> {
    let pid = args::needed_integer(job.args(), "pid")?;
    let expected = args::moment(job.args(), "expected_query_start")?;
    let session = job.look().await?;
    let Some(facts) = inspect(&session, pid).await? else {
        return Ok(ProbeVerdict::Happened(format!("there is no session with process id {pid} any more")));
    };
    if facts.is_hidden() {
        return Ok(ProbeVerdict::CannotTell(format!("what process {pid} runs is hidden from this role")));
    }
    if facts.state() != "active" {
        return Ok(ProbeVerdict::Happened(format!("{} runs no query any more", name(&facts))));
    }
    Ok(match is_another(facts.moment("query_start"), expected, asked_at(&job.call.action_id)) {
        Some(true) => ProbeVerdict::Happened(format!("{} runs another query now", name(&facts))),
        Some(false) => ProbeVerdict::DidNotHappen(format!("{} still runs the same query", name(&facts))),
        None => ProbeVerdict::CannotTell(format!(
            "{} runs a query, and it cannot be told whether it is the one that was meant",
            name(&facts)
        )),
    })
}
