//! How a file differs from what it was, in lines, as people read it before they say yes and as `git apply` takes it.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::{Duration, Instant};

use reeve_types::session::FileDiff;
use similar::{Algorithm, DiffOp};

/// Lines around a change that are shown with it.
const CONTEXT_LINES: usize = 3;
/// How long the smallest difference is looked for; after that, a larger one will do.
const DIFF_WITHIN: Duration = Duration::from_millis(200);

/// The difference of two texts, as `git apply` reads it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// In Git's words; empty when nothing differs.
    pub text: String,
    /// How many lines are new.
    pub added: usize,
    /// How many lines are gone.
    pub removed: usize,
    /// How many places differ.
    pub hunks: usize,
}

/// The difference of a change that an agent wants, as people read it: without the lines that only Git reads.
pub fn unified(change: &FileDiff) -> String {
    let told = difference(&change.path, change.old.as_deref(), &change.new).text;
    let begins = told.find("\n--- ").map_or(told.len(), |at| at + 1);
    told.get(begins..).unwrap_or_default().to_owned()
}

/// The difference of a file; `old` is absent for a new one. Nothing when both are the same.
pub fn difference(path: &str, old: Option<&str>, new: &str) -> Difference {
    let before: Vec<&str> = old.unwrap_or_default().split_inclusive('\n').collect();
    let after: Vec<&str> = new.split_inclusive('\n').collect();
    let by = Instant::now() + DIFF_WITHIN;
    let steps = similar::capture_diff_slices_deadline(Algorithm::Myers, &before, &after, Some(by));
    let hunks = similar::group_diff_ops(in_place(steps), CONTEXT_LINES);
    let mut told = Difference { hunks: hunks.len(), ..Difference::default() };
    if hunks.is_empty() && old.is_some() {
        return told;
    }
    let (from, to) = (named("a", path), named("b", path));
    // Without this line Git takes lines for an empty file for a new file, and the loss of all lines for the file's.
    let _ = writeln!(told.text, "diff --git {from} {to}");
    if old.is_none() {
        told.text.push_str("new file mode 100644\n");
    }
    if hunks.is_empty() {
        return told;
    }
    let tab = if path.contains(' ') { "\t" } else { "" };
    let from = if old.is_none() { "/dev/null".to_owned() } else { format!("{from}{tab}") };
    let _ = write!(told.text, "--- {from}\n+++ {to}{tab}\n");
    for hunk in &hunks {
        let lines = |range: fn(&DiffOp) -> Range<usize>| {
            let start = hunk.first().map_or(0, |step| range(step).start);
            let end = hunk.last().map_or(0, |step| range(step).end);
            let first = if start == end { start } else { start + 1 };
            format!("{first},{}", end - start)
        };
        let _ = writeln!(told.text, "@@ -{} +{} @@", lines(DiffOp::old_range), lines(DiffOp::new_range));
        for step in hunk {
            if let DiffOp::Equal { old_index, len, .. } = step {
                told.lines(' ', before.get(*old_index..old_index + len));
                continue;
            }
            told.removed += told.lines('-', before.get(step.old_range()));
            told.added += told.lines('+', after.get(step.new_range()));
        }
    }
    told
}

/// The steps with their places: one that was moved past lines that are alike keeps the place that it had on the other side.
fn in_place(steps: Vec<DiffOp>) -> Vec<DiffOp> {
    let (mut old_index, mut new_index) = (0, 0);
    let place = |step: DiffOp| {
        let (old_len, new_len) = (step.old_range().len(), step.new_range().len());
        let placed = match step {
            DiffOp::Equal { len, .. } => DiffOp::Equal { old_index, new_index, len },
            DiffOp::Delete { .. } => DiffOp::Delete { old_index, old_len, new_index },
            DiffOp::Insert { .. } => DiffOp::Insert { old_index, new_index, new_len },
            DiffOp::Replace { .. } => DiffOp::Replace { old_index, old_len, new_index, new_len },
        };
        (old_index, new_index) = (old_index + old_len, new_index + new_len);
        placed
    };
    steps.into_iter().map(place).collect()
}

impl Difference {
    fn lines(&mut self, mark: char, lines: Option<&[&str]>) -> usize {
        let lines = lines.unwrap_or_default();
        for line in lines {
            self.text.push(mark);
            self.text.push_str(line);
            if !line.ends_with('\n') {
                self.text.push_str("\n\\ No newline at end of file\n");
            }
        }
        lines.len()
    }
}

/// A path as Git writes it in a difference.
fn named(side: &str, path: &str) -> String {
    let plain = path.chars().all(|c| !c.is_control() && c != '"' && c != '\\');
    if plain {
        return format!("{side}/{path}");
    }
    let mut text = format!("\"{side}/");
    for byte in path.bytes() {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            0x20..=0x7e => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\{byte:03o}");
            }
        }
    }
    text + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_counts_lines_and_says_where_a_line_end_is_missing() {
        let told = difference("a b.txt", Some("1\n2\n3\n4\n5\n6\n7\n8\n9"), "1\n2\n3\n4\nfive\n6\n7\n8\n9\n");
        assert_eq!((told.added, told.removed, told.hunks), (2, 2, 1));
        let expected = "diff --git a/a b.txt b/a b.txt\n--- a/a b.txt\t\n+++ b/a b.txt\t\n@@ -2,8 +2,8 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n-9\n\
                        \\ No newline at end of file\n+9\n";
        assert_eq!(told.text, expected);
        assert_eq!(difference("a", Some("x\n"), "x\n"), Difference::default());
        let fresh = difference("n\"\n", None, "x\n");
        assert_eq!((fresh.added, fresh.hunks), (1, 1));
        assert!(
            fresh.text.contains("new file mode 100644\n--- /dev/null\n+++ \"b/n\\\"\\012\"\n@@ -0,0 +1,1 @@"),
            "{}",
            fresh.text
        );
    }

    /// What was moved past a line that is like it is counted where it stands.
    #[test]
    fn the_head_of_a_part_counts_its_lines() {
        let old = "\r\n led\n-minus\n-minus\n\r\nlast but two\n\n\n\r\n-minus\n";
        let new = "\r\n led\n-minus\n-minus\n led\nb\n+plus\n\n-minus\n-minus\n";
        let told = difference("a", Some(old), new);
        let lines = |mark: char| told.text.lines().skip(4).filter(|line| line.starts_with([mark, ' '])).count();
        let head = format!("@@ -2,{} +2,{} @@", lines('-'), lines('+'));
        assert!(told.text.contains(&head), "{head} in {}", told.text);
    }

    #[test]
    fn what_people_read_begins_with_the_names() {
        let change =
            |old: Option<&str>| FileDiff { path: "a".to_owned(), old: old.map(str::to_owned), new: "x\n".to_owned() };
        assert_eq!(unified(&change(None)), "--- /dev/null\n+++ b/a\n@@ -0,0 +1,1 @@\n+x\n");
        assert_eq!(unified(&change(Some(""))), "--- a/a\n+++ b/a\n@@ -0,0 +1,1 @@\n+x\n");
        assert_eq!(unified(&change(Some("x\n"))), "");
    }

    #[test]
    fn a_part_is_shown_with_what_is_around_it() {
        let new = difference("a", None, "x\ny\n").text;
        assert_eq!(new, "diff --git a/a b/a\nnew file mode 100644\n--- /dev/null\n+++ b/a\n@@ -0,0 +1,2 @@\n+x\n+y\n");
        let far: String = (0..40).map(|n| format!("{n}\n")).collect();
        let changed = far.replacen("1\n", "one\n", 1).replacen("38\n", "x\n", 1);
        assert_eq!(difference("a", Some(&far), &changed).hunks, 2, "what is far apart is two parts");
    }

    /// Texts and changes of them by chance, the same in every run.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, most: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap() % most.max(1)
        }

        fn line(&mut self) -> &'static str {
            const LINES: [&str; 12] = [
                "\n",
                "a\n",
                "b\n",
                "\r\n",
                "x\r\n",
                " led\n",
                "+plus\n",
                "-minus\n",
                "--- a/x\n",
                "@@ -1 +1 @@\n",
                "\\ No newline at end of file\n",
                "größe 🦀\t\n",
            ];
            LINES[self.below(LINES.len())]
        }

        fn text(&mut self, most: usize) -> Vec<&'static str> {
            (0..self.below(most)).map(|_| self.line()).collect()
        }

        fn changed(&mut self, mut lines: Vec<&'static str>) -> Vec<&'static str> {
            for _ in 0..1 + self.below(4) {
                let at = self.below(lines.len() + 1);
                match self.below(3) {
                    0 => lines.insert(at, self.line()),
                    1 => drop((at < lines.len()).then(|| lines.remove(at))),
                    _ => drop(lines.splice(at.., self.text(8)).collect::<Vec<_>>()),
                }
            }
            lines
        }

        fn ended(&mut self, lines: &[&str]) -> String {
            let text = lines.concat();
            let cut = self.below(4) == 0;
            text.strip_suffix('\n').filter(|_| cut).map_or_else(|| text.clone(), str::to_owned)
        }
    }

    #[test]
    fn git_takes_every_difference() {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        const NAMES: [&str; 7] =
            ["a.py", "dir/b c.txt", "größe 漢字.txt", "quo\"te\\.txt", "tab\tname", "new\nline", " led by a space"];
        let (place, mut chance) = (tempfile::tempdir().unwrap(), Chance(13));
        for round in 0..90 {
            let name = NAMES[round % NAMES.len()];
            let lines = chance.text(40);
            let old = (round % 9 != 8).then(|| if round % 9 == 7 { String::new() } else { chance.ended(&lines) });
            let new = chance.changed(lines);
            let new = if round % 9 == 6 { String::new() } else { chance.ended(&new) };
            if old.as_ref() == Some(&new) {
                continue;
            }
            let file = place.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            match &old {
                Some(old) => std::fs::write(&file, old).unwrap(),
                None => drop(std::fs::remove_file(&file)),
            }
            let told = difference(name, old.as_deref(), &new).text;
            for arguments in [["apply", "--check"].as_slice(), &["apply", "--whitespace=nowarn"]] {
                let mut git = Command::new("git");
                git.args(arguments).current_dir(place.path()).stdin(Stdio::piped()).stderr(Stdio::piped());
                // A repository around the directory is none of this test's.
                git.env("GIT_CEILING_DIRECTORIES", place.path().parent().unwrap())
                    .env("GIT_CONFIG_GLOBAL", "/dev/null");
                let mut git = git.spawn().unwrap();
                git.stdin.take().unwrap().write_all(told.as_bytes()).unwrap();
                let done = git.wait_with_output().unwrap();
                let said = String::from_utf8_lossy(&done.stderr);
                assert!(done.status.success(), "round {round}, {name:?}: {said}\n{told}\nof {old:?}");
            }
            assert_eq!(std::fs::read_to_string(&file).unwrap(), new, "round {round}: {told}");
        }
    }
}
