//! Secrets that open one door once: tickets for WebSockets, which cannot send an `Authorization` header from a browser,
//! and the secret in the address of a preview, which becomes a cookie there. And the guard before a socket's route.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Request};
use axum::http::header::{AUTHORIZATION, ORIGIN, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use reeve_gate::Clock;
use reeve_platform::Permission;
use reeve_types::{Digest, ProblemCode, TerminalId, WorkspaceId};

use crate::app::App;
use crate::auth::{self, Caller, Remote};
use crate::cookies;
use crate::dress::ThisRequest;
use crate::preview::Place;
use crate::problem::Problem;
use crate::tickets;

/// How long a ticket may wait to be used.
pub(crate) const TICKET_FOR: Duration = Duration::from_secs(30);
/// How long the secret in the address of a preview may wait to be used.
pub(crate) const PREVIEW_FOR: Duration = Duration::from_secs(60);
/// How many may wait at the same time.
const WAITING_MAX: usize = 10_000;

/// What kind of socket somebody knocks at, which says what `?ticket=` and `?token=` are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Knock {
    /// A terminal's: a ticket for it, or an access token as a guide has it.
    Terminal,
    /// A session's: a ticket for streams.
    Session,
}

/// Leave to open one terminal's socket.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    pub(crate) caller: Caller,
    pub(crate) workspace: WorkspaceId,
    /// Any terminal of the workspace when absent.
    pub(crate) terminal: Option<TerminalId>,
    /// When the token ends that the ticket was asked for with.
    pub(crate) until: Option<Timestamp>,
}

/// Who knocks at a socket. Whoever is not let in is told so over the socket, because a browser's page cannot read the
/// answer to a failed handshake.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Who it is, or why that is not known.
    pub(crate) caller: Result<Caller, Problem>,
    /// The ticket they came with.
    pub(crate) ticket: Option<Ticket>,
    /// When their token ends.
    pub(crate) until: Option<Timestamp>,
}

impl<S: Send + Sync> FromRequestParts<S> for Entry {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let found = parts.extensions.get::<Self>().cloned();
        found.ok_or_else(|| Problem::internal("a socket stands outside its guard"))
    }
}

impl Entry {
    /// Whether the ticket, if there is one, is for this.
    pub(crate) fn is_for(&self, workspace: &WorkspaceId, terminal: Option<&TerminalId>) -> bool {
        self.ticket.as_ref().is_none_or(|ticket| {
            let same = ticket.terminal.as_ref().is_none_or(|own| terminal == Some(own));
            ticket.workspace == *workspace && same
        })
    }
}

/// Finds out who knocks: by a ticket, by a token in the address where a guide says so, or as everywhere. A request that
/// is no handshake of a socket and proves nothing ends here.
pub(crate) async fn guard(permission: Permission, knock: Knock, request: Request, next: Next) -> Response {
    let (Some(app), Some(ThisRequest(id))) =
        (request.extensions().get::<App>().cloned(), request.extensions().get::<ThisRequest>().cloned())
    else {
        return Problem::internal("a socket stands outside the router").into_response();
    };
    let (parts, body) = request.into_parts();
    let mut entry = enter(&app, knock, &parts, id.to_string()).await;
    let mut request = Request::from_parts(parts, body);
    if let Ok(caller) = &entry.caller
        && !permission.allows(&caller.principal)
    {
        entry.caller = Err(auth::lacks(permission, &caller.principal));
    }
    match &entry.caller {
        Err(problem) if !is_handshake(request.headers()) => return problem.clone().into_response(),
        _ => {}
    }
    request.extensions_mut().insert(entry);
    next.run(request).await
}

fn is_handshake(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

async fn enter(app: &App, knock: Knock, request: &Parts, request_id: String) -> Entry {
    let headers = &request.headers;
    let nobody = |problem| Entry { caller: Err(problem), ticket: None, until: None };
    if headers.contains_key(ORIGIN)
        && let Err(problem) = cookies::may_prove(headers, &Method::GET, app.platform.base_url())
    {
        return nobody(problem);
    }
    if let (Knock::Session, Some(secret)) = (knock, parameter(&request.uri, "token")) {
        return match tickets::redeem(app, &secret, request_id) {
            Ok((caller, until)) => Entry { caller: Ok(caller), ticket: None, until },
            Err(problem) => nobody(problem),
        };
    }
    if let (Knock::Terminal, Some(secret)) = (knock, parameter(&request.uri, "ticket")) {
        return match app.shared.tickets.redeem(&secret) {
            Some(ticket) => Entry { caller: Ok(ticket.caller.clone()), until: ticket.until, ticket: Some(ticket) },
            None => {
                let detail = "the ticket is unknown, too old, or was used before; ask for a new one";
                nobody(Problem::new(ProblemCode::Unauthenticated, detail))
            }
        };
    }
    if let (Knock::Terminal, Some(token)) = (knock, parameter(&request.uri, "token")) {
        if !app.shared.options.token_in_address {
            let detail =
                "this server takes no access token in an address; ask for a ticket with POST /api/vibecode/ws-ticket";
            return nobody(Problem::new(ProblemCode::Unauthenticated, detail));
        }
        let caller = auth::of_token(app, &token, request_id).await;
        return Entry { caller, ticket: None, until: token_end(&token) };
    }
    let remote = request.extensions.get::<Remote>().map(|remote| remote.0);
    let caller = auth::identify(app, headers, &request.method, remote, request_id).await;
    Entry { caller, ticket: None, until: end_of_credentials(headers) }
}

/// A parameter after `?`, percent-encoding undone.
pub(crate) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let pairs: axum::extract::Query<Vec<(String, String)>> = axum::extract::Query::try_from_uri(uri).ok()?;
    pairs.0.into_iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value)
}

/// When the token ends that a request came with: of its header, or of the guide's cookie.
pub(crate) fn end_of_credentials(headers: &HeaderMap) -> Option<Timestamp> {
    match headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) {
        Some(text) => token_end(text.split_once(' ')?.1.trim()),
        None => token_end(cookies::get(headers, cookies::ACCESS)?),
    }
}

/// When an access token ends, by what it says of itself. Whoever asks has had it checked.
fn token_end(token: &str) -> Option<Timestamp> {
    let claims = token.split('.').nth(1)?;
    let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    Timestamp::from_second(claims.get("exp")?.as_i64()?).ok()
}

/// Leave to see one preview.
#[derive(Debug, Clone)]
pub(crate) struct Invitation {
    pub(crate) caller: Caller,
    pub(crate) place: Place,
}

/// Secrets of one kind, each good once. Only their digests are kept.
pub(crate) struct OneTime<T> {
    lasting: Duration,
    waiting: Mutex<HashMap<Digest, (Instant, T)>>,
}

impl<T> OneTime<T> {
    pub(crate) fn new(lasting: Duration) -> Self {
        Self { lasting, waiting: Mutex::default() }
    }

    /// A new secret for something, and until when it can be used.
    pub(crate) fn issue(&self, clock: &dyn Clock, what: T) -> Result<(String, Timestamp), Problem> {
        let mut bytes = [0u8; 32];
        bytes[..16].copy_from_slice(&clock.random().to_be_bytes());
        bytes[16..].copy_from_slice(&clock.random().to_be_bytes());
        let secret = URL_SAFE_NO_PAD.encode(bytes);
        let now = Instant::now();
        let mut waiting = self.waiting.lock().map_err(Problem::internal)?;
        if waiting.len() >= WAITING_MAX {
            waiting.retain(|_, (until, _)| *until > now);
        }
        if waiting.len() >= WAITING_MAX {
            let detail = "too many tickets wait to be used; ask again in a little while";
            return Err(Problem::new(ProblemCode::Unavailable, detail).retry_after(5));
        }
        waiting.insert(Digest::of(secret.as_bytes()), (now + self.lasting, what));
        let lasting = SignedDuration::try_from(self.lasting).unwrap_or_default();
        Ok((secret, clock.now().saturating_add(lasting).unwrap_or_else(|_| clock.now())))
    }

    /// What a secret is for. It is used up by asking.
    pub(crate) fn redeem(&self, secret: &str) -> Option<T> {
        let found = self.waiting.lock().ok()?.remove(&Digest::of(secret.as_bytes()));
        found.and_then(|(until, what)| (until > Instant::now()).then_some(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_gate::SystemClock;

    #[test]
    fn a_secret_opens_once_and_a_late_one_never() {
        let tickets = OneTime::new(TICKET_FOR);
        let (secret, _) = tickets.issue(&SystemClock, 7).unwrap();
        assert_eq!(tickets.redeem("guess"), None);
        assert_eq!(tickets.redeem(&secret), Some(7));
        assert_eq!(tickets.redeem(&secret), None);
        let late = OneTime::new(Duration::ZERO);
        let (secret, _) = late.issue(&SystemClock, 7).unwrap();
        assert_eq!(late.redeem(&secret), None);
    }

    #[test]
    fn those_that_nobody_used_make_room() {
        let late = OneTime::new(Duration::ZERO);
        for _ in 0..WAITING_MAX + 10 {
            late.issue(&SystemClock, ()).unwrap();
        }
        let kept = OneTime::new(TICKET_FOR);
        for _ in 0..WAITING_MAX {
            kept.issue(&SystemClock, ()).unwrap();
        }
        assert_eq!(kept.issue(&SystemClock, ()).unwrap_err().code, ProblemCode::Unavailable);
    }
}
