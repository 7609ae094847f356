//! The path of a file in a workspace: where it is named, never where it leads.
//!
//! A path is checked here for its shape only. Whether it stays inside the workspace is decided by the kernel, when it is
//! resolved beneath a directory handle; nothing compares paths as strings to find that out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ProblemCode;

/// Where the files of a workspace are seen inside it.
pub const WORKSPACE_ROOT: &str = "/workspace";
/// Longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 4096;
/// Longest name in a path, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Why a text is no path in a workspace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// It leads elsewhere.
    #[error("`{0}` leads out of the workspace; name a path below /workspace, without `..`")]
    Escape(String),
    /// It holds a NUL, or is too long.
    #[error("the path {0}")]
    Malformed(&'static str),
    /// It names the root, where a file or directory below it is needed.
    #[error("this needs a path below /workspace, not the root itself")]
    Root,
    /// A name holds a separator, or is `.`, `..` or empty.
    #[error("`{0}` cannot be a name: it must not be empty, `.` or `..`, nor hold `/` or NUL, nor exceed 255 bytes")]
    Name(String),
}

impl PathProblem {
    /// The code that clients compare.
    pub fn code(&self) -> ProblemCode {
        match self {
            Self::Escape(_) => ProblemCode::PathEscape,
            Self::Malformed(_) | Self::Root => ProblemCode::BadRequest,
            Self::Name(_) => ProblemCode::BadName,
        }
    }
}

/// A path below `/workspace`, relative, without `.`, `..` or empty names. The empty path is the root.
///
/// Names are bytes. On the wire a path is a string; one that is no UTF-8 is `{"b64": "…"}` (RFC 4648, padded).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct WorkspacePath(Vec<u8>);

impl WorkspacePath {
    /// The root itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Reads a path: relative to the workspace, or absolute below `/workspace`. The empty text, `.` and `/` are the root.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PathProblem> {
        if bytes.contains(&0) {
            return Err(PathProblem::Malformed("holds a NUL"));
        }
        if bytes.len() > PATH_BYTES_MAX {
            return Err(PathProblem::Malformed("is longer than 4096 bytes"));
        }
        let below = match bytes.strip_prefix(b"/") {
            None => bytes,
            Some(rest) => below_root(rest).ok_or_else(|| escape(bytes))?,
        };
        let mut names: Vec<&[u8]> = Vec::new();
        for name in below.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => return Err(escape(bytes)),
                long if long.len() > NAME_BYTES_MAX => {
                    return Err(PathProblem::Malformed("holds a name longer than 255 bytes"));
                }
                name => names.push(name),
            }
        }
        Ok(Self(names.join(&b'/')))
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The same path, unless it is the root.
    pub fn below_root(self) -> Result<Self, PathProblem> {
        if self.is_root() { Err(PathProblem::Root) } else { Ok(self) }
    }

    /// The bytes, without a leading `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The names, from the root down.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
    }

    /// The last name; nothing for the root.
    pub fn name(&self) -> Option<&[u8]> {
        self.names().last()
    }

    /// The directory that holds it; the root for a name in the root.
    pub fn parent(&self) -> Self {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(at) => Self(self.0.get(..at).unwrap_or_default().to_vec()),
            None => Self::root(),
        }
    }

    /// A name inside it. The name must be one name.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathProblem> {
        let fine = !matches!(name, b"" | b"." | b"..")
            && name.len() <= NAME_BYTES_MAX
            && !name.iter().any(|byte| matches!(byte, b'/' | 0));
        if !fine {
            return Err(PathProblem::Name(shown(name)));
        }
        let mut joined = self.0.clone();
        if !joined.is_empty() {
            joined.push(b'/');
        }
        joined.extend_from_slice(name);
        if joined.len() > PATH_BYTES_MAX {
            return Err(PathProblem::Malformed("is longer than 4096 bytes"));
        }
        Ok(Self(joined))
    }

    /// Whether it is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        other.is_root()
            || self.0.strip_prefix(other.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }

    /// The path as text, when it is UTF-8.
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

fn below_root(rest: &[u8]) -> Option<&[u8]> {
    if rest.iter().all(|byte| *byte == b'/') {
        return Some(b"");
    }
    let below = rest.strip_prefix(WORKSPACE_ROOT.as_bytes().get(1..).unwrap_or_default())?;
    (below.is_empty() || below.starts_with(b"/")).then_some(below)
}

fn escape(bytes: &[u8]) -> PathProblem {
    PathProblem::Escape(shown(bytes))
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(120).collect()
}

/// For people: `/workspace/a/b`, bytes that are no UTF-8 replaced.
impl fmt::Display for WorkspacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WORKSPACE_ROOT)?;
        if self.is_root() { Ok(()) } else { write!(f, "/{}", String::from_utf8_lossy(&self.0)) }
    }
}

impl FromStr for WorkspacePath {
    type Err = PathProblem;
    fn from_str(text: &str) -> Result<Self, PathProblem> {
        Self::from_bytes(text.as_bytes())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Wire {
    Text(String),
    Bytes { b64: String },
}

impl Serialize for WorkspacePath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => Wire::Bytes { b64: crate::workspace::files::base64(&self.0) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for WorkspacePath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = match Wire::deserialize(deserializer)? {
            Wire::Text(text) => Self::from_bytes(text.as_bytes()),
            Wire::Bytes { b64 } => {
                let bytes = crate::workspace::files::from_base64(&b64)
                    .ok_or_else(|| serde::de::Error::custom("`b64` is not base64"))?;
                Self::from_bytes(&bytes)
            }
        };
        path.map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, ProblemCode> {
        text.parse::<WorkspacePath>().map(|path| path.to_string()).map_err(|problem| problem.code())
    }

    #[test]
    fn the_table_of_paths() {
        let within = [
            ("a/b.py", "/workspace/a/b.py"),
            ("/workspace/a/b.py", "/workspace/a/b.py"),
            ("./a//b.py/", "/workspace/a/b.py"),
            ("a..b.txt", "/workspace/a..b.txt"),
            ("..hidden", "/workspace/..hidden"),
            ("file~", "/workspace/file~"),
            ("src/dev/x", "/workspace/src/dev/x"),
            ("my/etc/z", "/workspace/my/etc/z"),
            ("x;id", "/workspace/x;id"),
            ("$(id)\n'\" -rf", "/workspace/$(id)\n'\" -rf"),
            ("-rf", "/workspace/-rf"),
            (" ", "/workspace/ "),
            ("", "/workspace"),
            (".", "/workspace"),
            ("/", "/workspace"),
            ("/workspace/", "/workspace"),
        ];
        for (text, expected) in within {
            assert_eq!(read(text), Ok(expected.to_owned()), "{text:?}");
        }
        let outside = ["../x", "foo/../bar", "/etc/passwd", "/workspace/../etc/passwd", "/workspace2/x", "a/.."];
        for text in outside {
            assert_eq!(read(text), Err(ProblemCode::PathEscape), "{text:?}");
        }
        let nul = "a\0b";
        let long_name = "n".repeat(256);
        let long_path = "a/".repeat(2049);
        for text in [nul, &long_name, &long_path] {
            assert_eq!(read(text), Err(ProblemCode::BadRequest), "{text:?}");
        }
    }

    #[test]
    fn one_name_is_one_name() {
        let root = WorkspacePath::root();
        for bad in ["", ".", "..", "a/b", "a\0"] {
            assert_eq!(root.join(bad.as_bytes()).map_err(|p| p.code()), Err(ProblemCode::BadName), "{bad:?}");
        }
        assert_eq!(root.join(b"..a").expect("a name").to_string(), "/workspace/..a");
    }

    #[test]
    fn bytes_that_are_no_text_survive_the_wire() {
        let path = WorkspacePath::from_bytes(b"dir/\xff\xfe.txt").expect("a path");
        let wire = serde_json::to_string(&path).expect("JSON");
        assert_eq!(wire, r#"{"b64":"ZGlyL//+LnR4dA=="}"#);
        assert_eq!(serde_json::from_str::<WorkspacePath>(&wire).expect("a path"), path);
    }

    #[test]
    fn lying_below_is_by_names_not_by_letters() {
        let dir: WorkspacePath = "src".parse().expect("a path");
        let inside: WorkspacePath = "src/main.rs".parse().expect("a path");
        let beside: WorkspacePath = "src2".parse().expect("a path");
        assert!(inside.is_within(&dir) && dir.is_within(&dir) && !beside.is_within(&dir));
    }
}
