//! Holding what an agent says it did against the record.
//!
//! An agent states what it did, entry by entry ([`statements`](super::statements)), and each entry is held against the act
//! that it names: when it states it, so that it can correct itself, and when its turn ends, for the record. An agent that
//! states no change is only looked at by its words: a short list of English verbs, which sees neither other languages nor a
//! claim that is put otherwise. It is a last net and says so where it marks something.

use std::collections::BTreeSet;

use reeve_types::event::{ClaimPart, OutcomePart, VerificationPart};
use reeve_types::session::{Happening, SessionEvent};
use reeve_types::{ActionClass, ActionState, EventType, Origin, VerifyStatus};
use serde_json::Value;

use super::asking::Outcome;
use super::deeds::{Came, Deed, Deeds};
use super::statements::{Entry, Held, STATEMENT_TOOL, entries_of, hold as hold_entries};
use super::turn::{Stop, TurnCx, all_events, events_after};
use super::words;

/// Most claims of one turn that are marked.
const MARKS_MAX: usize = 20;

/// Answers a statement, so that the agent can correct itself. What counts is how the last statement of the turn stands when
/// the turn ends.
pub(super) async fn answer_statement(cx: &TurnCx, input: &Value) -> Result<Outcome, Stop> {
    let entries = match entries_of(input) {
        Ok(entries) => entries,
        Err(reason) => return Ok(Outcome::failed(reason)),
    };
    let mut deeds = Deeds::of(&events_for(cx, &entries).await?);
    let held = stand(cx, &entries, &mut deeds).await?;
    let missing: Vec<String> = entries.iter().zip(&held).filter_map(|(entry, held)| unproven(entry, held)).collect();
    if missing.is_empty() {
        return Ok(Outcome::said(format!("The record bears out all {} entries.", entries.len())));
    }
    let mut said = format!("The record does not bear out {} of {} entries:", missing.len(), entries.len());
    for line in missing {
        said.push_str("\n- ");
        said.push_str(&line);
    }
    said.push_str("\nState again what was done, and say only that in your answer.");
    Ok(Outcome::said(said))
}

/// The events of the turn, with all that were before where they are needed: a turn of an agent of ours may have begun before
/// a restart, and an entry may name an act of an earlier turn.
async fn events_for(cx: &TurnCx, entries: &[Entry]) -> Result<Vec<SessionEvent>, Stop> {
    let of_this_turn = format!("{}-", cx.number);
    let is_old = |entry: &Entry| entry.act.as_ref().is_some_and(|act| !act.starts_with(&of_this_turn));
    if cx.is_own() || entries.iter().any(is_old) { all_events(cx).await } else { events_after(cx, cx.after).await }
}

fn unproven(entry: &Entry, held: &Held) -> Option<String> {
    match held {
        Held::BorneOut(_) => None,
        Held::Unproven(reason, _) => Some(format!("\"{}\": {reason}", entry.did)),
    }
}

/// Holds entries against the acts that they are about, as the record has those.
async fn stand(cx: &TurnCx, entries: &[Entry], deeds: &mut Deeds) -> Result<Vec<Held>, Stop> {
    let wanted: BTreeSet<usize> = entries.iter().flat_map(|entry| entry.candidates(deeds, cx.number)).collect();
    for at in wanted {
        if let Some(deed) = deeds.get_mut(at) {
            look_up(cx, deed).await?;
        }
    }
    Ok(hold_entries(entries, deeds, cx.number))
}

/// What the record says of a deed: events tell whether a call failed, not always how.
async fn look_up(cx: &TurnCx, deed: &mut Deed) -> Result<(), Stop> {
    let store = cx.platform().store();
    if let Some(action_id) = &deed.action_id
        && let Some(action) = store.action_of(cx.tenant(), action_id).await?
    {
        deed.resource = Some(action.resource.name.clone());
        // A program that was run and failed is an act that succeeded, and what the event says of it counts.
        if deed.came != Came::Succeeded {
            deed.came = match action.state {
                ActionState::Denied => Came::Denied,
                ActionState::Expired => Came::Expired,
                ActionState::Cancelled | ActionState::Stale => Came::Withdrawn,
                ActionState::Unknown => Came::Unknown,
                ActionState::Failed => Came::Failed,
                _ => deed.came,
            };
        }
    }
    let Some(record) = &deed.record else { return Ok(()) };
    let Some(record) = store.event(cx.tenant(), record).await? else { return Ok(()) };
    let status = record.event.outcome.as_ref().map_or("", |outcome| outcome.status.as_str());
    if let Some(resource) = record.event.resource {
        deed.resource = Some(resource.name);
    }
    let verified = record.event.tool.as_ref().and_then(|tool| tool.verify_status);
    deed.came = match (deed.came, status, verified) {
        (Came::Succeeded, _, Some(VerifyStatus::Failed | VerifyStatus::EscalationRequired)) => Came::Unverified,
        (Came::Failed, "denied", _) => Came::Denied,
        (Came::Failed, "unknown", _) => Came::Unknown,
        (came, ..) => came,
    };
    Ok(())
}

/// Holds what a turn says it did against what it did, now that it ends: marks what nothing bears out, and records that it
/// was looked at.
pub(super) async fn hold(cx: &TurnCx) -> Result<(), Stop> {
    let mut events = events_for(cx, &[]).await?;
    let entries = last_statement(&events, cx.number);
    if !entries.is_empty() {
        events = events_for(cx, &entries).await?;
    }
    let mut deeds = Deeds::of(&events);
    let states_a_change = entries.iter().any(|entry| {
        let about = entry.candidates(&deeds, cx.number);
        about.is_empty() || about.iter().any(|at| deeds.all().get(*at).is_some_and(Deed::changes))
    });
    let mut claims = Vec::new();
    if !entries.is_empty() {
        for (entry, held) in entries.iter().zip(stand(cx, &entries, &mut deeds).await?) {
            claims.push(stated(cx, entry, held, &deeds));
        }
    }
    let mut by = "statement";
    if !states_a_change {
        let spoken = by_words(cx, &events, &deeds);
        if !spoken.is_empty() {
            by = "words";
            claims.extend(spoken);
        }
    }
    if claims.is_empty() {
        return Ok(());
    }
    let marks: Vec<(String, String)> = claims
        .iter()
        .filter(|(claim, _)| !claim.borne_out)
        .map(|(claim, _)| (claim.claim.clone(), claim.reason.clone()))
        .take(MARKS_MAX)
        .collect();
    let record = record(cx, by, claims, &deeds).await;
    let marked = marks.into_iter().map(|(claim, reason)| Happening::ClaimUnproven {
        turn: cx.number,
        claim,
        reason,
        stated: by == "statement",
        record: record.clone(),
    });
    let marked: Vec<Happening> = marked.collect();
    if marked.is_empty() { Ok(()) } else { cx.note(marked).await }
}

/// What the agent stated last in a turn, if it could be read.
fn last_statement(events: &[SessionEvent], number: u64) -> Vec<Entry> {
    let stated = events.iter().rev().find_map(|event| match &event.what {
        Happening::ToolCalled { turn, tool, arguments, .. } if *turn == number && tool == STATEMENT_TOOL => {
            entries_of(arguments).ok()
        }
        _ => None,
    });
    stated.unwrap_or_default()
}

type Claim = (ClaimPart, Option<ActionClass>);

fn stated(cx: &TurnCx, entry: &Entry, held: Held, deeds: &Deeds) -> Claim {
    let (at, reason) = match held {
        Held::BorneOut(at) => (Some(at), None),
        Held::Unproven(reason, at) => (at, Some(reason)),
    };
    let deed = at.and_then(|at| deeds.all().get(at));
    let tool = deed.map(|deed| deed.tool.clone()).or_else(|| entry.tool.clone()).unwrap_or_default();
    let class = match deed {
        Some(deed) => Some(class_of(cx, deed)),
        None => cx.platform().gate().spec(&tool).map(|spec| spec.action_class),
    };
    let claim = ClaimPart {
        claim: entry.did.clone(),
        tool,
        target: entry.target.clone().unwrap_or_default(),
        outcome: entry.outcome.as_str().to_owned(),
        action_id: deed.and_then(|deed| deed.action_id.clone()),
        record: deed.and_then(|deed| deed.record.clone()),
        borne_out: reason.is_none(),
        reason: reason.unwrap_or_default(),
    };
    (claim, class)
}

/// The last net: sentences of the last answer that sound as if something was done.
fn by_words(cx: &TurnCx, events: &[SessionEvent], deeds: &Deeds) -> Vec<Claim> {
    let last = events.iter().rev().find_map(|event| match &event.what {
        Happening::Message { turn, text } if *turn == cx.number => Some(text.as_str()),
        _ => None,
    });
    let done: Vec<&Deed> =
        deeds.all().iter().filter(|deed| deed.turn == cx.number && deed.came == Came::Succeeded).collect();
    let told = words::claims(last.unwrap_or_default()).into_iter().map(|(sentence, verb)| {
        let proof = done.iter().find(|deed| verb.is_borne_out_by(&deed.tool, &deed.kind));
        let names: Vec<&str> =
            done.iter().map(|deed| deed.tool.as_str()).filter(|tool| *tool != STATEMENT_TOOL).collect();
        let reason = match (proof, names.as_slice()) {
            (Some(_), _) => String::new(),
            (None, []) => "by its words; no call in this turn succeeded".to_owned(),
            (None, names) => format!("by its words; the calls that succeeded in this turn are {}", names.join(", ")),
        };
        let claim = ClaimPart {
            claim: sentence,
            tool: proof.map(|deed| deed.tool.clone()).unwrap_or_default(),
            action_id: proof.and_then(|deed| deed.action_id.clone()),
            record: proof.and_then(|deed| deed.record.clone()),
            borne_out: proof.is_some(),
            reason,
            ..ClaimPart::default()
        };
        (claim, Some(verb.class))
    });
    told.take(MARKS_MAX).collect()
}

/// How much harm a call could do.
fn class_of(cx: &TurnCx, deed: &Deed) -> ActionClass {
    match cx.platform().gate().spec(&deed.tool) {
        Some(spec) => spec.action_class,
        None if !deed.changes() => ActionClass::Read,
        None if deed.kind == "delete" => ActionClass::Destructive,
        None => ActionClass::Write,
    }
}

/// Records what was claimed and what of it is borne out, and counts it. An answer is worth more than the record of how it
/// was looked at: when that cannot be written, the marks stand without it.
async fn record(cx: &TurnCx, by: &str, claims: Vec<Claim>, deeds: &Deeds) -> Option<reeve_types::EventId> {
    let class = claims.iter().filter_map(|(_, class)| *class).max();
    let claims: Vec<ClaimPart> = claims.into_iter().map(|(claim, _)| claim).collect();
    let missing: Vec<String> = claims
        .iter()
        .filter(|claim| !claim.borne_out)
        .map(|one| format!("\"{}\": {}", one.claim, one.reason))
        .collect();
    let once = |tools: Vec<&str>| -> Vec<String> {
        tools.into_iter().collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect()
    };
    let done: Vec<&Deed> =
        deeds.all().iter().filter(|deed| deed.turn == cx.number && deed.came == Came::Succeeded).collect();
    let of_class = |wanted: ActionClass| -> Vec<String> {
        once(done.iter().filter(|deed| class_of(cx, deed) == wanted).map(|deed| deed.tool.as_str()).collect())
    };
    let part = VerificationPart {
        agent: cx.session.agent.clone(),
        action_class: class,
        by: by.to_owned(),
        tools_confirmed: once(claims.iter().filter(|one| one.borne_out).map(|one| one.tool.as_str()).collect()),
        write_confirmed: of_class(ActionClass::Write),
        destructive_confirmed: of_class(ActionClass::Destructive),
        mismatch: !missing.is_empty(),
        mismatch_reason: missing.join("; "),
        claims,
    };
    cx.sessions.core.counts.verified(&part);
    let mut event = cx.platform().event(EventType::DelegationVerification, cx.tenant(), cx.trace_id.clone());
    event.origin = Some(Origin::Agent);
    event.action_class = class;
    event.principal = Some(cx.who().principal.clone());
    event.session.id = cx.id.to_string();
    event.session.agent_name.clone_from(&cx.session.agent);
    let status = if part.mismatch { "unverified_claim" } else { "verified" };
    event.outcome =
        Some(OutcomePart { status: status.to_owned(), error_message: part.mismatch_reason.clone(), duration_ms: None });
    event.delegation_verification = Some(Box::new(part));
    let id = event.event_id.clone();
    match cx.platform().record(event).await {
        Ok(()) => Some(id),
        Err(error) => {
            tracing::warn!(session.id = %cx.id, "what an agent claims was looked at, and that was not recorded: {error}");
            None
        }
    }
}
