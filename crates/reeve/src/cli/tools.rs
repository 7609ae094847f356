//! `reeve tools` and `reeve tool run`: what can be done, and doing it.

use std::fmt::Write as _;
use std::io::Read as _;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use reeve_types::limits::ARGUMENTS_BYTES_MAX;
use serde_json::{Map, Value, json};

use super::Session;
use super::diagnose::Why;
use crate::client::{Answer, Ask, LONG_PATIENCE, Reach, escape};
use crate::exit::{self, Failure, Outcome};
use crate::render::{approvals, clean, entries, field, moment, records};
use crate::term::Tone;

/// How long one long poll asks the server to wait, in seconds.
const POLL_SECONDS: u64 = 60;
/// How often the outcome of an approved act is asked for.
const OUTCOME_EVERY: Duration = Duration::from_millis(500);
/// How long an approved act may take until `--wait` gives up waiting for its outcome.
const OUTCOME_LIMIT: Duration = Duration::from_secs(30 * 60);

/// List the tools, or show one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve tools                         every tool in one line
  reeve tools get_locks               what one takes
  reeve tools --class destructive     those that end or lose something")]
pub(super) struct Tools {
    /// Show this tool
    name: Option<String>,
    /// Only tools of this class: read, write or destructive
    #[arg(long)]
    class: Option<reeve_types::ActionClass>,
    /// Only tools of this agent
    #[arg(long)]
    agent: Option<String>,
}

/// Run a tool
#[derive(Debug, Args)]
pub(super) struct Tool {
    #[command(subcommand)]
    what: ToolCommand,
}

#[derive(Debug, Subcommand)]
enum ToolCommand {
    Run(Run),
}

/// Run a tool, if policy lets you
///
/// Arguments are key=value; `reeve tools NAME` shows which there are. An act that needs approval is not done: the
/// answer names the approval and the command that gives it. The act begins by itself once it is approved.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve tool run get_locks --target prod-db
  reeve tool run cancel_query pid=4711 --target prod-db --purpose remediation
  reeve tool run cancel_query --args '{\"pid\": 4711}' --target prod-db --dry-run
  reeve tool run cancel_query --args @arguments.json --wait

Exit codes:
  0  it ran and succeeded
  1  it ran and failed
  2  the server is out of reach, or something else went wrong
  3  wrong usage: no such tool, or the arguments do not fit
  4  denied by policy
  5  waiting for an approval; its id is in the answer")]
struct Run {
    /// The tool
    name: String,
    /// Its arguments
    #[arg(value_name = "KEY=VALUE")]
    arguments: Vec<String>,
    /// Its arguments as a JSON object, `@FILE` or `-` for standard input; KEY=VALUE adds to them
    #[arg(long, value_name = "JSON|@FILE|-")]
    args: Option<String>,
    /// On what: an id of the inventory, or a connection string
    #[arg(long, value_name = "ID|DSN")]
    target: Option<String>,
    #[command(flatten)]
    why: Why,
    /// Try it without lasting effect; where the tool cannot, only policy is asked
    #[arg(long)]
    dry_run: bool,
    /// Wait until the approval is settled and print the result
    #[arg(long)]
    wait: bool,
    /// Send again under this key without doing anything twice
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

pub(super) async fn list(command: Tools, session: &mut Session) -> Outcome {
    if let Some(name) = &command.name {
        let ask = Ask::get(format!("/tools/{}", escape(name)));
        let answer = session.fetch(Reach::ServerOrHere, "reading", ask).await?;
        return session.show(&answer, records::tool);
    }
    let answer = session.fetch(Reach::ServerOrHere, "reading", Ask::get("/tools")).await?;
    let class = command.class.map(reeve_types::ActionClass::as_str);
    let all = answer.json()?;
    let wanted = |tool: &&Value| {
        class.is_none_or(|class| field(tool, "action_class") == class)
            && command.agent.as_ref().is_none_or(|agent| field(tool, "agent") == *agent)
    };
    let tools: Vec<Value> = entries(&all, "tools").iter().filter(wanted).cloned().collect();
    if session.json {
        let narrowed = class.is_some() || command.agent.is_some();
        let count = tools.len();
        match narrowed {
            true => session.term.print_json(&json!({"tools": tools, "count": count}))?,
            false => session.term.print_json_text(&answer.text)?,
        }
    } else {
        let text = records::tools(&tools, session.term.look());
        session.term.print(&text)?;
    }
    Ok(exit::DONE)
}

pub(super) async fn run(command: Tool, session: &mut Session) -> Outcome {
    let ToolCommand::Run(run) = command.what;
    let typed = typed_arguments(&run)?;
    let spec = session.send(Reach::ServerOrHere, "reading", Ask::get(format!("/tools/{}", escape(&run.name)))).await?;
    if spec.status == 404 {
        let failure = Failure::usage(format!("there is no tool `{}`", clean(&run.name)));
        return Err(failure.hint("`reeve tools` lists them"));
    }
    let arguments = fit(typed, &run, &spec.fine()?.json()?)?;
    let mut body = json!({"arguments": arguments});
    run.why.put(&mut body);
    if run.dry_run {
        body["dry_run"] = true.into();
    }
    let key = match run.idempotency_key {
        Some(key) => key,
        None => fresh_key()?,
    };
    let ask = Ask::post(format!("/tools/{}/run", escape(&run.name)), &body);
    let ask = ask.header("idempotency-key", key).patience(LONG_PATIENCE);
    let answer = session.send(Reach::ServerOrHere, &format!("running {}", run.name), ask).await?;
    match answer.status {
        202 if run.wait => wait(session, &answer).await,
        202 => awaiting(session, &answer),
        status if status < 400 => done(session, &answer),
        _ => Err(failed(session, &answer)?),
    }
}

/// The arguments as they were typed.
struct Typed {
    /// Those of `--args`.
    json: Map<String, Value>,
    /// KEY=VALUE, as texts.
    pairs: Vec<(String, String)>,
}

fn typed_arguments(run: &Run) -> Result<Typed, Failure> {
    let mut given = Map::new();
    if let Some(source) = &run.args {
        let text = read_source(source)?;
        let value: Value =
            serde_json::from_str(&text).map_err(|error| Failure::usage(format!("--args is not JSON: {error}")))?;
        match value {
            Value::Object(map) => given = map,
            _ => return Err(Failure::usage("--args must be a JSON object, such as {\"pid\": 4711}")),
        }
    }
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::usage(format!("`{}` is not an argument: write KEY=VALUE", clean(text)))),
    };
    Ok(Typed { json: given, pairs: run.arguments.iter().map(pair).collect::<Result<_, _>>()? })
}

/// `@FILE`, `-` for standard input, or the text itself.
fn read_source(source: &str) -> Result<String, Failure> {
    let limit = ARGUMENTS_BYTES_MAX as u64;
    let mut text = String::new();
    let read = match source.strip_prefix('@') {
        Some(path) => std::fs::File::open(path)
            .and_then(|file| file.take(limit + 1).read_to_string(&mut text))
            .map_err(|error| Failure::usage(format!("cannot read {path}: {error}")))?,
        None if source == "-" => std::io::stdin()
            .take(limit + 1)
            .read_to_string(&mut text)
            .map_err(|error| Failure::usage(format!("cannot read standard input: {error}")))?,
        None => return Ok(source.to_owned()),
    };
    if read as u64 > limit {
        return Err(Failure::usage(format!("the arguments are larger than {limit} bytes")));
    }
    Ok(text)
}

/// Gives every argument the type that the tool's schema names, and the target its place.
fn fit(typed: Typed, run: &Run, spec: &Value) -> Result<Map<String, Value>, Failure> {
    let mut arguments = typed.json;
    for (name, text) in typed.pairs {
        let shape = spec.pointer("/input_schema/properties").and_then(|all| all.get(&name)).unwrap_or(&Value::Null);
        let value = typed_value(&text, shape)
            .ok_or_else(|| Failure::usage(format!("`{name}` must be {}, not `{}`", kind_words(shape), clean(&text))))?;
        arguments.insert(name, value);
    }
    if let Some(target) = &run.target {
        let place = spec
            .get("target_argument")
            .and_then(Value::as_str)
            .ok_or_else(|| Failure::usage(format!("`{}` takes no target", run.name)).hint("leave --target out"))?;
        arguments.insert(place.to_owned(), target.clone().into());
    }
    Ok(arguments)
}

/// A typed text as the schema wants it. Where the schema says nothing, JSON stays JSON and anything else is text.
fn typed_value(text: &str, shape: &Value) -> Option<Value> {
    let kinds: Vec<&str> = match shape.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return Some(serde_json::from_str(text).unwrap_or_else(|_| text.into())),
    };
    let parsed = serde_json::from_str::<Value>(text).ok();
    let fits = |value: &Value| {
        kinds.iter().any(|kind| match *kind {
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "null" => value.is_null(),
            _ => false,
        })
    };
    if let Some(value) = parsed.filter(fits) {
        return Some(value);
    }
    if kinds.contains(&"array") && !text.starts_with('[') {
        // `names=a,b` reads better than `names=["a","b"]`.
        let inner = shape.get("items").unwrap_or(&Value::Null);
        return text
            .split(',')
            .map(|item| typed_value(item.trim(), inner))
            .collect::<Option<Vec<_>>>()
            .map(Value::Array);
    }
    kinds.contains(&"string").then(|| text.into())
}

fn kind_words(shape: &Value) -> String {
    match field(shape, "type").as_str() {
        "integer" => "a whole number".to_owned(),
        "number" => "a number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" => "a list".to_owned(),
        "object" => "a JSON object".to_owned(),
        other => other.to_owned(),
    }
}

/// A key that no other request has, so that a request that is sent twice is done once.
fn fresh_key() -> Result<String, Failure> {
    let mut random = [0u8; 16];
    super::audit::fill_random(&mut random)?;
    Ok(random.iter().fold("cli-".to_owned(), |mut key, byte| {
        let _ = write!(key, "{byte:02x}");
        key
    }))
}

fn done(session: &mut Session, answer: &Answer) -> Outcome {
    session.show(answer, |reply, look| {
        let mut out =
            clean(reply.get("text").or_else(|| reply.get("output")).and_then(Value::as_str).unwrap_or_default());
        if !out.ends_with('\n') {
            out.push('\n');
        }
        match field(reply, "verify_status").as_str() {
            "" => {}
            "ok" => out.push_str(&format!("{}\n", look.paint(Tone::Good, "Checked afterwards: it took effect."))),
            "warning" => out.push_str(&format!(
                "{}\n",
                look.paint(Tone::Warning, "Checked afterwards: it cannot be told whether it took effect.")
            )),
            _ => out
                .push_str(&format!("{}\n", look.paint(Tone::Critical, "Checked afterwards: IT DID NOT TAKE EFFECT."))),
        }
        out
    })?;
    let bad = matches!(field(&answer.json()?, "verify_status").as_str(), "failed" | "escalation_required");
    Ok(if bad { exit::BAD_NEWS } else { exit::DONE })
}

/// What failed, as a failure; with JSON wanted, the answer goes to standard output too.
fn failed(session: &mut Session, answer: &Answer) -> Result<Failure, Failure> {
    if session.json {
        session.term.print_json_text(&answer.text)?;
    }
    let failure = answer.problem();
    let explanation = serde_json::from_str::<Value>(&answer.text).ok();
    let explanation = explanation.as_ref().and_then(|body| body.get("explanation")).and_then(Value::as_str);
    match explanation {
        Some(words) if !session.json => {
            session.term.note(clean(words).trim_end());
            session.term.note("");
        }
        _ => {}
    }
    Ok(failure)
}

/// Says which approval is awaited and how it is given.
pub(super) fn awaiting(session: &mut Session, answer: &Answer) -> Outcome {
    let here = session.client.as_ref().is_some_and(crate::client::Client::is_here);
    session.show(answer, |reply, look| {
        let id = field(reply, "approval_id");
        if id.is_empty() {
            return format!("{}\n", field(reply, "message"));
        }
        let mut out = format!(
            "{} {id}, until {}\n\n",
            look.paint(Tone::Warning, "Waiting for approval"),
            moment(&field(reply, "expires_at"))
        );
        if here {
            out.push_str("No server runs. Start one so that it can be answered: reeve up\n");
        }
        out.push_str("Somebody else answers with\n");
        for command in approvals::answer_commands(&id).lines() {
            let _ = writeln!(out, "  {}", look.paint(Tone::Command, command));
        }
        let _ = writeln!(
            out,
            "It then begins by itself; see how it ends with\n  {}",
            look.paint(Tone::Command, &format!("reeve actions show {}", field(reply, "action_id")))
        );
        out
    })?;
    Ok(exit::AWAITING_APPROVAL)
}

/// Waits until the approval is settled and the act has ended, and prints the result.
async fn wait(session: &mut Session, answer: &Answer) -> Outcome {
    let reply = answer.json()?;
    let (approval_id, action_id) = (field(&reply, "approval_id"), field(&reply, "action_id"));
    let here = session.client.as_ref().is_some_and(crate::client::Client::is_here);
    if here {
        session.term.warning("no server runs, so nobody can answer while this waits");
        return awaiting(session, answer);
    }
    if !approval_id.is_empty() {
        session
            .term
            .note(&format!("waiting for approval {approval_id}; answer with: reeve approvals approve {approval_id}"));
        let status = settled(session, &approval_id).await?;
        if status != "approved" {
            let message = format!("the approval {approval_id} is {status}, so nothing was done");
            return Err(Failure::could_not(message).code(if status == "denied" {
                exit::DENIED
            } else {
                exit::COULD_NOT
            }));
        }
    }
    let begun = Instant::now();
    loop {
        let ask = Ask::get(format!("/actions/{}", escape(&action_id)));
        let answer = session.fetch(Reach::Server, "waiting for the outcome", ask).await?;
        let action = answer.json()?;
        let state = field(&action, "state");
        if !matches!(state.as_str(), "awaiting_approval" | "approved" | "running") {
            session.show(&answer, records::action)?;
            let took_effect =
                !matches!(field(&action, "result.verify_status").as_str(), "failed" | "escalation_required");
            return Ok(if state == "succeeded" && took_effect { exit::DONE } else { exit::BAD_NEWS });
        }
        if begun.elapsed() > OUTCOME_LIMIT {
            let failure = Failure::could_not(format!("{action_id} is still {state}"));
            return Err(failure.hint(format!("see later with `reeve actions show {action_id}`")));
        }
        session.term.progress("waiting for the outcome", tokio::time::sleep(OUTCOME_EVERY)).await;
    }
}

/// Long-polls until the approval is settled, and says how. The approval's own expiry ends the wait.
async fn settled(session: &mut Session, approval_id: &str) -> Result<String, Failure> {
    loop {
        let ask = Ask::get(format!("/approvals/{}/wait", escape(approval_id)))
            .with("timeout", Some(POLL_SECONDS))
            .patience(Duration::from_secs(POLL_SECONDS + 30));
        let answer = session.fetch(Reach::Server, &format!("waiting for approval {approval_id}"), ask).await?;
        let status = field(&answer.json()?, "status");
        if status != "pending" {
            return Ok(status);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Value {
        json!({"target_argument": "connection_string", "input_schema": {"properties": {
            "pid": {"type": "integer"}, "force": {"type": "boolean"}, "sql": {"type": "string"},
            "names": {"type": "array", "items": {"type": "string"}}, "limits": {"type": "object"},
            "age": {"type": ["number", "null"]}, "free": {}}}})
    }

    fn fitted(arguments: &[&str], args: Option<&str>, target: Option<&str>) -> Result<Value, Failure> {
        let line = ["reeve", "tool", "run", "x"].into_iter().chain(arguments.iter().copied());
        let mut words: Vec<std::ffi::OsString> = line.map(Into::into).collect();
        for (flag, value) in [("--args", args), ("--target", target)] {
            words.extend(value.iter().flat_map(|value| [flag.into(), (*value).into()]));
        }
        let cli = crate::cli::parse(words).unwrap();
        let crate::cli::Command::Tool(Tool { what: ToolCommand::Run(run) }) = cli.command else { unreachable!() };
        fit(typed_arguments(&run)?, &run, &spec()).map(Value::Object)
    }

    #[test]
    fn arguments_get_the_types_of_the_schema() {
        let found = fitted(
            &["pid=4711", "force=true", "sql=true", "names=a, b", "limits={\"rows\":5}", "age=1.5", "free=[1]"],
            None,
            Some("host=db port=5432"),
        );
        let wanted = json!({"pid": 4711, "force": true, "sql": "true", "names": ["a", "b"], "limits": {"rows": 5}, "age": 1.5,
            "free": [1], "connection_string": "host=db port=5432"});
        assert_eq!(found.unwrap(), wanted);
    }

    #[test]
    fn typed_arguments_add_to_json() {
        let found = fitted(&["sql=select 1 = 1"], Some(r#"{"pid": 1, "sql": "x"}"#), None).unwrap();
        assert_eq!(found, json!({"pid": 1, "sql": "select 1 = 1"}));
    }

    #[test]
    fn what_does_not_fit_is_said_before_it_is_sent() {
        let message = |result: Result<Value, Failure>| {
            let failure = result.unwrap_err();
            assert_eq!(failure.code, exit::USAGE);
            failure.message
        };
        assert_eq!(message(fitted(&["pid=abc"], None, None)), "`pid` must be a whole number, not `abc`");
        assert_eq!(message(fitted(&["pid"], None, None)), "`pid` is not an argument: write KEY=VALUE");
        assert_eq!(message(fitted(&[], Some("[1]"), None)), "--args must be a JSON object, such as {\"pid\": 4711}");
        assert!(message(fitted(&[], Some("{"), None)).starts_with("--args is not JSON"));
        assert!(message(fitted(&[], Some("@/no/such/file"), None)).starts_with("cannot read /no/such/file"));
    }
}
