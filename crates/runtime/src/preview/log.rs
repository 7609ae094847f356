//! The log of the preview process: appended to, and cut in two when it becomes long.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// How long the log may become, in bytes, before it is set aside; what was set aside before is then forgotten.
const BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Where it is.
pub(super) struct Log {
    path: PathBuf,
}

impl Log {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Notes the process that begins to write, beside the log.
    pub(super) async fn begin(&self, pid: Option<i32>) {
        let path = self.path.with_extension("pid");
        let text = pid.map(|pid| format!("{pid}\n")).unwrap_or_default();
        // A disk that is full keeps nothing from running.
        let _written = tokio::task::spawn_blocking(move || fs::write(path, text)).await;
    }

    pub(super) async fn append(&self, bytes: Vec<u8>) {
        let path = self.path.clone();
        let _written = tokio::task::spawn_blocking(move || append(&path, &bytes)).await;
    }
}

fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    if file.metadata()?.len() > BYTES_MAX {
        fs::rename(path, path.with_extension("log.1"))?;
        file = OpenOptions::new().append(true).create(true).open(path)?;
    }
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_set_aside_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("preview.log");
        for letter in *b"abc" {
            append(&path, &vec![letter; usize::try_from(BYTES_MAX).expect("a size") + 1]).expect("appended");
        }
        append(&path, b"last").expect("appended");
        assert_eq!(fs::read(&path).expect("the log"), b"last");
        assert!(fs::read(path.with_extension("log.1")).expect("what was set aside").starts_with(b"c"));
        assert_eq!(fs::read_dir(dir.path()).expect("the directory").count(), 2);
    }
}
