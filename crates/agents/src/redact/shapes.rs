//! Secrets that are known by their shape, wherever they stand in a text.

/// A secret that begins with a known word and goes on with letters.
struct Shape {
    begins: &'static str,
    /// At least so many bytes of it follow.
    follow: usize,
    letters: fn(u8) -> bool,
    label: &'static str,
}

const fn shape(begins: &'static str, follow: usize, letters: fn(u8) -> bool, label: &'static str) -> Shape {
    Shape { begins, follow, letters, label }
}

/// Longer beginnings before shorter ones that they contain.
const SHAPES: [Shape; 21] = [
    shape("github_pat_", 20, word, "github-token"),
    shape("ghp_", 20, word, "github-token"),
    shape("gho_", 20, word, "github-token"),
    shape("ghu_", 20, word, "github-token"),
    shape("ghs_", 20, word, "github-token"),
    shape("ghr_", 20, word, "github-token"),
    shape("sk-ant-", 10, dashed, "anthropic-key"),
    shape("sk-", 20, dashed, "api-key"),
    shape("xoxa-", 10, dashed, "slack-token"),
    shape("xoxb-", 10, dashed, "slack-token"),
    shape("xoxe-", 10, dashed, "slack-token"),
    shape("xoxp-", 10, dashed, "slack-token"),
    shape("xoxr-", 10, dashed, "slack-token"),
    shape("xoxs-", 10, dashed, "slack-token"),
    shape("xapp-", 10, dashed, "slack-token"),
    shape("glpat-", 16, dashed, "gitlab-token"),
    shape("gldt-", 16, dashed, "gitlab-token"),
    shape("glrt-", 16, dashed, "gitlab-token"),
    shape("AKIA", 16, upper, "aws-key-id"),
    shape("ASIA", 16, upper, "aws-key-id"),
    shape("AIza", 30, dashed, "google-key"),
];

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn dashed(byte: u8) -> bool {
    word(byte) || byte == b'-'
}

fn upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

/// What may stand in the credentials behind `Bearer`.
fn bearer(byte: u8) -> bool {
    dashed(byte) || matches!(byte, b'.' | b'~' | b'+' | b'/' | b'=')
}

/// A secret found in a text: where it ends, and what it is.
struct Found {
    from: usize,
    to: usize,
    label: &'static str,
}

/// The text without its secrets; nothing when it has none.
pub(super) fn redacted(text: &str) -> Option<String> {
    let mut out: Option<String> = None;
    let (mut kept, mut place) = (0, 0);
    while place < text.len() {
        match find_at(text, place) {
            Some(found) => {
                let out = out.get_or_insert_with(String::new);
                out.push_str(text.get(kept..found.from).unwrap_or_default());
                out.push_str(&format!("[REDACTED:{}]", found.label));
                (kept, place) = (found.to, found.to.max(place + 1));
            }
            None => place += 1,
        }
    }
    out.map(|mut out| {
        out.push_str(text.get(kept..).unwrap_or_default());
        out
    })
}

/// A secret that begins here, or whose introduction does.
fn find_at(text: &str, place: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let rest = bytes.get(place..)?;
    match rest.first()? {
        b'-' => private_key(text, place),
        b':' => password_of_url(text, place),
        _ if place > 0 && bytes.get(place - 1).copied().is_some_and(word) => None,
        b'B' | b'b' => behind_bearer(rest, place),
        _ => SHAPES.iter().find_map(|shape| {
            let behind = rest.strip_prefix(shape.begins.as_bytes())?;
            let length = behind.iter().take_while(|byte| (shape.letters)(**byte)).count();
            let to = place + shape.begins.len() + length;
            (length >= shape.follow).then_some(Found { from: place, to, label: shape.label })
        }),
    }
}

fn behind_bearer(rest: &[u8], place: usize) -> Option<Found> {
    const WORD: usize = "bearer".len();
    if !rest.get(..WORD)?.eq_ignore_ascii_case(b"bearer") {
        return None;
    }
    let blanks = rest.get(WORD..)?.iter().take_while(|byte| **byte == b' ').count();
    let behind = rest.get(WORD + blanks..)?;
    let length = behind.iter().take_while(|byte| bearer(**byte)).count();
    let from = place + WORD + blanks;
    // Shorter ones are words: "bearer of news".
    (blanks > 0 && length >= 8).then_some(Found { from, to: from + length, label: "bearer-token" })
}

/// `-----BEGIN … PRIVATE KEY-----` to its end, or to the end of the text.
fn private_key(text: &str, place: usize) -> Option<Found> {
    let rest = text.get(place..)?.strip_prefix("-----BEGIN ")?;
    let header = rest.get(..rest.find("-----")?)?;
    if header.len() > 40 || !header.ends_with("PRIVATE KEY") {
        return None;
    }
    let end = text.get(place..)?.find("-----END ").and_then(|end| {
        let behind = text.get(place + end + 9..)?;
        Some(place + end + 9 + behind.find("-----")? + 5)
    });
    Some(Found { from: place, to: end.unwrap_or(text.len()), label: "private-key" })
}

/// The password in `scheme://user:password@host`.
fn password_of_url(text: &str, place: usize) -> Option<Found> {
    let rest = text.get(place..)?.strip_prefix("://")?;
    let authority = rest.split(['/', '?', '#', ' ', '"', '\'', '\n', '\t', '<', '>']).next()?;
    // A password may itself hold an unescaped `@`.
    let (user, _) = authority.rsplit_once('@')?;
    let (name, password) = user.split_once(':')?;
    let from = place + 3 + name.len() + 1;
    let mark = password.is_empty() || password.starts_with("[REDACTED:");
    (!mark).then_some(Found { from, to: from + password.len(), label: "url-password" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_found_in_the_middle_of_texts() {
        let key = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----";
        let table = [
            ("Authorization: Bearer abcdef.ghijkl-123=", "Authorization: Bearer [REDACTED:bearer-token]"),
            ("curl -H 'bearer  abcdefgh'", "curl -H 'bearer  [REDACTED:bearer-token]'"),
            ("the bearer of news", "the bearer of news"),
            ("postgres://ada:p@ss@db/x", "postgres://ada:[REDACTED:url-password]@db/x"),
            ("see https://example.org:8080/a@b", "see https://example.org:8080/a@b"),
            (
                "git clone https://x:ghp_0123456789abcdefghij@github.com/a",
                "git clone https://x:[REDACTED:url-password]@github.com/a",
            ),
            ("key=AKIAIOSFODNN7EXAMPLE.", "key=[REDACTED:aws-key-id]."),
            ("task-ant-colony and sk-short", "task-ant-colony and sk-short"),
            ("asksk-abcdefghijklmnopqrstuvwx", "asksk-abcdefghijklmnopqrstuvwx"),
            ("ü sk-ant-abcdefghijkl ü", "ü [REDACTED:anthropic-key] ü"),
            ("----- BEGIN", "----- BEGIN"),
        ];
        for (text, expected) in table {
            assert_eq!(redacted(text).as_deref().unwrap_or(text), expected);
        }
        assert_eq!(redacted(&format!("a {key} b")).expect("a key"), "a [REDACTED:private-key] b");
        assert_eq!(redacted(&key[..50]).expect("a key"), "[REDACTED:private-key]");
        assert_eq!(redacted("-----BEGIN PUBLIC KEY-----\nx"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken(text in "\\PC{0,80}") {
            let _ = redacted(&text);
        }

        #[test]
        fn a_password_of_a_url_never_stays(
            password in "[A-Z][a-z0-9]{9}", user in "[a-z]{1,8}", host in "[a-z.]{1,12}", noise in "[a-z ]{0,10}",
        ) {
            let text = format!("{noise} amqp://{user}:{password}@{host}/v {noise}");
            let out = redacted(&text).expect("something");
            proptest::prop_assert!(!out.contains(&password));
        }
    }
}
