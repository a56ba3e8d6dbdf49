//! Why no connection came about, and what it says of later attempts.

use std::io;
use std::time::Duration;

use tokio_rustls::rustls::{self, AlertDescription};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};

use crate::clock::UnixNanos;
use crate::credentials::CredentialsError;
use crate::proxy::ProxyError;
use crate::retry_after::wait_of;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Its name or port cannot be reached.
    #[error("cannot connect to {address}: {source}")]
    Tcp {
        /// Host and port.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody answered.
    #[error("{address} did not answer: {what} took longer than {limit:?}")]
    Timeout {
        /// Host and port.
        address: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
    },
    /// No trust, or no common protocol.
    #[error("TLS with {address} failed: {source}{hint}")]
    Tls {
        /// What to do.
        hint: &'static str,
        /// Host and port.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The upstream refused the upgrade.
    #[error("{address} refused the {what} with HTTP {status}{hint}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// Host and port.
        address: String,
        /// What it said.
        status: u16,
        /// What to do.
        hint: &'static str,
        /// How long it asked us to stay away.
        retry_after: Option<Duration>,
    },
    /// No answer to an HTTP request.
    #[error("no answer of {reason}")]
    Http {
        /// Host, port, and why.
        reason: String,
    },
    /// What answered a request is not what was asked for.
    #[error("{address}: {reason}")]
    Foreign {
        /// Host and port.
        address: String,
        /// What it is.
        reason: String,
    },
    /// We cannot prove who we are.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The upstream did not take our login.
    #[error("{address} refused the login: {reason}; check the credentials")]
    LoginRefused {
        /// Host and port.
        address: String,
        /// What it said, without what it repeated of our secrets.
        reason: String,
    },
    /// The proxy does not let us through.
    #[error("proxy {proxy} on the way to {address}: {source}")]
    Proxy {
        /// Scheme, host and port.
        proxy: String,
        /// Host and port of the upstream.
        address: String,
        /// Why.
        source: ProxyError,
    },
    /// What answered speaks something else.
    #[error("{address} does not speak WebSocket: {source}")]
    Handshake {
        /// Host and port.
        address: String,
        /// Why.
        source: Box<tungstenite::Error>,
    },
}

impl ConnectError {
    /// A short name for metrics.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Tcp { .. } | Self::Http { .. } => "connect",
            Self::Timeout { .. } => "timeout",
            Self::Tls { .. } => "tls",
            Self::Refused { .. } => "refused",
            Self::Handshake { .. } | Self::Foreign { .. } => "handshake",
            Self::Credentials(_) => "credentials",
            Self::LoginRefused { .. } => "login",
            Self::Proxy { .. } => "proxy",
        }
    }

    /// An HTTP status that is not the wanted one.
    pub(in crate::upstream) fn refused(
        what: &'static str,
        address: &str,
        status: u16,
        retry_after: Option<Duration>,
    ) -> Self {
        let hint = match status {
            204 => "; it has nothing to send",
            401 | 403 => "; check the credentials and the address",
            404 => "; check the path of the address",
            429 => "; it limits connections, and is left alone for a while",
            _ => "",
        };
        Self::Refused { what, address: address.to_owned(), status, hint, retry_after }
    }

    /// Whether our credentials or rights were refused, which trying again soon does not mend.
    pub fn refuses_us(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(status, 401 | 403),
            Self::LoginRefused { .. } | Self::Proxy { source: ProxyError::Credentials(_), .. } => true,
            Self::Credentials(error) => error.refuses_us(),
            _ => false,
        }
    }

    /// How long the upstream wants to be left alone by all our links: as it said, or `usual` where it only said that we come too
    /// often.
    pub fn asks_to_wait(&self, usual: Duration) -> Option<Duration> {
        match self {
            Self::Refused { retry_after: Some(wait), .. } => Some(*wait),
            Self::Refused { status: 429, .. } => Some(usual),
            _ => None,
        }
    }
}

/// Whether a broken connection was broken by TLS.
fn is_tls(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(inner) if inner.is::<rustls::Error>())
}

/// What to do where the server says no to our certificate, or that we have none.
pub(super) fn certificate_hint(error: &io::Error) -> &'static str {
    let alert = match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => return "",
    };
    match alert {
        AlertDescription::CertificateRequired => "; it wants a client certificate: set `client_cert` and `client_key`",
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        // Its signature is not of the authority that it names.
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied => "; it does not take our client certificate: look at `client_cert`",
        _ => "",
    }
}

/// Why a WebSocket handshake failed.
pub(super) fn refusal(address: &str, error: tungstenite::Error) -> ConnectError {
    let address = address.to_owned();
    match error {
        tungstenite::Error::Http(response) => {
            let text = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
            let retry_after =
                text(header::RETRY_AFTER).and_then(|wait| wait_of(wait, text(header::DATE), UnixNanos::now()));
            let status = response.status().as_u16();
            ConnectError::refused("WebSocket handshake", &address, status, retry_after)
        }
        tungstenite::Error::Io(source) if is_tls(&source) => {
            // In TLS 1.3 a server says no to a client's certificate only when that believes the handshake to be done.
            ConnectError::Tls { hint: certificate_hint(&source), address, source }
        }
        tungstenite::Error::Io(source) => ConnectError::Tcp { address, source },
        source => ConnectError::Handshake { address, source: Box::new(source) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, retry_after: Option<Duration>) -> ConnectError {
        ConnectError::refused("request", "h:443", status, retry_after)
    }

    #[test]
    fn what_concerns_all_links_is_told_from_what_concerns_our_rights() {
        let (usual, said) = (Duration::from_secs(30), Duration::from_secs(7));
        assert_eq!(refused(429, None).asks_to_wait(usual), Some(usual));
        assert_eq!(refused(429, Some(said)).asks_to_wait(usual), Some(said));
        assert_eq!(refused(503, Some(said)).asks_to_wait(usual), Some(said));
        assert_eq!(refused(503, None).asks_to_wait(usual), None);
        assert!(refused(401, None).refuses_us() && refused(403, None).refuses_us() && !refused(429, None).refuses_us());
    }
}
