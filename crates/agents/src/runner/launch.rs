//! With which command and environment an agent is started, and whether it can be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reeve_gate::relay::{ModelRelay, Relayed, Speech};
use reeve_types::TenantId;
use reeve_types::secret::{ExposeSecret as _, SecretString};

use super::door::Door;
use super::settings::Agent;
use crate::profiles::{self, Located, ModelVariables, Profile};

/// Where the programs of this machine are that every workspace sees.
const SEEN: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin"];

impl Agent {
    /// How the agent is told which model to ask: as its profile says, or as programs that speak like its provider are.
    fn model_variables(&self, relayed: Option<&Relayed>) -> ModelVariables {
        match (self.profile.model.speech, relayed) {
            (None, Some(relayed)) => ModelVariables::usual(relayed.speech),
            _ => self.profile.model,
        }
    }

    /// The provider that it asks through Reeve. `None` when the installation gives it a model of its own.
    pub(super) fn provider(
        &self,
        relay: &dyn ModelRelay,
        tenant: Option<&TenantId>,
    ) -> Result<Option<Relayed>, String> {
        let speech: Option<Speech> = self.profile.model.speech;
        let named = self.model_provider.as_deref();
        if named.is_none() && (speech.is_none() || self.profile.model.is_set_in(&self.env)) {
            return Ok(None);
        }
        relay.provider(named, speech, tenant).map(Some)
    }

    /// Whether it hears of its model in its environment.
    pub(super) fn is_told_its_model(&self, relayed: Option<&Relayed>) -> bool {
        self.model_variables(relayed).tells_model()
    }

    /// Why it cannot be started here, and what to do. `looks` says whether workspaces see this machine's programs.
    pub(super) fn unavailable(&self, relay: &dyn ModelRelay, looks: bool) -> Option<String> {
        let environment = self.profile.environment([], &exposed(&self.env));
        if let Err(error) = profiles::check_launch(&self.profile.argv, &environment) {
            return Some(error.to_string());
        }
        if looks && let Err(reason) = self.program() {
            return Some(reason);
        }
        let provider = self.provider(relay, None).err()?;
        let name = &self.profile.name;
        Some(format!("{provider}; or give it a model of its own: `env` of [agent.{name}] in agents.toml"))
    }

    /// The command with its program as workspaces find it.
    fn program(&self) -> Result<Vec<String>, String> {
        let mounted = self.mounted_programs();
        let mut directories: Vec<PathBuf> = mounted.iter().map(|place| place.from.clone()).collect();
        directories.extend(SEEN.map(PathBuf::from));
        let named = self.profile.argv.first().map_or("", String::as_str);
        // What stands below a workspace's own directories is not here to be looked at.
        if named.starts_with("/workspace/") || named.starts_with("/home/") {
            return Ok(self.profile.argv.clone());
        }
        let mut sought: Profile = self.profile.clone();
        if named.starts_with('/') {
            sought.argv = vec![self.here(Path::new(named)).display().to_string()];
        }
        match sought.locate(&directories) {
            Located::Found(_) if named.starts_with('/') => Ok(self.profile.argv.clone()),
            Located::Found(path) => {
                let place = mounted.iter().find_map(|place| {
                    (path.parent() == Some(&*place.from)).then(|| place.inside.join(path.file_name()?).into())
                });
                let program: PathBuf = place.flatten().unwrap_or(path);
                let program = program.display().to_string();
                Ok(std::iter::once(program).chain(self.profile.argv.iter().skip(1).cloned()).collect())
            }
            Located::Missing { looked_at, install } => {
                let looked_at: Vec<String> = looked_at.iter().map(|path| path.display().to_string()).collect();
                let name = &self.profile.name;
                Err(format!(
                    "its program `{named}` is in none of the places that workspaces see ({}): {install}, or name a \
                     directory that holds it: `mount` of [agent.{name}] in agents.toml",
                    looked_at.join(", ")
                ))
            }
        }
    }

    /// What is started: the command, and the environment besides the workspace's own. Refused when the agent would ask
    /// nobody. `model` is the session's, where it has one. `looks` says whether the workspace sees this machine's
    /// programs.
    pub(super) fn launch(
        &self,
        door: Option<(&Door, &Relayed)>,
        session: &[(String, String)],
        model: Option<&str>,
        looks: bool,
    ) -> Result<(Vec<String>, BTreeMap<String, String>), String> {
        let mut argv = if looks { self.program()? } else { self.profile.argv.clone() };
        let mut set = BTreeMap::new();
        if let Some((door, relayed)) = door {
            let variables = self.model_variables(Some(relayed));
            let wanted = model.map(|model| of_provider(relayed, model).unwrap_or(model).to_owned());
            let model = wanted.or_else(|| self.model.clone()).or_else(|| relayed.model.clone());
            let address = format!("http://127.0.0.1:{}{}", door.port, variables.path);
            // What stands between quotes must not end them.
            let plain = |model: &&String| !model.contains(['"', '\\']) && !model.contains(char::is_control);
            for argument in variables.arguments {
                match model.as_ref().filter(plain) {
                    Some(model) => argv.push(argument.replace("{address}", &address).replace("{model}", model)),
                    None if argument.contains("{model}") => {}
                    None => argv.push(argument.replace("{address}", &address)),
                }
            }
            let told = [
                (variables.base_url, Some(address)),
                (variables.api_key, Some(door.token.expose_secret().to_owned())),
                (variables.model, model),
            ];
            set.extend(told.into_iter().filter_map(|(name, value)| Some((name?.to_owned(), value?))));
            set.extend(variables.also.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        } else if let (Some(name), Some(model)) = (self.profile.model.model, model.or(self.model.as_deref())) {
            set.insert(name.to_owned(), model.to_owned());
        }
        set.extend(exposed(&self.env));
        set.extend(session.iter().cloned());
        let environment = self.profile.environment([], &set);
        profiles::check_launch(&argv, &environment).map_err(|error| error.to_string())?;
        Ok((argv, environment))
    }
}

/// The provider's own name of a model that is called `provider/model`.
pub(super) fn of_provider<'a>(relayed: &Relayed, model: &'a str) -> Option<&'a str> {
    model.strip_prefix(relayed.provider.as_str())?.strip_prefix('/').filter(|model| !model.is_empty())
}

fn exposed(env: &BTreeMap<String, SecretString>) -> BTreeMap<String, String> {
    env.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;
    use reeve_gate::relay::{RelayAnswer, RelayCall, RelayMeter};

    use super::*;
    use crate::runner::settings::AgentsConfig;

    struct House(Result<Relayed, String>);

    impl ModelRelay for House {
        fn provider(&self, _: Option<&str>, _: Option<Speech>, _: Option<&TenantId>) -> Result<Relayed, String> {
            self.0.clone()
        }
        fn relay<'a>(
            &'a self,
            _: &'a TenantId,
            _: &'a str,
            _: RelayCall,
            _: std::sync::Arc<dyn RelayMeter>,
        ) -> BoxFuture<'a, RelayAnswer> {
            let body = Box::pin(futures_util::stream::empty());
            Box::pin(async { RelayAnswer { status: 500, headers: Vec::new(), body } })
        }
    }

    fn agent(name: &str, text: &str) -> Agent {
        let agents = AgentsConfig::read(text).expect("a file").agents(|_| None);
        agents.into_iter().find(|agent| agent.profile.name == name).expect("the agent")
    }

    fn house(speech: Speech) -> House {
        House(Ok(Relayed { provider: "house".to_owned(), speech, model: Some("m-1".to_owned()) }))
    }

    fn door() -> Door {
        Door { port: 4000, token: SecretString::from("of-this-session".to_owned()), tools_token: None }
    }

    #[test]
    fn an_agent_is_led_to_the_door_and_given_what_opens_it_and_no_key() {
        let relay = house(Speech::Anthropic);
        let claude = agent("claude", "");
        let relayed = claude.provider(&relay, None).expect("a provider").expect("a relayed one");
        let session = [("MY_FLAG".to_owned(), "1".to_owned())];
        let (argv, environment) = claude.launch(Some((&door(), &relayed)), &session, None, false).expect("a launch");
        assert_eq!(argv, ["claude-agent-acp"]);
        let expected = [
            ("ANTHROPIC_API_KEY", "of-this-session"),
            ("ANTHROPIC_BASE_URL", "http://127.0.0.1:4000"),
            ("ANTHROPIC_MODEL", "m-1"),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("DISABLE_AUTOUPDATER", "1"),
            ("MY_FLAG", "1"),
            ("NO_COLOR", "1"),
        ];
        assert_eq!(environment, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn a_program_of_ones_own_is_told_in_its_providers_words() {
        let mine = agent("mine", "[agent.mine]\ncommand = ['mine']\nmodel_provider = 'house'\nmodel = 'm-2'");
        let relayed = mine.provider(&house(Speech::Openai), None).expect("a provider").expect("a relayed one");
        let environment = |model| mine.launch(Some((&door(), &relayed)), &[], model, false).expect("a launch").1;
        for (wanted, told) in [("house/m-3", "m-3"), ("m-3", "m-3"), ("other/m-3", "other/m-3")] {
            assert_eq!(environment(Some(wanted))["OPENAI_MODEL"], told, "the session's model comes first");
        }
        assert!(mine.is_told_its_model(Some(&relayed)));
        let environment = environment(None);
        assert_eq!(environment["OPENAI_BASE_URL"], "http://127.0.0.1:4000/v1");
        assert_eq!(environment["OPENAI_MODEL"], "m-2");
    }

    #[test]
    fn a_program_that_takes_no_variable_is_told_by_its_arguments() {
        let codex = agent("codex", "");
        let relayed = codex.provider(&house(Speech::Openai), None).expect("a provider").expect("a relayed one");
        let argv = |model| codex.launch(Some((&door(), &relayed)), &[], model, false).expect("a launch").0;
        let told = argv(Some("house/gpt-x"));
        assert_eq!(told.first().map(String::as_str), Some("codex-acp"));
        assert!(told.contains(&"--config=model_providers.reeve.base_url=\"http://127.0.0.1:4000/v1\"".to_owned()));
        assert!(told.contains(&"--config=model=\"gpt-x\"".to_owned()) && codex.is_told_its_model(Some(&relayed)));
        let told = argv(Some("x\" y"));
        assert!(!told.iter().any(|argument| argument.starts_with("--config=model=")), "{told:?}");
        let own = agent("codex", "[agent.codex]\nenv = {OPENAI_API_KEY = 'k'}");
        assert_eq!(own.launch(None, &[], None, false).expect("a launch").0, ["codex-acp"], "with a model of its own");
    }

    #[test]
    fn an_agent_with_a_model_of_its_own_needs_no_door() {
        let relay = House(Err("there is none".to_owned()));
        let claude = agent("claude", "[agent.claude]\nenv = {ANTHROPIC_BASE_URL = 'http://10.0.0.1'}");
        assert_eq!(claude.provider(&relay, None), Ok(None));
        let (_, environment) = claude.launch(None, &[], Some("opus"), false).expect("a launch");
        assert_eq!(environment["ANTHROPIC_BASE_URL"], "http://10.0.0.1");
        assert_eq!(environment["ANTHROPIC_MODEL"], "opus");
        let without = agent("claude", "").unavailable(&relay, false).expect("a reason");
        assert!(without.contains("there is none") && without.contains("agents.toml"), "{without}");
    }

    #[test]
    fn an_unsafe_agent_is_not_to_be_had_wherever_the_setting_stands() {
        let relay = house(Speech::Anthropic);
        for text in [
            "[agent.claude]\ncommand = ['claude', '--dangerously-skip-permissions']",
            "[agent.claude]\nenv = {CLAUDE_MODE = 'bypassPermissions'}",
        ] {
            let claude = agent("claude", text);
            assert!(claude.unavailable(&relay, false).expect(text).contains("without asking"));
            claude.launch(None, &[], None, false).expect_err(text);
        }
        let session = [("MODE".to_owned(), "yolo".to_owned())];
        agent("claude", "").launch(None, &session, None, false).expect_err("of the session");
    }

    #[test]
    fn a_program_is_looked_for_where_workspaces_see_it() {
        use std::os::unix::fs::PermissionsExt;
        let relay = house(Speech::Anthropic);
        let place = tempfile::tempdir().expect("a directory");
        let text = format!("[agent.mine]\ncommand = ['mine', 'acp']\nmount = '{}'", place.path().display());
        let missing = agent("mine", &text).unavailable(&relay, true).expect("a reason");
        assert!(missing.contains("/usr/bin/mine") && missing.contains("`mount`"), "{missing}");
        let program = place.path().join("mine");
        std::fs::write(&program, "").expect("a file");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("permissions");
        let mine = agent("mine", &text);
        assert_eq!(mine.unavailable(&relay, true), None);
        assert_eq!(mine.launch(None, &[], None, true).expect("a launch").0, ["/opt/agents/mine/mine", "acp"]);
    }
}
