//! `reeve explain`: why policy decided as it did, or how it would decide. Also started as `govexplain`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use reeve_policy::{explain_json, explain_text};
use reeve_types::{
    ActionClass, AuthMethod, Effect, Measured, PolicyRequest, Principal, PrincipalKind, Purpose, Resource, ResourceKind,
};
use serde_json::{Value, json};

use super::{Session, flag, inventory, policy};
use crate::client::{Ask, Reach, server_runs};
use crate::config::Flag;
use crate::exit::{self, Failure, Outcome};
use crate::render::{Table, clean, entries, field, first, moment};
use crate::term::{Look, Tone};

/// Explain a decision of policy, past or hypothetical
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve explain --resource database:prod-db --action write --tags production
  reeve explain --resource database:prod-db --action write --user otto --role dba
  reeve explain --event tool_01jd…         any record of the journey will do
  reeve explain --list --since 24h --effect deny
  reeve explain --list --table
  reeve explain --policy-file new.yaml --resource database:prod-db --action read

Started under the name `govexplain` the same flags work with one dash or two.

Exit codes:
  0  allowed, or the list was printed
  1  denied
  2  needs approval
  3  it could not be told")]
pub(super) struct Explain {
    /// On what: TYPE:NAME, such as database:prod-db
    #[arg(long, value_name = "TYPE:NAME")]
    resource: Option<String>,
    /// How much harm: read, write or destructive
    #[arg(long)]
    action: Option<ActionClass>,
    /// Tags, with commas; those of the inventory when left out
    #[arg(long)]
    tags: Option<String>,
    /// Sensitivity, with commas; that of the inventory when left out
    #[arg(long)]
    sensitivity: Option<String>,
    /// The user who would ask; you when left out
    #[arg(long)]
    user: Option<String>,
    /// The service that would ask
    #[arg(long, conflicts_with = "user")]
    service: Option<String>,
    /// A role they would have; several with commas
    #[arg(long)]
    role: Option<String>,
    /// Their purpose
    #[arg(long)]
    purpose: Option<Purpose>,
    /// The tool they would use
    #[arg(long)]
    tool: Option<String>,
    /// Explain the decision that this record led to
    #[arg(long, value_name = "ID", conflicts_with_all = ["resource", "action", "list"])]
    event: Option<String>,
    /// List past decisions
    #[arg(long, conflicts_with_all = ["resource", "action"])]
    list: bool,
    /// List them in a table
    #[arg(long, requires = "list")]
    table: bool,
    /// List only those since this moment or so long ago
    #[arg(long, requires = "list", value_name = "WHEN")]
    since: Option<String>,
    /// List only those of this conversation
    #[arg(long, requires = "list")]
    session: Option<String>,
    /// List only those of this journey
    #[arg(long, requires = "list")]
    trace: Option<String>,
    /// List only those of journeys whose id starts so
    #[arg(long, requires = "list", value_name = "TEXT")]
    trace_prefix: Option<String>,
    /// List only those: allow, deny or require_approval
    #[arg(long, requires = "list")]
    effect: Option<Effect>,
    /// List at most so many
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Evaluate this policy file or directory here, without a server
    #[arg(long, value_name = "PATH")]
    policy_file: Option<PathBuf>,
    /// With this inventory
    #[arg(long, value_name = "FILE")]
    infra_config: Option<String>,
}

impl Explain {
    pub(super) fn flags(&self, flags: &mut Vec<Flag>) {
        flag(flags, "inventory.file", "--infra-config", self.infra_config.as_ref());
    }
}

/// The code of this command for whatever goes wrong: 1 and 2 say how policy decides.
const ERROR: u8 = 3;

pub(super) async fn run(command: Explain, session: &mut Session) -> Outcome {
    let outcome = run_inner(command, session).await;
    outcome.map_err(|failure| if failure.message.is_empty() { failure } else { failure.code(ERROR) })
}

async fn run_inner(command: Explain, session: &mut Session) -> Outcome {
    if command.list {
        return list(&command, session).await;
    }
    if let Some(id) = &command.event {
        let ask = Ask::get("/governance/explain").with("event_id", Some(id));
        let answer = session.fetch(Reach::ServerOrHere, "explaining", ask).await?;
        session.show(&answer, explanation)?;
        return Ok(code_of(&answer.json()?));
    }
    let (Some(resource), Some(action)) = (&command.resource, command.action) else {
        let failure = Failure::usage("nothing to explain");
        return Err(failure.hint("give --resource TYPE:NAME and --action, or --event ID, or --list"));
    };
    let (kind, name) = resource_of(resource)?;
    if let Some(paths) = local_policies(&command, session) {
        return here(&command, paths, kind, &name, action, session);
    }
    let ask = Ask::get("/governance/explain")
        .with("resource_type", Some(kind))
        .with("resource_name", Some(name))
        .with("action", Some(action))
        .with("tags", command.tags)
        .with("sensitivity", command.sensitivity)
        .with("user_id", command.user)
        .with("service", command.service)
        .with("role", command.role)
        .with("purpose", command.purpose)
        .with("tool_name", command.tool);
    let answer = session.fetch(Reach::ServerOrHere, "explaining", ask).await?;
    session.show(&answer, explanation)?;
    Ok(code_of(&answer.json()?))
}

fn resource_of(text: &str) -> Result<(ResourceKind, String), Failure> {
    let (kind, name) = text.split_once(':').filter(|(_, name)| !name.is_empty()).ok_or_else(|| {
        Failure::usage(format!("`{}` is not a resource: write TYPE:NAME, such as database:prod-db", clean(text)))
    })?;
    Ok((kind.parse().map_err(Failure::usage)?, name.to_owned()))
}

/// The policies to evaluate here: those that were named, or the configured ones when nobody named a server and none runs.
fn local_policies(command: &Explain, session: &Session) -> Option<Vec<PathBuf>> {
    if let Some(path) = &command.policy_file {
        return Some(vec![path.clone()]);
    }
    let config = &session.config;
    let nobody = !config.client.server_named && !server_runs(&config.data_dir);
    (nobody && !config.policy_files.is_empty()).then(|| config.policy_files.clone())
}

fn here(
    command: &Explain,
    paths: Vec<PathBuf>,
    kind: ResourceKind,
    name: &str,
    action: ActionClass,
    session: &mut Session,
) -> Outcome {
    let set = policy::load(paths)?;
    let (resource, warning) = resource_here(command, kind, name, session.config.inventory_file.as_deref())?;
    let principal = match (&command.service, &command.user) {
        (Some(service), _) => Principal::new(PrincipalKind::Service, service.clone(), AuthMethod::None),
        (None, user) => Principal::new(
            PrincipalKind::User,
            user.clone().unwrap_or_else(|| "anonymous".to_owned()),
            AuthMethod::None,
        ),
    };
    let principal = principal.with_roles(words(command.role.as_deref()));
    let request = PolicyRequest {
        principal: &principal,
        purpose: command.purpose,
        resource: &resource,
        class: action,
        tool: command.tool.as_deref().unwrap_or_default(),
        measured: Measured::default(),
        at: jiff::Timestamp::now(),
    };
    let decision = set.explain(&request);
    let told = json!({
        "decision": decision, "explanation": explain_text(&request, &decision), "trace": explain_json(&request, &decision),
        "replayed_with": "current policies", "warning": warning,
    });
    if session.json {
        session.term.print_json(&told)?;
    } else {
        let text = explanation(&told, session.term.look());
        session.term.print(&text)?;
    }
    Ok(code_of(&told))
}

fn resource_here(
    command: &Explain,
    kind: ResourceKind,
    name: &str,
    file: Option<&Path>,
) -> Result<(Resource, Option<String>), Failure> {
    let mut resource = Resource::new(kind, name);
    let mut warning = None;
    if let Some(file) = file {
        let parsed = inventory::read(file)?;
        let known = match kind {
            ResourceKind::Database => parsed.db_servers.get(name).map(|found| (&found.tags, &found.sensitivity)),
            ResourceKind::Kubernetes => parsed.k8s_clusters.get(name).map(|found| (&found.tags, &found.sensitivity)),
            _ => None,
        };
        match known {
            Some((tags, sensitivity)) => {
                resource.tags.clone_from(tags);
                resource.sensitivity.clone_from(sensitivity);
            }
            None => warning = Some(format!("`{name}` is not in the inventory, so only the tags you gave are known")),
        }
    }
    if command.tags.is_some() {
        resource.tags = words(command.tags.as_deref());
    }
    if command.sensitivity.is_some() {
        resource.sensitivity = words(command.sensitivity.as_deref());
    }
    Ok((resource, warning))
}

fn words(text: Option<&str>) -> BTreeSet<String> {
    text.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// How policy decided: what was recorded, for a past decision; what it would be, otherwise.
fn code_of(told: &Value) -> u8 {
    match first(told, &["event.policy_decision.effect", "decision.effect", "trace.decision.effect"]).as_str() {
        "allow" => exit::DONE,
        "deny" => 1,
        "require_approval" => 2,
        _ => ERROR,
    }
}

fn explanation(told: &Value, look: Look) -> String {
    let mut out = String::new();
    if let Some(event) = told.get("event").filter(|event| event.is_object()) {
        let line = format!("{}  {}", field(event, "event_id"), moment(&field(event, "timestamp")));
        out.push_str(&format!("{}\n\n", look.paint(Tone::Faint, &line)));
    }
    out.push_str(clean(told.get("explanation").and_then(Value::as_str).unwrap_or_default()).trim_end());
    out.push('\n');
    let warning = field(told, "warning");
    if !warning.is_empty() {
        out.push_str(&format!("\n{} {warning}\n", look.paint(Tone::Warning, "Note:")));
    }
    out
}

async fn list(command: &Explain, session: &mut Session) -> Outcome {
    let ask = Ask::get("/events")
        .with("types", Some("policy_decision"))
        .with("since", command.since.as_ref())
        .with("session_id", command.session.as_ref())
        .with("trace_id", command.trace.as_ref())
        .with("trace_id_prefix", command.trace_prefix.as_ref())
        .with("effect", command.effect)
        .with("limit", Some(command.limit));
    let answer = session.fetch(Reach::ServerOrHere, "reading", ask).await?;
    if session.json || command.table {
        return session.show(&answer, |list, look| decisions(entries(list, "events"), look));
    }
    let list = answer.json()?;
    let events = entries(&list, "events");
    if events.is_empty() {
        session.term.print("No decisions.")?;
    }
    for event in events {
        let ask = Ask::get("/governance/explain").with("event_id", Some(field(event, "event_id")));
        let told = session.fetch(Reach::ServerOrHere, "explaining", ask).await?.json()?;
        let text = explanation(&told, session.term.look());
        session.term.print(&format!("{text}{}", "─".repeat(60)))?;
    }
    Ok(exit::DONE)
}

fn decisions(events: &[Value], look: Look) -> String {
    let mut table = Table::new(&["EVENT", "TIME", "EFFECT", "ACTION", "RESOURCE", "POLICY", "TRACE"]);
    for event in events {
        let effect = field(event, "policy_decision.effect");
        let tone = match effect.as_str() {
            "allow" => Tone::Good,
            "deny" => Tone::Critical,
            _ => Tone::Warning,
        };
        let resource = format!(
            "{}:{}",
            field(event, "policy_decision.resource_type"),
            field(event, "policy_decision.resource_name")
        );
        table.toned([
            (field(event, "event_id"), None),
            (moment(&field(event, "timestamp")), None),
            (effect, Some(tone)),
            (field(event, "policy_decision.action"), None),
            (resource, None),
            (field(event, "policy_decision.policy_name"), None),
            (field(event, "trace_id"), None),
        ]);
    }
    table.text(look, "No decisions.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_typed_and_named() {
        assert_eq!(resource_of("database:prod-db").unwrap(), (ResourceKind::Database, "prod-db".to_owned()));
        assert_eq!(resource_of("database:postgres://h:5432/x").unwrap().1, "postgres://h:5432/x");
        for wrong in ["prod-db", "database:", "planet:mars"] {
            assert_eq!(resource_of(wrong).unwrap_err().code, exit::USAGE, "{wrong}");
        }
    }

    #[test]
    fn a_past_decision_counts_as_it_was_recorded() {
        let told = |recorded: Value, now: &str| code_of(&json!({"decision": {"effect": now}, "event": recorded}));
        assert_eq!(told(Value::Null, "allow"), 0);
        assert_eq!(told(Value::Null, "deny"), 1);
        assert_eq!(told(Value::Null, "require_approval"), 2);
        assert_eq!(told(json!({"policy_decision": {"effect": "deny"}}), "allow"), 1);
        assert_eq!(code_of(&json!({})), 3);
    }

    #[test]
    fn decisions_have_the_columns_of_the_guide() {
        let list = [
            json!({"event_id": "pol_1", "timestamp": "2026-03-01T12:00:00Z", "trace_id": "dt_1", "policy_decision": {
            "effect": "deny", "action": "write", "resource_type": "database", "resource_name": "prod-db", "policy_name": "p"}}),
        ];
        insta::assert_snapshot!(decisions(&list, Look { colour: false, width: 80, columns: None }), @r"
        EVENT  TIME                 EFFECT  ACTION  RESOURCE          POLICY  TRACE
        pol_1  2026-03-01 12:00:00  deny    write   database:prod-db  p       dt_1
        ");
    }
}
