//! A server's bytes as WebSocket frames: the answer to the handshake, then frame by frame.

use super::Flip;

/// A longer frame passes in pieces, untouched.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// Bytes that go on together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A whole frame, the first bytes of which are its header.
    Frame { bytes: Vec<u8>, header: usize },
    /// The answer to the handshake, a part of a frame that is too long to be held, or what is no WebSocket.
    Raw(Vec<u8>),
}

impl Piece {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Frame { bytes, .. } | Self::Raw(bytes) => bytes,
        }
    }
}

/// What a server says.
#[derive(Debug, Default, PartialEq, Eq)]
enum Talk {
    /// It has not said enough.
    #[default]
    Unknown,
    Frames,
    /// No WebSocket, or none that came about: it passes as it comes.
    Other,
}

/// Cuts a stream into pieces.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    buffer: Vec<u8>,
    talk: Talk,
    /// Bytes to come of a frame that is too long.
    through: u64,
}

impl Cutter {
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece, when it is whole.
    pub(super) fn next(&mut self) -> Option<Piece> {
        if self.through > 0 && !self.buffer.is_empty() {
            let count = usize::try_from(self.through).unwrap_or(usize::MAX).min(self.buffer.len());
            self.through -= count as u64;
            return Some(Piece::Raw(self.buffer.drain(..count).collect()));
        }
        if self.talk == Talk::Unknown {
            let (answer, said) = (b"HTTP/1.1 101", &self.buffer);
            let begun = &said[..said.len().min(answer.len())];
            if !answer.starts_with(begun) {
                self.talk = Talk::Other;
            } else if let Some(end) = said.windows(4).position(|four| four == b"\r\n\r\n") {
                self.talk = Talk::Frames;
                return Some(Piece::Raw(self.buffer.drain(..end + 4).collect()));
            } else {
                return None;
            }
        }
        if self.talk == Talk::Other {
            return (!self.buffer.is_empty()).then(|| Piece::Raw(std::mem::take(&mut self.buffer)));
        }
        let (header, length) = header(&self.buffer)?;
        if length > FRAME_BYTES_MAX as u64 {
            self.through = length;
            return Some(Piece::Raw(self.buffer.drain(..header).collect()));
        }
        let whole = header + usize::try_from(length).expect("at most a MiB");
        (self.buffer.len() >= whole).then(|| Piece::Frame { bytes: self.buffer.drain(..whole).collect(), header })
    }
}

/// Bytes of the header at the start of `buffer`, and of the payload behind it. Servers do not mask.
fn header(buffer: &[u8]) -> Option<(usize, u64)> {
    let [_, second, rest @ ..] = buffer else { return None };
    match second & 0x7f {
        126 => rest.first_chunk().map(|two| (4, u64::from(u16::from_be_bytes(*two)))),
        127 => rest.first_chunk().map(|eight| (10, u64::from_be_bytes(*eight))),
        short => Some((2, u64::from(short))),
    }
}

/// Flips a bit of a frame.
pub(super) fn spoil(frame: &mut [u8], header: usize, flip: Flip) {
    let (byte, bit) = match flip {
        Flip::Header(number) => {
            let number = number as usize % (header * 8);
            (number / 8, 7 - number % 8)
        }
        // A frame without a payload has none to spoil.
        Flip::Payload if frame.len() == header => (0, 6),
        Flip::Payload => (header + (frame.len() - header) / 2, 7),
    };
    frame[byte] ^= 1 << bit;
}

#[test]
fn a_stream_is_cut_into_the_same_pieces_however_it_comes() {
    let mut stream = b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n".to_vec();
    let answer = stream.len();
    let mut wanted = vec![Piece::Raw(stream.clone())];
    for length in [0_usize, 5, 125, 126, 300, 65_536] {
        let mut frame = vec![0x81];
        let header = match length {
            0..126 => {
                frame.push(u8::try_from(length).unwrap());
                2
            }
            126..65_536 => {
                frame.push(126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
                4
            }
            _ => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
                10
            }
        };
        frame.extend(std::iter::repeat_n(b'x', length));
        stream.extend(&frame);
        wanted.push(Piece::Frame { bytes: frame, header });
    }
    for size in [1, 2, 3, 7, answer, 1000, stream.len()] {
        let mut cutter = Cutter::default();
        let mut found = Vec::new();
        for part in stream.chunks(size) {
            cutter.take(part);
            found.extend(std::iter::from_fn(|| cutter.next()));
        }
        assert_eq!(found, wanted, "by {size}");
        assert_eq!(cutter.buffer.len(), 0);
    }
}

#[test]
fn a_frame_beyond_what_is_held_passes_in_pieces_and_the_next_one_is_whole() {
    let long = FRAME_BYTES_MAX + 10;
    let mut stream = b"HTTP/1.1 101 x\r\n\r\n".to_vec();
    stream.extend([0x82, 127]);
    stream.extend((long as u64).to_be_bytes());
    stream.extend(std::iter::repeat_n(7, long));
    stream.extend([0x81, 1, b'y']);
    let (mut cutter, mut passed) = (Cutter::default(), Vec::new());
    for part in stream.chunks(super::PIECE_BYTES_MAX) {
        cutter.take(part);
        assert!(cutter.buffer.len() <= FRAME_BYTES_MAX);
        passed.extend(std::iter::from_fn(|| cutter.next()));
    }
    assert_eq!(passed.iter().flat_map(Piece::bytes).copied().collect::<Vec<u8>>(), stream);
    assert_eq!(passed.last(), Some(&Piece::Frame { bytes: vec![0x81, 1, b'y'], header: 2 }));
}

#[test]
fn what_is_no_websocket_passes_as_it_comes() {
    for said in [&b"INFO {}\r\n"[..], b"HTTP/1.1 429 Too Many Requests\r\n\r\nlater\n"] {
        let mut cutter = Cutter::default();
        cutter.take(said);
        assert_eq!((cutter.next(), cutter.next()), (Some(Piece::Raw(said.to_vec())), None));
    }
}
