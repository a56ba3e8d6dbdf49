//! Texts over a byte stream, each ended by a NUL.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};

use super::{Incoming, Outgoing, WireError};
use crate::upstream::connect::ByteStream;

/// Bytes asked of the system at once. Source: a guess; what comes over such wires is short and seldom.
const READ_BYTES: usize = 16 << 10;

/// Bytes that may wait to be sent before no more are taken. What we say is short.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// A wire of texts that end with a NUL.
pub(in crate::upstream) struct NulEndedWire<S = ByteStream> {
    stream: S,
    /// Read, and not handed over.
    read: Vec<u8>,
    /// Where the next text begins in `read`.
    start: usize,
    /// How much of `read` holds no NUL.
    looked_at: usize,
    /// To be sent.
    write: Vec<u8>,
    written: usize,
    message_bytes_max: usize,
    /// A ping of ours that was not answered yet.
    ping: Option<u64>,
    over: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> NulEndedWire<S> {
    pub(in crate::upstream) fn new(stream: S, message_bytes_max: usize) -> Self {
        Self {
            stream,
            read: Vec::new(),
            start: 0,
            looked_at: 0,
            write: Vec::new(),
            written: 0,
            message_bytes_max,
            ping: None,
            over: false,
        }
    }

    pub(super) fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Incoming, WireError>>> {
        loop {
            if let Some(message) = self.next_message() {
                return Poll::Ready(Some(message));
            }
            if self.over {
                return Poll::Ready(None);
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(0)) => {
                    self.over = true;
                    if self.start < self.read.len() {
                        let reason = "the connection ended in the middle of a message".to_owned();
                        return Poll::Ready(Some(Err(WireError::Reset(reason))));
                    }
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => {
                    self.over = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
                // All that was readable has been read.
                Poll::Pending => {
                    return self.ping.take().map_or(Poll::Pending, |ping| Poll::Ready(Some(Ok(Incoming::Pong(ping)))));
                }
            }
        }
    }

    fn next_message(&mut self) -> Option<Result<Incoming, WireError>> {
        let Some(at) = memchr::memchr(0, &self.read[self.looked_at..]) else {
            self.looked_at = self.read.len();
            let bytes = self.read.len() - self.start;
            if bytes > self.message_bytes_max {
                self.over = true;
                self.start = self.read.len();
                return Some(Err(WireError::TooLong { bytes, limit: self.message_bytes_max }));
            }
            return None;
        };
        let end = self.looked_at + at;
        let text = Bytes::copy_from_slice(&self.read[self.start..end]);
        self.start = end + 1;
        self.looked_at = self.start;
        if text.len() > self.message_bytes_max {
            self.over = true;
            return Some(Err(WireError::TooLong { bytes: text.len(), limit: self.message_bytes_max }));
        }
        // What is no text costs that message and not the connection: it ends where it ends.
        let incoming = Utf8Bytes::try_from(text.clone()).map_or(Incoming::Binary(text), Incoming::Text);
        Some(Ok(incoming))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // What was handed over makes room before the buffer grows.
        self.read.drain(..self.start);
        self.looked_at -= self.start;
        self.start = 0;
        let filled = self.read.len();
        self.read.resize(filled + READ_BYTES, 0);
        let mut buffer = ReadBuf::new(&mut self.read[filled..]);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        let read = buffer.filled().len();
        self.read.truncate(filled + read);
        polled.map_ok(|()| read)
    }

    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        if self.write.len() < WRITE_BYTES_MAX { Poll::Ready(Ok(())) } else { self.poll_flush(cx) }
    }

    pub(super) fn start_send(&mut self, message: Outgoing) -> Result<(), WireError> {
        let bytes = match message {
            Outgoing::Text(text) => text.into_bytes(),
            Outgoing::Binary(bytes) => bytes,
            Outgoing::Ping(number) => {
                self.ping = Some(number);
                return Ok(());
            }
            Outgoing::Pong => return Ok(()),
        };
        if memchr::memchr(0, &bytes).is_some() {
            return Err(WireError::Other("a message of ours holds a NUL, which would cut it in two".to_owned()));
        }
        self.write.extend_from_slice(&bytes);
        self.write.push(0);
        Ok(())
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        while self.written < self.write.len() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.write[self.written..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
            }
            self.written += sent;
        }
        self.write.clear();
        self.written = 0;
        Pin::new(&mut self.stream).poll_flush(cx).map_err(WireError::from)
    }

    pub(super) async fn close(&mut self) {
        // A peer that is gone needs no goodbye.
        self.stream.shutdown().await.ok();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn next(wire: &mut NulEndedWire<impl AsyncRead + AsyncWrite + Unpin>) -> Option<Result<Incoming, WireError>> {
        poll_fn(|cx| wire.poll_incoming(cx)).await
    }

    #[tokio::test]
    async fn texts_end_with_a_nul_however_they_are_cut() {
        let (mut server, client) = tokio::io::duplex(64);
        let mut wire = NulEndedWire::new(client, 16);
        for part in ["{\"a\":", "1}\0{}\0\0{\"b\"", ":2}\0"] {
            server.write_all(part.as_bytes()).await.unwrap();
        }
        for expected in ["{\"a\":1}", "{}", "", "{\"b\":2}"] {
            assert_eq!(next(&mut wire).await.unwrap().unwrap(), Incoming::Text(expected.into()));
        }
        // A ping is answered when nothing is left to be read, not before.
        wire.start_send(Outgoing::Ping(7)).unwrap();
        server.write_all(b"x\0").await.unwrap();
        assert_eq!(next(&mut wire).await.unwrap().unwrap(), Incoming::Text("x".into()));
        assert_eq!(next(&mut wire).await.unwrap().unwrap(), Incoming::Pong(7));
        server.write_all(b"half").await.unwrap();
        drop(server);
        assert!(matches!(next(&mut wire).await, Some(Err(WireError::Reset(_)))));
        assert!(next(&mut wire).await.is_none());
    }

    #[tokio::test]
    async fn what_is_no_text_is_handed_on_as_it_came_and_the_wire_goes_on() {
        let (mut far, near) = tokio::io::duplex(1 << 10);
        let mut wire = NulEndedWire::new(near, 100);
        far.write_all(b"{\xff}\0{}\0").await.unwrap();
        assert!(matches!(next(&mut wire).await, Some(Ok(Incoming::Binary(bytes))) if bytes == b"{\xff}"[..]));
        assert!(matches!(next(&mut wire).await, Some(Ok(Incoming::Text(text))) if text == "{}"));
    }

    #[tokio::test]
    async fn a_text_longer_than_may_be_ends_the_wire_before_it_is_whole() {
        let (mut server, client) = tokio::io::duplex(64);
        let mut wire = NulEndedWire::new(client, 8);
        server.write_all(b"12345678\x00123456789").await.unwrap();
        assert_eq!(next(&mut wire).await.unwrap().unwrap(), Incoming::Text("12345678".into()));
        assert!(matches!(next(&mut wire).await, Some(Err(WireError::TooLong { bytes: 9, limit: 8 }))));
        assert!(next(&mut wire).await.is_none());
    }

    #[tokio::test]
    async fn what_is_sent_ends_with_a_nul_and_may_hold_none() {
        use tokio::io::AsyncReadExt as _;
        let (mut server, client) = tokio::io::duplex(64);
        let mut wire = NulEndedWire::new(client, 8);
        wire.start_send(Outgoing::Text("{}".into())).unwrap();
        wire.start_send(Outgoing::Binary(b"x".to_vec())).unwrap();
        poll_fn(|cx| wire.poll_flush(cx)).await.unwrap();
        let mut sent = [0; 5];
        server.read_exact(&mut sent).await.unwrap();
        assert_eq!(&sent, b"{}\0x\0");
        assert!(wire.start_send(Outgoing::Text("a\0b".into())).is_err());
    }
}
