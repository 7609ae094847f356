//! A compiled set of policies: how it is built, what it holds, and the digest that names it.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{PolicySet as CedarSet, Schema, ValidationMode, Validator};
use reeve_types::{ActionClass, Digest, Effect, ResourceKind};
use serde::Serialize;

use crate::cache::Cache;
use crate::compile::{self, Layer};
use crate::engine::Engine;
use crate::files::{self, FilePolicy};
use crate::forms;
use crate::model::{Pattern, Policy, Rule, Schedule};
use crate::parties::PartyIndex;
use crate::source::{Format, LoadError, LoadErrors, Place, Source};

/// Part of every digest: raised when the same files would decide differently.
const SEMANTICS: &str = "reeve-policy/1";

/// An immutable, compiled set of policies. To reload, compile anew and swap.
#[derive(Debug)]
pub struct PolicySet {
    pub(crate) engine: Option<Engine>,
    /// By priority, highest first, then by name.
    pub(crate) policies: Vec<Policy>,
    /// The Cedar form of each rule, in the same places.
    pub(crate) layers: Vec<Vec<Layer>>,
    pub(crate) index: Index,
    pub(crate) parties: PartyIndex,
    /// By priority, highest first, then by name.
    pub(crate) files: Vec<FilePolicy>,
    /// The policies of Cedar files that could apply to each action class.
    pub(crate) file_sets: [CedarSet; 3],
    pub(crate) schedules: Vec<Schedule>,
    pub(crate) globs: Vec<(GlobOf, Pattern)>,
    pub(crate) warnings: Vec<String>,
    pub(crate) cache: Cache,
    digest: Digest,
}

/// What a glob is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GlobOf {
    Name,
    Tool,
}

/// For each action class and kind of resource: the enabled rules that could apply, in the order of decision.
#[derive(Debug, Default)]
pub(crate) struct Index(Vec<Vec<Group>>);

/// All candidates of one priority.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) priority: i64,
    pub(crate) entries: Vec<Entry>,
}

/// The candidates of one policy, in its order.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) policy: usize,
    pub(crate) rules: Vec<usize>,
}

/// Where the candidates of a class and kind are kept.
fn slot(class: ActionClass, kind: ResourceKind) -> usize {
    let class = ActionClass::ALL.iter().position(|c| *c == class).unwrap_or(0);
    let kind = ResourceKind::ALL.iter().position(|k| *k == kind).unwrap_or(0);
    class * ResourceKind::ALL.len() + kind
}

impl Index {
    fn of(policies: &[Policy]) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(ActionClass::ALL.len() * ResourceKind::ALL.len(), Vec::new);
        for class in ActionClass::ALL {
            for kind in ResourceKind::ALL {
                if let Some(groups) = slots.get_mut(slot(class, kind)) {
                    fill(groups, policies, class, kind);
                }
            }
        }
        Self(slots)
    }

    pub(crate) fn candidates(&self, class: ActionClass, kind: ResourceKind) -> &[Group] {
        self.0.get(slot(class, kind)).map_or(&[], Vec::as_slice)
    }
}

fn fill(groups: &mut Vec<Group>, policies: &[Policy], class: ActionClass, kind: ResourceKind) {
    for (at, policy) in policies.iter().enumerate().filter(|(_, policy)| policy.enabled) {
        let could_apply = |rule: &Rule| {
            rule.actions.contains(&class)
                && policy.targets_of(rule).iter().any(|target| target.kind.is_none_or(|k| k == kind))
        };
        let rules: Vec<usize> =
            policy.rules.iter().enumerate().filter(|(_, rule)| could_apply(rule)).map(|(at, _)| at).collect();
        if rules.is_empty() {
            continue;
        }
        let entry = Entry { policy: at, rules };
        match groups.last_mut() {
            Some(group) if group.priority == policy.priority => group.entries.push(entry),
            _ => groups.push(Group { priority: policy.priority, entries: vec![entry] }),
        }
    }
}

/// What a list of policies shows of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicySummary {
    /// Its name.
    pub name: String,
    /// What its author says of it.
    pub description: String,
    /// Whether it counts.
    pub enabled: bool,
    /// Higher decides first.
    pub priority: i64,
    /// Its rules, in order.
    pub rules: Vec<RuleSummary>,
    /// The file that it comes from; empty for the built-in policy.
    pub file: String,
    /// `yaml` or `cedar`.
    pub format: &'static str,
}

/// What a list of policies shows of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleSummary {
    /// Its place in the policy, from 0.
    pub index: usize,
    /// Its own name, in the short form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The classes that it speaks of.
    pub actions: Vec<ActionClass>,
    /// What it says when its conditions hold.
    pub effect: Effect,
    /// What its author wants people to read.
    pub message: String,
}

impl PolicySet {
    /// Compiles policy files. `env` gives the variables that YAML values may refer to.
    ///
    /// The order of the sources does not matter.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the files, each with its place; nothing is loaded then.
    pub fn compile(sources: &[Source], env: &dyn Fn(&str) -> Option<String>) -> Result<Self, LoadErrors> {
        let schema = Engine::schema().map_err(|e| defect(&e))?;
        let mut errors = twice_named(sources);
        if !errors.is_empty() {
            return Err(LoadErrors(errors));
        }
        let (mut policies, mut from_files, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        for source in sources {
            match source.format {
                Format::Yaml => match forms::read(source, env) {
                    Ok(read) => policies.extend(read),
                    Err(found) => errors.extend(found),
                },
                Format::Cedar => match files::read(source, &schema) {
                    Ok((read, warned)) => {
                        from_files.extend(read);
                        warnings.extend(warned);
                    }
                    Err(found) => errors.extend(found),
                },
            }
        }
        forms::check_names(&policies, &from_files, sources, &mut errors);
        if !errors.is_empty() {
            return Err(LoadErrors(errors));
        }
        Self::assemble(policies, from_files, warnings, &schema)
    }

    fn assemble(
        mut policies: Vec<Policy>,
        mut files: Vec<FilePolicy>,
        mut warnings: Vec<String>,
        schema: &Schema,
    ) -> Result<Self, LoadErrors> {
        policies.sort_by(|a, b| (b.priority, &a.name).cmp(&(a.priority, &b.name)));
        files.sort_by(|a, b| (b.priority, &a.name).cmp(&(a.priority, &b.name)));
        warnings.sort();
        let mut layers = Vec::with_capacity(policies.len());
        for policy in &policies {
            let compiled: Result<Vec<Layer>, _> =
                policy.rules.iter().enumerate().map(|(at, rule)| compile::layer(policy, at, rule)).collect();
            layers.push(compiled.map_err(|e| defect(&e))?);
        }
        check_types(&layers, schema)?;
        let mut file_sets = [CedarSet::new(), CedarSet::new(), CedarSet::new()];
        for (class, set) in ActionClass::ALL.into_iter().zip(&mut file_sets) {
            for policy in files.iter().filter(|policy| policy.actions.contains(&class)) {
                set.add(policy.cedar.clone()).map_err(|e| defect(&e))?;
            }
        }
        let digest = digest_of(&policies, &files).map_err(|e| defect(&e))?;
        Ok(Self {
            engine: Some(Engine::new().map_err(|e| defect(&e))?),
            index: Index::of(&policies),
            parties: PartyIndex::of(&policies),
            schedules: schedules_of(&policies),
            globs: globs_of(&policies),
            policies,
            layers,
            files,
            file_sets,
            warnings,
            cache: Cache::default(),
            digest,
        })
    }

    /// What holds as long as no file is configured: databases, Kubernetes and hosts may be read; every change of them
    /// needs one approval; nothing else is allowed.
    pub fn built_in() -> Self {
        let source =
            Source { name: String::new(), text: include_str!("built_in.yaml").to_owned(), format: Format::Yaml };
        Self::compile(&[source], &|_| None).unwrap_or_else(|_| Self::deny_all())
    }

    /// A set that denies everything.
    pub fn deny_all() -> Self {
        Self {
            engine: None,
            policies: Vec::new(),
            layers: Vec::new(),
            index: Index::default(),
            parties: PartyIndex::default(),
            files: Vec::new(),
            file_sets: [CedarSet::new(), CedarSet::new(), CedarSet::new()],
            schedules: Vec::new(),
            globs: Vec::new(),
            warnings: Vec::new(),
            cache: Cache::default(),
            digest: digest_of(&[], &[]).unwrap_or(Digest::ZERO),
        }
    }

    /// Names the set: two sets with the same digest decide the same and say the same. Comments, layout and the order
    /// of files do not count.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// All policies, in the order of decision.
    pub fn policies(&self) -> Vec<PolicySummary> {
        let mut all: Vec<PolicySummary> = self.policies.iter().map(summary).collect();
        all.extend(self.files.iter().map(file_summary));
        all.sort_by(|a, b| (b.priority, &a.name).cmp(&(a.priority, &b.name)));
        all
    }

    /// The whole set in Cedar: each YAML rule as the layer that it compiles to, then the policies of Cedar files.
    pub fn to_cedar(&self) -> String {
        let mut text = String::new();
        for (policy, layers) in self.policies.iter().zip(&self.layers) {
            let state = if policy.enabled { "" } else { " (disabled)" };
            text.push_str(&format!("// policy {:?}, priority {}{state}\n\n", policy.name, policy.priority));
            for layer in layers {
                text.push_str(&layer.text);
                text.push('\n');
            }
        }
        for policy in &self.files {
            text.push_str(&format!("// {:?}, from a Cedar file\n{}\n\n", policy.name, policy.text.trim_end()));
        }
        text
    }

    /// The schema that Cedar files are checked against, in Cedar's schema language.
    pub fn cedar_schema() -> &'static str {
        crate::engine::SCHEMA
    }
}

/// Something that no file can cause. It is reported like an error of a file, because the answer is the same: nothing
/// is loaded.
fn defect(error: &dyn std::error::Error) -> LoadErrors {
    LoadErrors(vec![LoadError {
        file: "policies".to_owned(),
        place: Place::default(),
        message: error.to_string(),
        hint: "this is a defect of the policy compiler; please report it with the file".to_owned(),
        snippet: String::new(),
    }])
}

/// Policies and messages refer to files by name.
fn twice_named(sources: &[Source]) -> Vec<LoadError> {
    let mut seen = BTreeSet::new();
    let twice = sources.iter().filter(|source| !seen.insert(&source.name));
    let error = |source: &Source| LoadError {
        file: source.name.clone(),
        place: Place::default(),
        message: "two policy files have this name".to_owned(),
        hint: "name each file once".to_owned(),
        snippet: String::new(),
    };
    twice.map(error).collect()
}

/// Type-checks what the compiler wrote, as strictly as what people write.
fn check_types(layers: &[Vec<Layer>], schema: &Schema) -> Result<(), LoadErrors> {
    let mut all = CedarSet::new();
    for layer in layers.iter().flatten() {
        for policy in layer.set.policies() {
            all.add(policy.clone()).map_err(|e| defect(&e))?;
        }
    }
    let result = Validator::new(schema.clone()).validate(&all, ValidationMode::Strict);
    match result.validation_errors().next() {
        Some(error) => Err(defect(error)),
        None => Ok(()),
    }
}

#[derive(Serialize)]
struct Content<'a> {
    semantics: &'static str,
    engine: String,
    policies: &'a [Policy],
    files: &'a [FilePolicy],
}

fn digest_of(policies: &[Policy], files: &[FilePolicy]) -> Result<Digest, reeve_types::canonical::NotCanonical> {
    let engine = format!("cedar {} language {}", cedar_policy::get_sdk_version(), cedar_policy::get_lang_version());
    Digest::of_value(&Content { semantics: SEMANTICS, engine, policies, files })
}

fn schedules_of(policies: &[Policy]) -> Vec<Schedule> {
    let all = policies.iter().flat_map(|p| &p.rules).filter_map(|r| r.conditions.schedule.as_ref());
    let distinct: BTreeMap<&str, &Schedule> = all.map(|s| (s.key(), s)).collect();
    distinct.into_values().cloned().collect()
}

/// The globs that Cedar cannot express.
fn globs_of(policies: &[Policy]) -> Vec<(GlobOf, Pattern)> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let targets = policies.iter().flat_map(|p| p.resources.iter().chain(p.rules.iter().flat_map(|r| &r.targets)));
    for target in targets {
        for (of, pattern) in [(GlobOf::Name, &target.name_pattern), (GlobOf::Tool, &target.tool_pattern)] {
            if let Some(pattern) = pattern.as_ref().filter(|p| !p.is_plain())
                && seen.insert((of as u8, pattern.text().to_owned()))
            {
                found.push((of, pattern.clone()));
            }
        }
    }
    found
}

fn summary(policy: &Policy) -> PolicySummary {
    let rule = |(index, rule): (usize, &Rule)| RuleSummary {
        index,
        name: rule.name.clone(),
        actions: rule.actions.clone(),
        effect: rule.says(),
        message: rule.message.clone(),
    };
    PolicySummary {
        name: policy.name.clone(),
        description: policy.description.clone(),
        enabled: policy.enabled,
        priority: policy.priority,
        rules: policy.rules.iter().enumerate().map(rule).collect(),
        file: policy.file.clone(),
        format: "yaml",
    }
}

fn file_summary(policy: &FilePolicy) -> PolicySummary {
    PolicySummary {
        name: policy.name.clone(),
        description: policy.description.clone(),
        enabled: true,
        priority: policy.priority,
        rules: vec![RuleSummary {
            index: 0,
            name: None,
            actions: policy.actions.clone(),
            effect: policy.effect,
            message: policy.message.clone(),
        }],
        file: policy.file.clone(),
        format: "cedar",
    }
}
