//! Posting JSON to a webhook.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde_json::Value;

/// How long one post may take.
const POST_LIMIT: Duration = Duration::from_secs(10);

/// A webhook did not take what was posted.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The address is not one.
    #[error("the webhook address is not a valid http or https URL")]
    BadAddress,
    /// The client cannot be built.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
    /// The receiver could not be reached.
    #[error("{host} could not be reached: {reason}")]
    Unreachable {
        /// The receiver; the path of a webhook is a secret and is not named.
        host: String,
        /// What went wrong.
        reason: &'static str,
    },
    /// The receiver said no.
    #[error("{host} answered {status}")]
    Refused {
        /// The receiver.
        host: String,
        /// What it answered.
        status: StatusCode,
    },
}

/// One webhook.
#[derive(Clone)]
pub struct Webhook {
    client: Client,
    url: Url,
}

impl Webhook {
    /// A webhook at an address.
    pub fn new(address: &str) -> Result<Self, WebhookError> {
        let url: Url = address.parse().map_err(|_| WebhookError::BadAddress)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(WebhookError::BadAddress);
        }
        let client = Client::builder()
            .timeout(POST_LIMIT)
            .connect_timeout(POST_LIMIT / 2)
            .redirect(Policy::none())
            .user_agent(concat!("reeve/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(WebhookError::Client)?;
        Ok(Self { client, url })
    }

    /// Whether it belongs to Slack, which reads a shape of its own.
    pub fn is_slack(&self) -> bool {
        self.url.as_str().contains("slack.com")
    }

    /// The receiver's name, without the secret part of its address.
    pub fn host(&self) -> String {
        self.url.host_str().unwrap_or("the webhook").to_owned()
    }

    /// Posts a body; any answer of the 2xx class is success.
    pub async fn post(&self, body: &Value) -> Result<(), WebhookError> {
        let answer = self.client.post(self.url.clone()).json(body).send().await;
        match answer {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(WebhookError::Refused { host: self.host(), status: answer.status() }),
            Err(error) => Err(WebhookError::Unreachable { host: self.host(), reason: why(&error) }),
        }
    }
}

/// In words, and without the address that the client's own text would name.
fn why(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "the connection was not accepted"
    } else {
        "the exchange broke off"
    }
}
