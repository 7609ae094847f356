//! Answering a question without a model, and seeing where one goes.
//!
//! The words of the question choose a topic ([`topics`]); its checks run through the gate like any other act; the answer
//! is written from what they found, each sentence from evidence, with the records it rests on.

pub mod topics;
mod words;

use reeve_gate::{Refusal, Submission};
use reeve_types::event::DelegationPart;
use reeve_types::{
    Arguments, Diagnosis, EventId, EventType, Finding, Origin, Principal, Purpose, SessionId, Severity, TenantId,
    TraceId,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Platform, PlatformError};
use topics::{Match, Topic};

/// Longest question, in bytes.
pub const QUESTION_BYTES_MAX: usize = 16 * 1024;

/// A question in words.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// The words.
    pub message: String,
    /// The agent that should answer; any when absent.
    pub agent: Option<String>,
    /// The target: an id of the inventory or a connection string.
    pub target: Option<String>,
    /// Declared reason.
    pub purpose: Option<Purpose>,
    /// In the asker's words.
    pub purpose_note: String,
    /// The journey; a new one when absent.
    pub trace_id: Option<TraceId>,
}

/// What a sentence of an answer rests on.
#[derive(Debug, Clone, Serialize)]
pub struct Citation {
    /// The tool that looked.
    pub tool: String,
    /// The record of its run.
    pub event_id: Option<EventId>,
    /// What it found, in one line.
    pub fact: String,
}

/// An answer.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    /// Who answered.
    pub agent: String,
    /// `completed`, or `failed` when nothing could be looked at.
    pub state: &'static str,
    /// The answer in sentences.
    pub text: String,
    /// What the question was about.
    pub category: String,
    /// The playbook series that was entered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub playbook: Option<&'static str>,
    /// How sure the routing is, from 0 to 1.
    pub confidence: f64,
    /// What the sentences rest on.
    pub citations: Vec<Citation>,
    /// The tools that were run, in order.
    pub tool_calls: Vec<String>,
    /// The findings that answer the question.
    pub findings: Vec<Finding>,
    /// The journey.
    pub trace_id: TraceId,
    /// Whether a model took part.
    pub model: bool,
    /// The session in which it was answered, where a model took part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Whether it says that something was done which no record shows; each such claim stands in the text.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub has_mismatch: bool,
}

/// How an answer is made: which topic, which target.
struct Plan {
    topic: Option<Match>,
    target: Option<String>,
    explanation: Vec<String>,
}

impl Platform {
    /// Answers a question: routes it by its words, runs the checks, writes sentences that cite what was found.
    pub async fn ask(&self, principal: &Principal, question: Question) -> Result<Answer, PlatformError> {
        check_question(&question)?;
        let trace_id = question.trace_id.clone().unwrap_or_else(|| self.new_trace("tr"));
        if words::asks_for_inventory(&question.message) {
            let plan =
                Plan { topic: None, target: None, explanation: vec!["it asks which targets are known".to_owned()] };
            self.record_routing(principal, &question, &trace_id, &plan, "inventory", 1.0).await?;
            return Ok(self.answer_inventory(&principal.tenant, trace_id));
        }
        let plan = self.plan(&principal.tenant, &question)?;
        let (category, confidence) = plan.topic.map_or(("health", 0.0), |m| (m.topic.category, m.score));
        self.record_routing(principal, &question, &trace_id, &plan, category, confidence).await?;
        self.look_and_answer(principal, &question, trace_id, plan).await
    }

    /// Looks at a question that a model will answer, and records where it goes. Returns what it is about.
    pub(crate) async fn route_question(
        &self,
        principal: &Principal,
        question: &Question,
    ) -> Result<String, PlatformError> {
        check_question(question)?;
        let trace_id = question.trace_id.clone().unwrap_or_else(|| self.new_trace("tr"));
        let mut plan = self.plan(&principal.tenant, question)?;
        plan.explanation.push("a model is configured, so an agent answers".to_owned());
        let (category, confidence) = plan.topic.map_or(("health", 0.0), |m| (m.topic.category, m.score));
        self.record_routing(principal, question, &trace_id, &plan, category, confidence).await?;
        Ok(category.to_owned())
    }

    fn plan(&self, tenant: &TenantId, question: &Question) -> Result<Plan, PlatformError> {
        let found = topics::matches(&question.message);
        let topic = topics::choose(&found);
        let mut explanation = match &topic {
            Some(m) => vec![format!("the words match the symptom `{}` with {:.2}", m.symptom, m.score)],
            None => vec!["no topic is sure enough, so everything is looked at".to_owned()],
        };
        let target = match &question.target {
            Some(target) => Some(target.clone()),
            None => self.target_in(tenant, &question.message)?,
        };
        if let Some(target) = &target {
            explanation.push(format!("the target is {}", reeve_types::mask_dsn(target)));
        }
        Ok(Plan { topic, target, explanation })
    }

    /// The target that a question names, or the only one there is.
    fn target_in(&self, tenant: &TenantId, message: &str) -> Result<Option<String>, PlatformError> {
        let Some(inventory) = self.inventory_of(tenant) else { return Ok(None) };
        let lower = message.to_lowercase();
        let named: Vec<&String> = inventory
            .db_servers
            .iter()
            .filter(|(id, server)| {
                words::mentions(&lower, &id.to_lowercase())
                    || (server.name.len() > 3 && words::mentions(&lower, &server.name.to_lowercase()))
            })
            .map(|(id, _)| id)
            .collect();
        let all: Vec<&String> = inventory.db_servers.keys().collect();
        match (named.as_slice(), all.as_slice()) {
            ([one], _) | ([], [one]) => Ok(Some((*one).clone())),
            ([], _) => Err(PlatformError::Invalid(format!(
                "which database do you mean? The inventory knows {}",
                words::list(&all)
            ))),
            (several, _) => Err(PlatformError::Invalid(format!(
                "the question names {}: ask about one at a time",
                words::list(several)
            ))),
        }
    }

    async fn record_routing(
        &self,
        principal: &Principal,
        question: &Question,
        trace_id: &TraceId,
        plan: &Plan,
        category: &str,
        confidence: f64,
    ) -> Result<(), PlatformError> {
        let mut event = self.event(EventType::DelegationDecision, &principal.tenant, trace_id.clone());
        event.principal = Some(principal.clone());
        event.origin = Some(Origin::Gateway);
        event.purpose = question.purpose;
        event.purpose_note.clone_from(&question.purpose_note);
        event.input.user_query = words::masked(&question.message).chars().take(2000).collect();
        event.decision = Some(DelegationPart {
            agent: "database".to_owned(),
            request_category: category.to_owned(),
            confidence,
            user_intent: plan.topic.map_or_else(String::new, |m| format!("asks about {}", m.topic.title)),
            reasoning_chain: plan.explanation.clone(),
        });
        match self.record(event).await {
            // A question is a read: it is answered although its routing cannot be recorded, and that is said loudly.
            Err(PlatformError::RecordUnavailable(reason)) => {
                tracing::error!("a question was routed without a record: {reason}");
                Ok(())
            }
            other => other,
        }
    }

    fn answer_inventory(&self, tenant: &TenantId, trace_id: TraceId) -> Answer {
        let text = match self.inventory_of(tenant) {
            None => {
                "No inventory is set, so I know no database by name; any connection string can be given as the target. \
                     Set inventory.file to an infrastructure.json to name them."
                    .to_owned()
            }
            Some(inventory) if inventory.db_servers.is_empty() => {
                "The inventory is set, but it lists no database.".to_owned()
            }
            Some(inventory) => {
                let lines: Vec<String> = inventory
                    .db_servers
                    .iter()
                    .map(|(id, server)| {
                        let name = if server.name.is_empty() { String::new() } else { format!(" ({})", server.name) };
                        let tags: Vec<&str> = server.tags.iter().map(String::as_str).collect();
                        let tags =
                            if tags.is_empty() { "no tags".to_owned() } else { format!("tags {}", tags.join(", ")) };
                        format!("- {id}{name}: {}, {tags}", inventory.hosting(server))
                    })
                    .collect();
                let count = lines.len();
                format!("I know {count} database{}:\n{}", if count == 1 { "" } else { "s" }, lines.join("\n"))
            }
        };
        Answer {
            agent: "database".to_owned(),
            state: "completed",
            text,
            category: "inventory".to_owned(),
            playbook: None,
            confidence: 1.0,
            citations: Vec::new(),
            tool_calls: Vec::new(),
            findings: Vec::new(),
            trace_id,
            model: false,
            session_id: None,
            has_mismatch: false,
        }
    }

    async fn look_and_answer(
        &self,
        principal: &Principal,
        question: &Question,
        trace_id: TraceId,
        plan: Plan,
    ) -> Result<Answer, PlatformError> {
        let topic = plan.topic.map(|m| m.topic);
        let mut looked = Looked::default();
        let diagnosis = if topic.is_none_or(|t| t.findings != ["nothing"]) {
            self.look(principal, question, &trace_id, &plan, "diagnose", &mut looked).await?
        } else {
            None
        };
        for tool in topic.map_or(&[][..], |t| t.tools) {
            // When the database cannot be reached the diagnosis has said so; looking again would only take time.
            let unreachable = diagnosis.as_ref().is_some_and(|d| !d.reachable);
            if !unreachable {
                self.look(principal, question, &trace_id, &plan, tool, &mut looked).await?;
            }
        }
        Ok(compose(topic, plan.topic.map_or(0.0, |m| m.score), diagnosis, looked, trace_id))
    }

    /// Runs one tool; what it says goes into `looked`, a diagnosis is returned as such.
    async fn look(
        &self,
        principal: &Principal,
        question: &Question,
        trace_id: &TraceId,
        plan: &Plan,
        tool: &str,
        looked: &mut Looked,
    ) -> Result<Option<Diagnosis>, PlatformError> {
        let mut arguments = Arguments::new();
        if let Some(target) = &plan.target {
            arguments.insert("connection_string".to_owned(), json!(target));
        }
        looked.tools.push(tool.to_owned());
        let submission = self
            .run_tool(
                principal,
                tool,
                arguments,
                question.purpose,
                &question.purpose_note,
                trace_id.clone(),
                Origin::Agent,
                &words::masked(&question.message),
            )
            .await;
        match submission {
            Ok(Submission::Done(done)) => match done.outcome {
                Ok(output) => {
                    let diagnosis = (tool == "diagnose")
                        .then(|| output.data.clone().and_then(|data| serde_json::from_value::<Diagnosis>(data).ok()))
                        .flatten();
                    looked.results.push(Seen {
                        tool: tool.to_owned(),
                        event_id: done.event_id,
                        text: output.output,
                        data: output.data,
                    });
                    Ok(diagnosis)
                }
                Err(failure) => {
                    looked.failures.push(format!("{tool} could not look: {}", failure.message));
                    Ok(None)
                }
            },
            Ok(Submission::AwaitingApproval { approval, .. }) => {
                looked.failures.push(format!("{tool} needs approval first ({})", approval.approval_id));
                Ok(None)
            }
            Ok(Submission::InProgress(_)) => Ok(None),
            // A tool that policy denies is a gap in the answer; the first one, without which there is none, is an error.
            Err(PlatformError::Refused(refusal @ Refusal::Denied { .. })) if !looked.results.is_empty() => {
                looked.failures.push(format!("{tool} was not allowed to look: {refusal}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// What was looked at.
#[derive(Default)]
struct Looked {
    tools: Vec<String>,
    results: Vec<Seen>,
    failures: Vec<String>,
}

struct Seen {
    tool: String,
    event_id: Option<EventId>,
    text: String,
    data: Option<Value>,
}

fn check_question(question: &Question) -> Result<(), PlatformError> {
    if question.message.trim().is_empty() {
        return Err(PlatformError::Invalid("the question is empty: send `message`".to_owned()));
    }
    if question.message.len() > QUESTION_BYTES_MAX {
        return Err(PlatformError::Invalid(format!("the question is longer than {QUESTION_BYTES_MAX} bytes")));
    }
    check_agent(question.agent.as_deref())
}

fn check_agent(agent: Option<&str>) -> Result<(), PlatformError> {
    match agent {
        None | Some("" | "database" | "db" | "postgres_database_agent" | "general") => Ok(()),
        Some(other) => Err(PlatformError::Invalid(format!(
            "unknown agent `{}`: this server has the agent `database`",
            other.chars().take(60).collect::<String>()
        ))),
    }
}

fn compose(
    topic: Option<&'static Topic>,
    confidence: f64,
    diagnosis: Option<Diagnosis>,
    looked: Looked,
    trace_id: TraceId,
) -> Answer {
    let about =
        |code: &str| topic.is_none_or(|t| t.findings.is_empty() || t.findings.iter().any(|part| code.contains(part)));
    let mut sentences = Vec::new();
    let mut citations = Vec::new();
    let mut relevant = Vec::new();
    let seen = |tool: &str| looked.results.iter().find(|seen| seen.tool == tool);
    if let Some(diagnosis) = &diagnosis {
        let event_id = seen("diagnose").and_then(|seen| seen.event_id.clone());
        let reachable = diagnosis.reachable;
        relevant = diagnosis.findings.iter().filter(|f| !reachable || about(&f.code)).cloned().collect();
        let others: Vec<&Finding> = diagnosis
            .findings
            .iter()
            .filter(|f| f.severity == Severity::Critical && !relevant.iter().any(|r| r == *f))
            .collect();
        sentences.push(words::opening(topic, diagnosis, &relevant));
        for finding in &relevant {
            sentences.push(words::finding(finding));
            citations.push(Citation {
                tool: "diagnose".to_owned(),
                event_id: event_id.clone(),
                fact: finding.title.clone(),
            });
        }
        for other in others {
            sentences.push(format!("You did not ask, but this is critical: {}. {}", other.title, other.cause));
            citations.push(Citation {
                tool: "diagnose".to_owned(),
                event_id: event_id.clone(),
                fact: other.title.clone(),
            });
        }
        sentences.extend(words::gaps(&diagnosis.not_checked));
    }
    for result in looked.results.iter().filter(|seen| seen.tool != "diagnose") {
        let fact = words::summary(&result.tool, result.data.as_ref(), &result.text);
        sentences.push(format!("{}:\n{}", words::tool_heading(&result.tool), words::excerpt(&result.text)));
        citations.push(Citation { tool: result.tool.clone(), event_id: result.event_id.clone(), fact });
    }
    sentences.extend(looked.failures);
    if !citations.is_empty() {
        sentences.push(words::sources(&citations));
    }
    let state = if citations.is_empty() && diagnosis.is_none() { "failed" } else { "completed" };
    Answer {
        agent: "database".to_owned(),
        state,
        text: sentences.join("\n\n"),
        category: topic.map_or("health", |t| t.category).to_owned(),
        playbook: topic.map(|t| t.playbook),
        confidence,
        citations,
        tool_calls: looked.tools,
        findings: relevant,
        trace_id,
        model: false,
        session_id: None,
        has_mismatch: false,
    }
}
