//! Texts of agents, made fit to be shown: shortened, on one line, as a diff.

use reeve_types::session::FileDiff;

/// Lines around a change that are shown.
const AROUND: usize = 3;

/// The beginning of a text.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A text on one line.
pub(super) fn plain(text: &str) -> String {
    text.chars().take(10_000).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A change of a file, as one unified hunk from the first line that differs to the last.
pub(super) fn unified(diff: &FileDiff) -> String {
    let old: Vec<&str> = diff.old.as_deref().unwrap_or_default().lines().collect();
    let new: Vec<&str> = diff.new.lines().collect();
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let room = old.len().min(new.len()) - same;
    let same_after = old.iter().rev().zip(new.iter().rev()).take(room).take_while(|(a, b)| a == b).count();
    let (old_end, new_end) = (old.len() - same_after, new.len() - same_after);
    let before = same.saturating_sub(AROUND);
    let after = (old_end + AROUND).min(old.len());
    let from = if diff.old.is_some() { format!("a/{}", diff.path) } else { "/dev/null".to_owned() };
    let more = after - old_end;
    let start = |lines: usize| if lines == 0 { 0 } else { before + 1 };
    let (old_lines, new_lines) = (old_end - before + more, new_end - before + more);
    let mut text = format!(
        "--- {from}\n+++ b/{}\n@@ -{},{old_lines} +{},{new_lines} @@\n",
        diff.path,
        start(old_lines),
        start(new_lines)
    );
    let mut add = |sign: char, lines: &[&str]| {
        for line in lines {
            text.push(sign);
            text.push_str(line);
            text.push('\n');
        }
    };
    add(' ', old.get(before..same).unwrap_or_default());
    add('-', old.get(same..old_end).unwrap_or_default());
    add('+', new.get(same..new_end).unwrap_or_default());
    add(' ', old.get(old_end..after).unwrap_or_default());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(old: Option<&str>, new: &str) -> String {
        unified(&FileDiff { path: "a".to_owned(), old: old.map(str::to_owned), new: new.to_owned() })
    }

    #[test]
    fn a_change_is_shown_with_what_is_around_it() {
        assert_eq!(diff(None, "x\ny\n"), "--- /dev/null\n+++ b/a\n@@ -0,0 +1,2 @@\n+x\n+y\n");
        assert_eq!(
            diff(Some("1\n2\n3\n4\n5\n6\n7\n8\n9\n"), "1\n2\n3\n4\nfive\n6\n7\n8\n9\n"),
            "--- a/a\n+++ b/a\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n"
        );
        assert_eq!(diff(Some("x\nx\n"), "x\n"), "--- a/a\n+++ b/a\n@@ -1,2 +1,1 @@\n x\n-x\n");
        assert_eq!(diff(Some("x\n"), ""), "--- a/a\n+++ b/a\n@@ -1,1 +0,0 @@\n-x\n");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!((cut("größe", 3).as_str(), cut("größe", 5).as_str()), ("grö…", "größe"));
        assert_eq!(plain("a\nb\u{1b}[1m"), "a b [1m");
    }
}
