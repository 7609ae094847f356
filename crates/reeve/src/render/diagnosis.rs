//! A diagnosis for people: worst first, each cause with its evidence and with commands that are ready to be typed.

use std::fmt::Write as _;

use reeve_types::{Diagnosis, Finding, Remedy, Severity};
use serde_json::Value;

use super::{clean, count, duration_ms, hanging, one_line, shell};
use crate::term::{Look, Tone};

/// The whole diagnosis as text.
pub(crate) fn text(diagnosis: &Diagnosis, look: Look) -> String {
    let mut out = heading(diagnosis, look);
    for finding in ranked(&diagnosis.findings) {
        out.push('\n');
        finding_text(&mut out, finding, diagnosis, look);
    }
    if !diagnosis.not_checked.is_empty() {
        let _ = writeln!(out, "\n{}", look.paint(Tone::Strong, "Not checked"));
        for skipped in &diagnosis.not_checked {
            let said = format!("{}: {}", clean(&skipped.check), clean(&skipped.reason));
            out.push_str(&hanging("  • ", &said, look.width));
        }
    }
    out.push('\n');
    out.push_str(&hanging("", &summary(diagnosis), look.width));
    if diagnosis.target.contains(reeve_types::secret::MASK) && has_commands(diagnosis) {
        out.push_str(&hanging("", "In the commands *** stands for the password, which is never shown.", look.width));
    }
    out
}

/// How bad it is: the worst finding that is more than information, none when all is well.
pub(crate) fn is_bad(diagnosis: &Diagnosis) -> bool {
    diagnosis.findings.iter().any(|finding| finding.severity < Severity::Info)
}

fn has_commands(diagnosis: &Diagnosis) -> bool {
    diagnosis.findings.iter().any(|finding| !finding.remedies.is_empty())
}

/// Worst first; among equals, causes before what they explain. Otherwise the order of the diagnosis stays.
fn ranked(findings: &[Finding]) -> Vec<&Finding> {
    let mut ranked: Vec<&Finding> = findings.iter().collect();
    ranked.sort_by_key(|finding| (finding.severity, finding.explained_by.is_some()));
    ranked
}

fn heading(diagnosis: &Diagnosis, look: Look) -> String {
    let target = look.paint(Tone::Strong, &one_line(&diagnosis.target));
    match &diagnosis.server_version {
        Some(version) => {
            let version = one_line(version);
            let product = if version.starts_with(|c: char| c.is_ascii_digit()) { "PostgreSQL " } else { "" };
            format!("{target}  {}\n", look.paint(Tone::Faint, &format!("{product}{version}")))
        }
        None => format!("{target}\n"),
    }
}

/// The last line, which stands alone when nothing was found.
fn summary(diagnosis: &Diagnosis) -> String {
    let of = |severity| diagnosis.findings.iter().filter(|finding| finding.severity == severity).count();
    let (critical, warnings, infos) = (of(Severity::Critical), of(Severity::Warning), of(Severity::Info));
    let mut parts = Vec::new();
    if critical > 0 {
        parts.push(format!("{critical} critical"));
    }
    if warnings > 0 {
        parts.push(count(warnings, "warning"));
    }
    if infos > 0 {
        parts.push(format!("{infos} for information"));
    }
    let checks = usize::try_from(diagnosis.checks_run).unwrap_or(usize::MAX);
    let verdict = match (parts.is_empty(), diagnosis.not_checked.is_empty()) {
        (false, _) => parts.join(", "),
        (true, _) if checks == 0 => "Nothing could be checked".to_owned(),
        (true, true) => "Nothing is wrong".to_owned(),
        (true, false) => "Nothing wrong was found".to_owned(),
    };
    let mut line = format!("{verdict}; {} in {}", count(checks, "check"), duration_ms(diagnosis.duration_ms));
    if !diagnosis.not_checked.is_empty() {
        let _ = write!(line, ", {} not checked", diagnosis.not_checked.len());
    }
    line.push('.');
    line
}

fn mark(severity: Severity) -> (&'static str, Tone) {
    match severity {
        Severity::Critical => ("✖ CRITICAL", Tone::Critical),
        Severity::Warning => ("▲ WARNING ", Tone::Warning),
        Severity::Info => ("● INFO    ", Tone::Faint),
    }
}

fn finding_text(out: &mut String, finding: &Finding, diagnosis: &Diagnosis, look: Look) {
    let (mark, tone) = mark(finding.severity);
    let title = look.paint(Tone::Strong, &one_line(&finding.title));
    let code = look.paint(Tone::Faint, &format!("[{}]", one_line(&finding.code)));
    let _ = writeln!(out, "{} {title} {code}", look.paint(tone, mark));
    out.push_str(&hanging("  ", &clean(&finding.cause), look.width));
    if let Some(code) = &finding.explained_by {
        let because = match diagnosis.findings.iter().find(|other| other.code == *code) {
            Some(other) => format!("Comes from: {}", clean(&other.title)),
            None => format!("Comes from: {}", clean(code)),
        };
        out.push_str(&hanging("  ", &because, look.width));
    }
    section(out, "Evidence", finding.evidence.is_empty(), look);
    for evidence in &finding.evidence {
        let source = if evidence.source.is_empty() { String::new() } else { format!(" ({})", clean(&evidence.source)) };
        out.push_str(&hanging("    • ", &format!("{}{source}", clean(&evidence.fact)), look.width));
    }
    section(out, "What to do", finding.remedies.is_empty() && finding.advice.is_empty(), look);
    for remedy in &finding.remedies {
        remedy_text(out, remedy, &diagnosis.target, look);
    }
    for advice in &finding.advice {
        out.push_str(&hanging("    • ", &clean(advice), look.width));
    }
}

fn section(out: &mut String, title: &str, empty: bool, look: Look) {
    if !empty {
        let _ = writeln!(out, "  {}", look.paint(Tone::Faint, title));
    }
}

fn remedy_text(out: &mut String, remedy: &Remedy, target: &str, look: Look) {
    let undo = match (remedy.action_class.mutates(), remedy.reversible) {
        (false, _) => "changes nothing".to_owned(),
        (true, true) => format!("{}, can be undone", remedy.action_class),
        (true, false) => format!("{}, cannot be undone", remedy.action_class),
    };
    let why = if remedy.why.is_empty() { String::new() } else { format!(": {}", clean(&remedy.why)) };
    out.push_str(&hanging("    • ", &format!("{} ({undo}){why}", one_line(&remedy.tool)), look.width));
    // A command is never wrapped: it is there to be copied.
    let _ = writeln!(out, "      {}", look.paint(Tone::Command, &command(remedy, target)));
}

/// The remedy as a command.
pub(crate) fn command(remedy: &Remedy, target: &str) -> String {
    let mut line = format!("reeve tool run {}", shell(&one_line(&remedy.tool)));
    for (name, value) in &remedy.arguments {
        if value.as_str() == Some(target) {
            // The target is said once, by --target.
            continue;
        }
        let value = match value {
            Value::String(text) => clean(text),
            other => clean(&other.to_string()),
        };
        let _ = write!(line, " {}", shell(&format!("{name}={value}")));
    }
    let _ = write!(line, " --target {}", shell(&one_line(target)));
    if remedy.action_class.mutates() {
        line.push_str(" --purpose remediation");
    }
    line
}

#[cfg(test)]
mod tests {
    use reeve_types::{ActionClass, Evidence, NotChecked};
    use serde_json::json;

    use super::*;

    fn evidence(fact: &str, source: &str) -> Evidence {
        Evidence { fact: fact.into(), source: source.into(), data: None }
    }

    fn remedy(tool: &str, arguments: Value, class: ActionClass, reversible: bool, why: &str) -> Remedy {
        let arguments = arguments.as_object().unwrap().clone();
        Remedy { tool: tool.into(), arguments, action_class: class, reversible, why: why.into() }
    }

    fn diagnosis(findings: Vec<Finding>) -> Diagnosis {
        Diagnosis {
            target: "prod-db".into(),
            server_version: Some("15.4".into()),
            duration_ms: 1_840,
            findings,
            not_checked: vec![],
            reachable: true,
            checks_run: 42,
        }
    }

    fn troubled() -> Diagnosis {
        let blocked = Finding {
            code: "queries_waiting".into(),
            severity: Severity::Warning,
            title: "12 sessions wait for locks".into(),
            cause: "They wait for session 4711.".into(),
            evidence: vec![evidence("the longest wait is 11 min 4 s", "pg_stat_activity")],
            remedies: vec![],
            advice: vec![],
            explained_by: Some("idle_in_transaction_blocking".into()),
        };
        let holder = Finding {
            code: "idle_in_transaction_blocking".into(),
            severity: Severity::Critical,
            title: "Session 4711 holds a lock and does nothing".into(),
            cause: "Session 4711 (billing, user app) opened a transaction 12 minutes ago, took an AccessExclusiveLock on \
                    public.orders and has been idle ever since. 12 other sessions wait for that lock, directly or in a row."
                .into(),
            evidence: vec![
                evidence("pid 4711 holds AccessExclusiveLock on public.orders", "pg_locks"),
                evidence("its last statement was `ALTER TABLE orders ADD COLUMN note text`, and it has been idle in transaction since", "pg_stat_activity"),
            ],
            remedies: vec![
                remedy("terminate_connection", json!({"pid": 4711, "connection_string": "prod-db"}), ActionClass::Destructive, false, "ends the session, which rolls its transaction back"),
                remedy("get_session_info", json!({"pid": 4711}), ActionClass::Read, true, "shows what it has done so far"),
            ],
            advice: vec!["Set idle_in_transaction_session_timeout so that the server does this by itself.".into()],
            explained_by: None,
        };
        let note = Finding {
            code: "stats_reset_recently".into(),
            severity: Severity::Info,
            title: "Statistics are young".into(),
            cause: "They were reset 20 minutes ago, so figures over time say little.".into(),
            evidence: vec![],
            remedies: vec![remedy(
                "run_sql",
                json!({"sql": "select 'it''s'", "limits": {"rows": 5}}),
                ActionClass::Write,
                true,
                "",
            )],
            advice: vec![],
            explained_by: None,
        };
        let mut troubled = diagnosis(vec![note, blocked, holder]);
        troubled.not_checked = vec![NotChecked {
            check: "replication".into(),
            reason: "the role lacks pg_monitor: grant it to see standbys".into(),
        }];
        troubled
    }

    #[test]
    fn a_diagnosis_reads_worst_first() {
        insta::assert_snapshot!(text(&troubled(), Look { colour: false, width: 80, columns: None }));
    }

    #[test]
    fn in_a_narrow_terminal_it_wraps_and_commands_stay_whole() {
        let shown = text(&troubled(), Look { colour: false, width: 48, columns: None });
        for line in shown.lines().filter(|line| !line.contains("reeve tool run") && !line.starts_with(['✖', '▲', '●']))
        {
            assert!(line.chars().count() <= 48, "{line}");
        }
        assert!(
            shown.contains(
                "\n      reeve tool run terminate_connection pid=4711 --target prod-db --purpose remediation\n"
            )
        );
    }

    #[test]
    fn good_news_is_short() {
        let shown = text(&diagnosis(vec![]), Look { colour: false, width: 80, columns: None });
        assert_eq!(shown, "prod-db  PostgreSQL 15.4\n\nNothing is wrong; 42 checks in 1.8 s.\n");
        let mut partly = diagnosis(vec![]);
        partly.not_checked = vec![NotChecked { check: "locks".into(), reason: "timed out".into() }];
        assert!(
            text(&partly, Look { colour: false, width: 80, columns: None })
                .ends_with("Nothing wrong was found; 42 checks in 1.8 s, 1 not checked.\n")
        );
    }

    #[test]
    fn hostile_text_stays_text_and_passwords_stay_masked() {
        let mut bad = troubled();
        bad.target = "postgres://app:***@db/prod".into();
        for finding in &mut bad.findings {
            finding.title = "x\x1b[2J".into();
            for remedy in &mut finding.remedies {
                remedy.arguments.insert("name".into(), json!("a; rm -rf $HOME\x07"));
            }
        }
        let shown = text(&bad, Look { colour: false, width: 80, columns: None });
        assert!(!shown.contains(['\x1b', '\x07']));
        assert!(shown.contains("'name=a; rm -rf $HOME\u{fffd}'"));
        assert!(shown.contains("--target 'postgres://app:***@db/prod'"));
        assert!(shown.ends_with("In the commands *** stands for the password, which is never shown.\n"));
    }

    #[test]
    fn information_alone_is_no_bad_news() {
        let mut troubled = troubled();
        assert!(is_bad(&troubled));
        troubled.findings.retain(|finding| finding.severity == Severity::Info);
        assert!(!is_bad(&troubled));
    }
}
