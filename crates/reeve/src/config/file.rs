//! `reeve.toml`: every complaint with its line and column, all at once.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;
use super::keys::{KEYS, Key, Kind};
use super::layers::{Raw, Setting, Source};

/// Reads the text of a file. What is wrong is added to `errors`; the rest is returned all the same.
pub(super) fn read_file(path: &Path, text: &str, errors: &mut Vec<ConfigError>) -> Vec<(&'static str, Setting)> {
    let (table, broken) = DeTable::parse_recoverable(text);
    let file = File { path, text };
    // What stands after a slip of syntax is not what was meant; complaints about it would mislead.
    if let Some(error) = broken.iter().min_by_key(|error| error.span().map_or(0, |span| span.start)) {
        let source = file.place(error.span().map_or(0, |span| span.start));
        errors.push(ConfigError { source, message: error.message().to_owned(), hint: String::new() });
        return Vec::new();
    }
    let mut found = Vec::new();
    file.walk("", table.get_ref(), &mut found, errors);
    found
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn place(&self, offset: usize) -> Source {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1;
        Source::File { path: self.path.to_owned(), line, column }
    }

    fn walk(
        &self,
        prefix: &str,
        table: &DeTable<'_>,
        found: &mut Vec<(&'static str, Setting)>,
        errors: &mut Vec<ConfigError>,
    ) {
        for (word, value) in table {
            let name =
                if prefix.is_empty() { word.get_ref().to_string() } else { format!("{prefix}.{}", word.get_ref()) };
            let at = self.place(word.span().start);
            let is_table = KEYS.iter().any(|key| key.name.starts_with(&format!("{name}.")));
            match (value.get_ref(), super::keys::find(&name)) {
                (DeValue::Table(inner), None) if is_table => self.walk(&name, inner, found, errors),
                (_, None) if is_table => {
                    let message = format!("`{name}` is a table, not a value");
                    errors.push(ConfigError {
                        source: at,
                        message,
                        hint: format!("write `[{name}]` and its settings below"),
                    });
                }
                (_, None) => errors.push(unknown(at, &name)),
                (_, Some(key)) => match read_value(key, value) {
                    Ok(raw) => found.push((key.name, Setting { raw, source: self.place(value.span().start) })),
                    Err((offset, message)) => {
                        errors.push(ConfigError { source: self.place(offset), message, hint: String::new() });
                    }
                },
            }
        }
    }
}

/// A value of the kind that the setting wants, or where it is not and why.
fn read_value(key: &Key, value: &Spanned<DeValue<'_>>) -> Result<Raw, (usize, String)> {
    let offset = value.span().start;
    let wrong = |found: &str| (offset, format!("`{}` must be a {}, not {found}", key.name, key.kind.words()));
    match (key.kind, value.get_ref()) {
        (Kind::Text | Kind::Secret | Kind::Url | Kind::SecretUrl | Kind::Path, DeValue::String(text)) => {
            Ok(Raw::One(text.to_string()))
        }
        (Kind::Number, DeValue::Integer(number)) => Ok(Raw::One(number.to_string())),
        (Kind::Fraction, DeValue::Integer(number)) => Ok(Raw::One(number.to_string())),
        (Kind::Fraction, DeValue::Float(number)) => Ok(Raw::One(number.to_string())),
        (Kind::Switch, DeValue::Boolean(on)) => Ok(Raw::One(on.to_string())),
        // One value where a list may stand is what people mean by it.
        (Kind::TextList | Kind::PathList, DeValue::String(text)) => Ok(Raw::Many(vec![text.to_string()])),
        (Kind::TextList | Kind::PathList, DeValue::Array(items)) => {
            let texts = items.iter().map(|item| match item.get_ref() {
                DeValue::String(text) => Ok(text.to_string()),
                other => Err((
                    item.span().start,
                    format!("`{}` must be a {}, but holds {}", key.name, key.kind.words(), found(other)),
                )),
            });
            texts.collect::<Result<_, _>>().map(Raw::Many)
        }
        (_, other) => Err(wrong(found(other))),
    }
}

fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn unknown(source: Source, name: &str) -> ConfigError {
    let nearest = KEYS.iter().map(|key| (distance(name, key.name), key.name)).min();
    let hint = match nearest {
        Some((steps, near)) if steps <= 1 + name.len() / 4 => format!("did you mean `{near}`?"),
        _ => "see `reeve config --docs` for every setting".to_owned(),
    };
    ConfigError { source, message: format!("there is no setting `{name}`"), hint }
}

/// How many letters to insert, take away or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((to, &above_left), &above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or(0);
            next.push((above_left + usize::from(from != *to)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
