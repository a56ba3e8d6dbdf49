//! What is under a link, whatever carries it: messages come in, messages go out, and it ends with a cause.
//!
//! A link is polled, not awaited, so that one task may read, write and heed its timers; nothing is boxed for a message.
//! [`WebSocketWire`] has pings of its own. Any other wire answers the link's pings itself once everything that was readable
//! has been read, which is what an answered ping is asked for when topics are handed over; whether the other side is alive
//! is then found out by the dialect's keep-alive and by the watch for silence.

mod event_stream;
mod nul_ended;
mod poll;
mod request;
mod websocket;

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};

pub(super) use self::event_stream::EventStreamWire;
pub(super) use self::nul_ended::NulEndedWire;
pub(super) use self::poll::PollWire;
pub(super) use self::request::Asking;
pub(super) use self::websocket::{Socket, WebSocketWire};
use crate::dialect::OutFrame;

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A text, checked to be UTF-8.
    Text(Utf8Bytes),
    /// Bytes.
    Binary(Bytes),
    /// The answer to the ping of this number.
    Pong(u64),
    /// The other side says goodbye; what it says, for people. It may leave the connection standing.
    Closed(String),
    /// Something that was dealt with below, such as a ping of theirs.
    Nothing,
}

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// A text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// A ping with a number.
    Ping(u64),
    /// A pong that nobody asked for: we are still here.
    Pong,
}

impl From<OutFrame> for Outgoing {
    fn from(frame: OutFrame) -> Self {
        match frame {
            OutFrame::Text(text) => Self::Text(text),
            OutFrame::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

/// Why nothing more comes, or can be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The other side ended it in order, and has said so before.
    #[error("the upstream closed it")]
    Closed,
    /// It ended in the middle of something.
    #[error("{0}")]
    Reset(String),
    /// A message is longer than may be.
    #[error("a message of {bytes} bytes is above the limit of {limit}")]
    TooLong {
        /// Its length, or as much of it as came before it was given up.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// What must be text is none.
    #[error("a text frame is not UTF-8: {0}")]
    NotText(String),
    /// What came is not of the protocol.
    #[error("it broke the {protocol} protocol: {reason}")]
    Protocol {
        /// Which.
        protocol: &'static str,
        /// How.
        reason: String,
    },
    /// The system says so.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The upstream refused a request over an open link.
    #[error("{reason}")]
    Refused {
        /// For people.
        reason: String,
        /// How long it wants to be left alone.
        wait: Option<Duration>,
    },
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// An open connection.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one a link, and what it is asked for with each message is not to be boxed"
)]
pub(super) enum Wire {
    WebSocket(WebSocketWire),
    NulEnded(Box<NulEndedWire>),
    EventStream(Box<EventStreamWire>),
    Poll(Box<PollWire>),
}

impl Wire {
    /// The next that came; none when it is over.
    #[inline]
    pub(super) fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Incoming, WireError>>> {
        match self {
            Self::WebSocket(wire) => wire.poll_incoming(cx),
            Self::NulEnded(wire) => wire.poll_incoming(cx),
            Self::EventStream(wire) => wire.poll_incoming(cx),
            Self::Poll(wire) => wire.poll_incoming(cx),
        }
    }

    /// Whether one more can be sent.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        match self {
            Self::WebSocket(wire) => wire.poll_ready(cx),
            Self::NulEnded(wire) => wire.poll_ready(cx),
            Self::EventStream(_) | Self::Poll(_) => Poll::Ready(Ok(())),
        }
    }

    /// Takes one to be sent, after [`Wire::poll_ready`] was ready.
    pub(super) fn start_send(&mut self, message: Outgoing) -> Result<(), WireError> {
        match self {
            Self::WebSocket(wire) => wire.start_send(message),
            Self::NulEnded(wire) => wire.start_send(message),
            Self::EventStream(wire) => {
                wire.start_send(message);
                Ok(())
            }
            Self::Poll(wire) => {
                wire.start_send(message);
                Ok(())
            }
        }
    }

    /// Sends what was taken.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        match self {
            Self::WebSocket(wire) => wire.poll_flush(cx),
            Self::NulEnded(wire) => wire.poll_flush(cx),
            Self::EventStream(_) | Self::Poll(_) => Poll::Ready(Ok(())),
        }
    }

    /// Says goodbye where that is the custom.
    pub(super) async fn close(&mut self) {
        match self {
            Self::WebSocket(wire) => wire.close().await,
            Self::NulEnded(wire) => wire.close().await,
            // The request ends with its connection.
            Self::EventStream(_) | Self::Poll(_) => {}
        }
    }
}
