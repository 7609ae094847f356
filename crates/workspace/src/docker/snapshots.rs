//! Copies of a workspace's files and its home directory: each a volume, set aside, put back, and as the beginning of
//! another workspace.

use bollard::models::Mount;
use reeve_gate::workspace::{ForkWorkspace, TakeSnapshot};
use reeve_types::{ProblemCode, SnapshotId, WorkspaceError, WorkspaceId};

use super::chores::{Chore, Hands};
use super::container::{FILES_INSIDE, HOME_INSIDE, volume};
use super::engine::Known;
use super::failure::{aside, is_missing, unknown};
use super::labels;
use super::volumes::{Files, remove_volume};
use super::{Inner, asking};

/// Where the files are that are copied from.
const FROM_FILES: &str = "/from/files";
/// Where the home directory is that is copied from.
const FROM_HOME: &str = "/from/home";
/// Copies everything with owners, modes, times, links, holes and extended attributes, and tells how much it takes.
const COPY: &str = r#"
set -e
cp -a --reflink=auto --sparse=auto /from/files/. /workspace/
[ ! -d /from/home ] || cp -a --reflink=auto --sparse=auto /from/home/. /home/reeve/
du -scxB1 /workspace /home/reeve | tail -n 1 | cut -f1
"#;
/// Puts files back. The new ones are complete before the old ones go, unless there is no room for both.
const PUT_BACK: &str = r#"
pairs="files:/workspace"
[ ! -d /from/home ] || pairs="$pairs home:/home/reeve"
for pair in $pairs; do
    place=${pair#*:}
    rm -rf "$place/.reeve-roll-back" && mkdir -p "$place/.reeve-roll-back/fresh" "$place/.reeve-roll-back/old" || exit 1
done
for pair in $pairs; do
    place=${pair#*:}
    cp -a --reflink=auto --sparse=auto "/from/${pair%%:*}/." "$place/.reeve-roll-back/fresh/" 2>/tmp/complaint && continue
    grep -q 'No space left on device\|Disk quota exceeded' /tmp/complaint || { cat /tmp/complaint >&2; exit 1; }
    for pair in $pairs; do
        place=${pair#*:}
        find "$place" -mindepth 1 -maxdepth 1 -exec rm -rf {} +
        cp -a --reflink=auto --sparse=auto "/from/${pair%%:*}/." "$place/" || exit 1
    done
    exit 0
done
set -e
for pair in $pairs; do
    cd "${pair#*:}"
    find . -mindepth 1 -maxdepth 1 ! -name .reeve-roll-back -exec mv -t .reeve-roll-back/old -- {} +
    find .reeve-roll-back/fresh -mindepth 1 -maxdepth 1 -exec mv -t . -- {} +
    rm -rf .reeve-roll-back
done
"#;

/// What is copied from: two volumes, or the files alone in a copy that an earlier version made.
struct Source {
    files: String,
    home: Option<String>,
}

/// What is mounted to copy from one workspace's volumes to another's.
fn mounts(from: Source, files: &str, home: &str) -> Vec<Mount> {
    let home_from = from.home.map(|name| volume(name, FROM_HOME, true));
    [
        volume(from.files, FROM_FILES, true),
        volume(files.to_owned(), FILES_INSIDE, false),
        volume(home.to_owned(), HOME_INSIDE, false),
    ]
    .into_iter()
    .chain(home_from)
    .collect()
}

impl Inner {
    /// Copies the files aside; answers how many bytes the copy takes.
    pub(super) async fn take_snapshot(&self, what: TakeSnapshot) -> Result<u64, WorkspaceError> {
        let known = self.engine.reach().await?;
        let held = self.workspaces.get(&what.workspace);
        let _busy = held.busy.lock().await;
        let files = self.files_of(&known, &what.workspace).await?;
        if let Some(bytes) = self.layout.snapshot_bytes(&what.workspace, &what.snapshot) {
            return Ok(bytes);
        }
        let copies = [&files.name, &files.home()].map(|name| labels::snapshot_name(name, &what.snapshot));
        for copy in &copies {
            // What an attempt left that was broken off is no beginning.
            remove_volume(&known, copy).await?;
            self.make_copy_of(&known, &files, copy.clone(), what.snapshot.as_str()).await?;
        }
        let [to_files, to_home] = &copies;
        let source = Source { files: files.name.clone(), home: Some(files.home()) };
        let copied = self.copy(&known, &what.workspace, &files.image, mounts(source, to_files, to_home)).await;
        let marked = match copied {
            Ok(bytes) => {
                let (layout, what) = (self.layout.clone(), what.clone());
                aside(move || layout.mark_snapshot(&what.workspace, &what.snapshot, bytes)).await.map(|()| bytes)
            }
            Err(error) => Err(error),
        };
        if marked.is_err() {
            for copy in &copies {
                if let Err(error) = remove_volume(&known, copy).await {
                    tracing::warn!(%error, "a snapshot that was not finished stays until the workspace is removed");
                }
            }
        }
        marked
    }

    /// Puts the files back.
    pub(super) async fn roll_back(&self, what: TakeSnapshot) -> Result<(), WorkspaceError> {
        let known = self.engine.reach().await?;
        let held = self.workspaces.get(&what.workspace);
        let _busy = held.busy.lock().await;
        let files = self.files_of(&known, &what.workspace).await?;
        if self.find(&known, &what.workspace).await?.is_some_and(|seen| seen.running) {
            let said = format!("{} is running; suspend it before it is rolled back", what.workspace);
            return Err(WorkspaceError::new(ProblemCode::Conflict, said));
        }
        let source = self.snapshot_of(&known, &files, &what.workspace, &what.snapshot).await?;
        let chore = Chore {
            workspace: &what.workspace,
            image: &files.image,
            script: PUT_BACK,
            hands: Hands::Keeper,
            mounts: mounts(source, &files.name, &files.home()),
            reads: false,
        };
        self.chore(&known, chore).await.map(drop)
    }

    /// Removes a snapshot. One that is not there is fine.
    pub(super) async fn drop_snapshot(&self, what: TakeSnapshot) -> Result<(), WorkspaceError> {
        let known = self.engine.reach().await?;
        let held = self.workspaces.get(&what.workspace);
        let _busy = held.busy.lock().await;
        let (layout, gone) = (self.layout.clone(), what.clone());
        aside(move || layout.unmark_snapshot(&gone.workspace, &gone.snapshot)).await?;
        for volume in self.list_volumes(&known, &[(labels::SNAPSHOT, what.snapshot.as_str())]).await? {
            remove_volume(&known, &volume.name).await?;
        }
        Ok(())
    }

    /// New volumes with the files of another workspace.
    pub(super) async fn fork(&self, what: ForkWorkspace) -> Result<(), WorkspaceError> {
        asking::check(&what.spec)?;
        let image = asking::image_of(self.template(&what.spec.template)?)?;
        let known = self.engine.reach().await?;
        let held = self.workspaces.get(&what.spec.id);
        let _busy = held.busy.lock().await;
        if self.layout.is_complete(&what.spec.id) {
            return Ok(());
        }
        let from = self.files_of(&known, &what.from).await?;
        let source = match &what.snapshot {
            Some(snapshot) => self.snapshot_of(&known, &from, &what.from, snapshot).await?,
            None if self.layout.is_complete(&what.from) => Source { files: from.name.clone(), home: Some(from.home()) },
            None => return Err(unknown(&what.from)),
        };
        let made = async {
            let files = self.make_volumes(&known, &what.spec, image).await?;
            self.copy(&known, &what.spec.id, &from.image, mounts(source, &files.name, &files.home())).await?;
            self.complete(&what.spec.id).await
        };
        let made = made.await;
        self.undo_unless(&known, &what.spec.id, made).await
    }

    async fn copy(
        &self,
        known: &Known,
        workspace: &WorkspaceId,
        image: &str,
        mounts: Vec<Mount>,
    ) -> Result<u64, WorkspaceError> {
        let chore = Chore { workspace, image, script: COPY, hands: Hands::Keeper, mounts, reads: false };
        let said = self.chore(known, chore).await?;
        said.trim().parse().map_err(|_| {
            let said = format!("the image `{image}` lacks `du` or `cut`, so a copy cannot be measured");
            WorkspaceError::new(ProblemCode::Internal, said)
        })
    }

    async fn snapshot_of(
        &self,
        known: &Known,
        files: &Files,
        workspace: &WorkspaceId,
        snapshot: &SnapshotId,
    ) -> Result<Source, WorkspaceError> {
        let there = |name: String| async {
            match known.docker.inspect_volume(&name).await {
                Ok(_) => Ok(Some(name)),
                Err(error) if is_missing(&error) => Ok(None),
                Err(error) => Err(known.failed("look for a snapshot", &error)),
            }
        };
        let found = there(labels::snapshot_name(&files.name, snapshot)).await?;
        if let Some(copy) = found.filter(|_| self.layout.snapshot_bytes(workspace, snapshot).is_some()) {
            let home = there(labels::snapshot_name(&files.home(), snapshot)).await?;
            return Ok(Source { files: copy, home });
        }
        let said = format!("{workspace} has no snapshot {snapshot}; list its snapshots to see which there are");
        Err(WorkspaceError::new(ProblemCode::NotFound, said))
    }
}
