//! Names of tables, slots and settings that come from outside and go into SQL text.

/// Longest identifier, in bytes: PostgreSQL cuts longer ones, and a cut name is another name.
const IDENTIFIER_BYTES_MAX: usize = 63;

/// A text that cannot be an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadIdentifier {
    /// Nothing.
    #[error("a name is missing")]
    Empty,
    /// More than 63 bytes.
    #[error("the name `{name}` is longer than 63 bytes")]
    TooLong {
        /// Its beginning.
        name: String,
    },
    /// Control characters, among them NUL.
    #[error("the name holds a control character")]
    ControlCharacter,
    /// A quote that is not closed, or something beside it.
    #[error("the quotes in `{name}` do not match; write schema.table or \"Schema\".\"Table\"")]
    BadQuotes {
        /// The text.
        name: String,
    },
    /// More parts than schema and name.
    #[error("`{name}` has more parts than schema and name")]
    TooManyParts {
        /// The text.
        name: String,
    },
}

/// The name in double quotes, whatever it holds. It is taken as it is, so `Orders` means the mixed-case name.
pub fn identifier(name: &str) -> Result<String, BadIdentifier> {
    if name.is_empty() {
        return Err(BadIdentifier::Empty);
    }
    if name.len() > IDENTIFIER_BYTES_MAX {
        return Err(BadIdentifier::TooLong { name: name.chars().take(40).collect() });
    }
    if name.chars().any(char::is_control) {
        return Err(BadIdentifier::ControlCharacter);
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

/// `table` or `schema.table` as people write it, quoted for SQL. Unquoted parts fold to lower case, as in SQL.
pub fn qualified_identifier(text: &str) -> Result<String, BadIdentifier> {
    let parts = split(text.trim())?;
    if parts.len() > 2 {
        return Err(BadIdentifier::TooManyParts { name: text.chars().take(130).collect() });
    }
    let quoted: Result<Vec<String>, BadIdentifier> = parts.iter().map(|part| identifier(part)).collect();
    Ok(quoted?.join("."))
}

fn split(text: &str) -> Result<Vec<String>, BadIdentifier> {
    let bad_quotes = || BadIdentifier::BadQuotes { name: text.chars().take(130).collect() };
    let mut parts = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        let mut part = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next() {
                    None => return Err(bad_quotes()),
                    Some('"') if chars.next_if_eq(&'"').is_none() => break,
                    Some(c) => part.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != '.') {
                if c == '"' {
                    return Err(bad_quotes());
                }
                part.push(c.to_ascii_lowercase());
            }
        }
        parts.push(part);
        match chars.next() {
            None => return Ok(parts),
            Some('.') => {}
            Some(_) => return Err(bad_quotes()),
        }
    }
}
