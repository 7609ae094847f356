//! What an agent's model may call, and which act of the gate each call is.
//!
//! Tools of the gate are offered under their own names and with their own schemas. In a workspace the model gets a few
//! tools in the words that models know: files, search, programs; those that change something are the gate's acts too.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use reeve_types::model::ModelTool;
use reeve_types::session::{FileDiff, PermissionMode};
use reeve_types::workspace::files::{SearchEvent, SearchKind, SearchQuery, TreeQuery};
use reeve_types::workspace::processes::ExecResult;
use reeve_types::{ActionClass, Arguments, Purpose, ToolSpec, WorkspaceId, WorkspacePath};
use serde_json::{Value, json};

use super::asking::Outcome;
use super::statements::{STATEMENT_TOOL, statement_tool};
use super::terminals::{terminal_title, terminal_tool};
use super::turn::TurnCx;
use crate::difference::unified;

/// Largest file that a model reads or edits, in bytes.
const FILE_BYTES_MAX: usize = 1024 * 1024;
/// Largest file that a model writes, in bytes: it travels in the act's arguments.
const WRITTEN_BYTES_MAX: usize = 200 * 1024;
/// Most lines that one reading gives.
const LINES_MAX: usize = 2000;
/// Most matches that one search gives.
const MATCHES_MAX: u32 = 200;

/// Where a call leads.
#[derive(Debug, Clone)]
pub(super) enum Route {
    /// A tool of the gate, arguments as they are.
    Gate(Box<ToolSpec>),
    /// A look or an act in the session's workspace.
    Workspace(Verb),
    /// A part of a result that was too long for the conversation.
    Recall,
    /// What the agent says it has done, to be held against the record.
    Statement,
}

/// What can be done in a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    ReadFile,
    ListFiles,
    SearchFiles,
    ListPorts,
    WriteFile,
    EditFile,
    RunCommand,
    OpenTerminal,
    TypeInTerminal,
    ReadTerminal,
    CloseTerminal,
}

impl Verb {
    const ALL: [Self; 11] = [
        Self::ReadFile,
        Self::ListFiles,
        Self::SearchFiles,
        Self::ListPorts,
        Self::WriteFile,
        Self::EditFile,
        Self::RunCommand,
        Self::OpenTerminal,
        Self::TypeInTerminal,
        Self::ReadTerminal,
        Self::CloseTerminal,
    ];

    fn only_looks(self) -> bool {
        matches!(self, Self::ReadFile | Self::ListFiles | Self::SearchFiles | Self::ListPorts | Self::ReadTerminal)
    }

    /// The tool of the gate whose act such a call is.
    pub(super) fn act(self) -> &'static str {
        match self {
            Self::RunCommand => "workspace_execute",
            Self::OpenTerminal => "workspace_open_terminal",
            Self::TypeInTerminal => "workspace_type",
            _ => "workspace_save_file",
        }
    }

    fn tool(self) -> ModelTool {
        let text = json!({"type": "string"});
        let count = json!({"type": "integer", "minimum": 1});
        let object = |properties: Value, required: &[&str]| json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
        let (name, description, input_schema) = match self {
            Self::ReadFile => (
                "read_file",
                "Reads a text file. Lines are numbered. Give from_line and lines for a part of a long file.",
                object(json!({"path": text, "from_line": count, "lines": count}), &["path"]),
            ),
            Self::ListFiles => (
                "list_files",
                "Lists a directory, ignored files left out. depth 1 is the directory itself; at most 5.",
                object(json!({"path": text, "depth": count}), &[]),
            ),
            Self::SearchFiles => (
                "search_files",
                "Searches the contents of files for a text or, with regex, a regular expression; or, with names, file names (a glob or a few letters).",
                object(
                    json!({"text": text, "regex": {"type": "boolean"}, "names": {"type": "boolean"}, "include": {"type": "array", "items": text}}),
                    &["text"],
                ),
            ),
            Self::ListPorts => {
                ("list_ports", "Lists the ports that programs in the workspace listen on.", object(json!({}), &[]))
            }
            Self::WriteFile => (
                "write_file",
                "Writes a whole file, replacing what it held; directories above it are made.",
                object(json!({"path": text, "content": text}), &["path", "content"]),
            ),
            Self::EditFile => (
                "edit_file",
                "Replaces an exact piece of a file by another. `old` must occur exactly once, unless replace_all is true.",
                object(
                    json!({"path": text, "old": text, "new": text, "replace_all": {"type": "boolean"}}),
                    &["path", "old", "new"],
                ),
            ),
            Self::RunCommand => (
                "run_command",
                "Runs a program to its end and gives back what it printed. `argv` is the program and its arguments; for a shell say [\"bash\", \"-c\", \"…\"]. For programs that ask questions or stay, open a terminal.",
                object(
                    json!({"argv": {"type": "array", "items": text, "minItems": 1}, "directory": text, "timeout_seconds": count}),
                    &["argv"],
                ),
            ),
            Self::OpenTerminal | Self::TypeInTerminal | Self::ReadTerminal | Self::CloseTerminal => {
                return terminal_tool(self);
            }
        };
        ModelTool { name: name.to_owned(), description: description.to_owned(), input_schema }
    }
}

/// An agent's tools.
#[derive(Debug, Default)]
pub(super) struct Kit {
    pub(super) tools: Vec<ModelTool>,
    routes: BTreeMap<String, Route>,
}

impl Kit {
    /// What is wanted, of all that there is: names of tools, names of agents whose tools they are, `workspace`, or `*`.
    pub(super) fn of<'a>(wanted: &[String], specs: impl Iterator<Item = &'a ToolSpec>, workspace: bool) -> Self {
        let wants = |word: &str| wanted.iter().any(|tool| tool == word);
        let mut kit = Self::default();
        for spec in specs {
            // Workspaces are reached by the verbs below, each bound to the session's own workspace.
            let hidden = matches!(spec.agent.as_str(), "workspace" | "sessions");
            let named = wants(&spec.name);
            if named || (!hidden && (wants("*") || wants(&spec.agent))) {
                kit.add(gate_tool(spec), Route::Gate(Box::new(spec.clone())));
            }
        }
        if workspace && (wants("workspace") || wants("*")) {
            for verb in Verb::ALL {
                kit.add(verb.tool(), Route::Workspace(verb));
            }
        }
        if !kit.tools.is_empty() {
            kit.add(recall_tool(), Route::Recall);
        }
        if kit.routes.values().any(|route| !route.only_looks()) {
            kit.add(statement_tool(), Route::Statement);
        }
        kit
    }

    /// Whether the model is to state what it did.
    pub(super) fn takes_statements(&self) -> bool {
        self.routes.values().any(|route| matches!(route, Route::Statement))
    }

    fn add(&mut self, tool: ModelTool, route: Route) {
        if self.routes.insert(tool.name.clone(), route).is_none() {
            self.tools.push(tool);
        }
    }

    pub(super) fn route(&self, name: &str) -> Option<&Route> {
        self.routes.get(name)
    }

    /// The tools, each with whether it changes nothing.
    pub(super) fn offered(&self) -> impl Iterator<Item = (&ModelTool, bool)> {
        self.tools.iter().map(|tool| (tool, self.route(&tool.name).is_none_or(Route::changes_nothing)))
    }

    pub(super) fn names(&self) -> String {
        self.routes.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

impl Route {
    /// Whether such calls may run beside each other.
    pub(super) fn only_looks(&self) -> bool {
        match self {
            Self::Gate(spec) => spec.action_class == ActionClass::Read,
            Self::Workspace(verb) => verb.only_looks(),
            Self::Recall => true,
            Self::Statement => false,
        }
    }

    /// Whether such calls leave everything as it is.
    fn changes_nothing(&self) -> bool {
        self.only_looks() || matches!(self, Self::Statement)
    }

    /// The kind of call that people and clients know.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Gate(spec) if spec.action_class == ActionClass::Read => "read",
            Self::Gate(_) => "other",
            Self::Statement => "think",
            Self::Workspace(Verb::ReadFile | Verb::ListFiles) | Self::Recall => "read",
            Self::Workspace(Verb::SearchFiles) => "search",
            Self::Workspace(Verb::ListPorts | Verb::ReadTerminal) => "read",
            Self::Workspace(Verb::WriteFile | Verb::EditFile) => "edit",
            Self::Workspace(Verb::RunCommand | Verb::OpenTerminal | Verb::TypeInTerminal) => "execute",
            Self::Workspace(Verb::CloseTerminal) => "other",
        }
    }

    /// Whether the agent must ask the one it works for, in this mode.
    pub(super) fn asks(&self, mode: PermissionMode) -> bool {
        matches!(self, Self::Workspace(verb) if !verb.only_looks()) && mode.asks(self.kind())
    }
}

fn gate_tool(spec: &ToolSpec) -> ModelTool {
    let class = match spec.action_class {
        ActionClass::Read => "",
        ActionClass::Write => " It changes something; people may be asked first.",
        ActionClass::Destructive => " It is destructive; people may be asked first.",
    };
    let mut input_schema = spec.input_schema.clone();
    if takes_purpose(spec)
        && let Some(schema) = input_schema.as_object_mut()
        && let Some(properties) = schema.entry("properties").or_insert_with(|| json!({})).as_object_mut()
    {
        let words = Purpose::ALL.map(Purpose::as_str);
        properties.insert(PURPOSE.to_owned(), json!({"enum": words, "description": "Why; policy may demand it."}));
    }
    ModelTool { name: spec.name.clone(), description: format!("{}{class}", spec.description), input_schema }
}

/// The argument by which a model says why it calls a tool of the gate. The tool never sees it.
const PURPOSE: &str = "purpose";

/// A tool that has an argument of this name keeps it for itself.
fn takes_purpose(spec: &ToolSpec) -> bool {
    spec.input_schema.pointer("/properties/purpose").is_none()
}

/// Takes the purpose out of a call's arguments.
pub(super) fn purpose_in(spec: &ToolSpec, arguments: &mut Arguments) -> Result<Option<Purpose>, String> {
    if !takes_purpose(spec) {
        return Ok(None);
    }
    match arguments.remove(PURPOSE) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(word)) => word.parse().map(Some).map_err(|error: reeve_types::purpose::UnknownPurpose| {
            let word: String = error.0.chars().take(40).collect();
            reeve_types::purpose::UnknownPurpose(word).to_string()
        }),
        Some(_) => Err("`purpose` must be a text".to_owned()),
    }
}

fn recall_tool() -> ModelTool {
    ModelTool {
        name: "read_kept_result".to_owned(),
        description: "Reads a part of a result that was too long to be shown whole: `result` is its digest.".to_owned(),
        input_schema: json!({
            "type": "object", "additionalProperties": false, "required": ["result"],
            "properties": {"result": {"type": "string"}, "from": {"type": "integer", "minimum": 0}},
        }),
    }
}

/// A call in one line, for people.
pub(super) fn title_of(name: &str, input: &Value) -> String {
    let text = |key: &str| input.get(key).and_then(Value::as_str).unwrap_or_default();
    let title = match name {
        "read_file" => format!("Read {}", text("path")),
        "list_files" => format!("List {}", if text("path").is_empty() { "/workspace" } else { text("path") }),
        "search_files" => format!("Search for {}", text("text")),
        "write_file" => format!("Write {}", text("path")),
        "edit_file" => format!("Edit {}", text("path")),
        "run_command" => {
            let argv: Vec<&str> =
                input.get("argv").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
            match argv.as_slice() {
                [shell, "-c" | "-lc", script] if matches!(*shell, "bash" | "sh") => format!("Run {script}"),
                argv => format!("Run {}", argv.join(" ")),
            }
        }
        "open_terminal" | "type_in_terminal" | "read_terminal" | "close_terminal" => terminal_title(name, input),
        STATEMENT_TOOL => "State what was done".to_owned(),
        other => other.replace('_', " "),
    };
    title.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// An act that a workspace verb stands for.
pub(super) struct Prepared {
    pub(super) tool: &'static str,
    pub(super) arguments: Arguments,
    pub(super) diffs: Vec<FileDiff>,
    /// What people read before they answer, besides the title.
    pub(super) detail: String,
}

impl TurnCx {
    /// Answers a verb that only looks.
    pub(super) async fn look(&self, verb: Verb, input: &Value) -> Outcome {
        let looked = match verb {
            Verb::ReadFile => self.read_file(input).await,
            Verb::ListFiles => self.list_files(input).await,
            Verb::SearchFiles => self.search_files(input).await,
            Verb::ReadTerminal => self.read_terminal(input).await,
            _ => self.list_ports().await,
        };
        match looked {
            Ok(text) => Outcome::said(text),
            Err(reason) => Outcome::failed(reason),
        }
    }

    /// The act that a verb stands for, or why there is none.
    pub(super) async fn prepare(&self, verb: Verb, input: &Value) -> Result<Prepared, String> {
        if matches!(verb, Verb::OpenTerminal | Verb::TypeInTerminal) {
            return self.prepare_terminal(verb, input).await;
        }
        let id = self.workspace_id()?;
        let mut arguments = Arguments::new();
        arguments.insert("workspace_id".to_owned(), json!(id));
        if verb == Verb::RunCommand {
            let argv = input.get("argv").filter(|argv| argv.is_array()).ok_or("`argv` must be a list of texts")?;
            let cwd = self.beneath(input.get("directory").and_then(Value::as_str).unwrap_or_default())?;
            let seconds = input.get("timeout_seconds").and_then(Value::as_u64).unwrap_or(120).clamp(1, 600);
            arguments.insert("argv".to_owned(), argv.clone());
            arguments.insert("cwd".to_owned(), json!(cwd));
            arguments.insert("timeout_ms".to_owned(), json!(seconds * 1000));
            return Ok(Prepared { tool: "workspace_execute", arguments, diffs: Vec::new(), detail: argv.to_string() });
        }
        let path = self.beneath(required(input, "path")?)?;
        let before = self.content_of(&path).await;
        let (old, new) = match verb {
            Verb::WriteFile => (before.ok(), required(input, "content")?.to_owned()),
            _ => {
                let (old, etag) = before?;
                let new = replaced(&old, required(input, "old")?, required(input, "new")?, input.get("replace_all"))?;
                (Some((old, etag)), new)
            }
        };
        if new.len() > WRITTEN_BYTES_MAX {
            return Err(format!("the file would be larger than {WRITTEN_BYTES_MAX} bytes; write it by a program"));
        }
        arguments.insert("path".to_owned(), json!(path));
        arguments.insert("content".to_owned(), json!(new));
        arguments.insert("create_parents".to_owned(), json!(true));
        arguments.insert("origin".to_owned(), json!(self.id));
        if let Some((_, etag)) = &old {
            arguments.insert("if_match".to_owned(), json!(etag));
        }
        let diff = FileDiff { path: from_root(&path), old: old.map(|(text, _)| text), new };
        let detail = unified(&diff);
        Ok(Prepared { tool: "workspace_save_file", arguments, diffs: vec![diff], detail })
    }

    /// A part of a result that was kept outside.
    pub(super) async fn recall(&self, input: &Value) -> Outcome {
        const PART: usize = 12_000;
        let digest = match required(input, "result").map(str::parse::<reeve_types::Digest>) {
            Ok(Ok(digest)) => digest,
            _ => return Outcome::failed("`result` must be the digest that the shortened result names"),
        };
        let from = input.get("from").and_then(Value::as_u64).and_then(|from| usize::try_from(from).ok()).unwrap_or(0);
        match self.platform().store().session_text(&self.id, digest).await {
            Ok(Some(text)) => {
                let part: String = text.chars().skip(from).take(PART).collect();
                let left = text.chars().count().saturating_sub(from + PART);
                Outcome::said(if left == 0 {
                    part
                } else {
                    format!("{part}\n[{left} more characters; go on from {}]", from + PART)
                })
            }
            Ok(None) => Outcome::failed("no result of that digest is kept"),
            Err(error) => Outcome::failed(error.chain()),
        }
    }

    async fn read_file(&self, input: &Value) -> Result<String, String> {
        let path = self.beneath(required(input, "path")?)?;
        let (text, _) = self.content_of(&path).await?;
        let number = |key: &str| input.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let from = number("from_line").unwrap_or(1).max(1);
        let wanted = number("lines").unwrap_or(LINES_MAX).min(LINES_MAX);
        let total = text.lines().count();
        let shown: Vec<String> = text
            .lines()
            .enumerate()
            .skip(from - 1)
            .take(wanted)
            .map(|(n, line)| format!("{:>5}  {line}", n + 1))
            .collect();
        let last = from - 1 + shown.len();
        let more = if last < total { format!("\n[lines {from} to {last} of {total}]") } else { String::new() };
        Ok(if shown.is_empty() { format!("[no such lines: the file has {total}]") } else { shown.join("\n") + &more })
    }

    async fn list_files(&self, input: &Value) -> Result<String, String> {
        let path = self.beneath(input.get("path").and_then(Value::as_str).unwrap_or_default())?;
        let depth = input.get("depth").and_then(Value::as_u64).unwrap_or(2).clamp(1, 5);
        let depth = u32::try_from(depth).unwrap_or(1);
        let query = TreeQuery { path, depth, ignored: false, limit: 1000, cursor: None };
        let page = self.workspaces()?.tree(&self.asker(), &self.workspace_id()?, &query).await.map_err(words)?;
        let mut lines: Vec<String> = page
            .entries
            .iter()
            .map(|entry| {
                let slash = if entry.has_children.is_some() { "/" } else { "" };
                format!("{}{slash}", entry.path)
            })
            .collect();
        if page.next_cursor.is_some() {
            lines.push("[there is more; list a directory below]".to_owned());
        }
        Ok(if lines.is_empty() { "[empty]".to_owned() } else { lines.join("\n") })
    }

    async fn search_files(&self, input: &Value) -> Result<String, String> {
        let yes = |key: &str| input.get(key).and_then(Value::as_bool).unwrap_or(false);
        let include = input.get("include").and_then(Value::as_array).into_iter().flatten();
        let query = SearchQuery {
            text: required(input, "text")?.to_owned(),
            kind: if yes("names") { SearchKind::Names } else { SearchKind::Contents },
            regex: yes("regex"),
            case_sensitive: false,
            whole_word: false,
            include: include.filter_map(Value::as_str).map(str::to_owned).collect(),
            exclude: Vec::new(),
            ignored: false,
            limit: MATCHES_MAX,
        };
        let found = self.workspaces()?.search(&self.asker(), &self.workspace_id()?, query).await;
        let mut found = found.map_err(words)?;
        let mut lines = Vec::new();
        while let Some(event) = found.next().await {
            match event.map_err(|error| error.to_string())? {
                SearchEvent::Match { path, line, text, .. } => {
                    lines.push(format!("{path}:{line}: {}", text.trim_end()))
                }
                SearchEvent::File { entry } => lines.push(entry.path.to_string()),
                SearchEvent::Done { truncated: true, .. } => {
                    lines.push("[there is more; search more narrowly]".to_owned())
                }
                SearchEvent::Done { .. } => {}
            }
        }
        Ok(if lines.is_empty() { "[nothing found]".to_owned() } else { lines.join("\n") })
    }

    async fn list_ports(&self) -> Result<String, String> {
        let ports = self.workspaces()?.ports(&self.asker(), &self.workspace_id()?).await.map_err(words)?;
        let lines: Vec<String> = ports.iter().map(|port| port.port.to_string()).collect();
        Ok(if lines.is_empty() { "[no program listens]".to_owned() } else { lines.join("\n") })
    }

    /// A text file with its entity tag.
    pub(super) async fn content_of(&self, path: &WorkspacePath) -> Result<(String, String), String> {
        let file = self.workspaces()?.read(&self.asker(), &self.workspace_id()?, path, None).await.map_err(words)?;
        if file.head.size > FILE_BYTES_MAX as u64 {
            return Err(format!("`{path}` has {} bytes, too many to read whole; use a program", file.head.size));
        }
        if file.head.binary {
            return Err(format!("`{path}` is not a text file"));
        }
        let (mut content, mut bytes) = (file.content, Vec::new());
        while let Some(piece) = content.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| format!("`{path}` could not be read: {error}"))?);
        }
        let text = String::from_utf8(bytes).map_err(|_| format!("`{path}` is not a text file"))?;
        Ok((text, file.head.etag))
    }

    /// A path that a model gave, below the session's directory.
    pub(super) fn beneath(&self, text: &str) -> Result<WorkspacePath, String> {
        let absolute = text.starts_with('/');
        let joined = match self.session.directory.as_str() {
            directory if !directory.is_empty() && !absolute => format!("{directory}/{text}"),
            _ => text.to_owned(),
        };
        let joined = joined.trim_end_matches('/').trim_end_matches("/.");
        joined.parse::<WorkspacePath>().map_err(|problem| problem.to_string())
    }

    pub(super) fn workspace_id(&self) -> Result<WorkspaceId, String> {
        self.session.workspace_id.clone().ok_or_else(|| "this session has no workspace".to_owned())
    }
}

/// A path as people see it, from the workspace's root.
pub(super) fn from_root(path: &WorkspacePath) -> String {
    let whole = path.to_string();
    whole.strip_prefix("/workspace/").map_or(whole.clone(), str::to_owned)
}

/// What a program printed, for a model.
pub(super) fn told_of_program(data: Option<Value>, otherwise: String) -> (String, bool) {
    let Some(result) = data.and_then(|data| serde_json::from_value::<ExecResult>(data).ok()) else {
        return (otherwise, false);
    };
    let outcome = &result.outcome;
    let mut text = String::new();
    for (stream, name) in [(&result.stdout, "stdout"), (&result.stderr, "stderr")] {
        if !stream.is_empty() {
            text.push_str(&format!("[{name}]\n{}\n", stream.trim_end()));
        }
    }
    let why = match outcome {
        ended if ended.timed_out => ", it did not end in its time",
        ended if ended.out_of_memory => ", it ran out of memory",
        ended if ended.cancelled => ", it was cancelled",
        _ => "",
    };
    text.push_str(&format!("[exit code {}{why}]", outcome.exit_code));
    (text, outcome.exit_code != 0)
}

fn required<'a>(input: &'a Value, key: &str) -> Result<&'a str, String> {
    input.get(key).and_then(Value::as_str).ok_or_else(|| format!("`{key}` is missing, or is no text"))
}

pub(super) fn words(error: crate::workspaces::NotDone) -> String {
    error.to_string()
}

fn replaced(text: &str, old: &str, new: &str, all: Option<&Value>) -> Result<String, String> {
    if old.is_empty() {
        return Err("`old` is empty; use write_file to write a whole file".to_owned());
    }
    let all = all.and_then(Value::as_bool).unwrap_or(false);
    match text.matches(old).count() {
        0 => Err("`old` does not occur in the file; read it again and give the exact text".to_owned()),
        1 => Ok(text.replacen(old, new, 1)),
        _ if all => Ok(text.replace(old, new)),
        n => Err(format!("`old` occurs {n} times; give more of the text around it, or replace_all")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_exact_or_says_why_not() {
        assert_eq!(replaced("a b a", "b", "c", None).unwrap(), "a c a");
        assert!(replaced("a b a", "a", "c", None).unwrap_err().contains("2 times"));
        assert_eq!(replaced("a b a", "a", "c", Some(&json!(true))).unwrap(), "c b c");
        assert!(replaced("a", "x", "y", None).unwrap_err().contains("does not occur"));
        assert!(replaced("a", "", "y", None).is_err());
    }

    #[test]
    fn a_call_is_told_in_one_line() {
        assert_eq!(title_of("run_command", &json!({"argv": ["bash", "-c", "make test"]})), "Run make test");
        assert_eq!(title_of("run_command", &json!({"argv": ["ls", "-l"]})), "Run ls -l");
        assert_eq!(title_of("open_terminal", &json!({"argv": ["python3", "-i"]})), "Open terminal python3 -i");
        assert_eq!(title_of("type_in_terminal", &json!({"text": "print(6*7)"})), "Type print(6*7)");
        assert_eq!(title_of("type_in_terminal", &json!({"keys": ["ctrl_c", "enter"]})), "Press ctrl_c enter");
        assert_eq!(title_of("edit_file", &json!({"path": "a.py"})), "Edit a.py");
        assert_eq!(title_of("terminate_connection", &json!({})), "terminate connection");
    }

    #[test]
    fn a_model_says_why_and_the_tool_never_sees_it() {
        let spec = |properties: Value| ToolSpec {
            name: "change".to_owned(),
            agent: "database".to_owned(),
            description: "Changes.".to_owned(),
            input_schema: json!({"type": "object", "additionalProperties": false, "properties": properties}),
            action_class: ActionClass::Write,
            resource_kind: reeve_types::ResourceKind::Database,
            target_argument: None,
            reversibility: reeve_types::Reversibility::NotNeeded,
            capabilities: Vec::new(),
            supersedes: Vec::new(),
            fleet_eligible: false,
            auto_remediation_eligible: false,
            timeout_ms: 1,
        };
        let arguments = |value: Value| value.as_object().cloned().unwrap();
        let plain = spec(json!({"pid": {"type": "integer"}}));
        assert_eq!(gate_tool(&plain).input_schema["properties"]["purpose"]["enum"][1], "remediation");
        let mut given = arguments(json!({"pid": 1, "purpose": "remediation"}));
        assert_eq!(purpose_in(&plain, &mut given), Ok(Some(Purpose::Remediation)));
        assert_eq!(given, arguments(json!({"pid": 1})));
        assert_eq!(purpose_in(&plain, &mut given), Ok(None));
        let wrong = purpose_in(&plain, &mut arguments(json!({"purpose": "fun"}))).unwrap_err();
        assert!(wrong.contains("`fun`") && wrong.contains("remediation"), "{wrong}");

        let own = spec(json!({"purpose": {"type": "string"}}));
        assert_eq!(gate_tool(&own).input_schema["properties"]["purpose"], json!({"type": "string"}));
        let mut given = arguments(json!({"purpose": "its own"}));
        assert_eq!(purpose_in(&own, &mut given), Ok(None));
        assert_eq!(given["purpose"], "its own");
    }
}
