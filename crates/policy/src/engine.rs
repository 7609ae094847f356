//! The Cedar engine: the schema, a request in Cedar's terms, and the verdict of one layer.
//!
//! A *layer* is the small Cedar policy set that one YAML rule compiles to, or the set of all policies of Cedar files
//! for one action class. Within a layer Cedar's own meaning holds: a satisfied `forbid` wins over every `permit`.
//!
//! Cedar skips a policy whose evaluation errs, which would make a broken `forbid` forbid nothing. So a verdict with
//! any error in it is [`Verdict::Broken`], and the caller denies.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId, PolicySet, Request,
    RestrictedExpression, Schema,
};
use reeve_types::{ActionClass, PolicyRequest, Principal, PrincipalKind};

use crate::model::{DAYS, Party};

/// The schema that every policy must type-check against, strictly.
pub(crate) const SCHEMA: &str = include_str!("schema.cedarschema");

/// The parts of a request that a layer reads. Building only those keeps one decision within microseconds.
///
/// It cannot make a decision laxer: an attribute that is read but was not built is an evaluation error, and a
/// membership that was not built makes a layer silent that the matcher expects to speak; both end as deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Needs {
    pub(crate) principal: bool,
    pub(crate) tenant: bool,
    pub(crate) kind: bool,
    pub(crate) name: bool,
    pub(crate) namespace: bool,
    pub(crate) tags: bool,
    pub(crate) sensitivity: bool,
    pub(crate) tool: bool,
    pub(crate) purpose: bool,
    pub(crate) rows: bool,
    pub(crate) pods: bool,
    pub(crate) age: bool,
    pub(crate) schedules: bool,
    pub(crate) globs: bool,
    pub(crate) clock: bool,
}

impl Needs {
    /// Everything that the schema promises.
    pub(crate) const ALL: Self = Self {
        principal: true,
        tenant: true,
        kind: true,
        name: true,
        namespace: true,
        tags: true,
        sensitivity: true,
        tool: true,
        purpose: true,
        rows: true,
        pods: true,
        age: true,
        schedules: true,
        globs: true,
        clock: true,
    };

    fn any_attribute(self) -> bool {
        self.kind || self.name || self.namespace || self.tags || self.sensitivity
    }
}

/// What is known beside the request itself: which schedules are active and which globs fit.
#[derive(Debug, Default)]
pub(crate) struct Facts<'a> {
    pub(crate) schedules: Vec<&'a str>,
    pub(crate) globs: Vec<String>,
}

/// What a layer says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing in it applies.
    Silent,
    /// These policies of it are satisfied and permit.
    Permits(Vec<PolicyId>),
    /// These policies of it are satisfied and forbid.
    Forbids(Vec<PolicyId>),
    /// A policy of it could not be evaluated.
    Broken(Vec<Fault>),
}

/// One policy that could not be evaluated.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) policy: PolicyId,
    pub(crate) reason: String,
}

/// A request in Cedar's terms.
#[derive(Debug)]
pub(crate) struct Question {
    request: Request,
    entities: Entities,
}

/// The engine with everything that is the same for all requests.
#[derive(Debug)]
pub(crate) struct Engine {
    authorizer: Authorizer,
    role: EntityTypeName,
    user: EntityTypeName,
    service: EntityTypeName,
    agent: EntityTypeName,
    resource: EntityTypeName,
    actions: [EntityUid; 3],
}

/// The engine could not be set up or a request could not be put in its terms.
#[derive(Debug, thiserror::Error)]
#[error("the policy engine could not {what}: {reason}")]
pub(crate) struct EngineError {
    what: &'static str,
    reason: String,
}

impl EngineError {
    fn new(what: &'static str, reason: impl std::fmt::Display) -> Self {
        Self { what, reason: reason.to_string() }
    }
}

impl Engine {
    pub(crate) fn new() -> Result<Self, EngineError> {
        let kind = |name: &str| EntityTypeName::from_str(name).map_err(|e| EngineError::new("name a type", e));
        let action = kind("Action")?;
        Ok(Self {
            authorizer: Authorizer::new(),
            role: kind("Role")?,
            user: kind("User")?,
            service: kind("Service")?,
            agent: kind("Agent")?,
            resource: kind("Resource")?,
            actions: ActionClass::ALL
                .map(|class| EntityUid::from_type_name_and_id(action.clone(), EntityId::new(class.as_str()))),
        })
    }

    /// The parsed schema.
    pub(crate) fn schema() -> Result<Schema, EngineError> {
        Schema::from_cedarschema_str(SCHEMA).map(|(s, _)| s).map_err(|e| EngineError::new("read its schema", e))
    }

    /// Puts a request in Cedar's terms, as far as `needs` says. Of the principal's roles only those are told that `named`
    /// names, when it is given.
    pub(crate) fn ask(
        &self,
        request: &PolicyRequest<'_>,
        needs: Needs,
        named: Option<&[Party]>,
        facts: &Facts<'_>,
    ) -> Result<Question, EngineError> {
        let principal = self.uid(request.principal);
        let resource = EntityUid::from_type_name_and_id(self.resource.clone(), EntityId::new(&request.resource.name));
        let [read, write, destructive] = &self.actions;
        let action = match request.class {
            ActionClass::Read => read,
            ActionClass::Write => write,
            ActionClass::Destructive => destructive,
        };
        let mut entities = Vec::with_capacity(2);
        if needs.principal {
            entities.extend(self.principal_entity(principal.clone(), request.principal, needs, named)?);
        }
        if needs.any_attribute() {
            entities.push(resource_entity(resource.clone(), request, needs)?);
        }
        let entities = if entities.is_empty() {
            Entities::empty()
        } else {
            // Adding closes only what is new over its ancestors, which costs a fraction of making the whole anew.
            Entities::empty()
                .add_entities(entities, None)
                .map_err(|e| EngineError::new("take the request's entities", e))?
        };
        let context = context(request, needs, facts)?;
        let request = Request::new(principal, action.clone(), resource, context, None)
            .map_err(|e| EngineError::new("take the request", e))?;
        Ok(Question { request, entities })
    }

    /// Asks one layer.
    pub(crate) fn evaluate(&self, layer: &PolicySet, question: &Question) -> Verdict {
        let response = self.authorizer.is_authorized(&question.request, layer, &question.entities);
        let diagnostics = response.diagnostics();
        let faults: Vec<Fault> = diagnostics
            .errors()
            .map(|e| match e {
                cedar_policy::AuthorizationError::PolicyEvaluationError(e) => {
                    Fault { policy: e.policy_id().clone(), reason: e.inner().to_string() }
                }
            })
            .collect();
        if !faults.is_empty() {
            return Verdict::Broken(faults);
        }
        let reasons: Vec<PolicyId> = diagnostics.reason().cloned().collect();
        match response.decision() {
            Decision::Allow => Verdict::Permits(reasons),
            Decision::Deny if reasons.is_empty() => Verdict::Silent,
            Decision::Deny => Verdict::Forbids(reasons),
        }
    }

    fn uid(&self, principal: &Principal) -> EntityUid {
        let kind = match principal.kind {
            PrincipalKind::User => &self.user,
            PrincipalKind::Service => &self.service,
            PrincipalKind::Agent => &self.agent,
        };
        EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(&principal.id))
    }

    /// The principal with its roles and, when it is an agent, with whom it acts for and their roles. All of them are
    /// direct parents, so no further entities are needed and no chain of agents can close a circle. `None` when there is
    /// nothing to tell but the name.
    fn principal_entity(
        &self,
        uid: EntityUid,
        principal: &Principal,
        needs: Needs,
        named: Option<&[Party]>,
    ) -> Result<Option<Entity>, EngineError> {
        let is_named = |role: &String| {
            named.is_none_or(|named| named.iter().any(|party| matches!(party, Party::Role(named) if named == role)))
        };
        let mut parents: HashSet<EntityUid> = parties(principal)
            .flat_map(|party| party.roles.iter().filter(|role| is_named(role)))
            .map(|role| EntityUid::from_type_name_and_id(self.role.clone(), EntityId::new(role)))
            .collect();
        parents.extend(parties(principal).skip(1).map(|party| self.uid(party)).filter(|other| *other != uid));
        if !needs.tenant {
            return Ok((!parents.is_empty()).then(|| Entity::new_no_attrs(uid, parents)));
        }
        let tenant = RestrictedExpression::new_string(principal.tenant.as_str().to_owned());
        Entity::new(uid, HashMap::from([("tenant".to_owned(), tenant)]), parents)
            .map(Some)
            .map_err(|e| EngineError::new("describe the principal", e))
    }
}

/// Whom an agent acts for; nobody stands behind a person or a service here.
fn stands_for(principal: &Principal) -> Option<&Principal> {
    if principal.kind == PrincipalKind::Agent { principal.on_behalf_of.as_deref() } else { None }
}

/// The principal, then whom it acts for as long as that is an agent, then the first that is none.
pub(crate) fn parties(principal: &Principal) -> impl Iterator<Item = &Principal> {
    std::iter::successors(Some(principal), |party| stands_for(party))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn set<'s>(values: impl IntoIterator<Item = &'s str>) -> RestrictedExpression {
    RestrictedExpression::new_set(values.into_iter().map(text))
}

fn resource_entity(uid: EntityUid, request: &PolicyRequest<'_>, needs: Needs) -> Result<Entity, EngineError> {
    let resource = request.resource;
    let mut attributes = HashMap::with_capacity(5);
    if needs.kind {
        attributes.insert("kind".to_owned(), text(resource.kind.as_str()));
    }
    if needs.name {
        attributes.insert("name".to_owned(), text(&resource.name));
    }
    if let Some(namespace) = resource.namespace.as_deref().filter(|_| needs.namespace) {
        attributes.insert("namespace".to_owned(), text(namespace));
    }
    if needs.tags {
        attributes.insert("tags".to_owned(), set(resource.tags.iter().map(String::as_str)));
    }
    if needs.sensitivity {
        attributes.insert("sensitivity".to_owned(), set(resource.sensitivity.iter().map(String::as_str)));
    }
    Entity::new(uid, attributes, HashSet::new()).map_err(|e| EngineError::new("describe the resource", e))
}

fn context(request: &PolicyRequest<'_>, needs: Needs, facts: &Facts<'_>) -> Result<Context, EngineError> {
    let mut pairs = Vec::with_capacity(9);
    let number = |n: u64| RestrictedExpression::new_long(i64::try_from(n).unwrap_or(i64::MAX));
    if needs.tool {
        pairs.push(("tool".to_owned(), text(request.tool)));
    }
    if let Some(purpose) = request.purpose.filter(|_| needs.purpose) {
        pairs.push(("purpose".to_owned(), text(purpose.as_str())));
    }
    if needs.rows {
        pairs.push(("rows".to_owned(), number(request.measured.rows_affected)));
    }
    if needs.pods {
        pairs.push(("pods".to_owned(), number(request.measured.pods_affected)));
    }
    if needs.age {
        pairs.push(("xact_age_secs".to_owned(), number(request.measured.xact_age_secs)));
    }
    if needs.schedules {
        pairs.push(("schedules".to_owned(), set(facts.schedules.iter().copied())));
    }
    if needs.globs {
        pairs.push(("globs".to_owned(), set(facts.globs.iter().map(String::as_str))));
    }
    if needs.clock {
        let utc = jiff::tz::TimeZone::UTC.to_datetime(request.at);
        let day = usize::try_from(utc.weekday().to_monday_zero_offset()).unwrap_or(0);
        pairs.push(("hour".to_owned(), RestrictedExpression::new_long(utc.hour().into())));
        pairs.push(("weekday".to_owned(), text(DAYS.get(day).copied().unwrap_or_default())));
    }
    if pairs.is_empty() {
        return Ok(Context::empty());
    }
    Context::from_pairs(pairs).map_err(|e| EngineError::new("take the circumstances", e))
}
