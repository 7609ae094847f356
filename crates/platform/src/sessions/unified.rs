//! A change of a file as people read it before they say yes: a unified diff, as `git apply` takes it.

use std::time::Duration;

use reeve_types::session::FileDiff;
use similar::TextDiff;

/// Lines around a change that are shown.
const AROUND: usize = 3;
/// The longest that the shortest difference is looked for; what is found until then is shown.
const LOOKED_FOR: Duration = Duration::from_millis(200);

/// The unified diff of a change.
pub fn unified(diff: &FileDiff) -> String {
    let from = if diff.old.is_some() { format!("a/{}", diff.path) } else { "/dev/null".to_owned() };
    TextDiff::configure()
        .timeout(LOOKED_FOR)
        .diff_lines(diff.old.as_deref().unwrap_or_default(), &diff.new)
        .unified_diff()
        .context_radius(AROUND)
        .header(&from, &format!("b/{}", diff.path))
        .to_string()
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
        let far: String = (0..40).map(|n| format!("{n}\n")).collect();
        let changed = far.replacen("1\n", "one\n", 1).replacen("38\n", "x\n", 1);
        assert_eq!(diff(Some(&far), &changed).matches("@@ -").count(), 2, "what is far apart is two parts");
    }
}
