//! Taking back a setting of `ALTER SYSTEM`, and starting statistics afresh.

use reeve_gate::ProbeVerdict;
use reeve_types::{ActionClass, Reversibility, ToolOutput, VerifyStatus};
use serde_json::json;

use super::args;
use super::define::Definition;
use super::job::Job;
use super::moments::{asked_at, was_before};
use super::params::Param;
use super::render::fields;
use super::rows::{Row, fetch, fetch_one};
use super::trouble::Trouble;
use super::verify::until;
use crate::connect::Session;

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::change(
            "reset_pg_setting",
            "Takes back what ALTER SYSTEM set for one setting and reloads the configuration, so that postgresql.conf or the default applies again.",
            ActionClass::Write,
            Reversibility::Partial {
                description: "the value that was set is kept in the record as pre_state; ALTER SYSTEM SET with that value and a reload bring it back".to_owned(),
            },
            |job| Box::pin(reset_setting(job)),
        )
        .required("setting_name", json!({
            "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z_][A-Za-z0-9_$]*)?$", "maxLength": 127,
            "description": "The setting, such as work_mem.",
        }))
        .capabilities(&["config"])
        .probed_by(|job| Box::pin(was_reset(job))),
        Definition::change(
            "reset_cache_stats",
            "Sets the statistics counters of this database to zero (pg_stat_reset), so that ratios show what happens from now on.",
            ActionClass::Write,
            Reversibility::Irreversible {
                reason: "the counters gathered so far are lost, and autovacuum forgets how much changed in each table; the database's totals are kept in the record".to_owned(),
            },
            |job| Box::pin(reset_stats(job)),
        )
        .capabilities(&["cache", "statistics"])
        .probed_by(|job| Box::pin(stats_were_reset(job))),
    ]
}

const AUTO_CONF: &str = "postgresql.auto.conf";

async fn setting(session: &Session, name: &str) -> Result<Row, Trouble> {
    let sql = "SELECT s.name, s.setting, s.unit, s.boot_val AS \"default\", s.source, s.sourcefile, s.context, s.pending_restart,
                      (SELECT string_agg(quote_ident(part), '.') FROM regexp_split_to_table(s.name, '\\.') AS part) AS quoted
               FROM pg_settings s WHERE lower(s.name) = lower($1)";
    let rows = fetch(session, sql, &[Param::text(name)]).await?;
    rows.rows.into_iter().next().ok_or_else(|| {
        Trouble::failed(format!("this server has no setting `{name}`, or hides it from this role; nothing was done"))
    })
}

/// What `ALTER SYSTEM` has set; `None` when nothing, and an error of the server when the role may not know.
async fn set_by_alter_system(session: &Session, name: &str) -> Result<Option<Row>, Trouble> {
    let sql = "SELECT f.name, f.setting, f.sourcefile, f.sourceline, f.applied, f.error FROM pg_file_settings f
               WHERE lower(f.name) = lower($1) AND f.sourcefile LIKE '%postgresql.auto.conf' ORDER BY f.seqno DESC LIMIT 1";
    Ok(fetch(session, sql, &[Param::text(name)]).await?.rows.into_iter().next())
}

async fn reset_setting(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let name = args::needed(job.args(), "setting_name")?;
    let session = job.change().await?;
    let before = setting(&session, name).await?;
    let quoted = before.text("quoted").unwrap_or_default();
    if before.text("context") == Some("internal") {
        return Err(Trouble::invalid(format!(
            "`{name}` is fixed when the server is built or initialised; it cannot be set or reset"
        )));
    }
    let was_set = match set_by_alter_system(&session, name).await {
        Ok(None) => return Ok(nothing_to_reset(&before)),
        Ok(Some(row)) => row,
        Err(trouble) if trouble.is_permission() => before.clone(),
        Err(trouble) => return Err(trouble),
    };
    let user = &session.facts().user;
    job.effect(session.batch_execute(&format!("ALTER SYSTEM RESET {quoted}"))).await.map_err(|trouble| {
        if !trouble.is_permission() {
            return trouble;
        }
        let grant = if session.server_version_num() >= 150_000 {
            format!("GRANT ALTER SYSTEM ON PARAMETER {quoted} TO \"{user}\", or use")
        } else {
            "Use".to_owned()
        };
        trouble.noted(format!("Nothing was done. {grant} a superuser."))
    })?;
    job.has_changed_something();
    job.effect(session.query_one("SELECT pg_catalog.pg_reload_conf()", &[])).await.map_err(|trouble| {
        trouble.noted(format!("`{name}` has been taken out of {AUTO_CONF}, and takes effect when the configuration is reloaded (pg_reload_conf) or the server restarts"))
    })?;

    let now = "SELECT s.name, s.setting, s.unit, s.source, s.sourcefile, s.pending_restart FROM pg_settings s WHERE lower(s.name) = lower($1)";
    let looks = until(job, &session, now, &[Param::text(name)], |row| row.is_some_and(took_effect)).await;
    let after = fetch_one(&session, now, &[Param::text(name)]).await?;
    let needs_restart = after.is("pending_restart") || before.text("context") == Some("postmaster");
    let mut text =
        format!("Reset {name}: ALTER SYSTEM had set it to {}.\nNow:\n{}", was_set.get("setting"), fields(&after));
    if needs_restart {
        text.push_str("The server must be restarted for this to take effect.\n");
    }
    let mut output = ToolOutput::with_data(
        text,
        json!({ "before": before.object(), "after": after.object(), "needs_restart": needs_restart }),
    );
    output.pre_state = Some(
        json!({ "name": before.get("name"), "alter_system_value": was_set.get("setting"), "setting": before.get("setting"), "unit": before.get("unit"), "source": before.get("source") }),
    );
    output.affected = Some(1);
    let output = looks.note(output, VerifyStatus::Failed);
    Ok(if needs_restart { ToolOutput { verify_status: Some(VerifyStatus::Warning), ..output } } else { output })
}

fn took_effect(row: &Row) -> bool {
    row.is("pending_restart") || !row.text("sourcefile").is_some_and(|file| file.ends_with(AUTO_CONF))
}

fn nothing_to_reset(before: &Row) -> ToolOutput {
    let name = before.text("name").unwrap_or_default();
    let mut output = ToolOutput::with_data(
        format!("{name} is not set by ALTER SYSTEM; nothing was changed.\n{}", fields(before)),
        json!({ "before": before.object(), "after": before.object(), "needs_restart": false }),
    );
    output.verify_status = Some(VerifyStatus::Ok);
    output.affected = Some(0);
    output
}

async fn was_reset(job: &Job<'_>) -> Result<ProbeVerdict, Trouble> {
    let name = args::needed(job.args(), "setting_name")?;
    let session = job.look().await?;
    let in_file = set_by_alter_system(&session, name).await?.is_some();
    let in_force = !took_effect(&setting(&session, name).await?);
    Ok(match (in_file, in_force) {
        (true, _) => ProbeVerdict::DidNotHappen(format!("`{name}` is still set in {AUTO_CONF}")),
        (false, false) => ProbeVerdict::Happened(format!("`{name}` is not set by ALTER SYSTEM any more")),
        (false, true) => ProbeVerdict::CannotTell(format!(
            "`{name}` is out of {AUTO_CONF}, but the configuration has not been reloaded; run pg_reload_conf()"
        )),
    })
}

const TOTALS: &str = "SELECT s.datname AS database, s.xact_commit AS commits, s.xact_rollback AS rollbacks, s.blks_read, s.blks_hit,
           round(100.0 * s.blks_hit / nullif(s.blks_hit + s.blks_read, 0), 2) AS hit_ratio_pct, s.deadlocks, s.temp_bytes, s.stats_reset
    FROM pg_stat_database s WHERE s.datname = current_database()";

async fn reset_stats(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let session = job.change().await?;
    let before = fetch_one(&session, TOTALS, &[]).await?;
    job.effect(session.execute("SELECT pg_catalog.pg_stat_reset()", &[])).await.map_err(|trouble| {
        let user = &session.facts().user;
        if trouble.is_permission() {
            trouble.noted(format!("Nothing was done. GRANT EXECUTE ON FUNCTION pg_stat_reset() TO \"{user}\"."))
        } else {
            trouble
        }
    })?;
    job.has_changed_something();
    let last = before.text("stats_reset").map(str::to_owned);
    let looks = until(job, &session, TOTALS, &[], |row| {
        row.and_then(|row| row.text("stats_reset")).is_some_and(|now| Some(now) != last.as_deref())
    })
    .await;
    let mut output = ToolOutput::with_data(
        format!("The statistics of this database start at zero. Before:\n{}", fields(&before)),
        json!({ "before": before.object() }),
    );
    output.pre_state = Some(before.object());
    output.affected = Some(1);
    Ok(looks.note(output, VerifyStatus::Failed))
}

async fn stats_were_reset(job: &Job<'_>) -> Result<ProbeVerdict, Trouble> {
    let session = job.look().await?;
    let row = fetch_one(&session, TOTALS, &[]).await?;
    let Some(last) = row.text("stats_reset").and_then(|text| text.parse().ok()) else {
        return Ok(ProbeVerdict::DidNotHappen("the statistics of this database have never been reset".to_owned()));
    };
    Ok(match asked_at(&job.call.action_id).and_then(|asked| was_before(last, asked)) {
        Some(false) => ProbeVerdict::Happened(format!("the statistics were reset at {last}")),
        Some(true) => ProbeVerdict::DidNotHappen(format!("the statistics were last reset at {last}")),
        None => ProbeVerdict::CannotTell(format!("the statistics were reset at {last}, at about the time of the call")),
    })
}
