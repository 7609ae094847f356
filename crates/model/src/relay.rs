//! Calls of programs that speak a vendor's API by themselves, handed on with the key that they must not have.
//!
//! Only calls of models pass: a closed list of paths, of methods, of headers, and of the models that the configuration
//! lists. What a program sends to prove itself is dropped; what the provider sets in the program's name never comes back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use reeve_gate::relay::{ModelRelay, RelayAnswer, RelayCall, RelayMeter, Relayed, Speech};
use reeve_gate::workspace::ByteStream;
use reeve_types::TenantId;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::catalog::Catalog;
use crate::config::ProviderKind;
use crate::metered::Metered;
use crate::provider::{Provider, why};

/// Longest path with its query, in bytes.
const PATH_BYTES_MAX: usize = 2048;
/// Longest answer in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest refusal in bytes. It is read whole, since a provider may repeat the key in it.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// How long a refusal may take.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(10);
/// What a program may say about its call.
const HEADERS_SENT: [&str; 6] =
    ["accept", "content-type", "anthropic-version", "anthropic-beta", "openai-beta", "x-goog-api-client"];
/// What a provider may say about its answer.
const HEADERS_TOLD: [&str; 5] = ["content-type", "retry-after", "retry-after-ms", "request-id", "x-request-id"];
/// What Gemini can be asked of a model.
const GEMINI_VERBS: [&str; 5] =
    ["generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"];

impl ModelRelay for Catalog {
    fn provider(
        &self,
        named: Option<&str>,
        speech: Option<Speech>,
        tenant: Option<&TenantId>,
    ) -> Result<Relayed, String> {
        let lacks_key = |server: &Provider| match tenant {
            Some(tenant) => server.lacks_key(tenant),
            None => server.lacks_every_key(),
        };
        let told = |(name, server, models): (&str, &Provider, &[String])| Relayed {
            provider: name.to_owned(),
            speech: speech_of(server.kind()),
            model: models.first().cloned(),
        };
        if let Some(named) = named {
            let found = self.servers().find(|(name, ..)| *name == named);
            let (_, server, _) = found.ok_or_else(|| format!("there is no provider `{named}` in models.toml"))?;
            let spoken = speech_of(server.kind());
            if let Some(wanted) = speech.filter(|wanted| *wanted != spoken) {
                let (wanted, spoken) = (wanted.as_str(), spoken.as_str());
                return Err(format!("it speaks `{wanted}`, and the provider `{named}` speaks `{spoken}`"));
            }
            if lacks_key(server) {
                return Err(format!("the provider `{named}` has no key; see docs/models.md"));
            }
            return found.map(told).ok_or_else(String::new);
        }
        let Some(speech) = speech else { return Err("name its provider: `model_provider`".to_owned()) };
        let fits = |(_, server, _): &(&str, &Provider, &[String])| speech_of(server.kind()) == speech;
        let found = self.servers().filter(fits).find(|(_, server, _)| !lacks_key(server));
        found.map(told).ok_or_else(|| {
            let kind = speech.as_str();
            format!("no provider of kind `{kind}` with a key is configured; see docs/models.md for how to name one")
        })
    }

    fn relay<'a>(
        &'a self,
        tenant: &'a TenantId,
        provider: &'a str,
        call: RelayCall,
        meter: Arc<dyn RelayMeter>,
    ) -> BoxFuture<'a, RelayAnswer> {
        Box::pin(async move {
            let Some((_, server, models)) = self.servers().find(|(name, ..)| *name == provider) else {
                return refusal(404, "there is no such provider any more");
            };
            let Some(wanted) = Wanted::read(server.kind(), &call) else {
                return refusal(404, "this leads to models only, and that is no call of a model");
            };
            if let Some(model) = &wanted.model
                && !models.is_empty()
                && !models.contains(model)
            {
                let shown: String = model.chars().take(100).collect();
                let listed = models.join(", ");
                return refusal(404, &format!("`{shown}` is not among the models of `{provider}`: {listed}"));
            }
            let (method, path) = (wanted.method, wanted.path);
            let (speech, prices) = (speech_of(server.kind()), self.prices());
            let metered = wanted
                .model
                .map(|model| move |kind: &str| Metered::new(speech, model, kind, Arc::clone(prices), meter));
            match server.foreign(tenant, method, &path, sent(&call.headers), call.body) {
                Some(request) => answer(server, tenant, request, metered).await,
                None => refusal(404, "this path cannot be asked for"),
            }
        })
    }
}

fn speech_of(kind: ProviderKind) -> Speech {
    match kind {
        ProviderKind::Anthropic => Speech::Anthropic,
        ProviderKind::Gemini => Speech::Gemini,
        ProviderKind::Openai | ProviderKind::OpenaiResponses | ProviderKind::Replay => Speech::Openai,
    }
}

/// A call that may pass.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    method: Method,
    /// Below the provider's base.
    path: String,
    /// The model that is asked, where one is.
    model: Option<String>,
}

impl Wanted {
    fn read(kind: ProviderKind, call: &RelayCall) -> Option<Self> {
        if call.path.len() > PATH_BYTES_MAX || !call.path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let (path, query) = call.path.split_once('?').unwrap_or((&call.path, ""));
        let method = match call.method.as_str() {
            "GET" => Method::GET,
            "POST" => Method::POST,
            _ => return None,
        };
        let posts = method == Method::POST;
        let names: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        let is_name = |name: &str| !name.is_empty() && name.len() <= 200 && plain(name) && !name.contains("..");
        let in_body = || model_in(&call.body);
        let (below, model) = match (speech_of(kind), names.as_slice()) {
            (Speech::Anthropic, ["v1", "messages"] | ["v1", "messages", "count_tokens"]) if posts => (path, in_body()?),
            (Speech::Anthropic, ["v1", "models"]) if !posts => (path, None),
            (Speech::Anthropic, ["v1", "models", name]) if !posts && is_name(name) => (path, None),
            (Speech::Openai, ["v1", "chat", "completions"] | ["v1", "responses"]) if posts => {
                (path.strip_prefix("/v1")?, in_body()?)
            }
            (Speech::Openai, ["v1", "models"]) if !posts => (path.strip_prefix("/v1")?, None),
            (Speech::Openai, ["v1", "models", name]) if !posts && is_name(name) => (path.strip_prefix("/v1")?, None),
            (Speech::Gemini, ["v1beta", "models"]) if !posts => (path.strip_prefix("/v1beta")?, None),
            (Speech::Gemini, ["v1beta", "models", name]) if !posts && is_name(name) => {
                (path.strip_prefix("/v1beta")?, None)
            }
            (Speech::Gemini, ["v1beta", "models", asked]) if posts => {
                let (name, verb) = asked.split_once(':')?;
                if !is_name(name) || !GEMINI_VERBS.contains(&verb) {
                    return None;
                }
                (path.strip_prefix("/v1beta")?, Some(name.to_owned()))
            }
            _ => return None,
        };
        let kept: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty() && !proves(pair)).collect();
        let path = if kept.is_empty() { below.to_owned() } else { format!("{below}?{}", kept.join("&")) };
        Some(Self { method, path, model })
    }
}

/// Whether part of a query says who asks.
fn proves(pair: &str) -> bool {
    let name = pair.split('=').next().unwrap_or_default();
    // An escaped name could be any.
    name.contains('%') || ["key", "access_token", "api_key", "apikey"].contains(&name.to_ascii_lowercase().as_str())
}

/// The model that a body names; nothing when the body is no request.
#[expect(clippy::option_option, reason = "whether it can be read, and whether it names one")]
fn model_in(body: &[u8]) -> Option<Option<String>> {
    #[derive(serde::Deserialize)]
    struct Asked {
        model: Option<String>,
    }
    serde_json::from_slice::<Asked>(body).ok().map(|asked| asked.model)
}

fn sent(headers: &[(String, String)]) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        if HEADERS_SENT.contains(&lower.as_str())
            && let (Ok(name), Ok(value)) = (HeaderName::try_from(lower), HeaderValue::try_from(value))
        {
            kept.append(name, value);
        }
    }
    kept
}

fn told(headers: &HeaderMap) -> Vec<(String, String)> {
    let tellable = |name: &str| HEADERS_TOLD.contains(&name) || name.contains("ratelimit");
    let pairs = headers.iter().filter(|(name, _)| tellable(name.as_str()));
    pairs.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))).collect()
}

/// `metered` makes what counts an answer of a type; calls that ask no model are not counted.
async fn answer(
    server: &Provider,
    tenant: &TenantId,
    request: reqwest::RequestBuilder,
    metered: Option<impl FnOnce(&str) -> Metered>,
) -> RelayAnswer {
    let patience = server.patience();
    let started = Instant::now();
    let end = started + patience.whole;
    let response = match timeout_at((started + patience.first).min(end), request.send()).await {
        Err(_) => return refusal(504, &format!("{} said nothing for {:?}", server.host, patience.first)),
        Ok(Err(error)) => return refusal(502, &format!("{} {}", server.host, why(&error))),
        Ok(Ok(response)) => response,
    };
    let (status, headers) = (response.status(), told(response.headers()));
    if status.is_success() {
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let metered = metered.map(|metered| metered(kind));
        return RelayAnswer {
            status: status.as_u16(),
            headers,
            body: passed_on(response, metered, patience.idle, end),
        };
    }
    let text = server.without_key(tenant, &whole(response).await);
    // Nothing but the provider itself is ever asked, wherever it would send one.
    let status = if status.is_redirection() { 502 } else { status.as_u16() };
    RelayAnswer { status, headers, body: once(text.into_bytes()) }
}

/// The bytes of an answer as they come, within their bounds.
fn passed_on(response: Response, metered: Option<Metered>, idle: Duration, end: Instant) -> ByteStream {
    let over = |kind, text: &str| std::io::Error::new(kind, text.to_owned());
    futures_util::stream::unfold(Some((response, metered, 0_usize)), move |state| async move {
        let (mut response, mut metered, bytes) = state?;
        let piece = match timeout_at((Instant::now() + idle).min(end), response.chunk()).await {
            Ok(Ok(None)) => return None,
            Ok(Ok(Some(piece))) => piece,
            Ok(Err(_)) => return Some((Err(over(std::io::ErrorKind::BrokenPipe, "the answer broke off")), None)),
            Err(_) => return Some((Err(over(std::io::ErrorKind::TimedOut, "the answer took too long")), None)),
        };
        let bytes = bytes.saturating_add(piece.len());
        if bytes > ANSWER_BYTES_MAX {
            return Some((Err(over(std::io::ErrorKind::FileTooLarge, "the answer is too long")), None));
        }
        if let Some(metered) = &mut metered {
            metered.take(&piece);
        }
        Some((Ok(piece), Some((response, metered, bytes))))
    })
    .boxed()
}

async fn whole(mut response: Response) -> String {
    let mut body = Vec::new();
    let until = Instant::now() + REFUSAL_PATIENCE;
    while let Ok(Ok(Some(piece))) = timeout_at(until, response.chunk()).await {
        let room = REFUSAL_BYTES_MAX.saturating_sub(body.len());
        body.extend(piece.into_iter().take(room));
        if body.len() >= REFUSAL_BYTES_MAX {
            break;
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}

fn once(bytes: Vec<u8>) -> ByteStream {
    futures_util::stream::once(std::future::ready(Ok(Bytes::from(bytes)))).boxed()
}

/// A refusal of ours, in the shape that clients of all three read.
fn refusal(status: u16, message: &str) -> RelayAnswer {
    let body: Value = json!({"type": "error", "error": {"type": "reeve_relay", "code": status, "message": format!("reeve: {message}")}});
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    RelayAnswer { status, headers, body: once(body.to_string().into_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: ProviderKind, method: &str, path: &str) -> Option<(String, Option<String>)> {
        let body = Bytes::from_static(br#"{"model": "m-1", "messages": []}"#);
        let call = RelayCall { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body };
        Wanted::read(kind, &call).map(|wanted| (wanted.path, wanted.model))
    }

    fn passes(path: &str, model: Option<&str>) -> Option<(String, Option<String>)> {
        Some((path.to_owned(), model.map(str::to_owned)))
    }

    #[test]
    fn calls_of_models_pass_and_land_below_the_providers_base() {
        use ProviderKind::{Anthropic, Gemini, Openai, OpenaiResponses};
        let m = Some("m-1");
        assert_eq!(read(Anthropic, "POST", "/v1/messages?beta=true"), passes("/v1/messages?beta=true", m));
        assert_eq!(read(Anthropic, "POST", "/v1/messages/count_tokens"), passes("/v1/messages/count_tokens", m));
        assert_eq!(read(Anthropic, "GET", "/v1/models"), passes("/v1/models", None));
        assert_eq!(read(Openai, "POST", "/v1/chat/completions"), passes("/chat/completions", m));
        assert_eq!(read(OpenaiResponses, "POST", "/v1/responses"), passes("/responses", m));
        assert_eq!(
            read(Gemini, "POST", "/v1beta/models/g-2.5:streamGenerateContent?alt=sse&key=theirs"),
            passes("/models/g-2.5:streamGenerateContent?alt=sse", Some("g-2.5"))
        );
    }

    #[test]
    fn nothing_else_passes() {
        use ProviderKind::{Anthropic, Gemini, Openai};
        for (kind, method, path) in [
            (Anthropic, "GET", "/v1/messages"),
            (Anthropic, "DELETE", "/v1/models/x"),
            (Anthropic, "POST", "/v1/files"),
            (Anthropic, "POST", "/v1/messages/batches"),
            (Anthropic, "GET", "/v1/organizations/api_keys"),
            (Anthropic, "GET", "/v1/models/.."),
            (Anthropic, "GET", "/v1/models/%2e%2e"),
            (Anthropic, "POST", "//v1/messages"),
            (Anthropic, "POST", "http://elsewhere/v1/messages"),
            (Openai, "POST", "/v1/fine_tuning/jobs"),
            (Openai, "GET", "/v1/responses/resp_1"),
            (Openai, "POST", "/chat/completions"),
            (Gemini, "POST", "/v1beta/models/g:tunedEverything"),
            (Gemini, "POST", "/v1beta/models/../files:countTokens"),
            (Gemini, "POST", "/v1beta/cachedContents"),
        ] {
            assert_eq!(read(kind, method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn what_a_program_proves_itself_with_is_dropped() {
        let headers =
            ["authorization", "X-Api-Key", "cookie", "x-goog-api-key", "host", "connection", "Anthropic-Beta"];
        let headers: Vec<_> = headers.map(|name| (name.to_owned(), "x".to_owned())).into();
        let kept = sent(&headers);
        assert_eq!(kept.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["anthropic-beta"]);
        for pair in ["key=a", "Key=a", "%6bey=a", "access_token=a"] {
            assert!(proves(pair), "{pair}");
        }
    }
}
