//! Which agents are known, how they are started, what of an environment they may see, and with which settings they are
//! never started: those with which they would ask nobody.

mod known;
mod unsafe_settings;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reeve_gate::relay::Speech;

pub use known::known;
pub use unsafe_settings::{UnsafeSetting, check_launch, check_mode};

/// What every agent may see of an environment.
pub const COMMON_VARIABLES: [&str; 11] =
    ["PATH", "TMPDIR", "TEMP", "TMP", "HOME", "USER", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "NO_COLOR"];

/// One agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What it is called by: `claude`, `gemini`.
    pub name: String,
    /// For people.
    pub title: String,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Variables that it may see besides the common ones.
    pub variables: Vec<Cow<'static, str>>,
    /// It may see variables that begin so.
    pub variable_prefixes: Vec<Cow<'static, str>>,
    /// What is always set for it.
    pub fixed: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// The variable that names its program for the whole installation.
    pub program_variable: Option<&'static str>,
    /// How it is told which model server to ask.
    pub model: ModelVariables,
    /// How it is installed.
    pub install: Cow<'static, str>,
}

/// How an agent is told which model server to ask and with which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelVariables {
    /// The address.
    pub base_url: Option<&'static str>,
    /// The key. A secret.
    pub api_key: Option<&'static str>,
    /// The model.
    pub model: Option<&'static str>,
    /// In whose words it asks.
    pub speech: Option<Speech>,
    /// What of the path it expects to be in the address.
    pub path: &'static str,
    /// What else it has to be told to ask there.
    pub also: &'static [(&'static str, &'static str)],
    /// Arguments that say so to a program which takes no variable for it. `{address}` and `{model}` stand for what they
    /// say; an argument with a model is left out where there is none.
    pub arguments: &'static [&'static str],
}

impl ModelVariables {
    /// The usual variables of programs that speak so.
    pub fn usual(speech: Speech) -> Self {
        let (base_url, api_key, model, path) = match speech {
            Speech::Anthropic => ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_MODEL", ""),
            Speech::Openai => ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL", "/v1"),
            Speech::Gemini => ("GOOGLE_GEMINI_BASE_URL", "GEMINI_API_KEY", "GEMINI_MODEL", ""),
        };
        let (base_url, api_key, model) = (Some(base_url), Some(api_key), Some(model));
        Self { base_url, api_key, model, speech: Some(speech), path, also: &[], arguments: &[] }
    }

    /// Whether the agent is told of its model when it is started.
    pub fn tells_model(&self) -> bool {
        self.model.is_some() || self.arguments.iter().any(|argument| argument.contains("{model}"))
    }

    /// Whether somebody has set where the agent asks, or with which key.
    pub fn is_set_in<V>(&self, environment: &BTreeMap<String, V>) -> bool {
        [self.base_url, self.api_key].into_iter().flatten().any(|name| environment.contains_key(name))
    }
}

/// There is no such agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no agent `{name}`; there are {known}, and any command of your own", known = known_names())]
pub struct UnknownAgent {
    /// What was asked for.
    pub name: String,
}

impl UnknownAgent {
    /// The code that clients compare.
    pub const CODE: &'static str = "AEGIS_ACP_RUNNER_UNKNOWN";
}

fn known_names() -> String {
    known().into_iter().map(|profile| profile.name).collect::<Vec<_>>().join(", ")
}

/// The profile of a name.
pub fn find(name: &str) -> Result<Profile, UnknownAgent> {
    known().into_iter().find(|profile| profile.name == name).ok_or_else(|| UnknownAgent { name: name.to_owned() })
}

/// Where an agent's program is, or where it was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Located {
    /// It is here.
    Found(PathBuf),
    /// It is in none of these places.
    Missing {
        /// Every path that was looked at.
        looked_at: Vec<PathBuf>,
        /// What to do.
        install: String,
    },
}

impl Located {
    /// The code of a program that is missing, which clients compare.
    pub const MISSING_CODE: &'static str = "AEGIS_ACP_BINARY_NOT_FOUND";
}

impl Profile {
    /// Any program that speaks the protocol.
    pub fn command(name: impl Into<String>, argv: Vec<String>) -> Self {
        let name = name.into();
        Self {
            title: name.clone(),
            name,
            argv,
            variables: Vec::new(),
            variable_prefixes: Vec::new(),
            fixed: Vec::new(),
            program_variable: None,
            model: ModelVariables::default(),
            install: Cow::Borrowed("install the program, or correct its command"),
        }
    }

    /// The same with the program that the installation names for it: `variable` looks names up in its environment. A
    /// script of Node is started with `node`.
    #[must_use]
    pub fn with_program_of(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        let named = self.program_variable.and_then(variable).filter(|path| !path.trim().is_empty());
        if let Some(path) = named {
            let script = Path::new(&path).extension().is_some_and(|extension| {
                ["js", "mjs", "cjs"].iter().any(|known| extension.eq_ignore_ascii_case(known))
            });
            let before = script.then(|| "node".to_owned());
            self.argv = before.into_iter().chain([path]).chain(self.argv.into_iter().skip(1)).collect();
        }
        self
    }

    /// What the agent sees of an environment: what is common, what is its own, what is set for it and what is set for
    /// this session, the last winning. Nothing else passes, whatever it is called.
    pub fn environment<'a>(
        &self,
        of: impl IntoIterator<Item = (&'a str, &'a str)>,
        session: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let allowed = of.into_iter().filter(|(name, _)| self.may_see(name));
        let mut environment: BTreeMap<String, String> =
            allowed.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        environment.insert("NO_COLOR".to_owned(), "1".to_owned());
        for (name, value) in &self.fixed {
            environment.insert(name.clone().into_owned(), value.clone().into_owned());
        }
        environment.extend(session.iter().map(|(name, value)| (name.clone(), value.clone())));
        environment
    }

    /// Whether it may see a variable of the environment.
    pub fn may_see(&self, name: &str) -> bool {
        COMMON_VARIABLES.contains(&name)
            || self.variables.iter().any(|known| known == name)
            || self.variable_prefixes.iter().any(|prefix| name.starts_with(&**prefix))
    }

    /// Looks for the program on a search path, or where its name leads when it is a path.
    pub fn locate(&self, directories: &[PathBuf]) -> Located {
        let program = self.argv.first().map_or("", String::as_str);
        let candidates: Vec<PathBuf> = match program {
            "" => Vec::new(),
            path if path.contains('/') => vec![PathBuf::from(path)],
            name => directories.iter().map(|directory| directory.join(name)).collect(),
        };
        match candidates.iter().find(|candidate| runs(candidate)) {
            Some(found) => Located::Found(found.clone()),
            None => Located::Missing { looked_at: candidates, install: self.install.clone().into_owned() },
        }
    }
}

#[cfg(unix)]
fn runs(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn runs(path: &Path) -> bool {
    path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_sees_what_is_its_own_and_nothing_else() {
        let here = [
            ("PATH", "/bin"),
            ("ANTHROPIC_API_KEY", "a"),
            ("CLAUDE_CONFIG_DIR", "/c"),
            ("GEMINI_API_KEY", "g"),
            ("AEGIS_AUTH_TOKEN", "the server's"),
            ("REEVE_TOKEN", "the server's"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("LD_PRELOAD", "/evil.so"),
            ("NODE_OPTIONS", "--require /evil.js"),
        ];
        let session = BTreeMap::from([("ANTHROPIC_API_KEY".to_owned(), "session's".to_owned())]);
        let seen = find("claude").expect("a profile").environment(here, &session);
        assert_eq!(seen["ANTHROPIC_API_KEY"], "session's");
        assert_eq!((seen["PATH"].as_str(), seen["NO_COLOR"].as_str()), ("/bin", "1"));
        assert!(seen.contains_key("CLAUDE_CONFIG_DIR"));
        for never in
            ["GEMINI_API_KEY", "AEGIS_AUTH_TOKEN", "REEVE_TOKEN", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD", "NODE_OPTIONS"]
        {
            assert!(!seen.contains_key(never), "{never}");
        }
    }

    #[test]
    fn no_known_agent_is_started_unsafely_and_each_has_a_name_of_its_own() {
        let mut names = std::collections::BTreeSet::new();
        for profile in known() {
            let environment = profile.environment([], &BTreeMap::new());
            check_launch(&profile.argv, &environment).expect("a safe launch");
            assert!(names.insert(profile.name.clone()), "{}", profile.name);
        }
        assert!(find("no-such-agent").expect_err("none").to_string().contains("claude, "));
    }

    #[test]
    fn the_installation_may_name_the_program() {
        let named = |path: &'static str| {
            find("claude")
                .expect("a profile")
                .with_program_of(|name| (name == "AEGIS_ACP_BIN").then(|| path.to_owned()))
        };
        assert_eq!(named("/opt/agent").argv, ["/opt/agent"]);
        assert_eq!(named("/opt/dist/index.js").argv, ["node", "/opt/dist/index.js"]);
        let kimi = find("kimi").expect("a profile");
        let kimi = kimi.with_program_of(|name| (name == "AEGIS_KIMI_BIN").then(|| "/opt/kimi".to_owned()));
        assert_eq!(kimi.argv, ["/opt/kimi", "acp"]);
    }

    #[test]
    fn a_program_is_found_on_the_path_or_it_is_told_where_it_was_looked_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let (empty, full) = (directory.path().join("empty"), directory.path().join("full"));
        let program = full.join("gemini");
        std::fs::create_dir(&full).expect("a directory");
        std::fs::write(&program, "").expect("a file");
        let dirs = [empty.clone(), full];
        let gemini = find("gemini").expect("a profile");
        assert!(matches!(gemini.locate(&dirs), Located::Missing { looked_at, .. } if looked_at.len() == 2));
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).expect("permissions");
        assert_eq!(gemini.locate(&dirs), Located::Found(program));
    }
}
