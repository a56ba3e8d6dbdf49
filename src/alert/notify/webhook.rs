//! A POST that anybody can take, signed by the rules of Standard Webhooks.

use reqwest::header::CONTENT_TYPE;
use serde_json::json;

use super::channel::Failure;
use super::document::Document;
use super::message::Wording;
use super::poster::{Poster, secret_of};
use super::queue::Waiting;
use super::signature::Keys;
use super::{NotifierError, Occasion};
use crate::clock::UnixNanos;
use crate::config::{Endpoint, NotifySettings, WebhookSettings};

/// A webhook.
pub(super) struct Webhook {
    url: Endpoint,
    settings: WebhookSettings,
    wording: Wording,
    poster: Poster,
}

impl Webhook {
    pub(super) fn new(notify: &NotifySettings, url: &Endpoint) -> Result<Self, NotifierError> {
        let settings = notify.webhook.clone();
        Ok(Self {
            url: url.clone(),
            wording: Wording::new(notify, settings.subject.as_ref(), settings.body.as_ref()),
            poster: Poster::guarded(notify.timeout, settings.ca_file.as_deref(), settings.allow_private)?,
            settings,
        })
    }

    pub(super) async fn send(&self, waiting: &Waiting) -> Result<(), Failure> {
        self.post(&waiting.id, self.body(waiting)).await
    }

    /// Sends a document within an object.
    pub(super) async fn send_document(&self, document: &Document) -> Result<(), Failure> {
        let body = json!({
            "type": "report",
            "timestamp": UnixNanos::now().to_string(),
            "data": {
                "title": document.title,
                "file_name": document.file_name,
                "media_type": document.media_type,
                "text": document.text,
            },
        });
        self.post(&document.id, body.to_string().into_bytes()).await
    }

    async fn post(&self, id: &str, body: Vec<u8>) -> Result<(), Failure> {
        let secret = secret_of(self.settings.secret_file.as_deref(), self.settings.secret.as_ref())?;
        let seconds = UnixNanos::now().0 / 1_000_000_000;
        let request = self
            .poster
            .client()
            .post(self.url.reveal().clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds);
        let request = match &secret {
            Some(secret) => {
                let keys = Keys::parse(secret)
                    .map_err(|fault| Failure::never(format!("the secret of `notify.webhook` {fault}")))?;
                request.header("webhook-signature", keys.sign(id, seconds, &body))
            }
            None => request,
        };
        self.poster.post(request.body(body), &[secret.as_deref().unwrap_or_default()]).await.map(drop)
    }

    /// The same for every attempt, so that a receiver may know a repeat by its bytes too.
    fn body(&self, waiting: &Waiting) -> Vec<u8> {
        let message = self.wording.message(&waiting.notice);
        let body = json!({
            "type": format!("alert.{}", waiting.notice.occasion.as_str()),
            "timestamp": waiting.told.to_string(),
            "data": {
                "test": waiting.notice.occasion == Occasion::Test,
                "title": message.subject,
                "text": message.body,
                "link": message.link,
                "runbook": message.runbook,
                "alert": waiting.notice.alert,
            },
        });
        body.to_string().into_bytes()
    }
}
