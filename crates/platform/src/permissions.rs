//! What each role may ask for. Everything that is not listed is denied.
//!
//! A permission lets a caller ask; whether the act itself is allowed is policy's decision.

use reeve_types::{AuthMethod, Principal, PrincipalKind, ResourceKind, TenantId};

/// Something that a route lets a caller do. Every route names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Health, readiness, the API's description: anybody.
    Public,
    /// Look at agents, tools, roles, inventory, policies, approvals, records, journeys.
    Look,
    /// Ask a question in words, run a diagnosis.
    Ask,
    /// Ask for some tool by its name; which ones is a matter of what they act on.
    RunTools,
    /// Ask for a tool that acts on databases.
    RunDatabaseTools,
    /// Ask for a tool that acts on Kubernetes.
    RunKubernetesTools,
    /// Have workspaces and work in them.
    UseWorkspaces,
    /// Have sessions with agents, and watch, steer and share them.
    UseSessions,
    /// Answer questions to people.
    Approve,
    /// Take back one's own request (anybody's, for administrators).
    Cancel,
    /// Ask what policy would decide for somebody else.
    CheckPolicy,
    /// Bring records from another program.
    WriteRecords,
    /// Cosign the log's head.
    Witness,
    /// See and change one's own account and logins: whoever signed in, and nobody with a key.
    OwnAccount,
    /// Make and revoke keys, see and make users: within one's own tenant.
    Administer,
    /// Make tenants, and change what all of them share: for administrators of the first tenant, whose installation it
    /// is, and for nobody who acts for another.
    Operate,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 16] = [
        Self::Public,
        Self::Look,
        Self::Ask,
        Self::RunTools,
        Self::RunDatabaseTools,
        Self::RunKubernetesTools,
        Self::UseWorkspaces,
        Self::UseSessions,
        Self::Approve,
        Self::Cancel,
        Self::CheckPolicy,
        Self::WriteRecords,
        Self::Witness,
        Self::OwnAccount,
        Self::Administer,
        Self::Operate,
    ];

    /// What lets a caller ask for a tool that acts on such a thing.
    pub fn to_run(kind: ResourceKind) -> Self {
        match kind {
            ResourceKind::Kubernetes => Self::RunKubernetesTools,
            _ => Self::RunDatabaseTools,
        }
    }

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Look => "look",
            Self::Ask => "ask",
            Self::RunTools => "run_tools",
            Self::RunDatabaseTools => "run_database_tools",
            Self::RunKubernetesTools => "run_kubernetes_tools",
            Self::UseWorkspaces => "use_workspaces",
            Self::UseSessions => "use_sessions",
            Self::Approve => "approve",
            Self::Cancel => "cancel",
            Self::CheckPolicy => "check_policy",
            Self::WriteRecords => "write_records",
            Self::Witness => "witness",
            Self::OwnAccount => "own_account",
            Self::Administer => "administer",
            Self::Operate => "operate",
        }
    }

    /// The roles that give it, besides `admin`, which gives all.
    pub fn roles(self) -> &'static [&'static str] {
        match self {
            Self::Public | Self::Look | Self::Ask | Self::Cancel => &[],
            Self::RunTools => &["dba", "sre", "oncall", "sre-automation", "k8s-admin"],
            Self::RunDatabaseTools => &["dba", "sre", "oncall", "sre-automation"],
            Self::RunKubernetesTools => &["sre", "k8s-admin", "oncall", "sre-automation"],
            Self::UseWorkspaces | Self::UseSessions => {
                &["developer", "dba", "sre", "oncall", "sre-automation", "k8s-admin"]
            }
            Self::Approve => &["dba", "fleet-approver"],
            Self::CheckPolicy => &["dba", "sre", "auditor"],
            Self::WriteRecords => &["recorder"],
            Self::Witness => &["witness"],
            Self::OwnAccount | Self::Administer | Self::Operate => &[],
        }
    }

    /// Whether a caller has it. An agent has it when it, and everyone it acts for, has it.
    pub fn allows(self, caller: &Principal) -> bool {
        let own = match self {
            Self::Public => return true,
            // Whoever has proved who they are may look at their own tenant and ask.
            Self::Look | Self::Ask | Self::Cancel => true,
            Self::OwnAccount => caller.auth_method == AuthMethod::SignedIn,
            Self::Operate => is_operator(caller),
            Self::CheckPolicy | Self::WriteRecords if caller.kind == PrincipalKind::Service => true,
            _ => caller.has_role("admin") || self.roles().iter().any(|role| caller.has_role(role)),
        };
        own && caller.on_behalf_of.as_deref().is_none_or(|next| self.allows(next))
    }
}

/// Whether somebody is in charge of the whole installation, and has proved it.
fn is_operator(caller: &Principal) -> bool {
    let proved = matches!(caller.auth_method, AuthMethod::ApiKey | AuthMethod::SignedIn);
    let itself = caller.kind != PrincipalKind::Agent && caller.on_behalf_of.is_none();
    proved && itself && caller.tenant == TenantId::default_tenant() && caller.has_role("admin")
}

/// The roles that mean something to Reeve itself, with what each is for.
pub const KNOWN_ROLES: [(&str, &str); 12] = [
    ("admin", "everything, except approving one's own requests"),
    ("dba", "database tools; approves"),
    ("sre", "database, Kubernetes and host tools"),
    ("oncall", "database, Kubernetes and host tools; break glass"),
    ("sre-automation", "the same for programs"),
    ("k8s-admin", "Kubernetes tools"),
    ("developer", "looks, asks, has workspaces and sessions"),
    ("auditor", "looks, and asks what policy would decide"),
    ("recorder", "brings records from another program"),
    ("witness", "cosigns the head of the audit log"),
    ("fleet-operator", "creates fleet jobs"),
    ("fleet-approver", "approves fleet jobs and other acts"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn user(roles: &[&str]) -> Principal {
        Principal::new(PrincipalKind::User, "u", AuthMethod::ApiKey).with_roles(roles.iter().copied())
    }

    #[test]
    fn nothing_but_looking_comes_without_a_role() {
        let granted: Vec<_> = Permission::ALL.into_iter().filter(|p| p.allows(&user(&[]))).collect();
        assert_eq!(granted, [Permission::Public, Permission::Look, Permission::Ask, Permission::Cancel]);
    }

    #[test]
    fn tools_are_for_those_who_look_after_what_they_act_on() {
        let may = |role: &str, kind| Permission::to_run(kind).allows(&user(&[role]));
        for (role, database, kubernetes) in [("dba", true, false), ("k8s-admin", false, true), ("oncall", true, true)] {
            assert_eq!(may(role, ResourceKind::Database), database, "{role}");
            assert_eq!(may(role, ResourceKind::Kubernetes), kubernetes, "{role}");
            assert!(Permission::RunTools.allows(&user(&[role])));
        }
    }

    #[test]
    fn only_an_administrator_of_the_first_tenant_who_proved_it_operates() {
        let operator = user(&["admin"]);
        assert!(Permission::Operate.allows(&operator));
        let of_another = Principal { tenant: "another".parse().unwrap(), ..operator.clone() };
        let on_trust = Principal { auth_method: AuthMethod::Header, ..operator.clone() };
        let agent = Principal {
            kind: PrincipalKind::Agent,
            on_behalf_of: Some(Box::new(operator.clone())),
            ..operator.clone()
        };
        let service = Principal { on_behalf_of: Some(Box::new(operator)), ..user(&["admin"]) };
        for other in [of_another, on_trust, agent, service, user(&["dba", "sre"])] {
            assert!(!Permission::Operate.allows(&other), "{other:?}");
        }
    }

    #[test]
    fn an_agent_has_no_more_than_whom_it_acts_for() {
        let mut agent = Principal::new(PrincipalKind::Agent, "a", AuthMethod::ApiKey).with_roles(["dba"]);
        assert!(Permission::Approve.allows(&agent));
        agent.on_behalf_of = Some(Box::new(user(&["developer"])));
        assert!(!Permission::Approve.allows(&agent));
    }
}
