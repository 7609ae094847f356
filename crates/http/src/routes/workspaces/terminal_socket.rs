//! A terminal over a WebSocket: bytes both ways, control as JSON beside them.
//!
//! With the subprotocol `reeve.term.v1` (or `harvis.term.v2`, which is the same) binary frames are bytes and text frames
//! are control. Without one, framing is the old one: every frame holds keystrokes, every answer is bytes. Nothing is
//! ever dropped: whoever reads slowly makes the terminal wait.

use std::pin::pin;

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use jiff::Timestamp;
use reeve_gate::workspace::{AttachedTerminal, EventStream, TerminalCommand, TerminalFrame};
use reeve_types::workspace::processes::{TerminalInput, TerminalOutput};
use reeve_types::{ProblemCode, TerminalId, WorkspaceId, WorkspaceState};
use tokio::sync::mpsc;

use super::knock::{Framing, GOODBYE_WITHIN, Knock, farewell};
use super::undone::problem_of;
use super::{Ids, service};
use crate::app::App;
use crate::auth::Caller;
use crate::lasting::{self, Heard};
use crate::problem::Problem;
use crate::server::Stopping;
use crate::socket::Entry;

/// Keystrokes go to the terminal in pieces of at most so many bytes.
const PIECE: usize = 64 * 1024;

/// A terminal's socket.
///
/// Subprotocol `reeve.term.v1`: binary frames are bytes; text frames are JSON: `resize`, `signal`, `ack`, `ping` in,
/// `ready`, `exit`, `error`, `pong` out. What the terminal remembers comes first. A browser brings `?ticket=`.
#[utoipa::path(get, path = "/workspaces/{id}/terminals/{tid}/socket", tag = "programs", operation_id = "attach_terminal",
    params(("id" = String, Path, description = "The workspace's id."), ("tid" = String, Path, description = "The terminal's id."),
           ("ticket" = Option<String>, Query, description = "A ticket of POST /api/v1/ws-tickets, instead of a key.")),
    responses((status = 101, description = "A WebSocket. Closed with 1000 when the program has ended, 4401 when the token has, 4403, 4404, 4408, 4409, 4429.")))]
pub(crate) async fn attach(
    State(app): State<App>,
    Ids(id, terminal): Ids<WorkspaceId, TerminalId>,
    knock: Knock,
) -> Result<Response, Problem> {
    let attached = admitted(&app, &knock.entry, &id, &terminal).await;
    let (framing, until, stop) = (knock.framing, knock.entry.until, knock.stop.clone());
    knock.open(attached, move |socket, (caller, attached)| {
        Session { framing, app, caller, id, until, stop }.run(socket, attached)
    })
}

async fn admitted(
    app: &App,
    entry: &Entry,
    id: &WorkspaceId,
    terminal: &TerminalId,
) -> Result<(Caller, AttachedTerminal), Problem> {
    let caller = entry.caller.clone()?;
    if !entry.is_for(id, Some(terminal)) {
        return Err(Problem::new(ProblemCode::Forbidden, "the ticket is for another terminal"));
    }
    let attached = service(&app.platform)?.attach(&caller.principal, id, terminal).await.map_err(problem_of)?;
    Ok((caller, attached))
}

/// One client at one terminal.
pub(crate) struct Session {
    pub(crate) framing: Framing,
    pub(crate) app: App,
    pub(crate) caller: Caller,
    /// The workspace.
    pub(crate) id: WorkspaceId,
    /// When the client's token ends.
    pub(crate) until: Option<Timestamp>,
    pub(crate) stop: Stopping,
}

/// Why a socket is closed.
struct Closing {
    code: u16,
    reason: &'static str,
    complaint: Option<String>,
}

impl Closing {
    fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason, complaint: None }
    }
}

impl From<lasting::Closing> for Closing {
    fn from((code, reason): lasting::Closing) -> Self {
        Self::new(code, reason)
    }
}

impl Session {
    /// Carries bytes between the client and the terminal until either goes.
    pub(crate) async fn run(self, socket: WebSocket, attached: AttachedTerminal) {
        let (mut sink, mut stream) = socket.split();
        let heard = Heard::now();
        let (complain, complaints) = mpsc::channel(8);
        let closing = {
            let show = pin!(self.show(&mut sink, attached.output, complaints));
            let listen = pin!(self.listen(&mut stream, attached.input, &heard, complain));
            tokio::select! {
                closing = show => Some(closing),
                () = listen => None,
                () = heard.silent_for(self.app.shared.options.sockets.silent_for) => Some(lasting::SILENT.into()),
                over = lasting::over(&self.app, &self.caller, self.until, &self.stop) => Some(over.into()),
            }
        };
        let goodbye = async {
            let Some(closing) = closing else { return };
            if let Some(complaint) = closing.complaint {
                let _ = sink.send(Message::Text(complaint.into())).await;
            }
            let _ = sink.send(farewell(closing.code, closing.reason)).await;
        };
        let _ = tokio::time::timeout(GOODBYE_WITHIN, goodbye).await;
        let _ = tokio::time::timeout(GOODBYE_WITHIN, sink.close()).await;
        // A connection that is closed while something unread lies in it is reset, and the client loses the last output.
        let client_closes = async { while let Some(Ok(_)) = stream.next().await {} };
        let _ = tokio::time::timeout(GOODBYE_WITHIN, client_closes).await;
    }

    /// Shows the client what the terminal shows. Waits for slow clients; the terminal waits with it.
    async fn show(
        &self,
        sink: &mut SplitSink<WebSocket, Message>,
        mut output: EventStream<TerminalFrame>,
        mut complaints: mpsc::Receiver<String>,
    ) -> Closing {
        let gone = || Closing::new(1001, "the client is gone");
        let mut ping = self.app.shared.options.sockets.pings();
        loop {
            let message = tokio::select! {
                frame = output.next() => match frame {
                    Some(Ok(TerminalFrame::Bytes(bytes))) => Message::Binary(bytes),
                    Some(Ok(TerminalFrame::Control(control))) => {
                        let ended = matches!(control, TerminalOutput::Exit { .. });
                        if self.framing == Framing::Control {
                            let Ok(text) = serde_json::to_string(&control) else { continue };
                            if sink.send(Message::Text(text.into())).await.is_err() {
                                return gone();
                            }
                        }
                        if ended {
                            return Closing::new(1000, "the program has ended");
                        }
                        continue;
                    }
                    Some(Err(error)) => return self.broken_off(super::undone::of_workspace(error)).await,
                    None => {
                        let problem = Problem::new(ProblemCode::Unavailable, "the terminal is gone");
                        return self.broken_off(problem).await;
                    }
                },
                Some(complaint) = complaints.recv() => Message::Text(complaint.into()),
                _ = ping.tick() => Message::Ping(Bytes::new()),
            };
            if sink.send(message).await.is_err() {
                return gone();
            }
        }
    }

    /// What to say when the terminal broke off.
    async fn broken_off(&self, problem: Problem) -> Closing {
        let problem = why_it_broke_off(&self.app, &self.caller, &self.id, problem).await;
        let (code, complaint) = (self.framing.code(&problem), Some(self.framing.complaint(&problem)));
        Closing { code, reason: "the terminal broke off", complaint }
    }

    /// Hands the terminal what the client types. Ends when the client goes.
    async fn listen(
        &self,
        stream: &mut SplitStream<WebSocket>,
        input: mpsc::Sender<TerminalCommand>,
        heard: &Heard,
        complain: mpsc::Sender<String>,
    ) {
        while let Some(Ok(message)) = stream.next().await {
            heard.note();
            let typed = match message {
                Message::Binary(bytes) => type_in(&input, bytes).await,
                Message::Text(text) if self.framing == Framing::Plain => type_in(&input, text.into()).await,
                Message::Text(text) => match serde_json::from_str::<TerminalInput>(&text) {
                    Ok(control) => input.send(TerminalCommand::Control(control)).await.is_ok(),
                    Err(error) => {
                        let problem = Problem::new(ProblemCode::BadRequest, format!("this is no control: {error}"));
                        // A client that sends nonsense and reads nothing is told once in a while, not each time.
                        let _ = complain.try_send(self.framing.complaint(&problem));
                        true
                    }
                },
                Message::Close(_) => return,
                Message::Ping(_) | Message::Pong(_) => true,
            };
            if !typed {
                // The terminal takes nothing any more; what it still shows says why.
                return std::future::pending().await;
            }
        }
    }
}

/// Sends keystrokes in pieces. Says whether the terminal takes them.
async fn type_in(input: &mpsc::Sender<TerminalCommand>, mut bytes: Bytes) -> bool {
    while !bytes.is_empty() {
        let piece = bytes.split_to(bytes.len().min(PIECE));
        if input.send(TerminalCommand::Bytes(piece)).await.is_err() {
            return false;
        }
    }
    true
}

/// Why something of a workspace broke off: because it does not run any more, where that is why.
pub(crate) async fn why_it_broke_off(app: &App, caller: &Caller, id: &WorkspaceId, problem: Problem) -> Problem {
    let seen = match service(&app.platform) {
        Ok(workspaces) => workspaces.get(&caller.principal, id).await.ok(),
        Err(_) => None,
    };
    match seen {
        Some(seen) if seen.state != WorkspaceState::Running => {
            Problem::new(ProblemCode::NotRunning, format!("the workspace is {}", seen.state))
        }
        _ => problem,
    }
}
