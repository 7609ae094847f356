//! Ports inside, and connections to them.

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use reeve_types::{ProblemCode, WorkspaceError};

use super::only;
use crate::http::{Outcome, Query, Reply, bad, done, ok};
use crate::{dial, ports};

pub(super) async fn list(request: &Request<Incoming>) -> Outcome {
    only(&Method::GET, request)?;
    let listening = tokio::task::spawn_blocking(ports::listening).await;
    ok(&listening.map_err(|error| WorkspaceError::new(ProblemCode::Internal, format!("ports: {error}")))?)
}

/// `GET /v1/dial?port=` with `Upgrade: reeve-dial`: after the upgrade the connection is that to the port.
pub(super) async fn dial(mut request: Request<Incoming>) -> Outcome {
    only(&Method::GET, &request)?;
    check_upgrade(&request, "reeve-dial")?;
    let port: Option<u16> = Query::of(&request).parsed("port")?;
    let port = port.filter(|port| *port != 0).ok_or_else(|| bad("`port` names the port, from 1 to 65535"))?;
    let mut inside = dial::connect(port).await?;
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrading.await {
            let _ended = tokio::io::copy_bidirectional(&mut TokioIo::new(upgraded), &mut inside).await;
        }
    });
    Ok(switching("reeve-dial"))
}

/// Refuses a request that does not ask for this upgrade.
pub(super) fn check_upgrade(request: &Request<Incoming>, protocol: &str) -> Result<(), WorkspaceError> {
    let asked = request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
    if asked.is_some_and(|asked| asked.eq_ignore_ascii_case(protocol)) {
        return Ok(());
    }
    Err(bad(format!("this takes `Connection: Upgrade` and `Upgrade: {protocol}`")))
}

/// The answer after which the connection speaks something else.
pub(super) fn switching(protocol: &'static str) -> Reply {
    let mut reply = done();
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    reply.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(protocol));
    reply
}
