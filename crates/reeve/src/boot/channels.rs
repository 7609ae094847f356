//! Webhook and mail as the platform's channels to people.

use std::sync::Arc;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use reeve_connectors::{MailSettings, Mailer, Webhook};
use reeve_platform::notify::{Channel, Notice, wording};
use reeve_types::secret::ExposeSecret as _;

use crate::config::NotifyConfig;

/// The channels that a configuration sets up.
pub(super) fn of(config: &NotifyConfig) -> anyhow::Result<Vec<Arc<dyn Channel>>> {
    let mut channels: Vec<Arc<dyn Channel>> = Vec::new();
    if let Some(address) = &config.webhook {
        let webhook = Webhook::new(address.expose_secret()).context("notify.webhook cannot be used")?;
        channels.push(Arc::new(WebhookChannel(webhook)));
    }
    if let Some(smtp) = &config.smtp {
        let mailer = Mailer::new(&MailSettings {
            host: smtp.host.clone(),
            port: smtp.port,
            user: smtp.user.clone(),
            password: smtp.password.clone(),
            from: smtp.from.clone(),
            to: smtp.to.clone(),
        })
        .context("notify.smtp cannot be used")?;
        channels.push(Arc::new(MailChannel(mailer)));
    }
    Ok(channels)
}

struct WebhookChannel(Webhook);

impl Channel for WebhookChannel {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn tell<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), String>> {
        let body = if self.0.is_slack() { wording::slack(notice) } else { wording::webhook(notice) };
        Box::pin(async move { self.0.post(&body).await.map_err(|error| error.to_string()) })
    }
}

struct MailChannel(Mailer);

impl Channel for MailChannel {
    fn name(&self) -> &'static str {
        "email"
    }

    fn tell<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), String>> {
        let (subject, text) = (wording::subject(notice), wording::letter(notice));
        Box::pin(async move { self.0.send(&subject, &text).await.map_err(|error| error.to_string()) })
    }
}
