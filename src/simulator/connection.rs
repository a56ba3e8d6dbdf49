//! One connection: its socket, how messages are framed on it, and how it ends.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::Instant;

use super::figures::{Fault, LedgerEntry, add};
use super::frames::{ClientFrame, FrameReader, Framing, Opcode, push_close, push_frame, push_header};
use super::opening::Opened;
use super::server::Shared;

/// How long a client has for answering a close frame.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// The same when the simulator stops.
const STOP_MAX: Duration = Duration::from_millis(250);

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client closed it, or broke it.
    Left,
    /// The client took nothing for too long.
    Slow,
    /// The simulator stops.
    Stopped,
    /// The feed is over.
    Over,
    /// Broken on request.
    Broken(Break),
    /// Closed, since the client did what it must not.
    Refused(u16, &'static str),
}

/// A way of breaking a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// By a close frame.
    Close,
    /// By a reset in the middle of a frame.
    Reset,
    /// By the end of the stream, without a close frame.
    Eof,
}

/// What a client said that not every conversation answers alike.
#[derive(Debug)]
pub(crate) enum Heard {
    Text(String),
    Bytes(Vec<u8>),
}

/// A connection's socket, and what is about to be written to it.
pub(crate) struct Connection {
    pub(crate) number: u64,
    pub(crate) shared: Arc<Shared>,
    pub(crate) reader: FrameReader,
    writer: OwnedWriteHalf,
    pub(crate) framing: Framing,
    pub(crate) out: Vec<u8>,
    entries: Vec<LedgerEntry>,
}

impl Connection {
    pub(crate) fn new(opened: Opened, number: u64, shared: Arc<Shared>) -> Self {
        let (reader, writer) = opened.stream.into_split();
        let framing = opened.framing;
        let reader = FrameReader::new(reader, framing, opened.read_ahead);
        Self { number, shared, reader, writer, framing, out: Vec::new(), entries: Vec::new() }
    }

    /// Puts a frame on its way, and counts it.
    pub(crate) fn push(&mut self, opcode: Opcode, payload: &[u8]) {
        match self.framing {
            Framing::WebSocket => push_frame(&mut self.out, opcode, payload),
            Framing::NulEnded => self.out.extend([payload, b"\0"].concat()),
            Framing::Chunked => push_chunk(&mut self.out, payload),
            Framing::Requests => self.out.extend_from_slice(payload),
        }
        add(&self.shared.counters.frames, 1);
    }

    /// Pings the client, where the framing has a word for it.
    pub(crate) fn push_ping(&mut self, payload: &[u8]) {
        if self.framing == Framing::WebSocket {
            push_frame(&mut self.out, Opcode::Ping, payload);
        }
    }

    /// Enters events of a payload into the ledger.
    pub(crate) fn enter(&mut self, topic: &str, ids: &[String], payload: &[u8], fault: Option<Fault>) {
        if !self.shared.ledger.is_kept() {
            return;
        }
        let crc = crc32c::crc32c(payload);
        let connection = self.number;
        self.entries.extend(ids.iter().map(|id| LedgerEntry {
            connection,
            topic: topic.to_owned(),
            id: id.clone(),
            crc,
            fault,
        }));
    }

    /// To be called before anything is written: where the connection breaks, the ledger has all that may have arrived.
    fn keep_entries(&mut self) {
        if !self.entries.is_empty() {
            let lost = self.shared.ledger.keep(&mut self.entries);
            add(&self.shared.counters.ledger_lost, lost);
        }
    }

    /// Writes what is on its way.
    pub(crate) async fn write_out(&mut self) -> Result<(), End> {
        self.keep_entries();
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        let result = self.write(&out).await;
        self.out = out;
        self.out.clear();
        // A giant burst's memory is given back.
        self.out.shrink_to(1 << 20);
        result
    }

    /// Writes bytes at once.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        let Self { writer, shared, .. } = self;
        let written = tokio::select! {
            biased;
            written = tokio::time::timeout(shared.settings.slow_reader_after, writer.write_all(bytes)) => written,
            () = shared.cancel.cancelled() => return Err(End::Stopped),
        };
        match written {
            Ok(Ok(())) => {
                add(&shared.counters.bytes, bytes.len() as u64);
                Ok(())
            }
            Ok(Err(_)) => Err(End::Left),
            Err(_) => Err(End::Slow),
        }
    }

    /// When it is to be broken, if it is.
    pub(crate) fn break_at(&self, rng: &mut fastrand::Rng) -> Option<Instant> {
        let mean = self.shared.faults().disconnect_every?;
        Some(Instant::now() + mean.mul_f64(0.5 + rng.f64()))
    }

    /// How it is to be broken: each way in its turn, over all connections.
    pub(crate) fn way_of_breaking(&self) -> End {
        add(&self.shared.counters.disconnects, 1);
        let turn = self.shared.breaks.fetch_add(1, Ordering::Relaxed);
        End::Broken([Break::Close, Break::Reset, Break::Eof][(turn % 3) as usize])
    }

    /// Answers frames that any conversation answers alike; gives back what it does not.
    pub(crate) fn answer(&mut self, frame: io::Result<Option<ClientFrame>>) -> Result<Option<Heard>, End> {
        match frame {
            Ok(Some(ClientFrame::Text(text))) => {
                add(&self.shared.counters.requests, 1);
                Ok(Some(Heard::Text(text)))
            }
            Ok(Some(ClientFrame::Binary(bytes))) => {
                add(&self.shared.counters.requests, 1);
                Ok(Some(Heard::Bytes(bytes)))
            }
            Ok(Some(ClientFrame::Ping(payload))) => {
                if !self.shared.faults().no_pong {
                    push_frame(&mut self.out, Opcode::Pong, &payload);
                }
                Ok(None)
            }
            Ok(Some(ClientFrame::Pong)) => Ok(None),
            Ok(Some(ClientFrame::Close)) => {
                if self.framing == Framing::WebSocket {
                    push_close(&mut self.out, 1000, "");
                }
                Err(End::Left)
            }
            Ok(None) => Err(End::Left),
            Err(error) => {
                tracing::debug!(connection = self.number, %error, "simulator: a client's frame is unsound");
                Err(End::Left)
            }
        }
    }

    /// Ends the connection in the way that `end` asks for.
    pub(crate) async fn finish(mut self, end: End) {
        match end {
            End::Slow => self.reset(),
            End::Left => {
                // What is left is at most the answer to a close frame.
                _ = self.write_out().await;
            }
            End::Broken(Break::Reset) => {
                // Half of a frame that would have been a message.
                let half = br#"{"stream":"btcusdt@trade","data":{"e":"trade","E":17231"#;
                match self.framing {
                    Framing::WebSocket => push_header(&mut self.out, Opcode::Text, true, 2 * half.len() as u64),
                    Framing::Chunked => self.out.extend_from_slice(format!("{:x}\r\n", 2 * half.len()).as_bytes()),
                    Framing::NulEnded | Framing::Requests => {}
                }
                self.out.extend_from_slice(half);
                _ = self.write_out().await;
                self.reset();
            }
            End::Broken(Break::Eof) => {
                _ = self.write_out().await;
            }
            End::Stopped => self.part(1001, "the simulator stops", STOP_MAX).await,
            End::Broken(Break::Close) => self.part(1001, "going away", CLOSE_MAX).await,
            End::Over => self.part(1000, "", CLOSE_MAX).await,
            End::Refused(code, reason) => self.part(code, reason, CLOSE_MAX).await,
        }
    }

    /// Parts with a close frame, where there are such, and waits a little for the client's.
    async fn part(&mut self, code: u16, reason: &str, patience: Duration) {
        match self.framing {
            Framing::WebSocket => push_close(&mut self.out, code, reason),
            Framing::Chunked => self.out.extend_from_slice(b"0\r\n\r\n"),
            Framing::NulEnded | Framing::Requests => {}
        }
        self.keep_entries();
        let out = std::mem::take(&mut self.out);
        let parting = async {
            self.writer.write_all(&out).await?;
            self.writer.shutdown().await?;
            // Reading to the end also keeps the kernel from resetting what the client has not read yet.
            while self.reader.next().await?.is_some_and(|frame| frame != ClientFrame::Close) {}
            io::Result::Ok(())
        };
        // Whoever does not answer is left alone.
        drop(tokio::time::timeout(patience, parting).await);
    }

    fn reset(self) {
        // Failing, the connection ends by an end of stream.
        drop(self.reader.half().as_ref().set_zero_linger());
        // Without this the half would first send an end of stream.
        self.writer.forget();
    }
}

/// Resolves at `moment`, or never.
pub(crate) async fn at(moment: Option<Instant>) {
    match moment {
        // The timer would round a moment that has come up to its next tick.
        Some(moment) if moment <= Instant::now() => {}
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => pending().await,
    }
}

/// Appends a chunk of an HTTP answer.
pub(crate) fn push_chunk(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(format!("{:x}\r\n", payload.len()).as_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}
