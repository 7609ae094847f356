//! Following a session's files over a WebSocket, in the words of the guide to VibeCode.

use std::pin::pin;

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt as _, StreamExt as _};
use jiff::Timestamp;
use reeve_gate::workspace::EventStream;
use reeve_platform::workspaces::Asker;
use reeve_types::workspace::files::FileEvent;
use reeve_types::{ProblemCode, WorkspaceId, WorkspacePath};
use serde_json::{Value, json};
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::Caller;
use crate::declare::Routes;
use crate::extract::Id;
use crate::lasting::{self, Closing, Heard};
use crate::problem::Problem;
use crate::routes::workspaces::knock::{Framing, GOODBYE_WITHIN, Knock, farewell};
use crate::routes::workspaces::terminal_socket::why_it_broke_off;
use crate::routes::workspaces::undone::{of_workspace, problem_of};
use crate::routes::workspaces::{USE, asker, service};
use crate::server::Stopping;
use crate::socket::Entry;

pub(crate) fn declare(routes: Routes) -> Routes {
    routes.socket_alias(USE, "/api/vibecode/container/{id}/fs-events", routes!(follow))
}

/// What happens to a session's files, from now on.
#[utoipa::path(get, path = "/api/vibecode/container/{id}/fs-events", responses((status = 101, description = "A WebSocket.")))]
async fn follow(State(app): State<App>, Id(id): Id<WorkspaceId>, mut knock: Knock) -> Result<Response, Problem> {
    knock.framing = Framing::Control;
    let admitted = admitted(&app, &knock.entry, &id).await;
    let (until, stop) = (knock.entry.until, knock.stop.clone());
    knock.open(admitted, move |socket, (caller, asker, events)| async move {
        Watch { app, caller, asker, id, until, stop }.run(socket, events).await;
    })
}

type Admitted = (Caller, Asker, EventStream<FileEvent>);

async fn admitted(app: &App, entry: &Entry, id: &WorkspaceId) -> Result<Admitted, Problem> {
    let caller = entry.caller.clone()?;
    if !entry.is_for(id, None) {
        return Err(Problem::new(ProblemCode::Forbidden, "the ticket is for something else"));
    }
    let asker = asker(app, &caller)?;
    let events = service(&app.platform)?.watch(&asker, id).await.map_err(problem_of)?;
    Ok((caller, asker, events))
}

/// One client that follows along.
struct Watch {
    app: App,
    caller: Caller,
    asker: Asker,
    id: WorkspaceId,
    /// When the client's token ends.
    until: Option<Timestamp>,
    stop: Stopping,
}

impl Watch {
    /// Tells each change until the client goes, may not go on, or nothing more can be told.
    async fn run(self, socket: WebSocket, events: EventStream<FileEvent>) {
        let (mut sink, mut stream) = socket.split();
        let heard = Heard::now();
        let closing = {
            let tell = pin!(self.tell(&mut sink, events));
            let listen = async {
                while let Some(Ok(message)) = stream.next().await {
                    heard.note();
                    if matches!(message, Message::Close(_)) {
                        return;
                    }
                }
            };
            tokio::select! {
                closing = tell => closing,
                () = listen => None,
                () = heard.silent_for(self.app.shared.options.sockets.silent_for) => Some(lasting::SILENT),
                over = lasting::over(&self.app, &self.caller, self.until, &self.stop) => Some(over),
            }
        };
        if let Some((code, reason)) = closing {
            let _ = tokio::time::timeout(GOODBYE_WITHIN, sink.send(farewell(code, reason))).await;
        }
        let _ = tokio::time::timeout(GOODBYE_WITHIN, sink.close()).await;
        // A connection that is closed while something unread lies in it is reset, and the client never reads why.
        let client_closes = async { while let Some(Ok(_)) = stream.next().await {} };
        let _ = tokio::time::timeout(GOODBYE_WITHIN, client_closes).await;
    }

    /// Tells each change. Ends with what to say at the end, if the client is there to hear it.
    async fn tell(
        &self,
        sink: &mut SplitSink<WebSocket, Message>,
        mut events: EventStream<FileEvent>,
    ) -> Option<Closing> {
        let mut ping = self.app.shared.options.sockets.pings();
        // How many changes were told.
        let mut rev = 0;
        loop {
            let message = tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => Message::Text(self.words(event, &mut rev).await.to_string().into()),
                    Some(Err(error)) => return self.broken_off(sink, of_workspace(error)).await,
                    None => {
                        let problem = Problem::new(ProblemCode::Unavailable, "nobody tells of changes any more");
                        return self.broken_off(sink, problem).await;
                    }
                },
                _ = ping.tick() => Message::Ping(Bytes::new()),
            };
            if sink.send(message).await.is_err() {
                return None;
            }
        }
    }

    async fn broken_off(&self, sink: &mut SplitSink<WebSocket, Message>, problem: Problem) -> Option<Closing> {
        let problem = why_it_broke_off(&self.app, &self.caller, &self.id, problem).await;
        sink.send(Message::Text(Framing::Control.complaint(&problem).into())).await.ok()?;
        Some((Framing::Control.code(&problem), "following the files broke off"))
    }

    async fn words(&self, event: FileEvent, rev: &mut u64) -> Value {
        if event != FileEvent::Hello {
            *rev += 1;
        }
        let rev = *rev;
        match event {
            FileEvent::Hello => json!({"type": "hello", "rev": rev}),
            FileEvent::Created { path, .. } => self.about("file-created", &path, rev).await,
            FileEvent::Changed { path, etag, origin } => {
                let mut told = self.about("file-changed", &path, rev).await;
                told["etag"] = json!(etag);
                told["origin"] = json!(origin);
                told
            }
            FileEvent::Deleted { path } => json!({"type": "file-deleted", "filePath": path.to_string(), "rev": rev}),
            FileEvent::Renamed { from, to } => {
                let mut told = self.about("file-renamed", &to, rev).await;
                told["oldPath"] = json!(from.to_string());
                told
            }
            FileEvent::Resync => json!({"type": "resync", "rev": rev}),
        }
    }

    /// A file as it is at this moment; size and time are absent when it is gone again.
    async fn about(&self, what: &str, path: &WorkspacePath, rev: u64) -> Value {
        let mut told = json!({"type": what, "filePath": path.to_string(), "rev": rev});
        let Ok(workspaces) = service(&self.app.platform) else { return told };
        if let Ok(entry) = workspaces.stat(&self.asker, &self.id, path).await {
            told["size"] = json!(entry.size);
            told["mtime"] = json!(entry.modified_at);
        }
        told
    }
}
