//! The texts that people read about decisions.

use reeve_policy::{PolicySet, explain_json, explain_text};
use reeve_types::{ActionClass, Purpose};

use crate::support::{Ask, cedar, compile, yaml};

fn example() -> PolicySet {
    compile(&[yaml("example.yaml", include_str!("../../../../policies/example.yaml"))])
}

fn told(set: &PolicySet, ask: &Ask) -> String {
    explain_text(&ask.request(), &set.explain(&ask.request()))
}

#[test]
fn an_approval_names_what_it_needs() {
    let ask =
        Ask::new(ActionClass::Destructive).roles(&["oncall"]).tags(&["production", "eu"]).purpose(Purpose::Remediation);
    insta::assert_snapshot!(told(&example(), &ask));
}

#[test]
fn a_denial_names_the_condition_that_failed() {
    let ask =
        Ask::new(ActionClass::Write).roles(&["dba"]).tags(&["production"]).rows(5_000).purpose(Purpose::Diagnostic);
    insta::assert_snapshot!(told(&example(), &ask));
}

#[test]
fn an_allowance_is_short() {
    let ask = Ask::new(ActionClass::Read).roles(&["dba"]).tags(&["staging"]).purpose(Purpose::Diagnostic);
    insta::assert_snapshot!(told(&example(), &ask));
}

#[test]
fn the_default_names_the_tags_that_would_help() {
    insta::assert_snapshot!(told(&example(), &Ask::new(ActionClass::Write).roles(&["sre"])));
    let tagged = Ask::new(ActionClass::Write).roles(&["sre"]).tags(&["attic"]);
    insta::assert_snapshot!(told(&example(), &tagged));
}

#[test]
fn schedules_disabled_policies_and_ties_are_told() {
    let set = compile(&[
        yaml(
            "p.yaml",
            "
policies:
  - name: off
    enabled: false
    priority: 9
    resources: [{type: any}]
    rules: [{action: read, effect: allow}]
  - name: night
    priority: 8
    resources: [{type: any}]
    rules: [{action: write, effect: deny, conditions: {schedule: {hours: [3]}}}]
  - name: lax
    priority: 7
    resources: [{type: any}]
    rules: [{action: write, effect: allow}, {action: write, effect: deny}]
  - name: strict
    priority: 7
    resources: [{type: any}]
    rules: [{action: [read, write, destructive], effect: require_approval, message: Ask first.}]
",
        ),
        cedar("c.cedar", "@name(\"never-at-night\") forbid (principal, action, resource) when { context.hour == 3 };"),
    ]);
    insta::assert_snapshot!(told(&set, &Ask::new(ActionClass::Write)));
    insta::assert_snapshot!(told(&set, &Ask::new(ActionClass::Write).at("2026-01-05T03:00:00Z")));
}

#[test]
fn programs_read_the_same_trace() {
    let set = example();
    let ask = Ask::new(ActionClass::Write).roles(&["dba"]).tags(&["staging"]);
    let decision = set.explain(&ask.request());
    let json = explain_json(&ask.request(), &decision);
    assert_eq!(json["explanation"], explain_text(&ask.request(), &decision));
    assert_eq!(json["decision"]["policy_digest"], set.digest().to_string());
    insta::assert_snapshot!(
        serde_json::to_string_pretty(&json["policies_evaluated"][0]).unwrap()
            + "\n"
            + &serde_json::to_string_pretty(json["policies_evaluated"].as_array().unwrap().last().unwrap()).unwrap()
    );
}

#[test]
fn explaining_decides_the_same_and_deciding_builds_no_trace() {
    let set = example();
    for class in ActionClass::ALL {
        let ask = Ask::new(class).roles(&["dba"]).tags(&["production"]).purpose(Purpose::Remediation);
        let (decided, mut explained) = (ask.of(&set), set.explain(&ask.request()));
        assert!(decided.policies_evaluated.is_empty());
        assert!(!explained.policies_evaluated.is_empty());
        explained.policies_evaluated.clear();
        assert_eq!(decided, explained);
    }
}
