//! Workspaces, accounts and sign-ins as rows that a test makes; two test programs use them.
#![allow(dead_code, reason = "each of the two programs uses some of it")]

use std::collections::BTreeSet;

use reeve_gate::{Clock as _, SystemClock};
use reeve_store::{Quota, Quotas, StoredAccount, StoredLogin, StoredWorkspace};
use reeve_types::workspace::{DriverKind, Egress};
use reeve_types::{AccountId, LoginId, Workspace, WorkspaceId, WorkspaceLimits, WorkspaceState};

/// A workspace that has been made and is stopped; of nobody when `owner` is empty.
pub(crate) fn workspace(of: &str, owner: &str) -> StoredWorkspace {
    let now = SystemClock.now();
    let workspace = Workspace {
        id: WorkspaceId::new(now, SystemClock.random()),
        tenant: of.parse().unwrap(),
        owner: owner.to_owned(),
        name: "site".to_owned(),
        description: String::new(),
        template: "base".to_owned(),
        driver: DriverKind::Namespace,
        state: WorkspaceState::Stopped,
        problem: None,
        limits: WorkspaceLimits { disk_bytes: 100, ..WorkspaceLimits::default() },
        egress: Egress::None,
        tags: Vec::new(),
        directory: None,
        isolation: None,
        forked_from: None,
        created_at: now,
        updated_at: now,
        last_active_at: now,
        alive_because: None,
        suspends_at: None,
        purged_at: None,
    };
    let owner = if owner.is_empty() { String::new() } else { format!("user:{owner}") };
    StoredWorkspace {
        workspace,
        owner,
        desired: WorkspaceState::Stopped,
        environment: Vec::new(),
        made: true,
        by_operator: false,
    }
}

pub(crate) const NO_QUOTA: Quota = Quota { workspaces: 0, running: 0, disk_bytes: 0 };
pub(crate) const NO_QUOTAS: Quotas = Quotas { owner: NO_QUOTA, tenant: NO_QUOTA };

pub(crate) fn account(of: &str, name: &str, email: &str) -> StoredAccount {
    StoredAccount {
        account_id: AccountId::new(SystemClock.now(), SystemClock.random()),
        number: 0,
        tenant: of.parse().unwrap(),
        email: email.to_owned(),
        name: name.to_owned(),
        principal: name.to_owned(),
        roles: BTreeSet::from(["developer".to_owned()]),
        hash: Some("$argon2id$…".to_owned()),
        disabled_at: None,
        // As precise as it is kept.
        created_at: jiff::Timestamp::from_microsecond(SystemClock.now().as_microsecond()).unwrap(),
    }
}

pub(crate) fn login(of: &str, subject: &str) -> StoredLogin {
    let now = SystemClock.now();
    StoredLogin {
        login_id: LoginId::new(now, SystemClock.random()),
        tenant: of.parse().unwrap(),
        subject: subject.to_owned(),
        method: "password".to_owned(),
        created_at: now,
        seen_at: now,
        expires_at: now.checked_add(std::time::Duration::from_secs(3600)).unwrap(),
        ended_at: None,
        address: "127.0.0.1".to_owned(),
        agent: "a test".to_owned(),
    }
}
