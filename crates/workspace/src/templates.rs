//! What workspaces are made from: a directory with a manifest, `template.toml`, and the files a workspace begins with.
//!
//! Four are built in. One's own lie in a directory of the installation, in the same form, and may replace them.

mod built_in;
mod manifest;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reeve_types::WorkspaceLimits;
use reeve_types::workspace::{DriverKind, Egress};
use serde::Serialize;

/// The manifest in a template's directory.
const MANIFEST: &str = "template.toml";
/// Where a template's files are, in its directory.
const FILES: &str = "files";
/// Most files a template may seed.
const SEED_FILES_MAX: usize = 2000;
/// Most bytes a template may seed.
const SEED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Something that workspaces are made from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Template {
    /// 1 to 64 lower-case letters, digits and `-`.
    pub name: String,
    /// For people.
    pub title: String,
    /// What it is good for, in a sentence.
    pub description: String,
    /// Which drivers can make it.
    pub drivers: Vec<DriverKind>,
    /// Languages it is made for, as the runtime names them.
    pub languages: Vec<String>,
    /// What the run button does when no file is open: a line for a shell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_command: Option<String>,
    /// Ports that its programs usually listen on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// What a workspace may use unless told otherwise; the installation's defaults when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<WorkspaceLimits>,
    /// What a workspace reaches over the network unless told otherwise.
    pub egress: Egress,
    /// For the driver `namespace`: programs that the machine should have.
    #[serde(skip)]
    pub programs: Vec<String>,
    /// Environment variables of every process.
    #[serde(skip)]
    pub env: BTreeMap<String, String>,
    /// For the driver `docker`: the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The files a workspace begins with.
    #[serde(skip)]
    pub files: Vec<SeedFile>,
}

/// A file that a workspace begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedFile {
    /// Relative to `/workspace`; no `..` in it.
    pub path: PathBuf,
    /// Its content.
    pub content: Vec<u8>,
    /// Whether it is a program.
    pub executable: bool,
}

/// Why templates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The manifest is wrong.
    #[error("{}:{line}: {reason}", file.display())]
    Manifest {
        /// The manifest.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A file or directory cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A template's files cannot be used.
    #[error("{}: {reason}", path.display())]
    Files {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// All templates, by name.
#[derive(Debug, Clone)]
pub struct Templates {
    by_name: BTreeMap<String, Template>,
}

impl Templates {
    /// The built-in ones.
    pub fn built_in() -> Result<Self, TemplateError> {
        let templates = built_in::templates()?;
        Ok(Self { by_name: templates.into_iter().map(|template| (template.name.clone(), template)).collect() })
    }

    /// The built-in ones, and those whose directories are in `directory`; a name that is there twice is one's own.
    pub fn with_own(directory: &Path) -> Result<Self, TemplateError> {
        let mut all = Self::built_in()?;
        for template in manifest::read_all(directory)? {
            all.by_name.insert(template.name.clone(), template);
        }
        Ok(all)
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<&Template> {
        self.by_name.get(name)
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = &Template> {
        self.by_name.values()
    }

    /// Their names, for sentences.
    pub fn names(&self) -> String {
        self.by_name.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}
