//! The files of a workspace and its home directory as a tar stream, out and in; how it is laid out is told in
//! [`crate::archive`]. What comes in is hostile, so it is unpacked by the user of workspaces in a container that could do
//! no more than the workspace itself.

use bollard::container::LogOutput;
use bytes::Bytes;
use futures_util::StreamExt as _;
use reeve_gate::workspace::ByteStream;
use reeve_types::workspace::WorkspaceSpec;
use reeve_types::{ProblemCode, WorkspaceError, WorkspaceId};
use tokio::io::AsyncWriteExt as _;

use super::chores::{Begun, Chore, Hands, Words};
use super::container::{FILES_INSIDE, HOME_INSIDE, volume};
use super::{Inner, asking};

/// Packs everything: the files by their names, the home directory as `.reeve-home`. Names of files begin with `./`, those
/// of the home directory do not, so the rules for one never meet the other.
const PACK: &str = r#"
kept=.reeve-home-kept
while [ -e "/workspace/$kept" ] || [ -L "/workspace/$kept" ]; do kept="$kept-"; done
exec tar --format=pax --pax-option=delete=atime,delete=ctime --xattrs --xattrs-include='user.*' --numeric-owner --sparse \
    --transform="s,^\./\.reeve-home\(/\|\$\),./$kept\1,S" --transform='s,^reeve\(/\|$\),.reeve-home\1,S' \
    --anchored --exclude=reeve/.cache -cf - -C /workspace . -C /home reeve
"#;
/// A file that changed while it was read is told with 1, and is no failure.
const PACK_GOOD: [i64; 2] = [0, 1];
/// Where both volumes are seen as they lie in the stream.
const UNPACKED: &str = "/unpacked";
/// The home directory there.
const HOME_UNPACKED: &str = "/unpacked/.reeve-home";
/// Unpacks everything for the user who unpacks it.
const UNPACK: &str = "exec tar -C /unpacked --xattrs --xattrs-include='user.*' --no-same-owner -p -xf -";
/// The engine has made a directory among the files for the home directory to be seen at.
const TIDY: &str = "exec rmdir /workspace/.reeve-home";
/// A stream may be a little longer than the files it holds.
const STREAM_OVERHEAD: u64 = 64 << 20;

impl Inner {
    /// All files as a stream. Whether the workspace runs or not.
    pub(super) async fn export(&self, workspace: &WorkspaceId) -> Result<ByteStream, WorkspaceError> {
        let known = self.engine.reach().await?;
        let files = self.files_of(&known, workspace).await?;
        let chore = Chore {
            workspace,
            image: &files.image,
            script: PACK,
            hands: Hands::Reader,
            mounts: vec![volume(files.name.clone(), FILES_INSIDE, true), volume(files.home(), HOME_INSIDE, true)],
            reads: false,
        };
        let begun = self.begin_chore(&known, chore).await?;
        Ok(Box::pin(futures_util::stream::unfold(Some((begun, Words::default())), next_piece)))
    }

    /// New volumes with the files of a stream.
    pub(super) async fn import(&self, spec: WorkspaceSpec, stream: ByteStream) -> Result<(), WorkspaceError> {
        asking::check(&spec)?;
        let image = asking::image_of(self.template(&spec.template)?)?;
        let known = self.engine.reach().await?;
        let held = self.workspaces.get(&spec.id);
        let _busy = held.busy.lock().await;
        if self.layout.is_complete(&spec.id) {
            let said = format!("{} is there already; import into a new workspace", spec.id);
            return Err(WorkspaceError::new(ProblemCode::AlreadyExists, said));
        }
        let made = async {
            let target = self.make_volumes(&known, &spec, image).await?;
            let (files, home) = (target.name.clone(), target.home());
            let chore = Chore {
                workspace: &spec.id,
                image,
                script: UNPACK,
                hands: Hands::Owner,
                // At the usual places too: there the image says whose they are.
                mounts: vec![
                    volume(files.clone(), FILES_INSIDE, false),
                    volume(home.clone(), HOME_INSIDE, false),
                    volume(files.clone(), UNPACKED, false),
                    volume(home, HOME_UNPACKED, false),
                ],
                reads: true,
            };
            let begun = self.begin_chore(&known, chore).await?;
            feed(begun, stream, spec.limits.disk_bytes.saturating_add(STREAM_OVERHEAD)).await?;
            let mounts = vec![volume(files, FILES_INSIDE, false)];
            let tidy = Chore { workspace: &spec.id, image, script: TIDY, hands: Hands::Keeper, mounts, reads: false };
            self.chore(&known, tidy).await?;
            self.complete(&spec.id).await
        };
        let made = made.await;
        self.undo_unless(&known, &spec.id, made).await
    }
}

type Packing = Option<(Begun, Words)>;

/// The next bytes of the stream; at its end, whether it is whole.
async fn next_piece(packing: Packing) -> Option<(std::io::Result<Bytes>, Packing)> {
    let (mut begun, mut words) = packing?;
    loop {
        match begun.output.next().await {
            Some(Ok(LogOutput::StdOut { message } | LogOutput::Console { message })) => {
                return Some((Ok(message), Some((begun, words))));
            }
            Some(Ok(LogOutput::StdErr { message })) => words.complain(&message),
            Some(Ok(LogOutput::StdIn { .. })) => {}
            Some(Err(error)) => return Some((Err(std::io::Error::other(error)), None)),
            None => {
                let finished = begun.finish(words, &PACK_GOOD).await;
                return finished.err().map(|error| (Err(std::io::Error::other(error)), None));
            }
        }
    }
}

/// Gives a stream to a chore, and hears what it says meanwhile.
async fn feed(mut begun: Begun, mut files: ByteStream, room: u64) -> Result<(), WorkspaceError> {
    let mut output = std::mem::replace(&mut begun.output, Box::pin(futures_util::stream::empty()));
    let listening = async {
        let mut words = Words::default();
        while let Some(Ok(piece)) = output.next().await {
            words.hear(&piece);
        }
        words
    };
    let input = begun.input.take();
    let giving = async {
        let Some(mut input) = input else { return Ok(()) };
        let mut given = 0_u64;
        while let Some(piece) = files.next().await {
            let piece = piece.map_err(|error| broken(&format!("the stream broke off: {error}")))?;
            given = given.saturating_add(piece.len() as u64);
            if given > room {
                let said = "the files are larger than the workspace's disk; give it more, or leave some out";
                return Err(WorkspaceError::new(ProblemCode::DiskFull, said));
            }
            if input.write_all(&piece).await.is_err() {
                // It has ended; why is in its words.
                return Ok(());
            }
        }
        // The end of what it reads; one that has ended already has no need of it.
        let _ended = input.shutdown().await;
        Ok(())
    };
    tokio::pin!(listening);
    tokio::pin!(giving);
    let words = tokio::select! {
        given = &mut giving => {
            given?;
            listening.await
        }
        words = &mut listening => words,
    };
    let unpacked = begun.finish(words, &[0]).await.map_err(|error| match error.code {
        ProblemCode::Internal => hostile(&error.message),
        _ => error,
    })?;
    // Names that lead out are cut short by `tar`; whoever wrote them meant something else.
    let complaint = unpacked.complaint();
    if complaint.contains("Removing leading") { Err(hostile(&complaint)) } else { Ok(()) }
}

fn hostile(said: &str) -> WorkspaceError {
    let said = format!("the archive cannot be unpacked here: {said}; nothing of it was kept");
    WorkspaceError::new(ProblemCode::HostileArchive, said)
}

fn broken(said: &str) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::BadRequest, said)
}
