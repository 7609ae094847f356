//! The connection: who waits for which answer, what is counted, and how it all ends.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};

use super::error::{AcpError, End, sentence};
use super::frames::Frames;
use super::inbound::{Inbound, Requests};
use super::message::{self, Refusal};
use super::peer::{Peer, ProtocolWarning};
use super::session::AgentInfo;
use super::{calls, outgoing};

/// What agents answer when somebody has to sign in first.
const SIGN_IN_NEEDED: i64 = -32000;
/// How long what an agent said last is read once it reads nothing any more.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The most of the longest messages that open requests of the agent may hold together.
const OPEN_FRAMES_MAX: usize = 3;
/// Calls that were given up and whose late answers are no offence.
const GIVEN_UP_MAX: usize = 256;

/// The bounds of a connection.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long an agent may take until it answers for the first time.
    pub start_within: Duration,
    /// How long any other answer may take, but that to a prompt.
    pub answer_within: Duration,
    /// How long an agent may leave what was sent to it unread.
    pub write_within: Duration,
    /// Longest message either way, in bytes.
    pub frame_bytes_max: usize,
    /// Lines that are no messages, until the connection is given up.
    pub garbage_max: u64,
    /// Requests of the agent that may be open at once.
    pub requests_max: usize,
    /// Whether it is told that its reading and writing of files is served.
    pub serves_files: bool,
    /// Whether it is told that its commands are served.
    pub serves_terminals: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            start_within: Duration::from_secs(60),
            answer_within: Duration::from_secs(120),
            write_within: Duration::from_secs(60),
            frame_bytes_max: 16 * 1024 * 1024,
            garbage_max: 100,
            requests_max: 64,
            serves_files: true,
            serves_terminals: true,
        }
    }
}

/// What came over a connection, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Updates.
    pub updates: u64,
    /// Lines that were no messages.
    pub garbage: u64,
    /// Answers to what nobody asked.
    pub unknown_answers: u64,
    /// Answers after the first.
    pub repeated_answers: u64,
    /// Answers that nobody waited for any more.
    pub late_answers: u64,
    /// Requests that were too many.
    pub refused_requests: u64,
    /// Notifications that are not known.
    pub unknown_notifications: u64,
}

/// One live connection to an agent. Dropping it closes both streams.
pub struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) info: AgentInfo,
    task: tokio::task::AbortHandle,
}

impl Connection {
    /// Introduces Reeve to the agent at the other end of two streams. They are served until either ends; what the
    /// agent writes elsewhere, and its process, are the caller's.
    pub async fn open(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        peer: Arc<dyn Peer>,
        options: Options,
    ) -> Result<(Self, AgentInfo), AcpError> {
        let (messages, waiting) = mpsc::channel(outgoing::MESSAGES_WAITING);
        let shared = Arc::new(Shared::new(messages, options));
        let served = converse(Arc::clone(&shared), peer, reader, writer, waiting);
        let task = tokio::spawn(served).abort_handle();
        let mut connection = Self { shared, info: AgentInfo::default(), task };
        connection.info = calls::initialize(&connection.shared).await?;
        let info = connection.info.clone();
        Ok((connection, info))
    }

    /// What the agent says of itself.
    pub fn info(&self) -> &AgentInfo {
        &self.info
    }

    /// Waits until the connection is over, and tells why.
    pub async fn ended(&self) -> End {
        let mut end = self.shared.end.subscribe();
        match end.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or(End::GivenUp),
            Err(_) => End::GivenUp,
        }
    }

    /// Why it is over, when it is.
    pub fn end(&self) -> Option<End> {
        self.shared.end.borrow().clone()
    }

    /// What has come so far.
    pub fn counts(&self) -> Counts {
        self.shared.tally.counts()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(
    shared: Arc<Shared>,
    peer: Arc<dyn Peer>,
    reader: impl AsyncRead + Send + Unpin,
    writer: impl AsyncWrite + Send + Unpin,
    waiting: mpsc::Receiver<Vec<u8>>,
) {
    let ending = Ending(Arc::clone(&shared));
    let mut inbound = Inbound::new(Frames::new(reader, shared.options.frame_bytes_max), Arc::clone(&shared), peer);
    let mut reading = pin!(inbound.run());
    let mut writing = pin!(outgoing::write(writer, waiting, shared.options.write_within));
    let end = tokio::select! {
        end = &mut reading => end,
        end = &mut writing => match end {
            End::Closed => tokio::time::timeout(LAST_WORDS, reading).await.unwrap_or(End::Closed),
            end => end,
        },
    };
    shared.finish(end);
    drop(ending);
}

/// Whatever ends the conversation, those who wait are told.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.finish(End::GivenUp);
    }
}

/// What the callers and the conversation have in common.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) requests: Requests,
    pub(super) tally: Tally,
    messages: mpsc::Sender<Vec<u8>>,
    calls: Mutex<Calls>,
    end: watch::Sender<Option<End>>,
}

type Outcome = Result<Box<RawValue>, Refusal>;

/// The calls of ours. Their ids are counted up, so an id tells whether it was ever given.
#[derive(Default)]
struct Calls {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Outcome>>,
    given_up: VecDeque<u64>,
    over: bool,
}

impl Shared {
    fn new(messages: mpsc::Sender<Vec<u8>>, options: Options) -> Self {
        let bytes_max = options.frame_bytes_max.saturating_mul(OPEN_FRAMES_MAX);
        let requests = Requests::new(options.requests_max, bytes_max);
        let (calls, end) = (Mutex::default(), watch::Sender::new(None));
        Self { options, requests, tally: Tally::default(), messages, calls, end }
    }

    /// Asks the agent and waits for its answer.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: &impl Serialize,
        within: Option<Duration>,
    ) -> Result<T, AcpError> {
        let answered = self.exchange(method, params);
        let outcome = match within {
            None => answered.await?,
            Some(after) => match tokio::time::timeout(after, answered).await {
                Ok(outcome) => outcome?,
                Err(_) => return Err(AcpError::TimedOut { method, after }),
            },
        };
        let result = outcome.map_err(|refusal| refused(method, refusal))?;
        // Agents answer `null` where the protocol says `{}`.
        let text = if result.get() == "null" { "{}" } else { result.get() };
        serde_json::from_str(text).map_err(|error| AcpError::Malformed { method, reason: sentence(&error.to_string()) })
    }

    async fn exchange(&self, method: &'static str, params: &impl Serialize) -> Result<Outcome, AcpError> {
        let (sender, answer) = oneshot::channel();
        let open = OpenCall { id: self.register(sender)?, shared: self };
        self.send(method, message::call(Some(open.id), method, params)).await?;
        answer.await.map_err(|_| self.over())
    }

    /// Tells the agent something that it does not answer.
    pub(super) async fn notify(&self, method: &'static str, params: &impl Serialize) -> Result<(), AcpError> {
        let after = self.options.answer_within;
        let sent = self.send(method, message::call(None, method, params));
        tokio::time::timeout(after, sent).await.map_err(|_| AcpError::TimedOut { method, after })?
    }

    async fn send(&self, method: &'static str, line: serde_json::Result<Vec<u8>>) -> Result<(), AcpError> {
        let line = line.map_err(|error| AcpError::Malformed { method, reason: error.to_string() })?;
        let bytes_max = self.options.frame_bytes_max;
        if line.len() > bytes_max {
            return Err(AcpError::TooLarge { method, bytes: line.len(), bytes_max });
        }
        self.messages.send(line).await.map_err(|_| self.over())
    }

    /// Sends an answer of ours; waits for its turn.
    pub(super) async fn reply(&self, line: Vec<u8>) {
        let _nobody_reads = self.messages.send(line).await;
    }

    /// Sends an answer of ours if nothing waits.
    pub(super) fn try_reply(&self, line: Vec<u8>) {
        let _nobody_reads = self.messages.try_send(line);
    }

    fn register(&self, sender: oneshot::Sender<Outcome>) -> Result<u64, AcpError> {
        let mut calls = self.calls();
        if calls.over {
            drop(calls);
            return Err(self.over());
        }
        calls.last += 1;
        let id = calls.last;
        calls.waiting.insert(id, sender);
        Ok(id)
    }

    /// An answer has come; tells what is wrong with it.
    pub(super) fn answered(&self, id: &message::Id, outcome: Outcome) -> Option<ProtocolWarning> {
        let mut calls = self.calls();
        let Some(number) = id.number().filter(|number| (1..=calls.last).contains(number)) else {
            self.tally.unknown_answers.fetch_add(1, Ordering::Relaxed);
            return Some(ProtocolWarning::UnknownAnswer(id.text().chars().take(100).collect()));
        };
        if let Some(waiting) = calls.waiting.remove(&number) {
            let _given_up_just_now = waiting.send(outcome);
            return None;
        }
        if let Some(place) = calls.given_up.iter().position(|given_up| *given_up == number) {
            calls.given_up.remove(place);
            self.tally.late_answers.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.tally.repeated_answers.fetch_add(1, Ordering::Relaxed);
        Some(ProtocolWarning::RepeatedAnswer(number))
    }

    fn finish(&self, end: End) {
        self.end.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert(end);
            first
        });
        let waiting = {
            let mut calls = self.calls();
            calls.over = true;
            std::mem::take(&mut calls.waiting)
        };
        drop(waiting);
    }

    fn over(&self) -> AcpError {
        AcpError::Ended { why: self.end.borrow().clone().unwrap_or(End::Closed) }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that somebody waits for. Dropped before the answer, it is given up.
struct OpenCall<'a> {
    id: u64,
    shared: &'a Shared,
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        let mut calls = self.shared.calls();
        if calls.waiting.remove(&self.id).is_some() {
            if calls.given_up.len() == GIVEN_UP_MAX {
                calls.given_up.pop_front();
            }
            calls.given_up.push_back(self.id);
        }
    }
}

fn refused(method: &'static str, refusal: Refusal) -> AcpError {
    let Refusal { code, message, data } = refusal;
    match code {
        SIGN_IN_NEEDED => AcpError::SignInNeeded { message },
        code => AcpError::Refused { method, code, message, data },
    }
}

/// What is counted while the connection lives.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) updates: AtomicU64,
    pub(super) garbage: AtomicU64,
    pub(super) unknown_answers: AtomicU64,
    pub(super) repeated_answers: AtomicU64,
    pub(super) late_answers: AtomicU64,
    pub(super) refused_requests: AtomicU64,
    pub(super) unknown_notifications: AtomicU64,
}

impl Tally {
    fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            updates: read(&self.updates),
            garbage: read(&self.garbage),
            unknown_answers: read(&self.unknown_answers),
            repeated_answers: read(&self.repeated_answers),
            late_answers: read(&self.late_answers),
            refused_requests: read(&self.refused_requests),
            unknown_notifications: read(&self.unknown_notifications),
        }
    }
}
