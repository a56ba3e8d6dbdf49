//! One connection to the server, never opened a second time.
//!
//! `async-nats` reconnects by itself. What it had written to the lost connection is gone then, but what still waits in its
//! channel is sent over the new one: a hole in the middle of the pipeline, of which nobody is told. The expected sequence numbers
//! make the server refuse whatever stands behind the hole, so the stream stays right all the same; but nothing would be learnt by
//! going on. So the first sign of trouble ends the use of a client: the store opens anew, with a client of its own, and asks the
//! stream. A client that is given up may send what was left in its channel and ends by itself, because it is allowed one
//! attempt to reconnect and has no more users.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError};
use tokio::sync::watch;

use crate::config::{Endpoint, SinkSettings};
use crate::sink::StoreError;
use crate::tls;

/// The longest that connecting, handshakes included, may take. Source: the default of [`crate::config::PoolSettings`].
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time between pings of an idle connection; it is given up after the third without an answer.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// What the client keeps for a connection that does not take it yet. Little: all of it may still be sent when the store has
/// already begun anew.
const CLIENT_QUEUE: usize = 256;

/// A connected client, and what is heard of its connection.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    trouble: watch::Receiver<Option<Trouble>>,
    shown: Arc<str>,
}

/// Why a connection is of no use any more.
#[derive(Debug, Clone)]
enum Trouble {
    Lost,
    /// The server says that we may not do what we do.
    Forbidden(String),
    Server(String),
}

/// What is needed to connect.
#[derive(Clone)]
pub(super) struct Access {
    url: Endpoint,
    ca_file: Option<std::path::PathBuf>,
    credentials_file: Option<std::path::PathBuf>,
    name: String,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Access {
    pub(super) fn new(sink: &str, settings: &SinkSettings) -> Result<Self, StoreError> {
        let Some(url) = settings.url.clone() else {
            return Err(StoreError::Stop(format!(
                "sinks.{sink}.url is missing: where the server is, `nats://HOST:4222`"
            )));
        };
        if !matches!(url.reveal().scheme(), "nats" | "tls") {
            return Err(StoreError::Stop(format!(
                "sinks.{sink}.url = {url}: a sink of this kind wants `nats://HOST:4222` or `tls://HOST:4222`"
            )));
        }
        Ok(Self {
            url,
            ca_file: settings.ca_file.clone(),
            credentials_file: settings.credentials_file.clone(),
            name: format!("sluice sink {sink}"),
        })
    }

    /// Connects.
    ///
    /// # Errors
    /// [`StoreError::Stop`] where credentials or certificates are refused, else [`StoreError::Unavailable`].
    pub(super) async fn connect(&self, acks_max: usize) -> Result<Connection, StoreError> {
        let (tell, trouble) = watch::channel(None);
        let tell = Arc::new(tell);
        let mut options = ConnectOptions::new()
            .name(&self.name)
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(Some(CONNECT_TIMEOUT))
            .ping_interval(PING_INTERVAL)
            .client_capacity(CLIENT_QUEUE)
            // Every acknowledgement in flight has a place, so that none is dropped for our slowness.
            .subscription_capacity(acks_max)
            // The only way to say "not at all"; 0 means for ever.
            .max_reconnects(1)
            .ignore_discovered_servers()
            .event_callback(move |event| {
                let tell = Arc::clone(&tell);
                async move {
                    if let Some(trouble) = Trouble::of(event) {
                        // The first is the cause, what follows it are consequences.
                        tell.send_if_modified(|told| told.is_none() && told.replace(trouble).is_none());
                    }
                }
            });
        let url = self.url.reveal();
        let secured = url.scheme() == "tls" || self.ca_file.is_some();
        if secured {
            let config =
                tls::client_config(self.ca_file.as_deref()).map_err(|error| StoreError::Stop(error.to_string()))?;
            options = options.tls_client_config((*config).clone()).require_tls(true);
        }
        if let Some(path) = &self.credentials_file {
            options = options.credentials_file(path).await.map_err(|error| unreadable(path, &error))?;
        } else if let Some(password) = url.password() {
            options = options.user_and_password(plain(url.username()), plain(password));
        } else if !url.username().is_empty() {
            options = options.token(plain(url.username()));
        }

        let server: ServerAddr = self.server().parse().map_err(|_| {
            StoreError::Stop(format!("{}: not an address of a NATS server; write `nats://HOST:4222`", self.url))
        })?;
        let shown: Arc<str> = self.url.to_string().into();
        let client = options.connect(server).await.map_err(|error| {
            let why = chain(&error);
            match error.kind() {
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                    StoreError::Stop(format!(
                        "{shown} refuses the credentials ({why}); see `url` and `credentials_file` of the sink, then \
                     `sluice sinks enable`"
                    ))
                }
                _ => StoreError::Unavailable(format!("no connection to {shown}: {why}")),
            }
        })?;
        Ok(Connection { client, trouble, shown })
    }

    /// The address without what is secret in it: the client logs addresses.
    fn server(&self) -> String {
        let url = self.url.reveal();
        let host = url.host_str().unwrap_or_default();
        format!("{}://{host}:{}", url.scheme(), url.port().unwrap_or(4222))
    }
}

impl Connection {
    /// Waits for trouble, and says what it is. Cancel safe.
    pub(super) async fn broken(&self) -> StoreError {
        let mut trouble = self.trouble.clone();
        let told = match trouble.wait_for(Option::is_some).await {
            Ok(told) => told.clone(),
            // Nobody is left to tell: the client's tasks have ended.
            Err(_) => None,
        };
        match told {
            Some(Trouble::Forbidden(reason)) => StoreError::Stop(format!(
                "{} does not let this sink do what it must ({reason}); docs/sinks.md lists the permissions, then \
                 `sluice sinks enable`",
                self.shown
            )),
            Some(Trouble::Server(reason)) => StoreError::Unavailable(format!("{} says: {reason}", self.shown)),
            Some(Trouble::Lost) | None => StoreError::Unavailable(format!("the connection to {} was lost", self.shown)),
        }
    }

    /// Whether there was trouble.
    pub(super) fn is_broken(&self) -> bool {
        self.trouble.borrow().is_some() || self.trouble.has_changed().is_err()
    }

    /// The answer to a request, or what broke the connection meanwhile: a request that is forbidden has no answer.
    pub(super) async fn ask<T>(&self, request: impl IntoFuture<Output = T>) -> Result<T, StoreError> {
        tokio::select! {
            biased;
            answer = request.into_future() => Ok(answer),
            trouble = self.broken() => Err(trouble),
        }
    }

    /// The address, without secrets.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }
}

impl Trouble {
    fn of(event: Event) -> Option<Self> {
        match event {
            Event::Disconnected | Event::Closed => Some(Self::Lost),
            Event::ServerError(ServerError::AuthorizationViolation) => {
                Some(Self::Forbidden("authorization violation".into()))
            }
            Event::ServerError(ServerError::Other(reason))
                if reason.to_ascii_lowercase().contains("permissions violation") =>
            {
                Some(Self::Forbidden(reason))
            }
            Event::ServerError(error) => Some(Self::Server(error.to_string())),
            // A slow consumer is one of read-back, whose batches say themselves that they are incomplete.
            Event::Connected
            | Event::LameDuckMode
            | Event::Draining
            | Event::SlowConsumer(_)
            | Event::ClientError(_) => None,
        }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Stop(format!(
        "cannot read credentials from {}: {error}; `credentials_file` of the sink must be a file as `nsc generate creds` writes it",
        path.display()
    ))
}

/// A part of an address as it was meant.
fn plain(escaped: &str) -> String {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(meant) if byte == b'%' => {
                bytes.push(meant);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An error with what caused it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
