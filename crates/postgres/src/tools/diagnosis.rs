//! The whole look at a server as one tool.

use std::fmt::Write as _;

use reeve_types::{Diagnosis, Finding, ToolOutput};
use serde_json::Value;

use super::define::Definition;
use super::job::Job;
use super::trouble::Trouble;
use crate::evidence::diagnose;

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::read(
            "diagnose",
            "Looks at everything at once and says what is wrong, worst first: each finding with its cause in words, its evidence, and remedies that are ready to be submitted. The place to start.",
            |job| Box::pin(diagnosis(job)),
        )
        .capabilities(&[
            "availability", "bloat", "cache", "checkpoints", "config", "connections", "disk", "locks", "replication",
            "sessions", "slow_queries", "vacuum", "wal",
        ])
        .fleet(),
    ]
}

async fn diagnosis(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let mut options = job.kit.options.diagnose.clone();
    options.collect.total_timeout = options.collect.total_timeout.min(job.cx.remaining());
    let (diagnosis, _) = diagnose(&job.target()?, &options).await;
    let data = serde_json::to_value(&diagnosis).unwrap_or(Value::Null);
    Ok(ToolOutput::with_data(in_words(&diagnosis), data))
}

fn in_words(diagnosis: &Diagnosis) -> String {
    let server = diagnosis.server_version.as_deref().unwrap_or("no answer");
    let mut text =
        format!("{} ({server}), {} checks in {} ms\n", diagnosis.target, diagnosis.checks_run, diagnosis.duration_ms);
    if diagnosis.findings.is_empty() {
        text.push_str("\nNothing is wrong as far as could be seen.\n");
    }
    for finding in &diagnosis.findings {
        text.push('\n');
        write_finding(&mut text, finding);
    }
    if !diagnosis.not_checked.is_empty() {
        text.push_str("\nNot checked:\n");
        for skipped in &diagnosis.not_checked {
            let _ = writeln!(text, "- {}: {}", skipped.check, skipped.reason);
        }
    }
    text
}

fn write_finding(text: &mut String, finding: &Finding) {
    let _ = writeln!(text, "{} [{}] {}", finding.severity.as_str().to_uppercase(), finding.code, finding.title);
    if let Some(by) = &finding.explained_by {
        let _ = writeln!(text, "  Explained by: {by}");
    }
    let _ = writeln!(text, "  Cause: {}", finding.cause);
    for evidence in &finding.evidence {
        let _ = writeln!(text, "  Evidence: {} ({})", evidence.fact, evidence.source);
    }
    for remedy in &finding.remedies {
        let arguments = Value::Object(remedy.arguments.clone());
        let _ = writeln!(text, "  Remedy: {} {arguments} ({}): {}", remedy.tool, remedy.action_class, remedy.why);
    }
    for advice in &finding.advice {
        let _ = writeln!(text, "  Advice: {advice}");
    }
}
