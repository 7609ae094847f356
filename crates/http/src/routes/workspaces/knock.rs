//! A WebSocket that is asked for: who asks, how frames are meant, and why not.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::request::Parts;
use axum::response::Response;
use reeve_types::ProblemCode;
use serde_json::json;

use crate::app::App;
use crate::problem::Problem;
use crate::server::{Connection, Stopping};
use crate::socket::Entry;

/// The subprotocols in which text frames are control.
const SUBPROTOCOLS: [&str; 2] = ["reeve.term.v1", "harvis.term.v2"];
/// Largest message of a client, in bytes.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// How long saying goodbye may take.
pub(crate) const GOODBYE_WITHIN: Duration = Duration::from_secs(5);

/// How frames are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Binary frames are bytes, text frames are control.
    Control,
    /// Every frame holds bytes.
    Plain,
    /// Every frame is an event of a session, or a word to it.
    Events,
}

impl Framing {
    /// What a handshake asked for.
    fn of(upgrade: &WebSocketUpgrade) -> Self {
        if upgrade.selected_protocol().is_some() { Self::Control } else { Self::Plain }
    }

    /// The last frame before a socket is closed because of a problem.
    pub(crate) fn complaint(self, problem: &Problem) -> String {
        match self {
            Self::Control => {
                json!({"type": "error", "code": problem.code.as_str(), "message": problem.detail}).to_string()
            }
            Self::Events => {
                json!({"event": "error", "code": problem.code.as_str(), "message": problem.detail}).to_string()
            }
            Self::Plain => json!({"error": problem.detail}).to_string(),
        }
    }

    /// Says why not, and closes.
    pub(crate) async fn tell(self, socket: &mut WebSocket, problem: &Problem) {
        let told = async {
            let _ = socket.send(Message::Text(self.complaint(problem).into())).await;
            let _ = socket.send(farewell(self.code(problem), problem.code.as_str())).await;
        };
        let _ = tokio::time::timeout(GOODBYE_WITHIN, told).await;
    }

    /// The code that a socket is closed with because of a problem.
    pub(crate) fn code(self, problem: &Problem) -> u16 {
        match (self, problem.code) {
            (Self::Control | Self::Events, ProblemCode::Unauthenticated) => 4401,
            (Self::Control | Self::Events, ProblemCode::Forbidden | ProblemCode::PolicyDenied) => 4403,
            (Self::Control | Self::Events, ProblemCode::NotFound) => 4404,
            (Self::Control | Self::Events, ProblemCode::NotRunning) => 4409,
            (Self::Control | Self::Events, ProblemCode::QuotaReached | ProblemCode::RateLimited) => 4429,
            (
                Self::Plain,
                ProblemCode::Unauthenticated
                | ProblemCode::Forbidden
                | ProblemCode::PolicyDenied
                | ProblemCode::NotFound
                | ProblemCode::BadRequest,
            ) => 1008,
            _ => 1011,
        }
    }
}

/// The frame that closes a socket.
pub(crate) fn farewell(code: u16, reason: &str) -> Message {
    Message::Close(Some(CloseFrame { code, reason: reason.chars().take(100).collect::<String>().into() }))
}

/// Somebody at the door of a socket, and what it takes to open it.
pub(crate) struct Knock {
    /// Who knocks.
    pub(crate) entry: Entry,
    /// When the server stops.
    pub(crate) stop: Stopping,
    /// How frames are meant.
    pub(crate) framing: Framing,
    /// The place among the server's connections; it is kept as long as the socket is.
    place: Option<Connection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
}

impl FromRequestParts<App> for Knock {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let entry = Entry::from_request_parts(parts, app).await?;
        let Ok(stop) = Stopping::from_request_parts(parts, app).await;
        let place = parts.extensions.get::<Connection>().cloned();
        let upgrade = WebSocketUpgrade::from_request_parts(parts, app).await.map(|upgrade| {
            upgrade.protocols(SUBPROTOCOLS).max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX)
        });
        let framing = upgrade.as_ref().map_or(Framing::Control, Framing::of);
        Ok(Self { entry, stop, framing, place, upgrade })
    }
}

impl Knock {
    /// Opens the socket with what was found for it. Where nothing was, it is opened only to say why not, because a
    /// browser's page cannot read the answer to a failed handshake.
    pub(crate) fn open<T, F>(
        self,
        found: Result<T, Problem>,
        serve: impl FnOnce(WebSocket, T) -> F + Send + 'static,
    ) -> Result<Response, Problem>
    where
        T: Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let Self { framing, place, upgrade, .. } = self;
        let Ok(upgrade) = upgrade else {
            return Err(found.err().unwrap_or_else(|| {
                let detail = "this is a WebSocket: connect to it with `Upgrade: websocket`, on HTTP/1.1";
                Problem::new(ProblemCode::BadRequest, detail)
            }));
        };
        Ok(upgrade.on_upgrade(move |mut socket| async move {
            let _place = place;
            match found {
                Ok(found) => serve(socket, found).await,
                Err(problem) => framing.tell(&mut socket, &problem).await,
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_problem_closes_with_its_code() {
        for (code, control, plain) in [
            (ProblemCode::Unauthenticated, 4401, 1008),
            (ProblemCode::Forbidden, 4403, 1008),
            (ProblemCode::NotFound, 4404, 1008),
            (ProblemCode::NotRunning, 4409, 1011),
            (ProblemCode::QuotaReached, 4429, 1011),
            (ProblemCode::RateLimited, 4429, 1011),
            (ProblemCode::Internal, 1011, 1011),
        ] {
            let problem = Problem::new(code, "x");
            assert_eq!((Framing::Control.code(&problem), Framing::Plain.code(&problem)), (control, plain), "{code}");
        }
    }

    #[test]
    fn complaints_are_what_each_kind_of_client_reads() {
        let problem = Problem::new(ProblemCode::NotFound, "there is no such terminal");
        let read = |framing: Framing| serde_json::from_str::<serde_json::Value>(&framing.complaint(&problem)).unwrap();
        let control = json!({"type": "error", "code": "not_found", "message": "there is no such terminal"});
        assert_eq!(read(Framing::Control), control);
        assert_eq!(read(Framing::Plain), json!({"error": "there is no such terminal"}));
    }
}
