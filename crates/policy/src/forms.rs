//! The two YAML forms, read into the model.
//!
//! The full form is a list of `policies`, each with principals, resources and rules. The short form is a bare list of
//! `rules`, each with its own `match`; such a file is one policy over everything, of priority 0, whose first matching
//! rule decides, and each rule goes by its own name.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZoneDatabase;
use reeve_types::{ActionClass, Effect, Obligations, Purpose, ResourceKind};

use crate::files::FilePolicy;
use crate::model::{Conditions, DAYS, Party, Pattern, Policy, Rule, Schedule, Target};
use crate::reader::{Environment, Fields, Reader};
use crate::source::{Complaints, LoadError, Source, closest};
use crate::yaml::{self, Node, Value};

pub(crate) const EFFECTS: [Effect; 3] = [Effect::Allow, Effect::Deny, Effect::RequireApproval];

/// The widest range of `priority`; wide enough for every habit and far from overflow.
const PRIORITIES: i64 = 1_000_000_000;

/// The most people that a quorum can ask for.
const MOST_APPROVERS: i64 = 100;

/// Reads one YAML file.
pub(crate) fn read(source: &Source, environment: Environment<'_>) -> Result<Vec<Policy>, Vec<LoadError>> {
    let mut complaints = Complaints::about(source);
    let Some(root) = yaml::read(&source.text, &mut complaints) else {
        return Err(complaints.into_found());
    };
    let mut reader = Reader::new(complaints, environment);
    let policies = file(&mut reader, &root);
    if reader.complaints.is_empty() { Ok(policies) } else { Err(reader.complaints.into_found()) }
}

fn file(reader: &mut Reader<'_, '_>, root: &Node) -> Vec<Policy> {
    if matches!(root.value, Value::Null) {
        reader.complain(root.place, "the file is empty", "write `policies` or `rules`");
        return Vec::new();
    }
    let Some(fields) = reader.fields(root, "a policy file", &["version", "policies", "rules"]) else {
        return Vec::new();
    };
    if let Some(version) = fields.get("version")
        && reader.text(version, "version").is_some_and(|v| v != "1")
    {
        reader.complain(version.place, "the only version of policy files is \"1\"", "");
    }
    match (fields.get("policies"), fields.get("rules")) {
        (Some(list), None) => {
            reader.list(list, "policies").unwrap_or_default().iter().filter_map(|n| policy(reader, n)).collect()
        }
        (None, Some(list)) => short_form(reader, list).into_iter().collect(),
        (Some(_), Some(_)) => {
            let hint =
                "keep one: `policies` is the full form and `rules` the short one; put the other into a file of its own";
            reader.complain(fields.key_place("rules"), "a file cannot hold both `policies` and `rules`", hint);
            Vec::new()
        }
        (None, None) => {
            reader.complain(root.place, "the file holds neither `policies` nor `rules`", "everything would be denied");
            Vec::new()
        }
    }
}

fn policy(reader: &mut Reader<'_, '_>, node: &Node) -> Option<Policy> {
    let keys = ["name", "description", "enabled", "priority", "principals", "resources", "rules"];
    let fields = reader.fields(node, "a policy", &keys)?;
    let name = name_of(reader, &fields, "policy");
    let description = fields.get("description").and_then(|n| reader.any_text(n, "description")).unwrap_or_default();
    let enabled = fields.get("enabled").map_or(Some(true), |n| reader.boolean(n, "enabled"));
    let priority = fields.get("priority").map_or(Some(0), |n| reader.integer(n, "priority", -PRIORITIES, PRIORITIES));
    let principals = match fields.get("principals").map(|n| (n, &n.value)) {
        None => Vec::new(),
        Some((_, Value::List(items))) => items.iter().filter_map(|n| party(reader, n)).collect(),
        Some((n, _)) => {
            reader.complain(n.place, "`principals` is not a list", "write `- role: dba`, one entry per line");
            Vec::new()
        }
    };
    let resources =
        required_list(reader, &fields, "resources", "a policy").iter().filter_map(|n| resource(reader, n)).collect();
    let rules =
        required_list(reader, &fields, "rules", "a policy").iter().filter_map(|n| full_rule(reader, n)).collect();
    Some(Policy {
        name: name?,
        description,
        enabled: enabled?,
        priority: priority?,
        principals,
        resources,
        rules,
        short_form: false,
        file: reader.complaints.file().to_owned(),
        place: node.place,
    })
}

fn required_list<'n>(reader: &mut Reader<'_, '_>, fields: &Fields<'n>, key: &str, what: &str) -> &'n [Node] {
    match fields.get(key) {
        Some(node) => reader.list(node, key).unwrap_or_default(),
        None => {
            reader.complain(fields.place, format!("{what} needs `{key}`"), "");
            &[]
        }
    }
}

fn name_of(reader: &mut Reader<'_, '_>, fields: &Fields<'_>, what: &str) -> Option<String> {
    let Some(node) = fields.get("name") else {
        reader.complain(fields.place, format!("a {what} needs a `name`"), "decisions and records show it");
        return None;
    };
    let name = reader.text(node, "name")?;
    if name.chars().any(char::is_control) || name.chars().count() > 200 {
        reader.complain(node.place, "a `name` is one line of at most 200 characters", "");
        return None;
    }
    Some(name)
}

fn party(reader: &mut Reader<'_, '_>, node: &Node) -> Option<Party> {
    let fields = reader.fields(node, "a principal", &["user", "role", "service", "any"])?;
    let mut entries = fields.entries();
    let (Some((key, value)), None) = (entries.next(), entries.next()) else {
        let hint = "write one entry for each; any one of them suffices";
        reader.complain(node.place, "a principal names exactly one of `user`, `role`, `service` and `any`", hint);
        return None;
    };
    match key.text.as_str() {
        "user" => reader.text(value, "user").map(Party::User),
        "role" => reader.text(value, "role").map(Party::Role),
        "service" => reader.text(value, "service").map(Party::Service),
        _ => {
            if !reader.boolean(value, "any")? {
                reader.complain(value.place, "`any` can only be true", "leave `principals` out for everybody");
            }
            Some(Party::Any)
        }
    }
}

const CRITERIA: [&str; 7] = ["name", "name_pattern", "tags", "namespace", "sensitivity", "tool", "tool_pattern"];

fn resource(reader: &mut Reader<'_, '_>, node: &Node) -> Option<Target> {
    let fields = reader.fields(node, "a resource", &["type", "match"])?;
    let mut target = Target::default();
    match fields.get("type") {
        Some(node) => target.kind = kind(reader, node, "type"),
        None => reader.complain(node.place, "a resource needs a `type`", "write `type: any` for every kind"),
    }
    if let Some(node) = fields.get("match")
        && let Some(fields) = reader.fields(node, "a match", &CRITERIA)
    {
        criteria(reader, &fields, &mut target);
    }
    Some(target)
}

/// `None` stands for every kind, and for a wrong word after the complaint about it.
fn kind(reader: &mut Reader<'_, '_>, node: &Node, what: &str) -> Option<ResourceKind> {
    struct Kind(Option<ResourceKind>);
    impl std::str::FromStr for Kind {
        type Err = reeve_types::resource::UnknownKind;
        fn from_str(text: &str) -> Result<Self, Self::Err> {
            if text == "any" { Ok(Self(None)) } else { text.parse().map(|kind| Self(Some(kind))) }
        }
    }
    let known: Vec<&str> = ResourceKind::ALL.iter().map(|k| k.as_str()).chain(["any"]).collect();
    reader.word::<Kind>(node, what, &known).and_then(|kind| kind.0)
}

fn criteria(reader: &mut Reader<'_, '_>, fields: &Fields<'_>, target: &mut Target) {
    let text = |reader: &mut Reader<'_, '_>, key: &str| fields.get(key).and_then(|n| reader.text(n, key));
    let many = |reader: &mut Reader<'_, '_>, key: &str| -> BTreeSet<String> {
        fields.get(key).map(|n| reader.texts(n, key)).unwrap_or_default().into_iter().collect()
    };
    target.name = text(reader, "name");
    target.namespace = text(reader, "namespace");
    target.tool = text(reader, "tool");
    target.tags = many(reader, "tags");
    target.sensitivity = many(reader, "sensitivity");
    target.name_pattern = pattern(reader, fields, "name_pattern");
    target.tool_pattern = pattern(reader, fields, "tool_pattern");
}

fn pattern(reader: &mut Reader<'_, '_>, fields: &Fields<'_>, key: &str) -> Option<Pattern> {
    let node = fields.get(key)?;
    let text = reader.text(node, key)?;
    match Pattern::new(&text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            reader.complain(
                node.place,
                format!("`{key}` is not a glob: {}", error.kind()),
                "use *, ?, [a-z] and {a,b}",
            );
            None
        }
    }
}

fn full_rule(reader: &mut Reader<'_, '_>, node: &Node) -> Option<Rule> {
    let fields = reader.fields(node, "a rule", &["action", "effect", "message", "conditions"])?;
    let actions = match fields.get("action") {
        Some(node) => reader.words(node, "action", &ActionClass::ALL.map(ActionClass::as_str)),
        None => {
            reader.complain(fields.place, "a rule needs an `action`", "use `read`, `write`, `destructive` or a list");
            Vec::new()
        }
    };
    rule(reader, &fields, actions)
}

fn rule(reader: &mut Reader<'_, '_>, fields: &Fields<'_>, mut actions: Vec<ActionClass>) -> Option<Rule> {
    actions.sort();
    let effect: Option<Effect> = match fields.get("effect") {
        Some(node) => reader.word(node, "effect", &EFFECTS.map(Effect::as_str)),
        None => {
            reader.complain(fields.place, "a rule needs an `effect`", "use `allow`, `deny` or `require_approval`");
            None
        }
    };
    let message = fields.get("message").and_then(|n| reader.any_text(n, "message")).unwrap_or_default();
    let conditions = fields.get("conditions").and_then(|n| conditions(reader, n)).unwrap_or_default();
    Some(Rule { name: None, targets: Vec::new(), actions, effect: effect?, message, conditions, place: fields.place })
}

fn conditions(reader: &mut Reader<'_, '_>, node: &Node) -> Option<Conditions> {
    let keys = [
        "schedule",
        "require_approval",
        "approval_quorum",
        "approver_roles",
        "max_rows_affected",
        "max_pods_affected",
        "max_xact_age_secs",
        "allowed_purposes",
        "blocked_purposes",
    ];
    let fields = reader.fields(node, "conditions", &keys)?;
    let limit = |reader: &mut Reader<'_, '_>, key: &str| {
        let number = fields.get(key).and_then(|n| reader.integer(n, key, 0, i64::MAX));
        u64::try_from(number.unwrap_or(0)).unwrap_or(0)
    };
    let limits = Obligations {
        max_rows_affected: limit(reader, "max_rows_affected"),
        max_pods_affected: limit(reader, "max_pods_affected"),
        max_xact_age_secs: limit(reader, "max_xact_age_secs"),
    };
    let purposes = |reader: &mut Reader<'_, '_>, key: &str| -> Vec<Purpose> {
        let mut list =
            fields.get(key).map(|n| reader.words(n, key, &Purpose::ALL.map(Purpose::as_str))).unwrap_or_default();
        list.sort();
        list
    };
    Some(Conditions {
        schedule: fields.get("schedule").and_then(|n| schedule(reader, n)),
        require_approval: fields
            .get("require_approval")
            .and_then(|n| reader.boolean(n, "require_approval"))
            .unwrap_or(false),
        approval_quorum: fields
            .get("approval_quorum")
            .and_then(|n| reader.integer(n, "approval_quorum", 1, MOST_APPROVERS))
            .and_then(|n| u32::try_from(n).ok()),
        approver_roles: fields.get("approver_roles").map(|n| reader.texts(n, "approver_roles")).unwrap_or_default(),
        limits,
        allowed_purposes: purposes(reader, "allowed_purposes"),
        blocked_purposes: purposes(reader, "blocked_purposes"),
    })
}

fn schedule(reader: &mut Reader<'_, '_>, node: &Node) -> Option<Schedule> {
    let fields = reader.fields(node, "a schedule", &["days", "hours", "timezone"])?;
    let mut days = 0u8;
    if let Some(list) = fields.get("days") {
        for item in reader.one_or_more(list, "days").unwrap_or_default() {
            let Some(word) = reader.text(item, "days") else { continue };
            match DAYS.iter().position(|day| *day == word) {
                Some(bit) => days |= 1 << bit,
                None => {
                    let hint = closest(word.get(..3).unwrap_or(&word), &DAYS).map_or_else(
                        || "use mon, tue, wed, thu, fri, sat, sun".to_owned(),
                        |d| format!("did you mean `{d}`?"),
                    );
                    reader.complain(item.place, format!("`{word}` is not a day"), hint);
                }
            }
        }
    }
    let mut hours = 0u32;
    if let Some(list) = fields.get("hours") {
        for item in reader.one_or_more(list, "hours").unwrap_or_default() {
            if let Some(hour) = reader.integer(item, "hours", 0, 23) {
                hours |= 1u32.checked_shl(u32::try_from(hour).unwrap_or(0)).unwrap_or(0);
            }
        }
    }
    let (place, name) = match fields.get("timezone") {
        Some(node) => (node.place, reader.text(node, "timezone")?),
        None => (node.place, "UTC".to_owned()),
    };
    // The zones are compiled in: the same policy means the same on every machine.
    match TimeZoneDatabase::bundled().get(&name) {
        Ok(zone) => Some(Schedule::new(days, hours, &name, zone)),
        Err(_) => {
            let hint = "use an IANA name such as `Europe/Berlin`, `America/New_York` or `UTC`";
            reader.complain(place, format!("`{name}` is not a time zone"), hint);
            None
        }
    }
}

fn short_form(reader: &mut Reader<'_, '_>, list: &Node) -> Option<Policy> {
    let items = reader.list(list, "rules")?;
    let rules = items.iter().filter_map(|n| short_rule(reader, n)).collect();
    let file = reader.complaints.file().to_owned();
    Some(Policy {
        name: file.clone(),
        description: "rules in the short form".to_owned(),
        enabled: true,
        priority: 0,
        principals: Vec::new(),
        resources: Vec::new(),
        rules,
        short_form: true,
        file,
        place: list.place,
    })
}

fn short_rule(reader: &mut Reader<'_, '_>, node: &Node) -> Option<Rule> {
    let fields = reader.fields(node, "a rule", &["name", "match", "effect", "message", "conditions"])?;
    let name = name_of(reader, &fields, "rule");
    let mut target = Target::default();
    let mut actions = Vec::new();
    if let Some(node) = fields.get("match") {
        let keys: Vec<&str> = ["action_class", "resource", "type"].into_iter().chain(CRITERIA).collect();
        if let Some(matching) = reader.fields(node, "a match", &keys) {
            criteria(reader, &matching, &mut target);
            if let Some(classes) = matching.get("action_class") {
                actions = reader.words(classes, "action_class", &ActionClass::ALL.map(ActionClass::as_str));
            }
            match (matching.get("type"), matching.get("resource")) {
                (Some(_), Some(_)) => {
                    let place = matching.key_place("resource");
                    reader.complain(place, "`type` and `resource` mean the same", "keep one of them");
                }
                (Some(node), None) => target.kind = kind(reader, node, "type"),
                (None, Some(node)) => target.kind = kind(reader, node, "resource"),
                (None, None) => {}
            }
        }
    }
    if actions.is_empty() {
        actions = ActionClass::ALL.to_vec();
    }
    let rule = rule(reader, &fields, actions)?;
    Some(Rule { name: Some(name?), targets: vec![target], ..rule })
}

/// Names must be unique over all files, because decisions and records refer to them.
pub(crate) fn check_names(policies: &[Policy], files: &[FilePolicy], sources: &[Source], errors: &mut Vec<LoadError>) {
    let mut seen: BTreeMap<String, (&str, crate::source::Place)> = BTreeMap::new();
    let mut names = Vec::new();
    for policy in policies {
        names.push((policy.name.clone(), policy.file.as_str(), policy.place));
        for rule in &policy.rules {
            names.extend(rule.name.clone().map(|name| (name, policy.file.as_str(), rule.place)));
        }
    }
    names.extend(files.iter().map(|policy| (policy.name.clone(), policy.file.as_str(), policy.place)));
    names.sort_by(|a, b| (a.1, a.2).cmp(&(b.1, b.2)));
    for (name, file, place) in names {
        if name == "default" {
            complain_about(
                file,
                sources,
                errors,
                place,
                "the name `default` is reserved".to_owned(),
                "choose another name",
            );
            continue;
        }
        if let Some((other, first)) = seen.get(&name) {
            let message = format!("the name `{name}` is taken by {other}:{first}");
            complain_about(
                file,
                sources,
                errors,
                place,
                message,
                "decisions refer to policies by name, so names are unique",
            );
            continue;
        }
        seen.insert(name, (file, place));
    }
}

fn complain_about(
    file: &str,
    sources: &[Source],
    errors: &mut Vec<LoadError>,
    place: crate::source::Place,
    message: String,
    hint: &str,
) {
    if let Some(source) = sources.iter().find(|s| s.name == file) {
        let mut complaints = Complaints::about(source);
        complaints.add(place, message, hint);
        errors.extend(complaints.into_found());
    }
}
