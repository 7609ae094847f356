//! Secrets, and texts from which they have been taken out.

pub use secrecy::{ExposeSecret, SecretString};

/// What stands where a secret stood.
pub const MASK: &str = "***";

/// A connection string with its passwords replaced by `***`, for records, messages and logs.
///
/// Understands libpq's `key=value` form and URIs. When in doubt it masks more rather than less.
pub fn mask_dsn(dsn: &str) -> String {
    match dsn.split_once("://") {
        // Pairs behind a URI are no libpq string any more, but somebody may have typed one.
        Some((scheme, rest)) if is_scheme(scheme) => mask_pairs(&mask_uri(scheme, rest)),
        // `://` inside a value does not make a URI.
        _ => mask_pairs(dsn),
    }
}

fn is_scheme(text: &str) -> bool {
    let text = text.trim_start();
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

const SECRET_KEYS: [&str; 4] = ["password", "passwd", "sslpassword", "secret"];

fn is_secret_key(key: &str) -> bool {
    let key = key.trim().to_ascii_lowercase();
    SECRET_KEYS.iter().any(|k| key == *k)
}

fn mask_uri(scheme: &str, rest: &str) -> String {
    let (before_query, query) = match rest.split_once('?') {
        Some((a, b)) => (a, Some(b)),
        None => (rest, None),
    };
    // The last `@` ends the user part: a password may itself hold an unescaped one.
    let masked = match before_query.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:{MASK}@{host}"),
            None => before_query.to_owned(),
        },
        None => before_query.to_owned(),
    };
    match query {
        None => format!("{scheme}://{masked}"),
        Some(query) => {
            let pairs: Vec<String> = query
                .split('&')
                .map(|pair| match pair.split_once('=') {
                    Some((key, _)) if is_secret_key(key) => format!("{key}={MASK}"),
                    _ => pair.to_owned(),
                })
                .collect();
            format!("{scheme}://{masked}?{}", pairs.join("&"))
        }
    }
}

fn mask_pairs(dsn: &str) -> String {
    let mut out = String::with_capacity(dsn.len());
    let mut rest = dsn;
    while !rest.is_empty() {
        let Some(eq) = rest.find('=') else {
            out.push_str(rest);
            break;
        };
        let before = rest[..eq].trim_end();
        let key_start = before.char_indices().rfind(|(_, c)| c.is_whitespace()).map_or(0, |(at, c)| at + c.len_utf8());
        let secret = is_secret_key(&rest[key_start..eq]);
        out.push_str(&rest[..=eq]);
        rest = &rest[eq + 1..];
        let blank = rest.len() - rest.trim_start().len();
        let value_len = blank + value_len(&rest[blank..]);
        out.push_str(if secret { MASK } else { &rest[..value_len] });
        rest = &rest[value_len..];
    }
    out
}

/// Length in bytes of a libpq value at the start of `text`: quoted with `'` or up to white space, `\` escapes.
fn value_len(text: &str) -> usize {
    let quoted = text.starts_with('\'');
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(usize::from(quoted)) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' if quoted => return at + 1,
            c if !quoted && c.is_whitespace() => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked_in_every_form() {
        let table = [
            ("host=a password=s3cret dbname=x", "host=a password=*** dbname=x"),
            ("host=a password = 's3 \\'cret' dbname=x", "host=a password =*** dbname=x"),
            ("password=s3cret", "password=***"),
            ("postgres://u:p@ss@h:5432/db?sslmode=require", "postgres://u:***@h:5432/db?sslmode=require"),
            ("postgresql://h/db?user=u&password=x", "postgresql://h/db?user=u&password=***"),
            ("postgres://u@h/db", "postgres://u@h/db"),
            ("prod-db", "prod-db"),
            ("\u{a0}\u{1d4a5}=", "\u{a0}\u{1d4a5}="),
            ("a\u{3000}password=x", "a\u{3000}password=***"),
            ("host=h password=x options='://'", "host=h password=*** options='://'"),
            ("postgres://u@h/db password=x", "postgres://u@h/db password=***"),
        ];
        for (dsn, masked) in table {
            assert_eq!(mask_dsn(dsn), masked, "{dsn}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_never_leaks(noise in "\\PC{0,40}", word in "[a-z0-9]{12}") {
            let forms = [
                format!("host=h password={word} options='{noise}'"),
                format!("password='{word}' {noise}"),
                format!("postgres://u:{word}@h/db?options={noise}"),
            ];
            for dsn in forms {
                proptest::prop_assert!(!mask_dsn(&dsn).contains(&word) || noise.contains(&word), "{dsn}");
            }
            let _ = mask_dsn(&noise);
        }
    }
}
