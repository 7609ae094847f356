//! Copies of a workspace's files: each a volume, set aside, put back, and as the beginning of another workspace.

use reeve_gate::workspace::{ForkWorkspace, TakeSnapshot};
use reeve_types::{ProblemCode, SnapshotId, WorkspaceError, WorkspaceId};

use super::chores::{Chore, Hands};
use super::container::{FILES_INSIDE, volume};
use super::engine::Known;
use super::failure::{aside, is_missing, unknown};
use super::labels;
use super::volumes::{Files, remove_volume};
use super::{Inner, asking};

/// Where the volume is that is copied from.
const FROM: &str = "/from";
/// Copies everything with owners, modes, times, links, holes and extended attributes, and tells how much it takes.
const COPY: &str = "cp -a --reflink=auto --sparse=auto /from/. /workspace/ && du -sxB1 /workspace | cut -f1";
/// Puts files back. The new ones are complete before the old ones go, unless there is no room for both.
const PUT_BACK: &str = r#"
set -e
cd /workspace
rm -rf .reeve-roll-back
mkdir -p .reeve-roll-back/fresh .reeve-roll-back/old
if ! cp -a --reflink=auto --sparse=auto /from/. .reeve-roll-back/fresh/ 2>/tmp/complaint; then
    grep -q 'No space left on device\|Disk quota exceeded' /tmp/complaint || { cat /tmp/complaint >&2; exit 1; }
    find . -mindepth 1 -maxdepth 1 -exec rm -rf {} +
    exec cp -a --reflink=auto --sparse=auto /from/. .
fi
find . -mindepth 1 -maxdepth 1 ! -name .reeve-roll-back -exec mv -t .reeve-roll-back/old -- {} +
find .reeve-roll-back/fresh -mindepth 1 -maxdepth 1 -exec mv -t . -- {} +
rm -rf .reeve-roll-back
"#;

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
        let name = labels::snapshot_name(&files.name, &what.snapshot);
        // What an attempt left that was broken off is no beginning.
        remove_volume(&known, &name).await?;
        self.make_copy_of(&known, &files, name.clone(), what.snapshot.as_str()).await?;
        let copied = self.copy(&known, &what.workspace, &files.image, &files.name, &name).await;
        let marked = match copied {
            Ok(bytes) => {
                let (layout, what) = (self.layout.clone(), what.clone());
                aside(move || layout.mark_snapshot(&what.workspace, &what.snapshot, bytes)).await.map(|()| bytes)
            }
            Err(error) => Err(error),
        };
        if marked.is_err()
            && let Err(error) = remove_volume(&known, &name).await
        {
            tracing::warn!(%error, "a snapshot that was not finished stays until the workspace is removed");
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
            mounts: vec![volume(source, FROM, true), volume(files.name.clone(), FILES_INSIDE, false)],
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
            None if self.layout.is_complete(&what.from) => from.name.clone(),
            None => return Err(unknown(&what.from)),
        };
        let made = async {
            let files = self.make_volumes(&known, &what.spec, image).await?;
            self.copy(&known, &what.spec.id, &from.image, &source, &files.name).await?;
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
        from: &str,
        to: &str,
    ) -> Result<u64, WorkspaceError> {
        let mounts = vec![volume(from.to_owned(), FROM, true), volume(to.to_owned(), FILES_INSIDE, false)];
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
    ) -> Result<String, WorkspaceError> {
        let name = labels::snapshot_name(&files.name, snapshot);
        let there = match known.docker.inspect_volume(&name).await {
            Ok(_) => true,
            Err(error) if is_missing(&error) => false,
            Err(error) => return Err(known.failed("look for a snapshot", &error)),
        };
        if there && self.layout.snapshot_bytes(workspace, snapshot).is_some() {
            return Ok(name);
        }
        let said = format!("{workspace} has no snapshot {snapshot}; list its snapshots to see which there are");
        Err(WorkspaceError::new(ProblemCode::NotFound, said))
    }
}
