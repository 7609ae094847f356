//! Links with which one person answers one question, from a letter or a chat, without signing in.
//!
//! A link is a signed token (see [`crate::accounts`]) that names the question, the answer and the person. It gives nothing
//! else: what the person may answer is looked up when the link is used, by the same rules as any answer, so a role that was
//! taken away, a key that was revoked or a question that was settled makes it worthless. It works once because a question is
//! settled once and each being answers once. Looking at what a link would do never does it: programs that read mail follow
//! every link they see.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reeve_types::secret::{ExposeSecret as _, SecretString};
use reeve_types::{Approval, ApprovalId, EventType, PrincipalKind, TenantId, VoteChoice};
use serde::{Deserialize, Serialize};

use crate::accounts::{Person, Subject};
use crate::approvals::may_answer;
use crate::{Platform, PlatformError};

/// What these tokens are for.
const AUDIENCE: &str = "reeve-answer";
/// How long a link works at most; never longer than its question can be answered.
pub const LINK_LIFETIME: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    sub: String,
    tenant: TenantId,
    apr: ApprovalId,
    choice: VoteChoice,
    /// In seconds since 1970.
    exp: i64,
}

/// What the links of one person to one question carry; [`page_of`] makes an address of it.
#[derive(Debug, Clone)]
pub struct AnswerLinks {
    /// Says yes.
    pub approve: SecretString,
    /// Says no.
    pub deny: SecretString,
    /// From when on neither works.
    pub expires_at: Timestamp,
}

/// What a link would do.
#[derive(Debug, Clone)]
pub struct Answering {
    /// The question, as it stands.
    pub approval: Approval,
    /// Who would answer.
    pub person: Person,
    /// How.
    pub choice: VoteChoice,
}

impl Platform {
    /// Makes the links with which a person can answer a question. They are recorded: who made them, for whom.
    ///
    /// # Errors
    ///
    /// There is no such question, it waits for nobody any more, or this person may not answer it.
    pub async fn answer_links(
        &self,
        subject: &Subject,
        tenant: &TenantId,
        id: &ApprovalId,
    ) -> Result<AnswerLinks, PlatformError> {
        let person = self.answering_person(subject, tenant).await?;
        let approval = self.approval(tenant, id).await?;
        may_answer(&person.principal, &approval)?;
        let now = self.clock().now();
        let latest = now.checked_add(LINK_LIFETIME).unwrap_or(Timestamp::MAX);
        let expires_at = approval.expires_at.min(latest);
        let link = |choice| self.answer_link(subject, &approval, choice, expires_at);
        let links = AnswerLinks { approve: link(VoteChoice::Approve)?, deny: link(VoteChoice::Deny)?, expires_at };
        let mut event = self.event(EventType::IdentityChanged, tenant, approval.trace_id.clone());
        event.note =
            format!("links to answer {id} were made for {}; they work until {expires_at}", person.principal.label());
        event.principal = Some(person.principal);
        self.record(event).await?;
        Ok(links)
    }

    fn answer_link(
        &self,
        subject: &Subject,
        approval: &Approval,
        choice: VoteChoice,
        until: Timestamp,
    ) -> Result<SecretString, PlatformError> {
        let claims = Claims {
            aud: AUDIENCE.to_owned(),
            sub: subject.to_string(),
            tenant: approval.requester.tenant.clone(),
            apr: approval.approval_id.clone(),
            choice,
            exp: until.as_second(),
        };
        let token = self.identity().accounts().sign(&claims);
        Ok(token.map_err(|error| PlatformError::Invalid(error.to_string()))?.into())
    }

    /// The links of everybody among these addresses who has an account and may answer a question; none where it is not
    /// known under which address people reach this server.
    pub(crate) async fn links_for(&self, receivers: &[String], id: &str) -> BTreeMap<String, (String, String)> {
        let mut links = BTreeMap::new();
        let (Some(base), Ok(id)) = (self.base_url(), id.parse::<ApprovalId>()) else { return links };
        for receiver in receivers {
            let address = receiver.rsplit_once('<').map_or(receiver.as_str(), |(_, rest)| rest.trim_end_matches('>'));
            let Ok(Some(account)) = self.store().account_of_email(&address.trim().to_lowercase()).await else {
                continue;
            };
            let subject = Subject::Account(account.account_id);
            // Who may not answer gets a letter without links.
            if let Ok(made) = self.answer_links(&subject, &account.tenant, &id).await {
                links.insert(receiver.clone(), (page_of(base, &made.approve), page_of(base, &made.deny)));
            }
        }
        links
    }

    /// What a link would do. It does nothing.
    ///
    /// # Errors
    ///
    /// The link does not work, or no longer.
    pub async fn look_at_link(&self, token: &SecretString) -> Result<Answering, PlatformError> {
        let claims: Claims =
            self.identity().accounts().read_signed(token.expose_secret()).ok_or(PlatformError::DeadLink)?;
        if claims.aud != AUDIENCE || claims.exp <= self.clock().now().as_second() {
            return Err(PlatformError::DeadLink);
        }
        let subject: Subject = claims.sub.parse().map_err(|_| PlatformError::DeadLink)?;
        let person = self.answering_person(&subject, &claims.tenant).await?;
        let approval = self.approval(&claims.tenant, &claims.apr).await?;
        Ok(Answering { approval, person, choice: claims.choice })
    }

    /// Answers as a link says.
    ///
    /// # Errors
    ///
    /// The link does not work, or its person may not answer this question, or no longer.
    pub async fn answer_by_link(&self, token: &SecretString, reason: &str) -> Result<Approval, PlatformError> {
        let Answering { approval, person, choice } = self.look_at_link(token).await?;
        match choice {
            VoteChoice::Approve => self.approve(&person.principal, &approval.approval_id, reason, None).await,
            VoteChoice::Deny => self.deny(&person.principal, &approval.approval_id, reason).await,
        }
    }

    async fn answering_person(&self, subject: &Subject, tenant: &TenantId) -> Result<Person, PlatformError> {
        let found = self.identity().person(subject, tenant).await;
        let person =
            found.map_err(|error| PlatformError::Invalid(error.to_string()))?.ok_or(PlatformError::DeadLink)?;
        if person.principal.kind != PrincipalKind::User {
            return Err(PlatformError::NotAnApprover {
                who: person.principal.label(),
                roles: vec!["a person; programs answer with their key".to_owned()],
            });
        }
        Ok(person)
    }
}

/// Where a link is followed. It stands behind the `#`, where no server and no log sees it.
pub fn page_of(base_url: &str, token: &SecretString) -> String {
    format!("{}/#/answer/{}", base_url.trim_end_matches('/'), token.expose_secret())
}
