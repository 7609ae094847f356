//! The tools: what each is, and asking the gate to run one.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use reeve_gate::{Completed, StoredAction, Submission};
use reeve_platform::Permission;
use reeve_types::{
    Approval, Arguments, Digest, Origin, PolicyRequest, ProblemCode, Purpose, ResourceKind, ToolSpec, TraceId,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::dress::X_TRACE_ID;
use crate::extract::{Body, Id};
use crate::idempotency::{self, Reply};
use crate::problem::{self, Problem};

#[derive(Serialize, ToSchema)]
pub(crate) struct Tool {
    name: String,
    /// The agent that it belongs to.
    agent: String,
    description: String,
    /// JSON Schema of the arguments.
    input_schema: Value,
    /// `read`, `write` or `destructive`.
    action_class: &'static str,
    /// On what kind of thing it acts.
    resource_kind: &'static str,
    /// The argument that names the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    target_argument: Option<String>,
    /// `yes`, `partial` or `no`.
    reversible: &'static str,
    /// How it is undone, or why it cannot be.
    reversibility: Value,
    fleet_eligible: bool,
    auto_remediation_eligible: bool,
    /// Words that routing looks for.
    capabilities: Vec<String>,
    /// Tools whose answer is contained in this one's.
    supersedes: Vec<String>,
    /// How long one call may take at most.
    timeout_ms: u64,
    agent_version: String,
    /// Changes when the arguments change.
    schema_fingerprint: String,
}

impl Tool {
    fn of(spec: &ToolSpec, version: &str) -> Self {
        let fingerprint = Digest::of_value(&spec.input_schema).map(|digest| digest.to_string()).unwrap_or_default();
        Self {
            name: spec.name.clone(),
            agent: spec.agent.clone(),
            description: spec.description.clone(),
            input_schema: spec.input_schema.clone(),
            action_class: spec.action_class.as_str(),
            resource_kind: spec.resource_kind.as_str(),
            target_argument: spec.target_argument.clone(),
            reversible: spec.reversibility.word(),
            reversibility: serde_json::to_value(&spec.reversibility).unwrap_or(Value::Null),
            fleet_eligible: spec.fleet_eligible,
            auto_remediation_eligible: spec.auto_remediation_eligible,
            capabilities: spec.capabilities.clone(),
            supersedes: spec.supersedes.clone(),
            timeout_ms: spec.timeout_ms,
            agent_version: version.to_owned(),
            schema_fingerprint: fingerprint.chars().take(16).collect(),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Tools {
    tools: Vec<Tool>,
    count: usize,
}

/// Every tool, by name.
#[utoipa::path(get, path = "/tools", tag = "tools", operation_id = "list_tools",
    responses((status = 200, description = "The tools.", body = Tools)))]
pub(crate) async fn list(State(app): State<App>) -> Json<Tools> {
    let version = &app.shared.options.version;
    let tools: Vec<Tool> = app.platform.gate().specs().map(|spec| Tool::of(spec, version)).collect();
    let count = tools.len();
    Json(Tools { tools, count })
}

/// One tool.
#[utoipa::path(get, path = "/tools/{name}", tag = "tools", operation_id = "show_tool",
    params(("name" = String, Path, description = "The tool's name.")),
    responses((status = 200, description = "The tool.", body = Tool)))]
pub(crate) async fn show(State(app): State<App>, Id(name): Id<String>) -> Result<Json<Tool>, Problem> {
    match app.platform.gate().spec(&name) {
        Some(spec) => Ok(Json(Tool::of(spec, &app.shared.options.version))),
        None => Err(no_such_tool(&name)),
    }
}

fn no_such_tool(name: &str) -> Problem {
    let name: String = name.chars().take(80).collect();
    Problem::new(ProblemCode::NotFound, format!("there is no tool named `{name}`; GET /api/v1/tools lists them"))
}

/// A tool call.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunTool {
    /// The arguments, as the tool's schema describes them.
    #[serde(default)]
    #[schema(value_type = Object)]
    arguments: Arguments,
    /// Why: diagnostic, remediation, maintenance, compliance, emergency or fleet_rollout.
    #[serde(default)]
    purpose: Option<String>,
    /// The same in your words.
    #[serde(default)]
    purpose_note: Option<String>,
    /// Try it without lasting effect; where the tool cannot, only policy is asked.
    #[serde(default)]
    dry_run: bool,
}

/// What a tool gave back.
#[derive(Serialize, ToSchema)]
pub(crate) struct ToolReply {
    agent: String,
    /// `completed`.
    state: &'static str,
    /// The answer in words.
    text: String,
    /// The same as `text`.
    output: String,
    /// The answer as data.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    /// What the re-check after a change found.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    verify_status: Option<reeve_types::VerifyStatus>,
    /// How often the re-check was repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_count: Option<u32>,
    /// Rows, connections or objects that were affected.
    #[serde(skip_serializing_if = "Option::is_none")]
    affected: Option<u64>,
    action_id: String,
    trace_id: String,
    /// The record of the outcome.
    event_id: Option<String>,
}

/// A question to people that an act waits for.
#[derive(Serialize, ToSchema)]
pub(crate) struct Awaiting {
    /// `awaiting_approval`.
    state: &'static str,
    agent: String,
    approval_id: String,
    action_id: String,
    trace_id: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: jiff::Timestamp,
    /// How many people must say yes.
    quorum: u32,
    /// Roles of which an approver needs one.
    approver_roles: Vec<String>,
    /// Whether the same act was already waiting.
    joined: bool,
    /// What to do now.
    message: String,
}

/// Runs a tool, if policy lets it.
///
/// An act that needs approval is answered with 202; it begins by itself when enough people have said yes, and the
/// same request sent again gives its result.
#[utoipa::path(post, path = "/tools/{name}/run", tag = "tools", operation_id = "run_tool",
    params(("name" = String, Path, description = "The tool's name."),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key is answered the same way and nothing is done twice.")),
    request_body = RunTool,
    responses((status = 200, description = "It ran.", body = ToolReply),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn run(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Id(name): Id<String>,
    Body(body): Body<Value>,
) -> Result<Response, Problem> {
    // The route is for whoever may run some tool; this one may be for others.
    if let Some(spec) = app.platform.gate().spec(&name) {
        let needed = Permission::to_run(spec.resource_kind);
        if !needed.allows(&caller.principal) {
            let problem = crate::auth::lacks(needed, &caller.principal);
            let place = format!("POST /api/v1/tools/{name}/run");
            app.shared.denied.record(&app.platform, Some(&caller.principal), &place, None, &problem.detail).await;
            return Err(problem);
        }
    }
    let what = idempotency::request("run", &name, &body);
    let wanted: RunTool = serde_json::from_value(body)
        .map_err(|error| Problem::new(ProblemCode::BadRequest, format!("the body cannot be read: {error}")))?;
    let call = Call::new(&app, &caller, name, wanted, "dt")?;
    submit_once(app, caller, &headers, what, call).await
}

/// Runs a database tool. The body holds its arguments, or `{"args": {…}, "purpose": …}`.
#[utoipa::path(post, path = "/db/{tool}", tag = "tools", operation_id = "run_database_tool",
    params(("tool" = String, Path, description = "The tool's name."),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key is answered the same way and nothing is done twice.")),
    request_body(content = Value, description = "The tool's arguments."),
    responses((status = 200, description = "It ran.", body = ToolReply),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn run_on_database(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Id(name): Id<String>,
    Body(body): Body<Value>,
) -> Result<Response, Problem> {
    run_on(app, caller, &headers, (ResourceKind::Database, "db"), name, body).await
}

/// Runs a Kubernetes tool. The body holds its arguments, or `{"args": {…}, "purpose": …}`.
#[utoipa::path(post, path = "/k8s/{tool}", tag = "tools", operation_id = "run_kubernetes_tool",
    params(("tool" = String, Path, description = "The tool's name."),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key is answered the same way and nothing is done twice.")),
    request_body(content = Value, description = "The tool's arguments."),
    responses((status = 200, description = "It ran.", body = ToolReply),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn run_on_kubernetes(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Id(name): Id<String>,
    Body(body): Body<Value>,
) -> Result<Response, Problem> {
    run_on(app, caller, &headers, (ResourceKind::Kubernetes, "k8s"), name, body).await
}

/// Runs a tool under a guide's path, which is for one kind of thing only.
async fn run_on(
    app: App,
    caller: Caller,
    headers: &HeaderMap,
    (kind, path): (ResourceKind, &str),
    name: String,
    body: Value,
) -> Result<Response, Problem> {
    match app.platform.gate().spec(&name) {
        Some(spec) if spec.resource_kind == kind => {}
        Some(spec) => {
            let detail = format!(
                "`{name}` is a tool of the kind {}, not {kind}; run it under /api/v1/tools/{name}/run",
                spec.resource_kind
            );
            return Err(Problem::new(ProblemCode::NotFound, detail));
        }
        None => return Err(no_such_tool(&name)),
    }
    let what = idempotency::request(path, &name, &body);
    let call = Call::new(&app, &caller, name, guide_body(body)?, "dt")?;
    submit_once(app, caller, headers, what, call).await
}

/// A guide's body: the arguments themselves, or the arguments under `args` with the purpose beside them.
fn guide_body(body: Value) -> Result<RunTool, Problem> {
    let Value::Object(mut members) = body else {
        return Err(Problem::new(ProblemCode::BadRequest, "the body must be a JSON object that holds the arguments"));
    };
    match members.remove("args") {
        Some(Value::Object(arguments)) => {
            members.insert("arguments".to_owned(), Value::Object(arguments));
            serde_json::from_value(Value::Object(members))
                .map_err(|error| Problem::new(ProblemCode::BadRequest, format!("the body cannot be read: {error}")))
        }
        Some(_) => Err(Problem::new(ProblemCode::BadRequest, "`args` must be a JSON object")),
        None => Ok(RunTool { arguments: members, purpose: None, purpose_note: None, dry_run: false }),
    }
}

/// One tool call as it goes to the gate.
pub(crate) struct Call {
    pub(crate) tool: String,
    pub(crate) arguments: Arguments,
    pub(crate) purpose: Option<Purpose>,
    pub(crate) purpose_note: String,
    pub(crate) trace_id: TraceId,
    /// Only policy is asked.
    only_policy: bool,
}

impl Call {
    fn new(app: &App, caller: &Caller, tool: String, wanted: RunTool, prefix: &str) -> Result<Self, Problem> {
        let (mut arguments, mut only_policy) = (wanted.arguments, false);
        if wanted.dry_run {
            if app.platform.gate().spec(&tool).is_some_and(|spec| takes(spec, "dry_run")) {
                arguments.insert("dry_run".to_owned(), Value::Bool(true));
            } else {
                only_policy = true;
            }
        }
        Ok(Self {
            tool,
            arguments,
            purpose: caller.purpose(wanted.purpose.as_deref())?,
            purpose_note: caller.purpose_note(wanted.purpose_note)?,
            trace_id: caller.trace(&app.platform, prefix),
            only_policy,
        })
    }

    pub(crate) fn plain(
        tool: &str,
        arguments: Arguments,
        purpose: Option<Purpose>,
        note: String,
        trace_id: TraceId,
    ) -> Self {
        Self { tool: tool.to_owned(), arguments, purpose, purpose_note: note, trace_id, only_policy: false }
    }
}

/// Whether a tool has an argument of this name.
pub(crate) fn takes(spec: &ToolSpec, argument: &str) -> bool {
    spec.input_schema.get("properties").and_then(Value::as_object).is_some_and(|known| known.contains_key(argument))
}

async fn submit_once(
    app: App,
    caller: Caller,
    headers: &HeaderMap,
    what: Value,
    call: Call,
) -> Result<Response, Problem> {
    let trace = HeaderValue::from_str(call.trace_id.as_str()).ok();
    let work = {
        let (app, caller) = (app.clone(), caller.clone());
        async move {
            if call.only_policy { only_policy(&app, &caller, &call).await } else { submit(&app, &caller, call).await }
        }
    };
    let mut response = idempotency::once(&app, &caller, headers, what, work).await?;
    if let Some(trace) = trace {
        response.headers_mut().entry(X_TRACE_ID).or_insert(trace);
    }
    Ok(response)
}

/// Asks the gate for one call and says what became of it.
pub(crate) async fn submit(app: &App, caller: &Caller, call: Call) -> Result<Reply, Problem> {
    let agent = app.platform.gate().spec(&call.tool).map(|spec| spec.agent.clone()).unwrap_or_default();
    let submission = app
        .platform
        .run_tool(
            &caller.principal,
            &call.tool,
            call.arguments,
            call.purpose,
            &call.purpose_note,
            call.trace_id,
            Origin::DirectTool,
            "",
        )
        .await?;
    match submission {
        Submission::Done(completed) => done(&agent, completed),
        Submission::AwaitingApproval { approval, joined } => Ok(awaiting(&approval, joined)),
        Submission::InProgress(action) => Ok(in_progress(&agent, &action)),
    }
}

fn done(agent: &str, completed: Completed) -> Result<Reply, Problem> {
    let output = match &completed.outcome {
        Ok(output) => output.clone(),
        Err(failure) => return Err(problem::of_failure(agent, &completed, failure)),
    };
    let reply = ToolReply {
        agent: agent.to_owned(),
        state: "completed",
        text: output.output.clone(),
        output: output.output,
        data: output.data,
        verify_status: output.verify_status,
        retry_count: output.retry_count,
        affected: output.affected,
        action_id: completed.action_id.to_string(),
        trace_id: completed.trace_id.to_string(),
        event_id: completed.event_id.map(|id| id.to_string()),
    };
    Ok(Reply::new(StatusCode::OK, to_value(&reply)?))
}

pub(crate) fn awaiting(approval: &Approval, joined: bool) -> Reply {
    let id = &approval.approval_id;
    let who = match (approval.quorum, approval.approver_roles.as_slice()) {
        (1, []) => "someone else".to_owned(),
        (n, []) => format!("{n} other people"),
        (1, roles) => format!("someone else with the role {}", roles.join(" or ")),
        (n, roles) => format!("{n} other people with the role {}", roles.join(" or ")),
    };
    let already = if joined { "this act is already waiting for approval" } else { "this act needs approval" };
    let message = format!(
        "{already}: {who} must run `reeve approvals approve {id}`; it then begins by itself, and sending this request again gives the result"
    );
    let body = Awaiting {
        state: "awaiting_approval",
        agent: approval.agent_name.clone(),
        approval_id: id.to_string(),
        action_id: approval.action_id.to_string(),
        trace_id: approval.trace_id.to_string(),
        expires_at: approval.expires_at,
        quorum: approval.quorum,
        approver_roles: approval.approver_roles.clone(),
        joined,
        message,
    };
    Reply::new(StatusCode::ACCEPTED, json!(body))
}

pub(crate) fn in_progress(agent: &str, action: &StoredAction) -> Reply {
    let message = format!(
        "the same act is running at this moment; GET /api/v1/actions/{} says when it has ended",
        action.action_id
    );
    let body = json!({
        "state": "in_progress", "agent": agent, "action_id": action.action_id, "trace_id": action.trace_id,
        "approval_id": action.approval_id, "message": message,
    });
    Reply::new(StatusCode::ACCEPTED, body)
}

/// What policy would say, for tools that have no trial run of their own. Nothing runs.
async fn only_policy(app: &App, caller: &Caller, call: &Call) -> Result<Reply, Problem> {
    // What policy says of a thing tells about the thing: whoever may not see it is told that it is not there.
    app.platform.may_ask_for(&caller.principal, &call.tool, &call.arguments).await?;
    let gate = app.platform.gate();
    let spec = gate.spec(&call.tool).ok_or_else(|| no_such_tool(&call.tool))?;
    let target = gate.target_of(&call.tool, &call.arguments);
    let resource = gate
        .resolve(spec.resource_kind, target.as_deref())
        .map_err(|unknown| Problem::from(reeve_gate::Refusal::UnknownTarget(unknown)))?;
    let explained = gate.explain(&PolicyRequest {
        principal: &caller.principal,
        purpose: call.purpose,
        resource: &resource,
        class: spec.action_class,
        tool: &spec.name,
        measured: reeve_types::Measured::default(),
        at: app.platform.clock().now(),
    });
    let mut body = Map::new();
    body.insert("agent".to_owned(), spec.agent.clone().into());
    body.insert("state".to_owned(), "dry_run".into());
    body.insert("text".to_owned(), format!("Nothing was run. Policy would say:\n{}", explained.text).into());
    body.insert("output".to_owned(), explained.text.into());
    body.insert("decision".to_owned(), to_value(&explained.decision)?);
    body.insert("trace_id".to_owned(), call.trace_id.as_str().into());
    Ok(Reply::new(StatusCode::OK, Value::Object(body)))
}

pub(crate) fn to_value<T: Serialize>(value: &T) -> Result<Value, Problem> {
    serde_json::to_value(value).map_err(Problem::internal)
}
