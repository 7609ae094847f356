//! Accounts: who gets in, for how long, and what ends it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reeve_platform::IdentityError;
use reeve_platform::accounts::{AccountError, AccountOptions, Change, NewAccount, Origin, SignedIn};
use reeve_platform::identity::Identity;
use reeve_store::StoredAccount;
use reeve_types::secret::{ExposeSecret as _, SecretString};
use reeve_types::{AuthMethod, Principal, PrincipalKind, TenantId};

use crate::support::{House, Plan, user, write};

const PASSWORD: &str = "correct horse battery";

fn password() -> SecretString {
    PASSWORD.into()
}

fn admin() -> Principal {
    user("admin", &["admin"])
}

fn from(address: &str) -> Origin {
    Origin { address: Some(address.parse().unwrap()), agent: "a browser".to_owned() }
}

fn new(email: &str) -> NewAccount {
    NewAccount {
        email: email.to_owned(),
        name: Some("Alice".to_owned()),
        password: Some(password()),
        roles: BTreeSet::from(["dba".to_owned()]),
    }
}

async fn alice(house: &House) -> StoredAccount {
    let accounts = house.platform.identity().accounts();
    accounts.create(Some(&admin()), &TenantId::default_tenant(), new("Alice@Example.com")).await.unwrap()
}

async fn change(house: &House, change: Change) {
    let accounts = house.platform.identity().accounts();
    accounts.change(&admin(), &TenantId::default_tenant(), "alice@example.com", change).await.unwrap();
}

async fn sign_in(house: &House) -> SignedIn {
    let identity = house.platform.identity();
    identity.sign_in_with_password(" ALICE@example.com", &password(), &Origin::default()).await.unwrap()
}

async fn holds(identity: &Identity, signed_in: &SignedIn) -> Result<Principal, IdentityError> {
    identity.identify(Some(signed_in.access_token.expose_secret()), None).await.map(|caller| caller.principal)
}

async fn notes(house: &House) -> Vec<String> {
    let types = vec![reeve_types::EventType::IdentityChanged];
    let filter = reeve_store::EventFilter { types, limit: 100, ..Default::default() };
    let page = house.platform.store().events(&TenantId::default_tenant(), filter).await.unwrap();
    page.events.into_iter().map(|stored| stored.event.note).collect()
}

#[tokio::test]
async fn a_person_signs_in_with_address_and_password_and_is_known_by_the_token() {
    let house = House::new(Plan::default()).await;
    let identity = house.platform.identity();
    let account = alice(&house).await;
    assert_eq!((account.email.as_str(), account.number), ("alice@example.com", 1));
    let hash = account.hash.unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");

    let signed_in = sign_in(&house).await;
    assert_eq!(signed_in.expires_in, 3600);
    let caller = identity.identify(Some(signed_in.access_token.expose_secret()), Some("bob")).await.unwrap();
    assert_eq!(caller.principal.label(), "user:alice@example.com");
    assert_eq!(caller.principal.auth_method, AuthMethod::SignedIn);
    assert!(caller.principal.has_role("dba") && caller.principal.on_behalf_of.is_none());
    assert_eq!(caller.login, Some(signed_in.login_id.clone()));

    let body = signed_in.access_token.expose_secret().split('.').nth(1).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap();
    let names: BTreeSet<&str> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["aud", "exp", "iat", "iss", "jti", "lgn", "sub", "tenant"]);
    assert_eq!(
        (claims["sub"].as_str(), claims["lgn"].as_str()),
        (Some(account.account_id.as_str()), Some(signed_in.login_id.as_str()))
    );

    let said = notes(&house).await.join("\n");
    assert!(said.contains("was made for alice@example.com with the roles dba"), "{said}");
    assert!(said.contains("user:alice@example.com signed in with a password"), "{said}");
    assert!(!said.contains(PASSWORD) && !said.contains(signed_in.access_token.expose_secret()));
}

#[tokio::test]
async fn one_address_has_one_account_and_passwords_are_long_enough() {
    let house = House::new(Plan::default()).await;
    let accounts = house.platform.identity().accounts();
    alice(&house).await;
    let make = |new: NewAccount| async { accounts.create(Some(&admin()), &"other".parse().unwrap(), new).await };
    assert!(matches!(make(new("alice@EXAMPLE.com")).await, Err(AccountError::Taken)), "in the whole installation");
    assert!(matches!(make(new("not an address")).await, Err(AccountError::BadEmail(_))));
    let short = NewAccount { password: Some("123456789".into()), ..new("bob@example.com") };
    assert!(matches!(make(short).await, Err(AccountError::BadPassword(_))));
    let both = tokio::join!(make(new("carol@example.com")), make(new("Carol@example.com")));
    let made = [both.0, both.1].into_iter().filter(Result::is_ok).count();
    assert_eq!(made, 1, "two at the same moment");
}

#[tokio::test]
async fn wrong_unknown_and_switched_off_do_not_get_in() {
    let house = House::new(Plan::default()).await;
    let identity = house.platform.identity();
    alice(&house).await;
    let enter = |email: &'static str, password: &'static str, n: u8| {
        let origin = from(&format!("192.0.2.{n}"));
        async move { identity.sign_in_with_password(email, &password.into(), &origin).await.map(|_| ()).unwrap_err() }
    };
    let wrong = enter("alice@example.com", "wrong password", 1).await.to_string();
    let unknown = enter("nobody@example.com", PASSWORD, 2).await.to_string();
    let nonsense = enter("not an address", PASSWORD, 3).await.to_string();
    assert_eq!(
        (wrong.as_str(), wrong.as_str()),
        (unknown.as_str(), nonsense.as_str()),
        "nothing tells who has an account"
    );
    change(&house, Change { disabled: Some(true), ..Change::default() }).await;
    assert!(matches!(enter("alice@example.com", PASSWORD, 4).await, AccountError::Disabled));
    assert!(matches!(enter("alice@example.com", "wrong password", 5).await, AccountError::WrongPassword));
    change(&house, Change { disabled: Some(false), ..Change::default() }).await;
    sign_in(&house).await;
}

#[tokio::test]
async fn an_unknown_address_takes_as_long_as_a_wrong_password() {
    let house = House::new(Plan::default()).await;
    let identity = house.platform.identity();
    alice(&house).await;
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for n in 0..5_u8 {
        for (email, times) in [("alice@example.com", &mut known), ("nobody@example.com", &mut unknown)] {
            let started = std::time::Instant::now();
            let origin = from(&format!("198.51.100.{n}"));
            identity.sign_in_with_password(email, &"wrong password".into(), &origin).await.unwrap_err();
            times.push(started.elapsed());
        }
        house.clock.forward(Duration::from_secs(61));
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let (known, unknown) = (median(known), median(unknown));
    // A path without a hash would be a hundred times faster; machines under load vary, so the bounds are wide.
    assert!(unknown * 4 > known && known * 4 > unknown, "{known:?} {unknown:?}");
}

#[tokio::test]
async fn a_token_that_expires_at_a_second_is_refused_at_that_second() {
    let house = House::new(Plan::default()).await;
    let identity = house.platform.identity();
    alice(&house).await;
    let signed_in = sign_in(&house).await;
    house.clock.forward(Duration::from_secs(3599));
    holds(identity, &signed_in).await.unwrap();
    house.clock.forward(Duration::from_secs(1));
    assert!(matches!(holds(identity, &signed_in).await, Err(IdentityError::TokenExpired)), "at T");
    house.clock.forward(Duration::from_secs(1));
    assert!(matches!(holds(identity, &signed_in).await, Err(IdentityError::TokenExpired)), "at T+1 s");
}

#[tokio::test]
async fn a_token_that_was_tampered_with_is_refused() {
    let house = House::new(Plan::default()).await;
    let identity = house.platform.identity();
    alice(&house).await;
    let signed_in = sign_in(&house).await;
    let token = signed_in.access_token.expose_secret();
    let [header, body, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let decoded = String::from_utf8(URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap();
    let header_text = String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    for forged in [
        format!("{}.{body}.", encode(&header_text.replace("HS256", "none"))),
        format!("{}.{body}.{signature}", encode(&header_text.replace("HS256", "RS256"))),
        format!("{header}.{}.{signature}", encode(&decoded.replace("default", "other"))),
        format!("{header}.{body}.{}", encode("0123456789abcdef0123456789abcdef")),
        format!("{header}.{body}."),
        format!("{token}A"),
        token[..token.len() - 4].to_owned(),
    ] {
        let refused = identity.identify(Some(&forged), None).await.unwrap_err();
        assert!(matches!(refused, IdentityError::BadToken), "{forged}: {refused:?}");
    }
    let other = House::new(Plan::default()).await;
    assert!(
        matches!(holds(other.platform.identity(), &signed_in).await, Err(IdentityError::BadToken)),
        "another server"
    );
}

#[tokio::test]
async fn signing_out_ends_the_token_the_refresh_and_open_sockets_at_once() {
    let house = House::new(Plan::default()).await;
    let identity = house.platform.identity();
    alice(&house).await;
    let (first, second) = (sign_in(&house).await, sign_in(&house).await);
    let principal = holds(identity, &first).await.unwrap();
    let accounts = identity.accounts().clone();
    let (mine, other) = (first.login_id.clone(), second.login_id.clone());
    let socket = tokio::spawn(async move { accounts.until_ended(&mine).await });
    let accounts = identity.accounts().clone();
    let unconcerned = tokio::spawn(async move { accounts.until_ended(&other).await });
    assert!(identity.accounts().sign_out(&principal, &first.login_id).await.unwrap());
    tokio::time::timeout(Duration::from_secs(10), socket).await.expect("the socket hears of it").unwrap();
    assert!(!unconcerned.is_finished());
    unconcerned.abort();
    assert!(matches!(holds(identity, &first).await, Err(IdentityError::SignedOut)));
    assert!(matches!(identity.refresh(&first.refresh_token, false).await, Err(AccountError::BadRefresh)));
    holds(identity, &second).await.unwrap();
    assert!(!identity.accounts().sign_out(&principal, &first.login_id).await.unwrap(), "once");
    identity.accounts().until_ended(&first.login_id).await;

    // It stays so when the server starts again.
    let access = (first.access_token, second.access_token);
    let (dir, clock) = house.end().await;
    let house = House::on(dir, clock, Plan::default()).await;
    let identity = house.platform.identity();
    assert!(identity.identify(Some(access.0.expose_secret()), None).await.is_err());
    identity.identify(Some(access.1.expose_secret()), None).await.unwrap();
}

#[tokio::test]
async fn another_password_and_switching_off_end_every_sign_in() {
    let house = House::new(Plan::default()).await;
    let identity = house.platform.identity();
    alice(&house).await;
    let (first, second) = (sign_in(&house).await, sign_in(&house).await);
    let wrong = change_own_now(identity, &first, "wrong old one", "another password").await;
    assert!(matches!(wrong, Err(AccountError::WrongOldPassword)));
    let third = change_own_now(identity, &first, PASSWORD, "another password").await.unwrap();
    for ended in [&first, &second] {
        assert!(matches!(holds(identity, ended).await, Err(IdentityError::SignedOut)));
        assert!(matches!(identity.refresh(&ended.refresh_token, false).await, Err(AccountError::BadRefresh)));
    }
    holds(identity, &third).await.unwrap();
    let old = identity.sign_in_with_password("alice@example.com", &password(), &Origin::default()).await;
    assert!(matches!(old, Err(AccountError::WrongPassword)));

    change(&house, Change { password: Some("set by an admin".into()), ..Change::default() }).await;
    assert!(matches!(holds(identity, &third).await, Err(IdentityError::SignedOut)));
    let (set, nowhere) = (SecretString::from("set by an admin"), Origin::default());
    let fourth = identity.sign_in_with_password("alice@example.com", &set, &nowhere).await.unwrap();
    change(&house, Change { disabled: Some(true), ..Change::default() }).await;
    assert!(matches!(holds(identity, &fourth).await, Err(IdentityError::SignedOut)));
}

async fn change_own_now(identity: &Identity, login: &SignedIn, old: &str, new: &str) -> Result<SignedIn, AccountError> {
    identity.change_own_password(&login.login_id, &old.into(), &new.into(), &Origin::default()).await
}

#[tokio::test]
async fn a_role_that_is_taken_away_is_gone_at_the_next_request() {
    let house = House::new(Plan::default()).await;
    let identity = house.platform.identity();
    alice(&house).await;
    let signed_in = sign_in(&house).await;
    assert!(holds(identity, &signed_in).await.unwrap().has_role("dba"));
    change(&house, Change { roles: Some(BTreeSet::new()), ..Change::default() }).await;
    assert!(!holds(identity, &signed_in).await.unwrap().has_role("dba"));
}

#[tokio::test]
async fn refresh_tokens_work_once_and_using_one_twice_ends_the_sign_in() {
    let house = House::new(Plan::default()).await;
    let identity = house.platform.identity();
    alice(&house).await;
    let first = sign_in(&house).await;
    house.clock.forward(Duration::from_secs(7200));
    assert!(holds(identity, &first).await.is_err());
    let second = identity.refresh(&first.refresh_token, false).await.unwrap();
    assert_eq!(second.login_id, first.login_id);
    assert_ne!(second.refresh_token.expose_secret(), first.refresh_token.expose_secret());
    holds(identity, &second).await.unwrap();

    let again = identity.refresh(&first.refresh_token, false).await;
    assert!(matches!(again, Err(AccountError::BadRefresh)));
    assert!(matches!(holds(identity, &second).await, Err(IdentityError::SignedOut)), "both holders are out");
    assert!(matches!(identity.refresh(&second.refresh_token, false).await, Err(AccountError::BadRefresh)));
    assert!(notes(&house).await.iter().any(|note| note.contains("was used twice")));
    for nonsense in ["", "rrt_", "rrt_unknown", &"rrt_x".repeat(1000)] {
        assert!(matches!(identity.refresh(&nonsense.into(), false).await, Err(AccountError::BadRefresh)));
    }
}

#[tokio::test]
async fn two_pages_of_one_browser_may_renew_at_the_same_moment() {
    let house = House::new(Plan::default()).await;
    let identity = house.platform.identity();
    alice(&house).await;
    let first = sign_in(&house).await;
    let second = identity.refresh(&first.refresh_token, true).await.unwrap();
    assert!(matches!(identity.refresh(&first.refresh_token, true).await, Err(AccountError::RefreshedAlready)));
    holds(identity, &second).await.unwrap();
    house.clock.forward(Duration::from_secs(5));
    assert!(matches!(identity.refresh(&first.refresh_token, true).await, Err(AccountError::BadRefresh)));
    assert!(holds(identity, &second).await.is_err(), "later it is theft");
}

#[tokio::test]
async fn a_refresh_token_lasts_thirty_days_from_its_last_renewal() {
    let house = House::new(Plan::default()).await;
    let identity = house.platform.identity();
    alice(&house).await;
    let day = Duration::from_secs(24 * 3600);
    let first = sign_in(&house).await;
    house.clock.forward(day * 29);
    let second = identity.refresh(&first.refresh_token, false).await.unwrap();
    house.clock.forward(day * 29);
    let third = identity.refresh(&second.refresh_token, false).await.unwrap();
    house.clock.forward(day * 30);
    assert!(matches!(identity.refresh(&third.refresh_token, false).await, Err(AccountError::BadRefresh)));
}

#[tokio::test]
async fn the_sixth_wrong_try_waits_for_the_account_and_for_the_address() {
    let house = House::new(Plan::default()).await;
    let identity = house.platform.identity();
    alice(&house).await;
    let guess = |email: String, origin: Origin| async move {
        identity.sign_in_with_password(&email, &"wrong password".into(), &origin).await.map(|_| ()).unwrap_err()
    };
    // One account, from everywhere.
    for n in 0..5 {
        let error = guess("alice@example.com".to_owned(), from(&format!("192.0.2.{n}"))).await;
        assert!(matches!(error, AccountError::WrongPassword));
    }
    let right = identity.sign_in_with_password("alice@example.com", &password(), &from("192.0.2.99")).await;
    assert!(matches!(right, Err(AccountError::TooManyTries(wait)) if wait == Duration::from_secs(60)), "{right:?}");
    // From one address, at everybody.
    for n in 0..5 {
        guess(format!("nobody{n}@example.com"), from("198.51.100.1")).await;
    }
    let error = guess("nobody9@example.com".to_owned(), from("198.51.100.1")).await;
    assert!(matches!(error, AccountError::TooManyTries(_)), "{error:?}");
    house.clock.forward(Duration::from_secs(60));
    identity.sign_in_with_password("alice@example.com", &password(), &from("192.0.2.99")).await.unwrap();
}

#[tokio::test]
async fn many_tries_at_the_same_moment_are_not_many_chances() {
    let house = House::new(Plan::default()).await;
    alice(&house).await;
    let tries = (0..40).map(|_| {
        let platform = house.platform.clone();
        tokio::spawn(async move {
            let identity = platform.identity();
            identity.sign_in_with_password("alice@example.com", &"wrong password".into(), &Origin::default()).await
        })
    });
    let mut looked_at = 0;
    for tried in futures_util::future::join_all(tries).await {
        looked_at += usize::from(matches!(tried.unwrap(), Err(AccountError::WrongPassword)));
    }
    assert_eq!(looked_at, 5);
}

#[tokio::test]
async fn a_link_works_once_within_ten_minutes_for_its_account_alone() {
    let house = House::new(Plan::default()).await;
    let identity = house.platform.identity();
    let account = alice(&house).await;
    let tenant = TenantId::default_tenant();
    let by = admin();
    let make = || identity.accounts().sign_in_link(&by, &tenant, "alice@example.com");
    let link = make().await.unwrap();
    assert!(link.secret.expose_secret().len() >= 43, "256 bits");
    let entered = identity.sign_in_with_link(&link.secret, &Origin::default()).await.unwrap();
    assert_eq!(entered.person.id, account.account_id.to_string());
    assert!(matches!(identity.sign_in_with_link(&link.secret, &Origin::default()).await, Err(AccountError::BadLink)));
    let late = make().await.unwrap();
    house.clock.forward(Duration::from_secs(600));
    assert!(matches!(identity.sign_in_with_link(&late.secret, &Origin::default()).await, Err(AccountError::BadLink)));
    let off = make().await.unwrap();
    change(&house, Change { disabled: Some(true), ..Change::default() }).await;
    assert!(matches!(identity.sign_in_with_link(&off.secret, &Origin::default()).await, Err(AccountError::Disabled)));
    assert!(matches!(make().await, Err(AccountError::Disabled)));
    let elsewhere = identity.accounts().sign_in_link(&admin(), &"other".parse().unwrap(), "alice@example.com").await;
    assert!(matches!(elsewhere, Err(AccountError::NoSuchAccount(_))), "another tenant's");
    let kept = std::fs::read(house.path("data/reeve.db")).unwrap();
    let wal = std::fs::read(house.path("data/reeve.db-wal")).unwrap_or_default();
    for secret in [link.secret.expose_secret(), entered.refresh_token.expose_secret(), PASSWORD] {
        let stored = [&kept, &wal].iter().any(|bytes| bytes.windows(secret.len()).any(|w| w == secret.as_bytes()));
        assert!(!stored, "nothing that lets somebody in is stored as it is");
    }
}

#[tokio::test]
async fn the_administrators_link_speaks_for_the_one_who_owns_the_data_directory() {
    let house = House::new(Plan::default()).await;
    let identity = house.platform.identity();
    let tenant = TenantId::default_tenant();
    let link = identity.accounts().sign_in_link(&admin(), &tenant, "administrator").await.unwrap();
    let entered = identity.sign_in_with_link(&link.secret, &Origin::default()).await.unwrap();
    let principal = holds(identity, &entered).await.unwrap();
    assert!(principal.is_same_party(&admin()) && principal.has_role("admin"), "{principal:?}");
    let again = identity.accounts().sign_in_link(&admin(), &tenant, "administrator").await.unwrap();
    assert_eq!(again.account.account_id, link.account.account_id);
    // It has no password yet, so it needs no old one.
    change_own_now(identity, &entered, "", "a first password").await.unwrap();
    let (first, nowhere) = (SecretString::from("a first password"), Origin::default());
    let entered = identity.sign_in_with_password("admin@localhost", &first, &nowhere).await.unwrap();
    assert_eq!(entered.person.principal.id, "admin");
}

#[tokio::test]
async fn a_person_signs_in_with_a_key_for_as_long_as_the_key_holds() {
    let house = House::new(Plan::default()).await;
    let identity = house.platform.identity();
    let tenant: TenantId = "ours".parse().unwrap();
    let roles = BTreeSet::from(["sre".to_owned()]);
    let key =
        |kind, name: &str| identity.create_key(tenant.clone(), kind, name.to_owned(), roles.clone(), String::new());
    let (id, text) = key(PrincipalKind::User, "bob").await.unwrap();
    let entered = identity.sign_in_with_key(&text.as_str().into(), &Origin::default()).await.unwrap();
    let principal = holds(identity, &entered).await.unwrap();
    assert_eq!((principal.label().as_str(), &principal.tenant), ("user:bob", &tenant));
    assert!(principal.has_role("sre"));
    let token = entered.access_token.clone();
    let by_token = identity.sign_in_with_key(&token, &Origin::default()).await;
    assert!(matches!(by_token, Err(AccountError::BadKey)), "a token is no key");
    house.platform.store().revoke_key(&tenant, &id, "2026-01-01T00:00:00Z".parse().unwrap()).await.unwrap();
    assert!(matches!(holds(identity, &entered).await, Err(IdentityError::SignedOut)));
    assert!(matches!(identity.refresh(&entered.refresh_token, false).await, Err(AccountError::BadRefresh)));

    let (_, program) = key(PrincipalKind::Service, "robot").await.unwrap();
    let refused = identity.sign_in_with_key(&program.as_str().into(), &Origin::default()).await;
    assert!(matches!(refused, Err(AccountError::NotAPerson)));
    let wrong = identity.sign_in_with_key(&"reeve_x".into(), &Origin::default()).await;
    assert!(matches!(wrong, Err(AccountError::BadKey)));
}

#[tokio::test]
async fn one_sees_and_ends_ones_own_sign_ins_and_nobody_elses() {
    let house = House::new(Plan::default()).await;
    let identity = house.platform.identity();
    alice(&house).await;
    let tenant = TenantId::default_tenant();
    identity.accounts().create(Some(&admin()), &tenant, new("bob@example.com")).await.unwrap();
    let first = sign_in(&house).await;
    house.clock.forward(Duration::from_secs(1));
    let second = identity.sign_in_with_password("alice@example.com", &password(), &from("192.0.2.7")).await.unwrap();
    let bobs = identity.sign_in_with_password("bob@example.com", &password(), &Origin::default()).await.unwrap();
    let seen = identity.accounts().sessions(&first.login_id).await.unwrap();
    let ids: Vec<_> = seen.iter().map(|s| (&s.login.login_id, s.current, s.login.address.as_str())).collect();
    assert_eq!(ids, [(&second.login_id, false, "192.0.2.7"), (&first.login_id, true, "")]);
    let who = holds(identity, &first).await.unwrap();
    let not_mine = identity.accounts().end_session(&who, &first.login_id, &bobs.login_id).await;
    assert!(matches!(not_mine, Err(AccountError::NoSuchLogin(_))));
    holds(identity, &bobs).await.unwrap();
    identity.accounts().end_session(&who, &first.login_id, &second.login_id).await.unwrap();
    assert!(holds(identity, &second).await.is_err());
    assert_eq!(identity.accounts().sessions(&first.login_id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn strangers_sign_up_only_where_that_is_switched_on() {
    let house = House::new(Plan::default()).await;
    let refused = house.platform.identity().sign_up(new("eve@example.com"), &Origin::default()).await;
    assert!(matches!(refused, Err(AccountError::RegistrationOff)));

    let open = AccountOptions { registration: true, ..AccountOptions::default() };
    let house = House::new(Plan { accounts: open, ..Plan::default() }).await;
    let identity = house.platform.identity();
    let wanted = NewAccount { roles: BTreeSet::from(["admin".to_owned()]), ..new("eve@example.com") };
    let entered = identity.sign_up(wanted, &from("192.0.2.1")).await.unwrap();
    let roles = holds(identity, &entered).await.unwrap().roles;
    assert_eq!(roles, BTreeSet::from(["developer".to_owned()]), "nobody gives themselves a role");
    assert!(matches!(identity.sign_up(new("Eve@example.com"), &from("192.0.2.1")).await, Err(AccountError::Taken)));
    for n in 0..3 {
        let _ = identity.sign_up(new(&format!("eve{n}@example.com")), &from("192.0.2.1")).await;
    }
    let flood = identity.sign_up(new("eve9@example.com"), &from("192.0.2.1")).await;
    assert!(matches!(flood, Err(AccountError::TooManyTries(_))));
}

#[tokio::test]
async fn the_secret_is_private_and_a_new_one_lets_old_tokens_run_out() {
    let house = House::new(Plan::default()).await;
    let identity = house.platform.identity();
    alice(&house).await;
    let mode = std::fs::metadata(house.path("data/sign-in.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let old = sign_in(&house).await;
    house.clock.forward(Duration::from_secs(60));
    identity.accounts().rotate_secret(&admin()).await.unwrap();
    holds(identity, &old).await.unwrap();
    let young = sign_in(&house).await;
    let kid = |signed_in: &SignedIn| signed_in.access_token.expose_secret().split('.').next().unwrap().to_owned();
    assert_ne!(kid(&old), kid(&young));

    // Both hold after a restart, too.
    let (dir, clock) = house.end().await;
    let house = House::on(dir, clock, Plan::default()).await;
    let identity = house.platform.identity();
    holds(identity, &old).await.unwrap();
    holds(identity, &young).await.unwrap();
    identity.accounts().rotate_secret(&admin()).await.unwrap();
    assert!(matches!(holds(identity, &old).await, Err(IdentityError::BadToken)), "two secrets ago");
    holds(identity, &young).await.unwrap();
}

#[tokio::test]
async fn a_secret_that_was_given_is_checked_and_its_predecessor_runs_out() {
    let secret = |n: u8| SecretString::from(format!("{n}1c0d2ab97e4c58a1d1b3f5e6079c8d4f1c0d2ab97e4c58"));
    let given = |secret, previous_secret| {
        let accounts = AccountOptions { secret: Some(secret), previous_secret, ..AccountOptions::default() };
        Plan { accounts, ..Plan::default() }
    };
    let house = House::new(given(secret(1), None)).await;
    assert!(!house.path("data/sign-in.key").exists(), "what the operator keeps is not kept twice");
    alice(&house).await;
    let old = sign_in(&house).await;
    assert!(matches!(
        house.platform.identity().accounts().rotate_secret(&admin()).await,
        Err(AccountError::Invalid(_))
    ));
    let (dir, clock) = house.end().await;
    let house = House::on(dir, clock, given(secret(2), Some(secret(1)))).await;
    holds(house.platform.identity(), &old).await.unwrap();
    holds(house.platform.identity(), &sign_in(&house).await).await.unwrap();
    // Without its predecessor, the tokens of it are worthless.
    let (dir, clock) = house.end().await;
    let house = House::on(dir, clock, given(secret(2), None)).await;
    assert!(matches!(holds(house.platform.identity(), &old).await, Err(IdentityError::BadToken)));

    let store = house.platform.store().clone();
    let weak = AccountOptions { secret: Some("key".into()), ..AccountOptions::default() };
    let refused = reeve_platform::accounts::Accounts::open(store, house.clock.clone(), weak).err().unwrap().to_string();
    assert!(refused.contains("3 bytes and needs at least 32"), "{refused}");
}

#[tokio::test]
async fn a_secret_that_others_can_read_is_not_used() {
    let house = House::new(Plan::default()).await;
    let path = house.path("data/sign-in.key");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = house.platform.store().clone();
    let open =
        || reeve_platform::accounts::Accounts::open(store.clone(), house.clock.clone(), AccountOptions::default());
    assert!(open().err().unwrap().to_string().contains("others can read it"));
    write(&path, "{}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(open().err().unwrap().to_string().contains("not what Reeve wrote"));
}

#[tokio::test]
async fn a_person_of_the_users_file_signs_in_with_their_key() {
    let hash = cheap_hash("dora-secret");
    let users = format!("users:\n  - id: dora\n    roles: [dba]\n    api_key_hash: \"{hash}\"\n");
    let house = House::new(Plan { users: Some(users), ..Plan::default() }).await;
    let identity = house.platform.identity();
    let entered = identity.sign_in_with_key(&"dora-secret".into(), &Origin::default()).await.unwrap();
    assert_eq!(holds(identity, &entered).await.unwrap().label(), "user:dora");
    write(&house.path("users.yaml"), "users: []\n");
    house.platform.reload_changed().await;
    assert!(matches!(holds(identity, &entered).await, Err(IdentityError::SignedOut)));
}

fn cheap_hash(secret: &str) -> String {
    use argon2::password_hash::PasswordHasher as _;
    let params = argon2::Params::new(8, 1, 1, None).unwrap();
    let cheap = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    cheap.hash_password_with_salt(secret.as_bytes(), b"0123456789abcdef").unwrap().to_string()
}
