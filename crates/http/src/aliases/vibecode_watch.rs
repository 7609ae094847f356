//! Following a session's files over a WebSocket, in the words of the guide to VibeCode.

use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
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
use crate::problem::Problem;
use crate::routes::workspaces::knock::{Framing, Knock};
use crate::routes::workspaces::undone::problem_of;
use crate::routes::workspaces::{USE, asker, service};
use crate::socket::Entry;

/// How often a silent client is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(30);

pub(crate) fn declare(routes: Routes) -> Routes {
    routes.socket_alias(USE, "/api/vibecode/container/{id}/fs-events", routes!(follow))
}

/// What happens to a session's files, from now on.
#[utoipa::path(get, path = "/api/vibecode/container/{id}/fs-events", responses((status = 101, description = "A WebSocket.")))]
async fn follow(State(app): State<App>, Id(id): Id<WorkspaceId>, mut knock: Knock) -> Result<Response, Problem> {
    knock.framing = Framing::Control;
    let admitted = admitted(&app, &knock.entry, &id).await;
    let stop = knock.stop.0.clone();
    knock.open(admitted, move |socket, (caller, asker, events)| async move {
        let platform = app.platform.clone();
        let watch = Watch { app, asker, id, rev: 0 };
        tokio::select! {
            () = watch.tell(socket, events) => {}
            () = caller.until_signed_out(&platform) => {}
            () = stop.cancelled() => {}
        }
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
    asker: Asker,
    id: WorkspaceId,
    /// How many changes were told.
    rev: u64,
}

impl Watch {
    /// Tells each change until the client goes or nothing more can be told.
    async fn tell(mut self, socket: WebSocket, mut events: EventStream<FileEvent>) {
        let (mut sink, mut stream) = socket.split();
        let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + PING_EVERY, PING_EVERY);
        loop {
            let message = tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => Message::Text(self.words(event).await.to_string().into()),
                    _ => break,
                },
                heard = stream.next() => match heard {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                    Some(Ok(_)) => continue,
                },
                _ = ping.tick() => Message::Ping(Bytes::new()),
            };
            if sink.send(message).await.is_err() {
                break;
            }
        }
        let _ = sink.close().await;
    }

    async fn words(&mut self, event: FileEvent) -> Value {
        if event != FileEvent::Hello {
            self.rev += 1;
        }
        let rev = self.rev;
        match event {
            FileEvent::Hello => json!({"type": "hello", "rev": rev}),
            FileEvent::Created { path, .. } => self.about("file-created", &path).await,
            FileEvent::Changed { path, etag, origin } => {
                let mut told = self.about("file-changed", &path).await;
                told["etag"] = json!(etag);
                told["origin"] = json!(origin);
                told
            }
            FileEvent::Deleted { path } => json!({"type": "file-deleted", "filePath": path.to_string(), "rev": rev}),
            FileEvent::Renamed { from, to } => {
                let mut told = self.about("file-renamed", &to).await;
                told["oldPath"] = json!(from.to_string());
                told
            }
            FileEvent::Resync => json!({"type": "resync", "rev": rev}),
        }
    }

    /// A file as it is at this moment; size and time are absent when it is gone again.
    async fn about(&self, what: &str, path: &WorkspacePath) -> Value {
        let mut told = json!({"type": what, "filePath": path.to_string(), "rev": self.rev});
        let Ok(workspaces) = service(&self.app.platform) else { return told };
        if let Ok(entry) = workspaces.stat(&self.asker, &self.id, path).await {
            told["size"] = json!(entry.size);
            told["mtime"] = json!(entry.modified_at);
        }
        told
    }
}
