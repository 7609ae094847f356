//! Random policies and requests: what Cedar decides is what a plain interpreter of the rules decides.
//!
//! The interpreter below is written against the description of the rules alone and shares nothing with the crate: it
//! knows neither Cedar nor globs nor time zones (its zones have fixed offsets).

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::option::of as maybe;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use reeve_policy::{PolicySet, Source};
use reeve_types::{
    ActionClass, AuthMethod, Decision, Effect, Measured, Obligations, Principal, PrincipalKind, Purpose, Resource,
    ResourceKind,
};
use serde_json::{Value, json};

use crate::support::{Ask, cedar, compile, yaml};

const KINDS: [ResourceKind; 3] = [ResourceKind::Database, ResourceKind::Kubernetes, ResourceKind::Secret];
const NAMES: [&str; 5] = ["db-1", "db-22", "kv-1", "k/v-1", "?"];
const TAGS: [&str; 3] = ["production", "eu", "a b"];
const ROLES: [&str; 3] = ["dba", "sre", "oncall"];
const PEOPLE: [&str; 3] = ["alice", "bob", "srebot"];
const ZONES: [(&str, i64); 3] = [("UTC", 0), ("Asia/Tokyo", 32_400), ("Asia/Kolkata", 19_800)];
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// A glob and what it means.
type Glob = (&'static str, fn(&str) -> bool);

const GLOBS: [Glob; 8] = [
    ("*", |_| true),
    ("db-*", |n| n.starts_with("db-")),
    ("*1", |n| n.ends_with('1')),
    ("k/**", |n| n.starts_with("k/")),
    ("**/v-1", |n| n.ends_with("/v-1")),
    ("db-?", |n| n.starts_with("db-") && n.len() == 4),
    ("[dk]*-1", |n| (n.starts_with('d') || n.starts_with('k')) && n.get(1..).is_some_and(|r| r.ends_with("-1"))),
    ("{db,kv}-*", |n| n.starts_with("db-") || n.starts_with("kv-")),
];

#[derive(Debug, Clone)]
struct APolicy {
    priority: i64,
    enabled: bool,
    parties: Vec<(&'static str, &'static str)>,
    targets: Vec<ATarget>,
    rules: Vec<ARule>,
}

#[derive(Debug, Clone)]
struct ATarget {
    kind: Option<ResourceKind>,
    name: Option<&'static str>,
    name_glob: Option<usize>,
    tags: Vec<&'static str>,
    sensitivity: Vec<&'static str>,
    namespace: Option<&'static str>,
    tool: Option<&'static str>,
    tool_glob: Option<usize>,
}

#[derive(Debug, Clone)]
struct ARule {
    actions: Vec<ActionClass>,
    effect: Effect,
    approval: bool,
    quorum: Option<u32>,
    limits: Obligations,
    allowed: Vec<Purpose>,
    blocked: Vec<Purpose>,
    schedule: Option<ASchedule>,
}

#[derive(Debug, Clone)]
struct ASchedule {
    days: Vec<&'static str>,
    hours: Vec<i64>,
    zone: (&'static str, i64),
}

fn a_party() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop_oneof![
        select(&ROLES[..]).prop_map(|r| ("role", r)),
        select(&PEOPLE[..]).prop_map(|p| ("user", p)),
        select(&PEOPLE[..]).prop_map(|p| ("service", p)),
        Just(("any", "")),
    ]
}

fn a_target() -> impl Strategy<Value = ATarget> {
    let rarely = |list: &'static [&'static str]| proptest::option::weighted(0.2, select(list));
    let glob = || proptest::option::weighted(0.25, 0..GLOBS.len());
    (
        maybe(select(&KINDS[..])),
        rarely(&NAMES),
        glob(),
        subsequence(&TAGS[..], 0..=2),
        subsequence(&["pii", "critical"][..], 0..=1),
        rarely(&["shop", "kube-system"]),
        rarely(&NAMES),
        glob(),
    )
        .prop_map(|(kind, name, name_glob, tags, sensitivity, namespace, tool, tool_glob)| ATarget {
            kind,
            name,
            name_glob,
            tags,
            sensitivity,
            namespace,
            tool,
            tool_glob,
        })
}

fn a_rule() -> impl Strategy<Value = ARule> {
    let limit = || prop_oneof![3 => Just(0u64), 1 => 1u64..20];
    let schedule =
        (subsequence(&DAYS[..], 0..=7), subsequence((0..24).collect::<Vec<i64>>(), 0..=24), select(&ZONES[..]));
    (
        subsequence(&ActionClass::ALL[..], 1..=3),
        select(&[Effect::Allow, Effect::Allow, Effect::Deny, Effect::RequireApproval][..]),
        any::<bool>(),
        maybe(1u32..4),
        (limit(), limit(), limit()),
        subsequence(&Purpose::ALL[..], 0..=6),
        subsequence(&Purpose::ALL[..], 0..=2),
        proptest::option::weighted(0.3, schedule),
    )
        .prop_map(|(actions, effect, approval, quorum, (rows, pods, age), allowed, blocked, schedule)| ARule {
            actions,
            effect,
            approval,
            quorum,
            limits: Obligations { max_rows_affected: rows, max_pods_affected: pods, max_xact_age_secs: age },
            allowed,
            blocked,
            schedule: schedule.map(|(days, hours, zone)| ASchedule { days, hours, zone }),
        })
}

fn a_policy() -> impl Strategy<Value = APolicy> {
    (0i64..5, proptest::bool::weighted(0.9), vec(a_party(), 0..3), vec(a_target(), 1..3), vec(a_rule(), 1..4))
        .prop_map(|(priority, enabled, parties, targets, rules)| APolicy { priority, enabled, parties, targets, rules })
}

fn an_ask() -> impl Strategy<Value = Ask> {
    let principal = (
        select(&[PrincipalKind::User, PrincipalKind::Service, PrincipalKind::Agent][..]),
        select(&PEOPLE[..]),
        subsequence(&ROLES[..], 0..=3),
    );
    let resource = (
        select(&KINDS[..]),
        select(&NAMES[..]),
        subsequence(&TAGS[..], 0..=3),
        subsequence(&["pii", "critical"][..], 0..=2),
        maybe(select(&["shop", "kube-system"][..])),
    );
    let sizes = (0u64..25, 0u64..25, 0u64..25);
    let rest = (select(&ActionClass::ALL[..]), maybe(select(&Purpose::ALL[..])), select(&NAMES[..]));
    (principal, resource, sizes, rest, 0i64..4_000_000_000).prop_map(|(who, what, sizes, rest, at)| {
        let plain = |kind| Principal::new(kind, who.1, AuthMethod::ApiKey).with_roles(who.2.iter().copied());
        let principal = match who.0 {
            PrincipalKind::Agent => {
                let mut agent = Principal::new(PrincipalKind::Agent, "database", AuthMethod::System);
                agent.on_behalf_of = Some(Box::new(plain(PrincipalKind::User)));
                agent
            }
            kind => plain(kind),
        };
        let owned = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect();
        Ask {
            principal,
            resource: Resource {
                kind: what.0,
                name: what.1.to_owned(),
                tags: owned(&what.2),
                sensitivity: owned(&what.3),
                namespace: what.4.map(str::to_owned),
            },
            class: rest.0,
            purpose: rest.1,
            tool: rest.2.to_owned(),
            measured: Measured { rows_affected: sizes.0, pods_affected: sizes.1, xact_age_secs: sizes.2 },
            at: Timestamp::from_second(at).unwrap(),
        }
    })
}

/// The policies as files, one each: JSON is YAML.
fn sources(policies: &[APolicy]) -> Vec<Source> {
    policies.iter().enumerate().map(|(at, policy)| yaml(&format!("{at}.yaml"), &written(at, policy))).collect()
}

fn written(at: usize, policy: &APolicy) -> String {
    let parties: Vec<Value> = policy
        .parties
        .iter()
        .map(|(key, id)| if *key == "any" { json!({"any": true}) } else { json!({*key: id}) })
        .collect();
    let targets: Vec<Value> = policy.targets.iter().map(written_target).collect();
    let rules: Vec<Value> = policy.rules.iter().map(written_rule).collect();
    json!({"policies": [{
        "name": format!("p{at}"), "priority": policy.priority, "enabled": policy.enabled,
        "principals": parties, "resources": targets, "rules": rules,
    }]})
    .to_string()
}

fn written_target(target: &ATarget) -> Value {
    let mut criteria = serde_json::Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() && value != json!([]) {
            criteria.insert(key.to_owned(), value);
        }
    };
    put("name", json!(target.name));
    put("name_pattern", json!(target.name_glob.map(|g| GLOBS[g].0)));
    put("tags", json!(target.tags));
    put("sensitivity", json!(target.sensitivity));
    put("namespace", json!(target.namespace));
    put("tool", json!(target.tool));
    put("tool_pattern", json!(target.tool_glob.map(|g| GLOBS[g].0)));
    json!({"type": target.kind.map_or("any", ResourceKind::as_str), "match": criteria})
}

fn written_rule(rule: &ARule) -> Value {
    let mut conditions = json!({
        "require_approval": rule.approval,
        "max_rows_affected": rule.limits.max_rows_affected,
        "max_pods_affected": rule.limits.max_pods_affected,
        "max_xact_age_secs": rule.limits.max_xact_age_secs,
    });
    if let Some(quorum) = rule.quorum {
        conditions["approval_quorum"] = json!(quorum);
    }
    for (key, list) in [("allowed_purposes", &rule.allowed), ("blocked_purposes", &rule.blocked)] {
        if !list.is_empty() {
            conditions[key] = json!(list);
        }
    }
    if let Some(schedule) = &rule.schedule {
        let mut value = json!({"timezone": schedule.zone.0});
        if !schedule.days.is_empty() {
            value["days"] = json!(schedule.days);
        }
        if !schedule.hours.is_empty() {
            value["hours"] = json!(schedule.hours);
        }
        conditions["schedule"] = value;
    }
    json!({"action": rule.actions, "effect": rule.effect, "conditions": conditions})
}

/// What a decision comes down to.
type Outcome = (Effect, String, i64, u32, Obligations);

fn outcome(decision: &Decision) -> Outcome {
    let Decision { effect, policy_name, rule_index, approval_quorum, obligations, .. } = decision;
    (*effect, policy_name.clone(), *rule_index, *approval_quorum, *obligations)
}

fn interpret(policies: &[APolicy], ask: &Ask) -> Outcome {
    for priority in (0..5).rev() {
        let mut answers = Vec::new();
        for (at, policy) in policies.iter().enumerate().filter(|(_, p)| p.enabled && p.priority == priority) {
            let somebody = policy.parties.is_empty() || policy.parties.iter().any(|p| is_party(p, &ask.principal));
            if !somebody || !policy.targets.iter().any(|t| is_target(t, ask)) {
                continue;
            }
            let mut matching = policy.rules.iter().enumerate().filter(|(_, rule)| applies(rule, ask));
            if let Some((index, rule)) = matching.next() {
                answers.push((verdict(rule, ask), format!("p{at}"), index, rule));
            }
        }
        let strictness = |effect: Effect| match effect {
            Effect::Deny => 0,
            Effect::RequireApproval => 1,
            Effect::Allow => 2,
        };
        answers.sort_by_key(|(effect, name, _, rule)| {
            (strictness(*effect), Reverse(rule.quorum.unwrap_or(1)), name.clone())
        });
        let Some((effect, name, index, rule)) = answers.first() else { continue };
        let quorum = if *effect == Effect::RequireApproval { rule.quorum.unwrap_or(1) } else { 1 };
        let mut limits = Obligations::default();
        if *effect != Effect::Deny {
            let least = |of: fn(&Obligations) -> u64| answers.iter().map(|a| of(&a.3.limits)).filter(|n| *n > 0).min();
            limits.max_rows_affected = least(|o| o.max_rows_affected).unwrap_or(0);
            limits.max_pods_affected = least(|o| o.max_pods_affected).unwrap_or(0);
            limits.max_xact_age_secs = least(|o| o.max_xact_age_secs).unwrap_or(0);
        }
        return (*effect, name.clone(), i64::try_from(*index).unwrap(), quorum, limits);
    }
    (Effect::Deny, "default".to_owned(), -1, 1, Obligations::default())
}

fn is_party((key, id): &(&str, &str), principal: &Principal) -> bool {
    let who = principal.root();
    match *key {
        "role" => who.roles.contains(*id),
        "user" => who.kind == PrincipalKind::User && who.id == *id,
        "service" => who.kind == PrincipalKind::Service && who.id == *id,
        _ => true,
    }
}

fn is_target(target: &ATarget, ask: &Ask) -> bool {
    let resource = &ask.resource;
    let holds = |wanted: Option<&str>, is: Option<&str>| wanted.is_none() || wanted == is;
    holds(target.kind.map(ResourceKind::as_str), Some(resource.kind.as_str()))
        && holds(target.name, Some(&resource.name))
        && holds(target.namespace, resource.namespace.as_deref())
        && holds(target.tool, Some(&ask.tool))
        && target.tags.iter().all(|t| resource.tags.contains(*t))
        && target.sensitivity.iter().all(|t| resource.sensitivity.contains(*t))
        && target.name_glob.is_none_or(|g| GLOBS[g].1(&resource.name))
        && target.tool_glob.is_none_or(|g| GLOBS[g].1(&ask.tool))
}

fn applies(rule: &ARule, ask: &Ask) -> bool {
    let active = rule.schedule.as_ref().is_none_or(|schedule| {
        let local = ask.at.as_second() + schedule.zone.1;
        let hour = local.rem_euclid(86_400) / 3_600;
        // The first of January 1970 was a Thursday.
        let day = DAYS[usize::try_from((local.div_euclid(86_400) + 3).rem_euclid(7)).unwrap()];
        (schedule.days.is_empty() || schedule.days.contains(&day))
            && (schedule.hours.is_empty() || schedule.hours.contains(&hour))
    });
    rule.actions.contains(&ask.class) && active
}

fn verdict(rule: &ARule, ask: &Ask) -> Effect {
    let mut effect = rule.effect;
    if effect == Effect::Allow && rule.approval {
        effect = Effect::RequireApproval;
    }
    let over = |size: u64, limit: u64| limit > 0 && size > limit;
    let sizes = ask.measured;
    let allowed = rule.allowed.is_empty() || ask.purpose.is_some_and(|p| rule.allowed.contains(&p));
    let blocked = ask.purpose.is_some_and(|p| rule.blocked.contains(&p));
    if over(sizes.rows_affected, rule.limits.max_rows_affected)
        || over(sizes.pods_affected, rule.limits.max_pods_affected)
        || over(sizes.xact_age_secs, rule.limits.max_xact_age_secs)
        || !allowed
        || blocked
    {
        effect = Effect::Deny;
    }
    effect
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cedar_decides_what_the_rules_say(policies in vec(a_policy(), 0..6), asks in vec(an_ask(), 8..24)) {
        let set = compile(&sources(&policies));
        for ask in &asks {
            let expected = interpret(&policies, ask);
            let fresh = set.decide_afresh(&ask.request());
            prop_assert_eq!(&fresh.errors, &Vec::<String>::new());
            prop_assert_eq!(outcome(&fresh), expected);
            // Twice, so that the second is remembered.
            prop_assert_eq!(&ask.of(&set), &fresh);
            prop_assert_eq!(&ask.of(&set), &fresh);
            // The same question at other hours and days must not be answered from memory.
            for hours in [5, 36, 61] {
                let later = Ask { at: ask.at + SignedDuration::from_hours(hours), ..ask.clone() };
                prop_assert_eq!(outcome(&later.of(&set)), interpret(&policies, &later));
            }
            // It puts every rule to Cedar and errs when the index in front of it left out one that applies.
            let mut explained = set.explain(&ask.request());
            explained.policies_evaluated.clear();
            prop_assert_eq!(explained, fresh);
        }
    }

    #[test]
    fn the_order_of_files_does_not_matter(policies in vec(a_policy(), 2..6), ask in an_ask(), turn in 1usize..5) {
        let mut files = sources(&policies);
        let set = compile(&files);
        files.rotate_left(turn % policies.len());
        let turned = compile(&files);
        files.reverse();
        let reversed = compile(&files);
        prop_assert_eq!(set.digest(), turned.digest());
        prop_assert_eq!(set.digest(), reversed.digest());
        prop_assert_eq!(ask.of(&set), ask.of(&turned));
        prop_assert_eq!(ask.of(&set), ask.of(&reversed));
    }

    #[test]
    fn what_no_rule_speaks_of_is_denied(mut policies in vec(a_policy(), 0..5), mut ask in an_ask()) {
        for target in policies.iter_mut().flat_map(|p| &mut p.targets) {
            target.kind = Some(ResourceKind::Database);
        }
        ask.resource.kind = ResourceKind::Kubernetes;
        let decision = ask.of(&compile(&sources(&policies)));
        prop_assert_eq!((decision.effect, decision.default_applied), (Effect::Deny, true));
    }

    #[test]
    fn a_forbid_of_a_cedar_file_always_wins(policies in vec(a_policy(), 0..5), ask in an_ask()) {
        let mut files = sources(&policies);
        let kind = ask.resource.kind;
        files.push(cedar("f.cedar", &format!("@name(\"never\") forbid (principal, action, resource) when {{ resource.kind == \"{kind}\" }};")));
        let decision = ask.of(&compile(&files));
        prop_assert_eq!((decision.effect, decision.policy_name.as_str()), (Effect::Deny, "never"));
    }

    #[test]
    fn a_policy_that_errs_denies_whatever_else_says(policies in vec(a_policy(), 0..5), ask in an_ask()) {
        let mut files = sources(&policies);
        files.push(cedar("e.cedar", "@name(\"bad\") @priority(\"-9\") permit (principal, action, resource) when { context.rows - 9223372036854775807 - 30 < 0 };"));
        let decision = ask.of(&compile(&files));
        prop_assert_eq!(decision.effect, Effect::Deny);
        prop_assert!(!decision.errors.is_empty());
    }

    #[test]
    fn no_text_makes_the_readers_panic(text in "[ -~\\n\\u{80}-\\u{ff}]{0,200}", start in select(&["", "rules:\n  - ", "policies: [{", "permit ("][..])) {
        let text = format!("{start}{text}");
        let _ = PolicySet::compile(&[yaml("a", &text)], &|_| None);
        let _ = PolicySet::compile(&[cedar("a", &text)], &|_| None);
    }
}
