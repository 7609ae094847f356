//! Tickets for streams: what a browser's `EventSource` and `WebSocket` put into the address instead of a key.
//!
//! A ticket speaks for whoever asked for it, opens one stream, and lasts a minute. Only its digest is kept.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::WWW_AUTHENTICATE;
use jiff::{SignedDuration, Timestamp};
use reeve_gate::Clock;
use reeve_types::{Digest, ProblemCode};

use crate::app::App;
use crate::auth::{self, Caller};
use crate::problem::Problem;
use crate::socket;

/// How long a ticket may wait to be used.
const LASTING: SignedDuration = SignedDuration::from_secs(60);
/// Most tickets of one caller that wait.
const PER_CALLER_MAX: usize = 5;
/// Most tickets that wait in all.
const WAITING_MAX: usize = 50_000;
/// What every ticket begins with.
const PREFIX: &str = "sse_";

/// The ticket that a request came with, if it came with one.
pub(crate) fn brought(request: &Request) -> Option<String> {
    socket::parameter(request.uri(), "token").or_else(|| {
        let bearer = auth::bearer(request.headers()).ok().flatten()?;
        bearer.starts_with(PREFIX).then(|| bearer.to_owned())
    })
}

/// Whom a ticket speaks for, and when the token ends that it was asked for with. It is used up by asking.
pub(crate) fn redeem(app: &App, ticket: &str, request_id: String) -> Result<(Caller, Option<Timestamp>), Problem> {
    match app.shared.stream_tickets.redeem(ticket, app.platform.clock().now()) {
        Some((caller, ends)) => Ok((caller.of_request(request_id), ends)),
        None => {
            let detail = "`token` must be a ticket of POST /api/v1/auth/sse-token; this one is unknown, too old, or was \
                          used before";
            Err(Problem::new(ProblemCode::Unauthenticated, detail)
                .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
        }
    }
}

/// The tickets that wait.
#[derive(Default)]
pub(crate) struct StreamTickets(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    waiting: HashMap<Digest, Waiting>,
    by_caller: HashMap<String, Vec<Digest>>,
}

struct Waiting {
    until: Timestamp,
    caller: Caller,
    ends: Option<Timestamp>,
}

impl StreamTickets {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new ticket, and until when it can be used. `ends` is when the caller's own token does.
    pub(crate) fn issue(
        &self,
        clock: &dyn Clock,
        caller: Caller,
        ends: Option<Timestamp>,
    ) -> Result<(String, Timestamp), Problem> {
        let now = clock.now();
        let (mut kept, who) = (self.kept(), caller.who());
        let soonest = kept.make_room(&who, now)?;
        if let Some(soonest) = soonest {
            let wait = u32::try_from(soonest.duration_since(now).as_secs().saturating_add(1)).unwrap_or(1);
            let detail = format!("{PER_CALLER_MAX} of your tickets wait to be used; use one, or ask again in {wait} s");
            return Err(Problem::new(ProblemCode::RateLimited, detail).retry_after(wait).with("limit", PER_CALLER_MAX));
        }
        let ticket = format!("{PREFIX}{}{}", hex(clock.random().to_be_bytes()), hex(clock.random().to_be_bytes()));
        let until = now.saturating_add(LASTING).unwrap_or(now);
        let digest = Digest::of(ticket.as_bytes());
        kept.by_caller.entry(who).or_default().push(digest);
        kept.waiting.insert(digest, Waiting { until, caller, ends });
        Ok((ticket, until))
    }

    fn redeem(&self, ticket: &str, now: Timestamp) -> Option<(Caller, Option<Timestamp>)> {
        let mut kept = self.kept();
        let digest = Digest::of(ticket.as_bytes());
        let found = kept.waiting.remove(&digest)?;
        kept.forget(&found.caller.who(), &digest);
        (found.until > now).then_some((found.caller, found.ends))
    }
}

impl Kept {
    /// Drops what is too old. Says when the caller's oldest ticket goes if they have as many as one may have.
    fn make_room(&mut self, who: &str, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.retain(|_, waiting| waiting.until > now);
            let waiting = &self.waiting;
            self.by_caller.retain(|_, own| {
                own.retain(|digest| waiting.contains_key(digest));
                !own.is_empty()
            });
        }
        if self.waiting.len() >= WAITING_MAX {
            let detail = "too many tickets wait to be used; ask again in a little while";
            return Err(Problem::new(ProblemCode::Unavailable, detail).retry_after(5));
        }
        let waiting = &mut self.waiting;
        let Some(own) = self.by_caller.get_mut(who) else { return Ok(None) };
        own.retain(|digest| {
            let fresh = waiting.get(digest).is_some_and(|ticket| ticket.until > now);
            if !fresh {
                waiting.remove(digest);
            }
            fresh
        });
        if own.len() < PER_CALLER_MAX {
            return Ok(None);
        }
        Ok(own.iter().filter_map(|digest| waiting.get(digest)).map(|ticket| ticket.until).min())
    }

    fn forget(&mut self, who: &str, digest: &Digest) {
        if let Some(own) = self.by_caller.get_mut(who) {
            own.retain(|known| known != digest);
            if own.is_empty() {
                self.by_caller.remove(who);
            }
        }
    }
}

fn hex(bytes: [u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
