//! Agents as files: TOML between `+++` lines, then instructions in Markdown.
//!
//! Three come with Reeve. A file of the same name in the directory of agents replaces one of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

/// Largest definition, in bytes.
const DEFINITION_BYTES_MAX: u64 = 256 * 1024;
/// Most definitions in one directory.
const DEFINITIONS_MAX: usize = 200;

const BUILT_IN: [(&str, &str); 3] = [
    ("database", include_str!("built_in/database.md")),
    ("coder", include_str!("built_in/coder.md")),
    ("general", include_str!("built_in/general.md")),
];

/// One agent that Reeve runs itself.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentDefinition {
    /// Its name: the name of its file.
    pub name: String,
    /// What it is for, in one sentence.
    pub description: String,
    /// The model it uses, if not the server's default.
    pub model: Option<String>,
    /// What it may use: names of tools, names of agents whose tools it gets (`database`), `workspace`, or `*`.
    pub tools: Vec<String>,
    /// Whether it can only work in a workspace.
    pub needs_workspace: bool,
    /// How far one turn may go.
    pub limits: AgentLimits,
    /// Its standing instructions.
    pub instructions: String,
}

/// How far one turn of an agent may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentLimits {
    /// Calls of its model.
    pub steps: u32,
    /// Tokens read and written, together.
    pub tokens: u64,
    /// Time that is not spent waiting for people, in milliseconds.
    pub time_ms: u64,
    /// Tokens that one request to the model may hold; the model's own figure, where known, when absent.
    pub context_tokens: Option<u32>,
    /// Tokens that a model which can may think with before it answers; it does not think when absent.
    pub thinking_tokens: Option<u32>,
}

impl AgentLimits {
    /// The time as a duration.
    pub fn time(&self) -> Duration {
        Duration::from_millis(self.time_ms)
    }
}

impl Default for AgentLimits {
    fn default() -> Self {
        Self { steps: 60, tokens: 2_000_000, time_ms: 30 * 60_000, context_tokens: None, thinking_tokens: None }
    }
}

/// Why a definition cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// The file or directory cannot be read.
    #[error("the agent definition {path} cannot be read: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// What it says makes no sense.
    #[error("the agent definition {path} is wrong: {reason}")]
    Wrong {
        /// Which.
        path: PathBuf,
        /// Why, with the place.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    description: String,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    tools: Vec<String>,
    #[serde(default)]
    needs_workspace: bool,
    #[serde(default)]
    limits: AgentLimits,
}

/// The agents that Reeve runs itself, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Definitions(BTreeMap<String, AgentDefinition>);

impl Definitions {
    /// Those that come with Reeve, and those of a directory (`*.md`) if there is one.
    ///
    /// # Errors
    ///
    /// A file cannot be read or makes no sense; which one and why.
    pub fn load(dir: Option<&Path>) -> Result<Self, DefinitionError> {
        let mut all = BTreeMap::new();
        for (name, text) in BUILT_IN {
            let path = PathBuf::from(format!("{name}.md"));
            let parsed = parse(name, text).map_err(|reason| DefinitionError::Wrong { path, reason })?;
            all.insert(parsed.name.clone(), parsed);
        }
        let Some(dir) = dir else { return Ok(Self(all)) };
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DefinitionError::File { path, source }
        };
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self(all)),
            Err(source) => return Err(DefinitionError::File { path: dir.to_owned(), source }),
        };
        for entry in entries.take(DEFINITIONS_MAX) {
            let path = entry.map_err(failed(dir))?.path();
            if path.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let wrong = |reason: &str| DefinitionError::Wrong { path: path.clone(), reason: reason.to_owned() };
            let size = std::fs::metadata(&path).map_err(failed(&path))?.len();
            if size > DEFINITION_BYTES_MAX {
                return Err(wrong(&format!("it is larger than {DEFINITION_BYTES_MAX} bytes")));
            }
            let text = std::fs::read_to_string(&path).map_err(failed(&path))?;
            let name = path.file_stem().and_then(|stem| stem.to_str()).ok_or_else(|| wrong("its name is no UTF-8"))?;
            let parsed = parse(name, &text).map_err(|reason| wrong(&reason))?;
            all.insert(parsed.name.clone(), parsed);
        }
        Ok(Self(all))
    }

    /// One by its name.
    pub fn get(&self, name: &str) -> Option<&AgentDefinition> {
        self.0.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &AgentDefinition> {
        self.0.values()
    }
}

fn parse(name: &str, text: &str) -> Result<AgentDefinition, String> {
    let fine = !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fine {
        return Err(format!("`{name}` cannot be an agent's name: use 1 to 63 lower-case letters, digits and hyphens"));
    }
    let text = text.trim_start_matches('\u{feff}');
    let rest = text.strip_prefix("+++").ok_or("it must begin with a line `+++`, then TOML, then another line `+++`")?;
    let (head, instructions) = rest.split_once("\n+++").ok_or("the line `+++` that ends its TOML is missing")?;
    let head: Head = toml::from_str(head).map_err(|error| error.to_string())?;
    if head.limits.steps == 0 || head.limits.tokens == 0 || head.limits.time_ms == 0 {
        return Err("a limit of 0 would let it do nothing".to_owned());
    }
    Ok(AgentDefinition {
        name: name.to_owned(),
        description: head.description,
        model: head.model,
        tools: head.tools,
        needs_workspace: head.needs_workspace,
        limits: head.limits,
        instructions: instructions.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_agents_are_there() {
        let all = Definitions::load(None).unwrap();
        let names: Vec<_> = all.iter().map(|agent| agent.name.as_str()).collect();
        assert_eq!(names, ["coder", "database", "general"]);
        assert!(all.get("coder").unwrap().needs_workspace);
    }

    #[test]
    fn a_file_of_ones_own_replaces_a_built_in_agent_and_a_wrong_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("general.md"),
            "+++\ndescription = \"Mine\"\ntools = [\"get_server_info\"]\n[limits]\nsteps = 3\n+++\nBe brief.\n",
        )
        .unwrap();
        let all = Definitions::load(Some(dir.path())).unwrap();
        let mine = all.get("general").unwrap();
        assert_eq!(
            (mine.description.as_str(), mine.limits.steps, mine.instructions.as_str()),
            ("Mine", 3, "Be brief.")
        );

        for (text, place) in [
            ("no head", "must begin"),
            ("+++\ndescription = 1\n+++\n", "string"),
            ("+++\ndescription = \"a\"\ntool = []\n+++\n", "tool"),
            ("+++\ndescription = \"a\"\n[limits]\nsteps = 0\n+++\n", "limit of 0"),
        ] {
            std::fs::write(dir.path().join("wrong.md"), text).unwrap();
            let error = Definitions::load(Some(dir.path())).unwrap_err().to_string();
            assert!(error.contains("wrong.md") && error.contains(place), "{error}");
        }
    }
}
