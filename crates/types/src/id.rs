//! Identifiers that say what they identify.
//!
//! An id is a TypeID (<https://github.com/jetify-com/typeid>): a lower-case prefix, an underscore and a UUIDv7 in
//! Crockford base32, 26 characters. A wrong kind fails to parse and says which kind was expected.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const SUFFIX_LEN: usize = 26;
/// Longest identifier accepted from outside, in bytes.
pub const ID_BYTES_MAX: usize = 80;

/// Why a text is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The prefix belongs to another kind of thing, or there is none.
    #[error("`{found}` is not {expected}: such an id starts with `{prefix}_`")]
    WrongKind {
        /// What the caller sent, shortened.
        found: String,
        /// The kind that was expected, in words.
        expected: &'static str,
        /// The prefix that was expected.
        prefix: &'static str,
    },
    /// The part after the prefix is not an identifier.
    #[error("`{found}` is not a valid id: after the prefix come letters and digits")]
    Malformed {
        /// What the caller sent, shortened.
        found: String,
    },
}

/// The 26 characters of a UUID in TypeID's base32.
pub fn suffix(uuid: Uuid) -> String {
    let mut value = uuid.as_u128();
    let mut out = [0u8; SUFFIX_LEN];
    for slot in out.iter_mut().rev() {
        *slot = ALPHABET[(value & 31) as usize];
        value >>= 5;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A UUIDv7 from a time and randomness, both given by the caller.
pub fn uuid_v7(at: jiff::Timestamp, random: u128) -> Uuid {
    let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
    let bytes = random.to_be_bytes();
    let mut tail = [0u8; 10];
    tail.copy_from_slice(&bytes[..10]);
    uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

fn check_suffix(whole: &str, rest: &str) -> Result<(), IdError> {
    let fine = !rest.is_empty()
        && whole.len() <= ID_BYTES_MAX
        && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if fine { Ok(()) } else { Err(IdError::Malformed { found: shorten(whole) }) }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $words:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The prefix of every id of this kind, without the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new id for a moment, from randomness that the caller brings.
            pub fn new(at: jiff::Timestamp, random: u128) -> Self {
                Self(format!(concat!($prefix, "_{}"), suffix(uuid_v7(at, random))))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let Some(rest) = text.strip_prefix(concat!($prefix, "_")) else {
                    return Err(IdError::WrongKind { found: shorten(text), expected: $words, prefix: $prefix });
                };
                check_suffix(text, rest)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
id!(
    /// One tool call by one principal on one resource with fixed arguments.
    ActionId, "act", "an action id"
);

impl ActionId {
    /// The id of the question that is asked before this act: always the same one, so that whoever comes back after a
    /// crash finds the question instead of asking it twice.
    #[must_use]
    pub fn question(&self) -> Self {
        let mut text = self.0.clone();
        let last = text.pop().and_then(|last| u8::try_from(last).ok());
        let place = last.and_then(|last| ALPHABET.iter().position(|known| *known == last));
        let other = place.and_then(|place| ALPHABET.get(place ^ 1)).copied().unwrap_or(b'0');
        text.push(char::from(other));
        Self(text)
    }
}

id!(
    /// One durable question to people about exactly one action.
    ApprovalId, "apr", "an approval id"
);
id!(
    /// One API key; the id is public, the key is not.
    KeyId, "key", "an API key id"
);
id!(
    /// One conversation between a principal and an agent.
    SessionId, "ses", "a session id"
);
id!(
    /// One thing said to an agent.
    PromptId, "prm", "a prompt id"
);
id!(
    /// One isolated place to work.
    WorkspaceId, "wsp", "a workspace id"
);
id!(
    /// One frozen copy of a workspace's files.
    SnapshotId, "snp", "a snapshot id"
);
id!(
    /// One terminal of a workspace.
    TerminalId, "trm", "a terminal id"
);
id!(
    /// One program that was run in a workspace.
    ExecutionId, "exe", "an execution id"
);
id!(
    /// One upload that arrives in pieces.
    UploadId, "upl", "an upload id"
);
id!(
    /// One thing in the trash of a workspace.
    TrashId, "trs", "a trash id"
);
id!(
    /// One earlier content of a file.
    VersionId, "ver", "a version id"
);

impl VersionId {
    /// When the version was put aside, as far as the id tells.
    pub fn made_at(&self) -> Option<jiff::Timestamp> {
        let (_, suffix) = self.0.split_once('_').filter(|(_, suffix)| suffix.len() == SUFFIX_LEN)?;
        // The first ten of them are two bits of nothing and the 48 bits of the time.
        let mut millis = 0i64;
        for byte in suffix.bytes().take(10) {
            let digit = ALPHABET.iter().position(|known| *known == byte)?;
            millis = millis << 5 | i64::try_from(digit).ok()?;
        }
        jiff::Timestamp::from_millisecond(millis).ok().filter(|_| millis >> 48 == 0)
    }
}

id!(
    /// One person's account.
    AccountId, "usr", "an account id"
);
id!(
    /// One sign-in of one account, from one browser.
    LoginId, "lgn", "a login id"
);
id!(
    /// One HTTP request, echoed in `X-Request-Id` and in problems.
    RequestId, "req", "a request id"
);

/// One record of the audit log. The prefix tells what kind of record it is (`tool_`, `pol_`, `inv_`, …).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct EventId(String);

impl EventId {
    /// A new id with the prefix of its event type.
    pub fn new(kind: crate::EventType, at: jiff::Timestamp, random: u128) -> Self {
        Self(format!("{}_{}", kind.id_prefix(), suffix(uuid_v7(at, random))))
    }
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        match text.split_once('_') {
            Some((prefix, rest)) if !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_lowercase()) => {
                check_suffix(text, rest)?;
                Ok(Self(text.to_owned()))
            }
            _ => Err(IdError::WrongKind { found: shorten(text), expected: "an event id", prefix: "evt" }),
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for EventId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What ties the records of one journey together. Clients may bring their own in `X-Trace-ID`: up to 80 characters
/// of letters, digits, `_`, `-` and `.`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct TraceId(String);

impl TraceId {
    /// A new trace whose prefix says where it began: `tr` (question), `dt` (direct tool), `chk` (bare check), …
    pub fn new(prefix: &str, at: jiff::Timestamp, random: u128) -> Self {
        Self(format!("{prefix}_{}", suffix(uuid_v7(at, random))))
    }
    /// The trace id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TraceId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let fine = !text.is_empty()
            && text.len() <= ID_BYTES_MAX
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        if fine { Ok(Self(text.to_owned())) } else { Err(IdError::Malformed { found: shorten(text) }) }
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for TraceId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffix_follows_the_typeid_vectors() {
        assert_eq!(suffix(Uuid::nil()), "00000000000000000000000000");
        assert_eq!(suffix(Uuid::from_u128(1)), "00000000000000000000000001");
        assert_eq!(suffix(Uuid::from_u128(32)), "00000000000000000000000010");
        assert_eq!(suffix(Uuid::max()), "7zzzzzzzzzzzzzzzzzzzzzzzzz");
        let known: Uuid = "0110c853-1d09-52d8-d73e-1194e95b5f19".parse().unwrap();
        assert_eq!(suffix(known), "0123456789abcdefghjkmnpqrs");
    }

    #[test]
    fn a_wrong_kind_says_what_was_expected() {
        let error = "key_01h455vb4pex5vsknk084sn02q".parse::<ApprovalId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`key_01h455vb4pex5vsknk084sn02q` is not an approval id: such an id starts with `apr_`"
        );
        assert!("apr_../../etc".parse::<ApprovalId>().is_err());
    }

    #[test]
    fn ids_sort_by_time() {
        let early = ActionId::new(jiff::Timestamp::from_second(1_000).unwrap(), u128::MAX);
        let late = ActionId::new(jiff::Timestamp::from_second(2_000).unwrap(), 0);
        assert!(early < late);
    }

    #[test]
    fn a_version_tells_when_it_was_made() {
        let at = jiff::Timestamp::from_millisecond(1_764_000_000_123).unwrap();
        assert_eq!(VersionId::new(at, u128::MAX).made_at(), Some(at));
        for text in ["ver_", "ver_0", "ver_zzzzzzzzzzzzzzzzzzzzzzzzzz", "ver_uuuuuuuuuuuuuuuuuuuuuuuuuu"] {
            assert_eq!(text.parse::<VersionId>().ok().and_then(|id| id.made_at()), None, "{text}");
        }
    }

    #[test]
    fn an_acts_question_has_one_id_of_its_own() {
        let act = ActionId::new(jiff::Timestamp::from_second(1_000).unwrap(), 7 << 64);
        let question = act.question();
        assert_ne!(question, act);
        assert_eq!(question, act.question());
        assert_eq!(question.as_str().parse::<ActionId>().unwrap(), question);
    }
}
