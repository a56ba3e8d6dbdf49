//! Sending a document by a channel that alerts are told by: reports go to those who get alerts.

use super::channel::Failure;
use super::email::Email;
use super::webhook::Webhook;
use crate::config::NotifySettings;

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its own id, the same however often it is sent: a receiver may know a repeat by it.
    pub id: String,
    /// What it is about, in a line.
    pub title: String,
    /// What a file of it would be called.
    pub file_name: String,
    /// `text/html`
    pub media_type: &'static str,
    /// All of it.
    pub text: String,
}

/// The channels that take documents.
pub const DOCUMENT_CHANNELS: [&str; 2] = ["email", "webhook"];

/// Sends a document, once. Cancelling leaves unknown whether it was sent.
///
/// # Errors
/// Why the channel has not taken it, in a sentence.
pub async fn send_document(notify: &NotifySettings, channel: &str, document: &Document) -> Result<(), String> {
    let sent = async {
        match (channel, &notify.email.url, &notify.email.from, &notify.webhook.url) {
            ("email", Some(url), Some(from), _) => {
                let email = Email::new(notify, url, from).map_err(|error| Failure::never(error.to_string()))?;
                email.send_document(document).await
            }
            ("webhook", _, _, Some(url)) => {
                let webhook = Webhook::new(notify, url).map_err(|error| Failure::never(error.to_string()))?;
                webhook.send_document(document).await
            }
            _ => Err(Failure::never(format!("`notify.{channel}` lacks what it needs"))),
        }
    };
    match tokio::time::timeout(notify.timeout, sent).await {
        Ok(sent) => sent.map_err(|failure| failure.reason),
        Err(_) => Err(format!("no answer within {:?}", notify.timeout)),
    }
}
