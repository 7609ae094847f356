//! What each server's tools were when somebody first saw them: `mcp-pins.json` in the data directory.
//!
//! A description is read by models, so whoever can change it can speak to them. What is offered is what was pinned; what
//! differs from it later is kept beside it, is not offered, and waits for a person to accept it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use reeve_types::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The file in the data directory.
pub const PINS_FILE: &str = "mcp-pins.json";
/// Largest file, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Largest definition of one tool, in bytes of JSON.
pub(crate) const DEFINITION_BYTES_MAX: usize = 128 * 1024;

/// What a server says of one of its tools, as far as it matters for whoever reads or calls it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// Its description.
    #[serde(default)]
    pub description: String,
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// JSON Schema of its arguments.
    pub input_schema: Value,
    /// JSON Schema of its results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Whether it says that it only looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Whether it says that it destroys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destructive: Option<bool>,
}

impl Definition {
    pub(crate) fn of(tool: &rmcp::model::Tool) -> Self {
        let hints = tool.annotations.as_ref();
        Self {
            description: tool.description.as_deref().unwrap_or_default().to_owned(),
            title: tool.title.clone().or_else(|| hints.and_then(|hints| hints.title.clone())),
            input_schema: Value::Object(tool.input_schema.as_ref().clone()),
            output_schema: tool.output_schema.as_ref().map(|schema| Value::Object(schema.as_ref().clone())),
            read_only: hints.and_then(|hints| hints.read_only_hint),
            destructive: hints.and_then(|hints| hints.destructive_hint),
        }
    }

    /// Stands for the definition; none when it is no JSON that can be written canonically.
    pub fn digest(&self) -> Option<Digest> {
        Digest::of_value(&serde_json::to_value(self).ok()?).ok()
    }

    /// What another definition says differently, member by member.
    pub fn differences(&self, other: &Self) -> Value {
        let (Ok(Value::Object(mine)), Ok(Value::Object(theirs))) =
            (serde_json::to_value(self), serde_json::to_value(other))
        else {
            return Value::Null;
        };
        let keys: std::collections::BTreeSet<&String> = mine.keys().chain(theirs.keys()).collect();
        keys.into_iter()
            .filter(|key| mine.get(*key) != theirs.get(*key))
            .map(|key| (key.clone(), json!({"pinned": mine.get(key), "found": theirs.get(key)})))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// What is kept of one tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    /// What it was when it was pinned.
    pub definition: Definition,
    /// When that was.
    pub pinned_at: Timestamp,
    /// What it was found to be since, when that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drifted: Option<Definition>,
}

/// Every server's pins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pins {
    #[serde(default)]
    pub(crate) servers: BTreeMap<String, BTreeMap<String, Pin>>,
}

/// The pins cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file} cannot be {what}: {reason}", file = .file.display())]
pub struct PinsError {
    file: PathBuf,
    what: &'static str,
    reason: String,
}

impl Pins {
    pub(crate) fn load(dir: &Path) -> Result<Self, PinsError> {
        let path = dir.join(PINS_FILE);
        let failed = |reason: String| PinsError { file: path.clone(), what: "read", reason };
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error.to_string())),
        };
        let mut text = String::new();
        let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
        read.map_err(|error| failed(error.to_string()))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(failed(format!("it is larger than {FILE_BYTES_MAX} bytes")));
        }
        // Pins that cannot be understood are not taken for none: that would trust whatever comes next.
        serde_json::from_str(&text).map_err(|error| {
            failed(format!("{error}; repair it, or remove it to trust all servers again as they are now"))
        })
    }

    pub(crate) fn save(&self, dir: &Path) -> Result<(), PinsError> {
        let path = dir.join(PINS_FILE);
        let failed = |reason: String| PinsError { file: path.clone(), what: "written", reason };
        let text = serde_json::to_string_pretty(self).map_err(|error| failed(error.to_string()))?;
        let beside = dir.join(format!("{PINS_FILE}.new"));
        let write = || -> std::io::Result<()> {
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, &path)?;
            std::fs::File::open(dir)?.sync_all()
        };
        write().map_err(|error| failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(description: &str) -> Definition {
        Definition {
            description: description.to_owned(),
            title: None,
            input_schema: json!({"type": "object"}),
            output_schema: None,
            read_only: None,
            destructive: None,
        }
    }

    #[test]
    fn pins_come_back_as_they_were_and_broken_ones_are_not_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Pins::load(dir.path()).unwrap(), Pins::default());
        let mut pins = Pins::default();
        let pin = Pin { definition: definition("a"), pinned_at: Timestamp::UNIX_EPOCH, drifted: None };
        pins.servers.entry("one".to_owned()).or_default().insert("echo".to_owned(), pin);
        pins.save(dir.path()).unwrap();
        assert_eq!(Pins::load(dir.path()).unwrap(), pins);
        std::fs::write(dir.path().join(PINS_FILE), "{\"servers\": [").unwrap();
        assert!(Pins::load(dir.path()).unwrap_err().to_string().contains("repair it"));
    }

    #[test]
    fn a_difference_names_the_member_with_both_of_its_values() {
        let (one, other) = (definition("adds"), definition("adds, and mails the result"));
        assert_ne!(one.digest(), other.digest());
        let found = one.differences(&other);
        assert_eq!(found, json!({"description": {"pinned": "adds", "found": "adds, and mails the result"}}));
        assert_eq!(one.differences(&one), json!({}));
    }
}
