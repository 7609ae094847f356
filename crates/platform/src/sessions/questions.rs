//! A question that is asked once and answered by an agent with a model: in a session of its own, which can be gone on with.

use std::time::Duration;

use reeve_types::session::{Happening, SessionEvent, TurnEnd};
use reeve_types::{Principal, SessionId};

use super::transcript::text_of;
use super::{NewSessionWanted, SessionError, Sessions};
use crate::routing::{Answer, Citation, Question};

/// How long whoever asks waits for the answer; the session goes on without them.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// What has come of a question so far.
#[derive(Default)]
struct Heard {
    words: String,
    tools: Vec<String>,
    citations: Vec<Citation>,
    /// What it claims and no record shows, each with what is missing.
    unproven: Vec<String>,
}

/// How far the answer has come.
enum Standing {
    Ended(TurnEnd, String),
    /// People are asked, in these words, under this id.
    Waits(String, String),
    AtWork,
}

impl Sessions {
    /// Whether a question can be answered by a model: there is one, and the target is no connection string with a secret
    /// in it, which no model is to see.
    pub fn can_answer(&self, caller: &Principal, question: &Question) -> bool {
        let is_secret = |target: &String| reeve_types::mask_dsn(target) != *target;
        !self.core.parts.models.list(&caller.tenant).is_empty() && !question.target.as_ref().is_some_and(is_secret)
    }

    /// Answers a question by an agent with a model. What the agent wants to change is asked of people as ever: then the
    /// answer says so, and the session goes on when they have answered.
    ///
    /// # Errors
    ///
    /// The session cannot be begun, or its events cannot be read.
    pub async fn answer_question(&self, caller: &Principal, question: Question) -> Result<Answer, SessionError> {
        let trace_id = question.trace_id.clone().unwrap_or_else(|| self.platform.new_trace("tr"));
        let asked = Question { trace_id: Some(trace_id.clone()), ..question };
        let category = self.platform.route_question(caller, &asked).await?;
        let agent = match asked.agent.as_deref() {
            Some("general") => "general",
            _ => "database",
        };
        let mut prompt = asked.message;
        if let Some(target) = asked.target.or_else(|| self.core.parts.options.default_target.clone()) {
            prompt.push_str(&format!("\n\nThe target is `{}`.", target));
        }
        if let Some(purpose) = asked.purpose {
            prompt.push_str(&format!("\n\nThe purpose is `{purpose}`."));
        }
        let wanted =
            NewSessionWanted { agent: Some(agent.to_owned()), prompt: Some(prompt), ..NewSessionWanted::default() };
        let session = self.create(caller, wanted).await?;
        let mut heard = Heard::default();
        let standing = match tokio::time::timeout(PATIENCE, self.hear_answer(&session.id, &mut heard)).await {
            Ok(standing) => standing?,
            Err(_) => Standing::AtWork,
        };
        let id = &session.id;
        let (state, note) = match standing {
            Standing::Ended(TurnEnd::Completed, _) => ("completed", String::new()),
            Standing::Ended(end, reason) => {
                ("failed", format!("The answer is not whole ({}): {reason}", super::turn::word_of(end)))
            }
            Standing::Waits(asked, approval) => (
                "waiting",
                format!("It waits for an answer to `{approval}`: {asked}\nIt goes on in session `{id}` then."),
            ),
            Standing::AtWork => ("running", format!("The agent is still at work, in session `{id}`.")),
        };
        let unproven = heard.unproven.iter().map(|claim| format!("No record shows this: {claim}")).collect::<Vec<_>>();
        let said = [heard.words, unproven.join("\n"), note]
            .into_iter()
            .filter(|part| !part.trim().is_empty())
            .collect::<Vec<_>>();
        Ok(Answer {
            agent: agent.to_owned(),
            state,
            text: said.join("\n\n"),
            category,
            playbook: None,
            confidence: 1.0,
            citations: heard.citations,
            tool_calls: heard.tools,
            findings: Vec::new(),
            trace_id,
            model: true,
            session_id: Some(session.id),
            has_mismatch: !heard.unproven.is_empty(),
        })
    }

    async fn hear_answer(&self, id: &SessionId, heard: &mut Heard) -> Result<Standing, SessionError> {
        let mut feed = self.feed(id, 0);
        loop {
            let frame = feed.next().await?;
            let Ok(event) = serde_json::from_str::<SessionEvent>(&frame.json) else { continue };
            match event.what {
                Happening::ModelReplied { reply, .. } => heard.words = text_of(&reply.blocks),
                Happening::Message { text, .. } => heard.words = text,
                Happening::ToolCalled { tool, .. } => heard.tools.push(tool),
                Happening::ToolFinished { record: Some(record), content, is_error: false, .. } => {
                    let fact = content.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
                    heard.citations.push(Citation {
                        tool: heard.tools.last().cloned().unwrap_or_default(),
                        event_id: Some(record),
                        fact: fact.chars().take(300).collect(),
                    });
                }
                Happening::ClaimUnproven { claim, reason, .. } => {
                    heard.unproven.push(format!("\"{claim}\" ({reason})"))
                }
                Happening::ToolWaiting { approval_id, question, .. } => {
                    return Ok(Standing::Waits(question, approval_id.to_string()));
                }
                Happening::TurnEnded { end, reason, .. } => return Ok(Standing::Ended(end, reason)),
                Happening::Closed { reason, .. } => return Ok(Standing::Ended(TurnEnd::Cancelled, reason)),
                _ => {}
            }
        }
    }
}
