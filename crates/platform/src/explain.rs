//! Why policy decided as it did, or how it would decide.
//!
//! A past decision is replayed by the same code with the very policy set that was in force then; when that set is no
//! longer kept, with today's, and the answer says so.

use reeve_policy::PolicySet;
use reeve_types::{
    ActionClass, AuthMethod, Decision, Effect, Event, EventId, EventType, Measured, PolicyRequest, Principal,
    PrincipalKind, Purpose, Resource, ResourceKind, TenantId,
};
use serde::Serialize;
use serde_json::Value;

use crate::{Platform, PlatformError};

/// A request that nobody has made.
#[derive(Debug, Clone)]
pub struct Hypothetical {
    /// What kind of thing.
    pub resource_kind: ResourceKind,
    /// Its name.
    pub resource_name: String,
    /// How much harm.
    pub action: ActionClass,
    /// Its tags; the inventory's when absent.
    pub tags: Option<Vec<String>>,
    /// Its sensitivity; the inventory's when absent.
    pub sensitivity: Option<Vec<String>>,
    /// The user who would ask; the asker when absent.
    pub user: Option<String>,
    /// The service that would ask.
    pub service: Option<String>,
    /// With these roles.
    pub roles: Vec<String>,
    /// For this purpose.
    pub purpose: Option<Purpose>,
    /// With this tool.
    pub tool: String,
    /// With these sizes.
    pub measured: Measured,
}

/// An explained decision.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// The decision and its trace.
    pub decision: Decision,
    /// The stable text.
    pub explanation: String,
    /// The stable trace.
    pub trace: Value,
    /// Which policies replayed it: `same policies` or `current policies`.
    pub replayed_with: &'static str,
    /// What the reader should know before relying on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The record of the past decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
}

impl Platform {
    /// How policy would decide a request that nobody has made. Nothing is recorded.
    pub fn explain_hypothetical(&self, asker: &Principal, request: &Hypothetical) -> Explanation {
        let mut warning = None;
        // Workspaces have owners: of one, only what the asker says of it is known here.
        let known = match request.resource_kind {
            ResourceKind::Workspace => None,
            _ if !crate::tenants::has_targets(&asker.tenant) => None,
            kind => {
                reeve_gate::Inventory::resolve(self.parts.inventory.as_ref(), kind, Some(&request.resource_name)).ok()
            }
        };
        let mut resource = match known {
            Some(resource) => resource,
            None => {
                let unknown =
                    format!("`{}` is not in the inventory, so only the tags you gave are known", request.resource_name);
                warning = Some(unknown);
                Resource::new(request.resource_kind, request.resource_name.clone())
            }
        };
        if let Some(tags) = &request.tags {
            resource.tags = tags.iter().cloned().collect();
        }
        if let Some(sensitivity) = &request.sensitivity {
            resource.sensitivity = sensitivity.iter().cloned().collect();
        }
        let principal = whose(asker, request);
        let asked = PolicyRequest {
            principal: &principal,
            purpose: request.purpose,
            resource: &resource,
            class: request.action,
            tool: &request.tool,
            measured: request.measured,
            at: self.clock().now(),
        };
        let explained = self.gate().explain(&asked);
        Explanation {
            decision: explained.decision,
            explanation: explained.text,
            trace: explained.json,
            replayed_with: "current policies",
            warning,
            event: None,
        }
    }

    /// Why a past decision was made. Any record of its journey will do: the decision of the same action is found.
    pub async fn explain_event(&self, tenant: &TenantId, id: &EventId) -> Result<Explanation, PlatformError> {
        let found = self.store().event(tenant, id).await?.ok_or_else(|| PlatformError::NoSuchRecord(id.clone()))?;
        let event = self.decision_of(tenant, found.event).await?;
        let (Some(part), Some(principal)) = (&event.policy_decision, &event.principal) else {
            return Err(PlatformError::Invalid(format!("`{id}` led to no decision of policy")));
        };
        let kind: ResourceKind = part.resource_type.parse().unwrap_or(ResourceKind::Platform);
        let resource = event.resource.clone().unwrap_or_else(|| Resource {
            tags: part.tags.iter().cloned().collect(),
            sensitivity: part.sensitivity.iter().cloned().collect(),
            ..Resource::new(kind, part.resource_name.clone())
        });
        let tool = event.tool.as_ref().map_or("", |tool| tool.name.as_str());
        let asked = PolicyRequest {
            principal,
            purpose: event.purpose,
            resource: &resource,
            class: part.action,
            tool,
            measured: part.measured,
            at: event.timestamp,
        };
        let current = self.gate().policy();
        let then =
            if current.digest() == part.policy_digest { None } else { self.policies_of(part.policy_digest).await };
        let same = then.is_some() || current.digest() == part.policy_digest;
        let set: &PolicySet = then.as_ref().unwrap_or(&current);
        let decision = set.explain(&asked);
        let warning = match (same, decision.effect == part.effect) {
            (_, true) => None,
            (true, false) => {
                Some(format!("it was recorded as {}, decided by `{}` above policy", part.effect, part.policy_name))
            }
            (false, false) => Some(format!(
                "the policies of that moment are no longer kept; it was {} by `{}` then, and would be {} now",
                part.effect, part.policy_name, decision.effect
            )),
        };
        let (explanation, trace) =
            (reeve_policy::explain_text(&asked, &decision), reeve_policy::explain_json(&asked, &decision));
        let replayed_with = if same { "same policies" } else { "current policies" };
        Ok(Explanation { decision, explanation, trace, replayed_with, warning, event: Some(event) })
    }

    /// The decision that belongs to a record: itself, or that of its action, or the last of its journey.
    async fn decision_of(&self, tenant: &TenantId, event: Event) -> Result<Event, PlatformError> {
        if event.event_type == EventType::PolicyDecision {
            return Ok(event);
        }
        let filter = reeve_store::EventFilter {
            trace_id: Some(event.trace_id.to_string()),
            types: vec![EventType::PolicyDecision],
            ascending: true,
            limit: 200,
            ..reeve_store::EventFilter::default()
        };
        let decisions: Vec<Event> =
            self.store().events(tenant, filter).await?.events.into_iter().map(|stored| stored.event).collect();
        let own = decisions.iter().find(|d| d.action_id.is_some() && d.action_id == event.action_id);
        own.or(decisions.last())
            .cloned()
            .ok_or_else(|| PlatformError::Invalid(format!("`{}` led to no decision of policy", event.event_id)))
    }

    async fn policies_of(&self, digest: reeve_types::Digest) -> Option<PolicySet> {
        if PolicySet::built_in().digest() == digest {
            return Some(PolicySet::built_in());
        }
        let kept = self.store().policy_set(digest).await.ok().flatten()?;
        self.policies().recompile(&kept).filter(|set| set.digest() == digest)
    }
}

fn whose(asker: &Principal, request: &Hypothetical) -> Principal {
    let mut principal = match (&request.service, &request.user) {
        (Some(service), _) => Principal::new(PrincipalKind::Service, service.clone(), AuthMethod::None),
        (None, Some(user)) => Principal::new(PrincipalKind::User, user.clone(), AuthMethod::None),
        (None, None) if request.roles.is_empty() => return asker.clone(),
        (None, None) => Principal { on_behalf_of: None, ..asker.clone() },
    };
    principal.tenant = asker.tenant.clone();
    principal.roles = request.roles.iter().cloned().collect();
    principal
}

/// The exit code that says how policy decided: 0 allow, 1 deny, 2 ask first.
pub fn exit_code(effect: Effect) -> u8 {
    match effect {
        Effect::Allow => 0,
        Effect::Deny => 1,
        Effect::RequireApproval => 2,
    }
}
