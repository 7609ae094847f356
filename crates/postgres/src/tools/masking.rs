//! Takes secrets out of texts that a server hands out: statements, log lines and settings may hold passwords.

use std::borrow::Cow;

use reeve_types::secret::MASK;

const WORDS: [&str; 2] = ["password", "passwd"];

/// The text with every password literal and every password inside a URI replaced by `***`.
pub(super) fn masked(text: &str) -> Cow<'_, str> {
    let lower = text.to_ascii_lowercase();
    if !WORDS.iter().any(|word| lower.contains(word)) && !lower.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut secrets: Vec<(usize, usize)> = Vec::new();
    for word in WORDS {
        secrets.extend(lower.match_indices(word).filter_map(|(at, _)| after_word(text, at + word.len())));
    }
    secrets.extend(lower.match_indices("://").filter_map(|(at, _)| in_authority(text, at + 3)));
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    secrets.sort_unstable();
    Cow::Owned(replace(text, &secrets))
}

fn replace(text: &str, secrets: &[(usize, usize)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for &(from, to) in secrets {
        if from < done {
            continue;
        }
        out.push_str(text.get(done..from).unwrap_or_default());
        out.push_str(MASK);
        done = to;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

/// The secret that follows the word: `password 'x'`, `password = x`, `"password": "x"`, `password=''x''`.
fn after_word(text: &str, end: usize) -> Option<(usize, usize)> {
    let rest = text.get(end..)?;
    let gap: usize =
        rest.chars().take_while(|c| c.is_whitespace() || matches!(c, '=' | ':' | '"')).map(char::len_utf8).sum();
    let (between, value) = rest.split_at_checked(gap)?;
    let assigned = between.contains(['=', ':']);
    let start = end + gap;
    if let Some(inner) = value.strip_prefix("''") {
        let length = inner.find("''").unwrap_or(inner.len());
        return Some((start + 2, start + 2 + length)).filter(|(from, to)| to > from);
    }
    if value.starts_with('\'') || value.starts_with("E'") || value.starts_with("e'") {
        let opening = value.find('\'')? + 1;
        return Some((start + opening, start + opening + quoted_length(value.get(opening..)?)));
    }
    if !assigned {
        return None;
    }
    let length = value
        .find(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '&' | ',' | ';' | ')'))
        .unwrap_or(value.len());
    (length > 0).then_some((start, start + length))
}

/// How long a literal's inside is, up to the quote that ends it; a doubled quote belongs to it.
fn quoted_length(inner: &str) -> usize {
    let mut quotes = inner.char_indices().filter(|(_, c)| *c == '\'').map(|(at, _)| at).peekable();
    while let Some(at) = quotes.next() {
        if quotes.peek() == Some(&(at + 1)) {
            quotes.next();
            continue;
        }
        return at;
    }
    inner.len()
}

/// The password of `scheme://user:password@host`.
fn in_authority(text: &str, start: usize) -> Option<(usize, usize)> {
    let rest = text.get(start..)?;
    let length = rest.find(|c: char| c.is_whitespace() || matches!(c, '/' | '\'' | '"')).unwrap_or(rest.len());
    let authority = rest.get(..length)?;
    let host = authority.rfind('@')?;
    let colon = authority.get(..host)?.find(':')?;
    Some((start + colon + 1, start + host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_statements_logs_and_settings_are_masked() {
        let table = [
            ("ALTER ROLE bob PASSWORD 's3''cret' LOGIN", "ALTER ROLE bob PASSWORD '***' LOGIN"),
            ("host=a password=s3cret user=b", "host=a password=*** user=b"),
            (
                "CREATE SUBSCRIPTION s CONNECTION 'host=a password=s3cret' PUBLICATION p",
                "CREATE SUBSCRIPTION s CONNECTION 'host=a password=***' PUBLICATION p",
            ),
            ("select dblink('host=a password=''s3cret'' user=b')", "select dblink('host=a password=''***'' user=b')"),
            ("postgres://u:s3cret@h:5432/db?x=1", "postgres://u:***@h:5432/db?x=1"),
            (r#"{"password": "s3cret"}"#, r#"{"password": "***"}"#),
            ("password_encryption", "password_encryption"),
            ("password authentication failed for user \"bob\"", "password authentication failed for user \"bob\""),
            ("see https://example.org/a", "see https://example.org/a"),
        ];
        for (given, expected) in table {
            assert_eq!(masked(given), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,60}", tail in "\\PC{0,30}") {
            let _ = masked(&format!("{text} password{tail}"));
            let _ = masked(&format!("x://{text}{tail}"));
        }
    }
}
