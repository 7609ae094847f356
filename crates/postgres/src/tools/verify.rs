//! Looks again after a change until it shows, or until there is no more patience.

use reeve_types::{ToolOutput, VerifyStatus};

use super::job::Job;
use super::params::Param;
use super::rows::{Row, fetch};
use crate::connect::Session;

/// What the looks after a change showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    /// The change is there.
    Yes,
    /// It is not there yet.
    NotYet,
    /// Looking failed.
    CannotTell(String),
}

/// The looks, and what they showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Looks {
    pub(super) shown: Shown,
    /// How often it was looked at again after the first time.
    pub(super) repeated: u32,
}

impl Looks {
    /// Whether the change is there.
    pub(super) fn has_shown(&self) -> bool {
        self.shown == Shown::Yes
    }

    /// Puts the result into an answer; `otherwise` is what a change that does not show means here.
    pub(super) fn note(&self, mut output: ToolOutput, otherwise: VerifyStatus) -> ToolOutput {
        output.verify_status = Some(match &self.shown {
            Shown::Yes => VerifyStatus::Ok,
            Shown::NotYet => otherwise,
            Shown::CannotTell(why) => {
                output.output.push_str(&format!("\nCould not verify: {why}"));
                VerifyStatus::Warning
            }
        });
        output.retry_count = Some(self.repeated);
        output
    }
}

/// Asks `sql` until `holds` says yes of its first row, within the options' patience and the call's time.
pub(super) async fn until(
    job: &Job<'_>,
    session: &Session,
    sql: &str,
    params: &[Param],
    holds: impl Fn(Option<&Row>) -> bool + Send,
) -> Looks {
    let patience = job.kit.options.verify;
    let mut pause = patience.initial_delay;
    let mut looks = Looks { shown: Shown::NotYet, repeated: 0 };
    loop {
        match fetch(session, sql, params).await {
            Ok(rows) if holds(rows.first()) => looks.shown = Shown::Yes,
            Ok(_) => looks.shown = Shown::NotYet,
            Err(failure) => looks.shown = Shown::CannotTell(failure.detail),
        }
        let exhausted = looks.repeated + 1 >= patience.attempts.max(1) || job.cx.remaining() <= pause * 2;
        if looks.shown != Shown::NotYet || exhausted {
            return looks;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(patience.max_delay);
        looks.repeated += 1;
    }
}
