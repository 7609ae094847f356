//! Letting others read a session, and nothing else.

use std::time::Duration;

use jiff::Timestamp;
use reeve_types::session::Session;
use reeve_types::{Digest, Principal, ProblemCode, SessionId};
use serde::Serialize;

use super::{Feed, SessionError, Sessions};

/// Longest time that a shared link can last.
const SHARED_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Leave to read one session, for whoever holds the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shared {
    /// The token; it is shown once.
    pub token: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Sessions {
    /// Makes a token with which anybody may read a session until it expires.
    ///
    /// # Errors
    ///
    /// It would last too long.
    pub async fn share(&self, caller: &Principal, id: &SessionId, lasting: Duration) -> Result<Shared, SessionError> {
        if lasting.is_zero() || lasting > SHARED_MAX {
            let message = "a shared link lasts between a moment and 30 days";
            return Err(SessionError::new(ProblemCode::BadRequest, message));
        }
        let row = self.visible(caller, id).await?;
        self.record(&row, "session.share").await?;
        let clock = self.platform.clock();
        let token =
            format!("shr_{}{}", hex::encode(clock.random().to_be_bytes()), hex::encode(clock.random().to_be_bytes()));
        let now = clock.now();
        let expires_at = now.checked_add(lasting).unwrap_or(Timestamp::MAX);
        self.platform.store().share_session(&row, hash_of(&token), now, expires_at).await?;
        Ok(Shared { token, expires_at })
    }

    /// Takes every shared token of a session back; says how many there were.
    ///
    /// # Errors
    ///
    /// The caller may not see the session.
    pub async fn unshare(&self, caller: &Principal, id: &SessionId) -> Result<usize, SessionError> {
        let row = self.visible(caller, id).await?;
        self.record(&row, "session.unshare").await?;
        Ok(self.platform.store().unshare_session(&row).await?)
    }

    /// The session that a shared token opens, and its events after a sequence number.
    ///
    /// # Errors
    ///
    /// The token opens nothing, or no longer.
    pub async fn shared(&self, token: &str, after: u64) -> Result<(Session, Feed), SessionError> {
        let found = self.platform.store().shared_session(hash_of(token), self.platform.clock().now()).await?;
        let row =
            found.ok_or_else(|| SessionError::new(ProblemCode::NotFound, "this link opens nothing, or no longer"))?;
        let feed = self.feed(&row.session.id, after);
        Ok((row.session, feed))
    }
}

fn hash_of(token: &str) -> String {
    Digest::of(token.as_bytes()).to_string()
}
