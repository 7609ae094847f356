//! Asking an API server: one request under a deadline, and lists page by page.

mod failure;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reeve_types::Digest;
use reeve_types::secret::ExposeSecret as _;
use reqwest::{Certificate, Client, Identity, Proxy, Url, redirect};
use serde::de::DeserializeOwned;

use crate::kubeconfig::{Access, Credentials};
use crate::objects::{List, Status};
pub use failure::{ApiFailure, ApiFailureKind};

/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How many clusters' connections are kept.
const CLIENTS_MAX: usize = 16;

/// How API servers are asked.
#[derive(Debug, Clone, Copy)]
pub struct ClientOptions {
    /// How long one request may take.
    pub request_timeout: Duration,
    /// How many objects are asked for at a time.
    pub page_objects: usize,
    /// How many objects of one list are read at most.
    pub list_objects_max: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { request_timeout: Duration::from_secs(10), page_objects: 500, list_objects_max: 5_000 }
    }
}

/// Connections to API servers, kept between calls.
#[derive(Default)]
pub struct Clients {
    kept: Mutex<BTreeMap<Digest, Client>>,
}

impl Clients {
    /// A way to ask the server that an access leads to.
    pub fn api(&self, access: Access, options: ClientOptions) -> Result<Api, ApiFailure> {
        let key = access.connection_key();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let http = match kept.get(&key) {
            Some(http) => http.clone(),
            None => {
                let http = connect(&access)?;
                // Credentials that were replaced leave entries behind; starting over costs one handshake each.
                if kept.len() >= CLIENTS_MAX {
                    kept.clear();
                }
                kept.insert(key, http.clone());
                http
            }
        };
        Ok(Api { http, access, options })
    }
}

fn connect(access: &Access) -> Result<Client, ApiFailure> {
    let bad = |what: &str, error: &reqwest::Error| ApiFailure::setup(access, what, error);
    let mut builder =
        Client::builder().user_agent(concat!("reeve/", env!("CARGO_PKG_VERSION"))).redirect(redirect::Policy::none());
    if let Some(pem) = &access.authorities {
        let trusted = Certificate::from_pem_bundle(pem).map_err(|e| bad("the certificate-authority", &e))?;
        builder = builder.tls_certs_only(trusted);
    }
    if access.trusts_anybody {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    if let Some(pem) = &access.certificate {
        let identity = Identity::from_pem(pem.expose_secret().as_bytes())
            .map_err(|e| bad("the client certificate and key", &e))?;
        builder = builder.identity(identity);
    }
    if let Some(proxy) = &access.proxy {
        builder = builder.proxy(Proxy::all(proxy).map_err(|e| bad("the proxy-url", &e))?);
    }
    builder.build().map_err(|e| bad("the TLS settings", &e))
}

/// A list, and whether there was more of it than is read.
pub struct Listed<T> {
    /// What was read.
    pub items: Vec<T>,
    /// Whether there is more.
    pub cut: bool,
}

/// One API server, asked as one user.
pub struct Api {
    http: Client,
    access: Access,
    options: ClientOptions,
}

impl Api {
    /// Who is asked, and as whom.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The settings.
    pub fn options(&self) -> ClientOptions {
        self.options
    }

    /// One object. `path` are the segments of its path, such as `["api", "v1", "nodes", "a"]`.
    pub async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ApiFailure> {
        let body = self.ask(path, &[]).await?;
        serde_json::from_slice(&body).map_err(|error| ApiFailure::malformed(&self.access, &error.to_string()))
    }

    /// Every object of a list, page by page, up to the limit.
    pub async fn list<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Listed<T>, ApiFailure> {
        let page = self.options.page_objects.to_string();
        let (mut items, mut next) = (Vec::new(), String::new());
        loop {
            let mut whole = query.to_vec();
            whole.push(("limit", &page));
            if !next.is_empty() {
                whole.push(("continue", &next));
            }
            let body = self.ask(path, &whole).await?;
            let list: List<T> =
                serde_json::from_slice(&body).map_err(|e| ApiFailure::malformed(&self.access, &e.to_string()))?;
            items.extend(list.items.unwrap_or_default());
            next = list.metadata.next.unwrap_or_default();
            if next.is_empty() || items.len() >= self.options.list_objects_max {
                let cut = !next.is_empty() || items.len() > self.options.list_objects_max;
                items.truncate(self.options.list_objects_max);
                return Ok(Listed { items, cut });
            }
        }
    }

    /// Text, such as a log.
    pub async fn text(&self, path: &[&str], query: &[(&str, &str)]) -> Result<String, ApiFailure> {
        let body = self.ask(path, query).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, ApiFailure> {
        let mut url = self.access.server.clone();
        // A segment such as `..` would be left out silently, and the request would mean something else.
        if path.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
            return Err(ApiFailure::malformed(&self.access, "an empty or dotted name in a path"));
        }
        url.set_query(None);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn ask(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Vec<u8>, ApiFailure> {
        let limit = self.options.request_timeout;
        let mut request = self.http.get(self.url(path, query)?).timeout(limit).header("accept", "application/json");
        request = match &self.access.credentials {
            Credentials::None => request,
            Credentials::Token(token) => request.bearer_auth(token.expose_secret()),
            Credentials::Password(name, password) => request.basic_auth(name, Some(password.expose_secret())),
        };
        for (name, value) in &self.access.impersonate {
            request = request.header(*name, value);
        }
        let lost = |error: reqwest::Error| ApiFailure::transport(&self.access, &error, limit);
        let mut answer = request.send().await.map_err(lost)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(lost)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(ApiFailure::too_large(&self.access, ANSWER_BYTES_MAX));
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(body);
        }
        let said: Status = serde_json::from_slice(&body).unwrap_or_default();
        Err(ApiFailure::refused(&self.access, status.as_u16(), said))
    }
}
