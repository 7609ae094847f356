//! The process and the machine that a configuration is read in. The only part of it that looks at the world.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use reeve_types::limits::CONFIG_FILE_BYTES_MAX;

use super::check::usual_files;
use super::layers::Source;
use super::{ConfigError, ConfigErrors};

/// What a configuration depends on besides flags.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    /// `reeve.toml` and its text, when there is one.
    pub(crate) file: Option<(PathBuf, String)>,
    /// The environment. Variables that are not Unicode are left out.
    pub(crate) variables: BTreeMap<String, String>,
    /// What relative paths count from; absolute.
    pub(crate) working_dir: PathBuf,
    /// The home directory.
    pub(crate) home: Option<PathBuf>,
    /// Whether the process runs as the superuser.
    pub(crate) is_root: bool,
    /// Whether the process runs in a container, where the loopback address is no use to anybody.
    pub(crate) in_container: bool,
}

impl Surroundings {
    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Looks around. `named` is the file that somebody named; without one the usual places are tried.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or the named one is missing.
    pub(crate) fn look(named: Option<&Path>) -> Result<Self, ConfigErrors> {
        let variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let working_dir = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let home = variables.get("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        let mut around = Self {
            file: None,
            is_root: rustix::process::geteuid().is_root(),
            in_container: in_container(&variables),
            working_dir,
            home,
            variables,
        };
        around.file = match named {
            Some(path) => Some(read(&around.working_dir.join(path))?.ok_or_else(|| missing(path))?),
            None => around.usual_file()?,
        };
        Ok(around)
    }

    fn usual_file(&self) -> Result<Option<(PathBuf, String)>, ConfigErrors> {
        let config_home = self.variable("XDG_CONFIG_HOME").map(Path::new).filter(|path| path.is_absolute());
        for path in usual_files(&self.working_dir, self.home.as_deref(), config_home) {
            if let Some(found) = read(&path)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Variables of ours and of the guides that no setting reads, so that whoever set them learns that.
    pub(crate) fn unread_variables(&self) -> Vec<&str> {
        let known = |name: &str| {
            [super::keys::EXTRA_LISTENER, super::keys::LISTEN_HOST, super::keys::LISTEN_PORT, CONFIG_VARIABLE]
                .contains(&name)
                || super::keys::KEYS.iter().any(|key| key.variable() == name || key.aliases.contains(&name))
        };
        let ours = |name: &str| name.starts_with("REEVE_") || name.starts_with("HELPDESK_");
        self.variables.keys().map(String::as_str).filter(|name| ours(name) && !known(name)).collect()
    }
}

/// A variable of the environment, for what policies and files refer to by name.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The variable that names the file, as `--config` does.
pub(crate) const CONFIG_VARIABLE: &str = "REEVE_CONFIG";

fn in_container(variables: &BTreeMap<String, String>) -> bool {
    let marks = ["/.dockerenv", "/run/.containerenv"];
    variables.contains_key("KUBERNETES_SERVICE_HOST")
        || variables.get("container").is_some_and(|value| !value.is_empty())
        || marks.iter().any(|mark| Path::new(mark).exists())
}

/// The text of a file; none when there is no such file.
fn read(path: &Path) -> Result<Option<(PathBuf, String)>, ConfigErrors> {
    let fail = |message: String, hint: &str| {
        let source = Source::File { path: path.to_owned(), line: 0, column: 0 };
        ConfigErrors(vec![ConfigError { source, message, hint: hint.to_owned() }])
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(fail(format!("the file cannot be opened: {error}"), "")),
    };
    let mut text = String::new();
    let limit = CONFIG_FILE_BYTES_MAX as u64;
    match file.take(limit + 1).read_to_string(&mut text) {
        Ok(length) if length as u64 <= limit => Ok(Some((path.to_owned(), text))),
        Ok(_) => Err(fail(format!("the file is larger than {limit} bytes"), "")),
        Err(error) => Err(fail(format!("the file cannot be read: {error}"), "it must be UTF-8 text")),
    }
}

fn missing(path: &Path) -> ConfigErrors {
    let source = Source::File { path: path.to_owned(), line: 0, column: 0 };
    ConfigErrors(vec![ConfigError { source, message: "there is no such file".to_owned(), hint: String::new() }])
}
