//! `.cedar` files: read as they are, type-checked strictly, and annotated.
//!
//! Annotations on a `permit`: `@name`, `@description`, `@message`, `@priority("100")`, `@effect("require_approval")`,
//! `@quorum("2")`, `@approver_roles("dba,lead")`. On a `forbid`: `@name`, `@description`, `@message`. Any other
//! annotation is an error, because a misspelt `@effect` would turn a question into a permission.

use std::collections::BTreeSet;
use std::str::FromStr;

use cedar_policy::{
    Effect as CedarEffect, Policy as CedarPolicy, PolicyId, PolicySet, Schema, ValidationMode, Validator,
};
use miette::Diagnostic;
use reeve_types::{ActionClass, Effect};
use serde::Serialize;

use crate::source::{Complaints, LoadError, Place, Source, closest};
use crate::statements;

/// One policy of a Cedar file.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FilePolicy {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) message: String,
    pub(crate) priority: i64,
    /// `deny` for a `forbid`.
    pub(crate) effect: Effect,
    pub(crate) quorum: u32,
    pub(crate) approver_roles: Vec<String>,
    pub(crate) actions: Vec<ActionClass>,
    /// The policy without layout and comments; what the digest names.
    canonical: serde_json::Value,
    #[serde(skip)]
    pub(crate) text: String,
    #[serde(skip)]
    pub(crate) file: String,
    #[serde(skip)]
    pub(crate) place: Place,
    #[serde(skip)]
    pub(crate) cedar: CedarPolicy,
}

const PERMIT_ANNOTATIONS: [&str; 7] =
    ["name", "description", "message", "priority", "effect", "quorum", "approver_roles"];
const FORBID_ANNOTATIONS: [&str; 3] = ["name", "description", "message"];

/// What one file holds, and what the type checker warns of.
pub(crate) type Read = (Vec<FilePolicy>, Vec<String>);

/// Reads one file.
pub(crate) fn read(source: &Source, schema: &Schema) -> Result<Read, Vec<LoadError>> {
    let mut complaints = Complaints::about(source);
    if source.text.len() > crate::yaml::MAX_BYTES {
        complaints.add(Place::default(), "the file is too large for a policy file", "split it");
        return Err(complaints.into_found());
    }
    let places = match statements::find(&source.text) {
        Ok(places) => places,
        Err(refused) => {
            let hint = "split the policy into several, or compare with a set: `[\"a\", \"b\"].contains(…)`";
            complaints.add(refused.place, refused.message, hint);
            return Err(complaints.into_found());
        }
    };
    // The parser and the type checker recurse; see `statements` for how deep they can get.
    let parsed = std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(statements::STACK_BYTES)
            .spawn_scoped(scope, || parse(source, &places, schema))
            .ok()
            .and_then(|thread| thread.join().ok())
    });
    parsed.unwrap_or_else(|| {
        complaints.add(Place::default(), "the file could not be parsed", "try it in smaller files");
        Err(complaints.into_found())
    })
}

fn parse(source: &Source, places: &[Place], schema: &Schema) -> Result<Read, Vec<LoadError>> {
    let mut complaints = Complaints::about(source);
    let set = match PolicySet::from_str(&source.text) {
        Ok(set) => set,
        Err(errors) => {
            for error in errors.iter() {
                let hint = error.help().map(|h| h.to_string()).unwrap_or_default();
                complaints.add(place_of(error, &source.text), format!("not readable as Cedar: {error}"), hint);
            }
            return Err(complaints.into_found());
        }
    };
    if set.templates().next().is_some() {
        let place = places.first().copied().unwrap_or_default();
        complaints.add(
            place,
            "the file holds a template, which nothing would fill",
            "replace ?principal and ?resource",
        );
    }
    let mut policies: Vec<(usize, &CedarPolicy)> = set.policies().map(|p| (ordinal(p.id()), p)).collect();
    policies.sort_by_key(|(at, _)| *at);
    let read: Vec<FilePolicy> = policies
        .into_iter()
        .filter_map(|(at, policy)| one(policy, at, places.get(at).copied().unwrap_or_default(), &mut complaints))
        .collect();
    let warnings = validate(&read, schema, &mut complaints, &source.text);
    if complaints.is_empty() { Ok((read, warnings)) } else { Err(complaints.into_found()) }
}

/// The parser names policies `policy0`, `policy1`, … in the order of the file.
fn ordinal(id: &PolicyId) -> usize {
    let id: &str = id.as_ref();
    id.trim_start_matches("policy").parse().unwrap_or(usize::MAX)
}

fn one(policy: &CedarPolicy, at: usize, place: Place, complaints: &mut Complaints<'_>) -> Option<FilePolicy> {
    let permits = policy.effect() == CedarEffect::Permit;
    let known: &[&str] = if permits { &PERMIT_ANNOTATIONS } else { &FORBID_ANNOTATIONS };
    let mut sound = true;
    for (key, _) in policy.annotations() {
        if !known.contains(&key) {
            sound = false;
            let kind = if permits { "permit" } else { "forbid" };
            let hint = closest(key, known)
                .map_or_else(|| format!("known: {}", known.join(", ")), |m| format!("did you mean `@{m}`?"));
            complaints.add(place, format!("`@{key}` is not an annotation of a {kind}"), hint);
        }
    }
    let file = complaints.file();
    let name = policy
        .annotation("name")
        .filter(|n| !n.trim().is_empty())
        .map_or_else(|| format!("{file}#{at}"), str::to_owned);
    let mut number = |key: &str, default: i64, least: i64, most: i64| match policy.annotation(key) {
        None => Some(default),
        Some(text) => {
            let number = text.trim().parse().ok().filter(|n| (least..=most).contains(n));
            if number.is_none() {
                complaints.add(place, format!("`@{key}` must be a whole number from {least} to {most}"), "");
            }
            number
        }
    };
    let priority = number("priority", 0, -1_000_000_000, 1_000_000_000);
    let quorum = number("quorum", 1, 1, 100);
    let effect = match (permits, policy.annotation("effect")) {
        (false, _) => Some(Effect::Deny),
        (true, None | Some("allow")) => Some(Effect::Allow),
        (true, Some("require_approval")) => Some(Effect::RequireApproval),
        (true, Some(other)) => {
            let hint = "use `allow` or `require_approval`; what denies is a `forbid`";
            complaints.add(place, format!("`{other}` is not a value of `@effect`"), hint);
            None
        }
    };
    let roles = policy.annotation("approver_roles").unwrap_or_default();
    let approver_roles = roles.split(',').map(str::trim).filter(|r| !r.is_empty()).map(str::to_owned).collect();
    let cedar = policy.new_id(PolicyId::new(&name));
    let found = FilePolicy {
        description: policy.annotation("description").unwrap_or_default().to_owned(),
        message: policy.annotation("message").unwrap_or_default().to_owned(),
        priority: priority?,
        effect: effect?,
        quorum: u32::try_from(quorum?).unwrap_or(1),
        approver_roles,
        actions: actions_of(policy),
        canonical: canonical(policy, place, complaints)?,
        text: policy.to_cedar().unwrap_or_default(),
        file: file.to_owned(),
        place,
        cedar,
        name,
    };
    sound.then_some(found)
}

fn canonical(policy: &CedarPolicy, place: Place, complaints: &mut Complaints<'_>) -> Option<serde_json::Value> {
    let json = policy.to_json();
    if let Err(error) = &json {
        complaints.add(place, format!("has no canonical form: {error}"), "");
    }
    json.ok()
}

/// The classes that the head of a policy can apply to.
fn actions_of(policy: &CedarPolicy) -> Vec<ActionClass> {
    let named: Vec<String> = match policy.action_constraint() {
        cedar_policy::ActionConstraint::Any => return ActionClass::ALL.to_vec(),
        cedar_policy::ActionConstraint::Eq(uid) => vec![uid.id().unescaped().to_owned()],
        cedar_policy::ActionConstraint::In(uids) => uids.iter().map(|uid| uid.id().unescaped().to_owned()).collect(),
    };
    ActionClass::ALL.into_iter().filter(|class| named.iter().any(|n| n == class.as_str())).collect()
}

fn validate(read: &[FilePolicy], schema: &Schema, complaints: &mut Complaints<'_>, text: &str) -> Vec<String> {
    let mut set = PolicySet::new();
    for policy in read {
        if set.add(policy.cedar.clone()).is_err() {
            complaints.add(
                policy.place,
                format!("the name `{}` is taken in this file", policy.name),
                "choose another name",
            );
        }
    }
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    // The checker complains once for each action and kind of principal; people want to hear it once.
    let mut found = BTreeSet::new();
    for error in result.validation_errors() {
        let named = read.iter().find(|p| PolicyId::new(&p.name) == *error.policy_id());
        let place = match place_of(error, text) {
            Place { line: 0, .. } => named.map(|p| p.place).unwrap_or_default(),
            known => known,
        };
        let hint = error.help().map(|h| h.to_string()).unwrap_or_default();
        found.insert((place, without_frame(&error.to_string()).to_owned(), hint));
    }
    for (place, message, hint) in found {
        complaints.add(place, format!("does not fit the schema: {message}"), hint);
    }
    result.validation_warnings().map(ToString::to_string).collect()
}

/// The checker begins with "for policy `x`, ", which the place says better, and may end with the action it tried.
fn without_frame(text: &str) -> &str {
    let text = text.strip_prefix("for policy `").and_then(|rest| rest.split_once("`, ")).map_or(text, |(_, rest)| rest);
    text.split(" for Action::").next().unwrap_or(text)
}

fn place_of(error: &dyn Diagnostic, text: &str) -> Place {
    error
        .labels()
        .and_then(|mut labels| labels.next())
        .map(|label| Place::of_offset(text, label.offset()))
        .unwrap_or_default()
}
