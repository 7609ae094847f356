//! Which MCP servers there are: the `[mcp]` section of the configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use reeve_types::secret::SecretString;
use serde::{Deserialize, Deserializer};

/// Most servers.
const SERVERS_MAX: usize = 32;
/// Longest name of a server: it stands before the name of each of its tools.
const NAME_BYTES_MAX: usize = 24;

/// The `[mcp]` section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct McpConfig {
    /// Other people's servers, by the name that their tools get.
    pub servers: BTreeMap<String, ServerSettings>,
}

/// One server: `[mcp.servers.NAME]`, with either `command` or `url`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// The program to start and its arguments; it speaks on its standard input and output.
    pub command: Vec<String>,
    /// Where it answers over streamable HTTP.
    pub url: Option<String>,
    /// Variables of the program's environment, which holds nothing of ours but the usual few.
    #[serde(deserialize_with = "secrets")]
    pub env: BTreeMap<String, SecretString>,
    /// Variables that it gets as they are in our own environment.
    pub env_from: Vec<String>,
    /// Headers of every request.
    #[serde(deserialize_with = "secrets")]
    pub headers: BTreeMap<String, SecretString>,
    /// Headers whose values are in variables of our environment.
    pub headers_env: BTreeMap<String, String>,
    /// The tools to offer; all of them when absent.
    pub tools: Option<Vec<String>>,
    /// Tools that only look, whatever they say of themselves.
    pub read: Vec<String>,
    /// Tools that destroy nothing, whatever they say of themselves.
    pub write: Vec<String>,
    /// How long one call may take; two minutes when absent.
    pub timeout_ms: Option<u64>,
    /// The revision that it is greeted in, for a server that answers nonsense when it is asked for a newer one. Found out
    /// when absent.
    pub revision: Option<Revision>,
}

/// A revision of the protocol that a server can be held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Revision {
    /// The last that begins with a handshake (`initialize`).
    #[serde(rename = "2025-11-25")]
    V2025_11_25,
    /// The first in which each request stands by itself.
    #[serde(rename = "2026-07-28")]
    V2026_07_28,
}

fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, SecretString>, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
    Ok(texts.into_iter().map(|(name, text)| (name, text.into())).collect())
}

impl ServerSettings {
    /// How long one call may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.unwrap_or(120_000))
    }

    /// `command` or `url`: how it is reached, without saying where, which may be a secret.
    pub fn way(&self) -> &'static str {
        if self.url.is_some() { "url" } else { "command" }
    }

    /// Whether the configuration lets a tool be offered.
    pub(crate) fn wants(&self, tool: &str) -> bool {
        self.tools.as_ref().is_none_or(|tools| tools.iter().any(|named| named == tool))
    }
}

impl McpConfig {
    /// What is wrong, one sentence each with its place; empty when it can be used.
    pub fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.servers.len() > SERVERS_MAX {
            found
                .push(format!("`mcp.servers` names {} servers; at most {SERVERS_MAX} can be used", self.servers.len()));
        }
        for (name, server) in &self.servers {
            found.extend(mistakes_of(name, server).into_iter().map(|what| format!("`mcp.servers.{name}`: {what}")));
        }
        found
    }
}

fn mistakes_of(name: &str, server: &ServerSettings) -> Vec<String> {
    let mut found = Vec::new();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
        found.push(format!("a name has 1 to {NAME_BYTES_MAX} lower-case letters, digits and hyphens"));
    }
    match (&server.url, server.command.first()) {
        (None, None) => found.push("say how to reach it: `command = [\"program\", …]` or `url = \"https://…\"`".into()),
        (Some(_), Some(_)) => found.push("`command` and `url` exclude each other".to_owned()),
        (Some(url), None) => {
            let parsed = reqwest::Url::parse(url).ok();
            let fine = parsed.as_ref().is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if !fine {
                found.push("`url` must begin with http:// or https://".to_owned());
            }
            if parsed.is_some_and(|url| !url.username().is_empty() || url.password().is_some()) {
                found.push("`url` must not hold a name or password; use `headers_env`".to_owned());
            }
            if !server.env.is_empty() || !server.env_from.is_empty() {
                found.push("`env` and `env_from` are for programs; a server at a `url` has none".to_owned());
            }
        }
        (None, Some(program)) => {
            if program.is_empty() || server.command.iter().any(|part| part.contains('\0')) {
                found.push("`command` must begin with a program and hold no zero bytes".to_owned());
            }
            if !server.headers.is_empty() || !server.headers_env.is_empty() {
                found.push("`headers` are for servers at a `url`; use `env` for a program".to_owned());
            }
        }
    }
    for header in server.headers.keys().chain(server.headers_env.keys()) {
        if header.parse::<axum::http::HeaderName>().is_err() {
            found.push(format!("`{}` is not the name of a header", header.chars().take(60).collect::<String>()));
        }
    }
    if server.timeout_ms.is_some_and(|ms| !(1_000..=3_600_000).contains(&ms)) {
        found.push("`timeout_ms` must be between 1000 and 3600000".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(toml: &str) -> Vec<String> {
        let value: serde_json::Value = serde_json::from_str(toml).unwrap();
        serde_json::from_value::<McpConfig>(value).unwrap().mistakes()
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, why) in [
            (r#"{"servers": {"a": {}}}"#, "say how to reach it"),
            (r#"{"servers": {"a": {"command": ["x"], "url": "http://h"}}}"#, "exclude each other"),
            (r#"{"servers": {"a": {"url": "ftp://h"}}}"#, "http://"),
            (r#"{"servers": {"a": {"url": "https://u:p@h/mcp"}}}"#, "headers_env"),
            (r#"{"servers": {"A b": {"command": ["x"]}}}"#, "lower-case"),
            (r#"{"servers": {"a": {"command": ["x"], "headers": {"x": "y"}}}}"#, "`headers` are for"),
            (r#"{"servers": {"a": {"url": "http://h", "headers": {"x y": "z"}}}}"#, "not the name of a header"),
            (r#"{"servers": {"a": {"command": ["x"], "timeout_ms": 1}}}"#, "timeout_ms"),
        ] {
            let found = of(text);
            assert!(found.iter().any(|one| one.contains(why)), "{text}: {found:?}");
        }
        assert!(
            of(r#"{"servers": {"git-hub": {"url": "https://h/mcp", "headers_env": {"Authorization": "X"}}}}"#)
                .is_empty()
        );
    }
}
