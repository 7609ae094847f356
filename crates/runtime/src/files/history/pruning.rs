//! What goes from the history of files: what is old, what is too much, what somebody wants forgotten; and how it goes along
//! with a file that gets another name.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};

use jiff::{SignedDuration, Timestamp};
use reeve_types::workspace::files::{FileChanged, HISTORY_BYTES_MAX, HISTORY_DAYS};
use reeve_types::{VersionId, WorkspacePath};
use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;

use super::super::beneath::{each_name, open_child_dir};
use super::super::failure::{Outcome, failed};
use super::super::own::area;
use super::super::remove::remove;
use super::super::{Files, locked};
use super::{HISTORY, NOTE, ids_in, key_of, noted_path};

/// The most versions of all files together.
const COUNT_MAX: u64 = 10_000;
/// The most files whose history is looked at.
const FILES_MAX: usize = 20_000;

/// How much history there is, as far as this process knows: programs may have removed some of it.
#[derive(Default)]
pub(in super::super) struct Load {
    bytes: u64,
    count: u64,
}

impl Load {
    pub(super) fn add(&mut self, size: u64) {
        self.bytes = self.bytes.saturating_add(size);
        self.count = self.count.saturating_add(1);
    }

    fn is_too_much(&self) -> bool {
        self.bytes > HISTORY_BYTES_MAX || self.count > COUNT_MAX
    }

    /// Some room is made at once, so that not every save makes a little.
    fn is_roomy(&self) -> bool {
        self.bytes <= HISTORY_BYTES_MAX / 4 * 3 && self.count <= COUNT_MAX / 4 * 3
    }
}

impl Files {
    /// Makes room when there is more history than there may be.
    pub(in super::super) fn limit_history(&self) {
        if locked(&self.inner.kept).is_too_much() {
            // What cannot be removed now is looked at again after the next save.
            let _ = self.sweep_history(Timestamp::now());
        }
    }

    /// Removes versions that have been kept for long enough, and of too many the oldest. Answers how many.
    ///
    /// # Errors
    /// When the history cannot be looked at.
    pub fn sweep_history(&self, now: Timestamp) -> Outcome<u64> {
        let wrong = |errno| failed("sweep the history of", &WorkspacePath::root(), errno);
        let history = area(self.root(), HISTORY).map_err(wrong)?;
        let keys = keys_in(&history).map_err(wrong)?;
        let mut load = Load::default();
        let mut versions: Vec<(VersionId, usize, u64)> = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            let Ok(dir) = open_child_dir(&history, key) else { continue };
            for id in ids_in(&dir).unwrap_or_default() {
                let stat = rustix::fs::statat(&dir, id.as_str(), AtFlags::SYMLINK_NOFOLLOW);
                let size = stat.map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
                load.add(size);
                versions.push((id, at, size));
            }
        }
        versions.sort_unstable();
        let kept = SignedDuration::from_hours(24 * i64::from(HISTORY_DAYS));
        let making_room = load.is_too_much();
        let (mut swept, mut touched) = (0, HashSet::new());
        for (id, at, size) in versions {
            let old = id.made_at().is_none_or(|made| now.duration_since(made) > kept);
            if !old && (!making_room || load.is_roomy()) {
                break;
            }
            let Some(dir) = keys.get(at).and_then(|key| open_child_dir(&history, key).ok()) else { continue };
            if remove(dir.as_fd(), id.as_str().as_bytes()).is_ok() {
                load.bytes = load.bytes.saturating_sub(size);
                load.count = load.count.saturating_sub(1);
                swept += 1;
                touched.insert(at);
            }
        }
        for key in touched.into_iter().filter_map(|at| keys.get(at)) {
            drop_when_empty(&history, key);
        }
        *locked(&self.inner.kept) = load;
        Ok(swept)
    }

    /// Removes the history of a file, of all files in a directory, or of everything. Answers how many versions.
    pub(in super::super) fn forget_history(&self, path: Option<&WorkspacePath>) -> Outcome<FileChanged> {
        let asked = path.cloned().unwrap_or_else(WorkspacePath::root);
        let there = self.root().open_at(&asked, OFlags::PATH).ok();
        let below = &there.and_then(|there| self.root().true_path(&there)).unwrap_or(asked);
        let wrong = |errno| failed("forget the history of", below, errno);
        let history = area(self.root(), HISTORY).map_err(wrong)?;
        let mut count = 0;
        for key in keys_in(&history).map_err(wrong)? {
            let known = open_child_dir(&history, &key).ok();
            let versions = known.as_ref().and_then(|dir| ids_in(dir).ok()).map_or(0, |ids| ids.len());
            let meant = below.is_root()
                || known.is_some_and(|dir| noted_path(&dir, &key).is_some_and(|path| path.is_within(below)));
            if meant {
                remove(history.as_fd(), &key).map_err(wrong)?;
                count += u64::try_from(versions).unwrap_or(0);
            }
        }
        Ok(FileChanged { entry: None, trash_id: None, count })
    }

    /// What is gone for good has no history either. What cannot be removed now grows old and goes.
    pub(in super::super) fn drop_history(&self, path: &WorkspacePath, is_dir: bool) {
        if is_dir {
            let _ = self.forget_history(Some(path));
        } else if let Ok(history) = area(self.root(), HISTORY) {
            let _ = remove(history.as_fd(), key_of(path).as_bytes());
        }
    }

    /// What had another name had its history under it: it goes along. What cannot be moved stays where it was.
    pub(in super::super) fn rename_history(&self, from: &WorkspacePath, to: &WorkspacePath, is_dir: bool) {
        let Ok(history) = area(self.root(), HISTORY) else { return };
        if !is_dir {
            let _ = self.rehome(&history, key_of(from).as_bytes(), to);
            return;
        }
        for key in keys_in(&history).unwrap_or_default() {
            let Some(path) = open_child_dir(&history, &key).ok().and_then(|dir| noted_path(&dir, &key)) else {
                continue;
            };
            let below = path.as_bytes().strip_prefix(from.as_bytes()).filter(|rest| rest.starts_with(b"/"));
            if let Some(Ok(new)) = below.map(|rest| WorkspacePath::from_bytes(&[to.as_bytes(), rest].concat())) {
                let _ = self.rehome(&history, &key, &new);
            }
        }
    }

    fn rehome(&self, history: &OwnedFd, key: &[u8], to: &WorkspacePath) -> Result<(), Errno> {
        let old = open_child_dir(history, key)?;
        let new = self.versions_dir(to)?;
        for id in ids_in(&old)? {
            rustix::fs::renameat(&old, id.as_str(), &new, id.as_str())?;
        }
        drop_when_empty(history, key);
        Ok(())
    }
}

fn keys_in(history: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut keys = Vec::new();
    each_name(history, |name, _| {
        keys.push(name.to_vec());
        if keys.len() < FILES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(keys)
}

/// Whoever keeps a version there meanwhile makes the directory again.
fn drop_when_empty(history: &OwnedFd, key: &[u8]) {
    let Ok(dir) = open_child_dir(history, key) else { return };
    if ids_in(&dir).is_ok_and(|ids| ids.is_empty()) {
        let _ = rustix::fs::unlinkat(&dir, NOTE, AtFlags::empty());
        let _ = rustix::fs::unlinkat(history, key, AtFlags::REMOVEDIR);
    }
}
