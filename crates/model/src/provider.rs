//! One configured provider: where it is, how it is spoken to, and one attempt to get an answer from it.

use std::collections::BTreeMap;
use std::time::Duration;

use reeve_gate::TaskCx;
use reeve_gate::model::{ModelEvent, ModelFailureKind};
use reeve_types::TenantId;
use reeve_types::model::Prompt;
use reeve_types::secret::{ExposeSecret as _, MASK, SecretString};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, timeout_at};

use crate::config::{ConfigError, ProviderConfig, ProviderKind};
use crate::dialect::{self, Ask, Dialect, Reader};
use crate::draft::{CallIds, Draft};
use crate::patience::Patience;
use crate::sse::SseParser;
use crate::trouble::Trouble;

/// Longest answer in bytes, with all that wraps it.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Longest text of a refusal that is read.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;

/// How long the text of a refusal may take.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection may take to come about.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// A provider that is reached over HTTP.
pub(crate) struct Provider {
    kind: ProviderKind,
    dialect: &'static dyn Dialect,
    base: String,
    /// For people: the address without anything secret.
    pub(crate) host: String,
    is_vendor: bool,
    headers: HeaderMap,
    key: Option<SecretString>,
    tenant_keys: BTreeMap<String, SecretString>,
    max_output_tokens: Option<u32>,
    patience: Patience,
    client: Client,
}

impl Provider {
    pub(crate) fn new(name: &str, config: &ProviderConfig, dialect: &'static dyn Dialect) -> Result<Self, ConfigError> {
        let setting = |field: &str| format!("providers.{name}.{field}");
        let written = config.base_url.as_deref().unwrap_or(config.kind.base_url());
        let mut base: Url = written.parse().map_err(|_| {
            ConfigError::setting(setting("base_url"), "this is no URL; write one like `http://127.0.0.1:11434/v1`")
        })?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(ConfigError::setting(setting("base_url"), "only http and https URLs are possible"));
        }
        if !base.username().is_empty() || base.password().is_some() || base.query().is_some() {
            let problem = "keys belong into `key_env`, `key` or `headers`, not into the URL";
            return Err(ConfigError::setting(setting("base_url"), problem));
        }
        complete(config.kind, &mut base);
        let host = base.host_str().unwrap_or_default().to_owned();
        let vendor = Url::parse(config.kind.base_url()).ok();
        let is_vendor = vendor.is_some_and(|vendor| vendor.host_str() == Some(&host));

        let mut headers = HeaderMap::new();
        for (key, value) in &config.headers {
            let key = HeaderName::from_bytes(key.as_bytes())
                .map_err(|_| ConfigError::setting(setting("headers"), format!("`{key}` is no header's name")))?;
            headers.insert(
                key.clone(),
                sensitive(value.expose_secret()).ok_or_else(|| {
                    ConfigError::setting(setting("headers"), format!("the value of `{key}` cannot be sent"))
                })?,
            );
        }
        let usable = |key: &SecretString| sensitive(key.expose_secret()).is_some();
        let tenant_keys: BTreeMap<String, SecretString> =
            config.tenants.iter().filter_map(|(tenant, key)| Some((tenant.clone(), key.key.clone()?))).collect();
        if !config.key.iter().chain(tenant_keys.values()).all(usable) {
            return Err(ConfigError::setting(setting("key"), "the key has characters that cannot be sent in a header"));
        }
        let patience = |value: Option<u64>, usual: u64, field: &str| match value.unwrap_or(usual) {
            0 => Err(ConfigError::setting(setting(field), "write milliseconds, at least 1")),
            // A day is for ever.
            milliseconds => Ok(Duration::from_millis(milliseconds.min(86_400_000))),
        };
        let port = base.port().map(|port| format!(":{port}")).unwrap_or_default();
        Ok(Self {
            kind: config.kind,
            dialect,
            host: format!("{host}{port}"),
            is_vendor,
            headers,
            key: config.key.clone(),
            tenant_keys,
            max_output_tokens: config.max_output_tokens,
            patience: Patience {
                first: patience(config.timeout_ms, 120_000, "timeout_ms")?,
                idle: patience(config.idle_timeout_ms, 120_000, "idle_timeout_ms")?,
                whole: patience(config.answer_timeout_ms, 600_000, "answer_timeout_ms")?,
            },
            client: client(&base)?,
            base: base.as_str().trim_end_matches('/').to_owned(),
        })
    }

    fn dialect(&self, model: &str) -> &'static dyn Dialect {
        if self.is_vendor { dialect::at_vendor(self.kind, model).unwrap_or(self.dialect) } else { self.dialect }
    }

    /// The tenant's own key, or the one for all.
    fn key(&self, tenant: &TenantId) -> Option<&SecretString> {
        self.tenant_keys.get(tenant.as_str()).or(self.key.as_ref())
    }

    /// Whether the tenant can ask it: a vendor wants a key, a server of one's own may not.
    pub(crate) fn lacks_key(&self, tenant: &TenantId) -> bool {
        self.is_vendor && self.key(tenant).is_none()
    }

    /// One attempt. Tells `said` what comes.
    pub(crate) async fn ask(
        &self,
        tenant: &TenantId,
        model: &str,
        prompt: &Prompt,
        cx: &TaskCx,
        said: &Sender<ModelEvent>,
    ) -> Result<Draft, Trouble> {
        let started = Instant::now();
        let end = started + self.patience.whole;
        let first = (started + self.patience.first).min(end);
        let ask = Ask {
            model,
            prompt,
            max_output_tokens: prompt.max_output_tokens.or(self.max_output_tokens),
            is_vendor: self.is_vendor,
        };
        let request = self.request(tenant, &ask)?;
        let response = match timeout_at(first, request.send()).await {
            Err(_) => return Err(self.silent(self.patience.first, end)),
            Ok(Err(error)) => return Err(Trouble::passing(ModelFailureKind::Unreachable, why(&error))),
            Ok(Ok(response)) => response,
        };
        if !response.status().is_success() {
            return Err(refusal(response, self.key(tenant), cx).await);
        }
        self.check_type(&response)?;
        let reader = self.dialect(model).reader(CallIds::after(&prompt.messages, cx.random()));
        self.read(response, reader, first, end, said).await
    }

    fn request(&self, tenant: &TenantId, ask: &Ask<'_>) -> Result<reqwest::RequestBuilder, Trouble> {
        let dialect = self.dialect(ask.model);
        let url = format!("{}/{}", self.base, dialect.path(ask.model));
        let url = Url::parse(&url)
            .map_err(|_| Trouble::final_(ModelFailureKind::Rejected, "cannot be asked for a model of this name"))?;
        let body = serde_json::to_vec(&dialect.body(ask))
            .map_err(|_| Trouble::final_(ModelFailureKind::Rejected, "cannot be sent this conversation"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in dialect.headers() {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("accept", HeaderValue::from_static("text/event-stream"));
        if let Some(key) = self.key(tenant) {
            let (name, before) = dialect.key_header();
            let value = sensitive(&format!("{before}{}", key.expose_secret()))
                .ok_or_else(|| Trouble::final_(ModelFailureKind::Unauthorized, "cannot be sent this key"))?;
            headers.insert(name, value);
        }
        headers.extend(self.headers.clone());
        Ok(self.client.post(url).headers(headers).body(body))
    }

    /// How it is spoken to.
    pub(crate) fn kind(&self) -> ProviderKind {
        self.kind
    }

    /// How long each part of an answer may take.
    pub(crate) fn patience(&self) -> Patience {
        self.patience
    }

    /// Whether anybody at all could ask it.
    pub(crate) fn lacks_every_key(&self) -> bool {
        self.is_vendor && self.key.is_none() && self.tenant_keys.is_empty()
    }

    /// Somebody else's request, with the tenant's key. `path` begins with `/` and is a path of the provider's API.
    pub(crate) fn foreign(
        &self,
        tenant: &TenantId,
        method: reqwest::Method,
        path: &str,
        mut headers: HeaderMap,
        body: bytes::Bytes,
    ) -> Option<reqwest::RequestBuilder> {
        let url = Url::parse(&format!("{}{path}", self.base)).ok()?;
        for (name, value) in self.dialect.headers() {
            headers.entry(*name).or_insert(HeaderValue::from_static(value));
        }
        if let Some(key) = self.key(tenant) {
            let (name, before) = self.dialect.key_header();
            headers.insert(name, sensitive(&format!("{before}{}", key.expose_secret()))?);
        }
        headers.extend(self.headers.clone());
        Some(self.client.request(method, url).headers(headers).body(body))
    }

    /// A text of the provider's without the key that it may have repeated.
    pub(crate) fn without_key(&self, tenant: &TenantId, text: &str) -> String {
        match self.key(tenant).map(|key| key.expose_secret()).filter(|key| !key.is_empty()) {
            Some(key) => text.replace(key, MASK),
            None => text.to_owned(),
        }
    }

    fn check_type(&self, response: &Response) -> Result<(), Trouble> {
        let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        // Some servers name no type at all.
        if kind.is_empty() || kind.eq_ignore_ascii_case("text/event-stream") {
            return Ok(());
        }
        let kind: String = kind.chars().filter(|c| !c.is_control()).take(60).collect();
        Err(Trouble::malformed(format!("answered with `{kind}` instead of a stream of events")))
    }

    async fn read(
        &self,
        mut response: Response,
        mut reader: Box<dyn Reader>,
        first: Instant,
        end: Instant,
        said: &Sender<ModelEvent>,
    ) -> Result<Draft, Trouble> {
        let mut parser = SseParser::default();
        let (mut events, mut news) = (Vec::new(), Vec::new());
        let (mut until, mut patience, mut bytes) = (first, self.patience.first, 0);
        loop {
            let chunk = match timeout_at(until, response.chunk()).await {
                Err(_) if reader.is_whole() => None,
                Err(_) => return Err(self.silent(patience, end)),
                Ok(Err(_)) if reader.is_whole() => None,
                Ok(Err(_)) => return Err(Trouble::broke_off()),
                Ok(Ok(chunk)) => chunk,
            };
            let is_end = chunk.is_none();
            if let Some(chunk) = chunk {
                bytes += chunk.len();
                if bytes > MAX_ANSWER_BYTES {
                    return Err(Trouble::malformed(format!("sent more than {} MiB", MAX_ANSWER_BYTES >> 20)));
                }
                parser
                    .push(&chunk, &mut events)
                    .map_err(|error| Trouble::malformed(format!("sent too much at once: {error}")))?;
            } else {
                events.extend(std::mem::take(&mut parser).finish());
            }
            for event in events.drain(..) {
                reader.take(&event, &mut news)?;
                if reader.draft().is_too_long() {
                    return Err(Trouble::malformed("sent an answer of too many pieces"));
                }
            }
            for event in news.drain(..) {
                // Nobody listens any more only when the whole answer has been dropped, and this with it.
                let _ = said.send(event).await;
            }
            if reader.is_done() || (is_end && reader.is_whole()) {
                return Ok(reader.into_draft());
            }
            if is_end {
                return Err(Trouble::broke_off());
            }
            patience = self.patience.idle;
            until = (Instant::now() + patience).min(end);
        }
    }

    fn silent(&self, patience: Duration, end: Instant) -> Trouble {
        if Instant::now() >= end {
            let what = format!("did not come to an end within {:?}", self.patience.whole);
            return Trouble::final_(ModelFailureKind::Timeout, what);
        }
        Trouble::passing(ModelFailureKind::Unreachable, format!("said nothing for {patience:?}"))
    }
}

/// Puts the part of the address in that people leave out, and takes out what they write too much.
fn complete(kind: ProviderKind, base: &mut Url) {
    let path = base.path().trim_end_matches('/').to_owned();
    let path = match kind {
        ProviderKind::Anthropic => path.strip_suffix("/v1").unwrap_or(&path).to_owned(),
        ProviderKind::Openai | ProviderKind::OpenaiResponses if path.is_empty() => "/v1".to_owned(),
        ProviderKind::Gemini if path.is_empty() => "/v1beta".to_owned(),
        _ => path,
    };
    base.set_path(&path);
    base.set_fragment(None);
}

fn client(base: &Url) -> Result<Client, ConfigError> {
    let mut builder = Client::builder()
        .connect_timeout(CONNECT_PATIENCE)
        .redirect(Policy::none())
        .user_agent(concat!("reeve/", env!("CARGO_PKG_VERSION")));
    let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
    if host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(ConfigError::Client)
}

fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value.trim()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

async fn refusal(mut response: Response, key: Option<&SecretString>, cx: &TaskCx) -> Trouble {
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    let until = Instant::now() + REFUSAL_PATIENCE;
    while let Ok(Ok(Some(chunk))) = timeout_at(until, response.chunk()).await {
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_REFUSAL_BYTES - body.len())]);
        if body.len() == MAX_REFUSAL_BYTES {
            break;
        }
    }
    // A server may repeat what it was sent.
    let text = String::from_utf8_lossy(&body);
    let text = match key.map(|key| key.expose_secret()).filter(|key| !key.is_empty()) {
        Some(key) => text.replace(key, MASK),
        None => text.into_owned(),
    };
    Trouble::refused(status, &headers, text.as_bytes(), cx.now())
}

/// In words, and without the address that the client's own text would name.
pub(crate) fn why(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "did not accept the connection in time"
    } else if error.is_connect() {
        "did not accept the connection"
    } else {
        "broke the connection off"
    }
}

/// A provider of its kind, or `None` for `replay`.
pub(crate) fn build(name: &str, config: &ProviderConfig) -> Result<Option<Provider>, ConfigError> {
    dialect::of(config.kind).map(|dialect| Provider::new(name, config, dialect)).transpose()
}
