//! `reeve policy test`: a table of expectations held against a set of policies.
//!
//! ```yaml
//! cases:
//!   - name: writes in production ask
//!     principal: {user: alice, roles: [dba]}
//!     resource: {type: database, name: prod-db, tags: [production]}
//!     action: write
//!     rows: 10
//!     at: 2026-03-02T10:00:00Z
//!     expect: require_approval
//!     by: production-writes
//!     quorum: 1
//! ```

use jiff::Timestamp;
use reeve_types::decision::Decision;
use reeve_types::{
    ActionClass, AuthMethod, Effect, Measured, PolicyRequest, Principal, PrincipalKind, Purpose, Resource, ResourceKind,
};
use serde::Serialize;

use crate::explain::explain_text;
use crate::forms::EFFECTS;
use crate::reader::{Fields, Reader};
use crate::set::PolicySet;
use crate::source::{Complaints, Format, LoadErrors, Place, Source};
use crate::yaml::{self, Node, Value};

/// What came of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// Every case, in order.
    pub cases: Vec<CaseReport>,
}

impl TableReport {
    /// How many cases came out as expected.
    pub fn passed(&self) -> usize {
        self.cases.iter().filter(|case| case.passed()).count()
    }

    /// Whether all did.
    pub fn is_success(&self) -> bool {
        self.cases.iter().all(CaseReport::passed)
    }
}

/// What came of one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseReport {
    /// Its name.
    pub name: String,
    /// Its line in the table, from 1.
    pub line: u32,
    /// What was decided.
    pub effect: Effect,
    /// By which policy.
    pub policy_name: String,
    /// What differs from the expectation, in words; empty when nothing does.
    pub differences: Vec<String>,
    /// The explanation of the decision when something differs; empty otherwise.
    pub explanation: String,
}

impl CaseReport {
    /// Whether the case came out as expected.
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

/// One case as written.
struct Case {
    place: Place,
    name: String,
    principal: Principal,
    resource: Resource,
    class: ActionClass,
    tool: String,
    purpose: Option<Purpose>,
    measured: Measured,
    at: Timestamp,
    effect: Effect,
    by: Option<String>,
    quorum: Option<u32>,
}

/// Holds a table of expectations against a set. `name` is the table's file, for messages.
///
/// A case without `at` is judged at 2026-01-05T12:00:00Z, a Monday, so that a table means the same on every day.
///
/// # Errors
///
/// Everything that is wrong with the table itself. A case that comes out otherwise than expected is no error: see
/// [`TableReport::is_success`].
pub fn run_table(set: &PolicySet, table_text: &str, name: &str) -> Result<TableReport, LoadErrors> {
    let source = Source { name: name.to_owned(), text: table_text.to_owned(), format: Format::Yaml };
    let cases = read(&source)?;
    Ok(TableReport { cases: cases.iter().map(|case| judge(set, case)).collect() })
}

fn judge(set: &PolicySet, case: &Case) -> CaseReport {
    let request = PolicyRequest {
        principal: &case.principal,
        purpose: case.purpose,
        resource: &case.resource,
        class: case.class,
        tool: &case.tool,
        measured: case.measured,
        at: case.at,
    };
    let decision = set.explain(&request);
    let differences = differences(case, &decision);
    CaseReport {
        name: case.name.clone(),
        line: case.place.line,
        effect: decision.effect,
        policy_name: decision.policy_name.clone(),
        explanation: if differences.is_empty() { String::new() } else { explain_text(&request, &decision) },
        differences,
    }
}

fn differences(case: &Case, decision: &Decision) -> Vec<String> {
    let mut found = Vec::new();
    if case.effect != decision.effect {
        found.push(format!("expected {}, got {}", case.effect, decision.effect));
    }
    if let Some(by) = case.by.as_ref().filter(|by| **by != decision.policy_name) {
        found.push(format!("expected policy `{by}` to decide, but `{}` did", decision.policy_name));
    }
    if let Some(quorum) = case.quorum.filter(|quorum| *quorum != decision.approval_quorum) {
        found.push(format!("expected a quorum of {quorum}, got {}", decision.approval_quorum));
    }
    found.extend(decision.errors.iter().cloned());
    found
}

fn read(source: &Source) -> Result<Vec<Case>, LoadErrors> {
    let mut complaints = Complaints::about(source);
    let Some(root) = yaml::read(&source.text, &mut complaints) else {
        return Err(LoadErrors(complaints.into_found()));
    };
    let mut reader = Reader::new(complaints, &|_| None);
    let mut cases = Vec::new();
    if let Some(fields) = reader.fields(&root, "a policy table", &["cases"]) {
        match fields.get("cases") {
            Some(list) => {
                cases = reader
                    .list(list, "cases")
                    .unwrap_or_default()
                    .iter()
                    .filter_map(|n| case(&mut reader, n))
                    .collect();
            }
            None => reader.complain(root.place, "a policy table needs `cases`", ""),
        }
    }
    if reader.complaints.is_empty() { Ok(cases) } else { Err(LoadErrors(reader.complaints.into_found())) }
}

const KEYS: [&str; 13] = [
    "name",
    "principal",
    "resource",
    "action",
    "tool",
    "purpose",
    "rows",
    "pods",
    "xact_age_secs",
    "at",
    "expect",
    "by",
    "quorum",
];

fn case(reader: &mut Reader<'_, '_>, node: &Node) -> Option<Case> {
    let fields = reader.fields(node, "a case", &KEYS)?;
    let text = |reader: &mut Reader<'_, '_>, key: &str| fields.get(key).and_then(|n| reader.text(n, key));
    let size = |reader: &mut Reader<'_, '_>, key: &str| {
        let number = fields.get(key).and_then(|n| reader.integer(n, key, 0, i64::MAX));
        u64::try_from(number.unwrap_or(0)).unwrap_or(0)
    };
    let name = required(reader, &fields, "name").and_then(|n| reader.text(n, "name"));
    let principal = fields.get("principal").map_or_else(|| Some(anybody()), |n| principal(reader, n));
    let resource = required(reader, &fields, "resource").and_then(|n| resource(reader, n));
    let class = required(reader, &fields, "action")
        .and_then(|n| reader.word::<ActionClass>(n, "action", &ActionClass::ALL.map(ActionClass::as_str)));
    let effect = required(reader, &fields, "expect")
        .and_then(|n| reader.word::<Effect>(n, "expect", &EFFECTS.map(Effect::as_str)));
    let purpose =
        fields.get("purpose").and_then(|n| reader.word::<Purpose>(n, "purpose", &Purpose::ALL.map(Purpose::as_str)));
    let at = match fields.get("at") {
        None => "2026-01-05T12:00:00Z".parse().ok(),
        Some(node) => {
            let moment = reader.text(node, "at").and_then(|t| t.parse::<Timestamp>().ok());
            if moment.is_none() {
                reader.complain(node.place, "`at` is not a moment", "write it with its zone: 2026-03-02T10:00:00Z");
            }
            moment
        }
    };
    let quorum = fields.get("quorum").and_then(|n| reader.integer(n, "quorum", 1, 100));
    Some(Case {
        place: node.place,
        tool: text(reader, "tool").unwrap_or_default(),
        by: text(reader, "by"),
        measured: Measured {
            rows_affected: size(reader, "rows"),
            pods_affected: size(reader, "pods"),
            xact_age_secs: size(reader, "xact_age_secs"),
        },
        name: name?,
        principal: principal?,
        resource: resource?,
        class: class?,
        purpose,
        at: at?,
        effect: effect?,
        quorum: quorum.and_then(|n| u32::try_from(n).ok()),
    })
}

fn required<'n>(reader: &mut Reader<'_, '_>, fields: &Fields<'n>, key: &str) -> Option<&'n Node> {
    let found = fields.get(key);
    if found.is_none() {
        reader.complain(fields.place, format!("a case needs `{key}`"), "");
    }
    found
}

/// A case without principal is about somebody of whom nothing is known.
fn anybody() -> Principal {
    Principal::new(PrincipalKind::User, "anonymous", AuthMethod::None)
}

fn principal(reader: &mut Reader<'_, '_>, node: &Node) -> Option<Principal> {
    let fields = reader.fields(node, "a principal", &["user", "service", "roles"])?;
    let mut principal = match (fields.get("user"), fields.get("service")) {
        (Some(id), None) => Principal::new(PrincipalKind::User, reader.text(id, "user")?, AuthMethod::ApiKey),
        (None, Some(id)) => Principal::new(PrincipalKind::Service, reader.text(id, "service")?, AuthMethod::ApiKey),
        (None, None) => anybody(),
        (Some(_), Some(_)) => {
            reader.complain(node.place, "a principal is a `user` or a `service`, not both", "");
            return None;
        }
    };
    // A table may say `roles: []` to stress that there are none.
    if let Some(roles) = fields.get("roles").filter(|n| !matches!(&n.value, Value::List(items) if items.is_empty())) {
        principal.roles = reader.texts(roles, "roles").into_iter().collect();
    }
    Some(principal)
}

fn resource(reader: &mut Reader<'_, '_>, node: &Node) -> Option<Resource> {
    let fields = reader.fields(node, "a resource", &["type", "name", "tags", "sensitivity", "namespace"])?;
    let kind = required(reader, &fields, "type")
        .and_then(|n| reader.word::<ResourceKind>(n, "type", &ResourceKind::ALL.map(ResourceKind::as_str)))?;
    let name = fields.get("name").and_then(|n| reader.text(n, "name")).unwrap_or_else(|| "any".to_owned());
    let mut resource = Resource::new(kind, name);
    let mut labels = |key: &str| {
        let given = fields.get(key).filter(|n| !matches!(&n.value, Value::List(items) if items.is_empty()));
        given.map(|n| reader.texts(n, key)).unwrap_or_default().into_iter().collect()
    };
    resource.tags = labels("tags");
    resource.sensitivity = labels("sensitivity");
    resource.namespace = fields.get("namespace").and_then(|n| reader.text(n, "namespace"));
    Some(resource)
}
