//! Sealing an event into its place in the log, and serving it from there.

use std::borrow::Cow;

use reeve_types::canonical::NotCanonical;
use reeve_types::{Digest, Event, canonical_json};
use serde::Deserialize;
use serde_json::Value;

use crate::merkle::leaf_hash;

/// Largest integer that every JSON reader keeps exactly (RFC 8785 section 3.2.2.3, RFC 7493 section 2.2).
pub const EXACT_INTEGER_MAX: u64 = (1 << 53) - 1;

/// Places in an event where callers put JSON of their own.
const FREE_JSON: [&str; 3] = ["/tool/parameters", "/tool/pre_state", "/approval/question/arguments"];

/// An event in its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Its place, from 0; also the index of its leaf.
    pub seq: u64,
    /// The RFC 8785 bytes of the event with `seq` and `prev_hash`: what is stored, hashed and proved.
    pub canonical: Vec<u8>,
    /// The `event_hash` of the record before; [`Digest::ZERO`] for the first.
    pub prev_hash: Digest,
    /// SHA-256 of `canonical`.
    pub event_hash: Digest,
    /// The hash of `canonical` as a leaf of the Merkle tree.
    pub leaf_hash: Digest,
}

/// Why an event cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It cannot be written as JSON.
    #[error("the event cannot be written as JSON")]
    NotJson(#[source] serde_json::Error),
    /// It has no canonical form.
    #[error("the event has no canonical form")]
    NotCanonical(#[from] NotCanonical),
    /// The log has more records than can be numbered exactly.
    #[error("{seq} is beyond the last number that a record can have: start a new log")]
    TooMany {
        /// The number.
        seq: u64,
    },
}

/// Seals an event into the place `seq` after the record with the hash `prev_hash`.
///
/// Whole numbers beyond 2^53 in arguments and states that callers brought are recorded as text: canonical JSON would
/// round them, and two different values would be one record.
pub fn seal(event: &Event, seq: u64, prev_hash: Digest) -> Result<Sealed, SealError> {
    if seq > EXACT_INTEGER_MAX {
        return Err(SealError::TooMany { seq });
    }
    let mut value = serde_json::to_value(event).map_err(SealError::NotJson)?;
    for place in FREE_JSON {
        if let Some(free) = value.pointer_mut(place) {
            keep_integers_exact(free);
        }
    }
    if let Value::Object(fields) = &mut value {
        fields.insert("seq".to_owned(), seq.into());
        fields.insert("prev_hash".to_owned(), prev_hash.to_string().into());
    }
    let canonical = canonical_json(&value)?;
    let (event_hash, leaf_hash) = (Digest::of(&canonical), leaf_hash(&canonical));
    Ok(Sealed { seq, canonical, prev_hash, event_hash, leaf_hash })
}

fn keep_integers_exact(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            if magnitude.is_some_and(|magnitude| magnitude > EXACT_INTEGER_MAX) {
                *value = Value::String(number.to_string());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(keep_integers_exact),
        Value::Object(fields) => fields.values_mut().for_each(keep_integers_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// What a record says of its own place.
#[derive(Deserialize)]
pub(crate) struct Place<'a> {
    pub(crate) seq: u64,
    #[serde(borrow)]
    pub(crate) prev_hash: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) event_id: Cow<'a, str>,
}

/// The bytes of a record cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// They are not JSON.
    #[error("the stored record is not JSON: verify the log")]
    NotJson(#[source] serde_json::Error),
    /// They are JSON but not an object.
    #[error("the stored record is not a JSON object: verify the log")]
    NotAnObject,
}

/// The record as clients read it: the canonical object and `event_hash` beside the fields that it covers. It is not
/// checked here whether the hash fits; that is what verifying is for.
pub fn served_json(canonical: &[u8], event_hash: &Digest) -> Result<Value, ServeError> {
    match serde_json::from_slice(canonical).map_err(ServeError::NotJson)? {
        Value::Object(mut fields) => {
            fields.insert("event_hash".to_owned(), event_hash.to_string().into());
            Ok(Value::Object(fields))
        }
        _ => Err(ServeError::NotAnObject),
    }
}
