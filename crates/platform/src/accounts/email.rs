//! E-mail addresses as names of accounts: one spelling for each person.

use super::AccountError;

/// Longest address, in bytes (RFC 5321).
const EMAIL_BYTES_MAX: usize = 254;
/// Longest part before the `@`, in bytes.
const LOCAL_BYTES_MAX: usize = 64;

/// The one spelling of an address: without blanks around it, in small letters.
///
/// ASCII only, so that two addresses that look alike are not two accounts.
pub(super) fn normalised(text: &str) -> Result<String, AccountError> {
    let email = text.trim().to_ascii_lowercase();
    if is_email(&email) { Ok(email) } else { Err(AccountError::BadEmail(text.trim().chars().take(80).collect())) }
}

fn is_email(email: &str) -> bool {
    let Some((local, domain)) = email.rsplit_once('@') else { return false };
    let local_fine = !local.is_empty()
        && local.len() <= LOCAL_BYTES_MAX
        && local.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b))
        && local.split('.').all(|part| !part.is_empty());
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    local_fine && email.len() <= EMAIL_BYTES_MAX && domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_has_one_spelling() {
        for (typed, kept) in [
            ("Alice@Example.COM", Some("alice@example.com")),
            ("  bob+x@a.b ", Some("bob+x@a.b")),
            ("admin@localhost", Some("admin@localhost")),
            ("", None),
            ("alice", None),
            ("@example.com", None),
            ("a@", None),
            ("a b@example.com", None),
            ("a@ex ample.com", None),
            ("a@@example.com", None),
            ("a@-x.com", None),
            ("a..b@example.com", None),
            ("ａlice@example.com", None),
            ("a@example.com\n", Some("a@example.com")),
            ("a\u{0}@example.com", None),
        ] {
            assert_eq!(normalised(typed).ok().as_deref(), kept, "{typed:?}");
        }
        assert!(normalised(&format!("{}@example.com", "a".repeat(65))).is_err());
    }
}
