//! How HTTP requests of a wire are made, and what their answers mean.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::WireError;
use crate::config::Endpoint;
use crate::credentials::{Credentials, Pass};
use crate::dialect::Opening;
use crate::http_client::{HttpClient, HttpError};
use crate::upstream::connect::ConnectError;

/// Whom to ask, and with what in every request.
#[derive(Debug, Clone)]
pub(in crate::upstream) struct Asking {
    pub(in crate::upstream) client: HttpClient,
    pub(in crate::upstream) credentials: Arc<Credentials>,
    pub(in crate::upstream) endpoint: Endpoint,
    /// Host and port, for messages.
    pub(in crate::upstream) address: String,
    pub(in crate::upstream) headers: Vec<(String, String)>,
    /// The longest that an answer, or its head where it is endless, is waited for.
    pub(in crate::upstream) timeout: Duration,
}

impl Asking {
    /// A request for what `opening` says, and what it proves itself with. Waits for a token where there is none that holds.
    pub(super) async fn request(&self, opening: &Opening) -> Result<(reqwest::Request, Pass), ConnectError> {
        let pass = self.credentials.pass().await?;
        let dressed = pass.dress("GET", &opening.address(self.endpoint.reveal()), "")?;
        let mut request = reqwest::Request::new(Method::GET, dressed.url);
        for (name, value) in self.headers.iter().chain(&opening.headers) {
            set(request.headers_mut(), name, value);
        }
        request.headers_mut().extend(dressed.headers);
        Ok((request, pass))
    }

    /// An answer of a status that is none. A token that is not taken is not used again.
    pub(super) fn refused(&self, pass: &Pass, status: u16, retry_after: Option<Duration>) -> ConnectError {
        let error = ConnectError::refused("request", &self.address, status, retry_after);
        if error.refuses_us() {
            self.credentials.refused(pass);
        }
        error
    }

    pub(super) fn failed(&self, error: HttpError) -> ConnectError {
        match error {
            HttpError::TooLong { limit, .. } => ConnectError::Foreign {
                address: self.address.clone(),
                reason: format!("its answer is longer than {limit} bytes; raise `max_message` if it is meant"),
            },
            error => ConnectError::Http { reason: error.to_string() },
        }
    }

    pub(super) fn late(&self) -> ConnectError {
        ConnectError::Timeout { address: self.address.clone(), what: "the answer", limit: self.timeout }
    }
}

/// Headers that no request can carry were refused with the settings; of what an upstream gave us they are left out.
pub(super) fn set(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes())) {
        headers.insert(name, value);
    }
}

/// What failed at opening a connection, for one that is open already.
pub(super) fn over_open_link(error: &ConnectError) -> WireError {
    WireError::Refused {
        reason: error.to_string(),
        wait: error.asks_to_wait(Duration::ZERO).filter(|wait| !wait.is_zero()),
    }
}
