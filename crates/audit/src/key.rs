//! Ed25519 keys with names, in the text forms of C2SP `signed-note`.
//!
//! A key is for one role: the log signs notes, a witness cosigns checkpoints with a time. The role is part of the key's
//! id, so a signature made in one role never passes for the other.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::Signer as _;
use reeve_types::Digest;
use reeve_types::secret::SecretString;
use zeroize::Zeroizing;

use crate::text::{decode, encode, shorten};

/// Longest name of a key, in bytes.
pub const KEY_NAME_BYTES_MAX: usize = 255;

const PRIVATE_PREFIX: &str = "PRIVATE+KEY+";

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyRole {
    /// The text of a note: the key of a log. Signature type 0x01.
    Log,
    /// A checkpoint and the time at which it was seen: the key of a witness. Signature type 0x04.
    Witness,
}

impl KeyRole {
    /// The byte that stands for the role in ids and in texts of keys.
    fn byte(self) -> u8 {
        match self {
            Self::Log => 0x01,
            Self::Witness => 0x04,
        }
    }

    fn of(byte: u8) -> Option<Self> {
        [Self::Log, Self::Witness].into_iter().find(|role| role.byte() == byte)
    }
}

/// Why a text is no key. It never repeats a private key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The name cannot stand in a note.
    #[error("`{name}` cannot name a key: use 1 to 255 bytes without spaces, plus signs and control characters")]
    BadName {
        /// The name, shortened.
        name: String,
    },
    /// The text has another shape than keys have.
    #[error("the text is not a key: a public one reads `name+id+base64`, a private one `PRIVATE+KEY+name+id+base64`")]
    Malformed,
    /// The key is not Ed25519 in one of the two roles.
    #[error("the key `{name}` is of an unknown type: use an Ed25519 key of a log (type 1) or of a witness (type 4)")]
    UnknownType {
        /// The key's name.
        name: String,
    },
    /// The bytes are no usable Ed25519 public key.
    #[error("the key `{name}` is not a usable Ed25519 public key")]
    BadPoint {
        /// The key's name.
        name: String,
    },
    /// The id does not belong to the name and the key.
    #[error("the id of the key `{name}` does not fit its name and bytes: the text was changed or cut")]
    WrongId {
        /// The key's name.
        name: String,
    },
}

/// Whether a name may stand in a signature line.
pub(crate) fn is_key_name(name: &str) -> bool {
    let fits = !name.is_empty() && name.len() <= KEY_NAME_BYTES_MAX;
    fits && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

fn key_id(name: &str, role: KeyRole, public: &[u8; 32]) -> [u8; 4] {
    let Digest([a, b, c, d, ..]) = Digest::of_parts(&[name.as_bytes(), b"\n", &[role.byte()], public]);
    [a, b, c, d]
}

fn id_text(id: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(id))
}

/// `name`, id and base64 of a key's text after any prefix.
fn split(text: &str) -> Result<(&str, &str, &str), KeyError> {
    let (name, rest) = text.split_once('+').ok_or(KeyError::Malformed)?;
    let (id, data) = rest.split_once('+').ok_or(KeyError::Malformed)?;
    if !is_key_name(name) {
        return Err(KeyError::BadName { name: shorten(name) });
    }
    Ok((name, id, data))
}

/// The role and the 32 bytes that a key's base64 holds.
fn open(name: &str, data: &[u8]) -> Result<(KeyRole, Zeroizing<[u8; 32]>), KeyError> {
    let (role, bytes) = data.split_first().ok_or(KeyError::Malformed)?;
    let role = KeyRole::of(*role).ok_or_else(|| KeyError::UnknownType { name: name.to_owned() })?;
    let bytes = <[u8; 32]>::try_from(bytes).map_err(|_| KeyError::Malformed)?;
    Ok((role, Zeroizing::new(bytes)))
}

/// A private key. It is wiped from memory when dropped, and neither printed nor compared.
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    public: VerifyingKey,
}

impl SigningKey {
    /// The key that a secret seed stands for. The seed must come from a cryptographic source of randomness.
    ///
    /// The name of a log's key is the log's origin.
    pub fn from_seed(name: &str, role: KeyRole, seed: &[u8; 32]) -> Result<Self, KeyError> {
        if !is_key_name(name) {
            return Err(KeyError::BadName { name: shorten(name) });
        }
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let public = VerifyingKey::new(name, role, key.verifying_key());
        Ok(Self { key, public })
    }

    /// Reads the text that [`SigningKey::encode`] writes; a line end after it is tolerated.
    pub fn decode(text: &str) -> Result<Self, KeyError> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let (name, id, data) = split(text.strip_prefix(PRIVATE_PREFIX).ok_or(KeyError::Malformed)?)?;
        let data = Zeroizing::new(decode(data).ok_or(KeyError::Malformed)?);
        let (role, seed) = open(name, &data)?;
        let key = Self::from_seed(name, role, &seed)?;
        if id_text(key.public.id) != id {
            return Err(KeyError::WrongId { name: name.to_owned() });
        }
        Ok(key)
    }

    /// The text `PRIVATE+KEY+name+id+base64`, for a file that only its owner can read.
    pub fn encode(&self) -> SecretString {
        let mut data = Zeroizing::new(vec![self.public.role.byte()]);
        data.reserve_exact(32);
        data.extend_from_slice(self.key.as_bytes());
        let data = Zeroizing::new(encode(&data));
        let (name, id) = (&self.public.name, id_text(self.public.id));
        let mut text = String::with_capacity(PRIVATE_PREFIX.len() + name.len() + id.len() + data.len() + 2);
        for part in [PRIVATE_PREFIX, name, "+", &id, "+", &data] {
            text.push_str(part);
        }
        text.into()
    }

    /// The key by which others check its signatures.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.public.name
    }

    /// What the key signs.
    pub fn role(&self) -> KeyRole {
        self.public.role
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}+{}+***)", self.public.name, id_text(self.public.id))
    }
}

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    name: String,
    role: KeyRole,
    id: [u8; 4],
    key: ed25519_dalek::VerifyingKey,
}

impl VerifyingKey {
    fn new(name: &str, role: KeyRole, key: ed25519_dalek::VerifyingKey) -> Self {
        Self { name: name.to_owned(), role, id: key_id(name, role, key.as_bytes()), key }
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the key signs.
    pub fn role(&self) -> KeyRole {
        self.role
    }

    /// The id that signature lines carry, four bytes.
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// Whether a signature over a message is by this key. Malleable forms are refused.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
    }
}

impl FromStr for VerifyingKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.starts_with(PRIVATE_PREFIX) {
            return Err(KeyError::Malformed);
        }
        let (name, id, data) = split(text)?;
        let (role, bytes) = open(name, &decode(data).ok_or(KeyError::Malformed)?)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes)
            .ok()
            .filter(|key| !key.is_weak())
            .ok_or_else(|| KeyError::BadPoint { name: name.to_owned() })?;
        let key = Self::new(name, role, key);
        if id_text(key.id) != id {
            return Err(KeyError::WrongId { name: name.to_owned() });
        }
        Ok(key)
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut data = vec![self.role.byte()];
        data.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, id_text(self.id), encode(&data))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_types::secret::ExposeSecret as _;

    // The published pair of the reference implementation of signed notes.
    const PUBLIC: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const PRIVATE: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";

    #[test]
    fn the_published_pair_is_read_and_written() {
        let public: VerifyingKey = PUBLIC.parse().unwrap();
        let private = SigningKey::decode(PRIVATE).unwrap();
        assert_eq!(private.verifying_key(), &public);
        assert_eq!(public.to_string(), PUBLIC);
        assert_eq!(private.encode().expose_secret(), PRIVATE);
        assert_eq!(SigningKey::decode(&format!("{PRIVATE}\n")).unwrap().name(), "PeterNeumann");
    }

    #[test]
    fn no_mangled_key_is_taken() {
        for from in 0..PUBLIC.len() {
            for to in from..=PUBLIC.len() {
                if (from, to) != (0, PUBLIC.len()) {
                    assert!(PUBLIC[from..to].parse::<VerifyingKey>().is_err(), "{from}..{to}");
                }
            }
        }
        for at in 0..PUBLIC.len() {
            let mut bytes = PUBLIC.as_bytes().to_vec();
            bytes[at] += 1;
            assert!(String::from_utf8(bytes).unwrap().parse::<VerifyingKey>().is_err(), "{at}");
        }
        assert_eq!(PRIVATE.parse::<VerifyingKey>(), Err(KeyError::Malformed));
        let upper = PUBLIC.replace("c74f20a3", "C74F20A3");
        assert_eq!(upper.parse::<VerifyingKey>(), Err(KeyError::WrongId { name: "PeterNeumann".to_owned() }));
        // The neutral element of the curve signs everything.
        let mut weak = [0u8; 33];
        (weak[0], weak[1]) = (1, 1);
        let id = id_text(key_id("weak", KeyRole::Log, weak[1..].try_into().unwrap()));
        let weak = format!("weak+{id}+{}", encode(&weak)).parse::<VerifyingKey>();
        assert_eq!(weak, Err(KeyError::BadPoint { name: "weak".to_owned() }));
    }

    #[test]
    fn roles_give_different_keys() {
        let log = SigningKey::from_seed("a.example", KeyRole::Log, &[7; 32]).unwrap();
        let witness = SigningKey::from_seed("a.example", KeyRole::Witness, &[7; 32]).unwrap();
        assert_ne!(log.verifying_key().id(), witness.verifying_key().id());
        let again: VerifyingKey = witness.verifying_key().to_string().parse().unwrap();
        assert_eq!(again.role(), KeyRole::Witness);
        assert_eq!(SigningKey::decode(witness.encode().expose_secret()).unwrap().role(), KeyRole::Witness);
    }

    #[test]
    fn a_private_key_is_not_printed() {
        let printed = format!("{:?}", SigningKey::decode(PRIVATE).unwrap());
        assert_eq!(printed, "SigningKey(PeterNeumann+c74f20a3+***)");
        let cut = SigningKey::decode(&PRIVATE[..PRIVATE.len() - 4]).unwrap_err();
        assert!(!format!("{cut} {cut:?}").contains("AYEKFAL"));
    }

    #[test]
    fn names_that_break_a_line_are_refused() {
        for name in ["", "a b", "a+b", "a\nb", "a\u{2003}b", "a\u{7f}", &"x".repeat(256)] {
            assert!(SigningKey::from_seed(name, KeyRole::Log, &[1; 32]).is_err(), "{name}");
        }
    }
}
