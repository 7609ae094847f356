//! Files: what is asked of the runtime, and what is believed of its answers.

use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{Method, Request, header};
use reeve_gate::workspace::{ByteStream, EventStream, OpenFile};
use reeve_types::workspace::files::{
    ArchiveFormat, ByteRange, Extracted, FileChanged, FileEntry, FileEvent, FileHead, FileOperation, SaveFile, Saved,
    SearchEvent, SearchQuery, Upload,
};
use reeve_types::{ProblemCode, UploadId, VersionId, WorkspaceError, WorkspacePath};

use super::address::{in_header, with_path};
use super::connection::{Body, body_of, empty, within};
use super::{RuntimeClient, TRANSFER_WITHIN, bounded};

/// The header with the description of a save.
const SAVE_HEADER: &str = "x-reeve-save";
/// The header with the description of a file that is read.
const HEAD_HEADER: &str = "x-reeve-head";
/// How far an upload is.
const OFFSET_HEADER: &str = "upload-offset";

impl RuntimeClient {
    pub(super) async fn file_entry(&self, path: &WorkspacePath) -> Result<FileEntry, WorkspaceError> {
        self.connections.get(&with_path("/v1/stat", path)?).await
    }

    pub(super) async fn open_file(
        &self,
        path: &WorkspacePath,
        part: Option<ByteRange>,
    ) -> Result<OpenFile, WorkspaceError> {
        let mut request = self.connections.request(Method::GET, &with_path("/v1/content", path)?, empty())?;
        if let Some(range) = part {
            put(&mut request, header::RANGE.as_str(), &range_words(range)?)?;
        }
        self.opened(request).await
    }

    pub(super) async fn open_version(
        &self,
        path: &WorkspacePath,
        version: &VersionId,
    ) -> Result<OpenFile, WorkspaceError> {
        let address = format!("{}&version={version}", with_path("/v1/history/content", path)?);
        let request = self.connections.request(Method::GET, &address, empty())?;
        self.opened(request).await
    }

    async fn opened(&self, request: Request<Body>) -> Result<OpenFile, WorkspaceError> {
        let reply = self.connections.send(request).await?;
        let head = file_head(&reply.head)?;
        let size =
            head.end.checked_sub(head.start).ok_or_else(|| bounded::nonsense("tells a file of negative size"))?;
        Ok(OpenFile { head, content: bounded::exactly(reply.body, size) })
    }

    pub(super) async fn search_files(&self, query: &SearchQuery) -> Result<EventStream<SearchEvent>, WorkspaceError> {
        let request = self.connections.request(Method::POST, "/v1/search", body_of(query)?)?;
        Ok(bounded::events(self.connections.send(request).await?))
    }

    pub(super) async fn packed(
        &self,
        path: &WorkspacePath,
        format: ArchiveFormat,
    ) -> Result<ByteStream, WorkspaceError> {
        let address = format!("{}&format={}", with_path("/v1/archive", path)?, format_word(format));
        let request = self.connections.request(Method::GET, &address, empty())?;
        Ok(Box::pin(self.connections.send(request).await?.body))
    }

    pub(super) async fn file_events(&self) -> Result<EventStream<FileEvent>, WorkspaceError> {
        let request = self.connections.request(Method::GET, "/v1/watch", empty())?;
        Ok(bounded::events(self.connections.send(request).await?))
    }

    pub(super) async fn save_file(&self, what: &SaveFile, content: ByteStream) -> Result<Saved, WorkspaceError> {
        let address = with_path("/v1/content", &what.path)?;
        let mut request = self.connections.request(Method::PUT, &address, streamed(content))?;
        put(&mut request, SAVE_HEADER, &in_header(what)?)?;
        put(&mut request, header::CONTENT_LENGTH.as_str(), &what.size.to_string())?;
        self.transfer(request).await
    }

    pub(super) async fn change_names(&self, what: &FileOperation) -> Result<FileChanged, WorkspaceError> {
        let request = self.connections.request(Method::POST, "/v1/operations", body_of(what)?)?;
        self.transfer(request).await
    }

    pub(super) async fn add_to_upload(
        &self,
        upload: &UploadId,
        offset: u64,
        content: ByteStream,
    ) -> Result<Upload, WorkspaceError> {
        let address = format!("/v1/uploads/{upload}");
        let mut request = self.connections.request(Method::PATCH, &address, streamed(content))?;
        put(&mut request, OFFSET_HEADER, &offset.to_string())?;
        self.transfer(request).await
    }

    pub(super) async fn complete_upload(&self, upload: &UploadId) -> Result<Saved, WorkspaceError> {
        let address = format!("/v1/uploads/{upload}/finish");
        let request = self.connections.request(Method::POST, &address, empty())?;
        self.transfer(request).await
    }

    pub(super) async fn unpack(
        &self,
        into: &SaveFile,
        format: ArchiveFormat,
        archive: ByteStream,
    ) -> Result<Extracted, WorkspaceError> {
        let address = format!("{}&format={}", with_path("/v1/extract", &into.path)?, format_word(format));
        let mut request = self.connections.request(Method::POST, &address, streamed(archive))?;
        put(&mut request, SAVE_HEADER, &in_header(into)?)?;
        put(&mut request, header::CONTENT_LENGTH.as_str(), &into.size.to_string())?;
        self.transfer(request).await
    }

    /// Sends what may be large and slow, and reads the answer.
    async fn transfer<T: serde::de::DeserializeOwned>(&self, request: Request<Body>) -> Result<T, WorkspaceError> {
        let work = async { bounded::json(self.connections.send_slowly(request, TRANSFER_WITHIN).await?).await };
        within(TRANSFER_WITHIN, work).await
    }
}

fn streamed(content: ByteStream) -> Body {
    StreamBody::new(content.map(|piece| piece.map(hyper::body::Frame::data))).boxed_unsync()
}

fn put(request: &mut Request<Body>, name: &'static str, value: &str) -> Result<(), WorkspaceError> {
    let value = header::HeaderValue::from_str(value).map_err(|_| {
        WorkspaceError::new(ProblemCode::BadRequest, format!("the value of `{name}` cannot stand in a header"))
    })?;
    request.headers_mut().insert(name, value);
    Ok(())
}

fn range_words(range: ByteRange) -> Result<String, WorkspaceError> {
    match range.end {
        None => Ok(format!("bytes={}-", range.start)),
        Some(end) if end > range.start => Ok(format!("bytes={}-{}", range.start, end - 1)),
        Some(end) => {
            let said = format!("the part from {} to {end} holds no byte", range.start);
            Err(WorkspaceError::new(ProblemCode::RangeNotSatisfiable, said))
        }
    }
}

fn file_head(head: &hyper::http::response::Parts) -> Result<FileHead, WorkspaceError> {
    let value = head.headers.get(HEAD_HEADER).ok_or_else(|| bounded::nonsense("lacks the description of the file"))?;
    let text = unescaped(value.as_bytes());
    serde_json::from_slice(&text)
        .map_err(|error| bounded::nonsense(&format!("describes the file in an unknown shape: {error}")))
}

/// JSON from a header: as it is, or with `%XX` when it does not begin as JSON does.
fn unescaped(bytes: &[u8]) -> Vec<u8> {
    if bytes.starts_with(b"{") {
        return bytes.to_vec();
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let code =
            after.get(..2).and_then(|two| std::str::from_utf8(two).ok()).and_then(|t| u8::from_str_radix(t, 16).ok());
        match (byte, code) {
            (b'%', Some(code)) => {
                out.push(code);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

fn format_word(format: ArchiveFormat) -> &'static str {
    match format {
        ArchiveFormat::Zip => "zip",
        ArchiveFormat::TarGz => "tar_gz",
    }
}
