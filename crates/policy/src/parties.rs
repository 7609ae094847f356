//! Which policies speak of whom, so that a decision looks only at those.
//!
//! Like [`crate::matching`], this is a part of the index in front of the engine, and never decides. It says the same as
//! [`crate::matching::principal_fits`] does of each policy, for all of them at once.

use std::collections::HashMap;

use reeve_types::Principal;

use crate::engine::parties;
use crate::model::{Party, Policy};

/// For each user, service and role that policies name: which of them do.
#[derive(Debug, Default)]
pub(crate) struct PartyIndex {
    everybody: Places,
    users: HashMap<String, Places>,
    services: HashMap<String, Places>,
    roles: HashMap<String, Places>,
}

impl PartyIndex {
    pub(crate) fn of(policies: &[Policy]) -> Self {
        let mut index = Self::default();
        for (at, policy) in policies.iter().enumerate() {
            if policy.principals.is_empty() {
                index.everybody.add(at);
            }
            for party in &policy.principals {
                let places = match party {
                    Party::Any => &mut index.everybody,
                    Party::User(id) => index.users.entry(id.clone()).or_default(),
                    Party::Service(id) => index.services.entry(id.clone()).or_default(),
                    Party::Role(role) => index.roles.entry(role.clone()).or_default(),
                };
                places.add(at);
            }
        }
        index
    }

    /// The policies that speak of this principal, or of whom it acts for.
    pub(crate) fn speaking_of(&self, principal: &Principal) -> Places {
        let mut found = self.everybody.clone();
        for party in parties(principal) {
            let named =
                [party.user().and_then(|id| self.users.get(id)), party.service().and_then(|id| self.services.get(id))];
            let by_role = party.roles.iter().filter_map(|role| self.roles.get(role));
            named.into_iter().flatten().chain(by_role).for_each(|places| found.join(places));
        }
        found
    }
}

/// Places of policies in their set, one bit for each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Places(Vec<u64>);

impl Places {
    fn add(&mut self, at: usize) {
        if self.0.len() <= at / 64 {
            self.0.resize(at / 64 + 1, 0);
        }
        if let Some(word) = self.0.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }

    fn join(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    pub(crate) fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use reeve_types::{AuthMethod, PrincipalKind};

    use super::*;
    use crate::matching::principal_fits;
    use crate::{Format, PolicySet, Source};

    fn principals() -> Vec<Principal> {
        let names = ["alice", "bob", "p7"];
        let roles: [&[&str]; 4] = [&[], &["dba"], &["sre", "p7"], &["dba", "sre", "lead"]];
        let mut all = Vec::new();
        for kind in [PrincipalKind::User, PrincipalKind::Service] {
            for name in names {
                for roles in roles {
                    let plain = Principal::new(kind, name, AuthMethod::None);
                    let with_roles = plain.with_roles(roles.iter().map(|role| (*role).to_owned()));
                    let mut agent = Principal::new(PrincipalKind::Agent, "p7", AuthMethod::None);
                    agent.on_behalf_of = Some(Box::new(with_roles.clone()));
                    all.extend([with_roles, agent]);
                }
            }
        }
        all
    }

    #[test]
    fn it_says_what_the_matcher_says_of_each_policy() {
        let parties = ["role: dba", "role: sre", "user: alice", "service: alice", "user: p7", "role: p7", "any: true"];
        let mut text = "policies:\n".to_owned();
        for at in 0..150 {
            let (first, second) = (parties[at % 7], parties[(at / 7) % 7]);
            let named = match at % 11 {
                0 => String::new(),
                _ => format!("    principals: [{{{first}}}, {{{second}}}]\n"),
            };
            text.push_str(&format!(
                "  - name: policy-{at}\n{named}    resources: [{{type: any}}]\n    rules: [{{action: read, effect: allow}}]\n"
            ));
        }
        let source = Source { name: "all.yaml".to_owned(), text, format: Format::Yaml };
        let set = PolicySet::compile(&[source], &|_| None).expect("it compiles");
        for principal in principals() {
            let speaking = set.parties.speaking_of(&principal);
            for (at, policy) in set.policies.iter().enumerate() {
                assert_eq!(
                    speaking.has(at),
                    principal_fits(&policy.principals, &principal),
                    "{principal:?} {policy:?}"
                );
            }
        }
        assert!(!set.parties.speaking_of(&principals()[0]).has(10_000));
    }
}
