//! Replication: this server's role, its standbys, its slots, and where its own WAL comes from.

use reeve_gate::ProbeVerdict;
use reeve_types::{ActionClass, Arguments, Reversibility, ToolOutput, VerifyStatus};
use serde_json::json;

use super::define::Definition;
use super::job::Job;
use super::reads::{Part, answer};
use super::rows::{Row, fetch_one};
use super::trouble::Trouble;
use super::verify::until;

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::read(
            "get_replication_status",
            "Primary or standby, whether replay is paused, lag of every standby in bytes and seconds, replication slots with the WAL they keep, and the WAL receiver.",
            |job| Box::pin(answer(job, replication_status)),
        )
        .capabilities(&["replication", "wal", "slots"])
        .fleet(),
        Definition::change(
            "resume_wal_replay",
            "Resumes WAL replay on a standby where it was paused. The connection must lead to the standby.",
            ActionClass::Write,
            Reversibility::Partial {
                description: "replay can be paused again with pg_wal_replay_pause(); WAL that has been replayed meanwhile stays replayed".to_owned(),
            },
            |job| Box::pin(resume_wal_replay(job)),
        )
        .capabilities(&["replication", "wal"])
        .auto_remediation()
        .probed_by(|job| Box::pin(was_resumed(job))),
    ]
}

/// How far this server has come in the WAL; it also holds on a standby.
const POSITION: &str =
    "CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
    ELSE pg_current_wal_lsn() END";

fn pause_state(version: u32) -> &'static str {
    if version >= 140_000 {
        "CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() END"
    } else {
        "CASE WHEN pg_is_in_recovery() THEN CASE WHEN pg_is_wal_replay_paused() THEN 'paused' ELSE 'not paused' END END"
    }
}

pub(super) fn replication_status(_: &Arguments, version: u32) -> Result<Vec<Part>, Trouble> {
    Ok(vec![role_part(version), standbys_part(), slots_part(version), receiver_part()])
}

fn role_part(version: u32) -> Part {
    Part::one(
        "server",
        format!(
            "SELECT CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE 'primary' END AS role,
                    {} AS replay_pause_state, ({POSITION})::text AS wal_position,
                    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()::text END AS replayed_to,
                    CASE WHEN pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::bigint
                    END AS replay_lag_bytes,
                    CASE WHEN NOT pg_is_in_recovery() THEN NULL
                         WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
                         ELSE round(extract(epoch FROM now() - pg_last_xact_replay_timestamp())::numeric, 1) END AS replay_delay_seconds",
            pause_state(version)
        ),
    )
    .titled("This server")
}

fn standbys_part() -> Part {
    let sql = format!(
        "SELECT r.pid, r.application_name AS application, host(r.client_addr) AS client, r.usename AS \"user\", r.state,
                r.sync_state, r.sent_lsn::text AS sent_to, r.replay_lsn::text AS replayed_to,
                pg_wal_lsn_diff(p.position, r.sent_lsn)::bigint AS send_lag_bytes,
                pg_wal_lsn_diff(p.position, r.write_lsn)::bigint AS write_lag_bytes,
                pg_wal_lsn_diff(p.position, r.flush_lsn)::bigint AS flush_lag_bytes,
                pg_wal_lsn_diff(p.position, r.replay_lsn)::bigint AS replay_lag_bytes,
                round(extract(epoch FROM r.replay_lag)::numeric, 3) AS replay_lag_seconds
         FROM pg_stat_replication r, (SELECT {POSITION} AS position) p ORDER BY r.application_name, r.pid"
    );
    Part::rows("standbys", sql).titled("Standbys").when_empty("No standby is connected.")
}

fn slots_part(version: u32) -> Part {
    let since = match version {
        170_000.. => ", s.conflicting, s.invalidation_reason, s.inactive_since",
        160_000.. => ", s.conflicting",
        _ => "",
    };
    let sql = format!(
        "SELECT s.slot_name, s.slot_type AS type, s.plugin, s.database, s.active, s.active_pid, s.temporary,
                s.restart_lsn::text AS restart_lsn, pg_wal_lsn_diff(p.position, s.restart_lsn)::bigint AS retained_wal_bytes,
                pg_wal_lsn_diff(p.position, s.confirmed_flush_lsn)::bigint AS confirmed_lag_bytes,
                s.wal_status, s.safe_wal_size AS safe_wal_bytes{since}
         FROM pg_replication_slots s, (SELECT {POSITION} AS position) p
         ORDER BY retained_wal_bytes DESC NULLS LAST, s.slot_name"
    );
    Part::rows("slots", sql).titled("Replication slots").when_empty("There are no replication slots.")
}

fn receiver_part() -> Part {
    let sql = "SELECT w.status, w.sender_host, w.sender_port, w.slot_name, w.written_lsn::text AS written_to, w.flushed_lsn::text AS flushed_to,
                      w.latest_end_lsn::text AS sender_at, w.last_msg_receipt_time AS last_message_at
               FROM pg_stat_wal_receiver w WHERE w.pid IS NOT NULL";
    Part::rows("receiver", sql).titled("WAL receiver").when_empty("No WAL is being received.")
}

fn paused(version: u32) -> String {
    format!("SELECT pg_is_in_recovery() AS standby, {} AS state", pause_state(version))
}

fn is_replaying(row: Option<&Row>) -> bool {
    row.is_some_and(|row| !row.is("standby") || row.text("state") == Some("not paused"))
}

async fn resume_wal_replay(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let session = job.change().await?;
    let look = paused(session.server_version_num());
    let before = fetch_one(&session, &look, &[]).await?;
    if !before.is("standby") {
        return Err(Trouble::failed(
            "this server is a primary and replays no WAL; connect to the standby whose replay is paused",
        ));
    }
    let state = before.text("state").unwrap_or("unknown").to_owned();
    if is_replaying(Some(&before)) {
        let mut output = ToolOutput::with_data(
            "WAL replay was not paused; nothing was changed.",
            json!({ "replay_pause_state": state, "changed": false }),
        );
        output.verify_status = Some(VerifyStatus::Ok);
        output.affected = Some(0);
        return Ok(output);
    }
    job.effect(session.query_one("SELECT pg_wal_replay_resume()", &[])).await.map_err(|trouble| {
        let denied = trouble.is_permission();
        if denied {
            trouble.noted("Grant it with: GRANT EXECUTE ON FUNCTION pg_wal_replay_resume() TO this role.")
        } else {
            trouble
        }
    })?;
    job.has_changed_something();
    let looks = until(job, &session, &look, &[], is_replaying).await;
    let mut output = ToolOutput::with_data(
        format!("WAL replay was {state} and has been resumed."),
        json!({ "replay_pause_state": state, "changed": true }),
    );
    output.pre_state = Some(json!({ "replay_pause_state": state }));
    output.affected = Some(1);
    Ok(looks.note(output, VerifyStatus::Failed))
}

async fn was_resumed(job: &Job<'_>) -> Result<ProbeVerdict, Trouble> {
    let session = job.look().await?;
    let row = fetch_one(&session, &paused(session.server_version_num()), &[]).await?;
    Ok(if is_replaying(Some(&row)) {
        ProbeVerdict::Happened("WAL replay is not paused".to_owned())
    } else {
        ProbeVerdict::DidNotHappen(format!("WAL replay is still {}", row.text("state").unwrap_or("paused")))
    })
}
