//! What must not be a finding, and evidence that no rule may stumble over.

use proptest::prelude::*;
use reeve_diagnose::evidence::{EvidenceSet, TableHealth};
use reeve_diagnose::{Thresholds, compare, diagnose, diagnose_against};
use reeve_types::Severity;
use serde_json::Value;

use crate::Change;
use crate::sample::{healthy, lock_chain, session, table, wait};
use crate::topics::sick;

fn alarms(evidence: &EvidenceSet) -> Vec<String> {
    let findings = diagnose(evidence, &Thresholds::default());
    findings.into_iter().filter(|f| f.severity != Severity::Info).map(|f| f.title).collect()
}

#[test]
fn a_healthy_server_gives_no_alarm() {
    assert!(alarms(&healthy()).is_empty(), "{:?}", alarms(&healthy()));
}

#[test]
fn no_evidence_gives_no_finding() {
    assert_eq!(diagnose(&EvidenceSet::default(), &Thresholds::default()), Vec::new());
}

#[test]
fn what_passes_by_itself_is_left_alone() {
    let table: Vec<(&str, Change)> = vec![
        ("a short wait behind a working session", |e| {
            e.sessions = Some(vec![session(1, "active", 0.2), session(2, "active", 0.2)]);
            e.lock_waits = Some(vec![wait(2, 0.2, &[1])]);
        }),
        ("a wait behind a session that has been idle for a moment only", |e| {
            e.sessions = Some(vec![session(1, "idle in transaction", 0.1), session(2, "active", 2.0)]);
            e.lock_waits = Some(vec![wait(2, 2.0, &[1])]);
        }),
        ("idle in transaction between two statements", |e| {
            let mut quick = session(1, "idle in transaction", 0.5);
            quick.has_writes = true;
            e.sessions = Some(vec![quick]);
        }),
        ("dead rows below what autovacuum waits for", |e| {
            let busy = TableHealth { dead: 1_900_000, vacuum_secs: Some(30.0), ..table("busy") };
            e.tables = Some(vec![busy]);
        }),
        ("a large table whose counters began anew after a crash", |e| {
            let reset = TableHealth {
                live: 0,
                dead: 900_000,
                changed_since_analyze: 900_000,
                vacuum_secs: None,
                analyze_secs: None,
                autovacuum_enabled: Some(false),
                ..table("counted_anew")
            };
            e.tables = Some(vec![reset]);
        }),
        ("many dead rows in a table that is being vacuumed", |e| {
            let cleaned = TableHealth { dead: 9_000_000, being_vacuumed: true, vacuum_secs: None, ..table("cleaned") };
            e.tables = Some(vec![cleaned]);
        }),
        ("an idle primary seen from its standby", |e| {
            if let Some(server) = &mut e.server {
                server.in_recovery = true;
            }
            e.standby = Some(reeve_diagnose::evidence::Standby {
                replay_lag_bytes: Some(0),
                replayed_xact_secs: Some(86_400.0),
                receiver: Some("streaming".to_owned()),
                receiver_silent_secs: Some(5.0),
                has_primary: true,
                ..Default::default()
            });
        }),
        ("an archiver that failed once and recovered", |e| {
            e.archiver = Some(reeve_diagnose::evidence::Archiver {
                archived: 100,
                failed: 3,
                archived_secs: Some(10.0),
                failed_secs: Some(5000.0),
                ..Default::default()
            });
        }),
        ("forced checkpoints of a bulk load on a young server", |e| {
            e.checkpoints = Some(reeve_diagnose::evidence::Checkpoints {
                timed: 1,
                requested: 30,
                stats_reset_secs: Some(300.0),
                ..Default::default()
            });
        }),
    ];
    for (name, change) in table {
        let mut evidence = healthy();
        change(&mut evidence);
        assert!(alarms(&evidence).is_empty(), "{name}: {:?}", alarms(&evidence));
    }
}

#[test]
fn findings_stand_after_what_explains_them_and_name_codes_that_are_there() {
    for evidence in [sick(), lock_chain()] {
        let findings = diagnose(&evidence, &Thresholds::default());
        for (at, finding) in findings.iter().enumerate() {
            if let Some(cause) = &finding.explained_by {
                let place = findings.iter().position(|other| other.code == *cause);
                assert!(place.is_some_and(|place| place < at), "{} before its cause {cause}", finding.code);
            }
        }
    }
}

/// Replaces numbers, texts and switches all over a JSON value.
fn scramble(value: &mut Value, dice: &mut impl Iterator<Item = i64>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| scramble(item, dice)),
        Value::Object(map) => map.values_mut().for_each(|item| scramble(item, dice)),
        Value::Bool(flag) => *flag ^= dice.next().unwrap_or(0) % 4 == 0,
        Value::Number(number) => match dice.next().unwrap_or(0) {
            roll if roll % 3 == 0 => {}
            roll if number.is_i64() && number.as_i64().is_some_and(|n| n.abs() < 10_000) => {
                *number = (roll % 100_000).into();
            }
            roll if number.is_f64() => *value = serde_json::json!(roll as f64 / 7.0),
            roll => *number = roll.into(),
        },
        Value::String(text) => match dice.next().unwrap_or(0) % 5 {
            0 => text.clear(),
            1 => text.push_str(" `ü\"';--\n"),
            _ => {}
        },
        Value::Null => {}
    }
}

proptest! {
    #[test]
    fn no_evidence_makes_a_rule_panic(rolls in proptest::collection::vec(any::<i64>(), 1..400)) {
        for start in [sick(), lock_chain(), healthy()] {
            let mut json = serde_json::to_value(&start).expect("evidence is JSON");
            scramble(&mut json, &mut rolls.iter().copied().cycle());
            json["collected_at"] = serde_json::json!("2026-11-21T12:00:00Z");
            // What does not read back is no evidence; ranges of smaller integers are not what is tested here.
            let Ok(evidence) = serde_json::from_value::<EvidenceSet>(json) else { continue };
            for finding in diagnose_against(&evidence, &start, &Thresholds::default()) {
                prop_assert!(!finding.code.is_empty() && !finding.title.is_empty() && !finding.cause.is_empty());
                prop_assert!(!finding.evidence.is_empty(), "{} rests on nothing", finding.code);
            }
            let _ = compare(&evidence, &start, &Thresholds::default());
        }
    }
}
