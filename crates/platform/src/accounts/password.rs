//! Passwords: what may be one, how they are hashed, and how long verifying takes whoever asks.

use std::time::Duration;

use argon2::password_hash::PasswordHasher as _;
use argon2::{Argon2, PasswordHash, PasswordVerifier as _};
use reeve_types::secret::{ExposeSecret as _, SecretString};

use super::{AccountError, Accounts, PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN, random_bytes};

/// How long a password waits for its turn to be verified.
const VERIFY_WAIT_MAX: Duration = Duration::from_secs(10);
/// What is verified where there is no account, so that an unknown address takes as long as a wrong password. It is the
/// hash of nothing: no password fits.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGlzIGhlcmUhIQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Whether a text may be the password of an account with this address.
pub(super) fn check(password: &SecretString, email: &str) -> Result<(), AccountError> {
    let text = password.expose_secret();
    let bad = |reason: String| Err(AccountError::BadPassword(reason));
    if text.chars().count() < PASSWORD_CHARS_MIN {
        return bad(format!("a password has at least {PASSWORD_CHARS_MIN} characters"));
    }
    if text.len() > PASSWORD_BYTES_MAX {
        return bad(format!("a password has at most {PASSWORD_BYTES_MAX} bytes"));
    }
    if text.trim().eq_ignore_ascii_case(email) {
        return bad("the password is the e-mail address; choose another one".to_owned());
    }
    let first = text.chars().next();
    if text.chars().all(|c| Some(c) == first) {
        return bad("the password is one character repeated; choose another one".to_owned());
    }
    Ok(())
}

impl Accounts {
    /// The Argon2id hash of a password, in PHC form.
    pub(super) async fn hash_password(&self, password: SecretString) -> Result<String, AccountError> {
        let salt = random_bytes(self.parts.clock.as_ref());
        self.beside(move || {
            Argon2::default()
                .hash_password_with_salt(password.expose_secret().as_bytes(), &salt[..16])
                .map(|hash| hash.to_string())
                .map_err(|error| AccountError::BrokeOff(error.to_string()))
        })
        .await?
    }

    /// Whether a password fits a hash. Without a hash it takes as long, and does not fit.
    pub(super) async fn verify_password(
        &self,
        password: SecretString,
        hash: Option<String>,
    ) -> Result<bool, AccountError> {
        if password.expose_secret().len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        self.beside(move || {
            let known = hash.is_some();
            let text = hash.unwrap_or_else(|| NOBODY.to_owned());
            let fits = PasswordHash::new(&text).is_ok_and(|parsed| {
                Argon2::default().verify_password(password.expose_secret().as_bytes(), &parsed).is_ok()
            });
            fits && known
        })
        .await
    }

    /// Argon2id takes time and memory on purpose, and anybody may send a wrong password: only so many at a time.
    async fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, AccountError> {
        let place = tokio::time::timeout(VERIFY_WAIT_MAX, self.parts.verifying.acquire()).await;
        let Ok(Ok(_place)) = place else { return Err(AccountError::Busy) };
        tokio::task::spawn_blocking(work).await.map_err(|error| AccountError::BrokeOff(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_for_nobody_costs_what_a_real_hash_costs() {
        let nobody = PasswordHash::new(NOBODY).unwrap();
        let real = Argon2::default().hash_password_with_salt(b"a password", b"0123456789abcdef").unwrap();
        assert_eq!(nobody.algorithm, real.algorithm);
        assert_eq!(nobody.params.to_string(), real.params.to_string());
        assert_eq!(nobody.salt.map(|s| s.len()), real.salt.map(|s| s.len()));
        assert_eq!(nobody.hash.map(|h| h.len()), real.hash.map(|h| h.len()));
        assert!(Argon2::default().verify_password(b"", &nobody).is_err());
    }

    #[test]
    fn a_password_is_long_enough_and_not_what_everybody_would_try() {
        let said = |text: &str| check(&text.into(), "alice@example.com").map_err(|e| e.to_string());
        assert_eq!(said("123456789").unwrap_err(), "a password has at least 10 characters");
        assert_eq!(said("ééééééééé").unwrap_err(), "a password has at least 10 characters", "characters, not bytes");
        assert!(said("aaaaaaaaaaaa").is_err());
        assert!(said("Alice@Example.com").is_err());
        assert!(said(&"ab".repeat(600)).is_err());
        said("correct horse").unwrap();
    }
}
