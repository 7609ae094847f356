//! Keys, the users file, and who may speak for whom.

use std::collections::BTreeSet;

use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};
use reeve_platform::identity::Users;
use reeve_platform::{IdentityError, IdentityProvider};
use reeve_types::{AuthMethod, PrincipalKind, TenantId};

use crate::support::{House, Plan, write};

/// An Argon2id hash that takes no time worth speaking of.
fn phc(secret: &str) -> String {
    let cheap = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    cheap.hash_password_with_salt(secret.as_bytes(), b"0123456789abcdef").unwrap().to_string()
}

fn users() -> String {
    format!(
        "users:
  - id: alice
    roles: [database-admin]
    api_key_hash: \"{}\"
  - id: bob
    roles: [developer]
service_accounts:
  - id: desk
    roles: [sre]
    api_key_hash: \"{}\"
role_aliases:
  database-admin: dba
",
        phc("alice-secret"),
        phc("desk-secret")
    )
}

#[tokio::test]
async fn a_key_is_shown_once_holds_until_it_is_taken_back_and_is_stored_as_a_hash() {
    let house = House::new(Plan::default()).await;
    let identity = house.platform.identity();
    let tenant: TenantId = "ours".parse().unwrap();
    let roles = BTreeSet::from(["dba".to_owned()]);
    let (id, text) = identity
        .create_key(tenant.clone(), PrincipalKind::User, "alice".to_owned(), roles, String::new())
        .await
        .unwrap();

    let caller = identity.identify(Some(&text), None).await.unwrap();
    assert_eq!((caller.principal.label().as_str(), &caller.principal.tenant), ("user:alice", &tenant));
    assert_eq!(caller.key_id.as_ref(), Some(&id));
    let mut wrong = text.clone();
    wrong.replace_range(text.len() - 1.., if text.ends_with('A') { "B" } else { "A" });
    for bad in [wrong.as_str(), "reeve_x_y", "nonsense", "", &"x".repeat(5000)] {
        let refused = identity.identify(Some(bad), None).await.unwrap_err();
        assert!(matches!(refused, IdentityError::BadKey), "{bad}: {refused:?}");
    }
    let store = house.platform.store();
    let kept = store.key(&id).await.unwrap().unwrap();
    assert!(!text.contains(&kept.key.hash) && !format!("{kept:?}").contains(&text));
    assert!(
        !store.revoke_key(&TenantId::default_tenant(), &id, kept.key.created_at).await.unwrap(),
        "another tenant's"
    );
    identity.identify(Some(&text), None).await.unwrap();
    assert!(store.revoke_key(&tenant, &id, kept.key.created_at).await.unwrap());
    assert!(matches!(identity.identify(Some(&text), None).await, Err(IdentityError::BadKey)));
}

#[tokio::test]
async fn keys_of_the_users_file_hold_as_long_as_they_stand_there() {
    let house = House::new(Plan { users: Some(users()), ..Plan::default() }).await;
    let identity = house.platform.identity();
    for _ in 0..2 {
        let caller = identity.identify(Some("alice-secret"), None).await.unwrap().principal;
        assert_eq!((caller.label().as_str(), caller.roles.first().map(String::as_str)), ("user:alice", Some("dba")));
    }
    assert!(matches!(identity.identify(Some("alice-secre"), None).await, Err(IdentityError::BadKey)));
    assert!(matches!(identity.identify(None, None).await, Err(IdentityError::Missing)));
    assert!(matches!(identity.identify(None, Some("alice")).await, Err(IdentityError::Missing)), "a name is no proof");

    write(&house.path("users.yaml"), &users().replace(&phc("alice-secret"), &phc("new-secret")));
    house.platform.reload_changed().await;
    assert!(matches!(identity.identify(Some("alice-secret"), None).await, Err(IdentityError::BadKey)));
    identity.identify(Some("new-secret"), None).await.unwrap();

    write(&house.path("users.yaml"), "users: [");
    house.platform.reload_changed().await;
    identity.identify(Some("new-secret"), None).await.unwrap();
}

#[tokio::test]
async fn only_a_service_speaks_for_somebody() {
    let house = House::new(Plan { users: Some(users()), ..Plan::default() }).await;
    let identity = house.platform.identity();
    let caller = identity.identify(Some("desk-secret"), Some("bob")).await.unwrap().principal;
    assert_eq!((caller.label().as_str(), caller.root().label().as_str()), ("service:desk", "user:bob"));
    assert_eq!(caller.root().auth_method, AuthMethod::Static);
    assert!(caller.root().has_role("developer") && !caller.root().has_role("sre"));
    let unknown = identity.identify(Some("desk-secret"), Some("mallory")).await.unwrap_err();
    assert_eq!(unknown.to_string(), "`mallory` is not a user of the users file");
    let user = identity.identify(Some("alice-secret"), Some("bob")).await.unwrap().principal;
    assert_eq!(user.root().label(), "user:alice", "a user who names somebody stays who they are");
}

#[tokio::test]
async fn without_identity_a_name_is_taken_on_trust_and_says_so() {
    let house = House::new(Plan { provider: IdentityProvider::None, users: Some(users()), ..Plan::default() }).await;
    let identity = house.platform.identity();
    let named = identity.identify(None, Some("bob")).await.unwrap().principal;
    assert_eq!((named.label().as_str(), named.auth_method), ("user:bob", AuthMethod::Header));
    assert!(named.has_role("developer") && !named.has_role("admin"));
    assert_eq!(identity.identify(None, None).await.unwrap().principal.auth_method, AuthMethod::None);
    assert!(matches!(identity.identify(Some("wrong"), Some("bob")).await, Err(IdentityError::BadKey)));
}

#[test]
fn a_users_file_that_is_wrong_is_refused_with_the_place() {
    let said = |text: &str| Users::parse("users.yaml", text).unwrap_err().to_string();
    assert!(said("users:\n  - id: a\n    role: [x]\n").starts_with("users.yaml:3:"), "an unknown key");
    assert!(said("users: [").starts_with("users.yaml:"), "no YAML");
    let twice = said("users:\n  - id: a\n  - id: a\n");
    assert_eq!(twice, "users.yaml: user `a` is listed twice");
    let hash = said("users:\n  - id: a\n    api_key_hash: plain-secret\n");
    assert!(hash.starts_with("users.yaml: user `a`: its api_key_hash is not a PHC string"), "{hash}");
    assert!(!hash.contains("plain-secret"), "{hash}");
}
