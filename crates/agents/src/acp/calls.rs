//! What Reeve asks of an agent, method by method.

use agent_client_protocol_schema::ProtocolVersion;
use agent_client_protocol_schema::v1 as wire;
use serde::Deserialize;
use serde_json::{Value, json};

use super::connection::{Connection, Shared};
use super::session::{AgentInfo, NewSession, SessionRequest, ToldSession, ToldTurn, TurnDone};
use super::{AcpError, ConfigOption, ConfigValue, ContentBlock};
use crate::profiles;

/// How long an agent may take to say goodbye to a session.
const CLOSE_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// Any answer that means yes.
#[derive(Deserialize)]
struct Done {}

/// Introduces Reeve, before anything else.
pub(super) async fn initialize(shared: &Shared) -> Result<AgentInfo, AcpError> {
    const METHOD: &str = "initialize";
    let (files, terminal) = (shared.options.serves_files, shared.options.serves_terminals);
    let params = json!({
        "protocolVersion": ProtocolVersion::V1,
        "clientCapabilities": {
            "fs": { "readTextFile": files, "writeTextFile": files },
            "terminal": terminal,
            "session": { "notices": {}, "compaction": {} },
        },
        "clientInfo": { "name": "reeve", "title": "Reeve", "version": env!("CARGO_PKG_VERSION") },
    });
    let told: Value = shared.call(METHOD, &params, Some(shared.options.start_within)).await?;
    let told = wire::InitializeResponse::deserialize(&told)
        .map_err(|error| AcpError::Malformed { method: METHOD, reason: super::error::sentence(&error.to_string()) })?;
    if told.protocol_version != ProtocolVersion::V1 {
        return Err(AcpError::WrongVersion { offered: told.protocol_version.as_u16() });
    }
    Ok(AgentInfo::of(told))
}

/// A session whose settings, wherever they come from, do not let the agent act without asking.
fn safe(session: NewSession) -> Result<NewSession, AcpError> {
    if let Some(modes) = &session.modes {
        profiles::check_mode(&modes.current)?;
    }
    for option in session.config_options.iter().filter(|option| option.category.as_deref() == Some("mode")) {
        if let ConfigValue::Select { current, .. } = &option.value {
            profiles::check_mode(current)?;
        }
    }
    Ok(session)
}

impl Connection {
    /// Signs in by one of the agent's ways.
    pub async fn authenticate(&self, method_id: &str) -> Result<(), AcpError> {
        let params = wire::AuthenticateRequest::new(method_id.to_owned());
        self.ask("authenticate", &params).await.map(|Done {}| ())
    }

    /// Begins a session. One that begins in a mode in which the agent asks nobody is refused.
    pub async fn new_session(&self, request: SessionRequest) -> Result<NewSession, AcpError> {
        const METHOD: &str = "session/new";
        let params = wire::NewSessionRequest::new(request.cwd)
            .mcp_servers(request.mcp_servers.into_iter().map(Into::into).collect())
            .meta(request.meta);
        let told: ToldSession = self.ask(METHOD, &params).await?;
        match told.session_id.as_str().map(str::to_owned) {
            Some(id) if !id.is_empty() => safe(told.into_session(id)),
            _ => Err(AcpError::Malformed { method: METHOD, reason: "it names no session".to_owned() }),
        }
    }

    /// Goes on with an old session. What was said in it comes again as updates before this returns.
    pub async fn load_session(&self, session_id: &str, request: SessionRequest) -> Result<NewSession, AcpError> {
        if !self.info().loads_sessions {
            return Err(AcpError::Unsupported { what: "loading an old session" });
        }
        let params = wire::LoadSessionRequest::new(session_id.to_owned(), request.cwd)
            .mcp_servers(request.mcp_servers.into_iter().map(Into::into).collect())
            .meta(request.meta);
        let told: ToldSession = self.ask("session/load", &params).await?;
        safe(told.into_session(session_id.to_owned()))
    }

    /// Goes on with an old session without being told again what was said in it.
    pub async fn resume_session(&self, session_id: &str, request: SessionRequest) -> Result<NewSession, AcpError> {
        if !self.info().resumes_sessions {
            return Err(AcpError::Unsupported { what: "resuming an old session" });
        }
        let params = wire::ResumeSessionRequest::new(session_id.to_owned(), request.cwd)
            .mcp_servers(request.mcp_servers.into_iter().map(Into::into).collect())
            .meta(request.meta);
        let told: ToldSession = self.ask("session/resume", &params).await?;
        safe(told.into_session(session_id.to_owned()))
    }

    /// Begins a turn and waits for its end, however long it takes. A session has one turn at a time. Dropping this ends
    /// the waiting and not the turn; [`Self::cancel`] does.
    pub async fn prompt(&self, session_id: &str, prompt: Vec<ContentBlock>) -> Result<TurnDone, AcpError> {
        let prompt: Vec<wire::ContentBlock> = prompt.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        let params = wire::PromptRequest::new(session_id.to_owned(), prompt);
        let told: ToldTurn = self.shared.call("session/prompt", &params, None).await?;
        Ok(told.into())
    }

    /// Asks the agent to end the turn. Its open questions are void at once; the turn itself ends when the agent says so.
    pub async fn cancel(&self, session_id: &str) -> Result<(), AcpError> {
        let sent = self.shared.notify("session/cancel", &wire::CancelNotification::new(session_id.to_owned())).await;
        self.shared.requests.withdraw_questions(session_id);
        sent
    }

    /// Changes the session's mode. One in which the agent asks nobody is refused here.
    pub async fn set_mode(&self, session_id: &str, mode_id: &str) -> Result<(), AcpError> {
        profiles::check_mode(mode_id)?;
        let params = wire::SetSessionModeRequest::new(session_id.to_owned(), mode_id.to_owned());
        self.ask("session/set_mode", &params).await.map(|Done {}| ())
    }

    /// Changes the session's model, for agents that told their models.
    pub async fn set_model(&self, session_id: &str, model_id: &str) -> Result<(), AcpError> {
        let params = json!({ "sessionId": session_id, "modelId": model_id });
        self.ask("session/set_model", &params).await.map(|Done {}| ())
    }

    /// Changes one of the session's settings to a text or to on or off; answers all of them.
    pub async fn set_config_option(
        &self,
        session_id: &str,
        option_id: &str,
        value: Value,
    ) -> Result<Vec<ConfigOption>, AcpError> {
        let mut params = json!({ "sessionId": session_id, "configId": option_id, "value": value });
        match (&value, params.as_object_mut()) {
            (Value::String(text), _) => profiles::check_mode(text)?,
            (Value::Bool(_), Some(params)) => {
                params.insert("type".to_owned(), json!("boolean"));
            }
            _ => return Err(AcpError::Unsupported { what: "settings that are neither texts nor on or off" }),
        }
        let told: ToldSession = self.ask("session/set_config_option", &params).await?;
        Ok(told.into_session(session_id.to_owned()).config_options)
    }

    /// Tells the agent that a session is over, when it wants to know.
    pub async fn close(&self, session_id: &str) -> Result<(), AcpError> {
        if !self.info().closes_sessions {
            return Ok(());
        }
        let params = wire::CloseSessionRequest::new(session_id.to_owned());
        let within = CLOSE_WITHIN.min(self.shared.options.answer_within);
        self.shared.call("session/close", &params, Some(within)).await.map(|Done {}| ())
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        method: &'static str,
        params: &impl serde::Serialize,
    ) -> Result<T, AcpError> {
        self.shared.call(method, params, Some(self.shared.options.answer_within)).await
    }
}
