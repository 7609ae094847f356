//! Policy files as they come in, and what is wrong with them: every complaint names file, line and column.

use std::fmt;

/// How a policy file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The full form (`policies:`) or the short form (`rules:`).
    Yaml,
    /// The Cedar policy language.
    Cedar,
}

/// One policy file, already read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file's name, for messages.
    pub name: String,
    /// Its text.
    pub text: String,
    /// How it is written.
    pub format: Format,
}

/// A place in a file: line and column count from 1, in characters; 0 means that the place is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl Place {
    /// The place of a byte offset in a text.
    pub(crate) fn of_offset(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        Self { line: u32::try_from(line).unwrap_or(u32::MAX), column: u32::try_from(column).unwrap_or(u32::MAX) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One thing that is wrong with a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    /// The file.
    pub file: String,
    /// Where in it.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// The line of the file, for showing; may be empty.
    pub snippet: String,
}

impl LoadError {
    /// The line, from 1.
    pub fn line(&self) -> u32 {
        self.place.line
    }

    /// The column, from 1.
    pub fn column(&self) -> u32 {
        self.place.column
    }
}

/// The longest part of a line that a message shows, in characters.
const SNIPPET_WIDTH: usize = 120;

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        if line == 0 {
            write!(f, "{}: {}", self.file, self.message)?;
        } else {
            write!(f, "{}:{line}:{column}: {}", self.file, self.message)?;
        }
        if !self.snippet.is_empty() {
            let gutter = line.to_string();
            let pad = " ".repeat(gutter.len());
            let before = usize::try_from(column).unwrap_or(0).saturating_sub(1).min(SNIPPET_WIDTH);
            write!(f, "\n {pad} |\n {gutter} | {}\n {pad} | {}^", self.snippet, " ".repeat(before))?;
        }
        if !self.hint.is_empty() {
            write!(f, "\n  help: {}", self.hint)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a set of policy files. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct LoadErrors(pub Vec<LoadError>);

impl fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n\n")?;
            }
            fmt::Display::fmt(error, f)?;
        }
        Ok(())
    }
}

/// Gathers the complaints about one file.
#[derive(Debug)]
pub(crate) struct Complaints<'a> {
    file: &'a str,
    text: &'a str,
    found: Vec<LoadError>,
}

/// More complaints than anybody reads; a hostile file could otherwise ask for millions of lines.
const MOST_COMPLAINTS: usize = 100;

impl<'a> Complaints<'a> {
    pub(crate) fn about(source: &'a Source) -> Self {
        Self { file: &source.name, text: &source.text, found: Vec::new() }
    }

    pub(crate) fn add(&mut self, place: Place, message: impl Into<String>, hint: impl Into<String>) {
        if self.found.len() >= MOST_COMPLAINTS {
            return;
        }
        let line = usize::try_from(place.line).unwrap_or(0);
        let snippet = line
            .checked_sub(1)
            .and_then(|at| self.text.lines().nth(at))
            .map(|l| l.trim_end().replace('\t', " ").chars().take(SNIPPET_WIDTH).collect())
            .unwrap_or_default();
        self.found.push(LoadError {
            file: self.file.to_owned(),
            place,
            message: message.into(),
            hint: hint.into(),
            snippet,
        });
    }

    pub(crate) fn file(&self) -> &'a str {
        self.file
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn into_found(mut self) -> Vec<LoadError> {
        self.found.sort_by_key(|e| e.place);
        self.found
    }
}

/// The known word that was most likely meant, when one is close enough to be worth naming.
pub(crate) fn closest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    let most = (word.chars().count() / 3).clamp(1, 3);
    known.iter().map(|k| (distance(word, k), *k)).filter(|(d, _)| *d <= most).min().map(|(_, k)| k)
}

/// Edits between two words, a swap of neighbours counting once (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().take(64).flat_map(char::to_lowercase).collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut a_before = None;
    for (i, ca) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        let mut b_before = None;
        for (j, cb) in b.iter().enumerate() {
            let at = |line: &[usize], k: usize| line.get(k).copied().unwrap_or(usize::MAX / 2);
            let replaced = at(&last, j) + usize::from(ca != cb);
            let mut best = replaced.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            if j > 0 && a_before == Some(cb) && b_before == Some(ca) {
                best = best.min(at(&before_last, j - 1) + 1);
            }
            row.push(best);
            b_before = Some(cb);
        }
        before_last = std::mem::replace(&mut last, row);
        a_before = Some(ca);
    }
    last.last().copied().unwrap_or(0)
}
