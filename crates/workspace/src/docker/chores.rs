//! Work on volumes: a container of the workspace's own image, confined like the workspace, for as long as one program
//! takes. So files that are hostile are only ever touched by something that could do no more than the workspace itself.

use std::pin::Pin;
use std::sync::Arc;

use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HostConfig, Mount};
use bollard::query_parameters::{AttachContainerOptions, CreateContainerOptions, StartContainerOptions};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use reeve_types::{ProblemCode, WorkspaceError, WorkspaceId};
use tokio::io::AsyncWrite;

use super::Inner;
use super::container::{confined, tmpfs};
use super::engine::Known;
use super::failure::{shortened, unreachable};
use super::labels::{self, Role};
use super::lifecycle::{refused, remove_container};

/// Most bytes of a chore's words that are kept.
const WORDS_BYTES_MAX: usize = 16 * 1024;
/// Memory of a chore, in bytes.
const MEMORY: i64 = 512 << 20;
/// Processes of a chore.
const PIDS: i64 = 64;
/// `/tmp` of a chore, in bytes.
const TMP: u64 = 1 << 20;

/// Who does a chore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hands {
    /// The user of workspaces.
    Owner,
    /// A user who may read every file.
    Reader,
    /// A user who may write every file and give it to whom it belongs.
    Keeper,
}

impl Hands {
    fn user(self) -> String {
        let (uid, gid) = super::container::owner();
        match self {
            Self::Owner => format!("{uid}:{gid}"),
            Self::Reader | Self::Keeper => "0:0".to_owned(),
        }
    }

    fn capabilities(self) -> &'static [&'static str] {
        match self {
            Self::Owner => &[],
            Self::Reader => &["DAC_READ_SEARCH"],
            Self::Keeper => &["CHOWN", "DAC_OVERRIDE", "FOWNER"],
        }
    }
}

/// One piece of work.
pub(super) struct Chore<'a> {
    /// For which workspace.
    pub(super) workspace: &'a WorkspaceId,
    /// With whose programs.
    pub(super) image: &'a str,
    /// A script for `sh`.
    pub(super) script: &'static str,
    /// Who does it.
    pub(super) hands: Hands,
    /// What it works on.
    pub(super) mounts: Vec<Mount>,
    /// Whether it is given something to read.
    pub(super) reads: bool,
}

/// A chore that was begun. Dropped, it is taken away.
pub(super) struct Begun {
    known: Known,
    id: String,
    /// What it writes.
    pub(super) output: Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>,
    /// What it reads.
    pub(super) input: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    removed: bool,
}

impl Inner {
    /// Does a chore to its end; answers what it wrote, which must be short.
    pub(super) async fn chore(&self, known: &Known, chore: Chore<'_>) -> Result<String, WorkspaceError> {
        let mut begun = self.begin_chore(known, chore).await?;
        let mut words = Words::default();
        while let Some(piece) = begun.output.next().await {
            words.hear(&piece.map_err(|error| known.failed("hear what a chore says", &error))?);
        }
        Ok(begun.finish(words, &[0]).await?.said)
    }

    /// Begins a chore.
    pub(super) async fn begin_chore(&self, known: &Known, chore: Chore<'_>) -> Result<Begun, WorkspaceError> {
        let (prefix, installation) = (&self.options.prefix, self.layout.installation());
        let mut labels = labels::of_workspace(prefix, &installation, chore.workspace);
        labels.insert(labels::ROLE.to_owned(), Role::Chore.as_str().to_owned());
        let body = ContainerCreateBody {
            user: Some(chore.hands.user()),
            env: Some(vec!["LC_ALL=C".to_owned()]),
            entrypoint: Some(vec!["/bin/sh".to_owned(), "-c".to_owned()]),
            cmd: Some(vec![chore.script.to_owned()]),
            image: Some(chore.image.to_owned()),
            working_dir: Some("/".to_owned()),
            labels: Some(labels),
            open_stdin: Some(chore.reads),
            stdin_once: Some(chore.reads),
            attach_stdin: Some(chore.reads),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            host_config: Some(HostConfig {
                cap_add: Some(chore.hands.capabilities().iter().map(|name| (*name).to_owned()).collect()),
                mounts: Some(chore.mounts),
                tmpfs: Some(tmpfs(TMP)),
                memory: Some(MEMORY),
                memory_swap: Some(MEMORY),
                pids_limit: Some(PIDS),
                log_config: Some(bollard::models::HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
                ..confined()
            }),
            ..ContainerCreateBody::default()
        };
        let made = known.docker.create_container(None::<CreateContainerOptions>, body).await;
        let id = made.map_err(|error| refused(known, chore.image, &error))?.id;
        let mut begun = Begun {
            known: known.clone(),
            id,
            output: Box::pin(futures_util::stream::empty()),
            input: None,
            removed: false,
        };
        let failed = |error| known.failed("begin work on files", &error);
        let attach = AttachContainerOptions {
            stream: true,
            stdin: chore.reads,
            stdout: true,
            stderr: true,
            ..AttachContainerOptions::default()
        };
        let attached = known.docker.attach_container(&begun.id, Some(attach)).await.map_err(failed)?;
        begun.output = attached.output;
        begun.input = chore.reads.then_some(attached.input);
        known.docker.start_container(&begun.id, None::<StartContainerOptions>).await.map_err(failed)?;
        Ok(begun)
    }
}

/// What a chore says on its two outputs.
#[derive(Default)]
pub(super) struct Words {
    said: String,
    complaint: String,
}

impl Words {
    /// Keeps what was said.
    pub(super) fn hear(&mut self, piece: &LogOutput) {
        match piece {
            LogOutput::StdErr { message } => self.complain(message),
            LogOutput::StdOut { message } | LogOutput::Console { message } => add(&mut self.said, message),
            LogOutput::StdIn { .. } => {}
        }
    }

    /// What was complained, in one line.
    pub(super) fn complaint(&self) -> String {
        shortened(&self.complaint)
    }

    /// Keeps what was complained.
    pub(super) fn complain(&mut self, message: &Bytes) {
        add(&mut self.complaint, message);
    }
}

fn add(text: &mut String, message: &[u8]) {
    if text.len() < WORDS_BYTES_MAX {
        text.push_str(&String::from_utf8_lossy(message));
    }
}

impl Begun {
    /// Waits for its end and takes it away; answers what it said if it ended with one of these codes.
    pub(super) async fn finish(mut self, words: Words, good: &[i64]) -> Result<Words, WorkspaceError> {
        let ended = self.known.docker.wait_container(&self.id, None).next().await;
        let code = match ended {
            Some(Ok(ended)) => ended.status_code,
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => code,
            Some(Err(error)) => return Err(self.known.failed("wait for work on files", &error)),
            None => return Err(unreachable("the engine", "wait for work on files", "it broke off")),
        };
        self.removed = true;
        remove_container(&self.known, &self.id).await?;
        if good.contains(&code) {
            return Ok(words);
        }
        let complaint = words.complaint();
        let full = complaint.contains("No space left on device") || complaint.contains("Disk quota exceeded");
        let problem = if full { ProblemCode::DiskFull } else { ProblemCode::Internal };
        Err(WorkspaceError::new(problem, format!("work on the workspace's files ended with {code}: {complaint}")))
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        let (known, id) = (self.known.clone(), std::mem::take(&mut self.id));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(error) = remove_container(&known, &id).await {
                tracing::warn!(%error, "work on files that was given up is removed at the next start");
            }
        });
    }
}

/// Chores that an earlier server left behind are taken away: none of this server's is running when this is called.
pub(super) async fn remove_left(inner: &Arc<Inner>) -> Result<(), WorkspaceError> {
    let known = inner.engine.reach().await?;
    for seen in inner.list(&known, &[(labels::ROLE, Role::Chore.as_str())]).await? {
        remove_container(&known, &seen.id).await?;
    }
    Ok(())
}
