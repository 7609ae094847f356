//! Dropping a replication slot that nobody uses and that keeps WAL.

use reeve_gate::ProbeVerdict;
use reeve_types::{ActionClass, Reversibility, ToolOutput, VerifyStatus};
use serde_json::json;

use super::args;
use super::define::Definition;
use super::job::Job;
use super::params::{Param, bound};
use super::render::fields;
use super::rows::{Row, fetch};
use super::trouble::Trouble;
use super::verify::until;
use crate::connect::Session;

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::change(
            "drop_replication_slot",
            "Drops a replication slot that is not in use, so that the WAL it keeps can be removed. Refuses a slot that is active.",
            ActionClass::Destructive,
            Reversibility::Irreversible {
                reason: "the position that the slot kept is lost; its consumer must be set up again, most likely from a new base backup or a full copy".to_owned(),
            },
            |job| Box::pin(drop_slot(job)),
        )
        .required("slot_name", json!({
            "type": "string", "pattern": "^[a-z0-9_]{1,63}$",
            "description": "The slot, as get_replication_status shows it.",
        }))
        .capabilities(&["replication", "slots", "wal", "disk"])
        .probed_by(|job| Box::pin(was_dropped(job))),
    ]
}

const SLOT: &str = "SELECT s.slot_name, s.slot_type AS type, s.plugin, s.database, s.active, s.active_pid, s.temporary, s.wal_status,
           s.restart_lsn::text AS restart_lsn, s.confirmed_flush_lsn::text AS confirmed_flush_lsn,
           pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                                ELSE pg_current_wal_lsn() END, s.restart_lsn)::bigint AS retained_wal_bytes
    FROM pg_replication_slots s WHERE s.slot_name = $1";

async fn find(session: &Session, name: &str) -> Result<Option<Row>, Trouble> {
    Ok(fetch(session, SLOT, &[Param::text(name)]).await?.rows.into_iter().next())
}

async fn drop_slot(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let name = args::needed(job.args(), "slot_name")?;
    let session = job.change().await?;
    let slot = find(&session, name).await?.ok_or_else(|| {
        Trouble::failed(format!("there is no replication slot `{name}` on this server; nothing was done"))
    })?;
    if slot.is("active") {
        return Err(Trouble::failed(format!(
            "replication slot `{name}` is in use by process {}: something is reading from it at this moment; stop its consumer first, and nothing was done",
            slot.get("active_pid")
        )));
    }
    let params = [Param::text(name)];
    job.effect(session.execute("SELECT pg_catalog.pg_drop_replication_slot($1)", &bound(&params))).await.map_err(
        |trouble| {
            let user = &session.facts().user;
            if trouble.is_permission() {
                trouble.noted(format!(
                    "Nothing was done. To let role \"{user}\" drop slots: ALTER ROLE \"{user}\" REPLICATION."
                ))
            } else {
                trouble
            }
        },
    )?;
    job.has_changed_something();
    let looks = until(job, &session, SLOT, &params, |row| row.is_none()).await;
    let mut output = ToolOutput::with_data(
        format!(
            "Dropped replication slot {name}. The WAL it kept is removed by the next checkpoints.\n{}",
            fields(&slot)
        ),
        slot.object(),
    );
    output.pre_state = Some(slot.object());
    output.affected = Some(1);
    Ok(looks.note(output, VerifyStatus::Failed))
}

async fn was_dropped(job: &Job<'_>) -> Result<ProbeVerdict, Trouble> {
    let name = args::needed(job.args(), "slot_name")?;
    let session = job.look().await?;
    Ok(match find(&session, name).await? {
        None => ProbeVerdict::Happened(format!("there is no replication slot `{name}` any more")),
        Some(_) => ProbeVerdict::DidNotHappen(format!("replication slot `{name}` is still there")),
    })
}
