//! Listing directories a page at a time.
//!
//! A page holds no more of a directory than it shows: of a hundred thousand names only the next ones are kept in memory.

use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;

use reeve_types::workspace::files::{FileType as Kind, TreePage, TreeQuery};
use reeve_types::{ProblemCode, WorkspaceError, WorkspacePath};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::Files;
use super::beneath::{each_name, open_child_dir};
use super::entry::entry_at;
use super::failure::{Outcome, failed};
use super::own::is_own_name;
use super::rules::Rules;

const DEPTH_MAX: u32 = 10;
const LIMIT_MAX: u32 = 5000;

/// How names are ordered: directories first, then without regard to case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    is_file: bool,
    folded: Vec<u8>,
    name: Vec<u8>,
}

impl Key {
    fn new(name: &[u8], is_dir: bool) -> Self {
        let folded = match std::str::from_utf8(name) {
            Ok(text) => text.to_lowercase().into_bytes(),
            Err(_) => name.to_ascii_lowercase(),
        };
        Self { is_file: !is_dir, folded, name: name.to_vec() }
    }
}

impl Files {
    /// Part of the tree.
    ///
    /// # Errors
    /// `not_found`, `wrong_file_type`, `path_escape`; `bad_request` for a cursor that is none.
    pub fn tree(&self, query: &TreeQuery) -> Outcome<TreePage> {
        let dir = self.root().open_dir(&query.path).map_err(|errno| failed("list", &query.path, errno))?;
        let after = query.cursor.as_deref().map(read_cursor).transpose()?.unwrap_or_default();
        let limit = usize::try_from(query.limit.clamp(1, LIMIT_MAX)).unwrap_or(1);
        let mut page =
            Page { show_ignored: query.ignored, limit, entries: Vec::with_capacity(limit.min(256)), more: false };
        let rules = Rules::down_to(self.root(), &query.path);
        page.list(&dir, &query.path, &rules, query.depth.clamp(1, DEPTH_MAX), &after)
            .map_err(|errno| failed("list", &query.path, errno))?;
        let next_cursor = match page.entries.last() {
            Some(last) if page.more => Some(write_cursor(&query.path, &last.path, last.kind == Kind::Directory)),
            _ => None,
        };
        Ok(TreePage { entries: page.entries, next_cursor })
    }
}

struct Page {
    show_ignored: bool,
    limit: usize,
    entries: Vec<reeve_types::workspace::files::FileEntry>,
    more: bool,
}

impl Page {
    fn list(
        &mut self,
        dir: &OwnedFd,
        path: &WorkspacePath,
        rules: &Rules,
        depth: u32,
        after: &[Key],
    ) -> Result<(), Errno> {
        let (from, deeper) = match after.split_first() {
            Some((first, rest)) => (Some(first), rest),
            None => (None, &[][..]),
        };
        if let Some(first) = from.filter(|first| !first.is_file) {
            self.descend(dir, path, rules, depth, first, deeper)?;
        }
        for key in self.next_keys(dir, path, rules, from)? {
            if self.entries.len() >= self.limit {
                self.more = true;
                return Ok(());
            }
            let Ok(child) = path.join(&key.name) else { continue };
            let Ok(entry) = entry_at(dir, child, rules) else { continue };
            let enter = entry.kind == Kind::Directory && !entry.ignored;
            self.entries.push(entry);
            if enter {
                self.descend(dir, path, rules, depth, &key, &[])?;
            }
        }
        Ok(())
    }

    fn descend(
        &mut self,
        dir: &OwnedFd,
        path: &WorkspacePath,
        rules: &Rules,
        depth: u32,
        key: &Key,
        after: &[Key],
    ) -> Result<(), Errno> {
        let Ok(child) = path.join(&key.name) else { return Ok(()) };
        if depth <= 1 || self.more || rules.ignores(&child, true) {
            return Ok(());
        }
        // A directory that is gone or shut meanwhile has nothing to show.
        let Ok(inside) = open_child_dir(dir, &key.name) else { return Ok(()) };
        self.list(&inside, &child, &rules.below(&inside, &child), depth - 1, after)
    }

    /// The names that come next, one more than there is room for.
    fn next_keys(
        &self,
        dir: &OwnedFd,
        path: &WorkspacePath,
        rules: &Rules,
        after: Option<&Key>,
    ) -> Result<Vec<Key>, Errno> {
        let room = self.limit.saturating_sub(self.entries.len()) + 1;
        let mut next = BinaryHeap::with_capacity(room.min(1024) + 1);
        each_name(dir, |name, kind| {
            let is_dir = kind == FileType::Directory;
            if is_own_name(path.is_root(), name) || (!self.show_ignored && hidden(rules, path, name, is_dir)) {
                return ControlFlow::Continue(());
            }
            let key = Key::new(name, is_dir);
            if after.is_none_or(|after| key > *after)
                && (next.len() < room || next.peek().is_some_and(|last| key < *last))
            {
                next.push(key);
                if next.len() > room {
                    next.pop();
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(next.into_sorted_vec())
    }
}

fn hidden(rules: &Rules, path: &WorkspacePath, name: &[u8], is_dir: bool) -> bool {
    path.join(name).is_ok_and(|child| rules.ignores(&child, is_dir))
}

/// A cursor is the path of the last entry below the listed directory, and whether it was a directory.
fn write_cursor(base: &WorkspacePath, last: &WorkspacePath, is_dir: bool) -> String {
    let below = last.as_bytes().get(base.as_bytes().len()..).unwrap_or_default();
    format!("{}{}", if is_dir { 'd' } else { 'f' }, hex::encode(below.strip_prefix(b"/").unwrap_or(below)))
}

fn read_cursor(text: &str) -> Outcome<Vec<Key>> {
    let wrong =
        || WorkspaceError::new(ProblemCode::BadRequest, "the cursor is none that was given out; list from the start");
    let is_dir = text.starts_with('d');
    let below = text.strip_prefix(['d', 'f']).and_then(|rest| hex::decode(rest).ok()).ok_or_else(wrong)?;
    let path = WorkspacePath::from_bytes(&below).map_err(|_| wrong())?;
    let mut keys: Vec<Key> = path.names().map(|name| Key::new(name, true)).collect();
    if let Some(last) = keys.last_mut() {
        last.is_file = !is_dir;
    }
    Ok(keys)
}
