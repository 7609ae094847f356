//! How a notice looks in a webhook, in Slack and in a letter.

use reeve_types::ApprovalStatus;
use serde_json::{Value, json};

use super::{Notice, NoticeKind};

/// The body of a plain webhook.
pub fn webhook(notice: &Notice) -> Value {
    let mut body = serde_json::to_value(notice).unwrap_or_default();
    // Clients of the guide read these under their short names.
    if let Some(object) = body.as_object_mut() {
        object.insert("approve_command".to_owned(), json!(format!("reeve approvals approve {}", notice.approval_id)));
    }
    body
}

/// The body of a Slack webhook: one attachment in the colour of the status.
pub fn slack(notice: &Notice) -> Value {
    let color = match notice.status {
        ApprovalStatus::Pending => "#FFA500",
        ApprovalStatus::Approved => "#36A64F",
        ApprovalStatus::Denied => "#FF0000",
        ApprovalStatus::Cancelled | ApprovalStatus::Expired | ApprovalStatus::Stale => "#808080",
    };
    let field =
        |title: &str, value: &str, short: bool| json!({"title": title, "value": escaped(value), "short": short});
    let mut fields = vec![
        field("Tool", &notice.tool, true),
        field("Class", &notice.action, true),
        field("Resource", &notice.resource, true),
        field("Requested by", &notice.requested_by, true),
    ];
    if !notice.arguments.is_empty() {
        fields.push(field("Arguments", &notice.arguments, false));
    }
    match notice.event_type {
        NoticeKind::ApprovalCreated => {
            fields.push(field("Answer until", &notice.expires_at.to_string(), true));
            fields.push(field("Approve", &format!("reeve approvals approve {}", notice.approval_id), false));
            fields.push(field("Deny", &format!("reeve approvals deny {} --reason …", notice.approval_id), false));
        }
        NoticeKind::ApprovalResolved => {
            fields.push(field("Settled by", notice.resolved_by.as_deref().unwrap_or("nobody"), true));
        }
    }
    if !notice.reason.is_empty() {
        fields.push(field("Reason", &notice.reason, false));
    }
    json!({ "attachments": [{
        "color": color,
        "fallback": subject(notice),
        "title": subject(notice),
        "title_link": notice.link,
        "fields": fields,
        "footer": notice.approval_id,
        "ts": notice.timestamp.as_second(),
    }]})
}

/// The subject of a letter.
pub fn subject(notice: &Notice) -> String {
    match notice.event_type {
        NoticeKind::ApprovalCreated => format!("[APPROVAL REQUIRED] {} - {}", notice.action, notice.tool),
        NoticeKind::ApprovalResolved => {
            format!("[APPROVAL {}] {} - {}", notice.status.as_str().to_uppercase(), notice.action, notice.tool)
        }
    }
}

/// The text of a letter.
pub fn letter(notice: &Notice) -> String {
    let mut lines = vec![
        match notice.event_type {
            NoticeKind::ApprovalCreated => {
                format!("{} asks to run {} on {}.", notice.requested_by, notice.tool, notice.resource)
            }
            NoticeKind::ApprovalResolved => format!(
                "The request of {} to run {} on {} is {}.",
                notice.requested_by, notice.tool, notice.resource, notice.status
            ),
        },
        String::new(),
        format!("Arguments:  {}", notice.arguments),
        format!("Class:      {}", notice.action),
        format!("Asked at:   {}", notice.requested_at),
    ];
    match notice.event_type {
        NoticeKind::ApprovalCreated => lines.extend([
            format!("Until:      {}", notice.expires_at),
            String::new(),
            "To answer:".to_owned(),
            format!("  reeve approvals approve {} --reason \"…\"", notice.approval_id),
            format!("  reeve approvals deny {} --reason \"…\"", notice.approval_id),
        ]),
        NoticeKind::ApprovalResolved => {
            lines.push(format!("Settled by: {}", notice.resolved_by.as_deref().unwrap_or("nobody")));
        }
    }
    if !notice.reason.is_empty() {
        lines.push(format!("Reason:     {}", notice.reason));
    }
    lines.extend(notice.link.iter().map(|link| format!("\n{link}")));
    lines.join("\n")
}

/// The text of a letter to somebody who can answer with a link.
pub fn letter_with_links(notice: &Notice, approve: &str, deny: &str) -> String {
    format!(
        "{}\n\nOr answer as yourself with one of these; each works once, and whoever has it answers as you:\n\n  Approve  {approve}\n\n  Deny     {deny}\n",
        letter(notice)
    )
}

/// Slack's three special characters, so that an argument cannot become a link or a mention.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice() -> Notice {
        Notice {
            event_type: NoticeKind::ApprovalCreated,
            approval_id: "apr_01".to_owned(),
            status: ApprovalStatus::Pending,
            action: "destructive".to_owned(),
            tool: "terminate_connection".to_owned(),
            agent: "database".to_owned(),
            resource: "database:orders".to_owned(),
            arguments: "pid=42 note=<!channel>".to_owned(),
            requested_by: "service:srebot".to_owned(),
            requested_at: jiff::Timestamp::UNIX_EPOCH,
            timestamp: jiff::Timestamp::UNIX_EPOCH,
            expires_at: jiff::Timestamp::UNIX_EPOCH,
            resolved_by: None,
            resolved_at: None,
            reason: String::new(),
            link: None,
        }
    }

    #[test]
    fn slack_gets_the_colour_and_no_mention_that_an_argument_smuggled_in() {
        let body = slack(&notice());
        assert_eq!(body["attachments"][0]["color"], "#FFA500");
        assert!(!body.to_string().contains("<!channel>"));
    }

    #[test]
    fn a_letter_names_the_act_and_the_command() {
        let text = letter(&notice());
        assert!(text.starts_with("service:srebot asks to run terminate_connection on database:orders."), "{text}");
        assert!(text.contains("reeve approvals approve apr_01"));
        assert_eq!(subject(&notice()), "[APPROVAL REQUIRED] destructive - terminate_connection");
    }
}
