//! What a server's answer to a call is for us: somebody else's text, bounded, with nothing hidden in it.

use reeve_gate::{FailureKind, ToolFailure};
use reeve_types::ToolOutput;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock, ErrorCode, ResourceContents};
use rmcp::service::ServiceError;

use super::link::of_others;
use crate::wording::visible;

/// Longest text of one answer, in characters.
const TEXT_CHARS_MAX: usize = 256 * 1024;
/// Largest data of one answer, in bytes of JSON.
const DATA_BYTES_MAX: usize = 1024 * 1024;

/// What the tool gave back, or why it failed. `mutates` says whether it may have changed something before a failure.
pub(crate) fn of_call(
    server: &str,
    tool: &str,
    mutates: bool,
    answered: Result<CallToolResponse, ServiceError>,
) -> Result<ToolOutput, ToolFailure> {
    match answered {
        Ok(CallToolResponse::Complete(result)) => of_result(server, tool, result),
        Ok(_) => {
            let message = format!(
                "`{tool}` of the MCP server `{server}` wants to ask its caller something, and here nobody can answer it"
            );
            Err(ToolFailure::new(FailureKind::Failed, message))
        }
        Err(ServiceError::McpError(error)) => {
            let kind = if error.code == ErrorCode::INVALID_PARAMS { FailureKind::Invalid } else { FailureKind::Failed };
            let said = visible(&error.message, 400);
            Err(ToolFailure::new(kind, format!("the MCP server `{server}` refused `{tool}`: {said}")))
        }
        Err(error) => {
            let kind = if mutates { FailureKind::Unknown } else { FailureKind::Unreachable };
            let message =
                format!("the connection to the MCP server `{server}` broke during `{tool}`: {}", of_others(&error));
            Err(ToolFailure::new(kind, message))
        }
    }
}

fn of_result(server: &str, tool: &str, result: CallToolResult) -> Result<ToolOutput, ToolFailure> {
    let text = visible(&result.content.iter().map(words).collect::<Vec<_>>().join("\n"), TEXT_CHARS_MAX);
    if result.is_error == Some(true) {
        let first = visible(text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it did not say why"), 400);
        let message = format!("`{tool}` of the MCP server `{server}` failed: {first}");
        return Err(ToolFailure { kind: FailureKind::Failed, message, report: Some(text) });
    }
    let data = result.structured_content.filter(|data| data.to_string().len() <= DATA_BYTES_MAX);
    let output = match (&data, text.is_empty()) {
        (Some(data), true) => visible(&data.to_string(), TEXT_CHARS_MAX),
        _ => text,
    };
    Ok(ToolOutput { output, data, ..ToolOutput::default() })
}

/// A block in words. Pictures, sounds and files are named and not passed on.
fn words(block: &ContentBlock) -> String {
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => format!("[image, {}]", image.mime_type),
        ContentBlock::Audio(audio) => format!("[sound, {}]", audio.mime_type),
        ContentBlock::ResourceLink(link) => format!("[resource {}: {}]", link.name, link.uri),
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::TextResourceContents { uri, text, .. } => format!("[resource {uri}]\n{text}"),
            ResourceContents::BlobResourceContents { uri, .. } => format!("[resource {uri}, binary]"),
            _ => "[resource]".to_owned(),
        },
        _ => "[content of a kind that is not known here]".to_owned(),
    }
}
