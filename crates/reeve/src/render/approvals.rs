//! Questions to people, for people.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Table, clean, field, first, moment, pairs, shell};
use crate::term::{Look, Tone};

/// The sign and the tone of a status.
pub(crate) fn sign(status: &str) -> (&'static str, Option<Tone>) {
    match status {
        "pending" => ("[?]", Some(Tone::Warning)),
        "approved" => ("[+]", Some(Tone::Good)),
        "denied" => ("[-]", Some(Tone::Critical)),
        "expired" | "stale" => ("[X]", Some(Tone::Faint)),
        "cancelled" => ("[~]", Some(Tone::Faint)),
        _ => ("[ ]", None),
    }
}

/// Several questions in a table.
pub(crate) fn table(approvals: &[Value], look: Look, empty: &str) -> String {
    let mut table = Table::new(&["ID", "STATUS", "ACTION", "TOOL", "AGENT", "REQUESTED", "EXPIRES"]);
    for approval in approvals {
        let status = field(approval, "status");
        let (sign, tone) = sign(&status);
        let cell = |path: &str| (field(approval, path), None);
        table.toned([
            cell("approval_id"),
            (format!("{sign} {status}"), tone),
            cell("action_class"),
            cell("tool_name"),
            cell("agent_name"),
            (moment(&field(approval, "requested_at")), None),
            (moment(&field(approval, "expires_at")), None),
        ]);
    }
    table.text(look, empty)
}

/// On what the act would be done.
pub(crate) fn resource(approval: &Value) -> String {
    if let Some(label) = approval.get("resource").and_then(Value::as_str) {
        return super::one_line(label);
    }
    let kind = first(approval, &["resource_type", "resource.kind"]);
    let name = first(approval, &["resource_name", "resource.name"]);
    if kind.is_empty() { name } else { format!("{kind}:{name}") }
}

fn requester(approval: &Value) -> String {
    first(approval, &["requested_by", "requester.id"])
}

fn arguments(approval: &Value) -> Option<&Value> {
    let whole = approval.get("arguments").or_else(|| approval.pointer("/request_context/arguments"));
    whole.or_else(|| approval.get("request_context")).filter(|value| !value.is_null())
}

/// One question, with everything that a person should read before answering.
pub(crate) fn details(approval: &Value, look: Look) -> String {
    let status = field(approval, "status");
    let (sign, tone) = sign(&status);
    let status_text = format!("{sign} {status}");
    let roles = field(approval, "approver_roles");
    let quorum = field(approval, "quorum");
    let wanted = match (quorum.as_str(), roles.as_str()) {
        ("" | "1", "") => String::new(),
        (n, "") => format!("{n} approvals"),
        ("" | "1", roles) => format!("one approval by {roles}"),
        (n, roles) => format!("{n} approvals by {roles}"),
    };
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{}  {}",
        field(approval, "approval_id"),
        tone.map_or(status_text.clone(), |tone| look.paint(tone, &status_text))
    );
    out.push('\n');
    out.push_str(&pairs(
        look,
        &[
            ("Tool", format!("{} ({})", field(approval, "tool_name"), field(approval, "action_class"))),
            ("Agent", field(approval, "agent_name")),
            ("Resource", resource(approval)),
            ("Requested by", requester(approval)),
            ("Purpose", first(approval, &["purpose", "request_context.purpose"])),
            ("Note", first(approval, &["purpose_note", "request_context.purpose_note"])),
            ("Policy", field(approval, "policy_name")),
            ("Message", first(approval, &["message", "request_context.message"])),
            ("Needs", wanted),
            ("Requested", moment(&field(approval, "requested_at"))),
            ("Expires", moment(&field(approval, "expires_at"))),
            ("Settled by", field(approval, "resolved_by")),
            ("Settled", moment(&field(approval, "resolved_at"))),
            ("Reason", field(approval, "resolution_reason")),
            ("Valid until", moment(&field(approval, "approval_valid_until"))),
            ("Action", field(approval, "action_id")),
            ("Trace", field(approval, "trace_id")),
        ],
    ));
    if let Some(arguments) = arguments(approval) {
        let _ = writeln!(out, "\n{}", look.paint(Tone::Faint, "Arguments"));
        for line in in_words(arguments) {
            let _ = writeln!(out, "  {line}");
        }
    }
    for vote in super::entries(approval.get("votes").unwrap_or(&Value::Null), "votes") {
        let _ = writeln!(out, "{}", vote_line(vote));
    }
    out
}

/// One argument a line; what lies deeper is JSON, for that is what it is.
fn in_words(arguments: &Value) -> Vec<String> {
    let Value::Object(members) = arguments else { return vec![clean(&arguments.to_string())] };
    let width = members.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    let line = |(name, value): (&String, &Value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{:width$}  {}", clean(name), clean(&text))
    };
    members.iter().map(line).collect()
}

fn vote_line(vote: &Value) -> String {
    let said = match field(vote, "choice").as_str() {
        "approve" => "approves",
        _ => "denies",
    };
    let reason = field(vote, "reason");
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    format!("{} {said}, {}{because}", field(vote, "by"), moment(&field(vote, "at")))
}

/// What is said after an answer was given.
pub(crate) fn settled(approval: &Value, look: Look) -> String {
    let status = field(approval, "status");
    let by = match status.as_str() {
        "approved" => "Approved By",
        "denied" => "Denied By",
        "cancelled" => "Cancelled By",
        _ => "Answered By",
    };
    let yes = super::entries(approval.get("votes").unwrap_or(&Value::Null), "votes")
        .iter()
        .filter(|vote| field(vote, "choice") == "approve")
        .count();
    let waiting =
        if status == "pending" { format!("{yes} of {} approvals", field(approval, "quorum")) } else { String::new() };
    pairs(
        look,
        &[
            ("Id", field(approval, "approval_id")),
            ("Status", format!("{} {status}", sign(&status).0)),
            (by, field(approval, "resolved_by")),
            ("So far", waiting),
            ("Reason", field(approval, "resolution_reason")),
            ("Valid Until", moment(&field(approval, "approval_valid_until"))),
            ("Action", field(approval, "action_id")),
        ],
    )
}

/// One question in one line, as `watch` announces it.
pub(crate) fn announcement(approval: &Value) -> String {
    let status = field(approval, "status");
    let id = field(approval, "approval_id");
    let what =
        format!("{} {} on {}", field(approval, "action_class"), field(approval, "tool_name"), resource(approval));
    let said = match arguments(approval) {
        Some(arguments) => format!(" {}", super::shorten(&super::one_line(&arguments.to_string()), 120)),
        None => String::new(),
    };
    format!("{} {id}  {what}, asked by {}{said}", sign(&status).0, requester(approval))
}

/// The commands that answer a question.
pub(crate) fn answer_commands(id: &str) -> String {
    let id = shell(id);
    format!("reeve approvals approve {id} --reason '…'\nreeve approvals deny {id} --reason '…'")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LOOK: Look = Look { colour: false, width: 80, columns: None };

    fn approval(status: &str) -> Value {
        json!({
            "approval_id": "apr_01jd", "action_id": "act_01jd", "trace_id": "dt_01jd", "status": status,
            "tool_name": "terminate_connection", "agent_name": "database", "action_class": "destructive",
            "resource_type": "database", "resource_name": "prod-db", "requested_by": "otto", "requester": "user:otto",
            "request_context": {"arguments": {"pid": 4711}, "purpose": "remediation", "purpose_note": "orders hang",
                "message": "Ask the owner of the session first."},
            "policy_name": "production-changes",
            "quorum": 2, "approver_roles": ["dba_lead"],
            "votes": [{"by": "dora", "choice": "approve", "reason": "looks right", "at": "2026-03-01T12:05:00Z"}],
            "requested_at": "2026-03-01T12:00:00.123Z", "expires_at": "2026-03-01T13:00:00Z"
        })
    }

    #[test]
    fn the_table_has_the_columns_of_the_guide() {
        let statuses = ["pending", "approved", "denied", "expired", "cancelled", "stale"];
        let approvals: Vec<Value> = statuses.iter().map(|status| approval(status)).collect();
        insta::assert_snapshot!(table(&approvals, LOOK, "none"));
    }

    #[test]
    fn a_person_reads_everything_before_answering() {
        insta::assert_snapshot!(details(&approval("pending"), LOOK));
    }

    #[test]
    fn an_answer_is_confirmed() {
        let mut approved = approval("approved");
        approved["resolved_by"] = json!("dora");
        approved["resolution_reason"] = json!("LGTM, verified and it is safe");
        approved["approval_valid_until"] = json!("2026-03-01T12:15:00Z");
        insta::assert_snapshot!(format!("{}\n{}", settled(&approved, LOOK), settled(&approval("pending"), LOOK)));
    }

    #[test]
    fn the_guides_shape_reads_as_well() {
        let guide = json!({"approval_id": "apr_1a2b3c4d", "status": "pending", "action_class": "write", "tool_name": "scale_deployment",
            "resource_type": "kubernetes", "resource_name": "web", "requested_by": "alice", "request_context": {"replicas": 3}});
        assert_eq!(
            announcement(&guide),
            "[?] apr_1a2b3c4d  write scale_deployment on kubernetes:web, asked by alice {\"replicas\":3}"
        );
    }
}
