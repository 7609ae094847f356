//! Carries one request to a program and its answer back.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use reeve_platform::workspaces::NotDone;

use super::place::Place;
use super::pool::{self, Pool, Returning, Sender, Watched};
use super::visit::Visit;

/// How long a connection to a program may take to open.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long a program may take to begin its answer once it has the whole request.
const HEAD_WITHIN: Duration = Duration::from_secs(300);

/// Why a request was not answered by a program.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There is no way to the port.
    NoWay(NotDone),
    /// It took too long to connect.
    NoConnection,
    /// The connection broke, or what came back is no HTTP.
    BrokeOff(hyper::Error),
    /// The answer did not begin in time.
    TooSlow,
}

/// An answer, and what it takes to change the protocol.
pub(crate) struct Carried {
    pub(crate) response: Response<Body>,
    pub(crate) upgrade: Option<OnUpgrade>,
}

/// Sends a request whose headers are fit for a program. One that a kept connection lost before the program can have
/// acted on it is sent again on a new one.
pub(crate) async fn carry(
    visit: &Visit,
    pool: &Arc<Pool>,
    request: Request<Body>,
    changes: bool,
) -> Result<Carried, Failure> {
    let (mut parts, body) = request.into_parts();
    parts.version = Version::HTTP_11;
    let repeatable = body.is_end_stream() && matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let spare = (repeatable && !changes).then(|| parts.clone());
    let (watched, mut sent) = Watched::new(body);
    let mut waiting = Some(Request::from_parts(parts, watched));
    loop {
        let kept = if changes { None } else { kept(pool, &visit.place).await };
        let is_kept = kept.is_some();
        let mut sender = match kept {
            Some(sender) => sender,
            None => connect(visit).await?,
        };
        let Some(request) = waiting.take() else { return Err(Failure::NoConnection) };
        let head_in_time = async {
            let _ = (&mut sent).await;
            tokio::time::sleep(HEAD_WITHIN).await;
        };
        let answered = tokio::select! {
            answered = sender.try_send_request(request) => answered,
            () = head_in_time => return Err(Failure::TooSlow),
        };
        match answered {
            Ok(response) => return Ok(carried(response, pool, &visit.place, sender)),
            Err(mut error) => match (error.take_message(), &spare) {
                (Some(back), _) if is_kept => waiting = Some(back),
                (None, Some(head)) if is_kept => {
                    let (watched, heard) = Watched::new(Body::empty());
                    sent = heard;
                    waiting = Some(Request::from_parts(head.clone(), watched));
                }
                _ => return Err(Failure::BrokeOff(error.into_error())),
            },
        }
    }
}

/// A connection that was kept and takes another request.
async fn kept(pool: &Arc<Pool>, place: &Place) -> Option<Sender> {
    while let Some(mut sender) = pool.take(place) {
        if sender.ready().await.is_ok() {
            return Some(sender);
        }
    }
    None
}

async fn connect(visit: &Visit) -> Result<Sender, Failure> {
    let dialled = tokio::time::timeout(CONNECT_WITHIN, visit.dial()).await;
    let connection = dialled.map_err(|_| Failure::NoConnection)?.map_err(Failure::NoWay)?;
    pool::open(connection).await.map_err(Failure::BrokeOff)
}

fn carried(mut response: Response<Incoming>, pool: &Arc<Pool>, place: &Place, sender: Sender) -> Carried {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let upgrade = Some(hyper::upgrade::on(&mut response));
        let (parts, _) = response.into_parts();
        return Carried { response: Response::from_parts(parts, Body::empty()), upgrade };
    }
    let (mut parts, body) = response.into_parts();
    parts.version = Version::default();
    let body = Body::new(Returning::new(body, pool, place, sender));
    Carried { response: Response::from_parts(parts, body), upgrade: None }
}
