//! Files: looking at them with a leave, changing them by acts.

use futures_util::StreamExt as _;
use reeve_gate::workspace::{Browse, ByteStream, Duplex, EventStream, OpenFile, WorkspaceLink};
use reeve_types::workspace::files::{
    ArchiveFormat, ByteRange, Extracted, FILE_BYTES_MAX, FileChanged, FileEntry, FileEvent, FileOperation, FileVersion,
    SaveFile, Saved, SearchEvent, SearchQuery, TrashEntry, TreePage, TreeQuery, Upload, VERSION_BYTES_MAX,
};
use reeve_types::workspace::processes::{Language, ListeningPort, Terminal};
use reeve_types::{Digest, Principal, ProblemCode, UploadId, VersionId, WorkspaceError, WorkspaceId, WorkspacePath};
use serde_json::{Value, json};
use std::sync::Arc;

use super::staging::Content;
use super::{Asker, NotDone, SaveWanted, Use, Workspaces};

impl Workspaces {
    /// A running workspace with leave to look into it.
    pub(super) async fn look(
        &self,
        asker: &Asker,
        id: &WorkspaceId,
    ) -> Result<(Arc<dyn WorkspaceLink>, Arc<Browse>), NotDone> {
        let row = self.core.visible(&asker.principal, id).await?;
        let leave = self.core.leave(asker, id).await?;
        Ok((self.core.link(&row).await?, leave))
    }

    /// The way into a running workspace of the caller's, for what was admitted before.
    pub(super) async fn own_link(&self, who: &Principal, id: &WorkspaceId) -> Result<Arc<dyn WorkspaceLink>, NotDone> {
        let row = self.core.visible(who, id).await?;
        Ok(self.core.link(&row).await?)
    }

    /// Part of the tree.
    pub async fn tree(&self, asker: &Asker, id: &WorkspaceId, query: &TreeQuery) -> Result<TreePage, NotDone> {
        let (link, leave) = self.look(asker, id).await?;
        self.touch(id, Use::File);
        Ok(link.tree(&leave, query).await?)
    }

    /// What a path names.
    pub async fn stat(&self, asker: &Asker, id: &WorkspaceId, path: &WorkspacePath) -> Result<FileEntry, NotDone> {
        let (link, leave) = self.look(asker, id).await?;
        self.touch(id, Use::File);
        Ok(link.stat(&leave, path).await?)
    }

    /// A file's bytes.
    pub async fn read(
        &self,
        asker: &Asker,
        id: &WorkspaceId,
        path: &WorkspacePath,
        part: Option<ByteRange>,
    ) -> Result<OpenFile, NotDone> {
        let (link, leave) = self.look(asker, id).await?;
        self.touch(id, Use::File);
        Ok(link.read(&leave, path, part).await?)
    }

    /// What is in the trash of its files.
    pub async fn trash(&self, asker: &Asker, id: &WorkspaceId) -> Result<Vec<TrashEntry>, NotDone> {
        let (link, leave) = self.look(asker, id).await?;
        Ok(link.trash(&leave).await?)
    }

    /// What a file was before it was saved over, the latest first.
    pub async fn history(
        &self,
        asker: &Asker,
        id: &WorkspaceId,
        path: &WorkspacePath,
    ) -> Result<Vec<FileVersion>, NotDone> {
        let (link, leave) = self.look(asker, id).await?;
        self.touch(id, Use::File);
        Ok(link.history(&leave, path).await?)
    }

    /// The bytes of such a version.
    pub async fn version(
        &self,
        asker: &Asker,
        id: &WorkspaceId,
        path: &WorkspacePath,
        version: &VersionId,
    ) -> Result<OpenFile, NotDone> {
        let (link, leave) = self.look(asker, id).await?;
        self.touch(id, Use::File);
        Ok(link.read_version(&leave, path, version).await?)
    }

    /// Saves a version over the file as it is now: a save as any other.
    pub async fn restore_version(
        &self,
        asker: &Asker,
        id: &WorkspaceId,
        version: &VersionId,
        wanted: SaveWanted,
    ) -> Result<Saved, NotDone> {
        let mut open = self.version(asker, id, &wanted.path, version).await?;
        if open.head.size > VERSION_BYTES_MAX {
            return Err(NotDone::new(ProblemCode::TooLarge, "the version is larger than any that is kept"));
        }
        let mut content = Vec::new();
        while let Some(piece) = open.content.next().await {
            let piece = piece.map_err(|error| {
                NotDone::new(ProblemCode::Unavailable, format!("the version cannot be read to its end: {error}"))
            })?;
            content.extend_from_slice(&piece);
        }
        self.save(asker, id, wanted, Content::Bytes(content.into())).await
    }

    /// Searches names or contents. Dropping the stream ends the search.
    pub async fn search(
        &self,
        asker: &Asker,
        id: &WorkspaceId,
        query: SearchQuery,
    ) -> Result<EventStream<SearchEvent>, NotDone> {
        let (link, leave) = self.look(asker, id).await?;
        self.touch(id, Use::File);
        Ok(link.search(&leave, query).await?)
    }

    /// A file or directory, packed.
    pub async fn archive(
        &self,
        asker: &Asker,
        id: &WorkspaceId,
        path: &WorkspacePath,
        format: ArchiveFormat,
    ) -> Result<ByteStream, NotDone> {
        let (link, leave) = self.look(asker, id).await?;
        self.touch(id, Use::File);
        Ok(link.archive(&leave, path, format).await?)
    }

    /// What happens to its files from now on. It ends when other policies come into force: ask again then.
    pub async fn watch(&self, asker: &Asker, id: &WorkspaceId) -> Result<EventStream<FileEvent>, NotDone> {
        let (link, leave) = self.look(asker, id).await?;
        let gate = self.core.gate()?;
        let policy = gate.policy().digest();
        let events = link.watch(&leave).await?;
        Ok(events.take_while(move |_| std::future::ready(gate.policy().digest() == policy)).boxed())
    }

    /// Which languages can be run in it.
    pub async fn languages(&self, asker: &Asker, id: &WorkspaceId) -> Result<Vec<Language>, NotDone> {
        let (link, leave) = self.look(asker, id).await?;
        Ok(link.languages(&leave).await?)
    }

    /// Which ports its programs listen on.
    pub async fn ports(&self, asker: &Asker, id: &WorkspaceId) -> Result<Vec<ListeningPort>, NotDone> {
        let (link, leave) = self.look(asker, id).await?;
        Ok(link.ports(&leave).await?)
    }

    /// A connection to a port inside it.
    pub async fn dial(&self, asker: &Asker, id: &WorkspaceId, port: u16) -> Result<Box<dyn Duplex>, NotDone> {
        let (link, leave) = self.look(asker, id).await?;
        self.touch(id, Use::Preview);
        Ok(link.dial(&leave, port).await?)
    }

    /// The terminals there are.
    pub async fn terminals(&self, asker: &Asker, id: &WorkspaceId) -> Result<Vec<Terminal>, NotDone> {
        let (link, leave) = self.look(asker, id).await?;
        Ok(link.terminals(&leave).await?)
    }

    /// Writes a file, atomically and byte for byte.
    pub async fn save(
        &self,
        asker: &Asker,
        id: &WorkspaceId,
        wanted: SaveWanted,
        content: Content,
    ) -> Result<Saved, NotDone> {
        self.core.visible(&asker.principal, id).await?;
        let expected = wanted.sha256;
        let arguments = save_arguments(id, &wanted);
        self.with_content(asker, "workspace_save_file", arguments, content, expected).await
    }

    /// Creates, renames, moves, copies, trashes, restores, deletes.
    pub async fn operate(
        &self,
        asker: &Asker,
        id: &WorkspaceId,
        operation: &FileOperation,
    ) -> Result<FileChanged, NotDone> {
        self.core.visible(&asker.principal, id).await?;
        let mut arguments = json!(operation);
        arguments["workspace_id"] = json!(id);
        self.ask(asker, "workspace_change_files", arguments).await
    }

    /// Begins an upload in pieces, which is admitted as a whole.
    pub async fn begin_upload(&self, asker: &Asker, id: &WorkspaceId, file: &SaveFile) -> Result<Upload, NotDone> {
        self.core.visible(&asker.principal, id).await?;
        let mut arguments = json!(file);
        arguments["workspace_id"] = json!(id);
        self.ask(asker, "workspace_upload", arguments).await
    }

    /// Adds to an upload at its offset.
    pub async fn continue_upload(
        &self,
        who: &Principal,
        id: &WorkspaceId,
        upload: &UploadId,
        offset: u64,
        content: ByteStream,
    ) -> Result<Upload, NotDone> {
        let link = self.own_link(who, id).await?;
        self.touch(id, Use::File);
        Ok(link.continue_upload(upload, offset, content).await?)
    }

    /// How far an upload is.
    pub async fn upload(&self, who: &Principal, id: &WorkspaceId, upload: &UploadId) -> Result<Upload, NotDone> {
        Ok(self.own_link(who, id).await?.upload(upload).await?)
    }

    /// Puts a complete upload in its place.
    pub async fn finish_upload(&self, who: &Principal, id: &WorkspaceId, upload: &UploadId) -> Result<Saved, NotDone> {
        let link = self.own_link(who, id).await?;
        self.touch(id, Use::File);
        Ok(link.finish_upload(upload).await?)
    }

    /// Gives an upload up.
    pub async fn abandon_upload(&self, who: &Principal, id: &WorkspaceId, upload: &UploadId) -> Result<(), NotDone> {
        Ok(self.own_link(who, id).await?.abandon_upload(upload).await?)
    }

    /// Unpacks an archive into a directory.
    pub async fn extract(
        &self,
        asker: &Asker,
        id: &WorkspaceId,
        path: &WorkspacePath,
        format: ArchiveFormat,
        archive: Content,
    ) -> Result<Extracted, NotDone> {
        self.core.visible(&asker.principal, id).await?;
        let arguments = json!({ "workspace_id": id, "path": path, "format": format });
        self.with_content(asker, "workspace_extract", arguments, archive, None).await
    }

    /// Asks for an act whose content waits aside until it has run, or on disk while people are asked.
    /// How much an act may bring along: a file, or a workspace's whole disk.
    fn content_bytes_max(&self, tool: &str) -> u64 {
        if tool == "workspace_import" { self.import_bytes_max() } else { FILE_BYTES_MAX }
    }

    pub(super) async fn with_content<T: serde::de::DeserializeOwned + Send + 'static>(
        &self,
        asker: &Asker,
        tool: &str,
        mut arguments: Value,
        content: Content,
        expected: Option<Digest>,
    ) -> Result<T, NotDone> {
        let staged = self.core.staging.put(&asker.principal, content, self.content_bytes_max(tool)).await?;
        if expected.is_some_and(|expected| expected != staged.sha256) {
            self.core.staging.release(&staged);
            let message = "the content is not the one that its SHA-256 was given for";
            return Err(NotDone::new(ProblemCode::BadRequest, message));
        }
        arguments["sha256"] = json!(staged.sha256);
        arguments["size"] = json!(staged.size);
        let (this, asker, tool) = (self.clone(), asker.clone(), tool.to_owned());
        // On a task of its own, so that a caller that goes away leaves nothing held.
        let asked = tokio::spawn(async move {
            let answer = this.ask(&asker, &tool, arguments).await;
            match &answer {
                Err(NotDone::Awaiting { .. } | NotDone::InProgress(_)) => this.core.staging.keep(&staged).await?,
                _ => this.core.staging.release(&staged),
            }
            answer
        });
        match asked.await {
            Ok(answer) => answer,
            Err(_) => Err(NotDone::new(ProblemCode::Internal, "the act was interrupted inside the server")),
        }
    }
}

fn save_arguments(id: &WorkspaceId, wanted: &SaveWanted) -> Value {
    let mut arguments = json!({
        "workspace_id": id,
        "path": wanted.path,
        "if_none_match": wanted.if_none_match,
        "create_parents": wanted.create_parents,
    });
    if let Some(etag) = &wanted.if_match {
        arguments["if_match"] = json!(etag);
    }
    if let Some(origin) = &wanted.origin {
        arguments["origin"] = json!(origin);
    }
    arguments
}

pub(super) fn bad(message: impl Into<String>) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::InvalidArguments, message)
}
