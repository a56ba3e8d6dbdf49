//! Opens connections: name, TCP, TLS, and whatever handshake the dialect's transport has. The manager of an upstream's
//! `deadpool` pool.

mod error;
mod login;
mod stream;
mod websocket;

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::ClientConfig;

pub use self::error::ConnectError;
pub(super) use self::login::Proof;
pub(super) use self::stream::ByteStream;
use super::wire::{Asking, EventStreamWire, Incoming, NulEndedWire, Outgoing, PollWire, WebSocketWire, Wire};
use crate::config::Endpoint;
use crate::credentials::{Credentials, Dressed, Pass};
use crate::dialect::{Opening, Transport};

tokio::task_local! {
    /// What the connection that this task asks the pool for is to be opened with: a pool's objects are made without being told
    /// for whom.
    pub(super) static OPENING: Opening;

    /// A connection that is there already, in the place of a new one.
    pub(super) static READY_MADE: RefCell<Option<Connection>>;
}

/// An object of the pool.
pub(super) struct Connection {
    /// What is read from and written to.
    pub(super) wire: Wire,
    /// When its handshake was done.
    pub(super) opened: Instant,
    /// Taken by the link that works with it.
    pub(super) proof: Option<Proof>,
}

/// How to reach an upstream.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) endpoint: Endpoint,
    pub(super) transport: Transport,
    pub(super) headers: Vec<(String, String)>,
    pub(super) credentials: Arc<Credentials>,
    /// None for `ws://` and the like.
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) connect_timeout: Duration,
    pub(super) handshake_timeout: Duration,
    pub(super) pong_timeout: Duration,
    pub(super) message_bytes_max: usize,
}

impl Connector {
    /// Host and port, for messages: never the path, which may hold a key.
    pub(super) fn address(&self) -> String {
        self.endpoint.address()
    }

    pub(super) async fn connect(&self) -> Result<Connection, ConnectError> {
        let opening = OPENING.try_with(Clone::clone).unwrap_or_default();
        let pass = Arc::new(self.credentials.pass().await?);
        let connected = match self.transport {
            Transport::WebSocket | Transport::NulEnded => self.over_stream(&pass, &opening).await,
            Transport::EventStream | Transport::Poll => self.over_requests(&pass, opening).await,
        };
        if connected.as_ref().is_err_and(ConnectError::refuses_us) {
            self.credentials.refused(&pass);
        }
        connected
    }

    async fn over_requests(&self, pass: &Arc<Pass>, opening: Opening) -> Result<Connection, ConnectError> {
        let asking = self.asking()?;
        let proof = Proof {
            pass: Arc::clone(pass),
            url: opening.address(self.endpoint.reveal()),
            login_again: None,
            early: Vec::new(),
            answer: None,
            // Of a stream it is the request that began it; otherwise each request proves itself anew.
            lasting: self.transport == Transport::EventStream,
        };
        let wire = match self.transport {
            Transport::EventStream => Wire::EventStream(Box::new(EventStreamWire::open(asking, opening).await?)),
            _ => Wire::Poll(Box::new(PollWire::open(asking, opening).await?)),
        };
        Ok(Connection { wire, opened: Instant::now(), proof: Some(proof) })
    }

    async fn over_stream(&self, pass: &Arc<Pass>, opening: &Opening) -> Result<Connection, ConnectError> {
        let dressed = pass.dress("GET", &opening.address(self.endpoint.reveal()), "")?;
        let url = dressed.url.clone();
        let tcp = self.reach(pass.proxy()).await?;
        let shaken = timeout(self.handshake_timeout, self.shake(tcp, opening, dressed)).await;
        let late = |_| ConnectError::Timeout {
            address: self.address(),
            what: "the TLS or WebSocket handshake",
            limit: self.handshake_timeout,
        };
        let mut wire = shaken.map_err(late)??;
        let proof = self.log_in(&mut wire, Arc::clone(pass), url).await?;
        Ok(Connection { wire, opened: Instant::now(), proof: Some(proof) })
    }

    /// How requests are made. Each connection has a client, and with it sockets, of its own.
    fn asking(&self) -> Result<Asking, ConnectError> {
        let address = self.address();
        let client = self
            .credentials
            .http_client(self.handshake_timeout, self.message_bytes_max)
            .map_err(|error| ConnectError::Foreign { address: address.clone(), reason: error.to_string() })?;
        Ok(Asking {
            client,
            credentials: Arc::clone(&self.credentials),
            endpoint: self.endpoint.clone(),
            address,
            headers: self.headers.clone(),
            timeout: self.handshake_timeout,
        })
    }

    async fn shake(&self, tcp: TcpStream, opening: &Opening, dressed: Dressed) -> Result<Wire, ConnectError> {
        let stream = self.secure(tcp).await?;
        Ok(match self.transport {
            Transport::NulEnded => Wire::NulEnded(Box::new(NulEndedWire::new(stream, self.message_bytes_max))),
            _ => Wire::WebSocket(WebSocketWire::new(self.upgrade(stream, opening, dressed).await?)),
        })
    }
}

impl Manager for Connector {
    type Type = Connection;
    type Error = ConnectError;

    async fn create(&self) -> Result<Connection, ConnectError> {
        if let Ok(Some(connection)) = READY_MADE.try_with(RefCell::take) {
            return Ok(connection);
        }
        self.connect().await
    }

    /// Verifies a connection that came back: a ping must be answered. What comes meanwhile belongs to topics that
    /// nobody on this connection wants any more.
    async fn recycle(&self, connection: &mut Connection, metrics: &Metrics) -> RecycleResult<ConnectError> {
        let number = metrics.recycle_count as u64;
        let wire = &mut connection.wire;
        let answered = async {
            poll_fn(|cx| wire.poll_ready(cx)).await.ok()?;
            wire.start_send(Outgoing::Ping(number)).ok()?;
            poll_fn(|cx| wire.poll_flush(cx)).await.ok()?;
            while let Some(Ok(incoming)) = poll_fn(|cx| wire.poll_incoming(cx)).await {
                if incoming == Incoming::Pong(number) {
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
