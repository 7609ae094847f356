//! What is refused before policy, above policy, or because it would leave a secret behind.

use std::path::Path;
use std::sync::atomic::Ordering;

use reeve_gate::{GateOptions, OperatingMode, Refusal, Registry, RegistryError};
use reeve_types::{ActionClass, Purpose};
use serde_json::json;

use crate::support::{GRADED, House, OPEN, TestTool, alice, done, request};

#[tokio::test]
async fn an_unknown_tool_is_refused_with_a_hint_when_a_name_is_close() {
    let tool = TestTool::answering("cancel_query", ActionClass::Write, "");
    let house = House::new(OPEN, &[&tool]);

    let close = house.submit("cancel_qeury", json!({})).await.unwrap_err().to_string();
    let far = house.submit("drop_everything", json!({})).await.unwrap_err().to_string();

    assert_eq!(close, "there is no tool named `cancel_qeury`; did you mean `cancel_query`?");
    assert_eq!(far, "there is no tool named `drop_everything`");
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_named_and_never_shown() {
    let tool = TestTool::answering("change", ActionClass::Write, "");
    let house = House::new(OPEN, &[&tool]);
    let long = "hunter2-".repeat(8);

    let refused = house
        .submit("change", json!({"pid": 0, "password": long, "connection_string": ["hunter2"], "more": 1}))
        .await
        .unwrap_err()
        .to_string();

    assert!(refused.starts_with("the arguments do not fit `change`: "), "{refused}");
    for part in ["pid: ", "password: ", "connection_string: ", "more"] {
        assert!(refused.contains(part), "{part} in {refused}");
    }
    assert!(!refused.contains("hunter2"), "{refused}");
    let huge = house.submit("change", json!({"connection_string": "x".repeat(300_000)})).await.unwrap_err().to_string();
    assert_eq!(huge, "the arguments do not fit `change`: they are larger than 262144 bytes");
    assert_eq!(tool.runs(), 0);
}

#[tokio::test]
async fn a_target_outside_the_inventory_is_refused_without_its_password() {
    let tool = TestTool::answering("change", ActionClass::Write, "");
    let house = House::new(OPEN, &[&tool]);
    house.inventory.closed.store(true, Ordering::SeqCst);

    let refused = house.submit("change", json!({"connection_string": "host=h password=hunter2"})).await.unwrap_err();

    assert_eq!(refused.to_string(), "`host=h password=***` is not in the inventory; it knows orders");
}

#[tokio::test]
async fn a_password_that_would_have_to_wait_for_approval_is_refused_and_leaves_no_byte() {
    let tool = TestTool::answering("change", ActionClass::Write, "");
    let house = House::new(GRADED, &[&tool]);
    let secret = "corr3ct-horse-battery";

    for arguments in [
        json!({"connection_string": format!("host=h password={secret} dbname=d")}),
        json!({"connection_string": format!("postgres://u:{secret}@h/d")}),
        json!({"password": secret}),
    ] {
        let refused = house.submit("change", arguments).await.unwrap_err();
        assert!(matches!(refused, Refusal::SecretInArguments { .. }), "{refused:?}");
        assert!(!refused.to_string().contains(secret) && !format!("{refused:?}").contains(secret));
    }

    let events = house.events().await;
    assert_eq!(house.kinds().await, ["tool_invoked", "policy_decision"].repeat(3), "the refusal is on record");
    assert_eq!(events[1].outcome.as_ref().unwrap().status, "denied");
    house.store().close().await;
    assert_eq!(tool.runs(), 0);
    assert_no_byte(house.dir.path(), secret);
}

#[tokio::test]
async fn a_password_that_is_used_at_once_leaves_no_byte_either() {
    let look = TestTool::answering("look", ActionClass::Read, "42 rows");
    let change = TestTool::answering("change", ActionClass::Write, "changed");
    let house = House::new(OPEN, &[&look, &change]);
    let secret = "corr3ct-horse-battery";

    for tool in ["look", "change"] {
        done(house.submit(tool, json!({"connection_string": format!("host=h password={secret}")})).await);
    }

    house.store().close().await;
    assert_no_byte(house.dir.path(), secret);
}

fn assert_no_byte(dir: &Path, secret: &str) {
    let mut looked_at = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{} holds the password", path.display());
        looked_at += 1;
    }
    assert!(looked_at >= 4, "the log, the state, the key and the lock");
}

#[tokio::test]
async fn in_readonly_governed_mode_nothing_is_changed_whatever_policy_says() {
    let look = TestTool::answering("look", ActionClass::Read, "42 rows");
    let change = TestTool::answering("change", ActionClass::Write, "changed");
    let options = GateOptions { mode: OperatingMode::ReadOnlyGoverned, ..GateOptions::default() };
    let house = House::with(OPEN, &[&look, &change], options);

    done(house.submit("look", json!({})).await);
    let refused = house.submit("change", json!({})).await.unwrap_err();

    let Refusal::Denied { decision, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(decision.policy_name, "readonly_governed_mode");
    assert_eq!(change.runs(), 0);
    let last = house.events().await.pop().unwrap();
    assert_eq!(last.policy_decision.unwrap().policy_name, "readonly_governed_mode");
}

#[tokio::test]
async fn what_is_sensitive_needs_a_purpose() {
    let look = TestTool::answering("look", ActionClass::Read, "42 rows");
    let options = GateOptions { purpose_for_sensitive: true, ..GateOptions::default() };
    let house = House::with(OPEN, &[&look], options);
    done(house.submit("look", json!({})).await);
    house.inventory.sensitivity.lock().unwrap().insert("pii".to_owned());

    let refused = house.submit("look", json!({})).await.unwrap_err();
    let with_purpose =
        reeve_gate::Request { purpose: Some(Purpose::Diagnostic), ..request(&alice(), "look", json!({})) };
    done(house.gate.submit(with_purpose).await);

    let Refusal::Denied { decision, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(decision.policy_name, "purpose_required");
    assert_eq!(look.runs(), 2);
}

#[test]
fn a_registry_takes_each_name_once_and_only_real_schemas() {
    let mut registry = Registry::new();
    registry.register(TestTool::answering("look", ActionClass::Read, "")).unwrap();
    let twice = registry.register(TestTool::answering("look", ActionClass::Read, "")).unwrap_err();
    assert!(matches!(&twice, RegistryError::Duplicate(name) if name == "look"), "{twice}");
    assert_eq!(registry.specs().count(), 1);
}
