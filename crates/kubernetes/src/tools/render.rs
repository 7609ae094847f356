//! Answers as people read them: tables, ages, labels.

use std::fmt::Write as _;

use jiff::Timestamp;
use reeve_types::limits::TOOL_OUTPUT_BYTES_MAX;

use crate::objects::Words;

/// Room for the words that say what was cut.
const NOTE_BYTES: usize = 80;

/// Columns aligned to the widest cell. Cells are cleaned of what a terminal would obey.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let clean = |cell: &str| -> String {
        if cell.is_empty() {
            "-".to_owned()
        } else {
            cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
        }
    };
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let width = |at: usize| {
        let cells = rows.iter().chain([&head]).filter_map(|row| row.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut out = String::new();
    for row in std::iter::once(&head).chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// How long ago, as `kubectl` writes it: `45s`, `5m30s`, `4h`, `3d4h`, `200d`.
pub(super) fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    let Some(since) = since else { return "unknown".to_owned() };
    let secs = (now.as_second() - since.as_second()).max(0);
    let (minutes, hours, days) = (secs / 60, secs / 3600, secs / 86_400);
    let two = |whole: i64, unit: char, rest: i64, small: char| {
        if rest == 0 { format!("{whole}{unit}") } else { format!("{whole}{unit}{rest}{small}") }
    };
    match secs {
        0..120 => format!("{secs}s"),
        120..600 => two(minutes, 'm', secs % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        _ => two(days / 365, 'y', days % 365, 'd'),
    }
}

/// `app=web,tier=front`.
pub(super) fn pairs(words: &Words) -> String {
    words.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// The text, cut at the size of one answer; what was cut is said.
pub(super) fn capped(mut text: String) -> String {
    if text.len() <= TOOL_OUTPUT_BYTES_MAX {
        return text;
    }
    let whole = text.len();
    let mut end = TOOL_OUTPUT_BYTES_MAX - NOTE_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    let _ = write!(text, "\n[cut: {} of {whole} bytes left out]", whole - end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        let now: Timestamp = "2026-03-10T12:00:00Z".parse().unwrap();
        let ago = |secs: i64| age(Timestamp::from_second(now.as_second() - secs).ok(), now);
        let spans = [45, 119, 150, 330, 600, 10_799, 10_800, 18_720, 28_800, 100_000, 172_800, 273_600, 17_280_000];
        assert_eq!(
            spans.map(ago),
            ["45s", "119s", "2m30s", "5m30s", "10m", "179m", "3h", "5h12m", "8h", "27h", "2d", "3d4h", "200d"]
        );
        assert_eq!(ago(400 * 86_400), "400d");
        assert_eq!(ago(-5), "0s");
        assert_eq!(age(None, now), "unknown");
    }

    #[test]
    fn a_table_is_aligned_and_obeys_nothing() {
        let rows = [vec!["a\u{1b}[2J".to_owned(), "1".to_owned()], vec!["long-name".to_owned(), String::new()]];
        assert_eq!(table(&["NAME", "N"], &rows), "NAME       N\na [2J      1\nlong-name  -\n");
    }
}
