//! Telling what happens to files, whoever does it.
//!
//! Each directory is watched through its handle, so that a link that is swapped in is never followed. What happens
//! within a moment is told together. Where the kernel cannot keep up, or lets no more directories be watched, the one
//! who listens is told to look at everything again, and the rest of the tree is looked at now and then instead.

use std::collections::HashMap;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use reeve_types::WorkspacePath;
use reeve_types::workspace::files::{FileEvent, FileType as Kind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::beneath::{open_child_dir, visible_names};
use super::copy::LEVELS_MAX;
use super::entry::{kind_named, kind_of};
use super::own::is_own;
use super::rules::is_built_in;
use super::{Files, locked};

/// How long events are gathered before they are told.
const GATHER: Duration = Duration::from_millis(60);
/// How often it is looked whether anybody still listens.
const PULSE: Duration = Duration::from_millis(500);
/// How often the tree is looked at when it cannot be watched whole.
const LOOK: Duration = Duration::from_secs(2);
/// Most events that are gathered; more are told as one [`FileEvent::Resync`].
const GATHERED_MAX: usize = 2000;
/// How many events wait for who listens.
const QUEUE: usize = 256;
/// Room for what the kernel tells at once, in bytes.
const BUFFER: usize = 64 * 1024;

/// What happens to files from now on. Dropping it ends the watching.
pub struct Watcher {
    events: mpsc::Receiver<FileEvent>,
}

impl Watcher {
    /// The next event; the first is [`FileEvent::Hello`]. Nothing once watching has failed.
    pub async fn next(&mut self) -> Option<FileEvent> {
        self.events.recv().await
    }

    /// The channel itself.
    pub fn into_receiver(self) -> mpsc::Receiver<FileEvent> {
        self.events
    }
}

impl Files {
    /// Begins to watch the whole tree but for `.git`, `node_modules`, `target` and the like. Everything is watched when
    /// this returns, so nothing that happens afterwards is missed.
    ///
    /// # Errors
    /// When the kernel gives no inotify instance, or a thread cannot be started.
    pub fn watch(&self) -> std::io::Result<Watcher> {
        let inotify = Inotify::init()?;
        let (tell, events) = mpsc::channel(QUEUE);
        let mut watching = Watching::new(self.clone(), inotify, tell);
        let root = self.root().open_dir(&WorkspacePath::root())?;
        watching.add(&root, &WorkspacePath::root(), 0, false);
        watching.seen = watching.partial.then(|| watching.fingerprint());
        std::thread::Builder::new().name("watch".to_owned()).spawn(move || watching.run())?;
        Ok(Watcher { events })
    }
}

struct Watching {
    files: Files,
    inotify: Inotify,
    tell: mpsc::Sender<FileEvent>,
    paths: HashMap<WatchDescriptor, WorkspacePath>,
    gathered: Vec<FileEvent>,
    /// Things that were moved away and have not come back under another name yet, by the kernel's cookie.
    leaving: HashMap<u32, WorkspacePath>,
    /// Not every directory could be watched.
    partial: bool,
    seen: Option<u64>,
}

enum Gone {
    Listener,
    Kernel,
}

impl Watching {
    fn new(files: Files, inotify: Inotify, tell: mpsc::Sender<FileEvent>) -> Self {
        let (paths, leaving) = (HashMap::new(), HashMap::new());
        Self { files, inotify, tell, paths, gathered: Vec::new(), leaving, partial: false, seen: None }
    }

    fn run(mut self) {
        if self.tell.blocking_send(FileEvent::Hello).is_err() {
            return;
        }
        let mut buffer = vec![0; BUFFER];
        let mut looked = Instant::now();
        while let Ok(()) = self.turn(&mut buffer) {
            if self.partial && looked.elapsed() >= LOOK {
                self.look();
                looked = Instant::now();
            }
        }
    }

    /// Waits a moment for events, gathers what follows closely, and tells it.
    fn turn(&mut self, buffer: &mut [u8]) -> Result<(), Gone> {
        if self.tell.is_closed() {
            return Err(Gone::Listener);
        }
        if self.gathered.is_empty() && !self.wait(PULSE)? {
            return Ok(());
        }
        let until = Instant::now() + GATHER;
        loop {
            self.read(buffer)?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.wait(left)? {
                break;
            }
        }
        self.flush()
    }

    fn wait(&self, longest: Duration) -> Result<bool, Gone> {
        let timeout = Timespec::try_from(longest).map_err(|_| Gone::Kernel)?;
        let mut fds = [PollFd::new(&self.inotify, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(true),
            Err(_) => Err(Gone::Kernel),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), Gone> {
        let events: Vec<_> = match self.inotify.read_events(buffer) {
            Ok(events) => events.map(|event| event.to_owned()).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return Err(Gone::Kernel),
        };
        for event in events {
            self.take(event);
        }
        Ok(())
    }

    fn take(&mut self, event: inotify::Event<OsString>) {
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            return self.start_over();
        }
        if event.mask.contains(EventMask::IGNORED) {
            self.paths.remove(&event.wd);
            return;
        }
        let Some(dir) = self.paths.get(&event.wd) else { return };
        let Some(path) = event.name.and_then(|name| dir.join(&name.into_vec()).ok()) else { return };
        if is_own(&path) {
            return;
        }
        let is_dir = event.mask.contains(EventMask::ISDIR);
        if event.mask.contains(EventMask::MOVED_FROM) {
            self.leaving.insert(event.cookie, path);
        } else if event.mask.contains(EventMask::MOVED_TO) {
            self.arrived(path, event.cookie, is_dir);
        } else if event.mask.contains(EventMask::CREATE) {
            self.created(path, is_dir);
        } else if event.mask.contains(EventMask::DELETE) {
            self.gather(FileEvent::Deleted { path });
        } else {
            self.gather(FileEvent::Changed { path, etag: None, origin: None });
        }
    }

    /// What the kernel dropped may be anything: directories that nobody watches yet among them.
    fn start_over(&mut self) {
        self.leaving.clear();
        if let Ok(root) = self.files.root().open_dir(&WorkspacePath::root()) {
            self.add(&root, &WorkspacePath::root(), 0, false);
        }
        self.resync();
    }

    fn resync(&mut self) {
        self.gathered.clear();
        self.gathered.push(FileEvent::Resync);
    }

    fn created(&mut self, path: WorkspacePath, is_dir: bool) {
        let Some(kind) = self.kind_at(&path) else { return };
        self.gather(FileEvent::Created { path: path.clone(), kind });
        if is_dir {
            self.enter(&path, true);
        }
    }

    fn enter(&mut self, path: &WorkspacePath, tell: bool) {
        if path.names().any(is_built_in) {
            return;
        }
        if let Ok(dir) = self.files.root().open_dir(path)
            && self.files.root().true_path(&dir).as_ref() == Some(path)
        {
            self.add(&dir, path, 0, tell);
        }
    }

    fn kind_at(&self, path: &WorkspacePath) -> Option<Kind> {
        let place = self.files.root().place("watch", path).ok()?;
        place.stat().ok().map(|stat| kind_of(&stat))
    }

    /// Something came here from elsewhere: renamed, restored, or saved.
    fn arrived(&mut self, path: WorkspacePath, cookie: u32, is_dir: bool) {
        match self.leaving.remove(&cookie) {
            Some(from) if self.was_just_made(&from) => {
                self.gathered.retain(|event| !names(event, &from));
                self.replaced(path, is_dir);
            }
            Some(from) => {
                self.moved_below(&from, &path);
                self.gather(FileEvent::Renamed { from, to: path });
            }
            None => self.saved_or_new(path, is_dir),
        }
    }

    fn was_just_made(&self, path: &WorkspacePath) -> bool {
        self.gathered.iter().any(|event| matches!(event, FileEvent::Created { path: made, .. } if made == path))
    }

    /// An editor wrote beside the file and renamed: to others the file is new or changed, and both are true.
    fn replaced(&mut self, path: WorkspacePath, is_dir: bool) {
        self.created(path.clone(), is_dir);
        if !is_dir {
            self.gathered.push(FileEvent::Changed { path, etag: None, origin: None });
        }
    }

    fn saved_or_new(&mut self, path: WorkspacePath, is_dir: bool) {
        let stat = self.files.root().place("watch", &path).ok().and_then(|place| place.stat().ok());
        let echo = stat.and_then(|stat| locked(&self.files.inner.echoes).find(&stat));
        match echo {
            Some(echo) => {
                if echo.created {
                    self.created(path.clone(), false);
                }
                self.gathered
                    .retain(|event| !matches!(event, FileEvent::Changed { path: known, .. } if *known == path));
                self.gathered.push(FileEvent::Changed { path, etag: Some(echo.etag), origin: echo.origin });
            }
            None => self.created(path, is_dir),
        }
    }

    /// A directory has another path, and so has everything watched below it.
    fn moved_below(&mut self, from: &WorkspacePath, to: &WorkspacePath) {
        for path in self.paths.values_mut().filter(|path| path.is_within(from)) {
            let rest = path.as_bytes().get(from.as_bytes().len()..).unwrap_or_default();
            if let Ok(moved) = WorkspacePath::from_bytes(&[to.as_bytes(), rest].concat()) {
                *path = moved;
            }
        }
    }

    fn gather(&mut self, event: FileEvent) {
        if matches!(self.gathered.first(), Some(FileEvent::Resync)) {
            return;
        }
        if let FileEvent::Changed { path, .. } = &event
            && self.gathered.iter().rev().take(64).any(|known| names(known, path))
        {
            return;
        }
        if self.gathered.last() == Some(&event) {
            return;
        }
        self.gathered.push(event);
        if self.gathered.len() > GATHERED_MAX {
            self.resync();
        }
    }

    fn flush(&mut self) -> Result<(), Gone> {
        let left: Vec<WorkspacePath> = self.leaving.drain().map(|(_, path)| path).collect();
        for path in left {
            self.forget_below(&path);
            self.gather(FileEvent::Deleted { path });
        }
        for event in std::mem::take(&mut self.gathered) {
            self.tell.blocking_send(event).map_err(|_| Gone::Listener)?;
        }
        Ok(())
    }

    /// A directory that went out of sight is watched no longer.
    fn forget_below(&mut self, path: &WorkspacePath) {
        let gone: Vec<_> = self.paths.iter().filter(|(_, at)| at.is_within(path)).map(|(wd, _)| wd.clone()).collect();
        for wd in gone {
            self.paths.remove(&wd);
            // The kernel forgets by itself what is deleted.
            let _ = self.inotify.watches().remove(wd);
        }
    }

    /// Watches a directory and all below it. What is in a directory that is new is new as well.
    fn add(&mut self, dir: &OwnedFd, path: &WorkspacePath, level: u32, tell: bool) {
        let mask = WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVED_FROM
            | WatchMask::MOVED_TO
            | WatchMask::MODIFY
            | WatchMask::CLOSE_WRITE
            | WatchMask::ATTRIB
            | WatchMask::ONLYDIR
            | WatchMask::EXCL_UNLINK;
        match self.inotify.watches().add(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()), mask) {
            Ok(wd) => drop(self.paths.insert(wd, path.clone())),
            Err(_) => {
                if !self.partial {
                    self.partial = true;
                    self.resync();
                }
                return;
            }
        }
        for (name, kind) in visible_names(dir, path.is_root()).unwrap_or_default() {
            let Ok(child) = path.join(&name) else { continue };
            if tell {
                self.gather(FileEvent::Created { path: child.clone(), kind: kind_named(kind) });
            }
            if kind == FileType::Directory
                && !is_built_in(&name)
                && level < LEVELS_MAX
                && let Ok(inside) = open_child_dir(dir, &name)
            {
                self.add(&inside, &child, level + 1, tell);
            }
        }
    }

    /// Compares the tree with how it was, where it cannot be watched.
    fn look(&mut self) {
        let now = self.fingerprint();
        if self.seen.replace(now).is_some_and(|before| before != now) {
            self.resync();
        }
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        if let Ok(root) = self.files.root().open_dir(&WorkspacePath::root()) {
            fingerprint(&root, true, 0, &mut hasher);
        }
        hasher.finish()
    }
}

fn fingerprint(dir: &OwnedFd, in_root: bool, level: u32, hasher: &mut DefaultHasher) {
    for (name, kind) in visible_names(dir, in_root).unwrap_or_default() {
        name.hash(hasher);
        if let Ok(stat) = rustix::fs::statat(dir, name.as_slice(), rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
            (stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec).hash(hasher);
        }
        if kind == FileType::Directory
            && !is_built_in(&name)
            && level < LEVELS_MAX
            && let Ok(inside) = open_child_dir(dir, &name)
        {
            fingerprint(&inside, false, level + 1, hasher);
        }
    }
}

/// Whether an event says that a file's content is to be looked at.
fn names(event: &FileEvent, wanted: &WorkspacePath) -> bool {
    matches!(event, FileEvent::Created { path, .. } | FileEvent::Changed { path, .. } if path == wanted)
}
