//! Cedar files, alone and beside YAML.

use reeve_policy::PolicySet;
use reeve_types::{ActionClass, AuthMethod, Effect, Principal, PrincipalKind, Purpose};

use crate::support::{Ask, cedar, compile, yaml};

const YAML: &str = "
policies:
  - name: yaml-writes
    priority: 50
    resources: [{type: any}]
    rules: [{action: [write, destructive], effect: allow}, {action: read, effect: deny}]
";

#[test]
fn a_forbid_wins_over_every_priority() {
    let forbid = "@name(\"never\") @message(\"not here\")\nforbid (principal, action == Action::\"write\", resource) when { resource.tags.contains(\"production\") };";
    let permit = "@name(\"all\") @priority(\"1000\")\npermit (principal, action, resource);";
    let set = compile(&[yaml("p.yaml", YAML), cedar("a.cedar", forbid), cedar("b.cedar", permit)]);
    let decision = Ask::new(ActionClass::Write).tags(&["production"]).of(&set);
    assert_eq!((decision.effect, decision.policy_name.as_str()), (Effect::Deny, "never"));
    assert_eq!(decision.message, "not here");
    assert_eq!(Ask::new(ActionClass::Write).of(&set).policy_name, "all");
}

#[test]
fn permits_join_at_their_priority() {
    for (priority, effect, by) in
        [(49, Effect::Allow, "yaml-writes"), (50, Effect::RequireApproval, "ask"), (51, Effect::RequireApproval, "ask")]
    {
        let permit = format!(
            "@name(\"ask\") @priority(\"{priority}\") @effect(\"require_approval\") @quorum(\"2\") @approver_roles(\"dba, lead\")\npermit (principal, action, resource);"
        );
        let set = compile(&[yaml("p.yaml", YAML), cedar("a.cedar", &permit)]);
        let decision = Ask::new(ActionClass::Write).of(&set);
        assert_eq!((decision.effect, decision.policy_name.as_str()), (effect, by), "at {priority}");
        if effect == Effect::RequireApproval {
            assert_eq!((decision.approval_quorum, decision.approver_roles.len()), (2, 2));
        }
    }
    let set =
        compile(&[yaml("p.yaml", YAML), cedar("a.cedar", "@priority(\"50\") permit (principal, action, resource);")]);
    assert_eq!(Ask::new(ActionClass::Read).of(&set).effect, Effect::Deny, "of one priority the strictest wins");
}

#[test]
fn a_policy_that_cannot_be_evaluated_denies() {
    let overflow =
        "@name(\"sum\")\nforbid (principal, action, resource) when { context.rows + 9223372036854775807 < 0 };";
    let set = compile(&[yaml("p.yaml", YAML), cedar("a.cedar", overflow)]);
    let fine = Ask::new(ActionClass::Write).of(&set);
    assert_eq!((fine.effect, fine.errors.len()), (Effect::Allow, 0));
    let ask = Ask::new(ActionClass::Write).rows(1);
    for broken in [ask.of(&set), set.decide_afresh(&ask.request()), set.explain(&ask.request())] {
        assert_eq!((broken.effect, broken.policy_name.as_str()), (Effect::Deny, "sum"));
        assert!(broken.errors[0].contains("overflow"), "{:?}", broken.errors);
    }
}

#[test]
fn sizes_beyond_what_cedar_counts_are_the_largest() {
    let set = compile(&[cedar("a.cedar", "permit (principal, action, resource) when { context.rows < 5 };")]);
    assert_eq!(Ask::new(ActionClass::Read).rows(u64::MAX).of(&set).effect, Effect::Deny);
}

#[test]
fn files_see_who_what_why_and_when() {
    let text = r#"
@name("office")
permit (principal in Role::"dba", action in [Action::"read", Action::"write"], resource)
when { principal.tenant == "default" && resource.kind == "database" && resource.name like "prod-*" }
when { context has purpose && context.purpose == "remediation" }
when { context.weekday == "mon" && context.hour == 12 && context.tool == "vacuum" && context.rows <= 10 };
"#;
    let set = compile(&[cedar("office.cedar", text)]);
    let mut ask = Ask::new(ActionClass::Write).roles(&["dba"]).purpose(Purpose::Remediation).rows(10);
    ask.tool = "vacuum".to_owned();
    assert_eq!(ask.of(&set).policy_name, "office");
    assert_eq!(ask.clone().rows(11).of(&set).effect, Effect::Deny);
    assert_eq!(ask.clone().at("2026-01-05T13:00:00Z").of(&set).effect, Effect::Deny, "an hour later");
    assert_eq!(ask.clone().at("2026-01-06T12:00:00Z").of(&set).effect, Effect::Deny, "a day later");
    ask.class = ActionClass::Destructive;
    assert_eq!(ask.of(&set).effect, Effect::Deny);
}

#[test]
fn what_is_said_of_a_person_binds_the_agents_that_act_for_them() {
    let sources = [
        yaml(
            "p.yaml",
            "policies:\n  - {name: y, principals: [{role: dba}], resources: [{type: any}], rules: [{action: read, effect: allow}]}\n",
        ),
        cedar("c.cedar", "@name(\"c\") forbid (principal in User::\"mallory\", action, resource);"),
    ];
    let set = compile(&sources);
    let agent_for = |user: &str| {
        let mut inner = Principal::new(PrincipalKind::Agent, "database", AuthMethod::System);
        inner.on_behalf_of =
            Some(Box::new(Principal::new(PrincipalKind::User, user, AuthMethod::Jwt).with_roles(["dba"])));
        let mut ask = Ask::new(ActionClass::Read);
        ask.principal = Principal::new(PrincipalKind::Agent, "database", AuthMethod::System);
        ask.principal.on_behalf_of = Some(Box::new(inner));
        ask
    };
    assert_eq!(agent_for("alice").of(&set).policy_name, "y");
    assert_eq!(agent_for("mallory").of(&set).policy_name, "c");
    let mut service = agent_for("mallory");
    service.principal.kind = PrincipalKind::Service;
    assert_eq!(service.of(&set).policy_name, "default", "a service answers for itself");
    let explained = set.explain(&agent_for("alice").request());
    assert_eq!((explained.effect, explained.errors.len()), (Effect::Allow, 0));
}

#[test]
fn yaml_compiles_to_cedar_that_people_can_read() {
    let set = compile(&[
        yaml(
            "p.yaml",
            r#"
policies:
  - name: production
    priority: 100
    principals: [{role: dba}, {user: alice}, {service: bot}]
    resources:
      - {type: database, match: {tags: [production, eu], name_pattern: "prod-*"}}
      - {type: kubernetes, match: {namespace: shop, sensitivity: [pii], tool_pattern: "scale_?"}}
    rules:
      - action: [write, destructive]
        effect: require_approval
        message: "Say \"why\"."
        conditions:
          approval_quorum: 2
          approver_roles: [lead]
          max_rows_affected: 100
          max_xact_age_secs: 60
          allowed_purposes: [remediation, emergency]
          blocked_purposes: [diagnostic]
          schedule: {days: [mon, fri], hours: [9, 10], timezone: Europe/Berlin}
      - action: read
        effect: deny
"#,
        ),
        cedar("extra.cedar", "@name(\"extra\") forbid(principal,action,resource) when {context.pods>3};"),
    ]);
    insta::assert_snapshot!(set.to_cedar());
    assert!(PolicySet::cedar_schema().contains("entity Resource"));
}
