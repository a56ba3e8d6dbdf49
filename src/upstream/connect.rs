//! Opens connections: name, TCP, TLS, WebSocket handshake. The manager of an upstream's `deadpool` pool.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use futures_util::{SinkExt, StreamExt};
use jiff::fmt::rfc2822;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::either::Either;

use super::resume::QUERY;
use crate::clock::UnixNanos;
use crate::config::Endpoint;

/// Bytes read from a socket at once. Source: measured; the library zeroes the buffer before each read, so that larger
/// ones cost more on slow feeds than they save on fast ones.
const READ_BUFFER_BYTES: usize = 64 << 10;

/// Bytes that may wait to be sent. What we say is short; a peer that does not take this much is not reading.
const WRITE_BUFFER_BYTES_MAX: usize = 1 << 20;

/// No upstream is left alone for longer because it said so: it may have meant another unit. Source: a guess.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// An open WebSocket.
pub(super) type Socket = WebSocketStream<Either<TcpStream, TlsStream<TcpStream>>>;

/// An object of the pool.
pub(super) struct Connection {
    /// The WebSocket.
    pub(super) socket: Socket,
    /// When its handshake was done.
    pub(super) opened: Instant,
}

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
    #[error("TLS with {address} failed: {source}")]
    Tls {
        /// Host and port.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The upstream refused the upgrade.
    #[error("{address} refused the WebSocket handshake with HTTP {status}{hint}")]
    Refused {
        /// Host and port.
        address: String,
        /// What it said.
        status: u16,
        /// What to do.
        hint: &'static str,
        /// How long it asked us to stay away.
        retry_after: Option<Duration>,
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
            Self::Tcp { .. } => "connect",
            Self::Timeout { .. } => "timeout",
            Self::Tls { .. } => "tls",
            Self::Refused { .. } => "refused",
            Self::Handshake { .. } => "handshake",
        }
    }

    /// Whether our credentials or rights were refused, which trying again soon does not mend.
    pub fn refuses_us(&self) -> bool {
        matches!(self, Self::Refused { status: 401 | 403, .. })
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

/// How to reach an upstream.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) endpoint: Endpoint,
    pub(super) headers: Vec<(String, String)>,
    /// None for `ws://`.
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) connect_timeout: Duration,
    pub(super) handshake_timeout: Duration,
    pub(super) pong_timeout: Duration,
    pub(super) message_bytes_max: usize,
}

impl Connector {
    /// Host and port, for messages: never the path, which may hold a key.
    pub(super) fn address(&self) -> String {
        let url = self.endpoint.reveal();
        let host = url.host_str().unwrap_or_default();
        format!("{host}:{}", url.port_or_known_default().unwrap_or_default())
    }

    async fn connect(&self) -> Result<Connection, ConnectError> {
        let address = self.address();
        let late = |what, limit| ConnectError::Timeout { address: address.clone(), what, limit };
        let tcp = timeout(self.connect_timeout, TcpStream::connect(address.as_str()))
            .await
            .map_err(|_| late("the TCP connection", self.connect_timeout))?
            .map_err(|source| ConnectError::Tcp { address: address.clone(), source })?;
        // Subscriptions and pongs are small and wanted at once. A refusal leaves a working connection.
        tcp.set_nodelay(true).ok();
        timeout(self.handshake_timeout, self.shake_hands(tcp, &address))
            .await
            .map_err(|_| late("the TLS and WebSocket handshake", self.handshake_timeout))?
    }

    async fn shake_hands(&self, tcp: TcpStream, address: &str) -> Result<Connection, ConnectError> {
        let stream = match &self.tls {
            None => Either::Left(tcp),
            Some(config) => {
                let tls = |source| ConnectError::Tls { address: address.to_owned(), source };
                let host = self.endpoint.reveal().host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
                let name = ServerName::try_from(host).map_err(|error| tls(io::Error::other(error)))?;
                Either::Right(TlsConnector::from(Arc::clone(config)).connect(name, tcp).await.map_err(tls)?)
            }
        };
        let foreign = |source| ConnectError::Handshake { address: address.to_owned(), source: Box::new(source) };
        let mut request = address_of(&self.endpoint).as_str().into_client_request().map_err(foreign)?;
        for (name, value) in &self.headers {
            let name: HeaderName =
                name.parse().map_err(|error| foreign(tungstenite::http::Error::from(error).into()))?;
            let value: HeaderValue =
                value.parse().map_err(|error| foreign(tungstenite::http::Error::from(error).into()))?;
            request.headers_mut().insert(name, value);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
            .max_message_size(Some(self.message_bytes_max))
            .max_frame_size(Some(self.message_bytes_max));
        let (socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config))
            .await
            .map_err(|error| refusal(address, error))?;
        Ok(Connection { socket, opened: Instant::now() })
    }
}

/// The address, with the parameter that this connection gets; one of the same name that is there gives way.
fn address_of(endpoint: &Endpoint) -> url::Url {
    let mut url = endpoint.reveal().clone();
    if let Ok(Some((name, value))) = QUERY.try_with(Clone::clone) {
        let others: Vec<(String, String)> = url.query_pairs().filter(|(key, _)| *key != name).map(into_owned).collect();
        url.query_pairs_mut().clear().extend_pairs(others).append_pair(&name, &value);
    }
    url
}

fn into_owned((key, value): (Cow<'_, str>, Cow<'_, str>)) -> (String, String) {
    (key.into_owned(), value.into_owned())
}

fn refusal(address: &str, error: tungstenite::Error) -> ConnectError {
    let address = address.to_owned();
    match error {
        tungstenite::Error::Http(response) => {
            let text = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
            let retry_after =
                text(header::RETRY_AFTER).and_then(|wait| wait_of(wait, text(header::DATE), UnixNanos::now()));
            let status = response.status().as_u16();
            let hint = match status {
                401 | 403 => "; check the credentials and the address",
                404 => "; check the path of the address",
                429 => "; it limits connections, and is left alone for a while",
                _ => "",
            };
            ConnectError::Refused { address, status, hint, retry_after }
        }
        tungstenite::Error::Io(source) => ConnectError::Tcp { address, source },
        source => ConnectError::Handshake { address, source: Box::new(source) },
    }
}

/// The wait that `Retry-After` asks for, in seconds or until a date. A date is held against the sender's own clock where it tells
/// that, since ours may differ.
fn wait_of(retry_after: &str, date: Option<&str>, now: UnixNanos) -> Option<Duration> {
    let retry_after = retry_after.trim();
    let wait = match retry_after.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => http_date(retry_after)?.since(date.and_then(http_date).unwrap_or(now)),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// `Wed, 21 Oct 2026 07:28:00 GMT`; the two obsolete forms are not read.
fn http_date(text: &str) -> Option<UnixNanos> {
    let timestamp = rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text.trim()).ok()?;
    i64::try_from(timestamp.as_nanosecond()).ok().map(UnixNanos)
}

impl Manager for Connector {
    type Type = Connection;
    type Error = ConnectError;

    async fn create(&self) -> Result<Connection, ConnectError> {
        self.connect().await
    }

    /// Verifies a connection that came back: a ping must be answered. What comes meanwhile belongs to topics that
    /// nobody on this connection wants any more.
    async fn recycle(&self, connection: &mut Connection, metrics: &Metrics) -> RecycleResult<ConnectError> {
        let token = metrics.recycle_count.to_le_bytes().to_vec();
        let answered = async {
            connection.socket.send(Message::Ping(token.clone().into())).await.ok()?;
            while let Some(Ok(message)) = connection.socket.next().await {
                if matches!(&message, Message::Pong(payload) if payload[..] == token[..]) {
                    return Some(());
                }
            }
            None
        };
        match timeout(self.pong_timeout, answered).await {
            Ok(Some(())) => Ok(()),
            _ => Err(RecycleError::message("it did not answer a ping")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixNanos = UnixNanos(1_792_566_000_000_000_000); // 2026-10-21T07:00:00Z

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let wait = |text| wait_of(text, None, NOW);
        assert_eq!(wait("120"), Some(Duration::from_mins(2)));
        assert_eq!(wait(" 0 "), Some(Duration::ZERO));
        assert_eq!(wait("Wed, 21 Oct 2026 07:28:00 GMT"), Some(Duration::from_mins(28)));
        assert_eq!(wait("Wed, 21 Oct 2026 06:28:00 GMT"), Some(Duration::ZERO), "it is over");
        for nonsense in ["", "soon", "-5", "1.5", "Wed, 99 Oct 2026 07:28:00 GMT", "Wednesday, 21-Oct-26 07:28:00 GMT"]
        {
            assert_eq!(wait(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_date_is_held_against_the_senders_own_clock() {
        let (until, theirs) = ("Wed, 21 Oct 2026 09:28:00 GMT", "Wed, 21 Oct 2026 09:27:30 GMT");
        assert_eq!(wait_of(until, Some(theirs), NOW), Some(Duration::from_secs(30)));
        assert_eq!(wait_of(until, Some("no date"), NOW), Some(Duration::from_mins(148)));
    }

    #[test]
    fn no_number_of_an_upstream_stops_us_for_good() {
        assert_eq!(wait_of("18446744073709551615", None, NOW), Some(RETRY_AFTER_MAX));
        assert_eq!(wait_of("Fri, 31 Dec 2199 23:59:59 GMT", None, NOW), Some(RETRY_AFTER_MAX));
    }

    fn refused(status: u16, retry_after: Option<Duration>) -> ConnectError {
        ConnectError::Refused { address: "h:443".into(), status, hint: "", retry_after }
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
