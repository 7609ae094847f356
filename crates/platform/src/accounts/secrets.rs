//! What access tokens are signed with: given by the operator, or 32 random bytes in the data directory.
//!
//! Each secret has a name (`kid`) that tokens carry. When another secret takes over, tokens of the one before hold until
//! they expire, and none can be made with it any more: whatever it signs must have been issued before it retired.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reeve_gate::Clock;
use reeve_types::Digest;
use reeve_types::secret::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::{AccountError, AccountOptions, Accounts, random_bytes};

/// The file of the data directory.
const FILE: &str = "sign-in.key";
/// Shortest secret, in bytes.
const SECRET_BYTES_MIN: usize = 32;
/// Fewest different bytes of a secret; a word that is repeated has fewer.
const DIFFERENT_MIN: usize = 10;
/// What texts hold that stand in examples, small letters and digits only.
const WELL_KNOWN: [&str; 12] = [
    "changeme",
    "changethis",
    "changeit",
    "replaceme",
    "replacethis",
    "yoursecret",
    "yourjwt",
    "yoursuper",
    "supersecret",
    "examplesecret",
    "minimum32",
    "atleast32",
];

/// Whether a text can sign tokens. `Err` is a sentence for whoever set it; it does not hold the text.
///
/// # Errors
///
/// The text is shorter than 32 bytes, or one that stands in examples.
pub fn check_secret(text: &str) -> Result<(), String> {
    let make = "make one with `openssl rand -hex 32`, or leave it out and Reeve makes its own";
    if text.len() < SECRET_BYTES_MIN {
        return Err(format!(
            "the secret that signs access tokens has {} bytes and needs at least {SECRET_BYTES_MIN}: whoever guesses it is \
             everybody; {make}",
            text.len()
        ));
    }
    let plain: String = text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    let different = text.bytes().collect::<BTreeSet<_>>().len();
    if different < DIFFERENT_MIN || WELL_KNOWN.iter().any(|known| plain.contains(known)) {
        return Err(format!(
            "the secret that signs access tokens is one that stands in examples or is easily guessed: whoever guesses it \
             is everybody; {make}"
        ));
    }
    Ok(())
}

/// One secret.
pub(super) struct Secret {
    /// Its name in tokens.
    pub(super) kid: String,
    key: SecretString,
    /// When another one took over, in seconds since 1970.
    pub(super) retired_at: Option<i64>,
}

impl Secret {
    fn new(key: SecretString, retired_at: Option<i64>) -> Self {
        let digest = Digest::of(format!("reeve access tokens\n{}", key.expose_secret()).as_bytes());
        let kid: String = digest.to_string().chars().filter(char::is_ascii_hexdigit).rev().take(16).collect();
        Self { kid, key, retired_at }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.key.expose_secret().as_bytes()
    }
}

/// The secrets in force: the first signs, all verify.
pub(super) struct Secrets {
    known: arc_swap::ArcSwap<Vec<Secret>>,
    /// Where they are kept; nowhere when the operator gave them.
    file: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    current: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<Retired>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Retired {
    secret: String,
    retired_at: i64,
}

impl Secrets {
    pub(super) fn open(dir: &Path, options: &AccountOptions, clock: &dyn Clock) -> Result<Self, AccountError> {
        if let Some(given) = &options.secret {
            let now = clock.now().as_second();
            let mut known = vec![checked(given, None)?];
            known.extend(options.previous_secret.as_ref().map(|old| checked(old, Some(now))).transpose()?);
            return Ok(Self { known: arc_swap::ArcSwap::from_pointee(known), file: None });
        }
        let path = dir.join(FILE);
        let kept = match read(&path)? {
            Some(kept) => kept,
            None => {
                let kept = Kept { current: hex::encode(random_bytes(clock)), previous: None };
                write(&path, &kept)?;
                kept
            }
        };
        Ok(Self { known: arc_swap::ArcSwap::from_pointee(known(kept)), file: Some(path) })
    }

    pub(super) fn all(&self) -> Arc<Vec<Secret>> {
        self.known.load_full()
    }

    /// Puts a new secret in force.
    fn rotate(&self, clock: &dyn Clock) -> Result<(), AccountError> {
        let Some(path) = &self.file else {
            let reason = "the secret that signs access tokens was given by the configuration; change jwt_secret there and \
                          move the old one to jwt_secret_previous";
            return Err(AccountError::Invalid(reason.to_owned()));
        };
        let old = self.all().first().map(|secret| secret.key.expose_secret().to_owned());
        let previous = old.map(|secret| Retired { secret, retired_at: clock.now().as_second() });
        let kept = Kept { current: hex::encode(random_bytes(clock)), previous };
        write(path, &kept)?;
        self.known.store(Arc::new(known(kept)));
        Ok(())
    }
}

impl Accounts {
    /// Signs access tokens with a new secret from now on. Those that are out hold until they expire.
    ///
    /// # Errors
    ///
    /// The secret was given by the configuration, or the new one cannot be written.
    pub async fn rotate_secret(&self, by: &reeve_types::Principal) -> Result<(), AccountError> {
        self.record(by, &by.tenant, "access tokens are signed with a new secret from now on".to_owned()).await?;
        self.parts.secrets.rotate(self.parts.clock.as_ref())
    }
}

/// How long a retired secret still verifies what it signed.
pub(super) fn outlived(secret: &Secret, now: i64, lifetime: Duration) -> bool {
    let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
    secret.retired_at.is_some_and(|at| at.saturating_add(lifetime) < now)
}

fn checked(secret: &SecretString, retired_at: Option<i64>) -> Result<Secret, AccountError> {
    check_secret(secret.expose_secret()).map_err(AccountError::Secret)?;
    Ok(Secret::new(secret.clone(), retired_at))
}

fn known(kept: Kept) -> Vec<Secret> {
    let previous = kept.previous.map(|old| Secret::new(old.secret.into(), Some(old.retired_at)));
    std::iter::once(Secret::new(kept.current.into(), None)).chain(previous).collect()
}

fn read(path: &Path) -> Result<Option<Kept>, AccountError> {
    let failed = |reason: String| AccountError::Secret(format!("{} cannot be used: {reason}", path.display()));
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    let mode = file.metadata().map_err(|error| failed(error.to_string()))?.permissions().mode();
    if mode & 0o077 != 0 {
        let reason =
            "others can read it, and whoever reads it can sign in as anybody; delete it, so that a new one is made";
        return Err(failed(reason.to_owned()));
    }
    let mut text = String::new();
    file.take(4096).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
    let kept: Kept = serde_json::from_str(&text)
        .map_err(|_| failed("it is not what Reeve wrote; delete it, so that a new one is made".to_owned()))?;
    if kept.current.len() < 2 * SECRET_BYTES_MIN {
        return Err(failed("the secret in it is too short; delete it, so that a new one is made".to_owned()));
    }
    Ok(Some(kept))
}

fn write(path: &Path, kept: &Kept) -> Result<(), AccountError> {
    let text = serde_json::to_string(kept).map_err(|error| AccountError::BrokeOff(error.to_string()))?;
    reeve_store::write_private(path, &format!("{text}\n")).map_err(AccountError::Store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_anybody_would_try_are_refused_with_a_sentence() {
        for text in [
            "key",
            "secret",
            "",
            "0123456789abcdef0123456789abcde",
            "keykeykeykeykeykeykeykeykeykeykeykey",
            "00000000000000000000000000000000000000000000",
            "your-secret-key-change-in-production-please",
            "CHANGE_ME_to_a_random_string_of_characters_42",
        ] {
            let said = check_secret(text).unwrap_err();
            assert!(said.contains("openssl rand -hex 32"), "{said}");
            assert!(text.len() < 8 || !said.contains(text), "the text is not repeated: {said}");
        }
        check_secret("4f1c0d2ab97e4c58a1d1b3f5e6079c8d4f1c0d2ab97e4c58a1d1b3f5e6079c8d").unwrap();
    }
}
