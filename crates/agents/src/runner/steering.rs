//! Telling a running agent what its session is to be like: in which mode it works, and with which model.

use reeve_types::session::{Happening, PermissionMode};

use super::dials::{ModelRefused, Setting};
use super::hearing::Hearing;
use super::words::{cut, plain};
use crate::acp::{AcpError, Connection};

/// What of one agent's session is set, and over which connection.
pub(super) struct Helm<'a> {
    pub(super) connection: &'a Connection,
    pub(super) hearing: &'a Hearing,
    pub(super) session_id: &'a str,
    /// Whether the agent is told of its model in its environment when it is started.
    pub(super) told_at_start: bool,
}

impl Helm<'_> {
    async fn put(&self, setting: &Setting) -> Result<(), AcpError> {
        // Before it is sent: what the agent says of it in between is no news.
        let before = self.hearing.dials().set(setting);
        let done = match setting {
            Setting::Mode(id) => self.connection.set_mode(self.session_id, id).await,
            Setting::Model(id) => self.connection.set_model(self.session_id, id).await,
            Setting::Option { id, value } => {
                match self.connection.set_config_option(self.session_id, id, value.as_str().into()).await {
                    Ok(options) if options.is_empty() => Ok(()),
                    Ok(options) => {
                        self.hearing.settings(options).await;
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            }
        };
        if done.is_err()
            && let Some(before) = before
        {
            self.hearing.dials().set(&before);
        }
        done
    }

    /// Puts the agent into its own mode that fits. The session is supervised whatever its agent offers, so it is only
    /// told when that fails; an agent that is gone is an error.
    pub(super) async fn set_mode(&self, mode: PermissionMode) -> Result<(), AcpError> {
        let Some(setting) = self.hearing.dials().mode_for(mode) else { return Ok(()) };
        match self.put(&setting).await {
            Err(error @ AcpError::Ended { .. }) => Err(error),
            Err(error) => {
                self.hearing.warn(&format!("the agent could not be put into the session's mode: {error}")).await;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Gives the agent its model when it is started. `relayed` says that it is a model of the provider that it asks
    /// through Reeve.
    pub(super) async fn begin_with(&self, wanted: Option<&str>, relayed: bool) -> Result<(), String> {
        let setting = self.hearing.dials().model_for(wanted);
        match setting {
            // It was told in its environment, and the provider has it, whatever the agent itself lists.
            Err(ModelRefused::NotOffered { .. }) if self.told_at_start && relayed => {}
            Err(ModelRefused::NoChoice) if self.told_at_start => {}
            setting => self.settle(wanted, setting).await?,
        }
        let models = self.hearing.dials().models();
        if let Some((model, offered)) = models {
            self.hearing.tell(Happening::Model { model, offered }).await;
        }
        Ok(())
    }

    /// Gives a running agent another model, or its own choice back.
    pub(super) async fn set_model(&self, wanted: Option<&str>) -> Result<(), String> {
        let setting = self.hearing.dials().model_for(wanted);
        self.settle(wanted, setting).await
    }

    async fn settle(&self, wanted: Option<&str>, setting: Result<Option<Setting>, ModelRefused>) -> Result<(), String> {
        let named =
            || wanted.map_or_else(|| "of its own choice".to_owned(), |model| format!("`{}`", cut(&plain(model), 100)));
        match setting {
            Ok(None) => Ok(()),
            Ok(Some(setting)) => {
                self.put(&setting).await.map_err(|error| format!("the model {} was not taken: {error}", named()))
            }
            Err(ModelRefused::NoChoice) => {
                let then = if self.told_at_start {
                    "it is told of another one when it is started again"
                } else {
                    "it keeps the one that it has; its model is set where it is configured"
                };
                let said = format!("the agent cannot be given the model {} while it runs: {then}", named());
                self.hearing.complain("no choice of models", &said).await;
                Ok(())
            }
            Err(refused) => Err(refused.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

    use super::*;
    use crate::acp::{Options, Peer};
    use crate::runner::notebook::{Notebook, session};

    /// An agent that says yes to everything but one thing, and keeps what it was asked.
    struct Agent {
        connection: Connection,
        hearing: Arc<Hearing>,
        notebook: Arc<Notebook>,
        asked: Arc<Mutex<Vec<(String, Value)>>>,
    }

    impl Agent {
        async fn started(told: Value, refuses: &'static str) -> Self {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let asked: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
            let kept = Arc::clone(&asked);
            tokio::spawn(async move {
                let (read, mut write) = tokio::io::split(theirs);
                let mut lines = BufReader::new(read).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let message: Value = serde_json::from_str(&line).expect("JSON");
                    let method = message["method"].as_str().expect("a method").to_owned();
                    let answer = match method.as_str() {
                        "initialize" => json!({"result": {"protocolVersion": 1}}),
                        word if word == refuses => json!({"error": {"code": -32602, "message": "not today"}}),
                        _ => json!({"result": {}}),
                    };
                    kept.lock().expect("no panic").push((method, message["params"].clone()));
                    let mut answer = answer;
                    answer["jsonrpc"] = json!("2.0");
                    answer["id"] = message["id"].clone();
                    write.write_all(format!("{answer}\n").as_bytes()).await.expect("written");
                }
            });
            let notebook = Arc::new(Notebook::default());
            let hearing = Arc::new(notebook.hearing());
            let (read, write) = tokio::io::split(ours);
            let heard = Arc::clone(&hearing) as Arc<dyn Peer>;
            let (connection, _) = Connection::open(read, write, heard, Options::default()).await.expect("a connection");
            hearing.is_session(&session(told));
            Self { connection, hearing, notebook, asked }
        }

        fn helm(&self, told_at_start: bool) -> Helm<'_> {
            Helm { connection: &self.connection, hearing: &self.hearing, session_id: "s", told_at_start }
        }

        /// What it was asked since the last time, without its introduction.
        fn asked(&self) -> Vec<(String, Value)> {
            let mut asked = std::mem::take(&mut *self.asked.lock().expect("no panic"));
            asked.retain(|(method, _)| method != "initialize");
            asked
        }
    }

    fn asked(method: &str, params: Value) -> Vec<(String, Value)> {
        vec![(method.to_owned(), params)]
    }

    fn models() -> Value {
        json!({"models": {"currentModelId": "auto", "availableModels": [
            {"modelId": "auto", "name": "Auto"}, {"modelId": "m-1", "name": "One"}]}})
    }

    #[tokio::test]
    async fn an_agent_hears_its_model_when_it_is_started_and_when_another_is_chosen() {
        let agent = Agent::started(models(), "").await;
        agent.helm(false).begin_with(Some("house/m-1"), false).await.expect("offered");
        assert_eq!(agent.asked(), asked("session/set_model", json!({"sessionId": "s", "modelId": "m-1"})));
        let offered = vec!["auto".to_owned(), "m-1".to_owned()];
        let told = Happening::Model { model: "m-1".to_owned(), offered };
        assert_eq!(*agent.notebook.happened.lock().expect("no panic"), [told]);
        agent.helm(false).set_model(Some("m-1")).await.expect("it has it");
        assert_eq!(agent.asked(), [], "what it has it is not told again");
        agent.helm(false).set_model(None).await.expect("its own");
        assert_eq!(agent.asked(), asked("session/set_model", json!({"sessionId": "s", "modelId": "auto"})));
        let refused = agent.helm(false).set_model(Some("gpt")).await.expect_err("not offered");
        assert_eq!(refused, "it does not offer the model `gpt`; it offers `auto`, `m-1`");
        assert_eq!(agent.asked(), []);
        assert!(agent.notebook.warnings().is_empty());

        let choice = json!({"id": "model", "name": "Model", "category": "model", "type": "select", "currentValue": "a",
            "options": [{"value": "a", "name": "A"}, {"value": "b", "name": "B"}]});
        let agent = Agent::started(json!({"configOptions": [choice]}), "").await;
        agent.helm(false).set_model(Some("b")).await.expect("offered");
        let set = json!({"sessionId": "s", "configId": "model", "value": "b"});
        assert_eq!(agent.asked(), asked("session/set_config_option", set));
    }

    #[tokio::test]
    async fn an_agent_whose_model_nobody_chooses_is_warned_of_once() {
        let agent = Agent::started(json!({}), "").await;
        agent.helm(true).begin_with(Some("m-1"), false).await.expect("it was told in its environment");
        assert_eq!((agent.notebook.warnings(), agent.asked()), (Vec::new(), Vec::new()));
        for model in ["m-2", "m-3"] {
            agent.helm(true).set_model(Some(model)).await.expect("a warning");
        }
        let warnings = agent.notebook.warnings();
        assert!(
            matches!(warnings.as_slice(), [one] if one.contains("`m-2`") && one.contains("started again")),
            "{warnings:?}"
        );
        let agent = Agent::started(json!({}), "").await;
        agent.helm(false).begin_with(Some("m-1"), false).await.expect("a warning");
        assert_eq!(agent.notebook.warnings().len(), 1);
    }

    #[tokio::test]
    async fn a_model_of_the_provider_stands_though_the_agent_lists_others_and_no_other_does() {
        let agent = Agent::started(models(), "session/set_model").await;
        agent.helm(true).begin_with(Some("house/claude-x"), true).await.expect("it was told in its environment");
        agent.helm(true).begin_with(Some("claude-x"), false).await.expect_err("whose is it?");
        agent.helm(false).begin_with(Some("house/claude-x"), true).await.expect_err("it was never told");
        let refused = agent.helm(false).set_model(Some("m-1")).await.expect_err("the agent says no");
        assert!(refused.contains("`m-1`") && refused.contains("not today"), "{refused}");
        let current = agent.hearing.dials().models().map(|(current, _)| current);
        assert_eq!(current.as_deref(), Some("auto"), "what was refused does not stand");
    }

    #[tokio::test]
    async fn a_change_of_the_sessions_mode_reaches_the_agent_in_its_own_words() {
        let modes = json!({"modes": {"currentModeId": "default", "availableModes": [
            {"id": "default", "name": "Ask"}, {"id": "plan", "name": "Plan"}, {"id": "bypassPermissions", "name": "All"}]}});
        let agent = Agent::started(modes.clone(), "").await;
        agent.helm(false).set_mode(PermissionMode::Plan).await.expect("set");
        assert_eq!(agent.asked(), asked("session/set_mode", json!({"sessionId": "s", "modeId": "plan"})));
        agent.helm(false).set_mode(PermissionMode::Auto).await.expect("set");
        let set = asked("session/set_mode", json!({"sessionId": "s", "modeId": "default"}));
        assert_eq!(agent.asked(), set, "and never into one in which it asks nobody");
        agent.helm(false).set_mode(PermissionMode::Ask).await.expect("nothing to be set");
        assert_eq!(agent.asked(), []);
        let agent = Agent::started(modes, "session/set_mode").await;
        agent.helm(false).set_mode(PermissionMode::Plan).await.expect("a warning");
        assert!(matches!(agent.notebook.warnings().as_slice(), [one] if one.contains("not today")));
    }
}
