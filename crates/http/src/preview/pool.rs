//! Connections to programs, kept for the next request.
//!
//! A connection goes back when the answer on it has been read to its end, and is closed when nobody takes it for a while.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use reeve_gate::workspace::Duplex;
use tokio::sync::oneshot;

use super::place::Place;

/// How many idle connections are kept for one port.
const IDLE_MAX: usize = 64;
/// How long one is kept.
const IDLE_FOR: Duration = Duration::from_secs(20);
/// Largest head of an answer that is taken, in bytes.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// A connection that takes requests.
pub(crate) type Sender = SendRequest<Watched>;

/// Idle connections to programs.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<HashMap<Place, Vec<(Instant, Sender)>>>,
}

impl Pool {
    /// An idle connection that is still open, the one that was used last.
    pub(crate) fn take(&self, place: &Place) -> Option<Sender> {
        let mut idle = self.idle.lock().ok()?;
        let waiting = idle.get_mut(place)?;
        while let Some((since, sender)) = waiting.pop() {
            if !sender.is_closed() && since.elapsed() < IDLE_FOR {
                return Some(sender);
            }
        }
        idle.remove(place);
        None
    }

    fn put(self: &Arc<Self>, place: &Place, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let Ok(mut idle) = self.idle.lock() else { return };
        let sleeping = idle.is_empty();
        let waiting = idle.entry(place.clone()).or_default();
        if waiting.len() < IDLE_MAX {
            waiting.push((Instant::now(), sender));
        }
        if sleeping {
            tokio::spawn(Arc::clone(self).sweep());
        }
    }

    /// Closes what nobody takes, until nothing is left.
    async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(IDLE_FOR / 2).await;
            let Ok(mut idle) = self.idle.lock() else { return };
            idle.retain(|_, waiting| {
                waiting.retain(|(since, sender)| !sender.is_closed() && since.elapsed() < IDLE_FOR);
                !waiting.is_empty()
            });
            if idle.is_empty() {
                return;
            }
        }
    }
}

/// Begins to speak HTTP/1.1 on a connection to a program.
pub(crate) async fn open(connection: Box<dyn Duplex>) -> Result<Sender, hyper::Error> {
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .preserve_header_case(false)
        .handshake(TokioIo::new(connection))
        .await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!("a connection to a program ended early: {error}");
        }
    });
    Ok(sender)
}

/// The body of a request; tells when it has been sent whole, or given up.
pub(crate) struct Watched {
    body: Body,
    ended: Option<oneshot::Sender<()>>,
}

impl Watched {
    /// The body, and what resolves when nothing more of it will be sent.
    pub(crate) fn new(body: Body) -> (Self, oneshot::Receiver<()>) {
        let (ended, heard) = oneshot::channel();
        (Self { body, ended: Some(ended) }, heard)
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.ended = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer; gives its connection back at its end.
pub(crate) struct Returning {
    body: Incoming,
    back: Option<(Arc<Pool>, Place, Sender)>,
}

impl Returning {
    pub(crate) fn new(body: Incoming, pool: &Arc<Pool>, place: &Place, sender: Sender) -> Self {
        let mut this = Self { body, back: Some((Arc::clone(pool), place.clone(), sender)) };
        if this.body.is_end_stream() {
            this.give_back();
        }
        this
    }

    fn give_back(&mut self) {
        if let Some((pool, place, sender)) = self.back.take() {
            pool.put(&place, sender);
        }
    }
}

impl hyper::body::Body for Returning {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Err(_)) => self.back = None,
            None => self.give_back(),
            Some(Ok(_)) if self.body.is_end_stream() => self.give_back(),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
