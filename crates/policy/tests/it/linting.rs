//! What lint finds, and what it leaves alone.

use std::collections::BTreeSet;

use reeve_policy::{InventoryFacts, LintCode, PolicySet, lint};

use crate::support::{cedar, compile, yaml};

fn found(set: &PolicySet, code: LintCode) -> Vec<String> {
    lint(set, None)
        .into_iter()
        .filter(|f| f.code == code)
        .map(|f| format!("{}{}", f.policy, f.rule.map(|r| format!("#{r}")).unwrap_or_default()))
        .collect()
}

#[test]
fn every_dead_rule_of_the_published_example_is_found() {
    let set = compile(&[yaml("spec-matrix.yaml", include_str!("../fixtures/spec-matrix.yaml"))]);
    assert_eq!(
        found(&set, LintCode::UnreachableRule),
        [
            "emergency-break-glass#0",
            "emergency-dba-break-glass#0",
            "emergency-dba-break-glass#1",
            "business-hours-freeze#0",
            "restrict-terminate-connection#0",
            "dba-privileges#1",
            "no-terminate-for-automation#0",
            "sre-staging-access#0",
            "automated-services#1",
            "automated-services#2",
        ]
    );
    assert_eq!(
        found(&set, LintCode::PartlyUnreachableRule),
        ["dba-privileges#0", "development-permissive#0"],
        "of these only the read survives"
    );
    assert_eq!(found(&set, LintCode::PurposeMayBeOmitted), ["diagnostic-readonly-enforcement#0"]);
}

#[test]
fn findings_read_well() {
    let set = compile(&[yaml("spec-matrix.yaml", include_str!("../fixtures/spec-matrix.yaml"))]);
    let told: Vec<String> = lint(&set, None).iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn what_cannot_have_been_meant_is_found() {
    let set = compile(&[yaml(
        "p.yaml",
        "
policies:
  - name: p
    priority: 3
    resources: [{type: host}]
    rules:
      - {action: write, effect: deny, conditions: {max_rows_affected: 5}}
      - {action: read, effect: allow, conditions: {approval_quorum: 2}}
      - {action: destructive, effect: allow, conditions: {schedule: {days: [mon, tue, wed, thu, fri, sat, sun]}, allowed_purposes: [emergency], blocked_purposes: [emergency, diagnostic]}}
      - {action: destructive, effect: deny}
  - name: off
    enabled: false
    priority: 4
    resources: [{type: any}]
    rules: [{action: [read, write, destructive], effect: deny}]
",
    )]);
    for (code, places) in [
        (LintCode::ConditionsOnDeny, vec!["p#0"]),
        (LintCode::ApprovalWithoutEffect, vec!["p#1"]),
        (LintCode::ScheduleAlwaysActive, vec!["p#2"]),
        (LintCode::ContradictoryPurposes, vec!["p#2"]),
        (LintCode::UnreachableRule, vec!["p#3"]),
        (LintCode::Disabled, vec!["off"]),
        (LintCode::PurposeMayBeOmitted, vec![]),
    ] {
        assert_eq!(found(&set, code), places, "{code:?}");
    }
}

#[test]
fn a_rule_that_something_is_left_to_is_reachable() {
    let set = compile(&[yaml(
        "p.yaml",
        "
policies:
  - name: scheduled
    priority: 9
    resources: [{type: any}]
    rules: [{action: write, effect: deny, conditions: {schedule: {hours: [3]}}}]
  - name: narrow
    priority: 8
    principals: [{role: dba}]
    resources: [{type: database, match: {tags: [a, b]}}, {type: kubernetes}]
    rules: [{action: write, effect: allow}]
  - name: wide
    priority: 7
    principals: [{role: dba}, {role: sre}]
    resources: [{type: database, match: {tags: [a]}}, {type: kubernetes}]
    rules: [{action: write, effect: allow}]
",
    )]);
    assert_eq!(found(&set, LintCode::UnreachableRule), Vec::<String>::new());
    assert_eq!(found(&set, LintCode::PartlyUnreachableRule), Vec::<String>::new());
}

#[test]
fn several_rules_together_can_leave_nothing() {
    let kinds = ["database", "kubernetes", "host", "workspace", "drive", "secret", "zone", "bot", "agent", "platform"];
    let above: String = kinds
        .iter()
        .map(|kind| format!("  - {{name: {kind}-rule, match: {{type: {kind}}}, effect: deny}}\n"))
        .collect();
    let set = compile(&[yaml("p.yaml", &format!("rules:\n{above}  - {{name: last, effect: allow}}\n"))]);
    assert_eq!(found(&set, LintCode::UnreachableRule), ["last#10"]);
}

#[test]
fn labels_that_nothing_carries_are_found() {
    let set = compile(&[yaml(
        "p.yaml",
        "
rules:
  - {name: a, match: {tags: [production, prodction], sensitivity: [pi], name_pattern: 'db-*', tool: vacum}, effect: allow, conditions: {require_approval: true, approver_roles: [dba, dbo]}}
  - {name: b, match: {name: db-2, tool_pattern: 'vac*'}, effect: allow}
",
    )]);
    let words = |list: &[&str]| -> BTreeSet<String> { list.iter().map(|w| (*w).to_owned()).collect() };
    let facts = InventoryFacts {
        tags: words(&["production"]),
        sensitivities: words(&["pii"]),
        names: words(&["db-1"]),
        tools: words(&["vacuum"]),
        roles: words(&["dba"]),
    };
    let codes: Vec<(LintCode, String)> = lint(&set, Some(&facts)).into_iter().map(|f| (f.code, f.message)).collect();
    insta::assert_debug_snapshot!(codes);
    assert!(lint(&set, Some(&InventoryFacts::default())).is_empty(), "what is not known is not checked");
}

#[test]
fn a_policy_that_never_applies_is_found_in_cedar_files_too() {
    let set = compile(&[cedar(
        "c.cedar",
        "@name(\"odd\") permit (principal, action, resource) when { resource.kind == \"x\" && false };",
    )]);
    assert_eq!(found(&set, LintCode::CedarWarning), ["odd"]);
}
