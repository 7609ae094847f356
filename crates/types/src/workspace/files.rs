//! Files of a workspace: what is asked of them and what is answered.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::WorkspacePath;
use crate::{Digest, TrashId, UploadId, VersionId};

/// Largest file that is read or saved in one piece as text, in bytes; larger ones are uploaded and downloaded.
pub const EDITOR_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Largest file, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 30;
/// Files up to this size carry the SHA-256 of their content as entity tag; larger ones one made of inode, size and time.
pub const CONTENT_ETAG_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The directory of a workspace that holds its trash; shown nowhere else.
pub const TRASH_DIR: &str = ".reeve-trash";
/// How long trash is kept, in days.
pub const TRASH_DAYS: u32 = 30;

/// The most versions that are kept of one file.
pub const VERSIONS_MAX: usize = 50;
/// The largest file whose versions are kept, in bytes.
pub const VERSION_BYTES_MAX: u64 = 5 << 20;
/// The most bytes that all versions of a workspace may take together; the oldest go first.
pub const HISTORY_BYTES_MAX: u64 = 64 << 20;
/// How long versions are kept, in days.
pub const HISTORY_DAYS: u32 = 30;

/// What kind of thing a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; it is not followed when it is listed.
    Symlink,
    /// A socket, a pipe, a device: listed, and not opened.
    Other,
}

/// One name in a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FileEntry {
    /// The last name, for people: bytes that are no UTF-8 are shown as `\xNN`.
    pub name: String,
    /// Its path; `{"b64": …}` when it is no UTF-8.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub path: WorkspacePath,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: FileType,
    /// Bytes of content; 0 for directories.
    pub size: u64,
    /// When it was last changed.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub modified_at: Timestamp,
    /// The permission bits, `0o7777` mask.
    pub mode: u32,
    /// Where a symbolic link points, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whether ignore rules (`.gitignore`, `.ignore`, the built-in list) name it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignored: bool,
    /// Whether a directory holds anything that would be listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_children: Option<bool>,
}

/// Which part of the tree is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TreeQuery {
    /// The directory.
    pub path: WorkspacePath,
    /// How many levels below it, from 1 to 10.
    pub depth: u32,
    /// Whether ignored entries are listed (marked) or left out.
    pub ignored: bool,
    /// How many entries at most, up to 5,000.
    pub limit: u32,
    /// Where the last page ended.
    pub cursor: Option<String>,
}

impl Default for TreeQuery {
    fn default() -> Self {
        Self { path: WorkspacePath::root(), depth: 1, ignored: true, limit: 2000, cursor: None }
    }
}

/// Part of the tree: depth first, directories before files, then by name without regard to case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TreePage {
    /// The entries.
    pub entries: Vec<FileEntry>,
    /// Where the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A part of a file: bytes from `start` up to, not including, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte.
    pub start: u64,
    /// One past the last byte; the end of the file when absent.
    pub end: Option<u64>,
}

/// A file about to be read; its bytes follow as a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHead {
    /// What it is.
    pub entry: FileEntry,
    /// Its entity tag, without quotes.
    pub etag: String,
    /// Whether it holds a NUL or is no UTF-8 in its first 64 KiB: an editor must not take it for text.
    pub binary: bool,
    /// Size of the whole file.
    pub size: u64,
    /// The first byte that follows.
    pub start: u64,
    /// One past the last byte that follows.
    pub end: u64,
}

/// A save: the whole new content of one file, atomically.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaveFile {
    /// Which file. A symbolic link inside the workspace is followed; one that leads out is refused.
    pub path: WorkspacePath,
    /// SHA-256 of the content; what arrives must match it, so what was admitted is what is written.
    pub sha256: Digest,
    /// Bytes of the content.
    pub size: u64,
    /// Save only if the file has this entity tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_match: Option<String>,
    /// Save only if there is no such file.
    #[serde(default)]
    pub if_none_match: bool,
    /// Make the directories above it.
    #[serde(default)]
    pub create_parents: bool,
    /// Who saves, so that a client knows its own echo among file events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// What a save did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Saved {
    /// Which file.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub path: WorkspacePath,
    /// Its new entity tag, without quotes.
    pub etag: String,
    /// Bytes written.
    pub size: u64,
    /// When.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub modified_at: Timestamp,
    /// Whether it was not there before.
    pub created: bool,
}

/// An upload in pieces: begun, filled from its offset, finished or given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Upload {
    /// Its id.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub id: UploadId,
    /// Where the file will be.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub path: WorkspacePath,
    /// How many bytes it will have.
    pub size: u64,
    /// How many have arrived and are on disk.
    pub offset: u64,
}

/// A change of names: what happens to files without their content being sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum FileOperation {
    /// Makes a directory, with those above it.
    CreateDirectory {
        /// Which.
        #[cfg_attr(feature = "schema", schema(value_type = Object))]
        path: WorkspacePath,
    },
    /// Makes an empty file, with the directories above it; refuses when it is there already.
    CreateFile {
        /// Which.
        #[cfg_attr(feature = "schema", schema(value_type = Object))]
        path: WorkspacePath,
    },
    /// Gives it another name in the same directory; never replaces anything.
    Rename {
        /// Which.
        #[cfg_attr(feature = "schema", schema(value_type = Object))]
        path: WorkspacePath,
        /// One name.
        new_name: String,
    },
    /// Moves it to another path; never replaces anything.
    Move {
        /// Which.
        #[cfg_attr(feature = "schema", schema(value_type = Object))]
        from: WorkspacePath,
        /// Its new path, name included.
        #[cfg_attr(feature = "schema", schema(value_type = Object))]
        to: WorkspacePath,
    },
    /// Copies a file or a whole directory; never replaces anything.
    Copy {
        /// Which.
        #[cfg_attr(feature = "schema", schema(value_type = Object))]
        from: WorkspacePath,
        /// The path of the copy, name included.
        #[cfg_attr(feature = "schema", schema(value_type = Object))]
        to: WorkspacePath,
    },
    /// Moves it into the trash.
    Trash {
        /// Which.
        #[cfg_attr(feature = "schema", schema(value_type = Object))]
        path: WorkspacePath,
    },
    /// Brings it back from the trash to where it was, or to another path.
    Restore {
        /// Which.
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        id: TrashId,
        /// Where to, if not where it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "schema", schema(value_type = Option<Object>))]
        to: Option<WorkspacePath>,
    },
    /// Removes it from the trash for good; everything in the trash when no id is given.
    Purge {
        /// Which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
        id: Option<TrashId>,
    },
    /// Removes it for good, a directory with all it holds, without the trash.
    Delete {
        /// Which.
        #[cfg_attr(feature = "schema", schema(value_type = Object))]
        path: WorkspacePath,
    },
    /// Removes the versions that are kept of a file, or of all files in a directory; of every file when no path is given.
    ForgetHistory {
        /// Which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "schema", schema(value_type = Option<Object>))]
        path: Option<WorkspacePath>,
    },
}

impl FileOperation {
    /// The word of the wire.
    pub fn word(&self) -> &'static str {
        match self {
            Self::CreateDirectory { .. } => "create_directory",
            Self::CreateFile { .. } => "create_file",
            Self::Rename { .. } => "rename",
            Self::Move { .. } => "move",
            Self::Copy { .. } => "copy",
            Self::Trash { .. } => "trash",
            Self::Restore { .. } => "restore",
            Self::Purge { .. } => "purge",
            Self::Delete { .. } => "delete",
            Self::ForgetHistory { .. } => "forget_history",
        }
    }

    /// Whether what it removes is gone for good.
    pub fn is_destructive(&self) -> bool {
        matches!(self, Self::Purge { .. } | Self::Delete { .. } | Self::ForgetHistory { .. })
    }
}

/// What a change of names did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FileChanged {
    /// What is there now: the new directory, the moved file. Absent after trashing, purging and deleting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<FileEntry>,
    /// The thing in the trash, after trashing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub trash_id: Option<TrashId>,
    /// How many files and directories were touched.
    pub count: u64,
}

/// One thing in the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TrashEntry {
    /// Its id.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub id: TrashId,
    /// Where it was.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub path: WorkspacePath,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: FileType,
    /// Bytes of content, all files in it together.
    pub size: u64,
    /// When it was put there.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub deleted_at: Timestamp,
}

/// What a file was before it was saved over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FileVersion {
    /// Its id.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub id: VersionId,
    /// Bytes of content.
    pub size: u64,
    /// Its entity tag, without quotes: the SHA-256 of the content.
    pub etag: String,
    /// When this content was written.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub modified_at: Timestamp,
    /// When it was saved over.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub replaced_at: Timestamp,
}

/// What is searched for, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SearchQuery {
    /// The text, or the regular expression. For names: a fuzzy query, or a glob when it holds `*` or `?`.
    pub text: String,
    /// Whether names or contents are searched.
    #[serde(default)]
    pub kind: SearchKind,
    /// Take `text` as a regular expression.
    #[serde(default)]
    pub regex: bool,
    /// Tell upper from lower case.
    #[serde(default)]
    pub case_sensitive: bool,
    /// Match whole words only.
    #[serde(default)]
    pub whole_word: bool,
    /// Only files that one of these globs names.
    #[serde(default)]
    pub include: Vec<String>,
    /// No file that one of these globs names.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Search ignored files too.
    #[serde(default)]
    pub ignored: bool,
    /// How many matches at most, up to 10,000.
    #[serde(default = "default_search_limit")]
    pub limit: u32,
}

fn default_search_limit() -> u32 {
    1000
}

/// What is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum SearchKind {
    /// The text inside files.
    #[default]
    Contents,
    /// The names of files.
    Names,
}

/// What a search finds, one after another; `done` comes last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum SearchEvent {
    /// A line that matches.
    Match {
        /// In which file.
        #[cfg_attr(feature = "schema", schema(value_type = Object))]
        path: WorkspacePath,
        /// The line, from 1.
        line: u64,
        /// The line's text, at most 500 characters around the first match.
        text: String,
        /// Where the matches are in `text`: pairs of UTF-16 offsets, start and end, as editors count.
        spans: Vec<(u32, u32)>,
        /// Where the first match begins in the line, from 1, in UTF-16 units.
        column: u32,
    },
    /// A name that matches.
    File {
        /// What it is.
        entry: FileEntry,
    },
    /// The search has ended.
    Done {
        /// Files that were looked at.
        files: u64,
        /// Matches that were told.
        matches: u64,
        /// Whether the limit cut it off.
        truncated: bool,
    },
}

/// How files are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ArchiveFormat {
    /// ZIP.
    Zip,
    /// tar, compressed with gzip.
    TarGz,
}

/// What unpacking an archive did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Extracted {
    /// Files written.
    pub files: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// Something happened to a file; the page follows along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum FileEvent {
    /// The first event: watching has begun.
    Hello,
    /// A file or directory is new.
    Created {
        /// Which.
        #[cfg_attr(feature = "schema", schema(value_type = Object))]
        path: WorkspacePath,
        /// What it is.
        #[serde(rename = "type")]
        kind: FileType,
    },
    /// A file's content changed.
    Changed {
        /// Which.
        #[cfg_attr(feature = "schema", schema(value_type = Object))]
        path: WorkspacePath,
        /// Its new entity tag, when it was saved through Reeve.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        etag: Option<String>,
        /// The client that saved it, so that it knows its own echo.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<String>,
    },
    /// It is gone.
    Deleted {
        /// Which.
        #[cfg_attr(feature = "schema", schema(value_type = Object))]
        path: WorkspacePath,
    },
    /// It has another path.
    Renamed {
        /// Where it was.
        #[cfg_attr(feature = "schema", schema(value_type = Object))]
        from: WorkspacePath,
        /// Where it is.
        #[cfg_attr(feature = "schema", schema(value_type = Object))]
        to: WorkspacePath,
    },
    /// Too much happened to tell it all: look at everything again.
    Resync,
}

/// Standard base64 with padding (RFC 4648 §4).
pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}
