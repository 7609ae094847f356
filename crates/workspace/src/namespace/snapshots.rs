//! Copies of a workspace's files and its home directory: set aside, put back, and as the beginning of another workspace.

use std::io;
use std::path::{Path, PathBuf};

use reeve_gate::workspace::{ForkWorkspace, TakeSnapshot};
use reeve_types::{ProblemCode, SnapshotId, WorkspaceError, WorkspaceId};

use rustix::io::Errno;

use super::boxes::Held;
use super::failure::{aside, cannot, running, unknown};
use super::{Inner, copying, disk, layout, removing};

/// A copy that was set aside. Its files are there last, so that one without them is none; one of an earlier version has
/// no home directory, and leaves it as it is.
#[derive(Clone)]
struct Aside {
    files: PathBuf,
    home: PathBuf,
}

impl Aside {
    fn is_there(&self) -> bool {
        self.files.is_dir()
    }

    /// Each copy with the directory of a box that it is of.
    fn with(&self, inside: &Path) -> Vec<(PathBuf, PathBuf)> {
        let mut all = vec![(self.files.clone(), inside.join("files"))];
        if self.home.is_dir() {
            all.push((self.home.clone(), inside.join("home")));
        }
        all
    }

    fn measure(&self) -> io::Result<u64> {
        Ok(disk::measure(&self.files)?.saturating_add(disk::measure(&self.home)?))
    }

    fn make(&self, inside: &Path) -> io::Result<u64> {
        if self.is_there() {
            return self.measure();
        }
        let draft = self.files.with_extension("draft");
        let made = [(inside.join("home"), &self.home), (inside.join("files"), &draft)].into_iter().try_for_each(
            |(from, to)| {
                removing::remove(to)?;
                layout::make_private(to)?;
                copying::copy_tree(&from, to, None)
            },
        );
        if let Err(error) = made {
            removing::remove(&draft)?;
            removing::remove(&self.home)?;
            return Err(error);
        }
        std::fs::rename(&draft, &self.files)?;
        self.measure()
    }

    fn remove(&self) -> io::Result<()> {
        removing::remove(&self.files)?;
        removing::remove(&self.home)
    }
}

impl Inner {
    /// Copies the files aside; answers how many bytes the copy takes.
    pub(super) async fn take_snapshot(&self, what: TakeSnapshot) -> Result<u64, WorkspaceError> {
        let held = self.boxes.get(&what.workspace).ok_or_else(|| unknown(&what.workspace))?;
        let _busy = held.busy.lock().await;
        let copy = self.aside(&held, &what.snapshot);
        self.with_files(&held, move |inside| copy.make(&inside)).await
    }

    /// Puts the files back. What was there is gone only when everything of the snapshot is there.
    pub(super) async fn roll_back(&self, what: TakeSnapshot) -> Result<(), WorkspaceError> {
        let held = self.boxes.get(&what.workspace).ok_or_else(|| unknown(&what.workspace))?;
        let _busy = held.busy.lock().await;
        if held.running().is_some() && held.record().started {
            return Err(running(&what.workspace, "it is rolled back"));
        }
        self.end(&held, false).await?;
        let copy = self.snapshot_of(&held, &what.workspace, &what.snapshot)?;
        let owner = held.record().uid;
        self.with_files(&held, move |inside| put_back(&copy.with(&inside), owner)).await
    }

    /// Removes a snapshot. One that is not there is fine.
    pub(super) async fn drop_snapshot(&self, what: TakeSnapshot) -> Result<(), WorkspaceError> {
        let Some(held) = self.boxes.get(&what.workspace) else { return Ok(()) };
        let _busy = held.busy.lock().await;
        let copy = self.aside(&held, &what.snapshot);
        aside(move || copy.remove().map_err(|error| cannot("remove a snapshot", &error))).await
    }

    /// A new box with the files of another.
    pub(super) async fn fork(&self, what: ForkWorkspace) -> Result<(), WorkspaceError> {
        let from = self.boxes.get(&what.from).ok_or_else(|| unknown(&what.from))?;
        of_its_own(&from)?;
        let fill = |held: std::sync::Arc<Held>| async move {
            let _busy = from.busy.lock().await;
            let (target, owner) = (self.layout.inside(&held.key), held.record().uid);
            match &what.snapshot {
                None => {
                    let copy = move |inside: PathBuf| {
                        let source = Aside { files: inside.join("files"), home: inside.join("home") };
                        copy_all(&source.with(&target), owner)
                    };
                    self.with_files(&from, copy).await
                }
                Some(snapshot) => {
                    let source = self.snapshot_of(&from, &what.from, snapshot)?;
                    let copy = move || copy_all(&source.with(&target), owner);
                    aside(move || copy().map_err(|error| cannot("copy the files of a snapshot", &error))).await
                }
            }
        };
        self.new_box(what.spec, None, fill).await
    }

    fn aside(&self, held: &Held, snapshot: &SnapshotId) -> Aside {
        let files = self.layout.snapshot(&held.key, snapshot);
        Aside { home: files.with_extension("home"), files }
    }

    fn snapshot_of(
        &self,
        held: &Held,
        workspace: &WorkspaceId,
        snapshot: &SnapshotId,
    ) -> Result<Aside, WorkspaceError> {
        let copy = self.aside(held, snapshot);
        if copy.is_there() {
            return Ok(copy);
        }
        let said = format!("{workspace} has no snapshot {snapshot}; list its snapshots to see which there are");
        Err(WorkspaceError::new(ProblemCode::NotFound, said))
    }

    /// Does something with the directories of a box, which are reachable meanwhile. The box must be kept busy.
    pub(super) async fn with_files<T: Send + 'static>(
        &self,
        held: &Held,
        work: impl FnOnce(PathBuf) -> io::Result<T> + Send + 'static,
    ) -> Result<T, WorkspaceError> {
        of_its_own(held)?;
        self.attach(held).await?;
        let inside = self.layout.inside(&held.key);
        let done =
            aside(move || work(inside).map_err(|error| cannot("work on the files of the workspace", &error))).await;
        if held.running().is_none() {
            self.detach(held).await?;
        }
        done
    }
}

/// Refuses to copy what is nobody's but the host's: it has no end that Reeve knows, and whoever has it can copy it.
pub(super) fn of_its_own(held: &Held) -> Result<(), WorkspaceError> {
    let Some(directory) = held.record().spec.and_then(|spec| spec.directory) else { return Ok(()) };
    let said = format!("the files of the workspace are the host's, in `{}`; copy them there", directory.path);
    Err(WorkspaceError::new(ProblemCode::BadRequest, said))
}

fn copy_all(pairs: &[(PathBuf, PathBuf)], owner: Option<u32>) -> io::Result<()> {
    pairs.iter().try_for_each(|(source, place)| copying::copy_tree(source, place, owner))
}

/// Puts each copy in the place of what is there, when all of them are complete.
fn put_back(pairs: &[(PathBuf, PathBuf)], owner: Option<u32>) -> io::Result<()> {
    let fresh = |place: &Path| place.with_extension("fresh");
    let old = |place: &Path| place.with_extension("old");
    for (_, place) in pairs {
        removing::remove(&old(place))?;
    }
    let staged = pairs.iter().try_for_each(|(source, place)| {
        removing::remove(&fresh(place))?;
        layout::make_private(&fresh(place))?;
        copying::copy_tree(source, &fresh(place), owner)
    });
    if let Err(error) = staged {
        for (_, place) in pairs {
            removing::remove(&fresh(place))?;
        }
        if error.raw_os_error() != Some(libc::ENOSPC) {
            return Err(error);
        }
        // There is no room for both. The snapshot is kept elsewhere, so what is there can go first.
        for (_, place) in pairs {
            removing::empty(place)?;
        }
        return copy_all(pairs, owner);
    }
    for (_, place) in pairs {
        exchange(&fresh(place), place, &old(place))?;
    }
    pairs.iter().try_for_each(|(_, place)| removing::remove(&fresh(place)).and_then(|()| removing::remove(&old(place))))
}

/// Puts one directory in the place of another, in one step where the file system can.
fn exchange(fresh: &Path, place: &Path, old: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags};
    match rustix::fs::renameat_with(CWD, fresh, CWD, place, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            std::fs::rename(place, old)?;
            std::fs::rename(fresh, place)
        }
        exchanged => Ok(exchanged?),
    }
}
