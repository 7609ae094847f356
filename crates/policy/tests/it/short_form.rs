//! The short form: a bare list of rules, of which the first that matches decides.

use reeve_types::{ActionClass, Effect};

use crate::support::{Ask, compile, yaml};

const GUIDE: &str = "
rules:
  - name: allow-read-operations
    match:
      action_class: read
    effect: allow

  - name: require-approval-for-writes
    match:
      action_class: write
    effect: require_approval

  - name: deny-destructive-on-production
    match:
      action_class: destructive
      tags: [production]
    effect: deny
";

#[test]
fn each_rule_of_the_guide_does_what_it_says() {
    let set = compile(&[yaml("policies.yaml", GUIDE)]);
    for (class, tags, effect, name) in [
        (ActionClass::Read, &[][..], Effect::Allow, "allow-read-operations"),
        (ActionClass::Write, &["production"], Effect::RequireApproval, "require-approval-for-writes"),
        (ActionClass::Destructive, &["production", "eu"], Effect::Deny, "deny-destructive-on-production"),
        (ActionClass::Destructive, &["development"], Effect::Deny, "default"),
    ] {
        let decision = Ask::new(class).tags(tags).of(&set);
        assert_eq!((decision.effect, decision.policy_name.as_str()), (effect, name));
    }
}

#[test]
fn the_first_match_decides_whatever_stands_below() {
    let set = compile(&[yaml(
        "p.yaml",
        "
rules:
  - {name: vacuum, match: {tool: vacuum, resource: database}, effect: allow, conditions: {max_rows_affected: 5}}
  - {name: rest, match: {action_class: [write, destructive], type: any}, effect: deny, message: no}
",
    )]);
    let mut ask = Ask::new(ActionClass::Write);
    ask.tool = "vacuum".to_owned();
    let decision = ask.of(&set);
    assert_eq!((decision.effect, decision.policy_name.as_str(), decision.rule_index), (Effect::Allow, "vacuum", 0));
    assert_eq!(decision.obligations.max_rows_affected, 5);
    ask.tool = "drop".to_owned();
    let decision = ask.of(&set);
    assert_eq!((decision.effect, decision.policy_name.as_str(), decision.rule_index), (Effect::Deny, "rest", 1));
}

#[test]
fn traces_and_summaries_show_the_rules_by_name() {
    let set = compile(&[yaml("conf/policies.yaml", GUIDE)]);
    let ask = Ask::new(ActionClass::Write);
    let decision = set.explain(&ask.request());
    let names: Vec<&str> = decision.policies_evaluated.iter().map(|p| p.policy_name.as_str()).collect();
    assert_eq!(names, ["allow-read-operations", "require-approval-for-writes", "deny-destructive-on-production"]);
    let [summary] = &set.policies()[..] else { panic!("one policy per file") };
    assert_eq!(
        (summary.name.as_str(), summary.rules[1].name.as_deref()),
        ("conf/policies.yaml", Some("require-approval-for-writes"))
    );
}

#[test]
fn files_of_the_short_form_stand_side_by_side() {
    let rules = |name: &str, effect: &str| {
        format!("rules:\n  - {{name: {name}, match: {{action_class: write}}, effect: {effect}}}\n")
    };
    let set = compile(&[yaml("a/p.yaml", &rules("a", "allow")), yaml("b/p.yaml", &rules("b", "require_approval"))]);
    assert_eq!(Ask::new(ActionClass::Write).of(&set).policy_name, "b", "of one priority the strictest wins");
}
