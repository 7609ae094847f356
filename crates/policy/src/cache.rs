//! Decisions of the recent past, so that the same question is put to the engine once.
//!
//! It is sound because a set of policies never changes and a decision is a pure function of the request: the key holds
//! everything that a decision can depend on, byte for byte (not a digest of it), with the moment reduced to what
//! policies can see of it, the active schedules and, for Cedar files, hour and weekday. It is bounded in entries and
//! in key length. A decision with errors is never kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use reeve_types::{Decision, PolicyRequest, ResourceKind};

use crate::engine::parties;
use crate::set::PolicySet;

/// How many decisions one generation holds; two generations are kept.
const GENERATION: usize = 2048;

/// Longer keys are not kept, so that hostile names cannot fill the memory.
const LONGEST_KEY: usize = 4096;

/// A cache in two generations: when the young one is full, it becomes the old one and the old one is dropped.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Box<[u8]>, Arc<Decision>>,
    old: HashMap<Box<[u8]>, Arc<Decision>>,
}

impl Generations {
    fn get(&mut self, key: &[u8]) -> Option<Arc<Decision>> {
        if let Some(found) = self.young.get(key) {
            return Some(Arc::clone(found));
        }
        let (key, found) = self.old.remove_entry(key)?;
        self.put(key, Arc::clone(&found));
        Some(found)
    }

    fn put(&mut self, key: Box<[u8]>, decision: Arc<Decision>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, decision);
    }
}

impl Cache {
    /// The decision for a key, made by `decide` when it is not known yet.
    pub(crate) fn get_or(&self, key: Vec<u8>, decide: impl FnOnce() -> Decision) -> Decision {
        // A poisoned lock only means that nothing is remembered.
        let known = self.0.lock().ok().and_then(|mut generations| generations.get(&key));
        if let Some(known) = known {
            return Decision::clone(&known);
        }
        let decision = decide();
        if decision.errors.is_empty()
            && key.len() <= LONGEST_KEY
            && let Ok(mut generations) = self.0.lock()
        {
            generations.put(key.into_boxed_slice(), Arc::new(decision.clone()));
        }
        decision
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.lock().map_or(0, |g| g.young.len() + g.old.len())
    }
}

/// Everything that a decision of this set about this request can depend on.
pub(crate) fn key(set: &PolicySet, request: &PolicyRequest<'_>) -> Vec<u8> {
    let mut key = Key(Vec::with_capacity(256));
    let resource = request.resource;
    key.byte(request.class as u8);
    key.byte(ResourceKind::ALL.iter().position(|k| *k == resource.kind).map_or(u8::MAX, |at| at.to_le_bytes()[0]));
    key.byte(request.purpose.map_or(u8::MAX, |p| p as u8));
    key.number(request.measured.rows_affected);
    key.number(request.measured.pods_affected);
    key.number(request.measured.xact_age_secs);
    key.text(&resource.name);
    key.texts(resource.namespace.iter());
    key.texts(resource.tags.iter());
    key.texts(resource.sensitivity.iter());
    key.text(request.tool);
    for party in parties(request.principal) {
        key.byte(party.kind as u8);
        key.text(&party.id);
        key.text(party.tenant.as_str());
        key.texts(party.roles.iter());
    }
    for schedule in &set.schedules {
        key.byte(u8::from(schedule.is_active(request.at)));
    }
    if !set.files.is_empty() {
        let utc = jiff::tz::TimeZone::UTC.to_datetime(request.at);
        key.byte(utc.hour().to_le_bytes()[0]);
        key.byte(utc.weekday().to_monday_zero_offset().to_le_bytes()[0]);
    }
    key.0
}

/// Bytes in which no two different requests are alike: texts carry their length, lists their count.
struct Key(Vec<u8>);

impl Key {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(u64::try_from(text.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(text.as_bytes());
    }

    fn texts<'t>(&mut self, texts: impl ExactSizeIterator<Item = &'t String>) {
        self.number(u64::try_from(texts.len()).unwrap_or(u64::MAX));
        for text in texts {
            self.text(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(set: &PolicySet) -> Decision {
        let principal =
            reeve_types::Principal::new(reeve_types::PrincipalKind::User, "a", reeve_types::AuthMethod::None);
        let resource = reeve_types::Resource::new(ResourceKind::Database, "db");
        set.decide_afresh(&PolicyRequest {
            principal: &principal,
            purpose: None,
            resource: &resource,
            class: reeve_types::ActionClass::Read,
            tool: "",
            measured: reeve_types::Measured::default(),
            at: jiff::Timestamp::UNIX_EPOCH,
        })
    }

    #[test]
    fn it_stays_bounded_and_keeps_what_is_used() {
        let (cache, sample) = (Cache::default(), decision(&PolicySet::deny_all()));
        for at in 0..20_000u64 {
            cache.get_or(at.to_le_bytes().to_vec(), || sample.clone());
            cache.get_or(b"often asked".to_vec(), || {
                assert_eq!(at, 0, "what is asked all the time stays known");
                sample.clone()
            });
        }
        assert!(cache.len() <= 2 * GENERATION + 2, "{}", cache.len());
    }

    #[test]
    fn errors_and_long_keys_are_not_kept() {
        let (cache, sample) = (Cache::default(), decision(&PolicySet::deny_all()));
        cache.get_or(vec![0; LONGEST_KEY + 1], || sample.clone());
        cache.get_or(vec![1], || Decision { errors: vec!["broken".to_owned()], ..sample.clone() });
        assert_eq!(cache.len(), 0);
    }
}
