//! `.pgpass`: passwords that people keep outside of connection strings.
//!
//! Format and rules are those of libpq ("The Password File"): `host:port:database:user:password`, `*` matches
//! anything, `\` escapes `:` and `\`, the first line that matches wins, and a file that others may read is not used.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use secrecy::SecretString;

/// Longest password file that is read, in bytes.
const PASSFILE_BYTES_MAX: u64 = 1024 * 1024;

/// A password file that may be used, or the reason why it may not.
#[derive(Debug)]
pub(crate) enum Passfile {
    /// Its text.
    Usable(SecretText),
    /// There is none.
    Absent,
    /// There is one and it is left alone; the text says why, for people.
    Unusable(String),
}

/// The text of a password file: it is never printed.
pub(crate) struct SecretText(String);

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(***)")
    }
}

/// What a line is compared with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) dbname: &'a str,
    pub(crate) user: &'a str,
}

impl Passfile {
    pub(crate) fn read(path: &Path) -> Self {
        let about = match std::fs::metadata(path) {
            Ok(about) => about,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Self::Absent,
            Err(error) => {
                return Self::Unusable(format!("password file `{}` cannot be looked at: {error}", path.display()));
            }
        };
        if !about.is_file() {
            return Self::Unusable(format!("password file `{}` is not used: it is not a plain file", path.display()));
        }
        if about.permissions().mode() & 0o077 != 0 {
            return Self::Unusable(format!(
                "password file `{}` is not used: others may read it; run chmod 0600 on it",
                path.display()
            ));
        }
        if about.len() > PASSFILE_BYTES_MAX {
            return Self::Unusable(format!("password file `{}` is not used: it is longer than 1 MiB", path.display()));
        }
        match std::fs::read(path) {
            Ok(bytes) => Self::Usable(SecretText(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) => Self::Unusable(format!("password file `{}` cannot be read: {error}", path.display())),
        }
    }

    pub(crate) fn password(&self, wanted: Wanted<'_>) -> Option<SecretString> {
        match self {
            Self::Usable(text) => find(&text.0, wanted),
            Self::Absent | Self::Unusable(_) => None,
        }
    }
}

fn find(text: &str, wanted: Wanted<'_>) -> Option<SecretString> {
    let port = wanted.port.to_string();
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut rest = line.trim_end_matches('\r');
        for value in [wanted.host, port.as_str(), wanted.dbname, wanted.user] {
            rest = after_field(rest, value)?;
        }
        let password = unescape(rest);
        (!password.is_empty()).then(|| SecretString::from(password))
    })
}

/// What follows the first field of the line when that field matches the value.
fn after_field<'a>(line: &'a str, value: &str) -> Option<&'a str> {
    if let Some(rest) = line.strip_prefix("*:") {
        return Some(rest);
    }
    let mut field = String::new();
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ':' => return (field == value).then(|| line.get(at + 1..)).flatten(),
            '\\' => field.extend(chars.next().map(|(_, escaped)| escaped)),
            c => field.push(c),
        }
    }
    None
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().unwrap_or('\\')),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn password(text: &str, host: &str, port: u16, dbname: &str, user: &str) -> Option<String> {
        find(text, Wanted { host, port, dbname, user }).map(|p| p.expose_secret().to_owned())
    }

    #[test]
    fn the_first_line_that_matches_wins() {
        let text = "# comment:*:*:*:no\nh:5432:db:u:first\r\nh:*:*:u:second\n*:*:*:*:any:thing\n";
        assert_eq!(password(text, "h", 5432, "db", "u").as_deref(), Some("first"));
        assert_eq!(password(text, "h", 5433, "db", "u").as_deref(), Some("second"));
        assert_eq!(password(text, "other", 1, "x", "y").as_deref(), Some("any:thing"));
    }

    #[test]
    fn colons_and_backslashes_are_escaped() {
        let text = r"\:\:1:5432:a\\b:u:p\:w\\d";
        assert_eq!(password(text, "::1", 5432, r"a\b", "u").as_deref(), Some(r"p:w\d"));
    }

    #[test]
    fn hosts_are_compared_as_given() {
        assert_eq!(password("localhost:5432:db:u:p", "127.0.0.1", 5432, "db", "u"), None);
        assert_eq!(password("LOCALHOST:5432:db:u:p", "localhost", 5432, "db", "u"), None);
        assert_eq!(password("h*:5432:db:u:p", "host", 5432, "db", "u"), None, "a star matches only alone");
    }

    #[test]
    fn broken_lines_match_nothing() {
        for text in ["", ":", "h:5432", "h:5432:db:u", "h:5432:db:u:", "\\"] {
            assert_eq!(password(text, "h", 5432, "db", "u"), None, "{text}");
        }
    }
}
