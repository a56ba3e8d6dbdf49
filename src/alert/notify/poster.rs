//! What channels over HTTP have in common: one request, no redirect, an answer that says whether to try again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Request, RequestBuilder};
use serde_json::Value;

use super::address_guard::{AddressGuard, Checked};
use super::channel::{Again, Failure};
use super::message::{cut, one_line};
use crate::config::SecretText;
use crate::credentials;
use crate::http_client::{HttpAnswer, HttpClient, HttpError, HttpSettings};

/// Longer answers have nothing to say to us. Source: a guess; providers answer with some hundred bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// A provider's own words are told up to here.
const WORDS_MAX: usize = 200;

/// The way to one server.
pub(super) struct Poster {
    client: HttpClient,
    guard: Option<Arc<AddressGuard>>,
}

impl Poster {
    /// To a server whose address was set by us, or by an operator who knows it.
    pub(super) fn new(timeout: Duration) -> Result<Self, HttpError> {
        let settings = HttpSettings { ca_file: None, timeout, body_bytes_max: ANSWER_BYTES_MAX };
        Ok(Self { client: HttpClient::unswerving(&settings, None::<Checked>)?, guard: None })
    }

    /// To one that may be anywhere but near, unless `allow_private`.
    pub(super) fn guarded(timeout: Duration, ca_file: Option<&Path>, allow_private: bool) -> Result<Self, HttpError> {
        let guard = AddressGuard::new(allow_private);
        let settings = HttpSettings { ca_file, timeout, body_bytes_max: ANSWER_BYTES_MAX };
        let client = HttpClient::unswerving(&settings, Some(Checked(Arc::clone(&guard))))?;
        Ok(Self { client, guard: Some(guard) })
    }

    /// For building a request with.
    pub(super) fn client(&self) -> &reqwest::Client {
        self.client.client()
    }

    /// Asks once. `secrets` are cut out of whatever is told of it.
    pub(super) async fn post(&self, request: RequestBuilder, secrets: &[&str]) -> Result<HttpAnswer, Failure> {
        let scrubbed = |failure: Failure| Failure { reason: scrub(failure.reason, secrets), ..failure };
        let request = request.build().map_err(|_| Failure::never("the request cannot be made of these settings"))?;
        self.ask(request).await.map_err(scrubbed)
    }

    async fn ask(&self, request: Request) -> Result<HttpAnswer, Failure> {
        if let Some(guard) = &self.guard {
            guard.admit(request.url()).await?;
        }
        let host = request.url().host_str().unwrap_or_default().to_owned();
        let answer = self.client.send(request).await.map_err(|error| match error {
            HttpError::Tls(_) | HttpError::Setup(_) => Failure::never(error.to_string()),
            HttpError::Failed { .. } | HttpError::TooLong { .. } => Failure::later(error.to_string()),
        })?;
        if answer.is_success() {
            return Ok(answer);
        }
        let reason = match answer.status {
            300..400 => format!(
                "{host} answered {}: it redirects, which is not followed; set the address that it names",
                answer.status
            ),
            status => format!("{host} answered {status}{}", words_of(&answer.body)),
        };
        let again = match answer.status {
            408 | 425 | 429 | 500.. => Again::Later(answer.retry_after),
            _ => Again::Never,
        };
        Err(Failure { reason, again })
    }
}

/// What a provider says in its answer, where that is JSON.
fn words_of(body: &[u8]) -> String {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return String::new() };
    let words = ["message", "error", "detail"].iter().find_map(|key| answer.get(key)?.as_str());
    words.map_or_else(String::new, |words| format!(": {}", cut(&one_line(words), WORDS_MAX)))
}

/// Without secrets, wherever they come back from.
pub(super) fn scrub(text: String, secrets: &[&str]) -> String {
    secrets.iter().filter(|secret| !secret.is_empty()).fold(text, |text, secret| text.replace(secret, "***"))
}

/// The secret in force: that of its file, which may change, else the one that was set.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn secret_of(file: Option<&Path>, text: Option<&SecretText>) -> Result<Option<String>, Failure> {
    match (file, text) {
        (Some(file), _) => credentials::read_secret_file(file).map(Some).map_err(Failure::later),
        (None, text) => Ok(text.map(|text| text.reveal().to_owned())),
    }
}
