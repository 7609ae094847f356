//! Which rules apply to a request, told directly.
//!
//! This is the index in front of the engine: it names the rules worth asking Cedar about, and gives `explain` its
//! reasons. It never decides. A rule that it names is put to Cedar, which must confirm it; a rule that it leaves out is
//! one whose Cedar form cannot be satisfied, which `explain` checks on every call and the property tests at random.

use reeve_types::{PolicyRequest, Principal};

use crate::engine::parties;
use crate::model::{Party, Rule, Target};

pub(crate) fn principal_fits(wanted: &[Party], principal: &Principal) -> bool {
    wanted.is_empty() || wanted.iter().any(|party| party_fits(party, principal))
}

fn party_fits(wanted: &Party, principal: &Principal) -> bool {
    match wanted {
        Party::Any => true,
        Party::User(id) => parties(principal).any(|p| p.user() == Some(id)),
        Party::Service(id) => parties(principal).any(|p| p.service() == Some(id)),
        Party::Role(role) => parties(principal).any(|p| p.has_role(role)),
    }
}

pub(crate) fn target_fits(target: &Target, request: &PolicyRequest<'_>) -> bool {
    all_but_tags_fit(target, request) && target.tags.is_subset(&request.resource.tags)
}

/// Whether only the tags could keep the target from fitting.
pub(crate) fn all_but_tags_fit(target: &Target, request: &PolicyRequest<'_>) -> bool {
    let resource = request.resource;
    target.kind.is_none_or(|kind| kind == resource.kind)
        && target.name.as_ref().is_none_or(|name| *name == resource.name)
        && target.namespace.as_ref().is_none_or(|ns| resource.namespace.as_ref() == Some(ns))
        && target.tool.as_ref().is_none_or(|tool| tool == request.tool)
        && target.sensitivity.is_subset(&resource.sensitivity)
        && target.name_pattern.as_ref().is_none_or(|p| p.matches(&resource.name))
        && target.tool_pattern.as_ref().is_none_or(|p| p.matches(request.tool))
}

pub(crate) fn schedule_is_active(rule: &Rule, request: &PolicyRequest<'_>) -> bool {
    rule.conditions.schedule.as_ref().is_none_or(|s| s.is_active(request.at))
}
