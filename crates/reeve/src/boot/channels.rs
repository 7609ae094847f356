//! Webhook and mail as the platform's channels to people.

use std::sync::Arc;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use reeve_connectors::{MailSettings, Mailer, Webhook};
use reeve_platform::notify::{Channel, Links, Notice, wording};
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
        channels.push(Arc::new(MailChannel { mailer, receivers: smtp.to.clone() }));
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

struct MailChannel {
    mailer: Mailer,
    receivers: Vec<String>,
}

impl Channel for MailChannel {
    fn name(&self) -> &'static str {
        "email"
    }

    fn tell<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), String>> {
        let (subject, text) = (wording::subject(notice), wording::letter(notice));
        Box::pin(async move { self.mailer.send(&subject, &text).await.map_err(|error| error.to_string()) })
    }

    fn receivers(&self) -> &[String] {
        &self.receivers
    }

    /// Who can answer with a link gets a letter of their own; the others get one together.
    fn tell_with_links<'a>(&'a self, notice: &'a Notice, links: &'a Links) -> BoxFuture<'a, Result<(), String>> {
        if links.is_empty() {
            return self.tell(notice);
        }
        Box::pin(async move {
            let subject = wording::subject(notice);
            for (receiver, (approve, deny)) in links {
                let text = wording::letter_with_links(notice, approve, deny);
                let sent = self.mailer.send_to([receiver.as_str()], &subject, &text).await;
                sent.map_err(|error| error.to_string())?;
            }
            let others: Vec<&str> =
                self.receivers.iter().map(String::as_str).filter(|address| !links.contains_key(*address)).collect();
            if others.is_empty() {
                return Ok(());
            }
            let sent = self.mailer.send_to(others, &subject, &wording::letter(notice)).await;
            sent.map_err(|error| error.to_string())
        })
    }
}
