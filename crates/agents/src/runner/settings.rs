//! `agents.toml`: agents of one's own, and other settings for those that are known.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reeve_types::secret::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};

use crate::profiles::{self, Profile};

/// Most agents of one installation.
const AGENTS_MAX: usize = 50;
/// Most variables that an agent is given.
const VARIABLES_MAX: usize = 100;
/// Most tools that an agent's section names.
const TOOLS_MAX: usize = 500;
/// Below this, workspaces see what is mounted for agents.
pub const MOUNTED_INSIDE: &str = "/opt/agents";
/// Where in a mounted directory programs are looked for.
const PROGRAMS: [&str; 3] = ["node_modules/.bin", "bin", ""];

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentsConfig {
    /// `[agent.NAME]`.
    agent: BTreeMap<String, AgentConfig>,
}

/// One agent: its section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AgentConfig {
    title: Option<String>,
    command: Vec<String>,
    #[serde(deserialize_with = "secrets")]
    env: BTreeMap<String, SecretString>,
    model_provider: Option<String>,
    model: Option<String>,
    mount: Option<PathBuf>,
    tools: Option<Vec<String>>,
}

/// `agents.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AgentsConfigError {
    /// It is no such file.
    // The text of the parser repeats lines of the file, and keys may stand there.
    #[error("it cannot be read: {0}; see docs/external-agents.md")]
    Unreadable(String),
    /// A setting makes no sense.
    #[error("`agent.{agent}`: {problem}")]
    Setting {
        /// Whose.
        agent: String,
        /// What is wrong, and what to do.
        problem: String,
    },
}

/// An agent as it is to be started.
#[derive(Debug, Clone)]
pub(super) struct Agent {
    pub(super) profile: Profile,
    /// Set by the installation, after what the profile sets.
    pub(super) env: BTreeMap<String, SecretString>,
    pub(super) model_provider: Option<String>,
    pub(super) model: Option<String>,
    /// A directory of this machine that workspaces see below [`MOUNTED_INSIDE`].
    pub(super) mount: Option<PathBuf>,
    /// The gate's tools that it is offered: names of tools, names of agents whose tools they are, or `*`.
    pub(super) tools: Vec<String>,
}

/// A directory of this machine that workspaces are to see, read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Here.
    pub from: PathBuf,
    /// There.
    pub inside: PathBuf,
}

impl AgentsConfig {
    /// Reads the file's text.
    pub fn read(text: &str) -> Result<Self, AgentsConfigError> {
        let config: Self =
            toml::from_str(text).map_err(|error| AgentsConfigError::Unreadable(error.message().to_owned()))?;
        let wrong = |agent: &str, problem: String| {
            let agent = agent.chars().filter(|c| !c.is_control()).take(60).collect();
            Err(AgentsConfigError::Setting { agent, problem })
        };
        if config.agent.len() > AGENTS_MAX {
            return wrong("*", format!("there are more than {AGENTS_MAX}"));
        }
        for (name, agent) in &config.agent {
            if let Err(problem) = agent.check(name) {
                return wrong(name, problem);
            }
        }
        Ok(config)
    }

    /// What workspaces are to see.
    pub fn mounts(&self) -> Vec<Mount> {
        let mounted = self.agent.iter().filter_map(|(name, agent)| Some((name, agent.mount.clone()?)));
        mounted.map(|(name, from)| Mount { from, inside: inside(name) }).collect()
    }

    /// Every agent: those that are known, and those of the file.
    pub(super) fn agents(self, variable: impl Fn(&str) -> Option<String>) -> Vec<Agent> {
        let mut own = self.agent;
        let known = profiles::known().into_iter().map(|profile| profile.with_program_of(&variable));
        let mut all: Vec<Agent> =
            known.map(|profile| own.remove(&profile.name).unwrap_or_default().over(profile)).collect();
        all.extend(own.into_iter().map(|(name, agent)| agent.over(Profile::command(name, Vec::new()))));
        all
    }
}

fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, SecretString>, D::Error> {
    let plain = BTreeMap::<String, String>::deserialize(deserializer)?;
    Ok(plain.into_iter().map(|(name, value)| (name, SecretString::from(value))).collect())
}

impl AgentConfig {
    fn check(&self, name: &str) -> Result<(), String> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        if name.is_empty() || name.len() > 40 || !name.bytes().all(plain) {
            return Err("a name has up to 40 lower-case letters, digits, `-` and `_`".to_owned());
        }
        if self.command.is_empty() && profiles::find(name).is_err() {
            return Err("`command` is missing: the program and its arguments".to_owned());
        }
        if self.command.first().is_some_and(String::is_empty) || self.command.iter().any(|word| word.contains('\0')) {
            return Err("`command` names no program, or holds a NUL".to_owned());
        }
        let tools = self.tools.as_deref().unwrap_or_default();
        if tools.len() > TOOLS_MAX || tools.iter().any(|tool| tool.trim().is_empty()) {
            return Err(format!("`tools` has at most {TOOLS_MAX} names of tools or of agents, or `*`"));
        }
        if self.env.len() > VARIABLES_MAX {
            return Err(format!("`env` has more than {VARIABLES_MAX} variables"));
        }
        let named = |name: &String| !name.is_empty() && !name.contains(['=', '\0']);
        let sound = |value: &SecretString| !value.expose_secret().contains('\0');
        if !self.env.keys().all(named) || !self.env.values().all(sound) {
            return Err("`env` has a name or a value that no program can be given".to_owned());
        }
        match &self.mount {
            Some(mount) if !mount.is_absolute() || mount == Path::new("/") => {
                Err("`mount` is the absolute path of a directory with the agent's program".to_owned())
            }
            Some(mount) if !mount.is_dir() => Err(format!(
                "`mount`: there is no directory {}; install the agent there, or leave it out",
                mount.display()
            )),
            _ => Ok(()),
        }
    }

    fn over(self, mut profile: Profile) -> Agent {
        if !self.command.is_empty() {
            profile.argv = self.command;
        }
        if let Some(title) = self.title {
            profile.title = title;
        }
        let tools = self.tools.unwrap_or_else(|| vec!["*".to_owned()]);
        let Self { env, model_provider, model, mount, .. } = self;
        Agent { profile, env, model_provider, model, mount, tools }
    }
}

fn inside(name: &str) -> PathBuf {
    Path::new(MOUNTED_INSIDE).join(name)
}

impl Agent {
    /// Directories of this machine with programs of the mounted directory, and where workspaces see each.
    pub(super) fn mounted_programs(&self) -> Vec<Mount> {
        let Some(from) = &self.mount else { return Vec::new() };
        let inside = inside(&self.profile.name);
        let places = PROGRAMS.iter().map(|place| Mount { from: from.join(place), inside: inside.join(place) });
        places.filter(|place| place.from.is_dir()).collect()
    }

    /// A path that workspaces see, on this machine.
    pub(super) fn here(&self, path: &Path) -> PathBuf {
        let below =
            self.mount.as_ref().and_then(|from| Some(from.join(path.strip_prefix(inside(&self.profile.name)).ok()?)));
        below.unwrap_or_else(|| path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_agents_are_always_there_and_may_be_told_otherwise() {
        let text = "[agent.claude]\nmodel_provider = 'house'\nenv = { A = 'b' }\n\
                    [agent.mine]\ncommand = ['mine', 'acp']\ntitle = 'Mine'\ntools = []";
        let agents = AgentsConfig::read(text).expect("a file").agents(|_| None);
        let names: Vec<&str> = agents.iter().map(|agent| agent.profile.name.as_str()).collect();
        assert_eq!(names, ["claude", "gemini", "goose", "codex", "kimi", "mine"]);
        let claude = agents.first().expect("an agent");
        assert_eq!(
            (claude.profile.argv.as_slice(), claude.model_provider.as_deref()),
            (["claude-agent-acp".to_owned()].as_slice(), Some("house"))
        );
        let mine = agents.last().expect("an agent");
        assert_eq!((mine.profile.argv.join(" ").as_str(), mine.profile.title.as_str()), ("mine acp", "Mine"));
        assert!(!format!("{claude:?}").contains("\"b\""), "values stay out of logs");
        assert_eq!(
            (claude.tools.as_slice(), mine.tools.len()),
            (["*".to_owned()].as_slice(), 0),
            "all, unless it says which"
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_words() {
        for (text, said) in [
            ("[agent.mine]", "`command` is missing"),
            ("[agent.'Not a name']\ncommand = ['x']", "a name has"),
            ("[agent.mine]\ncommand = ['']", "names no program"),
            ("[agent.mine]\ncommand = ['x']\nmount = 'relative'", "absolute path"),
            ("[agent.mine]\ncommand = ['x']\nmount = '/no/such/place'", "there is no directory"),
            ("[agent.mine]\ncommand = ['x']\nenv = {'A=B' = 'c'}", "`env`"),
            ("[agent.mine]\ncommand = ['x']\ntools = ['']", "`tools`"),
            ("[agent.mine]\ncommand = ['x']\nenv = {TOKEN = 'very-secret'}\nwrong = 1", "unknown field"),
        ] {
            let error = AgentsConfig::read(text).expect_err(text).to_string();
            assert!(error.contains(said) && !error.contains("very-secret"), "{error}");
        }
    }

    #[test]
    fn a_mounted_directory_is_known_here_and_there() {
        let place = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(place.path().join("node_modules/.bin")).expect("a directory");
        let text = format!("[agent.claude]\nmount = '{}'", place.path().display());
        let config = AgentsConfig::read(&text).expect("a file");
        assert_eq!(config.mounts(), [Mount { from: place.path().into(), inside: "/opt/agents/claude".into() }]);
        let agent = config.agents(|_| None).remove(0);
        let programs = agent.mounted_programs();
        assert_eq!(
            programs.first().map(|place| place.inside.as_path()),
            Some(Path::new("/opt/agents/claude/node_modules/.bin"))
        );
        assert_eq!(agent.here(Path::new("/opt/agents/claude/a.js")), place.path().join("a.js"));
        assert_eq!(agent.here(Path::new("/usr/bin/node")), Path::new("/usr/bin/node"));
    }
}
