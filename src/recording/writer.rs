//! Writes a recording as its frames come.

use std::borrow::Cow;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::Direction;
use crate::clock::UnixNanos;

/// Lines that are packed into one member, in bytes, if nobody asks for it sooner.
/// Source: a guess; larger ones pack hardly better.
pub const MEMBER_BYTES: usize = 256 << 10;

/// Writes frames to a file. What was flushed stays readable whatever happens to the process.
pub struct FrameWriter {
    out: Box<dyn Write>,
    packed: bool,
    /// Whole lines that are not written yet.
    lines: Vec<u8>,
}

#[derive(Serialize)]
struct Line<'a> {
    t: String,
    dir: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl FrameWriter {
    /// Writes to `out`, packed with gzip or as it is.
    pub fn new(out: Box<dyn Write>, packed: bool) -> Self {
        Self { out, packed, lines: Vec::new() }
    }

    /// The connection is open, at an address as it may be shown.
    ///
    /// # Errors
    /// When the file cannot be written, here and below.
    pub fn open(&mut self, at: UnixNanos, url: &str) -> io::Result<()> {
        self.line(&Line { url: Some(url.into()), ..Line::of(at, Direction::Open) })
    }

    /// A text frame.
    ///
    /// # Errors
    /// See [`FrameWriter::open`].
    pub fn text(&mut self, at: UnixNanos, direction: Direction, text: &str) -> io::Result<()> {
        self.line(&Line { text: Some(text), ..Line::of(at, direction) })
    }

    /// A binary frame.
    ///
    /// # Errors
    /// See [`FrameWriter::open`].
    pub fn binary(&mut self, at: UnixNanos, direction: Direction, bytes: &[u8]) -> io::Result<()> {
        self.line(&Line { b64: Some(STANDARD.encode(bytes)), ..Line::of(at, direction) })
    }

    /// The connection ended.
    ///
    /// # Errors
    /// See [`FrameWriter::open`].
    pub fn close(&mut self, at: UnixNanos, reason: &str) -> io::Result<()> {
        self.line(&Line { reason: Some(reason), ..Line::of(at, Direction::Close) })
    }

    /// Writes what came since the last time, as a member of its own where it is packed.
    ///
    /// # Errors
    /// See [`FrameWriter::open`].
    pub fn flush(&mut self) -> io::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        if self.packed {
            let mut member = GzEncoder::new(Vec::new(), Compression::default());
            member.write_all(&self.lines)?;
            self.out.write_all(&member.finish()?)?;
        } else {
            self.out.write_all(&self.lines)?;
        }
        self.lines.clear();
        self.out.flush()
    }

    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.lines, line).map_err(io::Error::from)?;
        self.lines.push(b'\n');
        if self.lines.len() >= MEMBER_BYTES { self.flush() } else { Ok(()) }
    }
}

impl Line<'_> {
    fn of(at: UnixNanos, direction: Direction) -> Self {
        let t = format!("{}.{:09}", at.0 / 1_000_000_000, at.0 % 1_000_000_000);
        Self { t, dir: direction.word(), text: None, b64: None, url: None, reason: None }
    }
}
