//! Those who look at a terminal: how far each has seen, and how far each lets the terminal run ahead.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reeve_types::workspace::processes::TerminalOutput;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Terminal;

/// How far the terminal may run ahead of the slowest who looks, in bytes.
const AHEAD_BYTES_MAX: u64 = 256 * 1024;
/// How many bytes may be on their way to a client that says what it has shown.
const UNACKNOWLEDGED_BYTES_MAX: u64 = 512 * 1024;
/// Bytes sent in one piece.
const PIECE_BYTES: usize = 32 * 1024;
/// How long one may hold up the others who look before it is left behind.
const HOLDS_OTHERS_UP: Duration = Duration::from_secs(15);

/// Everybody who looks.
#[derive(Default)]
pub(super) struct Clients {
    next: u64,
    all: HashMap<u64, Position>,
}

struct Position {
    /// Where in the terminal's output this one is.
    sent: u64,
    /// Bytes that were sent to this one, what was replayed included.
    sent_bytes: u64,
    /// Bytes that this one says it has shown; nothing until it begins to say so.
    shown_bytes: Option<u64>,
    moved_at: Instant,
    left_behind: bool,
}

/// One who looks at a terminal. Dropping it changes nothing for the terminal.
pub(crate) struct Client {
    terminal: Arc<Terminal>,
    key: u64,
    news: watch::Receiver<u64>,
    over: bool,
}

/// Takes the word of a client for what it has shown.
pub(crate) struct Seen {
    terminal: Arc<Terminal>,
    key: u64,
}

impl Seen {
    /// This many more bytes were shown, counted from the first byte of the replay. From the first word on, no more than
    /// a window is sent ahead of what was shown; whoever never says anything is held back by its connection alone.
    pub(crate) fn acknowledge(&self, bytes: u64) {
        if let Some(position) = self.terminal.screen().clients.all.get_mut(&self.key) {
            let shown = position.shown_bytes.unwrap_or(0).saturating_add(bytes);
            position.shown_bytes = Some(shown.min(position.sent_bytes));
        }
        self.terminal.tell();
    }
}

/// What is shown next.
pub(crate) enum Shown {
    /// Bytes for the screen.
    Bytes(Vec<u8>),
    /// The last there is to say.
    Last(TerminalOutput),
}

impl Clients {
    pub(super) fn count(&self) -> usize {
        self.all.values().filter(|client| !client.left_behind).count()
    }

    /// Whether everybody has seen enough for the terminal to go on. Who holds others up for long is left behind; one
    /// who looks alone may take as long as they like.
    pub(super) fn keep_up(&mut self, end: u64) -> bool {
        let late = |client: &Position| !client.left_behind && end.saturating_sub(client.sent) > AHEAD_BYTES_MAX;
        let others = self.all.values().any(|client| !client.left_behind && !late(client));
        let now = Instant::now();
        for client in self.all.values_mut().filter(|client| late(client)) {
            client.left_behind = others && now.duration_since(client.moved_at) > HOLDS_OTHERS_UP;
        }
        !self.all.values().any(late)
    }
}

impl Client {
    /// Begins to look at a terminal. The first thing to send is what this answers beside it.
    pub(crate) fn attach(terminal: &Arc<Terminal>) -> (Self, TerminalOutput) {
        let news = terminal.news.subscribe();
        let mut screen = terminal.screen();
        let resumed = std::mem::replace(&mut screen.ever_attached, true);
        let began = screen.history.beginning();
        let key = screen.clients.next;
        screen.clients.next += 1;
        let position =
            Position { sent: began, sent_bytes: 0, shown_bytes: None, moved_at: Instant::now(), left_behind: false };
        screen.clients.all.insert(key, position);
        let ready = TerminalOutput::Ready {
            terminal_id: terminal.id.clone(),
            cols: screen.cols,
            rows: screen.rows,
            resumed,
            remembered: screen.history.end().saturating_sub(began),
            at: began,
            session: terminal.session.clone(),
        };
        drop(screen);
        (Self { terminal: Arc::clone(terminal), key, news, over: false }, ready)
    }

    /// The next to show; nothing after the last. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Option<Shown> {
        loop {
            if self.over {
                return None;
            }
            self.news.borrow_and_update();
            if let Some(shown) = self.take() {
                self.over = matches!(shown, Shown::Last(_));
                return Some(shown);
            }
            if self.news.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Where the client says what it has shown.
    pub(crate) fn seen(&self) -> Seen {
        Seen { terminal: Arc::clone(&self.terminal), key: self.key }
    }

    fn take(&self) -> Option<Shown> {
        let mut screen = self.terminal.screen();
        let screen = &mut *screen;
        let end = screen.history.end();
        let position = screen.clients.all.get_mut(&self.key)?;
        if position.left_behind {
            return Some(Shown::Last(too_slow()));
        }
        if position.sent >= end {
            return screen.exit_code.map(|code| Shown::Last(TerminalOutput::Exit { code }));
        }
        let on_their_way = position.shown_bytes.map_or(0, |shown| position.sent_bytes.saturating_sub(shown));
        let room = usize::try_from(UNACKNOWLEDGED_BYTES_MAX.saturating_sub(on_their_way)).unwrap_or(usize::MAX);
        if room == 0 {
            return None;
        }
        let bytes = screen.history.read(position.sent, room.min(PIECE_BYTES));
        let length = u64::try_from(bytes.len()).unwrap_or(0);
        position.sent = position.sent.max(screen.history.start()) + length;
        position.sent_bytes += length;
        position.moved_at = Instant::now();
        self.terminal.caught_up.notify_one();
        Some(Shown::Bytes(bytes))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.terminal.screen().clients.all.remove(&self.key);
        self.terminal.caught_up.notify_one();
    }
}

fn too_slow() -> TerminalOutput {
    TerminalOutput::Error {
        code: "too_slow".to_owned(),
        message: "this view of the terminal held the others up and was left behind; open it again".to_owned(),
    }
}
