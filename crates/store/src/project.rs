//! What follows from the records: approvals and actions, as tables.
//!
//! [`apply`] is the only code that changes them. It runs in the transaction that appends the record, and again for
//! every record that a crash kept from being applied ([`catch_up`]); applying a record twice does no harm.

use reeve_gate::{Expectation, StoredAction};
use reeve_types::{
    ActionState, Approval, ApprovalStatus, Arguments, Digest, Event, EventType, ToolOutput, VerifyStatus,
};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::Value;

use crate::{StoreError, actions, approvals, micros, parse_json, to_json, writer};

/// The first expectation that does not hold, in words for people.
pub(crate) fn first_broken(state: &Connection, expect: &[Expectation]) -> Result<Option<String>, StoreError> {
    for expectation in expect {
        let broken = match expectation {
            Expectation::ActionIn(id, wanted) => match actions::state_of(state, id)? {
                Some(found) if found == *wanted => None,
                Some(found) => Some(format!("action `{id}` is {found}, not {wanted}")),
                None => Some(format!("there is no action `{id}`")),
            },
            Expectation::NoLiveAct { act_digest, at } => actions::find_live(state, *act_digest, micros(*at), true)?
                .map(|known| format!("the same act is already known as `{}` ({})", known.action_id, known.state)),
            Expectation::ApprovalPending(id, at) => match approvals::get(state, id)? {
                None => Some(format!("there is no approval `{id}`")),
                Some(approval) => match approval.status_at(*at) {
                    ApprovalStatus::Pending => None,
                    status => Some(format!("approval `{id}` is {status} and can no longer be answered")),
                },
            },
            Expectation::ApprovalUnsettled(id) => match approvals::get(state, id)? {
                None => Some(format!("there is no approval `{id}`")),
                Some(approval) if approval.status == ApprovalStatus::Pending => None,
                Some(approval) => Some(format!("approval `{id}` is {} and cannot change any more", approval.status)),
            },
            Expectation::NotVoted(id, by) => approvals::get(state, id)?
                .is_some_and(|approval| approval.votes.iter().any(|vote| vote.by == *by))
                .then(|| format!("{by} has already answered approval `{id}`")),
        };
        if broken.is_some() {
            return Ok(broken);
        }
    }
    Ok(None)
}

/// Applies the records that the state has not seen.
pub(crate) fn catch_up(audit: &Connection, state: &Connection) -> Result<(), StoreError> {
    state.execute_batch("BEGIN IMMEDIATE")?;
    let outcome = apply_missing(audit, state).and_then(|count| {
        state.execute_batch("COMMIT")?;
        Ok(count)
    });
    match outcome {
        Ok(0) => Ok(()),
        Ok(count) => {
            tracing::info!(records = count, "the state was brought up to the audit log");
            Ok(())
        }
        Err(error) => {
            let _ = state.execute_batch("ROLLBACK");
            Err(error)
        }
    }
}

fn apply_missing(audit: &Connection, state: &Connection) -> Result<u64, StoreError> {
    let size: i64 = audit.query_row("SELECT coalesce(max(seq) + 1, 0) FROM events", [], |row| row.get(0))?;
    // Behind a log that was put back from an older copy, or begun anew, the state goes on where that log ends.
    let from = writer::applied(state)?.min(u64::try_from(size).unwrap_or(0));
    let mut statement = audit.prepare("SELECT seq, canonical FROM events WHERE seq >= ?1 ORDER BY seq")?;
    let mut rows = statement.query([i64::try_from(from).unwrap_or(i64::MAX)])?;
    let mut count = 0u64;
    while let Some(row) = rows.next()? {
        let (seq, text): (i64, String) = (row.get(0)?, row.get(1)?);
        let seq = u64::try_from(seq).unwrap_or(0);
        match event_of(&text) {
            Ok(event) => apply(state, seq, &event, None)?,
            // A log of records that this version cannot read is still a log: verification reads bytes, not fields.
            Err(reason) => tracing::warn!(audit.seq = seq, "a record was not applied: {reason}"),
        }
        count += 1;
    }
    Ok(count)
}

/// The event inside canonical bytes.
pub(crate) fn event_of(canonical: &str) -> Result<Event, String> {
    let mut value: Value = serde_json::from_str(canonical).map_err(|e| e.to_string())?;
    if let Some(object) = value.as_object_mut() {
        object.remove("seq");
        object.remove("prev_hash");
    }
    serde_json::from_value(value).map_err(|e| e.to_string())
}

/// Applies one record to the state.
pub(crate) fn apply(
    state: &Connection,
    seq: u64,
    event: &Event,
    result: Option<&ToolOutput>,
) -> Result<(), StoreError> {
    match event.event_type {
        EventType::ApprovalRequested => ask(state, event)?,
        EventType::ApprovalVote => vote(state, event)?,
        EventType::ApprovalResolved => resolve(state, event)?,
        EventType::EffectIntent => begin(state, event)?,
        EventType::ToolExecution => end(state, event, result)?,
        _ => {}
    }
    state
        .prepare_cached(
            "INSERT INTO meta (name, value) VALUES ('applied', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1",
        )?
        .execute([(seq + 1).to_string()])?;
    Ok(())
}

fn ask(state: &Connection, event: &Event) -> Result<(), StoreError> {
    let Some(approval) = event.approval.as_ref().and_then(|part| part.question.as_deref()) else {
        return Ok(());
    };
    let action = StoredAction {
        action_id: approval.action_id.clone(),
        trace_id: approval.trace_id.clone(),
        state: ActionState::AwaitingApproval,
        tool: approval.tool_name.clone(),
        action_class: approval.action_class,
        arguments: object(&approval.arguments),
        resource: approval.resource.clone(),
        requester: approval.requester.clone(),
        purpose: approval.purpose,
        act_digest: approval.act_digest,
        approval_id: Some(approval.approval_id.clone()),
        created_at: approval.requested_at,
        updated_at: approval.requested_at,
        result: None,
        error: None,
        collected_at: None,
    };
    approvals::insert(state, approval)?;
    actions::insert(state, &action)
}

fn object(value: &Value) -> Arguments {
    value.as_object().cloned().unwrap_or_default()
}

fn vote(state: &Connection, event: &Event) -> Result<(), StoreError> {
    let Some(part) = &event.approval else { return Ok(()) };
    approvals::change(state, &part.approval_id, |approval| add_vote(approval, part.vote.clone()))
}

fn add_vote(approval: &mut Approval, vote: Option<reeve_types::Vote>) {
    if let Some(vote) = vote
        && !approval.votes.iter().any(|known| known.by == vote.by)
    {
        approval.votes.push(vote);
    }
}

fn resolve(state: &Connection, event: &Event) -> Result<(), StoreError> {
    let Some(part) = &event.approval else { return Ok(()) };
    let by = event.principal.as_ref().map_or_else(|| "system".to_owned(), reeve_types::Principal::label);
    approvals::change(state, &part.approval_id, |approval| {
        add_vote(approval, part.vote.clone());
        approval.status = part.status;
        approval.resolved_at = Some(event.timestamp);
        approval.resolved_by = Some(by);
        approval.resolution_reason.clone_from(&part.reason);
        if part.status == ApprovalStatus::Approved {
            approval.approval_valid_until = part.valid_until;
        }
    })?;
    let Some(action_id) = &event.action_id else { return Ok(()) };
    let next = match part.status {
        ApprovalStatus::Pending => return Ok(()),
        ApprovalStatus::Approved => ActionState::Approved,
        ApprovalStatus::Denied => ActionState::Denied,
        ApprovalStatus::Cancelled => ActionState::Cancelled,
        ApprovalStatus::Expired => ActionState::Expired,
        ApprovalStatus::Stale => ActionState::Stale,
    };
    let error = (!matches!(next, ActionState::Approved)).then_some(part.reason.as_str());
    actions::advance(state, action_id, next, micros(event.timestamp), None, error)
}

fn begin(state: &Connection, event: &Event) -> Result<(), StoreError> {
    let Some(action_id) = &event.action_id else { return Ok(()) };
    if actions::state_of(state, action_id)?.is_some() {
        return actions::advance(state, action_id, ActionState::Running, micros(event.timestamp), None, None);
    }
    // Policy allowed it without asking: this is the first that the state hears of it.
    let (Some(tool), Some(resource), Some(requester)) = (&event.tool, &event.resource, &event.principal) else {
        return Ok(());
    };
    let action = StoredAction {
        action_id: action_id.clone(),
        trace_id: event.trace_id.clone(),
        state: ActionState::Running,
        tool: tool.name.clone(),
        action_class: event.action_class.unwrap_or(reeve_types::ActionClass::Destructive),
        arguments: object(&tool.parameters),
        resource: resource.clone(),
        requester: requester.clone(),
        purpose: event.purpose,
        // Acts that nobody was asked about are never joined, so they need no digest.
        act_digest: Digest::ZERO,
        approval_id: None,
        created_at: event.timestamp,
        updated_at: event.timestamp,
        result: None,
        error: None,
        collected_at: None,
    };
    actions::insert(state, &action)
}

fn end(state: &Connection, event: &Event, result: Option<&ToolOutput>) -> Result<(), StoreError> {
    let Some(action_id) = &event.action_id else { return Ok(()) };
    if actions::state_of(state, action_id)?.is_none_or(ActionState::is_final) {
        return Ok(());
    }
    let status = event.outcome.as_ref().map_or("unknown", |outcome| outcome.status.as_str());
    let next = match status {
        "success" => ActionState::Succeeded,
        "unknown" => ActionState::Unknown,
        _ => ActionState::Failed,
    };
    let excerpt = || {
        let tool = event.tool.as_ref()?;
        Some(ToolOutput {
            output: tool.result.clone(),
            verify_status: tool
                .verify_status
                .filter(|_| next == ActionState::Succeeded)
                .or(Some(VerifyStatus::Warning)),
            affected: tool.affected,
            pre_state: tool.pre_state.clone(),
            ..ToolOutput::default()
        })
    };
    let kept = match (next, result) {
        (ActionState::Succeeded, Some(result)) => Some(result.clone()),
        (ActionState::Succeeded, None) => excerpt(),
        _ => None,
    };
    let error = event.outcome.as_ref().map(|o| o.error_message.as_str()).filter(|text| !text.is_empty());
    actions::advance(state, action_id, next, micros(event.timestamp), kept.as_ref(), error)
}

/// Reads a JSON column of one row, when the row exists.
pub(crate) fn json_row<T: serde::de::DeserializeOwned>(
    state: &Connection,
    sql: &str,
    id: &str,
) -> Result<Option<T>, StoreError> {
    let text: Option<String> = state.prepare_cached(sql)?.query_row(params![id], |row| row.get(0)).optional()?;
    text.map(|text| parse_json(id, &text)).transpose()
}

/// Writes a JSON column of one row.
pub(crate) fn as_json<T: serde::Serialize>(id: &str, value: &T) -> Result<String, StoreError> {
    to_json(id, value)
}
