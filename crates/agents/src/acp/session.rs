//! What an agent is, and what a session with it is asked for and has.

use std::fmt;

use agent_client_protocol_schema::v1 as wire;
use reeve_types::model::Usage;
use reeve_types::secret::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::sentence;
use super::update::word;

/// The most choices, ways to sign in or settings that are kept of one list.
const CHOICES_MAX: usize = 500;
/// More tokens than any turn has.
const TOKENS_MAX: u64 = 1 << 40;

/// What an agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct AgentInfo {
    /// Its name, where it tells it.
    pub name: Option<String>,
    /// Its name for people.
    pub title: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Whether it can tell an old session again and go on with it.
    pub loads_sessions: bool,
    /// Whether it can go on with an old session without telling it again.
    pub resumes_sessions: bool,
    /// Whether it wants to know when a session is over.
    pub closes_sessions: bool,
    /// Whether prompts may have pictures.
    pub takes_images: bool,
    /// Whether prompts may have sound.
    pub takes_audio: bool,
    /// Whether prompts may have whole documents.
    pub takes_documents: bool,
    /// Whether it reaches MCP servers over HTTP.
    pub reaches_mcp_over_http: bool,
    /// How its user can sign in.
    pub auth_methods: Vec<AuthMethod>,
}

/// One way to sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuthMethod {
    /// What to call it by.
    pub id: String,
    /// For people.
    pub name: String,
    /// For people, longer.
    pub description: Option<String>,
}

impl AgentInfo {
    pub(super) fn of(told: wire::InitializeResponse) -> Self {
        let can = told.agent_capabilities;
        let info = told.agent_info;
        let auth_methods = told.auth_methods.iter().take(CHOICES_MAX).map(|method| AuthMethod {
            id: method.id().0.to_string(),
            name: sentence(method.name()),
            description: method.description().map(sentence),
        });
        Self {
            name: info.as_ref().map(|info| sentence(&info.name)),
            title: info.as_ref().and_then(|info| info.title.as_deref().map(sentence)),
            version: info.as_ref().map(|info| sentence(&info.version)),
            loads_sessions: can.load_session,
            resumes_sessions: can.session_capabilities.resume.is_some(),
            closes_sessions: can.session_capabilities.close.is_some(),
            takes_images: can.prompt_capabilities.image,
            takes_audio: can.prompt_capabilities.audio,
            takes_documents: can.prompt_capabilities.embedded_context,
            reaches_mcp_over_http: can.mcp_capabilities.http,
            auth_methods: auth_methods.collect(),
        }
    }
}

/// What a session is begun, loaded or resumed with.
#[derive(Debug, Clone, Default)]
pub struct SessionRequest {
    /// The absolute path that it works in, as the agent sees it.
    pub cwd: String,
    /// Servers of tools that the agent connects to.
    pub mcp_servers: Vec<McpServer>,
    /// `_meta`, for what only some agents know.
    pub meta: Option<Map<String, Value>>,
}

/// A server of tools.
#[derive(Clone)]
pub enum McpServer {
    /// A program that the agent starts.
    Stdio {
        /// For people and for the names of its tools.
        name: String,
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Its environment.
        env: Vec<(String, SecretString)>,
    },
    /// A server that the agent calls.
    Http {
        /// For people and for the names of its tools.
        name: String,
        /// Where.
        url: String,
        /// Sent with every request.
        headers: Vec<(String, SecretString)>,
    },
}

impl fmt::Debug for McpServer {
    /// Without what it is given in secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdio { name, command, .. } => write!(f, "Stdio({name}: {command} …)"),
            Self::Http { name, .. } => write!(f, "Http({name})"),
        }
    }
}

impl From<McpServer> for wire::McpServer {
    fn from(server: McpServer) -> Self {
        match server {
            McpServer::Stdio { name, command, args, env } => {
                let pair = |(name, value): (String, SecretString)| wire::EnvVariable::new(name, value.expose_secret());
                let env = env.into_iter().map(pair).collect();
                Self::Stdio(wire::McpServerStdio::new(name, command).args(args).env(env))
            }
            McpServer::Http { name, url, headers } => {
                let pair = |(name, value): (String, SecretString)| wire::HttpHeader::new(name, value.expose_secret());
                let headers = headers.into_iter().map(pair).collect();
                Self::Http(wire::McpServerHttp::new(name, url).headers(headers))
            }
        }
    }
}

/// A session that was begun, loaded or resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewSession {
    /// The agent's id of it.
    pub session_id: String,
    /// The modes it can be in, where it has any.
    pub modes: Option<SessionChoices>,
    /// The models it can use, where the agent tells them so.
    pub models: Option<SessionChoices>,
    /// Its settings.
    pub config_options: Vec<ConfigOption>,
}

/// One of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionChoices {
    /// What it is now.
    pub current: String,
    /// What it can be.
    pub available: Vec<NamedChoice>,
}

/// Something that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedChoice {
    /// What to call it by.
    pub id: String,
    /// For people.
    pub name: String,
    /// For people, longer.
    pub description: Option<String>,
}

/// A setting of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigOption {
    /// What to call it by.
    pub id: String,
    /// For people.
    pub name: String,
    /// For people, longer.
    pub description: Option<String>,
    /// `mode`, `model`, `model_config`, `thought_level`, or a word of the agent's.
    pub category: Option<String>,
    /// What it is, and what it can be.
    pub value: ConfigValue,
}

/// What a setting is, and what it can be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ConfigValue {
    /// One of several.
    Select {
        /// What it is.
        current: String,
        /// What it can be.
        choices: Vec<ConfigChoice>,
    },
    /// On or off.
    Switch {
        /// Whether it is on.
        on: bool,
    },
    /// Of a kind that this version of the protocol has not.
    Unknown,
}

/// What a setting can be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigChoice {
    /// What to call it by.
    pub value: String,
    /// For people.
    pub name: String,
    /// For people, longer.
    pub description: Option<String>,
    /// Under which heading it stands.
    pub group: Option<String>,
}

/// Why a turn ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The agent is done.
    EndTurn,
    /// The model's answer was as long as it may be.
    MaxTokens,
    /// The model was asked as often as it may be.
    MaxTurnRequests,
    /// The agent will not do it.
    Refusal,
    /// It was cancelled.
    Cancelled,
    /// A reason of the agent's own.
    Other(String),
}

impl StopReason {
    pub(super) fn of(word: &str) -> Self {
        match word {
            "end_turn" => Self::EndTurn,
            "max_tokens" => Self::MaxTokens,
            "max_turn_requests" => Self::MaxTurnRequests,
            "refusal" => Self::Refusal,
            "cancelled" => Self::Cancelled,
            other => Self::Other(sentence(other)),
        }
    }
}

/// A turn that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnDone {
    /// Why.
    pub stop: StopReason,
    /// The tokens that it used, where the agent counts them.
    pub usage: Option<Usage>,
}

/// An answer to `session/prompt`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToldTurn {
    stop_reason: String,
    #[serde(default)]
    usage: Value,
}

impl From<ToldTurn> for TurnDone {
    fn from(told: ToldTurn) -> Self {
        Self { stop: StopReason::of(&told.stop_reason), usage: usage(&told.usage) }
    }
}

fn usage(told: &Value) -> Option<Usage> {
    let count = |key: &str| told.get(key).and_then(Value::as_u64).map(|tokens| tokens.min(TOKENS_MAX));
    let (read, written) = (count("inputTokens")?, count("outputTokens")?);
    let cached = count("cachedReadTokens").unwrap_or(0);
    let kept = count("cachedWriteTokens").unwrap_or(0);
    let thoughts = count("thoughtTokens").unwrap_or(0);
    // Some agents count thoughts among what is written, and some beside it; their total tells which.
    let beside = count("totalTokens").is_some_and(|total| read + written + cached + kept + thoughts <= total);
    Some(Usage {
        input_tokens: read,
        output_tokens: if beside { written + thoughts } else { written },
        cache_read_tokens: cached,
        cache_write_tokens: kept,
        cost_micro_usd: None,
    })
}

/// An answer to `session/new`, `session/load` or `session/resume`. Only the id of a new session is needed; whatever else
/// cannot be read is left out.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ToldSession {
    pub(super) session_id: Value,
    modes: Value,
    models: Value,
    config_options: Value,
}

impl ToldSession {
    pub(super) fn into_session(self, session_id: String) -> NewSession {
        let options = self.config_options.as_array().map(Vec::as_slice).unwrap_or_default();
        let options = options
            .iter()
            .take(CHOICES_MAX)
            .filter_map(|option| wire::SessionConfigOption::deserialize(option).ok().map(ConfigOption::from));
        NewSession {
            session_id,
            modes: choices(&self.modes, "currentModeId", "availableModes", "id"),
            models: choices(&self.models, "currentModelId", "availableModels", "modelId"),
            config_options: options.collect(),
        }
    }
}

#[cfg(test)]
impl NewSession {
    /// A session as an agent tells it.
    pub(crate) fn told(session_id: &str, told: Value) -> Self {
        ToldSession::deserialize(told).unwrap_or_default().into_session(session_id.to_owned())
    }
}

fn choices(told: &Value, current: &str, available: &str, id: &str) -> Option<SessionChoices> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(sentence);
    let available = told.get(available)?.as_array()?.iter().take(CHOICES_MAX).filter_map(|choice| {
        let id = text(choice, id)?;
        let name = text(choice, "name").unwrap_or_else(|| id.clone());
        Some(NamedChoice { id, name, description: text(choice, "description") })
    });
    Some(SessionChoices { current: text(told, current)?, available: available.collect() })
}

impl From<wire::SessionConfigOption> for ConfigOption {
    fn from(option: wire::SessionConfigOption) -> Self {
        let value = match option.kind {
            wire::SessionConfigKind::Select(select) => ConfigValue::Select {
                current: select.current_value.0.to_string(),
                choices: config_choices(select.options),
            },
            wire::SessionConfigKind::Boolean(switch) => ConfigValue::Switch { on: switch.current_value },
            _ => ConfigValue::Unknown,
        };
        Self {
            id: option.id.0.to_string(),
            name: sentence(&option.name),
            description: option.description.as_deref().map(sentence),
            category: option.category.as_ref().map(word),
            value,
        }
    }
}

fn config_choices(options: wire::SessionConfigSelectOptions) -> Vec<ConfigChoice> {
    let choice = |option: wire::SessionConfigSelectOption, group: Option<&str>| ConfigChoice {
        value: option.value.0.to_string(),
        name: sentence(&option.name),
        description: option.description.as_deref().map(sentence),
        group: group.map(sentence),
    };
    match options {
        wire::SessionConfigSelectOptions::Ungrouped(options) => {
            options.into_iter().take(CHOICES_MAX).map(|option| choice(option, None)).collect()
        }
        wire::SessionConfigSelectOptions::Grouped(groups) => {
            let named = groups.into_iter().flat_map(|group| {
                let name = group.name;
                group.options.into_iter().map(move |option| (option, name.clone()))
            });
            named.take(CHOICES_MAX).map(|(option, name)| choice(option, Some(&name))).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tokens(told: Value) -> Option<[u64; 4]> {
        usage(&told)
            .map(|usage| [usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens])
    }

    #[test]
    fn a_turns_tokens_are_read_where_an_agent_counts_them() {
        let all = json!({"inputTokens": 10, "outputTokens": 4, "cachedReadTokens": 3, "cachedWriteTokens": 2, "totalTokens": 19});
        assert_eq!(tokens(all), Some([10, 4, 3, 2]));
        let beside = json!({"inputTokens": 10, "outputTokens": 4, "thoughtTokens": 6, "totalTokens": 20});
        assert_eq!(tokens(beside), Some([10, 10, 0, 0]));
        let among = json!({"inputTokens": 10, "outputTokens": 4, "thoughtTokens": 3, "totalTokens": 14});
        assert_eq!(tokens(among), Some([10, 4, 0, 0]));
        let absurd = json!({"inputTokens": u64::MAX, "outputTokens": 0, "totalTokens": u64::MAX});
        assert_eq!(tokens(absurd), Some([TOKENS_MAX, 0, 0, 0]));
        for none in
            [json!(null), json!({"inputTokens": "many", "outputTokens": 1}), json!({"totalTokens": 3}), json!(7)]
        {
            assert_eq!(tokens(none.clone()), None, "{none}");
        }
    }
}
