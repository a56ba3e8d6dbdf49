//! Files of recorded sessions: what `record` writes, `simulate --recording` serves and `config infer` reads.
//!
//! A line is a frame, in the order in which they came: `{"t":"1723161253.937","dir":"open|out|in|close","text":"…"}`, with `b64`
//! in the place of `text` for bytes; `open` has the `url`. What is packed is packed in members, each whole, so that a file
//! can be read up to where it was cut.

mod reader;
mod writer;

pub use self::reader::{ReadError, RecordedFrame, RecordingReader};
pub use self::writer::{FrameWriter, MEMBER_BYTES};

/// Which way a frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The connection was opened.
    Open,
    /// The client sent it.
    Out,
    /// The server sent it.
    In,
    /// The connection ended.
    Close,
}

impl Direction {
    /// As files have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Out => "out",
            Self::In => "in",
            Self::Close => "close",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Open, Self::Out, Self::In, Self::Close].into_iter().find(|direction| direction.word() == word)
    }
}
