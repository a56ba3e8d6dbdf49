//! WebSocket, by the library that frames it.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Sink, Stream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};

use super::{Incoming, Outgoing, WireError};
use crate::upstream::connect::ByteStream;

/// An open WebSocket.
pub(in crate::upstream) type Socket = WebSocketStream<ByteStream>;

/// A wire of WebSocket messages.
pub(in crate::upstream) struct WebSocketWire(Socket);

impl WebSocketWire {
    pub(in crate::upstream) fn new(socket: Socket) -> Self {
        Self(socket)
    }

    #[inline]
    pub(super) fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Incoming, WireError>>> {
        let message = match Pin::new(&mut self.0).poll_next(cx) {
            Poll::Ready(Some(Ok(message))) => message,
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(Some(Ok(match message {
            Message::Text(text) => Incoming::Text(text),
            Message::Binary(bytes) => Incoming::Binary(bytes),
            // One of another length answers no ping of ours and proves nothing about this moment.
            Message::Pong(payload) => {
                payload[..].try_into().map_or(Incoming::Nothing, |number| Incoming::Pong(u64::from_le_bytes(number)))
            }
            Message::Close(frame) => Incoming::Closed(goodbye(frame.as_ref())),
            // Answered by the library.
            Message::Ping(_) | Message::Frame(_) => Incoming::Nothing,
        })))
    }

    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        Pin::new(&mut self.0).poll_ready(cx).map_err(WireError::from)
    }

    pub(super) fn start_send(&mut self, message: Outgoing) -> Result<(), WireError> {
        let message = match message {
            Outgoing::Text(text) => Message::text(text),
            Outgoing::Binary(bytes) => Message::binary(bytes),
            Outgoing::Ping(number) => Message::Ping(number.to_le_bytes().to_vec().into()),
            Outgoing::Pong => Message::Pong(Vec::new().into()),
        };
        Ok(Pin::new(&mut self.0).start_send(message)?)
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        Pin::new(&mut self.0).poll_flush(cx).map_err(WireError::from)
    }

    pub(super) async fn close(&mut self) {
        // A peer that is gone needs no goodbye.
        self.0.close(None).await.ok();
    }
}

impl From<tungstenite::Error> for WireError {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::ConnectionClosed => Self::Closed,
            tungstenite::Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
                Self::TooLong { bytes: size, limit: max_size }
            }
            tungstenite::Error::Utf8(detail) => Self::NotText(detail),
            error @ tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                Self::Reset(error.to_string())
            }
            error @ tungstenite::Error::Protocol(_) => {
                Self::Protocol { protocol: "WebSocket", reason: error.to_string() }
            }
            tungstenite::Error::Io(error) => Self::Io(error),
            error => Self::Other(error.to_string()),
        }
    }
}

/// What a close frame says, for people.
fn goodbye(frame: Option<&CloseFrame>) -> String {
    const REASON_CHARACTERS_MAX: usize = 200;
    match frame {
        None => "the upstream closed it".to_owned(),
        Some(frame) => {
            let printable = frame.reason.chars().map(|character| if character.is_control() { ' ' } else { character });
            let reason: String = printable.take(REASON_CHARACTERS_MAX).collect();
            let code = u16::from(frame.code);
            if reason.is_empty() {
                format!("the upstream closed it with code {code}")
            } else {
                format!("the upstream closed it with code {code}: {reason}")
            }
        }
    }
}
