//! Who may do what: `(PolicySet, PolicyRequest) -> Decision`.
//!
//! Policies are written in YAML or in Cedar and evaluated by the Cedar engine. This crate is pure: it reads no file, no
//! clock and no environment; texts, the moment of the request and a closure for variables come in as values, and time
//! zones are compiled in.
//!
//! # How one decision is reached
//!
//! YAML has *order*: policies are asked by priority, highest first, and in a policy that fits principal and resource the
//! first rule that fits action and schedule is the policy's answer. The conditions of that rule (approval, limits,
//! purposes, in this order) can only make the answer stricter; a failed limit or purpose denies and does not hand on.
//! Cedar has *no order*: a satisfied `forbid` wins over everything, a satisfied `permit` is an answer at its
//! `@priority` (0 unless given). Together:
//!
//! 1. A satisfied `forbid` of any Cedar file denies, whatever priority anything else has.
//! 2. Else the highest priority at which anything answers decides, be it a YAML policy or a Cedar `permit`.
//! 3. If several answer at that priority, the strictest wins: deny, then approval by more people, then approval by fewer,
//!    then allow; among equals the name that sorts first. So neither the order of files nor that of equal priorities
//!    matters. Of the limits of all these answers the smallest of each kind becomes an obligation, which the executor
//!    must hold when the size was not known at the time of the decision.
//! 4. If nothing answers, the answer is deny, by `default`.
//! 5. If a policy that could apply cannot be evaluated, the answer is deny, with the reason in `errors`.
//!
//! An agent stands for whom it acts for: what is said of a user, a service or a role also binds the agents that act for
//! them, and an agent has the roles of those. A service answers for itself.
//!
//! # How YAML becomes Cedar
//!
//! Each rule compiles to a *layer*, a small Cedar policy set of its own: a `permit` (or `forbid`, for a rule that denies)
//! and one `forbid` for each limit and list of purposes. Cedar evaluates the layer with its own meaning, so a `forbid`
//! of a layer wins within the layer; the order of layers is the order of rules. See [`PolicySet::to_cedar`]. What Cedar
//! cannot express is computed first and put into its context under a name: the schedules that are active now and the
//! globs with more than `*` that fit. Everything is type-checked strictly against [`PolicySet::cedar_schema`] at load.
//!
//! In front of the engine stands an index that names the rules worth asking about, and a cache of recent decisions.
//! The index never decides: a rule that it names must be confirmed by Cedar, else the answer is deny with an error.
//! [`PolicySet::explain`] goes without both, puts every rule to Cedar, and denies when the index left one out.
//!
//! # Files
//!
//! The full form has `policies`, the short form a bare list of `rules`, each with its own `match`; the first rule that
//! matches decides, at priority 0. Unknown keys, undefined variables and everything else that is wrong are errors with
//! file, line and column, all at once. `$NAME` and `${NAME}` are expanded in values after parsing, so a variable cannot
//! become structure; `$$` is a dollar sign.

mod cache;
mod compile;
mod decide;
mod engine;
mod explain;
mod files;
mod forms;
mod lint;
mod matching;
mod model;
mod parties;
mod reader;
mod set;
mod source;
mod statements;
mod table;
mod yaml;

pub use explain::{explain_json, explain_text};
pub use lint::{InventoryFacts, LintCode, LintFinding, LintSeverity, lint};
pub use set::{PolicySet, PolicySummary, RuleSummary};
pub use source::{Format, LoadError, LoadErrors, Place, Source};
pub use table::{CaseReport, TableReport, run_table};
