//! Sending letters over SMTP.

use std::time::Duration;

use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use reeve_types::secret::{ExposeSecret as _, SecretString};

/// How long one letter may take.
const SEND_LIMIT: Duration = Duration::from_secs(15);

/// A letter could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// An address is not one.
    #[error("`{0}` is not a mail address")]
    BadAddress(String),
    /// The mail server's name cannot be used for TLS.
    #[error("the mail server's name `{0}` cannot be used")]
    BadServer(String),
    /// The letter cannot be written.
    #[error("the letter cannot be written")]
    Letter(#[source] lettre::error::Error),
    /// The mail server did not take it.
    #[error("the mail server {host} did not take the letter: {reason}")]
    Refused {
        /// The server.
        host: String,
        /// What went wrong.
        reason: String,
    },
}

/// Where letters go and how.
#[derive(Debug, Clone)]
pub struct MailSettings {
    /// The mail server.
    pub host: String,
    /// Its port; 465 speaks TLS from the first byte, others switch to it when the server offers it.
    pub port: u16,
    /// The account, when the server wants one.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<SecretString>,
    /// The sender.
    pub from: String,
    /// The receivers.
    pub to: Vec<String>,
}

/// Sends letters.
#[derive(Clone)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    host: String,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mailer {
    /// A mailer with these settings. An account's password is only ever sent over TLS.
    pub fn new(settings: &MailSettings) -> Result<Self, MailError> {
        let mailbox = |text: &String| text.parse::<Mailbox>().map_err(|_| MailError::BadAddress(text.clone()));
        let parameters =
            TlsParameters::new(settings.host.clone()).map_err(|_| MailError::BadServer(settings.host.clone()))?;
        let tls = match (settings.port, &settings.user) {
            (465, _) => Tls::Wrapper(parameters),
            (_, Some(_)) => Tls::Required(parameters),
            (_, None) => Tls::Opportunistic(parameters),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
            .port(settings.port)
            .tls(tls)
            .timeout(Some(SEND_LIMIT));
        if let (Some(user), Some(password)) = (&settings.user, &settings.password) {
            builder = builder.credentials(Credentials::new(user.clone(), password.expose_secret().to_owned()));
        }
        Ok(Self {
            transport: builder.build(),
            host: settings.host.clone(),
            from: mailbox(&settings.from)?,
            to: settings.to.iter().map(mailbox).collect::<Result<_, _>>()?,
        })
    }

    /// Sends one letter to every receiver.
    pub async fn send(&self, subject: &str, text: &str) -> Result<(), MailError> {
        self.deliver(&self.to, subject, text).await
    }

    /// Sends one letter to these people only.
    ///
    /// # Errors
    ///
    /// One of them is no mail address, or the server did not take the letter.
    pub async fn send_to<'a>(
        &self,
        receivers: impl IntoIterator<Item = &'a str>,
        subject: &str,
        text: &str,
    ) -> Result<(), MailError> {
        let receivers: Vec<Mailbox> = receivers
            .into_iter()
            .map(|text| text.parse().map_err(|_| MailError::BadAddress(text.to_owned())))
            .collect::<Result<_, _>>()?;
        self.deliver(&receivers, subject, text).await
    }

    async fn deliver(&self, receivers: &[Mailbox], subject: &str, text: &str) -> Result<(), MailError> {
        let mut message = Message::builder().from(self.from.clone()).subject(subject).header(ContentType::TEXT_PLAIN);
        for receiver in receivers {
            message = message.to(receiver.clone());
        }
        let letter = message.body(text.to_owned()).map_err(MailError::Letter)?;
        let sent = self.transport.send(letter).await;
        sent.map(|_| ()).map_err(|e| MailError::Refused { host: self.host.clone(), reason: e.to_string() })
    }
}
