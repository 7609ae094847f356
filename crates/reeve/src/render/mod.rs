//! Text for people: clean, aligned, wrapped.
//!
//! What comes from a server, a database or a model may hold control characters that would steer the terminal; every text
//! of that kind goes through [`clean`] before it is laid out.

pub(crate) mod approvals;
pub(crate) mod diagnosis;
pub(crate) mod records;
pub(crate) mod sessions;

use jiff::Timestamp;
use serde_json::Value;

use crate::term::{Look, Tone};

/// A text without anything that steers a terminal or hides what it says. Line ends and tabs stay.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

fn steers(c: char) -> bool {
    let bidi = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    bidi || (c.is_control() && !matches!(c, '\n' | '\t'))
}

/// A clean text in one line.
pub(crate) fn one_line(text: &str) -> String {
    clean(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text of at most this many characters; what is cut off is marked.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// The field at a dotted path, as one clean line: texts as they are, numbers and switches in JSON.
pub(crate) fn field(value: &Value, path: &str) -> String {
    path.split('.').try_fold(value, |at, name| at.get(name)).map(plain).unwrap_or_default()
}

/// The first of several fields that says something; the guides' names and ours may differ.
pub(crate) fn first(value: &Value, paths: &[&str]) -> String {
    paths.iter().map(|path| field(value, path)).find(|text| !text.is_empty()).unwrap_or_default()
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => one_line(text),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => one_line(&value.to_string()),
    }
}

/// The entries of a list, whether it comes bare or in an object under `name`.
pub(crate) fn entries<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    let list = value.as_array().or_else(|| value.get(name)?.as_array()).or_else(|| value.get("items")?.as_array());
    list.map(Vec::as_slice).unwrap_or_default()
}

/// A moment for people: seconds, UTC. What is no time is shown as it is.
pub(crate) fn moment(text: &str) -> String {
    match text.parse::<Timestamp>() {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => clean(text),
    }
}

/// Milliseconds in words: `840 ms`, `2.4 s`, `3 min 20 s`.
pub(crate) fn duration_ms(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

/// `1 finding`, `2 findings`.
pub(crate) fn count(n: usize, word: &str) -> String {
    if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") }
}

/// A text that a POSIX shell takes as one word.
pub(crate) fn shell(word: &str) -> String {
    let plain = !word.is_empty()
        && word.chars().all(|c| {
            c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | ',' | '@' | '%' | '+' | '=')
        });
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// Running text in lines of at most this width. Words that are longer stand alone. Line ends of the text stay.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        let mut length = 0;
        for word in paragraph.split_whitespace() {
            let word_length = word.chars().count();
            if length > 0 && length + 1 + word_length > width {
                lines.push(std::mem::take(&mut line));
                length = 0;
            }
            if length > 0 {
                line.push(' ');
                length += 1;
            }
            line.push_str(word);
            length += word_length;
        }
        lines.push(line);
    }
    lines
}

/// Running text whose first line begins with `first` and whose other lines are indented as far.
pub(crate) fn hanging(first: &str, text: &str, width: usize) -> String {
    let indent = first.chars().count();
    let lines = wrap(text, width.saturating_sub(indent).max(20));
    let mut out = String::new();
    for (at, line) in lines.iter().enumerate() {
        out.push_str(&if at == 0 { first.to_owned() } else { " ".repeat(indent) });
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// Rows under headings, in columns. Headings are upper case; a cell may carry a tone.
pub(crate) struct Table {
    headings: &'static [&'static str],
    rows: Vec<Vec<(String, Option<Tone>)>>,
}

/// The widest column, in characters, except the last one.
const CELL_WIDTH_MAX: usize = 60;
/// Columns as narrow as this are never narrowed, and the last one gets as much: ids are copied from them.
const ID_WIDTH: usize = 34;

impl Table {
    /// An empty table.
    pub(crate) fn new(headings: &'static [&'static str]) -> Self {
        Self { headings, rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.toned(cells.map(|cell| (cell, None)));
    }

    /// Adds a row whose cells carry tones.
    pub(crate) fn toned<const N: usize>(&mut self, cells: [(String, Option<Tone>); N]) {
        let last = N.saturating_sub(1);
        let fit = |(at, (text, tone)): (usize, (String, Option<Tone>))| {
            let line = one_line(&text);
            (if at == last { line } else { shorten(&line, CELL_WIDTH_MAX) }, tone)
        };
        self.rows.push(cells.into_iter().enumerate().map(fit).collect());
    }

    /// The table; `empty` when it has no rows.
    pub(crate) fn text(&self, look: Look, empty: &str) -> String {
        if self.rows.is_empty() {
            return format!("{empty}\n");
        }
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|(text, _)| text.chars().count());
            let heading = self.headings.get(column).map_or(0, |heading| heading.len());
            cells.max().unwrap_or(0).max(heading)
        };
        let mut widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        narrow(&mut widths, look.columns);
        let before: usize = widths.iter().rev().skip(1).map(|width| width + 2).sum();
        let last_width = look.columns.map_or(usize::MAX, |columns| columns.saturating_sub(before).max(ID_WIDTH));
        let headings: Vec<_> = self.headings.iter().map(|heading| ((*heading).to_owned(), Some(Tone::Faint))).collect();
        let mut out = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = String::new();
            for (at, ((text, tone), width)) in row.iter().zip(&widths).enumerate() {
                let text = &shorten(text, if at + 1 < row.len() { *width } else { last_width });
                line.push_str(&tone.map_or_else(|| text.clone(), |tone| look.paint(tone, text)));
                if at + 1 < row.len() {
                    line.push_str(&" ".repeat(width - text.chars().count() + 2));
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Narrows the widest columns until a row fits the terminal, but never so far that an id would be cut.
fn narrow(widths: &mut [usize], columns: Option<usize>) {
    let Some((_, before)) = widths.split_last_mut() else { return };
    let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(ID_WIDTH));
    while before.iter().map(|width| width + 2).sum::<usize>() > room {
        match before.iter_mut().max() {
            Some(widest) if *widest > ID_WIDTH => *widest -= 1,
            _ => return,
        }
    }
}

/// Names and values in two columns; what is empty is left out.
pub(crate) fn pairs(look: Look, pairs: &[(&str, String)]) -> String {
    let said: Vec<_> = pairs.iter().filter(|(_, value)| !value.trim().is_empty()).collect();
    let width = said.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0) + 2;
    let mut out = String::new();
    for (name, value) in said {
        let gap = " ".repeat(width - name.chars().count());
        let text = hanging(&format!("{name}{gap}"), value, look.width);
        let rest = text.strip_prefix(name).unwrap_or(&text);
        out.push_str(&look.paint(Tone::Faint, name));
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Look = Look { colour: false, width: 40, columns: None };

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        assert_eq!(
            clean("a\x1b]0;owned\x07b\u{202e}c\u{9b}31m\r\n\td"),
            "a\u{fffd}]0;owned\u{fffd}b\u{fffd}c\u{fffd}31m\u{fffd}\n\td"
        );
        assert_eq!(one_line("two\n  lines"), "two lines");
    }

    #[test]
    fn shell_words_stay_one_word() {
        assert_eq!(shell("pid=4711"), "pid=4711");
        assert_eq!(shell("a b"), "'a b'");
        assert_eq!(shell("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(shell(""), "''");
    }

    #[test]
    fn running_text_is_wrapped_and_hangs() {
        assert_eq!(
            hanging("  • ", "one two three four five six seven eight nine", 24),
            "  • one two three four\n    five six seven eight\n    nine\n"
        );
        assert_eq!(wrap("averyverylongword b", 5), ["averyverylongword", "b"]);
        assert_eq!(wrap("a\n\nb", 5), ["a", "", "b"]);
    }

    #[test]
    fn durations_read_well() {
        assert_eq!([7, 1_234, 59_999, 200_000].map(duration_ms), ["7 ms", "1.2 s", "59.9 s", "3 min 20 s"]);
    }

    #[test]
    fn tables_align_and_colour_does_not_shift_them() {
        let table = || {
            let mut table = Table::new(&["ID", "STATUS", "WHAT"]);
            table.toned([("a".into(), None), ("ok".into(), Some(Tone::Good)), ("x y".into(), None)]);
            table.row(["long".into(), "pending".into(), String::new()]);
            table
        };
        let plain = table().text(LOOK, "nothing");
        assert_eq!(plain, "ID    STATUS   WHAT\na     ok       x y\nlong  pending\n");
        let coloured = table().text(Look { colour: true, ..LOOK }, "nothing");
        assert_eq!(anstyle_free(&coloured), plain);
        assert_eq!(Table::new(&["ID"]).text(LOOK, "Nothing."), "Nothing.\n");
    }

    #[test]
    fn only_a_terminal_cuts_the_last_column() {
        let mut table = Table::new(&["ID", "SAYS"]);
        table.row(["a".into(), "word ".repeat(20)]);
        let line = |look| table.text(look, "").lines().nth(1).map(|line| line.chars().count());
        assert_eq!(line(LOOK), Some(4 + 99));
        assert_eq!(line(Look { columns: Some(40), ..LOOK }), Some(40));
        assert_eq!(line(Look { columns: Some(5), ..LOOK }), Some(4 + ID_WIDTH));
    }

    #[test]
    fn a_terminal_narrows_wide_columns_but_never_ids() {
        let mut widths = [30, 60, 50, 10];
        narrow(&mut widths, Some(120));
        assert_eq!(widths, [30, 34, 34, 10]);
        let mut roomy = [30, 60, 10];
        narrow(&mut roomy, Some(140));
        assert_eq!(roomy, [30, 60, 10]);
    }

    fn anstyle_free(text: &str) -> String {
        let mut out = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c == '\x1b' {
                for c in chars.by_ref() {
                    if c == 'm' {
                        break;
                    }
                }
            } else {
                out.push(c);
            }
        }
        out
    }
}
