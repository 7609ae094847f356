//! Why an API server did not give what it was asked for, in words.

use std::error::Error as _;
use std::time::Duration;

use reeve_types::mask_dsn;

use crate::kubeconfig::Access;
use crate::objects::Status;

/// How much of a server's own words is passed on, in characters.
const WORDS_MAX: usize = 600;

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiFailureKind {
    /// Nobody answers at the address.
    Unreachable,
    /// The two sides do not trust each other, or do not agree on TLS.
    Tls,
    /// The answer did not come in time.
    Timeout,
    /// The server does not know who we are.
    Unauthorized,
    /// The server knows us and will not let us.
    Forbidden,
    /// The object is not there.
    NotFound,
    /// The server refuses the request itself.
    Rejected,
    /// The server cannot serve at the moment.
    Unavailable,
    /// Whatever answered does not speak as an API server does.
    NotAnApiServer,
    /// The kubeconfig's certificates or addresses cannot be used.
    Setup,
}

/// A failure, in words for people. Holds no secret.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{sentence}")]
pub struct ApiFailure {
    /// What kind of failure it is.
    pub kind: ApiFailureKind,
    /// What failed, on what, and what to do next.
    pub sentence: String,
    /// What the machine said.
    pub raw: String,
}

impl ApiFailure {
    fn new(kind: ApiFailureKind, sentence: String, raw: impl Into<String>) -> Self {
        Self { kind, sentence, raw: short(&raw.into()) }
    }

    pub(super) fn setup(access: &Access, what: &str, error: &reqwest::Error) -> Self {
        let sentence = format!(
            "{what} of the context `{}` in {} cannot be used; look at that file",
            access.context, access.source
        );
        Self::new(ApiFailureKind::Setup, sentence, chain(error))
    }

    pub(super) fn malformed(access: &Access, why: &str) -> Self {
        let sentence = format!(
            "{} answered something that an API server would not say; check the address in {}",
            server(access),
            access.source
        );
        Self::new(ApiFailureKind::NotAnApiServer, sentence, why)
    }

    pub(super) fn too_large(access: &Access, most: usize) -> Self {
        let sentence = format!(
            "the answer of {} is larger than {} MiB; ask for less: one namespace, labels, or one object",
            server(access),
            most / (1024 * 1024)
        );
        Self::new(ApiFailureKind::Rejected, sentence, "")
    }

    /// The request got no answer.
    pub(super) fn transport(access: &Access, error: &reqwest::Error, limit: Duration) -> Self {
        let raw = chain(error);
        let (server, source) = (server(access), &access.source);
        let lower = raw.to_ascii_lowercase();
        if error.is_timeout() {
            let what = if error.is_connect() { "could not be connected to" } else { "gave no answer" };
            let sentence = format!(
                "{server} {what} within {}; check the network between here and it, and whether the cluster is up",
                seconds(limit)
            );
            return Self::new(ApiFailureKind::Timeout, sentence, raw);
        }
        if lower.contains("certificate") || lower.contains("tls") || lower.contains("corrupt message") {
            return Self::new(ApiFailureKind::Tls, format!("{server} {}", tls_words(&lower, source)), raw);
        }
        let words = if lower.contains("dns error") || lower.contains("failed to lookup") {
            format!("has a name that nobody resolves; check the address in {source}, and DNS")
        } else if lower.contains("refused") {
            format!(
                "refused the connection: nothing listens there; check that the cluster is up and the address in {source} is right"
            )
        } else if lower.contains("unreachable") || lower.contains("no route") {
            format!("cannot be reached from here; check the network, and the address in {source}")
        } else {
            "broke the connection off; is it restarting, or is something between here and it?".to_owned()
        };
        Self::new(ApiFailureKind::Unreachable, format!("{server} {words}"), raw)
    }

    /// The server answered, and not with what was asked for.
    pub(super) fn refused(access: &Access, status: u16, said: Status) -> Self {
        let (server, user, source) = (server(access), &access.user, &access.source);
        let known = said.kind.as_deref() == Some("Status");
        let words = short(&said.message.unwrap_or_default());
        let raw = format!("HTTP {status}: {words}");
        let (kind, sentence) = match status {
            401 => (
                ApiFailureKind::Unauthorized,
                format!(
                    "{server} does not know who we are: the credentials of the user `{user}` in {source} are wrong or have expired; renew them there"
                ),
            ),
            403 => (
                ApiFailureKind::Forbidden,
                format!(
                    "{server} forbids it to the user `{user}`: {}; give it a role that allows this (docs/kubernetes.md)",
                    or(&words, "it gave no reason")
                ),
            ),
            404 if known => (ApiFailureKind::NotFound, format!("{server} says: {}", or(&words, "not found"))),
            400..=499 if known => {
                (ApiFailureKind::Rejected, format!("{server} refuses the request: {}", or(&words, "it gave no reason")))
            }
            429 | 500..=599 => (
                ApiFailureKind::Unavailable,
                format!(
                    "{server} cannot serve at the moment (HTTP {status}{}); try again, and look at the control plane",
                    after(&words)
                ),
            ),
            300..=399 => (
                ApiFailureKind::NotAnApiServer,
                format!(
                    "{server} sends us elsewhere (HTTP {status}), as a sign-in page does; check the address in {source}"
                ),
            ),
            _ => (
                ApiFailureKind::NotAnApiServer,
                format!(
                    "{server} answered HTTP {status} in a way that an API server would not; check the address in {source}"
                ),
            ),
        };
        Self::new(kind, sentence, raw)
    }
}

fn tls_words(lower: &str, source: &str) -> String {
    if lower.contains("unknownissuer") || lower.contains("unknown issuer") {
        format!(
            "shows a certificate that the certificate-authority in {source} has not signed; is it another cluster, or was its authority renewed?"
        )
    } else if lower.contains("notvalidforname") || lower.contains("not valid for name") {
        format!("shows a certificate for another name than the one in {source}; use a name that it holds")
    } else if lower.contains("expired") {
        "shows a certificate that has expired, or a clock is wrong; renew it on the control plane".to_owned()
    } else if lower.contains("certificaterequired") || lower.contains("certificate required") {
        format!("wants a client certificate, and the user in {source} has none")
    } else if lower.contains("alert") {
        format!("does not accept our client certificate; renew it in {source}")
    } else {
        format!("could not agree with us on TLS; check that the address in {source} is https where the server is")
    }
}

/// The API server, as people know it.
fn server(access: &Access) -> String {
    format!("the API server {} of the context `{}`", mask_dsn(access.server().trim_end_matches('/')), access.context)
}

fn or<'a>(words: &'a str, otherwise: &'a str) -> &'a str {
    if words.is_empty() { otherwise } else { words }
}

fn after(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(", {words}") }
}

fn seconds(limit: Duration) -> String {
    if limit.subsec_millis() == 0 { format!("{} s", limit.as_secs()) } else { format!("{} ms", limit.as_millis()) }
}

fn short(text: &str) -> String {
    let mut chars = text.chars();
    let kept: String = chars.by_ref().take(WORDS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if chars.next().is_some() { format!("{kept}…") } else { kept }
}

/// What every layer said, from the outermost in, without the address that each repeats.
fn chain(error: &reqwest::Error) -> String {
    let mut said = Vec::new();
    let mut next = error.source();
    while let Some(inner) = next {
        said.push(inner.to_string());
        next = inner.source();
    }
    said.dedup();
    if said.is_empty() { "the request failed".to_owned() } else { said.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_words_are_cut_and_hold_no_control_characters() {
        assert_eq!(short("a\u{1b}[31mb\nc"), "a [31mb c");
        assert_eq!(short(&"x".repeat(WORDS_MAX + 1)).chars().count(), WORDS_MAX + 1);
    }
}
