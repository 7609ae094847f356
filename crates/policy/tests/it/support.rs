//! Requests and policy sets in few words.

use jiff::Timestamp;
use reeve_policy::{Format, PolicySet, Source};
use reeve_types::{
    ActionClass, AuthMethod, Decision, Measured, PolicyRequest, Principal, PrincipalKind, Purpose, Resource,
    ResourceKind,
};

/// Everything that a request borrows.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) principal: Principal,
    pub(crate) resource: Resource,
    pub(crate) class: ActionClass,
    pub(crate) purpose: Option<Purpose>,
    pub(crate) tool: String,
    pub(crate) measured: Measured,
    pub(crate) at: Timestamp,
}

impl Ask {
    /// Alice without roles, on a database without tags.
    pub(crate) fn new(class: ActionClass) -> Self {
        Self {
            principal: Principal::new(PrincipalKind::User, "alice", AuthMethod::ApiKey),
            resource: Resource::new(ResourceKind::Database, "prod-db"),
            class,
            purpose: None,
            tool: String::new(),
            measured: Measured::default(),
            at: "2026-01-05T12:00:00Z".parse().unwrap(),
        }
    }

    pub(crate) fn roles(mut self, roles: &[&str]) -> Self {
        self.principal = self.principal.with_roles(roles.iter().copied());
        self
    }

    pub(crate) fn tags(mut self, tags: &[&str]) -> Self {
        self.resource.tags = tags.iter().map(|t| (*t).to_owned()).collect();
        self
    }

    pub(crate) fn rows(mut self, rows: u64) -> Self {
        self.measured.rows_affected = rows;
        self
    }

    pub(crate) fn purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = Some(purpose);
        self
    }

    pub(crate) fn at(mut self, at: &str) -> Self {
        self.at = at.parse().unwrap();
        self
    }

    pub(crate) fn request(&self) -> PolicyRequest<'_> {
        PolicyRequest {
            principal: &self.principal,
            purpose: self.purpose,
            resource: &self.resource,
            class: self.class,
            tool: &self.tool,
            measured: self.measured,
            at: self.at,
        }
    }

    pub(crate) fn of(&self, set: &PolicySet) -> Decision {
        set.decide(&self.request())
    }
}

pub(crate) fn yaml(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned(), format: Format::Yaml }
}

pub(crate) fn cedar(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned(), format: Format::Cedar }
}

pub(crate) fn compile(sources: &[Source]) -> PolicySet {
    PolicySet::compile(sources, &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The messages about one file that does not load.
pub(crate) fn errors(source: Source) -> String {
    match PolicySet::compile(&[source], &|name| (name == "TAG").then(|| "production".to_owned())) {
        Ok(_) => "it loads".to_owned(),
        Err(errors) => errors.to_string(),
    }
}
