//! Whole policy files against their tables.

use reeve_policy::{PolicySet, lint, run_table};
use reeve_types::{ActionClass, Effect, ResourceKind};

use crate::support::{Ask, compile, yaml};

fn hold(policies: &str, table: &str) {
    let set = compile(&[yaml("policies.yaml", policies)]);
    let report = run_table(&set, table, "table.yaml").unwrap_or_else(|errors| panic!("{errors}"));
    let wrong = report.cases.iter().filter(|case| !case.passed());
    let told: Vec<String> = wrong
        .map(|case| format!("{} (line {}): {:?}\n{}", case.name, case.line, case.differences, case.explanation))
        .collect();
    assert!(report.is_success(), "{} of {} cases hold\n{}", report.passed(), report.cases.len(), told.join("\n"));
}

#[test]
fn the_published_matrix_holds_row_by_row() {
    hold(include_str!("../fixtures/spec-matrix.yaml"), include_str!("../fixtures/spec-matrix.test.yaml"));
}

#[test]
fn the_example_decides_what_its_table_says() {
    hold(include_str!("../../../../policies/example.yaml"), include_str!("../../../../policies/example.test.yaml"));
}

#[test]
fn the_example_is_lint_clean() {
    let set = compile(&[yaml("example.yaml", include_str!("../../../../policies/example.yaml"))]);
    let findings = lint(&set, None);
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn a_table_reports_what_differs() {
    let table = "
cases:
  - {name: right, resource: {type: database}, action: read, expect: allow, by: built-in}
  - {name: wrong effect, resource: {type: host}, action: write, expect: allow, quorum: 2}
  - {name: wrong policy, resource: {type: bot}, action: read, expect: deny, by: built-in}
";
    let report = run_table(&PolicySet::built_in(), table, "t.yaml").unwrap();
    insta::assert_debug_snapshot!(report);
}

#[test]
fn a_broken_table_is_an_error_with_its_places() {
    let table = "
cases:
  - {name: a, resource: {type: databse}, acton: read, expect: allow}
  - {name: b, resource: {type: host}, action: read, expect: perhaps, at: yesterday}
";
    let errors = run_table(&PolicySet::built_in(), table, "t.yaml").unwrap_err();
    insta::assert_snapshot!(errors.to_string());
}

#[test]
fn without_files_reads_are_allowed_and_changes_ask() {
    let set = PolicySet::built_in();
    for (kind, class, effect) in [
        (ResourceKind::Database, ActionClass::Read, Effect::Allow),
        (ResourceKind::Kubernetes, ActionClass::Write, Effect::RequireApproval),
        (ResourceKind::Host, ActionClass::Destructive, Effect::RequireApproval),
        (ResourceKind::Secret, ActionClass::Read, Effect::Deny),
    ] {
        let mut ask = Ask::new(class);
        ask.resource.kind = kind;
        let decision = ask.of(&set);
        assert_eq!(decision.effect, effect, "{class} of a {kind}");
        assert_eq!(decision.policy_name, if effect == Effect::Deny { "default" } else { "built-in" });
    }
}

#[test]
fn deny_all_denies_all() {
    let set = PolicySet::deny_all();
    for class in ActionClass::ALL {
        let decision = Ask::new(class).roles(&["admin"]).of(&set);
        assert_eq!((decision.effect, decision.default_applied), (Effect::Deny, true));
    }
    assert_ne!(set.digest(), PolicySet::built_in().digest());
}
