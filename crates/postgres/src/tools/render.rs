//! Rows as text that people and models read: aligned tables, or one line per column when there is a single row.
//!
//! The name of a column says its unit, and the unit says how it is shown: `…_bytes` as a size, `…_seconds` as a
//! duration, `…_pct` with a percent sign.

use std::fmt::Write as _;

use reeve_types::limits::TOOL_OUTPUT_BYTES_MAX;
use serde_json::Value;

use super::rows::{Row, Rows};

/// Longest cell shown in a table, in characters; the data holds all of it.
const CELL_CHARS_MAX: usize = 160;
/// Longest line of a table, in characters.
const LINE_CHARS_MAX: usize = 240;
/// Longest value shown for a single row, in characters.
const FIELD_CHARS_MAX: usize = 2000;

/// A size as people say it.
pub(super) fn pretty_bytes(bytes: f64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes;
    let mut unit = 0;
    while value.abs() >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("B");
    if unit == 0 || value.abs() >= 100.0 { format!("{value:.0} {name}") } else { format!("{value:.1} {name}") }
}

/// A duration as people say it, two units at most.
pub(super) fn pretty_seconds(seconds: f64) -> String {
    if seconds < 0.0 {
        return format!("-{}", pretty_seconds(-seconds));
    }
    if seconds < 1.0 {
        return format!("{:.0} ms", seconds * 1000.0);
    }
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 60 here; saturating is fine")]
    let whole = seconds as u64;
    match whole {
        0..3600 => format!("{}m {}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h {}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d {}h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// The name of a column without its unit.
fn stem(column: &str) -> &str {
    ["_bytes", "_seconds", "_pct"].into_iter().find_map(|unit| column.strip_suffix(unit)).unwrap_or(column)
}

/// The names of columns without their units, where that leaves them distinct.
fn headings(row: &Row) -> Vec<&str> {
    let alone = |name: &str| row.0.iter().filter(|(other, _)| stem(other) == stem(name)).count() == 1;
    row.0.iter().map(|(name, _)| if alone(name) { stem(name) } else { name.as_str() }).collect()
}

fn cell(column: &str, value: &Value) -> String {
    match (value, value.as_f64()) {
        (Value::Null, _) => String::new(),
        (Value::Bool(yes), _) => if *yes { "yes" } else { "no" }.to_owned(),
        (_, Some(number)) if column.ends_with("_bytes") => pretty_bytes(number),
        (_, Some(number)) if column.ends_with("_seconds") => pretty_seconds(number),
        (_, Some(number)) if column.ends_with("_pct") => format!("{number} %"),
        (Value::String(text), _) => text.clone(),
        (other, _) => other.to_string(),
    }
}

/// On one line: control characters and runs of white space become one space each; what is too long ends in `…`.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most * 2));
    let mut blank = false;
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() {
            blank = !out.is_empty();
            continue;
        }
        if blank {
            out.push(' ');
            blank = false;
        }
        out.push(c);
    }
    if out.chars().count() > most {
        out = out.chars().take(most.saturating_sub(1)).collect();
        out.push('…');
    }
    out
}

/// One line per column.
pub(super) fn fields(row: &Row) -> String {
    let headings = headings(row);
    let width = headings.iter().map(|heading| heading.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for ((name, value), heading) in row.0.iter().zip(headings) {
        let shown = one_line(&cell(name, value), FIELD_CHARS_MAX);
        let shown = if shown.is_empty() { "-" } else { &shown };
        let _ = writeln!(out, "{heading:<width$} : {shown}");
    }
    out
}

/// An aligned table with a heading.
pub(super) fn table(rows: &Rows) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let headings = headings(first);
    let cells: Vec<Vec<String>> = rows
        .rows
        .iter()
        .map(|row| row.0.iter().map(|(name, value)| one_line(&cell(name, value), CELL_CHARS_MAX)).collect())
        .collect();
    let numeric: Vec<bool> = (0..headings.len())
        .map(|at| rows.rows.iter().all(|row| row.0.get(at).is_some_and(|(_, v)| v.is_number() || v.is_null())))
        .collect();
    let widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(at, heading)| {
            let widest = cells.iter().filter_map(|row| row.get(at)).map(|c| c.chars().count()).max().unwrap_or(0);
            widest.max(heading.chars().count())
        })
        .collect();
    if widths.iter().sum::<usize>() + 2 * widths.len() > LINE_CHARS_MAX {
        return records(rows);
    }
    let mut out = line(&headings, &widths, &numeric);
    let _ = writeln!(out, "{}", widths.iter().map(|w| "-".repeat(*w)).collect::<Vec<_>>().join("  "));
    for row in &cells {
        out.push_str(&line(row, &widths, &numeric));
    }
    out.push_str(&count(rows));
    out
}

/// Each row as fields, for rows that are too wide for a line.
fn records(rows: &Rows) -> String {
    let mut out = String::new();
    for (at, row) in rows.rows.iter().enumerate() {
        let _ = write!(out, "-- {} --\n{}", at + 1, fields(row));
    }
    out.push_str(&count(rows));
    out
}

fn count(rows: &Rows) -> String {
    let count = rows.rows.len();
    let cut = if rows.cut { "(more rows were left out: the answer was too large)\n" } else { "" };
    format!("({count} {})\n{cut}", if count == 1 { "row" } else { "rows" })
}

fn line<S: AsRef<str>>(cells: &[S], widths: &[usize], numeric: &[bool]) -> String {
    let parts: Vec<String> = cells
        .iter()
        .zip(widths)
        .zip(numeric)
        .map(|((text, &width), &right)| (text.as_ref(), width, right))
        .map(|(text, width, right)| if right { format!("{text:>width$}") } else { format!("{text:<width$}") })
        .collect();
    format!("{}\n", parts.join("  ").trim_end())
}

/// A banner above a part of an answer.
pub(super) fn banner(title: &str) -> String {
    format!("== {title} ==\n")
}

/// The text, cut at the size of one answer; what was cut is said.
pub(super) fn capped(mut text: String) -> String {
    if text.len() <= TOOL_OUTPUT_BYTES_MAX {
        return text;
    }
    let whole = text.len();
    let note_room = 120;
    let mut end = TOOL_OUTPUT_BYTES_MAX - note_room;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    let _ = write!(text, "\n[cut: {} of {} left out]", pretty_bytes((whole - end) as f64), pretty_bytes(whole as f64));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(pairs: &[(&str, Value)]) -> Row {
        Row(pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    #[test]
    fn a_table_is_aligned_and_shows_units() {
        let rows = Rows {
            rows: vec![
                row(&[
                    ("name", json!("orders")),
                    ("size_bytes", json!(123_456_789)),
                    ("dead_pct", json!(3.5)),
                    ("query", json!("select\n  1")),
                ]),
                row(&[
                    ("name", json!("x")),
                    ("size_bytes", json!(12)),
                    ("dead_pct", json!(null)),
                    ("query", json!(null)),
                ]),
            ],
            cut: false,
        };
        let expected = "name      size   dead  query\n------  ------  -----  --------\norders  118 MB  3.5 %  select 1\nx         12 B\n(2 rows)\n";
        assert_eq!(table(&rows), expected);
    }

    #[test]
    fn rows_that_are_too_wide_become_records() {
        let rows = Rows {
            rows: vec![row(&[("a", json!("x".repeat(155))), ("b", json!("y".repeat(90)))]), row(&[("a", json!("z"))])],
            cut: true,
        };
        let text = table(&rows);
        assert!(text.starts_with("-- 1 --\na : xxx"), "{text}");
        assert!(
            text.ends_with("-- 2 --\na : z\n(2 rows)\n(more rows were left out: the answer was too large)\n"),
            "{text}"
        );
    }

    #[test]
    fn a_single_row_is_shown_as_fields() {
        let text = fields(&row(&[
            ("pid", json!(7)),
            ("age_seconds", json!(3725.2)),
            ("user", json!(null)),
            ("open", json!(true)),
        ]));
        assert_eq!(text, "pid  : 7\nage  : 1h 2m\nuser : -\nopen : yes\n");
    }

    #[test]
    fn units_stay_where_names_would_clash() {
        let text = fields(&row(&[
            ("query_seconds", json!(2)),
            ("query", json!("q")),
            ("used", json!(1)),
            ("used_pct", json!(50)),
            ("age_seconds", json!(5)),
        ]));
        assert_eq!(
            text,
            "query_seconds : 2.0 s\nquery         : q\nused          : 1\nused_pct      : 50 %\nage           : 5.0 s\n"
        );
    }

    #[test]
    fn what_is_cut_is_said() {
        let text = capped("ü".repeat(TOOL_OUTPUT_BYTES_MAX));
        assert!(text.len() <= TOOL_OUTPUT_BYTES_MAX);
        assert!(text.ends_with("of 2.0 MB left out]"), "{}", &text[text.len() - 60..]);
    }

    #[test]
    fn durations_are_said_in_two_units() {
        let table = [(0.25, "250 ms"), (12.0, "12.0 s"), (61.0, "1m 1s"), (90_000.0, "1d 1h")];
        for (seconds, expected) in table {
            assert_eq!(pretty_seconds(seconds), expected);
        }
    }
}
