//! Many tasks at once: every intent has exactly one outcome, and the log verifies.

use std::collections::BTreeMap;
use std::sync::Arc;

use reeve_gate::{FailureKind, Refusal, Submission, ToolFailure};
use reeve_types::{ActionClass, ApprovalStatus, EventType, ToolOutput};
use serde_json::json;

use crate::support::{House, TestTool, alice, request};

const TASKS: u64 = 16;
const ROUNDS: u64 = 25;

/// Reads and writes of `open_*` are allowed, other writes ask, destructive acts are denied.
const MIXED: &str = "version: '1'
policies:
  - name: open
    priority: 10
    resources: [{type: any, match: {tool_pattern: 'open_*'}}]
    rules:
      - {action: write, effect: allow}
  - name: graded
    resources: [{type: any}]
    rules:
      - {action: read, effect: allow}
      - {action: write, effect: require_approval}
      - {action: destructive, effect: deny}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_mix_from_sixteen_tasks_leaves_one_outcome_for_every_intent() {
    let look = TestTool::answering("look", ActionClass::Read, "42 rows");
    let open = TestTool::new("open_change", ActionClass::Write, |_, _| {
        Box::pin(async {
            match rand::random::<u8>() % 4 {
                0 => Err(ToolFailure::new(FailureKind::Failed, "no such process")),
                1 => panic!("in the middle"),
                _ => Ok(ToolOutput::text("changed")),
            }
        })
    });
    let asked = TestTool::answering("change", ActionClass::Write, "changed");
    let wipe = TestTool::answering("wipe", ActionClass::Destructive, "gone");
    let house = Arc::new(House::new(MIXED, &[&look, &open, &asked, &wipe]));

    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let house = Arc::clone(&house);
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    one_request(&house, task, round).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }

    let mut balance: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for event in house.events().await {
        let Some(id) = event.action_id.as_ref().filter(|_| event.action_class != Some(ActionClass::Read)) else {
            continue;
        };
        let entry = balance.entry(id.to_string()).or_default();
        entry.0 += u32::from(event.event_type == EventType::EffectIntent);
        entry.1 += u32::from(event.event_type == EventType::ToolExecution);
    }
    let begun: Vec<_> = balance.values().filter(|(intents, outcomes)| *intents + *outcomes > 0).collect();
    assert!(begun.len() > 100, "something must have happened: {}", begun.len());
    assert!(begun.iter().all(|pair| **pair == (1, 1)), "{balance:?}");
    assert_eq!(begun.len(), open.runs() + asked.runs());
    assert_eq!(wipe.runs(), 0);
    assert!(house.store().interrupted_actions().await.unwrap().is_empty());
    house.verify().await;
}

async fn one_request(house: &House, task: u64, round: u64) {
    let pid = task * 1000 + round + 1;
    let tool = ["look", "open_change", "change", "wipe"][(rand::random::<u8>() % 4) as usize];
    match house.gate.submit(request(&alice(), tool, json!({"pid": pid}))).await {
        Ok(Submission::Done(_)) | Err(Refusal::Denied { .. }) => {}
        Ok(Submission::AwaitingApproval { approval, .. }) => match rand::random::<u8>() % 3 {
            0 => house.settle(&approval, ApprovalStatus::Denied).await,
            1 => {
                house.settle(&approval, ApprovalStatus::Approved).await;
                let both = tokio::join!(
                    house.gate.resume(approval.action_id.clone()),
                    house.gate.resume(approval.action_id.clone())
                );
                assert!(both.0.is_ok() != both.1.is_ok(), "{both:?}");
            }
            _ => {}
        },
        other => panic!("{tool}: {other:?}"),
    }
}
