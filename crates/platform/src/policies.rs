//! Which policies are in force, where they come from, and how they change.
//!
//! A reload is atomic: the whole set compiles and takes over, or the old one stays in force and everybody can see why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use reeve_gate::Gate;
use reeve_policy::{Format, PolicySet, Source};
use reeve_types::limits::CONFIG_FILE_BYTES_MAX;
use serde_json::{Value, json};

use crate::Platform;

/// The policies cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum PoliciesError {
    /// A file or directory cannot be read.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is too large.
    #[error("{}: it is larger than {CONFIG_FILE_BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    /// A directory holds no policy file.
    #[error("{}: there is no .yaml, .yml or .cedar file in this directory", .0.display())]
    Empty(PathBuf),
    /// The policies do not compile.
    #[error("{0}")]
    Compile(String),
}

/// How an environment variable of the configuration is looked up.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The policy files and what was made of them.
pub struct Policies {
    paths: Vec<PathBuf>,
    environment: Environment,
    state: Mutex<State>,
}

struct State {
    sources: Vec<Source>,
    seen: BTreeMap<PathBuf, Option<SystemTime>>,
    /// Why the newest text is not in force, when it is not.
    trouble: Option<String>,
    loaded_at: jiff::Timestamp,
}

impl Policies {
    /// Loads and compiles the policies. Without files the built-in policy is in force.
    pub fn load(
        paths: Vec<PathBuf>,
        environment: Environment,
        now: jiff::Timestamp,
    ) -> Result<(Self, PolicySet), PoliciesError> {
        let (sources, seen) = read_all(&paths)?;
        let set = compile(&sources, &environment)?;
        let state = Mutex::new(State { sources, seen, trouble: None, loaded_at: now });
        Ok((Self { paths, environment, state }, set))
    }

    /// The files and directories that policies come from.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Why the newest text is not in force, when it is not.
    pub fn trouble(&self) -> Option<String> {
        self.state.lock().ok().and_then(|state| state.trouble.clone())
    }

    /// When what is in force was loaded.
    pub fn loaded_at(&self) -> jiff::Timestamp {
        self.state.lock().map_or(jiff::Timestamp::UNIX_EPOCH, |state| state.loaded_at)
    }

    /// Reads and compiles the files again, whether or not they have changed.
    pub fn reload(&self, gate: &Gate, now: jiff::Timestamp) -> Result<String, String> {
        let outcome = read_all(&self.paths).and_then(|(sources, seen)| {
            let set = compile(&sources, &self.environment)?;
            Ok((sources, seen, set))
        });
        let mut state = self.state.lock().map_err(|_| "the policies are in use".to_owned())?;
        match outcome {
            Ok((sources, seen, set)) => {
                let text =
                    format!("policies were read again: {} policies, digest {}", set.policies().len(), set.digest());
                gate.replace_policy(Arc::new(set));
                *state = State { sources, seen, trouble: None, loaded_at: now };
                Ok(text)
            }
            Err(error) => {
                let reason = format!("the policies do not load: {error}");
                state.trouble = Some(reason.clone());
                Err(reason)
            }
        }
    }

    /// Reads the files again when one has changed, appeared or gone. Says what happened, when something did.
    pub(crate) fn reload_if_changed(&self, platform: &Platform) -> Option<Result<String, String>> {
        if self.paths.is_empty() {
            return None;
        }
        let now: BTreeMap<PathBuf, Option<SystemTime>> =
            files(&self.paths).unwrap_or_default().into_iter().map(|path| (path.clone(), modified(&path))).collect();
        {
            let mut state = self.state.lock().ok()?;
            if state.seen == now {
                return None;
            }
            // Remembered even when it does not compile, so that a broken file is reported once, not every second.
            state.seen = now;
        }
        Some(self.reload(platform.gate(), platform.clock().now()))
    }

    /// Keeps the text of the set in force, so that its decisions can be replayed later.
    pub async fn keep_text(&self, platform: &Platform) {
        let sources = match self.state.lock() {
            Ok(state) => state.sources.clone(),
            Err(_) => return,
        };
        let text: Vec<Value> = sources
            .iter()
            .map(|source| json!({"name": source.name, "text": source.text, "cedar": source.format == Format::Cedar}))
            .collect();
        let digest = platform.gate().policy().digest();
        if let Err(error) = platform.store().keep_policy_set(digest, Value::Array(text), platform.clock().now()).await {
            tracing::error!("the text of the policies could not be kept: {}", error.chain());
        }
    }

    /// The policy set that a kept text stands for.
    pub(crate) fn recompile(&self, kept: &Value) -> Option<PolicySet> {
        let sources: Vec<Source> = kept
            .as_array()?
            .iter()
            .map(|source| {
                let text = |key: &str| source.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                let cedar = source.get("cedar").and_then(Value::as_bool).unwrap_or(false);
                Source {
                    name: text("name"),
                    text: text("text"),
                    format: if cedar { Format::Cedar } else { Format::Yaml },
                }
            })
            .collect();
        compile(&sources, &self.environment).ok()
    }
}

fn compile(sources: &[Source], environment: &Environment) -> Result<PolicySet, PoliciesError> {
    if sources.is_empty() {
        return Ok(PolicySet::built_in());
    }
    PolicySet::compile(sources, &|name| environment(name)).map_err(|errors| PoliciesError::Compile(errors.to_string()))
}

type Read = (Vec<Source>, BTreeMap<PathBuf, Option<SystemTime>>);

fn read_all(paths: &[PathBuf]) -> Result<Read, PoliciesError> {
    let mut sources = Vec::new();
    let mut seen = BTreeMap::new();
    for path in files(paths)? {
        let failed = |source| PoliciesError::File { path: path.clone(), source };
        seen.insert(path.clone(), modified(&path));
        if std::fs::metadata(&path).map_err(failed)?.len() > CONFIG_FILE_BYTES_MAX as u64 {
            return Err(PoliciesError::TooLarge(path));
        }
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        let cedar = path.extension().is_some_and(|end| end == "cedar");
        let format = if cedar { Format::Cedar } else { Format::Yaml };
        sources.push(Source { name: path.display().to_string(), text, format });
    }
    Ok((sources, seen))
}

/// The policy files that the configured paths mean, directories opened, in order of name.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, PoliciesError> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let failed = |source| PoliciesError::File { path: path.clone(), source };
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if is_policy_file(&file) {
                inside.push(file);
            }
        }
        if inside.is_empty() {
            return Err(PoliciesError::Empty(path.clone()));
        }
        inside.sort();
        found.append(&mut inside);
    }
    Ok(found)
}

/// Tables of expectations (`*.test.yaml`) lie beside policies and are not policies.
fn is_policy_file(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let ending = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
    matches!(ending, "yaml" | "yml" | "cedar") && !name.contains(".test.") && !name.starts_with('.')
}

fn modified(path: &Path) -> Option<SystemTime> {
    crate::inventory::modified(path)
}
