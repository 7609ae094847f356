//! Terminals: opening them and typing into them by acts, looking at them, and what they show as text.

use std::time::Duration;

use futures_util::StreamExt as _;
use reeve_gate::workspace::{AttachedTerminal, TerminalCommand, TerminalFrame};
use reeve_types::workspace::processes::{OpenTerminal, Terminal, TerminalInput, TerminalOutput};
use reeve_types::{
    ActionClass, Effect, Measured, PolicyRequest, Principal, ProblemCode, ResourceKind, SessionId, TerminalId,
    WorkspaceId,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::screen::Screen;
use super::{Asker, NotDone, Use, Workspaces};

/// How much of what a terminal remembers is looked at, in bytes.
const REMEMBERED_BYTES_MAX: u64 = 256 * 1024;
/// How often what is shown is searched while it changes.
const SEARCHED_EVERY: Duration = Duration::from_millis(50);
/// How long what a terminal remembers may take to arrive.
const REMEMBERED_WITHIN: Duration = Duration::from_secs(20);

/// What is wanted of a terminal that is looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    /// Only what it showed from there on; everything when absent.
    pub(crate) since: Option<u64>,
    /// Waits until this is shown.
    pub(crate) until: Option<String>,
    /// Waits until it has shown nothing new for so long.
    pub(crate) quiet: Option<Duration>,
    /// Waits no longer; not at all when it is zero.
    pub(crate) at_most: Duration,
}

/// What a terminal shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// As a person sees it, scrolled back as far as it goes.
    pub(crate) lines: Vec<String>,
    /// Whether a program has the whole screen to itself: an editor, a pager.
    pub(crate) full_screen: bool,
    /// Where its output is now: the next look may begin there.
    pub(crate) at: u64,
    /// Whether something between what was asked for and what is shown is no longer known.
    pub(crate) lost: bool,
    /// Whether what was waited for came.
    pub(crate) came: bool,
    /// The exit code, when the program has ended.
    pub(crate) ended: Option<i32>,
}

impl Workspaces {
    /// Opens a terminal.
    pub async fn open_terminal(
        &self,
        asker: &Asker,
        id: &WorkspaceId,
        wanted: &OpenTerminal,
    ) -> Result<Terminal, NotDone> {
        self.core.visible(&asker.principal, id).await?;
        let mut arguments = json!(wanted);
        arguments["workspace_id"] = json!(id);
        self.ask(asker, "workspace_open_terminal", arguments).await
    }

    /// Looks at a terminal and types into it. Whoever policy denies opening one is refused, and an agent attaches only
    /// where policy lets it open one without asking: typing is running programs.
    pub async fn attach(
        &self,
        who: &Principal,
        id: &WorkspaceId,
        terminal: &TerminalId,
    ) -> Result<AttachedTerminal, NotDone> {
        let link = self.own_link(who, id).await?;
        self.may_type(who, id)?;
        let attached = link.attach(terminal).await?;
        Ok(self.counted(id.clone(), attached))
    }

    /// Ends a terminal with all that it started.
    pub async fn close_terminal(
        &self,
        who: &Principal,
        id: &WorkspaceId,
        terminal: &TerminalId,
    ) -> Result<(), NotDone> {
        Ok(self.own_link(who, id).await?.close_terminal(terminal).await?)
    }

    fn may_type(&self, who: &Principal, id: &WorkspaceId) -> Result<(), NotDone> {
        let gate = self.core.gate()?;
        let resource = gate
            .resolve(ResourceKind::Workspace, Some(id.as_str()))
            .map_err(|_| NotDone::NoSuchWorkspace(id.clone()))?;
        let effect = |tool: &str| {
            let asked = PolicyRequest {
                principal: who,
                purpose: None,
                resource: &resource,
                class: ActionClass::Write,
                tool,
                measured: Measured::default(),
                at: self.core.clock.now(),
            };
            gate.explain(&asked).decision.effect
        };
        let opens = effect("workspace_open_terminal");
        let may = match who.on_behalf_of {
            // Here nothing that is typed is asked about, so whoever acts for somebody must be free to type.
            Some(_) => opens == Effect::Allow && effect("workspace_type") == Effect::Allow,
            None => matches!(opens, Effect::Allow | Effect::RequireApproval),
        };
        if may {
            return Ok(());
        }
        Err(NotDone::new(ProblemCode::PolicyDenied, "policy does not let you use terminals of this workspace"))
    }

    /// The same terminal; what goes in and out counts as use. Pages that are left open attach again and again: what they
    /// are shown once more is no use, and neither is the size that they tell.
    fn counted(&self, id: WorkspaceId, attached: AttachedTerminal) -> AttachedTerminal {
        let (input, mut typed) = mpsc::channel::<TerminalCommand>(64);
        let (this, of, onward) = (self.clone(), id.clone(), attached.input);
        tokio::spawn(async move {
            while let Some(command) = typed.recv().await {
                if matches!(
                    &command,
                    TerminalCommand::Bytes(_) | TerminalCommand::Control(TerminalInput::Signal { .. })
                ) {
                    this.touch(&of, Use::Terminal);
                }
                if onward.send(command).await.is_err() {
                    return;
                }
            }
        });
        let (this, mut again) = (self.clone(), 0);
        let output = attached
            .output
            .inspect(move |frame| match frame {
                Ok(TerminalFrame::Control(TerminalOutput::Ready { remembered, .. })) => again = *remembered,
                Ok(TerminalFrame::Bytes(bytes)) => {
                    let new = (bytes.len() as u64).saturating_sub(again);
                    again = again.saturating_sub(bytes.len() as u64);
                    if new > 0 {
                        this.touch(&id, Use::Terminal);
                    }
                }
                _ => {}
            })
            .boxed();
        AttachedTerminal { output, input }
    }
}

impl Workspaces {
    /// What a terminal of a session shows, as text. Waits as it is told to, by what the terminal shows.
    pub(crate) async fn shown(
        &self,
        asker: &Asker,
        id: &WorkspaceId,
        session: &SessionId,
        terminal: &TerminalId,
        look: &Look,
    ) -> Result<Shown, NotDone> {
        let (link, _leave) = self.look(asker, id).await?;
        let mut frames = link.attach(terminal).await?.output;
        let (cols, rows, at, remembered) = match frames.next().await.transpose()? {
            Some(TerminalFrame::Control(TerminalOutput::Ready { cols, rows, at, remembered, session: of, .. }))
                if of.as_ref() == Some(session) =>
            {
                (cols, rows, at, remembered)
            }
            _ => return Err(NotDone::new(ProblemCode::NotFound, format!("the session has no terminal {terminal}"))),
        };
        let mut seen = Seen::new(Screen::new(cols, rows), at, remembered, look.since);
        let remembering = async {
            while seen.at < at.saturating_add(remembered) {
                match frames.next().await.transpose()? {
                    Some(TerminalFrame::Bytes(bytes)) => seen.take(&bytes),
                    Some(TerminalFrame::Control(TerminalOutput::Exit { code })) => seen.ended = Some(code),
                    Some(TerminalFrame::Control(_)) => {}
                    None => break,
                }
            }
            Ok::<_, NotDone>(())
        };
        let late = |_| NotDone::new(ProblemCode::Timeout, "the terminal did not tell in time what it shows");
        tokio::time::timeout(REMEMBERED_WITHIN, remembering).await.map_err(late)??;
        let came = seen.follow(&mut frames, look).await?;
        Ok(seen.shown(came))
    }

    /// The terminals of one session.
    pub(crate) async fn terminals_of(
        &self,
        asker: &Asker,
        id: &WorkspaceId,
        session: &SessionId,
    ) -> Result<Vec<Terminal>, NotDone> {
        let mut all = self.terminals(asker, id).await?;
        all.retain(|terminal| terminal.session.as_ref() == Some(session));
        Ok(all)
    }

    /// Ends all terminals of one session.
    pub(crate) async fn close_terminals_of(
        &self,
        who: &Principal,
        id: &WorkspaceId,
        session: &SessionId,
    ) -> Result<(), NotDone> {
        Ok(self.own_link(who, id).await?.close_terminals_of(session).await?)
    }
}

/// What one look at a terminal has seen so far.
struct Seen {
    screen: Screen,
    /// Where the next byte stands.
    at: u64,
    /// What came before is not shown.
    from: u64,
    /// What came before is not even read: the screen is as it would have been without it.
    read_from: u64,
    lost: bool,
    ended: Option<i32>,
}

impl Seen {
    fn new(screen: Screen, at: u64, remembered: u64, since: Option<u64>) -> Self {
        let end = at.saturating_add(remembered);
        let read_from = end.saturating_sub(REMEMBERED_BYTES_MAX).max(at);
        let from = since.unwrap_or(0).min(end);
        Self { screen, at, from, read_from, lost: since.is_some() && from < read_from, ended: None }
    }

    fn take(&mut self, bytes: &[u8]) {
        let unread = usize::try_from(self.read_from.saturating_sub(self.at)).unwrap_or(usize::MAX).min(bytes.len());
        let (_, bytes_read) = bytes.split_at(unread);
        self.at = self.at.saturating_add(unread as u64);
        let before = usize::try_from(self.from.saturating_sub(self.at)).unwrap_or(usize::MAX).min(bytes_read.len());
        let (old, new) = bytes_read.split_at(before);
        self.screen.take(old);
        self.at = self.at.saturating_add(old.len() as u64);
        if !old.is_empty() && self.at == self.from {
            self.screen.forget();
        }
        self.screen.take(new);
        self.at = self.at.saturating_add(new.len() as u64);
    }

    /// Looks on until what is waited for has come, or time is over. Returns whether it came.
    async fn follow(
        &mut self,
        frames: &mut reeve_gate::workspace::EventStream<TerminalFrame>,
        look: &Look,
    ) -> Result<bool, NotDone> {
        let now = Instant::now();
        let (deadline, mut changed, mut searched) = (now + look.at_most, now, None::<Instant>);
        loop {
            let due = searched.is_none_or(|at: Instant| at.elapsed() >= SEARCHED_EVERY);
            if let Some(text) = look.until.as_ref().filter(|_| due) {
                if self.screen.shows(text) {
                    return Ok(true);
                }
                searched = Some(Instant::now());
            }
            let quiet = look.quiet.map(|quiet| changed + quiet);
            let now = Instant::now();
            if self.ended.is_some() || now >= deadline || quiet.is_some_and(|quiet| now >= quiet) {
                let found = look.until.as_ref().is_some_and(|text| self.screen.shows(text));
                return Ok(found || (quiet.is_some_and(|quiet| now >= quiet) && look.until.is_none()));
            }
            // What has changed since the last search is searched soon, whether more comes or not.
            let again = searched.filter(|at| *at <= changed).map(|at| at + SEARCHED_EVERY);
            let alarm = [quiet, again].into_iter().flatten().fold(deadline, Instant::min);
            match tokio::time::timeout_at(alarm, frames.next()).await {
                Err(_) => {}
                Ok(None) => return Err(NotDone::new(ProblemCode::Unavailable, "the terminal's connection ended")),
                Ok(Some(frame)) => match frame? {
                    TerminalFrame::Bytes(bytes) => {
                        self.take(&bytes);
                        changed = Instant::now();
                    }
                    TerminalFrame::Control(TerminalOutput::Exit { code }) => self.ended = Some(code),
                    TerminalFrame::Control(TerminalOutput::Error { message, .. }) => {
                        return Err(NotDone::new(ProblemCode::Unavailable, message));
                    }
                    TerminalFrame::Control(_) => {}
                },
            }
        }
    }

    fn shown(&mut self, came: bool) -> Shown {
        Shown {
            lines: self.screen.lines(),
            full_screen: self.screen.is_full(),
            at: self.at,
            lost: self.lost,
            came,
            ended: self.ended,
        }
    }
}
