//! Questions in words are routed and answered with citations; journeys tell what came of a request.

use std::sync::Arc;

use reeve_platform::PlatformError;
use reeve_platform::journeys::JourneyQuery;
use reeve_platform::routing::Question;
use reeve_types::{ActionClass, ActionState};
use serde_json::json;

use crate::support::{House, Plan, TestTool, user};

const TWO: &str = r#"{"db_servers": {
  "orders": {"name": "Order book", "connection_string": "host=a", "tags": ["production"]},
  "billing": {"connection_string": "host=b"}}}"#;

fn tools() -> Vec<Arc<TestTool>> {
    vec![
        TestTool::new("get_blocking_queries", ActionClass::Read, "pid 7 blocks pid 9"),
        TestTool::new("diagnose", ActionClass::Read, "looked at everything"),
        TestTool::new("change", ActionClass::Write, "changed"),
    ]
}

fn question(message: &str) -> Question {
    Question { message: message.to_owned(), ..Question::default() }
}

#[tokio::test]
async fn an_answer_names_the_records_it_rests_on() {
    let house = House::new(Plan { inventory: Some(TWO.to_owned()), tools: tools(), ..Plan::default() }).await;
    let alice = user("alice", &["dba"]);

    let answer = house.platform.ask(&alice, question("who is blocking whom on orders?")).await.unwrap();

    assert_eq!((answer.category.as_str(), answer.state), ("locks", "completed"));
    assert_eq!(answer.tool_calls, ["diagnose", "get_blocking_queries"]);
    assert!(answer.text.contains("pid 7 blocks pid 9"), "{}", answer.text);
    for citation in &answer.citations {
        let id = citation.event_id.as_ref().expect("every citation has its record");
        let record = house.platform.store().event(&alice.tenant, id).await.unwrap().unwrap();
        assert_eq!(record.event.tool.unwrap().name, citation.tool);
        assert_eq!(record.event.trace_id, answer.trace_id);
        assert_eq!(record.event.resource.unwrap().name, "orders");
    }
    assert!(!answer.citations.is_empty());
}

#[tokio::test]
async fn a_question_for_the_inventory_runs_nothing_and_an_ambiguous_one_asks_back() {
    let house = House::new(Plan { inventory: Some(TWO.to_owned()), tools: tools(), ..Plan::default() }).await;
    let alice = user("alice", &["dba"]);
    let known = house.platform.ask(&alice, question("which databases do you know?")).await.unwrap();
    assert_eq!(
        known.text,
        "I know 2 databases:\n- billing: Standalone, no tags\n- orders (Order book): Standalone, tags production"
    );
    assert_eq!(known.tool_calls, [] as [String; 0]);
    for (words, said) in [
        ("who is blocking whom?", "which database do you mean?"),
        ("who is blocking whom on orders and billing?", "ask about one at a time"),
        ("  ", "the question is empty"),
    ] {
        let refused = house.platform.ask(&alice, question(words)).await.unwrap_err();
        assert!(matches!(&refused, PlatformError::Invalid(text) if text.contains(said)), "{words}: {refused}");
    }
    assert_eq!(house.tool.runs(), 0);
}

#[tokio::test]
async fn journeys_say_who_asked_what_and_how_it_ended() {
    let house = House::new(Plan { inventory: Some(TWO.to_owned()), tools: tools(), ..Plan::default() }).await;
    let (alice, bob) = (user("alice", &["dba"]), user("bob", &["dba"]));
    house.platform.ask(&alice, question("who is blocking whom on orders?")).await.unwrap();
    let target = json!({"connection_string": "orders"});
    let denied = match house.submit_tool(&alice, "change", target.clone()).await {
        Ok(reeve_gate::Submission::AwaitingApproval { approval, .. }) => *approval,
        other => panic!("{other:?}"),
    };
    house.platform.deny(&bob, &denied.approval_id, "no").await.unwrap();
    let approved = match house.submit_tool(&bob, "change", target).await {
        Ok(reeve_gate::Submission::AwaitingApproval { approval, .. }) => *approval,
        other => panic!("{other:?}"),
    };
    house.platform.approve(&alice, &approved.approval_id, "", None).await.unwrap();
    house.reaches(&approved.action_id, ActionState::Succeeded).await;

    let all =
        house.platform.journeys(&alice.tenant, JourneyQuery { limit: 10, ..JourneyQuery::default() }).await.unwrap();
    let of = |trace: &reeve_types::TraceId| all.iter().find(|journey| journey.trace_id == *trace).unwrap();
    assert_eq!(all.len(), 3);
    assert_eq!((of(&approved.trace_id).outcome, of(&approved.trace_id).user_id.as_str()), ("approved", "bob"));
    assert_eq!(of(&approved.trace_id).tools_used, ["change"]);
    assert_eq!(of(&denied.trace_id).outcome, "require_approval");
    let asked = all.iter().find(|journey| journey.category == "locks").unwrap();
    assert_eq!((asked.outcome, asked.tools_used.len(), asked.agent.as_str()), ("success", 2, "database"));
    let query = JourneyQuery { user: Some("bob".to_owned()), limit: 10, ..JourneyQuery::default() };
    assert_eq!(house.platform.journeys(&alice.tenant, query).await.unwrap().len(), 1);
    let other = "other".parse().unwrap();
    let none = house.platform.journeys(&other, JourneyQuery { limit: 10, ..JourneyQuery::default() }).await.unwrap();
    assert_eq!(none.len(), 0);
}
