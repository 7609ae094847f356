//! Looking into a workspace, and changing its files.

use futures_util::StreamExt as _;
use reeve_store::StoredWorkspace;
use reeve_types::workspace::files::{ArchiveFormat, FileOperation, SaveFile, TreeQuery};
use reeve_types::{Arguments, Digest, WorkspaceError, WorkspacePath};
use serde_json::{Value, json};

use super::{Call, Done, part, read, told};
use crate::workspaces::files::bad;
use crate::workspaces::staging::key_of;
use crate::workspaces::tools::Act;
use crate::workspaces::{Asker, Core, NotDone, Use};

impl Core {
    pub(super) async fn browse(&self, call: Call, row: &StoredWorkspace) -> Done {
        let path = call.call().arguments.get("path").map(|_| part::<WorkspacePath>(&call.call().arguments, "path"));
        let (id, principal) = (row.workspace.id.clone(), call.call().principal.clone());
        self.grant(call, &id)?;
        let Some(path) = path.transpose()? else {
            return told("you may look into it for a minute".to_owned(), &json!({ "workspace_id": id }));
        };
        let failed = |error: NotDone| WorkspaceError::new(error.code(), error.to_string());
        let asker = Asker { principal, ..self.itself(&row.workspace.tenant, "") };
        let leave = Box::pin(self.leave(&asker, &id)).await.map_err(failed)?;
        let page = self.link(row).await?.tree(&leave, &TreeQuery { path, limit: 500, ..TreeQuery::default() }).await?;
        told(format!("{} entries", page.entries.len()), &page)
    }

    pub(super) async fn change_files(&self, act: Act, call: Call, row: &StoredWorkspace) -> Done {
        let link = self.link(row).await?;
        let arguments = call.call().arguments.clone();
        self.touch(&row.workspace.id, Use::File);
        if act == Act::Files {
            let operation: FileOperation = read(&arguments, &["workspace_id"])?;
            let words = operation.word();
            let changed = link.operate(call.narrow(|_| Ok::<_, WorkspaceError>(operation))?).await?;
            return told(format!("{words}: {} files or directories", changed.count), &changed);
        }
        let inline = inline_content(&arguments)?;
        let mut said = arguments.clone();
        if let Some(bytes) = &inline {
            let (sha256, size) = (Digest::of(bytes), bytes.len());
            if said.get("sha256").is_some_and(|given| *given != json!(sha256)) {
                return Err(bad("`sha256` is not that of the content"));
            }
            said.insert("sha256".to_owned(), json!(sha256));
            said.insert("size".to_owned(), json!(size));
        }
        let file: SaveFile = read(&said, &["workspace_id", "format", "content", "content_b64"])?;
        let (whose, path) = (key_of(&call.call().principal, &file.sha256), file.path.clone());
        let permit = call.narrow(|_| Ok::<_, WorkspaceError>(file))?;
        if act == Act::Upload {
            return told(format!("began to upload {path}"), &link.begin_upload(permit).await?);
        }
        let content = match inline {
            Some(bytes) => futures_util::stream::iter([Ok(bytes::Bytes::from(bytes))]).boxed(),
            None => self.staging.open_bytes(&whose).await?,
        };
        if act == Act::Extract {
            let format: ArchiveFormat = part(&arguments, "format")?;
            let extracted = link.extract(permit, format, content).await?;
            told(format!("unpacked {} files into {path}", extracted.files), &extracted)
        } else {
            let saved = link.save(permit, content).await?;
            told(format!("saved {path}, {} bytes", saved.size), &saved)
        }
    }
}

fn inline_content(arguments: &Arguments) -> Result<Option<Vec<u8>>, WorkspaceError> {
    use base64::Engine as _;
    if let Some(text) = arguments.get("content").and_then(Value::as_str) {
        return Ok(Some(text.as_bytes().to_vec()));
    }
    let Some(text) = arguments.get("content_b64").and_then(Value::as_str) else { return Ok(None) };
    let decoded = base64::engine::general_purpose::STANDARD.decode(text);
    decoded.map(Some).map_err(|_| bad("`content_b64` is not base64"))
}
