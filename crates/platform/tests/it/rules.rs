//! Policies and inventory: a reload takes over as a whole or not at all, and past decisions are replayed as they were.

use std::sync::Arc;

use reeve_gate::{Refusal, Submission};
use reeve_platform::PlatformError;
use reeve_platform::inventory::Inventory;
use reeve_store::EventFilter;
use reeve_types::{ActionClass, Effect, EventType};
use serde_json::json;

use crate::support::{House, Plan, TestTool, asks, user, write};

const CLOSED: &str = "version: '1'
policies:
  - name: closed
    resources: [{type: any}]
    rules:
      - {action: [read, write, destructive], effect: deny, message: closed for today}
";

fn looking() -> Plan {
    Plan { tools: vec![TestTool::new("look", ActionClass::Read, "42 rows")], ..Plan::default() }
}

#[tokio::test]
async fn a_reload_takes_over_as_a_whole_and_a_broken_one_not_at_all() {
    let house = House::new(looking()).await;
    let alice = user("alice", &["dba"]);
    let first = house.platform.gate().policy().digest();
    write(&house.path("policies.yaml"), CLOSED);
    house.platform.reload_changed().await;
    assert!(matches!(house.submit(&alice, json!({})).await, Err(Refusal::Denied { .. })));
    let second = house.platform.gate().policy().digest();
    assert_ne!(first, second);

    write(&house.path("policies.yaml"), &asks("nonsense: 1"));
    house.platform.reload_changed().await;
    assert_eq!(house.platform.gate().policy().digest(), second, "what was in force stays in force");
    let trouble = house.platform.policies().trouble().unwrap();
    assert!(trouble.contains("policies.yaml:") && trouble.contains("nonsense"), "{trouble}");
    let filter = EventFilter { types: vec![EventType::ConfigurationChanged], limit: 9, ..EventFilter::default() };
    let recorded = house.platform.store().events(&alice.tenant, filter).await.unwrap().events;
    assert_eq!(recorded.len(), 2);
    assert!(recorded[0].event.note.starts_with("REFUSED: "), "{}", recorded[0].event.note);
    house.platform.reload_changed().await;
    assert_eq!(house.platform.store().log_head().await.unwrap().size, 4, "what is broken is said once");

    write(&house.path("policies.yaml"), &asks("approval_quorum: 1"));
    house.platform.reload_changed().await;
    assert_eq!((house.platform.gate().policy().digest(), house.platform.policies().trouble()), (first, None));
}

#[tokio::test]
async fn a_past_decision_is_replayed_with_the_rules_of_its_time() {
    let house = House::new(looking()).await;
    let alice = user("alice", &["dba"]);
    let Ok(Submission::Done(done)) = house.submit(&alice, json!({})).await else { panic!("a read is allowed") };
    write(&house.path("policies.yaml"), CLOSED);
    house.platform.reload_changed().await;
    let Err(Refusal::Denied { event_id, .. }) = house.submit(&alice, json!({})).await else { panic!("all is denied") };

    let then = house.platform.explain_event(&alice.tenant, &done.event_id.unwrap()).await.unwrap();
    let now = house.platform.explain_event(&alice.tenant, &event_id).await.unwrap();

    assert_eq!((then.decision.effect, then.decision.policy_name.as_str()), (Effect::Allow, "asks"));
    assert_eq!((then.replayed_with, then.warning), ("same policies", None));
    assert_eq!((now.decision.effect, now.decision.policy_name.as_str()), (Effect::Deny, "closed"));
    let other = "other".parse().unwrap();
    let refused = house.platform.explain_event(&other, &event_id).await.unwrap_err();
    assert!(matches!(refused, PlatformError::NoSuchRecord(_)), "{refused:?}");
}

const ORDERS: &str = r#"{"db_servers": {"orders": {"connection_string": "host=h", "tags": ["production"]}}}"#;

#[tokio::test]
async fn an_inventory_is_read_again_and_a_broken_one_is_not() {
    let plan = Plan { inventory: Some(ORDERS.to_owned()), ..looking() };
    let house = House::new(plan).await;
    let alice = user("alice", &["dba"]);
    let known =
        |house: &House| house.platform.inventory().current().unwrap().db_servers.keys().cloned().collect::<Vec<_>>();
    let refused = house.submit(&alice, json!({"connection_string": "billing"})).await.unwrap_err();
    assert_eq!(refused.to_string(), "`billing` is not in the inventory; it knows orders");

    write(&house.path("infrastructure.json"), &ORDERS.replace("orders", "billing"));
    house.platform.reload_changed().await;
    assert_eq!(known(&house), ["billing"]);
    assert!(matches!(house.submit(&alice, json!({"connection_string": "billing"})).await, Ok(Submission::Done(_))));

    write(&house.path("infrastructure.json"), "{");
    house.platform.reload_changed().await;
    std::fs::remove_file(house.path("infrastructure.json")).unwrap();
    house.platform.reload_changed().await;
    assert_eq!(known(&house), ["billing"]);
}

#[test]
fn an_inventory_that_is_wrong_is_refused_with_line_and_column() {
    let said = |text: &str| Inventory::parse("infrastructure.json", text).unwrap_err().to_string();
    let table = [
        ("{\n  \"db_servers\": 1\n}", "infrastructure.json:2:"),
        (
            "{\n \"db_servers\": {\n  \"a b\": {\"connection_string\": \"host=h\"}}}",
            "infrastructure.json:3:3: `a b` is not an id",
        ),
        (
            "{\"db_servers\": {\"a\": {\"connection_string\": \" \"}}}",
            "infrastructure.json:1:17: database `a` has an empty",
        ),
        ("{\"vms\": {\"v\": {\"runtime\": \"lxc\"}}}", "infrastructure.json:1:10: runtime of `v` is `lxc`"),
    ];
    for (text, start) in table {
        assert!(said(text).starts_with(start), "{}", said(text));
    }
}

#[tokio::test]
async fn an_approval_does_not_outlive_the_rules_it_was_given_under() {
    let house = Arc::new(House::new(Plan::default()).await);
    let asked = house.question(&user("alice", &["dba"]), json!({})).await;
    write(&house.path("policies.yaml"), &asks("approval_quorum: 1, max_rows_affected: 5"));
    house.platform.reload_changed().await;
    house.platform.approve(&user("bob", &["dba"]), &asked.approval_id, "", None).await.unwrap();
    house.reaches(&asked.action_id, reeve_types::ActionState::Stale).await;
    assert_eq!(house.tool.runs(), 0);
}
