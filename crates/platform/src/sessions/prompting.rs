//! Saying something to an agent, and taking it back.

use reeve_store::QueuedPrompt;
use reeve_types::session::{Happening, PROMPT_BYTES_MAX, QUEUE_MAX, SessionState};
use reeve_types::{ApprovalId, Principal, ProblemCode, PromptId, SessionId};
use serde::Serialize;

use super::{SessionError, Sessions, turn};

/// A prompt that was taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// Its id.
    pub prompt_id: PromptId,
    /// How many prompts are answered before it.
    pub position: usize,
}

impl Sessions {
    /// Says something to a session's agent. It is taken in at once and answered by events; while a turn is in flight it
    /// waits.
    ///
    /// # Errors
    ///
    /// The session is closed, too many prompts wait, or the prompt is empty or too long.
    pub async fn prompt(&self, caller: &Principal, id: &SessionId, text: &str) -> Result<Accepted, SessionError> {
        check_prompt(text)?;
        let row = self.visible(caller, id).await?;
        self.check_room(&row).await?;
        let now = self.platform.clock().now();
        let prompt_id = PromptId::new(now, self.platform.clock().random());
        let prompt = QueuedPrompt { id: prompt_id.clone(), text: text.to_owned(), by: caller.label() };
        // What the owner may do can have changed since the session began.
        let owner = (caller.root().label() == row.session.owner).then(|| caller.clone());
        let (row, (position, begun)) = self
            .change(caller, id, move |row, happened| {
                if row.session.state == SessionState::Closed {
                    return Err("the session is closed; resume it first".to_owned());
                }
                if row.queue.len() >= QUEUE_MAX {
                    return Err(format!("{QUEUE_MAX} prompts wait already; wait for an answer or cancel some"));
                }
                if row.session.turns == 0 && row.session.title == "New session" {
                    let first = prompt.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
                    row.session.title = first.trim().chars().filter(|c| !c.is_control()).take(80).collect();
                }
                let (prompt_id, text, by) = (prompt.id.clone(), prompt.text.clone(), prompt.by.clone());
                happened.push(Happening::Prompt { prompt_id, text, by });
                row.queue.push_back(prompt);
                if let Some(owner) = owner {
                    row.principal = owner;
                }
                let position = row.queue.len() - 1 + usize::from(row.session.state.in_turn());
                Ok((position, turn::begin_in_row(row, happened, now)))
            })
            .await?;
        if begun {
            self.take_up(row);
        }
        Ok(Accepted { prompt_id, position })
    }

    /// Ends the turn in flight. What waits after it begins.
    ///
    /// # Errors
    ///
    /// No turn is in flight.
    pub async fn cancel(&self, caller: &Principal, id: &SessionId) -> Result<(), SessionError> {
        self.end_turn(caller, id, false).await
    }

    /// Ends the turn in flight and drops every prompt that waits.
    ///
    /// # Errors
    ///
    /// No turn is in flight.
    pub async fn interrupt(&self, caller: &Principal, id: &SessionId) -> Result<(), SessionError> {
        self.end_turn(caller, id, true).await
    }

    async fn end_turn(&self, caller: &Principal, id: &SessionId, drop_queue: bool) -> Result<(), SessionError> {
        self.change(caller, id, move |row, happened| {
            let Some(turn) = &mut row.turn else {
                return Err(format!("no turn is in flight: the session is {}", row.session.state));
            };
            turn.cancelled = true;
            if drop_queue {
                happened.extend(row.queue.drain(..).map(|waiting| Happening::PromptDropped { prompt_id: waiting.id }));
            }
            Ok(())
        })
        .await?;
        self.stop_turn(id);
        Ok(())
    }

    /// Takes back a prompt that waits.
    ///
    /// # Errors
    ///
    /// It does not wait.
    pub async fn drop_prompt(&self, caller: &Principal, id: &SessionId, prompt: &PromptId) -> Result<(), SessionError> {
        let prompt = prompt.clone();
        self.change(caller, id, move |row, happened| {
            let Some(place) = row.queue.iter().position(|waiting| waiting.id == prompt) else {
                return Err(format!("the prompt `{prompt}` does not wait"));
            };
            row.queue.remove(place);
            happened.push(Happening::PromptDropped { prompt_id: prompt });
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Answers what a session waits for: the oldest question, or the one named.
    ///
    /// # Errors
    ///
    /// It waits for nothing, or the caller may not answer it.
    pub async fn answer(
        &self,
        caller: &Principal,
        id: &SessionId,
        question: Option<&ApprovalId>,
        yes: bool,
        reason: &str,
        remember: bool,
    ) -> Result<reeve_types::Approval, SessionError> {
        let row = self.visible(caller, id).await?;
        let waiting = &row.session.waiting_for;
        let found = match question {
            Some(named) => waiting.iter().find(|waiting| *waiting == named),
            None => waiting.first(),
        };
        let Some(found) = found else {
            return Err(SessionError::conflict(match question {
                Some(named) => format!("the session does not wait for `{named}`"),
                None => "the session waits for nobody".to_owned(),
            }));
        };
        if !yes {
            return Ok(self.platform.deny(caller, found, reason).await?);
        }
        let grant = match remember {
            true => Some(self.grant_for(caller, id, found).await?),
            false => None,
        };
        let approval = self.platform.approve(caller, found, reason, None).await?;
        if let Some(grant) = grant {
            self.grant(caller, id, grant).await?;
        }
        Ok(approval)
    }
}

pub(super) fn check_prompt(text: &str) -> Result<(), SessionError> {
    if text.trim().is_empty() {
        return Err(SessionError::new(ProblemCode::BadRequest, "the prompt is empty"));
    }
    if text.len() > PROMPT_BYTES_MAX {
        let message = format!("the prompt is longer than {PROMPT_BYTES_MAX} bytes; put long texts into files");
        return Err(SessionError::new(ProblemCode::TooLarge, message));
    }
    Ok(())
}
