//! The terminals of a session's agent: real ones of its workspace, which people see beside their own.
//!
//! Opening one and each typing is an act; looking is none. What is shown comes as a person sees it, so many lines of it,
//! with the word by which the next look goes on.

use std::time::Duration;

use reeve_store::StoredSession;
use reeve_types::model::ModelTool;
use reeve_types::session::SessionState;
use reeve_types::workspace::processes::{TERMINALS_OF_SESSION_MAX, Terminal, Typed};
use reeve_types::{Arguments, SessionId, TenantId, TerminalId};
use serde_json::{Value, json};

use super::asking::Outcome;
use super::tools::{Prepared, Verb, words};
use super::turn::TurnCx;
use super::{Sessions, lock};
use crate::workspaces::{Key, Look, Shown, check_typed};

/// Lines that are shown unless told otherwise, and at most.
const LINES: usize = 100;
const LINES_MAX: usize = 500;
/// How long a call waits for something to be shown, unless told otherwise and at most.
const WAIT: Duration = Duration::from_secs(30);
const WAIT_MAX: Duration = Duration::from_secs(300);
/// A terminal that has shown nothing for so long has answered what was typed, as far as can be told.
const QUIET: Duration = Duration::from_millis(400);
/// How long what was typed may be answered before the call ends.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// How long a workspace may take to close a session's terminals.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);
/// The size of a terminal that no person has looked at yet.
const SIZE: (u16, u16) = (120, 30);

pub(super) fn terminal_tool(verb: Verb) -> ModelTool {
    let text = json!({"type": "string"});
    let count = json!({"type": "integer", "minimum": 1});
    let terminal = json!({"type": "string", "description": "Its id; may be left out while you have one terminal."});
    let (name, description, properties, required): (_, _, Value, &[&str]) = match verb {
        Verb::OpenTerminal => (
            "open_terminal",
            "Opens a terminal for a program that asks questions or stays: a shell, an interpreter, a debugger. `argv` is the program and its arguments; a login shell without it. The answer shows the terminal and names its id.",
            json!({"argv": {"type": "array", "items": text}, "directory": text}),
            &[],
        ),
        Verb::TypeInTerminal => (
            "type_in_terminal",
            "Types text into your terminal, then presses keys: Enter, unless `keys` says otherwise ([] for none). The answer is what the terminal showed after that.",
            json!({"terminal": terminal, "text": text, "keys": {"type": "array", "items": {"enum": Key::NAMES}}}),
            &[],
        ),
        Verb::ReadTerminal => (
            "read_terminal",
            "Reads what your terminal shows. `since` is the number from an earlier answer: only what came after it. Waits until `wait_for` (a text) is shown, or nothing new came for `quiet_seconds`; at most `timeout_seconds`. Without either it does not wait.",
            json!({"terminal": terminal, "lines": count, "since": {"type": "integer", "minimum": 0}, "wait_for": text,
                   "quiet_seconds": {"type": "number", "exclusiveMinimum": 0}, "timeout_seconds": count}),
            &[],
        ),
        _ => (
            "close_terminal",
            "Closes your terminal and ends everything that was started in it.",
            json!({"terminal": terminal}),
            &[],
        ),
    };
    let input_schema =
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
    ModelTool { name: name.to_owned(), description: description.to_owned(), input_schema }
}

/// A call in one line, for people.
pub(super) fn terminal_title(name: &str, input: &Value) -> String {
    let list = |key: &str| {
        let words = input.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        words.collect::<Vec<_>>().join(" ")
    };
    let text = input.get("text").and_then(Value::as_str).unwrap_or_default();
    match name {
        "open_terminal" => format!("Open terminal {}", list("argv")).trim_end().to_owned(),
        "type_in_terminal" if text.is_empty() => format!("Press {}", list("keys")),
        "type_in_terminal" => format!("Type {}", text.replace('\n', " ⏎ ").trim_end()),
        "read_terminal" => "Read the terminal".to_owned(),
        _ => "Close the terminal".to_owned(),
    }
}

/// What a model wants typed: Enter follows the text unless it says otherwise.
fn typing_of(input: &Value) -> Result<(String, Vec<Key>), String> {
    let text = match input.get("text") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(_) => return Err("`text` must be a text".to_owned()),
    };
    let keys = match input.get("keys") {
        None | Some(Value::Null) if text.is_empty() => Vec::new(),
        None | Some(Value::Null) => vec![Key::Enter],
        Some(keys) => serde_json::from_value(keys.clone())
            .map_err(|_| format!("`keys` must be a list of {}", Key::NAMES.join(", ")))?,
    };
    check_typed(&text, &keys)?;
    Ok((text, keys))
}

impl TurnCx {
    /// The act that opening a terminal or typing into one is.
    pub(super) async fn prepare_terminal(&self, verb: Verb, input: &Value) -> Result<Prepared, String> {
        let mut arguments = Arguments::new();
        arguments.insert("workspace_id".to_owned(), json!(self.workspace_id()?));
        let own = self.own_terminals().await?;
        let detail = if verb == Verb::OpenTerminal {
            if own.len() >= TERMINALS_OF_SESSION_MAX {
                return Err(format!("you have {TERMINALS_OF_SESSION_MAX} terminals, and may have no more; close one"));
            }
            let argv = input.get("argv").cloned().filter(|argv| !argv.is_null()).unwrap_or_else(|| json!([]));
            if !argv.as_array().is_some_and(|argv| argv.iter().all(Value::is_string)) {
                return Err("`argv` must be a list of texts".to_owned());
            }
            let directory = input.get("directory").and_then(Value::as_str).unwrap_or_default();
            arguments.insert("cwd".to_owned(), json!(self.beneath(directory)?));
            arguments.insert("cols".to_owned(), json!(SIZE.0));
            arguments.insert("rows".to_owned(), json!(SIZE.1));
            arguments.insert("session".to_owned(), json!(self.id));
            let detail =
                if argv.as_array().is_some_and(Vec::is_empty) { "a login shell".to_owned() } else { argv.to_string() };
            arguments.insert("argv".to_owned(), argv);
            detail
        } else {
            let terminal = chosen(input, &own)?;
            let (text, keys) = typing_of(input)?;
            let detail = format!("{text}\n{}", json!(keys));
            arguments.insert("terminal_id".to_owned(), json!(terminal));
            arguments.insert("text".to_owned(), json!(text));
            arguments.insert("keys".to_owned(), json!(keys));
            detail
        };
        Ok(Prepared { tool: verb.act(), arguments, diffs: Vec::new(), detail })
    }

    /// A terminal that was just opened, and what it shows.
    pub(super) async fn told_of_opened(&self, data: Option<Value>) -> String {
        let opened = data.and_then(|data| serde_json::from_value::<Terminal>(data).ok());
        let Some(opened) = opened else { return "A terminal was opened.".to_owned() };
        let look = Look { quiet: Some(QUIET), at_most: ANSWERED_WITHIN, ..Look::default() };
        format!("[terminal {}]\n{}", opened.id, self.shown_or_why_not(&opened.id, &look).await)
    }

    /// What a terminal showed after something was typed.
    pub(super) async fn told_of_typed(&self, data: Option<Value>) -> String {
        let typed = data.and_then(|data| serde_json::from_value::<Typed>(data).ok());
        let Some(typed) = typed else { return "It was typed.".to_owned() };
        let look = Look { since: Some(typed.at), quiet: Some(QUIET), at_most: ANSWERED_WITHIN, ..Look::default() };
        self.shown_or_why_not(&typed.terminal_id, &look).await
    }

    /// What a terminal shows, perhaps after a wait.
    pub(super) async fn read_terminal(&self, input: &Value) -> Result<String, String> {
        let terminal = match input.get("terminal").and_then(Value::as_str) {
            // It may have ended and can be read all the same.
            Some(id) => {
                id.parse().map_err(|_| format!("`{}` is no terminal", id.chars().take(40).collect::<String>()))?
            }
            None => chosen(input, &self.own_terminals().await?)?,
        };
        let seconds = |key: &str| {
            let asked = input.get(key).and_then(Value::as_f64);
            asked.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).map(|asked| asked.min(WAIT_MAX))
        };
        let until = input.get("wait_for").and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        let quiet = seconds("quiet_seconds");
        let waits = until.is_some() || quiet.is_some();
        let at_most = seconds("timeout_seconds").unwrap_or(WAIT);
        let look = Look {
            since: input.get("since").and_then(Value::as_u64),
            until,
            quiet,
            at_most: if waits { at_most } else { Duration::ZERO },
        };
        let lines = input.get("lines").and_then(Value::as_u64).and_then(|lines| usize::try_from(lines).ok());
        let shown = self.look_at(&terminal, &look).await?;
        Ok(told(&shown, &look, lines.unwrap_or(LINES).min(LINES_MAX)))
    }

    /// Closing what one may open takes no leave.
    pub(super) async fn close_terminal(&self, input: &Value) -> Outcome {
        let closing = async {
            let terminal = chosen(input, &self.own_terminals().await?)?;
            let (workspaces, who, id) = (self.workspaces()?, self.who(), self.workspace_id()?);
            workspaces.close_terminal(&who.principal, &id, &terminal).await.map_err(words)?;
            Ok::<_, String>(terminal)
        };
        match closing.await {
            Ok(terminal) => Outcome::said(format!("closed {terminal}")),
            Err(reason) => Outcome::failed(reason),
        }
    }

    async fn own_terminals(&self) -> Result<Vec<Terminal>, String> {
        self.workspaces()?.terminals_of(&self.asker(), &self.workspace_id()?, &self.id).await.map_err(words)
    }

    async fn look_at(&self, terminal: &TerminalId, look: &Look) -> Result<Shown, String> {
        let workspaces = self.workspaces()?;
        let (asker, id) = (self.asker(), self.workspace_id()?);
        tokio::select! {
            shown = workspaces.shown(&asker, &id, &self.id, terminal, look) => shown.map_err(words),
            () = self.stopped() => Err("the turn was stopped".to_owned()),
        }
    }

    async fn shown_or_why_not(&self, terminal: &TerminalId, look: &Look) -> String {
        match self.look_at(terminal, look).await {
            Ok(shown) => told(&shown, look, LINES),
            Err(reason) => format!("[what the terminal shows cannot be read: {reason}]"),
        }
    }
}

/// The terminal that a call is about: the one that it names, or the only one there is.
fn chosen(input: &Value, own: &[Terminal]) -> Result<TerminalId, String> {
    let ids = || own.iter().map(|terminal| terminal.id.to_string()).collect::<Vec<_>>().join(", ");
    match (input.get("terminal").and_then(Value::as_str), own) {
        (Some(wanted), _) => {
            own.iter().find(|terminal| terminal.id.as_str() == wanted).map(|it| it.id.clone()).ok_or_else(|| {
                let wanted: String = wanted.chars().take(40).collect();
                let have =
                    if own.is_empty() { "you have none: open one".to_owned() } else { format!("you have {}", ids()) };
                format!("there is no terminal `{wanted}` of yours, or its program has ended; {have}")
            })
        }
        (None, [only]) => Ok(only.id.clone()),
        (None, []) => Err("you have no terminal that runs; open one".to_owned()),
        (None, _) => Err(format!("you have several terminals; name one in `terminal`: {}", ids())),
    }
}

/// The last lines of what is shown, with what a model should know of it.
fn told(shown: &Shown, look: &Look, lines: usize) -> String {
    let mut parts = Vec::new();
    if shown.lost {
        parts.push("[some of what was shown meanwhile is no longer known]".to_owned());
    }
    let above = shown.lines.len().saturating_sub(lines);
    if above > 0 {
        parts.push(format!("[{above} lines above are left out]"));
    }
    if shown.full_screen {
        parts.push("[a program has the whole screen]".to_owned());
    }
    if shown.lines.is_empty() {
        parts.push("[nothing is shown]".to_owned());
    }
    parts.extend(shown.lines.iter().skip(above).cloned());
    if let Some(text) = look.until.as_ref().filter(|_| !shown.came) {
        let text: String = text.chars().take(80).collect();
        parts.push(format!("[`{text}` was not shown in time]"));
    }
    parts.push(match shown.ended {
        Some(code) => format!("[the program has ended with exit code {code}; the terminal is gone]"),
        None => format!("[since {}]", shown.at),
    });
    parts.join("\n")
}

impl Sessions {
    /// Closes what a session's agent had open. What rests has nothing open.
    pub(super) async fn close_terminals(&self, row: &StoredSession) {
        let (Some(workspace), Some(workspaces)) = (&row.session.workspace_id, self.platform.workspaces()) else {
            return;
        };
        // Other people's agents have terminals of another kind, which end with them.
        if self.core.parts.definitions.get(&row.session.agent).is_none() {
            return;
        }
        let closing = workspaces.close_terminals_of(&row.principal, workspace, &row.session.id);
        match tokio::time::timeout(CLOSED_WITHIN, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(session.id = %row.session.id, "no terminals were closed: {error}"),
            Err(_) => tracing::warn!(session.id = %row.session.id, "closing the session's terminals takes too long"),
        }
    }

    /// The same, when a turn has ended after its session.
    pub(super) async fn close_terminals_if_closed(&self, tenant: &TenantId, session: &SessionId) {
        let Ok(Some(row)) = self.platform.store().session(tenant, session).await else { return };
        let working = lock(&self.core.turns).contains_key(session);
        if row.session.state == SessionState::Closed && !working {
            self.close_terminals(&row).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(n: u128) -> Terminal {
        Terminal {
            id: TerminalId::new(jiff::Timestamp::UNIX_EPOCH, n << 100),
            title: "sh".to_owned(),
            cols: 80,
            rows: 24,
            attached: 0,
            opened_at: jiff::Timestamp::UNIX_EPOCH,
            session: None,
        }
    }

    #[test]
    fn a_terminal_is_named_unless_there_is_one() {
        let (one, other) = (terminal(1), terminal(2));
        assert_eq!(chosen(&json!({}), std::slice::from_ref(&one)), Ok(one.id.clone()));
        assert!(chosen(&json!({}), &[]).unwrap_err().contains("open one"));
        assert!(chosen(&json!({}), &[one.clone(), other.clone()]).unwrap_err().contains(other.id.as_str()));
        assert_eq!(chosen(&json!({"terminal": other.id}), &[one.clone(), other.clone()]), Ok(other.id.clone()));
        assert!(chosen(&json!({"terminal": other.id}), &[one]).unwrap_err().contains("no terminal"));
    }

    #[test]
    fn enter_follows_text_unless_keys_are_named() {
        assert_eq!(typing_of(&json!({"text": "ls"})), Ok(("ls".to_owned(), vec![Key::Enter])));
        assert_eq!(typing_of(&json!({"text": "y", "keys": []})), Ok(("y".to_owned(), Vec::new())));
        assert_eq!(typing_of(&json!({"keys": ["ctrl_c"]})), Ok((String::new(), vec![Key::CtrlC])));
        assert!(typing_of(&json!({"keys": ["hyper"]})).unwrap_err().contains("ctrl_c"));
        assert!(typing_of(&json!({})).is_err());
    }

    #[test]
    fn of_much_the_last_lines_are_told_and_what_is_missing_is_said() {
        let shown = Shown {
            lines: (0..250).map(|n| n.to_string()).collect(),
            full_screen: false,
            at: 4711,
            lost: true,
            came: false,
            ended: None,
        };
        let look = Look { until: Some("done".to_owned()), ..Look::default() };
        let text = told(&shown, &look, 3);
        assert_eq!(
            text,
            "[some of what was shown meanwhile is no longer known]\n[247 lines above are left out]\n247\n248\n249\n\
             [`done` was not shown in time]\n[since 4711]"
        );
        let ended = Shown { lines: Vec::new(), ended: Some(3), lost: false, came: true, ..shown };
        assert_eq!(
            told(&ended, &look, 3),
            "[nothing is shown]\n[the program has ended with exit code 3; the terminal is gone]"
        );
    }
}
