//! The files of a workspace, beneath one directory handle.
//!
//! No path is ever checked as a string to find out whether it stays inside: the kernel resolves every path beneath the
//! handle (`openat2` with `RESOLVE_BENEATH`), and whatever is changed is changed by its name in a directory that is held
//! open. A symbolic link that is swapped in between can make a call fail, and cannot lead it outside.
//! Everything here blocks; callers on an async runtime use `spawn_blocking`.

mod beneath;
mod content;
mod copy;
mod entry;
mod failure;
mod history;
mod operate;
mod own;
mod pack;
mod read;
mod remove;
mod rules;
mod save;
mod search;
mod trash;
mod tree;
mod unpack;
mod uploads;
mod watch;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use beneath::Root;
use content::{Echoes, Etags};
use own::Staging;

pub use save::PendingSave;
pub use watch::Watcher;

/// How many locks saves share; two files share one only by chance.
const LOCKS: usize = 64;

/// The files of one workspace. Cheap to clone.
#[derive(Clone)]
pub struct Files {
    inner: Arc<Inner>,
}

struct Inner {
    root: Root,
    staging: Staging,
    etags: Mutex<Etags>,
    echoes: Mutex<Echoes>,
    kept: Mutex<history::Load>,
    locks: Vec<Mutex<()>>,
}

impl Files {
    /// Opens the directory, and removes what an earlier run left half-done in it.
    ///
    /// # Errors
    /// When the directory cannot be opened, or the kernel has no `openat2`.
    pub fn open(root: &Path) -> std::io::Result<Self> {
        let root = Root::open(root)?;
        let staging = Staging::open(&root);
        let locks = (0..LOCKS).map(|_| Mutex::new(())).collect();
        let (etags, echoes, kept) = (Mutex::default(), Mutex::default(), Mutex::default());
        let inner = Inner { root, staging, etags, echoes, kept, locks };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn root(&self) -> &Root {
        &self.inner.root
    }
}

/// A lock whose holder panicked still guards whole values here: they are replaced, never edited halfway.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
