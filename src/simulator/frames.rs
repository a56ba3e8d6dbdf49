//! Frames as a server reads and writes them after the handshake: WebSocket's (RFC 6455), and what stands in their place elsewhere.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

/// The longest message a client may send. Source: far above any request of the dialects built.
const CLIENT_MESSAGE_BYTES_MAX: usize = 1 << 20;

/// How what is said on a connection is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By the frames of WebSocket.
    WebSocket,
    /// By a NUL behind each text, over plain TCP.
    NulEnded,
    /// The server's by the chunks of an HTTP answer without an end; the client has said all with its request.
    Chunked,
    /// By HTTP requests and their answers.
    Requests,
}

/// A frame's kind, by its number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }
}

/// What a client said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ClientFrame {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close,
}

/// Reads a client's frames. Dropping the future of [`FrameReader::next`] loses nothing.
pub(crate) struct FrameReader {
    half: OwnedReadHalf,
    framing: Framing,
    buffer: Vec<u8>,
    /// Fragments of the message that has begun, with its kind.
    message: Vec<u8>,
    kind: Option<Opcode>,
}

impl FrameReader {
    /// Of a connection of which these bytes have been read already.
    pub(crate) fn new(half: OwnedReadHalf, framing: Framing, read_ahead: Vec<u8>) -> Self {
        Self { half, framing, buffer: read_ahead, message: Vec::new(), kind: None }
    }

    pub(crate) fn half(&self) -> &OwnedReadHalf {
        &self.half
    }

    /// The next frame; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> io::Result<Option<ClientFrame>> {
        loop {
            let parsed = match self.framing {
                Framing::WebSocket => self.parse()?,
                Framing::NulEnded => self.up_to(b"\0")?,
                Framing::Requests => self.up_to(b"\r\n\r\n")?,
                Framing::Chunked => {
                    self.buffer.clear();
                    None
                }
            };
            if let Some(frame) = parsed {
                return Ok(Some(frame));
            }
            if self.half.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The text up to an end mark.
    fn up_to(&mut self, mark: &[u8]) -> io::Result<Option<ClientFrame>> {
        let Some(at) = self.buffer.windows(mark.len()).position(|window| window == mark) else {
            return if self.buffer.len() > CLIENT_MESSAGE_BYTES_MAX {
                Err(broken("message over 1 MiB"))
            } else {
                Ok(None)
            };
        };
        let text = self.buffer[..at].to_vec();
        self.buffer.drain(..at + mark.len());
        match String::from_utf8(text) {
            Ok(text) => Ok(Some(ClientFrame::Text(text))),
            Err(_) => Err(broken("text that is not UTF-8")),
        }
    }

    fn parse(&mut self) -> io::Result<Option<ClientFrame>> {
        loop {
            let Some((header, length)) = header(&self.buffer)? else { return Ok(None) };
            let Some(mask) = self.buffer.get(header - 4..header) else { return Ok(None) };
            let mask = [mask[0], mask[1], mask[2], mask[3]];
            if self.buffer.len() < header + length {
                return Ok(None);
            }
            let (finished, opcode) = (self.buffer[0] & 0x80 != 0, Opcode::of(self.buffer[0] & 0x0f));
            let mut payload: Vec<u8> = self.buffer[header..header + length].to_vec();
            self.buffer.drain(..header + length);
            for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
                *byte ^= key;
            }
            match opcode {
                None => return Err(broken("unknown opcode")),
                Some(Opcode::Close) => return Ok(Some(ClientFrame::Close)),
                Some(Opcode::Ping) => return Ok(Some(ClientFrame::Ping(payload))),
                Some(Opcode::Pong) => return Ok(Some(ClientFrame::Pong)),
                Some(Opcode::Continuation) => {}
                Some(kind) => self.kind = Some(kind),
            }
            if self.message.len() + payload.len() > CLIENT_MESSAGE_BYTES_MAX {
                return Err(broken("message over 1 MiB"));
            }
            self.message.append(&mut payload);
            if !finished {
                continue;
            }
            let message = std::mem::take(&mut self.message);
            return match self.kind.take() {
                Some(Opcode::Text) => match String::from_utf8(message) {
                    Ok(text) => Ok(Some(ClientFrame::Text(text))),
                    Err(_) => Err(broken("text that is not UTF-8")),
                },
                Some(_) => Ok(Some(ClientFrame::Binary(message))),
                None => Err(broken("continuation of nothing")),
            };
        }
    }
}

/// Bytes of the header at the start of `buffer`, mask included, and of the payload after it.
fn header(buffer: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let [_, second, rest @ ..] = buffer else { return Ok(None) };
    if second & 0x80 == 0 {
        return Err(broken("frame without mask"));
    }
    let (size, length) = match (second & 0x7f, rest) {
        (126, [a, b, ..]) => (2, usize::from(u16::from_be_bytes([*a, *b]))),
        (127, rest) if let Some(long) = rest.first_chunk() => {
            (8, usize::try_from(u64::from_be_bytes(*long)).unwrap_or(usize::MAX))
        }
        (126 | 127, _) => return Ok(None),
        (short, _) => (0, usize::from(short)),
    };
    if length > CLIENT_MESSAGE_BYTES_MAX {
        return Err(broken("frame over 1 MiB"));
    }
    Ok(Some((2 + size + 4, length)))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the client sent a {what}"))
}

/// Appends a whole frame.
pub(crate) fn push_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    push_header(out, opcode, true, payload.len() as u64);
    out.extend_from_slice(payload);
}

/// Appends the header of a frame of `length` bytes; servers do not mask.
pub(crate) fn push_header(out: &mut Vec<u8>, opcode: Opcode, finished: bool, length: u64) {
    out.push(opcode as u8 | if finished { 0x80 } else { 0 });
    if let Ok(short @ 0..=125) = u8::try_from(length) {
        out.push(short);
    } else if let Ok(medium) = u16::try_from(length) {
        out.push(126);
        out.extend_from_slice(&medium.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&length.to_be_bytes());
    }
}

/// Appends a close frame.
pub(crate) fn push_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    push_frame(out, Opcode::Close, &payload);
}
