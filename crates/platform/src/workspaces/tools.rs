//! The tools by which workspaces are changed: what each is, and what it does with its permit.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use reeve_gate::{FailureKind, Permitted, ProbeVerdict, TaskCx, Tool, ToolCall, ToolFailure};
use reeve_types::{
    ActionClass, Arguments, ProblemCode, ResourceKind, Reversibility, ToolOutput, ToolSpec, WorkspaceError,
};
use serde_json::{Value, json};

use super::{Core, Handed, Key};

/// Which change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Create,
    Import,
    Change,
    Start,
    Suspend,
    Delete,
    Restore,
    Snapshot,
    RollBack,
    DropSnapshot,
    Fork,
    Browse,
    Save,
    Files,
    Upload,
    Extract,
    Execute,
    Terminal,
    Type,
    Pipe,
    AskModel,
    PutBack,
}

struct WorkspaceTool {
    act: Act,
    spec: ToolSpec,
    core: Arc<Core>,
}

pub(super) fn all(core: &Arc<Core>) -> Vec<Arc<dyn Tool>> {
    let acts = [
        Act::Create,
        Act::Import,
        Act::Change,
        Act::Start,
        Act::Suspend,
        Act::Delete,
        Act::Restore,
        Act::Snapshot,
        Act::RollBack,
        Act::DropSnapshot,
        Act::Fork,
        Act::Browse,
        Act::Save,
        Act::Files,
        Act::Upload,
        Act::Extract,
        Act::Execute,
        Act::Terminal,
        Act::Type,
        Act::Pipe,
        Act::AskModel,
        Act::PutBack,
    ];
    let run_max_ms = core.options.run_max_ms();
    let tool =
        |act| -> Arc<dyn Tool> { Arc::new(WorkspaceTool { act, spec: spec(act, run_max_ms), core: Arc::clone(core) }) };
    acts.into_iter().map(tool).collect()
}

fn inverse(tool: &str, description: &str) -> Reversibility {
    Reversibility::Inverse { tool: tool.to_owned(), description: description.to_owned() }
}

fn partial(description: &str) -> Reversibility {
    Reversibility::Partial { description: description.to_owned() }
}

fn lost(reason: &str) -> Reversibility {
    Reversibility::Irreversible { reason: reason.to_owned() }
}

const FILES_COME_BACK: &str = "files come back from a snapshot, when there is one";

fn spec(act: Act, run_max_ms: u64) -> ToolSpec {
    use ActionClass::{Destructive, Read, Write};
    let delete = || inverse("workspace_delete", "the new workspace is deleted");
    let (name, class, undone, description) = match act {
        Act::Create => (
            "workspace_create",
            Write,
            delete(),
            "Makes a workspace from a template; with directory, on a directory of the host.",
        ),
        Act::Import => ("workspace_import", Write, delete(), "Makes a workspace with the files of an export."),
        Act::Change => (
            "workspace_change",
            Write,
            partial("the same tool sets the former words again"),
            "Changes a workspace's name, description or idle time.",
        ),
        Act::Start => (
            "workspace_start",
            Write,
            inverse("workspace_suspend", "it is suspended again"),
            "Starts a workspace that is stopped or suspended.",
        ),
        Act::Suspend => (
            "workspace_suspend",
            Write,
            partial("its files stay; its processes are ended"),
            "Ends a workspace's processes and keeps its files.",
        ),
        Act::Delete => (
            "workspace_delete",
            Destructive,
            inverse("workspace_restore", "it is restored, unless it was forced"),
            "Deletes a workspace; with force its files too, for good.",
        ),
        Act::Restore => (
            "workspace_restore",
            Write,
            inverse("workspace_delete", "it is deleted again"),
            "Takes a deleted workspace back.",
        ),
        Act::Snapshot => (
            "workspace_snapshot",
            Write,
            inverse("workspace_drop_snapshot", "the snapshot is removed"),
            "Copies a workspace's files aside.",
        ),
        Act::RollBack => (
            "workspace_roll_back",
            Destructive,
            lost("what the files are now is lost, unless there is a snapshot of it"),
            "Puts a workspace's files back as they were in a snapshot.",
        ),
        Act::DropSnapshot => ("workspace_drop_snapshot", Destructive, lost("the copy is gone"), "Removes a snapshot."),
        Act::Fork => ("workspace_fork", Write, delete(), "Makes a workspace with the files of another."),
        Act::Browse => (
            "workspace_browse",
            Read,
            Reversibility::NotNeeded,
            "Lets the caller look into a workspace for a minute; lists a directory.",
        ),
        Act::Save => (
            "workspace_save_file",
            Write,
            partial(FILES_COME_BACK),
            "Writes a file, given as content or as the digest of content that waits.",
        ),
        Act::Files => (
            "workspace_change_files",
            Write,
            partial("what is in the trash is restored; purging, deleting and forgetting is for good"),
            "Creates, renames, moves, copies, trashes, restores or deletes files.",
        ),
        Act::Upload => ("workspace_upload", Write, partial(FILES_COME_BACK), "Begins an upload of one file in pieces."),
        Act::Extract => {
            ("workspace_extract", Write, partial(FILES_COME_BACK), "Unpacks an archive that waits into a directory.")
        }
        Act::Execute => ("workspace_execute", Write, partial(FILES_COME_BACK), "Runs a program in a workspace."),
        Act::Terminal => {
            ("workspace_open_terminal", Write, partial(FILES_COME_BACK), "Opens a terminal in a workspace.")
        }
        Act::Type => (
            "workspace_type",
            Write,
            partial(FILES_COME_BACK),
            "Types into a terminal of a workspace: text as it stands, then keys by their names. What is typed is run.",
        ),
        Act::Pipe => (
            "workspace_open_pipe",
            Write,
            partial(FILES_COME_BACK),
            "Starts a program in a workspace that is talked with over its standard input and output: an agent.",
        ),
        Act::AskModel => (
            "workspace_ask_model",
            Read,
            Reversibility::NotNeeded,
            "Asks a model about files of a workspace, which are sent to its provider; for the pages of the IDE.",
        ),
        Act::PutBack => (
            "workspace_put_back",
            Write,
            delete(),
            "Puts the files of a backup back into a workspace that has none; the platform's own, for `reeve restore`.",
        ),
    };
    let target = if matches!(act, Act::Create | Act::Import) { "template" } else { "workspace_id" };
    ToolSpec {
        name: name.to_owned(),
        agent: "workspace".to_owned(),
        description: description.to_owned(),
        input_schema: schema(act, target),
        action_class: class,
        resource_kind: ResourceKind::Workspace,
        target_argument: Some(target.to_owned()),
        reversibility: undone,
        capabilities: vec!["workspace".to_owned()],
        supersedes: Vec::new(),
        fleet_eligible: false,
        auto_remediation_eligible: false,
        timeout_ms: match act {
            Act::Execute => run_max_ms + 60_000,
            Act::Create | Act::Import | Act::Fork | Act::Snapshot | Act::RollBack | Act::Extract => 15 * 60_000,
            Act::PutBack => 60 * 60_000,
            Act::AskModel => 15 * 60_000,
            _ => 2 * 60_000,
        },
    }
}

fn schema(act: Act, target: &str) -> Value {
    let text = json!({"type": "string"});
    let size = json!({"type": "integer", "minimum": 0});
    let path = json!({"type": ["string", "object"]});
    let yes = json!({"type": "boolean"});
    let list = json!({"type": "array", "items": {"type": "string"}});
    let object = json!({"type": "object"});
    let new = json!({"name": text, "description": text, "driver": {"enum": ["namespace", "docker"]}, "limits": object,
                     "egress": object, "tags": list, "directory": text, "start": yes});
    let (mut properties, required): (Value, &[&str]) = match act {
        Act::Create => (new, &["name"]),
        Act::Import => {
            let mut with_files = new;
            (with_files["sha256"], with_files["size"]) = (text.clone(), size);
            (with_files, &["name", "sha256", "size"])
        }
        Act::Change => (json!({"name": text, "description": text, "idle_timeout_ms": size}), &[]),
        Act::Start | Act::Suspend | Act::Restore | Act::PutBack => (json!({}), &[]),
        Act::Delete => (json!({"force": yes}), &[]),
        Act::Snapshot => (json!({"name": text}), &["name"]),
        Act::RollBack | Act::DropSnapshot => (json!({"snapshot_id": text}), &["snapshot_id"]),
        Act::Fork => (json!({"name": text, "snapshot_id": text, "start": yes}), &["name"]),
        Act::Browse => (json!({"path": path}), &[]),
        Act::Save | Act::Upload => (
            json!({"path": path, "sha256": text, "size": size, "if_match": text, "if_none_match": yes,
                   "create_parents": yes, "origin": text, "content": text, "content_b64": text}),
            &["path"],
        ),
        Act::Files => {
            (json!({"op": text, "path": path, "new_name": text, "from": path, "to": path, "id": text}), &["op"])
        }
        Act::Extract => (
            json!({"path": path, "format": {"enum": ["zip", "tar_gz"]}, "sha256": text, "size": size}),
            &["path", "format", "sha256", "size"],
        ),
        Act::Execute => (
            json!({"argv": list, "file": path, "args": list, "language": text, "cwd": path,
                   "env": {"type": "object", "additionalProperties": text}, "stdin": text, "timeout_ms": size}),
            &[],
        ),
        Act::Terminal => (json!({"cols": size, "rows": size, "argv": list, "cwd": path, "session": text}), &[]),
        Act::Type => (
            json!({"terminal_id": text, "text": text, "keys": {"type": "array", "items": {"enum": Key::NAMES}}}),
            &["terminal_id"],
        ),
        Act::Pipe => (json!({"argv": list, "cwd": path, "variables": list}), &["argv"]),
        Act::AskModel => (
            json!({"for": {"enum": ["chat", "change", "completion"]}, "model": text, "prompt_sha256": text}),
            &["for", "prompt_sha256"],
        ),
    };
    properties[target] = text;
    let required: Vec<&str> = std::iter::once(target).chain(required.iter().copied()).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

impl Tool for WorkspaceTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class_of(&self, arguments: &Arguments) -> ActionClass {
        match self.act {
            Act::Delete if arguments.get("force") != Some(&Value::Bool(true)) => ActionClass::Write,
            Act::Files
                if matches!(
                    arguments.get("op").and_then(Value::as_str),
                    Some("purge" | "delete" | "forget_history")
                ) =>
            {
                ActionClass::Destructive
            }
            _ => self.spec.action_class,
        }
    }

    fn run<'a>(&'a self, call: Permitted<ToolCall>, cx: &'a TaskCx) -> BoxFuture<'a, Result<ToolOutput, ToolFailure>> {
        Box::pin(async move {
            let waiter = self.core.waiter(call.call());
            let mut waiter = waiter;
            match self.core.carry_out(self.act, call, cx, &mut waiter).await {
                Ok(output) => Ok(output),
                Err(problem) => {
                    let failure = failure_of(&problem);
                    if let Some(waiter) = waiter {
                        let _ = waiter.to.send(Handed::Problem(problem));
                    }
                    Err(failure)
                }
            }
        })
    }

    fn probe<'a>(&'a self, call: Permitted<ToolCall>, _: &'a TaskCx) -> BoxFuture<'a, ProbeVerdict> {
        Box::pin(async move { self.core.look_afterwards(self.act, call.call()).await })
    }
}

fn failure_of(problem: &WorkspaceError) -> ToolFailure {
    let kind = match problem.code {
        ProblemCode::BadRequest
        | ProblemCode::InvalidArguments
        | ProblemCode::PathEscape
        | ProblemCode::BadName
        | ProblemCode::HostileArchive => FailureKind::Invalid,
        ProblemCode::QuotaReached | ProblemCode::DiskFull | ProblemCode::TooLarge => FailureKind::LimitExceeded,
        ProblemCode::Unavailable => FailureKind::Unreachable,
        ProblemCode::Timeout => FailureKind::Timeout,
        ProblemCode::Internal => FailureKind::Unknown,
        _ => FailureKind::Failed,
    };
    ToolFailure::new(kind, problem.message.clone())
}
