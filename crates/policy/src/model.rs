//! What a policy file says, after reading: the one form that the compiler, the matcher, lint and explain work on.
//!
//! Both YAML forms end here. Serialising this model gives the canonical content that the digest of a policy set names,
//! so comments, layout and the order of files do not change the digest, while every word that could change a decision
//! or what people read does.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use globset::{GlobBuilder, GlobMatcher};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use reeve_types::{ActionClass, Effect, Obligations, Purpose, ResourceKind};
use serde::{Serialize, Serializer};

use crate::source::Place;

/// One policy of a YAML file, or a whole file of the short form.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Policy {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) enabled: bool,
    pub(crate) priority: i64,
    /// Empty means everybody.
    pub(crate) principals: Vec<Party>,
    /// Any one of them must fit.
    pub(crate) resources: Vec<Target>,
    pub(crate) rules: Vec<Rule>,
    /// Whether it is a file of the short form, whose rules go by their own names.
    pub(crate) short_form: bool,
    #[serde(skip)]
    pub(crate) file: String,
    #[serde(skip)]
    pub(crate) place: Place,
}

impl Policy {
    /// The name that decisions and traces show for one rule.
    pub(crate) fn shown_name(&self, rule: usize) -> &str {
        self.rules.get(rule).and_then(|r| r.name.as_deref()).unwrap_or(&self.name)
    }

    /// What a rule acts on: its own target in the short form, the policy's otherwise.
    pub(crate) fn targets_of<'a>(&'a self, rule: &'a Rule) -> &'a [Target] {
        if self.short_form { &rule.targets } else { &self.resources }
    }
}

/// One entry of `principals`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Party {
    Any,
    User(String),
    Service(String),
    Role(String),
}

/// One entry of `resources`, or the `match` of a rule of the short form. All criteria that are given must hold.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Target {
    pub(crate) kind: Option<ResourceKind>,
    pub(crate) name: Option<String>,
    pub(crate) name_pattern: Option<Pattern>,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) sensitivity: BTreeSet<String>,
    pub(crate) tool: Option<String>,
    pub(crate) tool_pattern: Option<Pattern>,
}

/// One rule.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Rule {
    pub(crate) name: Option<String>,
    pub(crate) targets: Vec<Target>,
    pub(crate) actions: Vec<ActionClass>,
    pub(crate) effect: Effect,
    pub(crate) message: String,
    pub(crate) conditions: Conditions,
    #[serde(skip)]
    pub(crate) place: Place,
}

impl Rule {
    /// What the rule says when all its conditions hold.
    pub(crate) fn says(&self) -> Effect {
        if self.effect == Effect::Allow && self.conditions.require_approval {
            Effect::RequireApproval
        } else {
            self.effect
        }
    }

    /// How many people must agree; 1 when the file names no number.
    pub(crate) fn quorum(&self) -> u32 {
        self.conditions.approval_quorum.unwrap_or(1)
    }
}

/// The `conditions` of a rule. Zero limits and empty lists restrict nothing.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Conditions {
    pub(crate) schedule: Option<Schedule>,
    pub(crate) require_approval: bool,
    pub(crate) approval_quorum: Option<u32>,
    pub(crate) approver_roles: Vec<String>,
    pub(crate) limits: Obligations,
    pub(crate) allowed_purposes: Vec<Purpose>,
    pub(crate) blocked_purposes: Vec<Purpose>,
}

/// A shell glob over a name: `*`, `?`, `[a-z]`, `{a,b}`, and `\\` before one of these to take it as it is.
///
/// Names are no paths, so `*` crosses `/` and `**` is `*`. `?` and `[…]` stand for one byte, so for one character of
/// ASCII.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    text: String,
    /// `None` for a pattern of `*` alone, which Cedar's `like` knows too.
    glob: Option<GlobMatcher>,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Result<Self, globset::Error> {
        let glob = if text.contains(['?', '[', ']', '{', '}', '\\']) {
            let single = with_single_stars(text);
            let glob = GlobBuilder::new(&single).literal_separator(false).backslash_escape(true).build()?;
            Some(glob.compile_matcher())
        } else {
            None
        };
        Ok(Self { text: text.to_owned(), glob })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        match &self.glob {
            Some(glob) => glob.is_match(name),
            None => stars_match(&self.text, name),
        }
    }

    /// Whether Cedar's `like`, which knows `*` alone, means the same.
    pub(crate) fn is_plain(&self) -> bool {
        self.glob.is_none()
    }
}

/// The pattern with each run of stars as one, since `**` would have a meaning of its own.
fn with_single_stars(text: &str) -> String {
    let mut single = String::with_capacity(text.len());
    let (mut escaped, mut after_star) = (false, false);
    for c in text.chars() {
        let star = c == '*' && !escaped;
        if !(star && after_star) {
            single.push(c);
        }
        after_star = star;
        escaped = c == '\\' && !escaped;
    }
    single
}

/// Whether a pattern of `*` alone fits, as Cedar's `like` has it.
fn stars_match(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').map_or((None, rest), |(middle, last)| (Some(middle), last));
    for piece in middle.unwrap_or_default().split('*') {
        match name.split_once(piece) {
            Some((_, after)) => name = after,
            None => return false,
        }
    }
    name.ends_with(last)
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

/// The days of a schedule, in the order of their bits.
pub(crate) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// The hours of a week, in one zone, in which a rule counts.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    /// Bit 0 is Monday.
    days: u8,
    /// Bit 0 is the hour from midnight.
    hours: u32,
    zone: TimeZone,
    key: String,
}

impl Schedule {
    /// `days` and `hours` as bits; no bit at all means that the file leaves that part open.
    pub(crate) fn new(days: u8, hours: u32, zone_name: &str, zone: TimeZone) -> Self {
        let days = if days == 0 { 0x7f } else { days };
        let hours = if hours == 0 { 0x00ff_ffff } else { hours };
        let mut key = String::new();
        for (bit, day) in DAYS.iter().enumerate() {
            if days >> bit & 1 == 1 {
                let _ = write!(key, "{}{day}", if key.is_empty() { "" } else { "," });
            }
        }
        let mut separator = ' ';
        for hour in (0..24).filter(|hour| hours >> hour & 1 == 1) {
            let _ = write!(key, "{separator}{hour}");
            separator = ',';
        }
        let _ = write!(key, " {zone_name}");
        Self { days, hours, zone, key }
    }

    /// A text that names the schedule: two schedules with the same text are the same.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Whether the local hour of the moment is one of the schedule's.
    pub(crate) fn is_active(&self, at: Timestamp) -> bool {
        let local = self.zone.to_datetime(at);
        let day = local.weekday().to_monday_zero_offset();
        self.days >> day & 1 == 1 && self.hours >> local.hour() & 1 == 1
    }

    /// Whether it holds at every hour of the week, so that it restricts nothing.
    pub(crate) fn is_always(&self) -> bool {
        self.days == 0x7f && self.hours == 0x00ff_ffff
    }
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fits(pattern: &str, name: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(name)
    }

    #[test]
    fn globs_know_what_shells_know() {
        for (pattern, name, expected) in [
            ("db-?", "db-1", true),
            ("db-?", "db-12", false),
            ("[a-c]*", "cat", true),
            ("[!a-c]*", "cat", false),
            ("{prod,stage}-*", "stage-1", true),
            ("{prod,stage}-*", "dev-1", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("\\**", "*x", true),
            ("**/?", "a", false),
            ("**/?", "a/b/c", true),
            ("DB-?", "db-1", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} on {name}");
        }
        assert!(Pattern::new("[a").is_err());
    }

    proptest! {
        #[test]
        fn stars_alone_match_what_globs_match(pattern in "[ab/*]{0,6}", name in "[ab/*]{0,6}") {
            let glob = GlobBuilder::new(&with_single_stars(&pattern)).literal_separator(false).build().unwrap();
            prop_assert_eq!(stars_match(&pattern, &name), glob.compile_matcher().is_match(&name));
        }
    }
}
