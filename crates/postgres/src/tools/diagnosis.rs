//! The whole look at a server as one tool.

use std::fmt::Write as _;

use jiff::Timestamp;
use reeve_diagnose::EvidenceSet;
use reeve_types::{Diagnosis, Finding, ToolOutput};
use serde_json::{Value, json};

use super::define::Definition;
use super::job::Job;
use super::trouble::Trouble;
use super::{SnapshotQuery, args};
use crate::evidence::diagnose;

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::read(
            "diagnose",
            "Looks at everything at once and says what is wrong, worst first: each finding with its cause in words, its evidence, and remedies that are ready to be submitted. The place to start.",
            |job| Box::pin(diagnosis(job)),
        )
        .optional(
            "baseline",
            json!({
                "enum": ["save", "compare"],
                "description": "`save` remembers what is seen now as the normal day of this database; `compare` also says what has changed since.",
            }),
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
    let wanted = args::text(job.args(), "baseline");
    if wanted == Some("compare") {
        options.baseline = Some(kept_baseline(job).await?);
    }
    let (mut diagnosis, evidence) = diagnose(&job.target()?, &options).await;
    diagnosis.target = job.shown();
    let mut text = in_words(&diagnosis);
    if wanted == Some("save") {
        let id = keep_baseline(job, &diagnosis, &evidence).await?;
        let _ = writeln!(text, "\nRemembered as the baseline of {} ({id}).", diagnosis.target);
    }
    let data = serde_json::to_value(&diagnosis).unwrap_or(Value::Null);
    Ok(ToolOutput::with_data(text, data))
}

/// The newest evidence that was remembered of this database.
async fn kept_baseline(job: &Job<'_>) -> Result<EvidenceSet, Trouble> {
    let query = SnapshotQuery {
        tool_name: job.call.tool.clone(),
        server_name: Some(job.call.resource.name.clone()),
        since: Timestamp::UNIX_EPOCH,
        limit: 1,
    };
    let kept = job.kit.archive.snapshots(&job.call.principal, query).await.map_err(Trouble::failed)?;
    let newest = kept.first().ok_or_else(|| {
        Trouble::invalid(format!("no baseline of {} has been saved; save one on a good day first", job.shown()))
    })?;
    serde_json::from_str(&newest.output).map_err(|_| {
        Trouble::failed(format!("the saved baseline {} cannot be read any more; save a new one", newest.result_id))
    })
}

async fn keep_baseline(job: &Job<'_>, diagnosis: &Diagnosis, evidence: &EvidenceSet) -> Result<String, Trouble> {
    if !diagnosis.reachable {
        return Err(Trouble::failed(format!(
            "{} could not be looked at, so there is nothing to remember",
            job.shown()
        )));
    }
    let evidence = serde_json::to_string(evidence).map_err(|e| Trouble::failed(e.to_string()))?;
    job.kit.archive.save(&job.call, &ToolOutput::text(evidence)).await.map_err(Trouble::failed)
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
