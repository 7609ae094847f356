//! Ways out to other people's services: webhooks and mail.
//!
//! Both carry bytes that the platform has written; neither decides anything. Every call has a deadline, follows no
//! redirect, and names no secret in its errors.

pub mod mail;
pub mod webhook;

pub use mail::{MailError, MailSettings, Mailer};
pub use webhook::{Webhook, WebhookError};
