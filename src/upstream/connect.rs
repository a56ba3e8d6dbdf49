//! Opens connections: name, TCP, TLS, WebSocket handshake. The manager of an upstream's `deadpool` pool.

mod error;
mod stream;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::ClientConfig;
use tokio_tungstenite::tungstenite::Message;

pub use self::error::ConnectError;
pub(super) use self::websocket::Socket;
use crate::config::Endpoint;

/// An object of the pool.
pub(super) struct Connection {
    /// The WebSocket.
    pub(super) socket: Socket,
    /// When its handshake was done.
    pub(super) opened: Instant,
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
        let tcp = self.reach().await?;
        let shaken = timeout(self.handshake_timeout, async { self.upgrade(self.secure(tcp).await?).await }).await;
        let late = |_| ConnectError::Timeout {
            address: self.address(),
            what: "the TLS and WebSocket handshake",
            limit: self.handshake_timeout,
        };
        Ok(Connection { socket: shaken.map_err(late)??, opened: Instant::now() })
    }
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
