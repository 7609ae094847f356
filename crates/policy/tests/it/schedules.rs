//! Schedules are held against the local time of their zone, daylight saving included.

use reeve_types::{ActionClass, Effect};

use crate::support::{Ask, compile, yaml};

fn frozen(schedule: &str, at: &str) -> bool {
    let set = compile(&[yaml(
        "p.yaml",
        &format!(
            "
policies:
  - name: freeze
    priority: 2
    resources: [{{type: any}}]
    rules: [{{action: write, effect: deny, conditions: {{schedule: {schedule}}}}}]
  - name: open
    priority: 1
    resources: [{{type: any}}]
    rules: [{{action: write, effect: allow}}]
"
        ),
    )]);
    Ask::new(ActionClass::Write).at(at).of(&set).effect == Effect::Deny
}

#[test]
fn an_hour_is_the_local_hour_of_the_zone() {
    let nine = "{hours: [9], timezone: America/New_York}";
    assert!(frozen(nine, "2026-01-15T14:00:00Z"), "winter: UTC-5");
    assert!(frozen(nine, "2026-01-15T14:59:59Z"));
    assert!(!frozen(nine, "2026-01-15T15:00:00Z"));
    assert!(!frozen(nine, "2026-01-15T13:59:59Z"));
    assert!(frozen(nine, "2026-07-15T13:00:00Z"), "summer: UTC-4");
    assert!(!frozen(nine, "2026-07-15T14:00:00Z"));
}

#[test]
fn an_hour_that_daylight_saving_skips_never_comes() {
    let two = "{hours: [2], timezone: Europe/Berlin}";
    assert!(!frozen(two, "2026-03-29T00:59:59Z"), "01:59:59 local");
    assert!(!frozen(two, "2026-03-29T01:00:00Z"), "03:00 local; there is no 02:00 on this night");
    assert!(frozen(two, "2026-03-30T00:00:00Z"), "02:00 on the next");
}

#[test]
fn an_hour_that_daylight_saving_repeats_counts_twice() {
    let two = "{hours: [2], timezone: Europe/Berlin}";
    assert!(frozen(two, "2026-10-25T00:30:00Z"), "02:30 in summer time");
    assert!(frozen(two, "2026-10-25T01:30:00Z"), "02:30 in winter time");
    assert!(!frozen(two, "2026-10-25T02:00:00Z"));
}

#[test]
fn a_day_begins_at_local_midnight() {
    let monday = "{days: [mon], timezone: Asia/Tokyo}";
    assert!(frozen(monday, "2026-01-04T15:00:00Z"), "Sunday in UTC, Monday in Tokyo");
    assert!(!frozen(monday, "2026-01-04T14:59:59Z"));
    assert!(!frozen(monday, "2026-01-05T15:00:00Z"), "Tuesday in Tokyo");
}

#[test]
fn half_hour_zones_and_utc_by_default() {
    assert!(frozen("{hours: [5], timezone: Asia/Kolkata}", "2026-01-05T00:00:00Z"), "05:30");
    assert!(frozen("{days: [mon, sun], hours: [12]}", "2026-01-05T12:30:00Z"));
    assert!(!frozen("{days: [tue], hours: [12]}", "2026-01-05T12:30:00Z"));
}

#[test]
fn a_remembered_decision_ends_with_its_hour() {
    let set = compile(&[yaml(
        "p.yaml",
        "rules:\n  - {name: night, effect: allow, conditions: {schedule: {hours: [3], timezone: Europe/Berlin}}}\n",
    )]);
    let at = |moment: &str| Ask::new(ActionClass::Read).at(moment).of(&set).effect;
    assert_eq!(at("2026-01-05T02:59:59Z"), Effect::Allow);
    assert_eq!(at("2026-01-05T03:00:00Z"), Effect::Deny);
    assert_eq!(at("2026-01-06T02:00:00Z"), Effect::Allow);
}
