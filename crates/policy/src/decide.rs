//! One decision.
//!
//! 1. The policies of Cedar files that could apply to the action class are evaluated together. A satisfied `forbid`
//!    denies, whatever else says otherwise. Satisfied permits are kept with their priority.
//! 2. YAML policies are walked by priority, highest first, down to the highest permit of step 1. In each policy the
//!    first rule that applies is that policy's answer; Cedar evaluates its layer, limits and purposes included.
//! 3. The highest priority that has an answer decides. When several policies of that priority answer, the strictest
//!    wins (deny, then approval by more people, then approval by fewer, then allow), and then the name; so the order of
//!    files never matters. The smallest limit among them binds.
//! 4. No answer at all is a denial by `default`. Any evaluation error is a denial that says so.

use reeve_types::decision::ConditionResult;
use reeve_types::{Decision, Effect, Obligations, PolicyRequest};

use crate::cache;
use crate::compile::{Part, glob_name};
use crate::engine::{Engine, Facts, Fault, Needs, Question, Verdict};
use crate::matching;
use crate::model::{Party, Policy, Rule};
use crate::set::{Entry, GlobOf, PolicySet};

/// Who gives an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    /// A rule of a YAML policy, by its place in the set.
    Rule { policy: usize, rule: usize },
    /// A policy of a Cedar file, by its place in the set.
    File(usize),
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer<'s> {
    pub(crate) voice: Voice,
    name: &'s str,
    effect: Effect,
    quorum: u32,
    limits: Obligations,
    violated: Vec<Part>,
}

impl Answer<'_> {
    /// Orders answers of one priority: the first is the strictest.
    fn strictness(&self) -> (u8, std::cmp::Reverse<u32>, &str) {
        let effect = match self.effect {
            Effect::Deny => 0,
            Effect::RequireApproval => 1,
            Effect::Allow => 2,
        };
        (effect, std::cmp::Reverse(self.quorum), self.name)
    }
}

/// Why no decision could be reached.
#[derive(Debug)]
pub(crate) struct Failure {
    policy: String,
    errors: Vec<String>,
}

impl Failure {
    pub(crate) fn of(policy: &str, errors: Vec<String>) -> Self {
        Self { policy: policy.to_owned(), errors }
    }

    fn engine(reason: String) -> Self {
        Self { policy: "default".to_owned(), errors: vec![reason] }
    }

    /// `shown` is the policy's name where the engine knows it by another.
    fn faults(faults: &[Fault], shown: Option<&str>) -> Self {
        let name = |fault: &Fault| shown.unwrap_or_else(|| fault.policy.as_ref()).to_owned();
        let policy = faults.first().map(name).unwrap_or_default();
        let errors = faults.iter().map(|f| format!("policy `{}`: {}", name(f), f.reason)).collect();
        Self { policy, errors }
    }
}

impl PolicySet {
    /// Decides. It never panics; whatever goes wrong is a denial with the reason in `errors`.
    ///
    /// `policies_evaluated` stays empty: see [`PolicySet::explain`].
    ///
    /// A decision made before about the same request in the same circumstances is remembered.
    pub fn decide(&self, request: &PolicyRequest<'_>) -> Decision {
        self.cache.get_or(cache::key(self, request), || self.decide_afresh(request))
    }

    /// Decides without looking at remembered decisions. The answer is the same as that of [`PolicySet::decide`].
    pub fn decide_afresh(&self, request: &PolicyRequest<'_>) -> Decision {
        match self.answers(request) {
            Ok(answers) => self.conclude(request, &answers),
            Err(failure) => self.failed(failure),
        }
    }

    /// All answers of the deciding priority.
    pub(crate) fn answers(&self, request: &PolicyRequest<'_>) -> Result<Vec<Answer<'_>>, Failure> {
        // A set without engine is the one that denies everything: it has no policies.
        let Some(engine) = &self.engine else { return Ok(Vec::new()) };
        let (mut answers, floor) = match self.file_answers(engine, request)? {
            Files::Forbid(answer) => return Ok(vec![answer]),
            Files::Permits(answers, floor) => (answers, floor),
        };
        let speaking = self.parties.speaking_of(request.principal);
        for group in self.index.candidates(request.class, request.resource.kind) {
            if floor.is_some_and(|floor| group.priority < floor) {
                break;
            }
            let mut found = Vec::new();
            for entry in group.entries.iter().filter(|entry| speaking.has(entry.policy)) {
                found.extend(self.policy_answer(engine, entry, request)?);
            }
            if !found.is_empty() {
                if floor.is_some_and(|floor| group.priority > floor) {
                    answers.clear();
                }
                answers.append(&mut found);
                break;
            }
        }
        Ok(answers)
    }

    /// What the Cedar files say: the first forbid, or the permits of the highest priority among them.
    fn file_answers(&self, engine: &Engine, request: &PolicyRequest<'_>) -> Result<Files<'_>, Failure> {
        let nothing = Files::Permits(Vec::new(), None);
        let [read, write, destructive] = &self.file_sets;
        let set = match request.class {
            reeve_types::ActionClass::Read => read,
            reeve_types::ActionClass::Write => write,
            reeve_types::ActionClass::Destructive => destructive,
        };
        if set.is_empty() {
            return Ok(nothing);
        }
        let question = self.question(engine, Needs::ALL, None, request)?;
        let satisfied = match engine.evaluate(set, &question) {
            Verdict::Broken(faults) => return Err(Failure::faults(&faults, None)),
            Verdict::Silent => return Ok(nothing),
            Verdict::Permits(ids) | Verdict::Forbids(ids) => ids,
        };
        let names: Vec<&str> = satisfied.iter().map(AsRef::as_ref).collect();
        let mut speaking = self.files.iter().enumerate().filter(|(_, policy)| names.contains(&policy.name.as_str()));
        let Some((first, top)) = speaking.next() else {
            return Err(Failure::engine("the engine named a policy that is not in the set".to_owned()));
        };
        if top.effect == Effect::Deny {
            return Ok(Files::Forbid(self.file_answer(first)));
        }
        let mut answers = vec![self.file_answer(first)];
        let same = speaking.take_while(|(_, policy)| policy.priority == top.priority);
        answers.extend(same.map(|(at, _)| self.file_answer(at)));
        Ok(Files::Permits(answers, Some(top.priority)))
    }

    fn file_answer(&self, at: usize) -> Answer<'_> {
        let voice = Voice::File(at);
        let (limits, violated) = (Obligations::default(), Vec::new());
        match self.files.get(at) {
            Some(p) => Answer { voice, name: &p.name, effect: p.effect, quorum: p.quorum, limits, violated },
            None => Answer { voice, name: "default", effect: Effect::Deny, quorum: 1, limits, violated },
        }
    }

    /// The answer of one YAML policy that speaks of the principal: its first rule that applies, as Cedar evaluates it.
    fn policy_answer(
        &self,
        engine: &Engine,
        entry: &Entry,
        request: &PolicyRequest<'_>,
    ) -> Result<Option<Answer<'_>>, Failure> {
        let Some(policy) = self.policies.get(entry.policy) else { return Ok(None) };
        if !policy.short_form && !policy.resources.iter().any(|t| matching::target_fits(t, request)) {
            return Ok(None);
        }
        for at in &entry.rules {
            let Some(rule) = policy.rules.get(*at) else { continue };
            if policy.short_form && !rule.targets.iter().any(|t| matching::target_fits(t, request))
                || !matching::schedule_is_active(rule, request)
            {
                continue;
            }
            return self.rule_answer(engine, entry.policy, *at, request).map(Some);
        }
        Ok(None)
    }

    /// Puts one rule, which applies, to Cedar.
    fn rule_answer(
        &self,
        engine: &Engine,
        policy_at: usize,
        rule_at: usize,
        request: &PolicyRequest<'_>,
    ) -> Result<Answer<'_>, Failure> {
        let missing = || Failure::engine("a rule of the index is not in the set".to_owned());
        let policy = self.policies.get(policy_at).ok_or_else(missing)?;
        let rule = policy.rules.get(rule_at).ok_or_else(missing)?;
        let verdict = self.rule_verdict(engine, (policy_at, rule_at), request, None)?;
        let violated = match verdict {
            Some(violated) => violated,
            None => {
                let name = policy.shown_name(rule_at);
                return Err(Failure {
                    policy: name.to_owned(),
                    errors: vec![format!("policy `{name}`: the engine does not confirm that rule {rule_at} applies")],
                });
            }
        };
        Ok(Answer {
            voice: Voice::Rule { policy: policy_at, rule: rule_at },
            name: policy.shown_name(rule_at),
            effect: if violated.is_empty() { rule.says() } else { Effect::Deny },
            quorum: rule.quorum(),
            limits: rule.conditions.limits,
            violated,
        })
    }

    /// What Cedar says of one rule: `None` when it does not apply, else the conditions that the request violates.
    /// `question` is the request in Cedar's terms when it has been put so already.
    pub(crate) fn rule_verdict(
        &self,
        engine: &Engine,
        (policy_at, rule_at): (usize, usize),
        request: &PolicyRequest<'_>,
        question: Option<&Question>,
    ) -> Result<Option<Vec<Part>>, Failure> {
        let layer = self
            .layers
            .get(policy_at)
            .and_then(|layers| layers.get(rule_at))
            .ok_or_else(|| Failure::engine("a rule of the index is not in the set".to_owned()))?;
        let asked;
        let question = match question {
            Some(question) => question,
            None => {
                let named = self.policies.get(policy_at).map(|policy| policy.principals.as_slice());
                asked = self.question(engine, layer.needs, named, request)?;
                &asked
            }
        };
        match engine.evaluate(&layer.set, question) {
            Verdict::Broken(faults) => {
                let shown = self.policies.get(policy_at).map(|p| p.shown_name(rule_at));
                Err(Failure::faults(&faults, shown))
            }
            Verdict::Silent => Ok(None),
            Verdict::Permits(_) => Ok(Some(Vec::new())),
            Verdict::Forbids(ids) => {
                let parts = layer.parts.iter().filter(|(id, part)| *part != Part::Rule && ids.contains(id));
                Ok(Some(parts.map(|(_, part)| *part).collect()))
            }
        }
    }

    /// `named` are the parties that a layer names: of other roles it need not know.
    pub(crate) fn question(
        &self,
        engine: &Engine,
        needs: Needs,
        named: Option<&[Party]>,
        request: &PolicyRequest<'_>,
    ) -> Result<Question, Failure> {
        engine.ask(request, needs, named, &self.facts(needs, request)).map_err(|e| Failure::engine(e.to_string()))
    }

    fn facts(&self, needs: Needs, request: &PolicyRequest<'_>) -> Facts<'_> {
        let mut facts = Facts::default();
        if needs.schedules {
            facts.schedules.extend(self.schedules.iter().filter(|s| s.is_active(request.at)).map(|s| s.key()));
        }
        if needs.globs {
            for (of, pattern) in &self.globs {
                let (prefix, subject) = match of {
                    GlobOf::Name => ("name", request.resource.name.as_str()),
                    GlobOf::Tool => ("tool", request.tool),
                };
                if pattern.matches(subject) {
                    facts.globs.push(glob_name(prefix, pattern));
                }
            }
        }
        facts
    }

    /// Turns the answers of the deciding priority into a decision.
    fn conclude(&self, request: &PolicyRequest<'_>, answers: &[Answer<'_>]) -> Decision {
        let Some(answer) = answers.iter().min_by(|a, b| a.strictness().cmp(&b.strictness())) else {
            return self.default_decision();
        };
        let mut decision = Decision {
            effect: answer.effect,
            policy_name: answer.name.to_owned(),
            requires_approval: answer.effect == Effect::RequireApproval,
            approval_quorum: answer.quorum,
            default_applied: false,
            ..self.default_decision_without_words()
        };
        match answer.voice {
            Voice::Rule { policy, rule } => {
                decision.rule_index = i64::try_from(rule).unwrap_or(-1);
                if let Some(found) = self.policies.get(policy).and_then(|p: &Policy| p.rules.get(rule)) {
                    decision.conditions = condition_results(found, request, &answer.violated);
                    decision.message = match decision.conditions.iter().find(|c| !c.passed) {
                        Some(failed) => format!("{}: {}", failed.name, failed.detail),
                        None => found.message.clone(),
                    };
                    decision.approver_roles.clone_from(&found.conditions.approver_roles);
                }
            }
            Voice::File(at) => {
                decision.rule_index = 0;
                if let Some(found) = self.files.get(at) {
                    decision.message.clone_from(&found.message);
                    decision.approver_roles.clone_from(&found.approver_roles);
                }
            }
        }
        if answer.effect == Effect::Deny {
            decision.approver_roles.clear();
        } else {
            decision.obligations = smallest(answers);
        }
        if answer.effect != Effect::RequireApproval {
            decision.approval_quorum = 1;
        }
        decision
    }

    fn default_decision(&self) -> Decision {
        Decision { message: "No matching policy found".to_owned(), ..self.default_decision_without_words() }
    }

    fn default_decision_without_words(&self) -> Decision {
        Decision {
            effect: Effect::Deny,
            policy_name: "default".to_owned(),
            rule_index: -1,
            message: String::new(),
            conditions: Vec::new(),
            requires_approval: false,
            approval_quorum: 1,
            approver_roles: Vec::new(),
            obligations: Obligations::default(),
            policy_digest: self.digest(),
            policies_evaluated: Vec::new(),
            default_applied: true,
            errors: Vec::new(),
        }
    }

    pub(crate) fn failed(&self, failure: Failure) -> Decision {
        Decision {
            policy_name: failure.policy,
            message: "A policy could not be evaluated, so the request is denied".to_owned(),
            default_applied: false,
            errors: failure.errors,
            ..self.default_decision_without_words()
        }
    }
}

/// What the Cedar files say.
enum Files<'s> {
    Forbid(Answer<'s>),
    /// The permits of the highest priority, and that priority.
    Permits(Vec<Answer<'s>>, Option<i64>),
}

/// The smallest limit of each kind; zero is no limit.
fn smallest(answers: &[Answer<'_>]) -> Obligations {
    let least =
        |of: fn(&Obligations) -> u64| answers.iter().map(|a| of(&a.limits)).filter(|n| *n > 0).min().unwrap_or(0);
    Obligations {
        max_rows_affected: least(|o| o.max_rows_affected),
        max_pods_affected: least(|o| o.max_pods_affected),
        max_xact_age_secs: least(|o| o.max_xact_age_secs),
    }
}

/// The conditions of a rule in words, in the order in which they are held. A rule that denies holds none.
pub(crate) fn condition_results(rule: &Rule, request: &PolicyRequest<'_>, violated: &[Part]) -> Vec<ConditionResult> {
    let mut results = Vec::new();
    if rule.effect == Effect::Deny {
        return results;
    }
    let conditions = &rule.conditions;
    let mut add = |part: Part, detail: String| {
        results.push(ConditionResult {
            name: part.condition_name().to_owned(),
            passed: !violated.contains(&part),
            detail,
        });
    };
    if rule.says() == Effect::RequireApproval {
        add(Part::Rule, approval_words(rule.quorum(), &conditions.approver_roles));
    }
    let measured = request.measured;
    let sizes = [
        (Part::Rows, conditions.limits.max_rows_affected, measured.rows_affected, "rows"),
        (Part::Pods, conditions.limits.max_pods_affected, measured.pods_affected, "pods"),
        (Part::Age, conditions.limits.max_xact_age_secs, measured.xact_age_secs, "seconds"),
    ];
    for (part, limit, size, unit) in sizes {
        if limit > 0 {
            let size = if size == 0 { "not known yet".to_owned() } else { format!("{size} {unit}") };
            add(part, format!("{size}, at most {limit}"));
        }
    }
    let declared = request.purpose.map_or("no purpose is declared".to_owned(), |p| format!("the purpose is {p}"));
    if !conditions.allowed_purposes.is_empty() {
        add(Part::AllowedPurposes, format!("{declared}; allowed: {}", words(&conditions.allowed_purposes)));
    }
    if !conditions.blocked_purposes.is_empty() {
        add(Part::BlockedPurposes, format!("{declared}; blocked: {}", words(&conditions.blocked_purposes)));
    }
    results
}

fn words(purposes: &[reeve_types::Purpose]) -> String {
    let words: Vec<&str> = purposes.iter().map(|p| p.as_str()).collect();
    words.join(", ")
}

/// `2 approvals by dba or lead`.
pub(crate) fn approval_words(quorum: u32, roles: &[String]) -> String {
    let count = if quorum == 1 { "1 approval".to_owned() } else { format!("{quorum} approvals") };
    if roles.is_empty() { count } else { format!("{count} by {}", roles.join(" or ")) }
}
