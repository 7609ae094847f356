//! What stands in a line instead: a text or an expression, replaced line by line as a search matches them.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use reeve_types::workspace::files::{EDITOR_BYTES_MAX, SearchQuery};
use reeve_types::{ProblemCode, WorkspaceError};
use regex::{Captures, Regex, RegexBuilder};
use serde::Serialize;

/// Longest replacement, in bytes.
const REPLACEMENT_BYTES_MAX: usize = 4096;
/// Largest compiled expression, in bytes.
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// Longest line that an expression is held against, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// How long one file may take.
const WITHIN: Duration = Duration::from_secs(5);
/// Most characters of a line that are told.
const SHOWN_MAX: usize = 300;
/// How many characters before the first change are told of a long line.
const LEAD: usize = 60;

/// One changed line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct ReplacedLine {
    /// Which, from 1.
    pub(super) line: u64,
    /// What stands there, at most 300 characters around the first change.
    pub(super) before: String,
    /// What would stand there.
    pub(super) after: String,
}

/// A text after the replacement.
pub(super) struct NewText {
    pub(super) text: String,
    pub(super) count: u64,
    pub(super) lines: Vec<ReplacedLine>,
}

/// What is replaced, and by what.
pub(super) struct Replacer {
    expression: Regex,
    parts: Vec<Part>,
    is_plain: bool,
}

/// A piece of the replacement.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl Replacer {
    /// Reads what is looked for, as a search reads it, and what is put in its place.
    pub(super) fn new(query: &SearchQuery, replacement: &str) -> Result<Self, WorkspaceError> {
        if replacement.len() > REPLACEMENT_BYTES_MAX {
            return Err(bad(format!("a replacement has at most {REPLACEMENT_BYTES_MAX} bytes")));
        }
        let text = if query.regex { query.text.clone() } else { regex::escape(&query.text) };
        let text = if query.whole_word { format!(r"\b{{start-half}}(?:{text})\b{{end-half}}") } else { text };
        let mut builder = RegexBuilder::new(&text);
        builder.case_insensitive(!query.case_sensitive).size_limit(COMPILED_BYTES_MAX);
        let expression =
            builder.build().map_err(|error| bad(format!("`{}` cannot be replaced: {error}", query.text)))?;
        let parts = match query.regex {
            true => parts_of(replacement, &expression)?,
            false => vec![Part::Text(replacement.to_owned())],
        };
        Ok(Self { expression, parts, is_plain: !query.regex })
    }

    /// The text with every match replaced, and at most so many of the changed lines.
    pub(super) fn replaced(&self, text: &str, lines_max: usize) -> Result<NewText, WorkspaceError> {
        let by = Instant::now() + WITHIN;
        let mut new = NewText { text: String::with_capacity(text.len()), count: 0, lines: Vec::new() };
        for (at, line) in text.split_inclusive('\n').enumerate() {
            let body = line.strip_suffix('\n').unwrap_or(line);
            let body = body.strip_suffix('\r').unwrap_or(body);
            let begin = new.text.len();
            let (count, first) = self.line(body, &mut new.text)?;
            let after = new.text.get(begin..).unwrap_or_default();
            if after != body {
                new.count += count;
                if new.lines.len() < lines_max {
                    let line = u64::try_from(at).unwrap_or(u64::MAX).saturating_add(1);
                    new.lines.push(ReplacedLine { line, before: shown(body, first), after: shown(after, first) });
                }
            }
            new.text.push_str(line.get(body.len()..).unwrap_or_default());
            if new.text.len() as u64 > EDITOR_BYTES_MAX {
                let message = format!("it would have more than {EDITOR_BYTES_MAX} bytes after that");
                return Err(WorkspaceError::new(ProblemCode::TooLarge, message));
            }
            if Instant::now() > by {
                let message = "the expression takes too long on this file; make it simpler";
                return Err(WorkspaceError::new(ProblemCode::Timeout, message));
            }
        }
        Ok(new)
    }

    /// Adds a line with its matches replaced. Answers how many there were, and where the first begins.
    fn line(&self, line: &str, out: &mut String) -> Result<(u64, usize), WorkspaceError> {
        if !self.is_plain && line.len() > LINE_BYTES_MAX {
            let message = format!("it has a line of {} bytes, too long for an expression", line.len());
            return Err(WorkspaceError::new(ProblemCode::TooLarge, message));
        }
        let (mut count, mut first, mut at) = (0, None, 0);
        for found in self.expression.captures_iter(line) {
            let Some(whole) = found.get(0) else { continue };
            out.push_str(line.get(at..whole.start()).unwrap_or_default());
            self.expand(&found, out);
            at = whole.end();
            count += 1;
            first.get_or_insert(whole.start());
            if out.len() as u64 > 2 * EDITOR_BYTES_MAX {
                break;
            }
        }
        out.push_str(line.get(at..).unwrap_or_default());
        Ok((count, first.unwrap_or(0)))
    }

    fn expand(&self, found: &Captures<'_>, out: &mut String) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Group(group) => out.push_str(found.get(*group).map_or("", |group| group.as_str())),
            }
        }
    }
}

fn bad(message: impl Into<String>) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::InvalidArguments, message)
}

/// `$1`, `${1}` and `${name}` stand for what a group matched, `$$` for a dollar sign. Any other dollar sign is one.
fn parts_of(replacement: &str, expression: &Regex) -> Result<Vec<Part>, WorkspaceError> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = replacement;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let digits = after.len() - after.trim_start_matches(|sign: char| sign.is_ascii_digit()).len();
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let (name, left) = match braced {
            _ if after.starts_with('$') => {
                text.push('$');
                rest = after.get(1..).unwrap_or_default();
                continue;
            }
            Some((name, left)) => (name, left),
            None if digits > 0 => after.split_at(digits),
            None => {
                text.push('$');
                rest = after;
                continue;
            }
        };
        let group = group_named(name, expression)?;
        parts.push(Part::Text(std::mem::take(&mut text)));
        parts.push(Part::Group(group));
        rest = left;
    }
    text.push_str(rest);
    parts.push(Part::Text(text));
    parts.retain(|part| *part != Part::Text(String::new()));
    Ok(parts)
}

fn group_named(name: &str, expression: &Regex) -> Result<usize, WorkspaceError> {
    let by_number = name.parse::<usize>().ok().filter(|group| *group < expression.captures_len());
    let by_name = || expression.capture_names().position(|known| known == Some(name));
    by_number.or_else(by_name).ok_or_else(|| {
        let mut message = format!("the expression has no group `{name}`; write `$$` for a dollar sign");
        let names: Vec<&str> = expression.capture_names().flatten().collect();
        let _ = match (expression.captures_len() - 1, names.as_slice()) {
            (0, _) => write!(message, " (it has no groups)"),
            (count, []) => write!(message, " (it has {count})"),
            (count, names) => write!(message, " (it has {count}: {})", names.join(", ")),
        };
        bad(message)
    })
}

/// The part of a line around a byte.
fn shown(line: &str, around: usize) -> String {
    let mut around = around.min(line.len());
    while !line.is_char_boundary(around) {
        around -= 1;
    }
    let lead = line.get(..around).unwrap_or_default();
    let skipped = lead.chars().count().saturating_sub(LEAD);
    let skipped = if line.len() <= SHOWN_MAX { 0 } else { skipped };
    line.chars().skip(skipped).take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str, regex: bool) -> SearchQuery {
        serde_json::from_value(serde_json::json!({"text": text, "regex": regex, "case_sensitive": true})).unwrap()
    }

    fn replaced(query: &SearchQuery, with: &str, text: &str) -> (String, u64) {
        let new = Replacer::new(query, with).unwrap().replaced(text, 10).unwrap();
        (new.text, new.count)
    }

    #[test]
    fn a_plain_text_is_replaced_by_what_is_typed() {
        let plain = query("a.b", false);
        assert_eq!(
            replaced(&plain, "$1 ${x} $$", "a.b axb\r\na.b\n\n"),
            ("$1 ${x} $$ axb\r\n$1 ${x} $$\n\n".into(), 2)
        );
        let any_case = SearchQuery { case_sensitive: false, ..plain.clone() };
        assert_eq!(replaced(&any_case, "-", "A.B a.b"), ("- -".into(), 2));
        let words = SearchQuery { whole_word: true, ..query("über", false) };
        assert_eq!(replaced(&words, "-", "über übern xüber über"), ("- übern xüber -".into(), 2));
        let signs = SearchQuery { whole_word: true, ..query("$x", false) };
        assert_eq!(replaced(&signs, "y", "$x a$x $xy"), ("y a$x $xy".into(), 1));
    }

    #[test]
    fn groups_stand_for_what_they_matched() {
        let swap = query(r"(?P<key>\w+)=(\w+)", true);
        let text = "a=1, b=2\r\nc\n";
        assert_eq!(replaced(&swap, "$2=${key}", text), ("1=a, 2=b\r\nc\n".into(), 2));
        assert_eq!(replaced(&swap, "$1x $0 ${2}0 $$1 $x", "a=1"), ("ax a=1 10 $1 $x".into(), 1));
        let optional = query("(a)|(b)", true);
        assert_eq!(replaced(&optional, "[$1$2]", "ab"), ("[a][b]".into(), 2));
        for (with, said) in
            [("$3", "it has 2: key"), ("${other}", "no group `other`"), ("$99999999999999999999", "no group")]
        {
            let error = Replacer::new(&swap, with).err().unwrap();
            assert!(error.message.contains(said), "{}", error.message);
        }
        assert_eq!(Replacer::new(&query("(", true), "x").err().unwrap().code, ProblemCode::InvalidArguments);
        assert_eq!(Replacer::new(&query(r"\w{1000}", true), "x").err().unwrap().code, ProblemCode::InvalidArguments);
    }

    #[test]
    fn an_expression_sees_one_line_at_a_time_without_its_end() {
        assert_eq!(replaced(&query("^a$", true), "b", "a\na\r\nba\na"), ("b\nb\r\nba\nb".into(), 3));
        assert_eq!(replaced(&query(".*", true), "x", "a\r\n\n"), ("x\r\nx\n".into(), 2));
        assert_eq!(replaced(&query(r"\s+$", true), "", "a  \r\nb\n"), ("a\r\nb\n".into(), 1));
        assert_eq!(replaced(&query("x", true), "x", "x\n"), ("x\n".into(), 0), "what stays the same is no change");
    }

    #[test]
    fn what_grows_or_drags_on_is_refused() {
        let code = |text: &str, with: &str, content: &str| {
            Replacer::new(&query(text, true), with).unwrap().replaced(content, 10).err().map(|error| error.code)
        };
        let lines = "x".repeat(60_000) + "\n";
        assert_eq!(code("x", &"y".repeat(4000), &lines), Some(ProblemCode::TooLarge));
        assert_eq!(code("x", &"y".repeat(4000), &"x\n".repeat(3000)), Some(ProblemCode::TooLarge));
        assert_eq!(code("z", "y", &"x".repeat(LINE_BYTES_MAX + 1)), Some(ProblemCode::TooLarge));
        assert!(Replacer::new(&query("z", true), &"y".repeat(REPLACEMENT_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn a_long_line_is_told_around_its_change() {
        let text = format!("{}old{}", "ä".repeat(5000), "z".repeat(5000));
        let new = Replacer::new(&query("old", false), "new").unwrap().replaced(&text, 1).unwrap();
        let told = &new.lines[0];
        assert_eq!((told.before.chars().count(), told.after.chars().count()), (SHOWN_MAX, SHOWN_MAX));
        assert_eq!(told.before.replace("old", "new"), told.after);
        assert_eq!(told.before.chars().position(|sign| sign == 'o'), Some(LEAD));
    }
}
