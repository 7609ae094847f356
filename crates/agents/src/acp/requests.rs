//! The agent's requests, each read, handed to the peer, and its answer put into the shape that the agent expects.

use agent_client_protocol_schema::v1 as wire;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::PeerError;
use super::error::sentence;
use super::peer::{
    CreateTerminal, Peer, PermissionOption, PermissionOutcome, PermissionRequest, ReadTextFile, TerminalExit,
    TerminalRef, WriteTextFile,
};

/// The request that waits for people.
pub(super) const PERMISSION: &str = "session/request_permission";
/// The most options of one question.
const OPTIONS_MAX: usize = 64;

/// Answers one request.
pub(super) async fn serve(peer: &dyn Peer, method: &str, params: Option<&RawValue>) -> Result<Value, PeerError> {
    match method {
        PERMISSION => permission(peer, params).await,
        "fs/read_text_file" => {
            let asked: wire::ReadTextFileRequest = read(params)?;
            let request = ReadTextFile {
                session_id: asked.session_id.0.to_string(),
                path: path(asked.path)?,
                line: asked.line,
                limit: asked.limit,
            };
            Ok(json!({ "content": peer.read_text_file(request).await? }))
        }
        "fs/write_text_file" => {
            let asked: wire::WriteTextFileRequest = read(params)?;
            let (session_id, content) = (asked.session_id.0.to_string(), asked.content);
            peer.write_text_file(WriteTextFile { session_id, path: path(asked.path)?, content }).await?;
            Ok(json!({}))
        }
        "terminal/create" => {
            let terminal_id = peer.terminal_create(terminal(read(params)?)?).await?;
            Ok(json!({ "terminalId": terminal_id }))
        }
        "terminal/output" => {
            let told = peer.terminal_output(which(params)?).await?;
            let mut answer = json!({ "output": told.output, "truncated": told.truncated });
            if let (Some(exit), Some(answer)) = (told.exit, answer.as_object_mut()) {
                answer.insert("exitStatus".to_owned(), exit_status(&exit));
            }
            Ok(answer)
        }
        "terminal/wait_for_exit" => Ok(exit_status(&peer.terminal_wait_for_exit(which(params)?).await?)),
        "terminal/kill" => peer.terminal_kill(which(params)?).await.map(|()| json!({})),
        "terminal/release" => peer.terminal_release(which(params)?).await.map(|()| json!({})),
        other => Err(PeerError::NotServed(format!("there is no method `{}` here", sentence(other)))),
    }
}

async fn permission(peer: &dyn Peer, params: Option<&RawValue>) -> Result<Value, PeerError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Asked {
        session_id: String,
        tool_call: wire::ToolCallUpdate,
        #[serde(default)]
        options: Vec<Value>,
    }
    let raw: Value = read(params)?;
    let asked = Asked::deserialize(&raw).map_err(|error| bad(&error))?;
    // An option that cannot be read cannot be chosen; the others can.
    let offered = asked.options.iter().take(OPTIONS_MAX);
    let options = offered.filter_map(|option| wire::PermissionOption::deserialize(option).ok());
    let options: Vec<PermissionOption> = options.map(PermissionOption::from).collect();
    let session_id = asked.session_id;
    let request = PermissionRequest { session_id, tool_call: asked.tool_call.into(), options: options.clone(), raw };
    match peer.request_permission(request).await.among(&options) {
        PermissionOutcome::Selected(id) => Ok(json!({ "outcome": { "outcome": "selected", "optionId": id } })),
        PermissionOutcome::Cancelled => Ok(void()),
    }
}

/// The answer to a question that nobody decides.
pub(super) fn void() -> Value {
    json!({ "outcome": { "outcome": "cancelled" } })
}

fn terminal(asked: wire::CreateTerminalRequest) -> Result<CreateTerminal, PeerError> {
    Ok(CreateTerminal {
        session_id: asked.session_id.0.to_string(),
        command: asked.command,
        args: asked.args,
        env: asked.env.into_iter().map(|variable| (variable.name, variable.value)).collect(),
        cwd: asked.cwd.map(path).transpose()?,
        output_byte_limit: asked.output_byte_limit,
    })
}

fn which(params: Option<&RawValue>) -> Result<TerminalRef, PeerError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Asked {
        session_id: String,
        terminal_id: String,
    }
    let asked: Asked = read(params)?;
    Ok(TerminalRef { session_id: asked.session_id, terminal_id: asked.terminal_id })
}

fn exit_status(exit: &TerminalExit) -> Value {
    json!({ "exitCode": exit.exit_code, "signal": exit.signal })
}

fn path(path: std::path::PathBuf) -> Result<String, PeerError> {
    match path.into_os_string().into_string() {
        Ok(path) if path.starts_with('/') => Ok(path),
        Ok(path) => Err(PeerError::BadParameters(format!("`{}` is no absolute path", sentence(&path)))),
        Err(_) => Err(PeerError::BadParameters("the path is no UTF-8".to_owned())),
    }
}

fn read<T: DeserializeOwned>(params: Option<&RawValue>) -> Result<T, PeerError> {
    let params = params.ok_or_else(|| PeerError::BadParameters("the request has no `params`".to_owned()))?;
    serde_json::from_str(params.get()).map_err(|error| bad(&error))
}

fn bad(error: &serde_json::Error) -> PeerError {
    PeerError::BadParameters(format!("the parameters cannot be read: {}", sentence(&error.to_string())))
}
