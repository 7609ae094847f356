//! `reeve policy`: checking, linting and testing policies before they hold, and reading them again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use reeve_platform::policies::{Environment, Policies};
use reeve_policy::{InventoryFacts, LintFinding, LintSeverity, PolicySet, lint, run_table};
use reeve_types::limits::CONFIG_FILE_BYTES_MAX;
use serde_json::{Value, json};

use super::{Session, inventory};
use crate::client::{Ask, Reach};
use crate::exit::{self, Failure, Outcome};
use crate::render::{Table, clean, count, entries, field};
use crate::term::Tone;

/// Check, lint and test policies
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve policy check policies/                   do they load?
  reeve policy lint policies/ --inventory i.json what is probably not meant?
  reeve policy test t.test.yaml --policy p.yaml  do they decide as expected?
  reeve policy list                              what holds on the server
  reeve policy reload                            read the files again")]
pub(super) struct Policy {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check that policies load; every mistake is named with its place
    Check {
        /// Files or directories; the configured ones when left out
        paths: Vec<PathBuf>,
        /// Print what they compile to, in Cedar
        #[arg(long)]
        cedar: bool,
    },
    /// Look for rules that can never decide and labels that nothing carries
    Lint {
        /// Files or directories; the configured ones when left out
        paths: Vec<PathBuf>,
        /// Hold tags and names against this inventory; the configured one when left out
        #[arg(long, value_name = "FILE")]
        inventory: Option<PathBuf>,
    },
    /// Hold a table of expectations against policies
    Test {
        /// Tables of expectations
        #[arg(required = true, value_name = "TABLE")]
        tables: Vec<PathBuf>,
        /// Files or directories; the configured ones when left out
        #[arg(long = "policy", value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// List the policies that hold on the server
    List,
    /// Make the server read its policy files again
    Reload,
}

pub(super) async fn run(command: Policy, session: &mut Session) -> Outcome {
    match command.what {
        What::Check { paths, cedar } => check(&paths, cedar, session),
        What::Lint { paths, inventory } => lint_all(&paths, inventory, session),
        What::Test { tables, paths } => test(&tables, &paths, session),
        What::List => {
            let answer = session.fetch(Reach::ServerOrHere, "reading", Ask::get("/governance/policies")).await?;
            session.show(&answer, list_text)
        }
        What::Reload => {
            let answer = session.fetch(Reach::Server, "reloading", Ask::post("/policy/reload", &json!({}))).await?;
            session.show(&answer, |reply, _| format!("{}\n", field(reply, "message")))
        }
    }
}

/// Compiles the policies of these paths, of the configuration when there are none, the built-in ones when that names none.
pub(super) fn compile(paths: &[PathBuf], session: &Session) -> Result<PolicySet, Failure> {
    let paths = if paths.is_empty() { session.config.policy_files.clone() } else { paths.to_vec() };
    load(paths)
}

/// Compiles the policies of these paths as the server would.
pub(super) fn load(paths: Vec<PathBuf>) -> Result<PolicySet, Failure> {
    let environment: Environment = Arc::new(crate::config::surroundings::variable);
    let now = jiff::Timestamp::now();
    match Policies::load(paths, environment, now) {
        Ok((_, set)) => Ok(set),
        Err(error) => Err(Failure::usage(error)),
    }
}

fn summary(set: &PolicySet) -> String {
    let policies = set.policies();
    let rules: usize = policies.iter().map(|policy| policy.rules.len()).sum();
    format!("{} with {}", plural(policies.len()), count(rules, "rule"))
}

fn plural(policies: usize) -> String {
    if policies == 1 { "1 policy".to_owned() } else { format!("{policies} policies") }
}

fn check(paths: &[PathBuf], cedar: bool, session: &mut Session) -> Outcome {
    let set = compile(paths, session)?;
    if cedar {
        session.term.print(&set.to_cedar())?;
    } else if session.json {
        session.term.print_json(&json!({"valid": true, "policy_digest": set.digest(), "policies": set.policies()}))?;
    } else {
        session.term.print(&format!("{}; digest {}", summary(&set), set.digest()))?;
    }
    Ok(exit::DONE)
}

fn lint_all(paths: &[PathBuf], file: Option<PathBuf>, session: &mut Session) -> Outcome {
    let set = compile(paths, session)?;
    let file = file.or_else(|| session.config.inventory_file.clone());
    let facts = file.as_deref().map(facts_of).transpose()?;
    let findings = lint(&set, facts.as_ref());
    if session.json {
        session.term.print_json(&findings)?;
    } else if findings.is_empty() {
        session.term.print(&format!("{}: nothing to say against them", summary(&set)))?;
    } else {
        for finding in &findings {
            session.term.print(&clean(&finding.to_string()))?;
        }
    }
    let bad = |finding: &LintFinding| finding.severity == LintSeverity::Warning;
    Ok(if findings.iter().any(bad) { exit::BAD_NEWS } else { exit::DONE })
}

fn facts_of(file: &Path) -> Result<InventoryFacts, Failure> {
    let parsed = inventory::read(file)?;
    let (servers, clusters) = (parsed.db_servers.values(), parsed.k8s_clusters.values());
    let tags = servers.clone().flat_map(|s| &s.tags).chain(clusters.clone().flat_map(|c| &c.tags)).cloned().collect();
    let sensitivities =
        servers.flat_map(|s| &s.sensitivity).chain(clusters.flat_map(|c| &c.sensitivity)).cloned().collect();
    let names = parsed.db_servers.keys().chain(parsed.k8s_clusters.keys()).chain(parsed.vms.keys()).cloned().collect();
    Ok(InventoryFacts { tags, sensitivities, names, tools: BTreeSet::new(), roles: BTreeSet::new() })
}

fn test(tables: &[PathBuf], paths: &[PathBuf], session: &mut Session) -> Outcome {
    let set = compile(paths, session)?;
    let (mut cases, mut passed) = (0, 0);
    let mut reports = Vec::new();
    for path in tables {
        let name = path.display().to_string();
        let cannot = |reason: String| Failure::could_not(format!("cannot read {name}: {reason}"));
        if std::fs::metadata(path).map_err(|error| cannot(error.to_string()))?.len() > CONFIG_FILE_BYTES_MAX as u64 {
            return Err(cannot(format!("it is larger than {CONFIG_FILE_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| cannot(error.to_string()))?;
        let report = run_table(&set, &text, &name).map_err(Failure::usage)?;
        cases += report.cases.len();
        passed += report.passed();
        for case in report.cases.iter().filter(|case| !case.passed() && !session.json) {
            session.term.print(&format!("{name}:{}: {}", case.line, clean(&case.name)))?;
            for difference in &case.differences {
                session.term.print(&format!("  {}", clean(difference)))?;
            }
            for line in clean(&case.explanation).lines() {
                session.term.print(format!("    {line}").trim_end())?;
            }
        }
        reports.push(json!({"table": name, "cases": report.cases}));
    }
    let failed = cases - passed;
    if session.json {
        session.term.print_json(&json!({"passed": passed, "failed": failed, "tables": reports}))?;
    } else {
        let verdict = if failed == 0 { "as expected".to_owned() } else { format!("as expected, {failed} NOT") };
        session.term.print(&format!("{} of {} {verdict}", passed, count(cases, "case")))?;
    }
    Ok(if failed == 0 { exit::DONE } else { exit::BAD_NEWS })
}

fn list_text(list: &Value, look: crate::term::Look) -> String {
    let mut table = Table::new(&["PRIORITY", "POLICY", "RULES", "ENABLED", "FILE", "DESCRIPTION"]);
    for policy in entries(list, "policies") {
        let rules = policy.get("rules").and_then(Value::as_array).map(|rules| rules.len().to_string());
        let enabled = policy.get("enabled").and_then(Value::as_bool).unwrap_or(true);
        let tone = (!enabled).then_some(Tone::Faint);
        table.toned([
            (field(policy, "priority"), None),
            (field(policy, "name"), tone),
            (rules.unwrap_or_else(|| field(policy, "rules_count")), None),
            (if enabled { "yes" } else { "no" }.to_owned(), tone),
            (field(policy, "file"), None),
            (field(policy, "description"), None),
        ]);
    }
    table.text(look, "No policies.")
}
