//! Reads a recording frame by frame, whatever its form.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Direction;

/// The longest line; a message may be 16 MiB, and is longer in quotes.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// One frame of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedFrame {
    /// When it was, in seconds since 1970 as recorded.
    pub at: Option<String>,
    /// Which way it went.
    pub direction: Direction,
    /// What it was; of `open` the address.
    pub payload: Vec<u8>,
    /// Whether it was a binary frame.
    pub is_binary: bool,
}

/// Why a recording cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file.
    #[error("line {line}: {source}")]
    Io {
        /// The line that was to be read, from 1.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// The file is something else.
    #[error("it is {what}; a recording has a JSON text a line, as `sluice record` writes it")]
    Foreign {
        /// What its first line looks like.
        what: &'static str,
    },
    /// A line is no frame.
    #[error("line {line}: {reason}; a line is {{\"t\":\"…\",\"dir\":\"open|out|in|close\",\"text\":\"…\"}}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// An object with `dir` each.
    Session,
    /// A message each.
    Plain,
}

/// Reads `.session.jsonl`, and `.jsonl` of one message a line, packed with gzip or not. Holds a line at a time.
pub struct RecordingReader {
    lines: Box<dyn BufRead>,
    number: u64,
    form: Option<Form>,
    was_cut: bool,
}

/// Why a line is no frame.
enum Unread {
    /// The file is something else.
    Foreign(&'static str),
    Line(String),
}

/// What a file is by its first line that is no recording; none where that does not show.
fn foreign(first: &str) -> Option<&'static str> {
    const FIELDS: [&str; 5] = [":", "data:", "event:", "id:", "retry:"];
    let first = first.trim_start_matches('\u{feff}');
    if FIELDS.iter().any(|field| first.starts_with(field)) {
        return Some("a stream of server-sent events");
    }
    match first.trim_start().chars().next()? {
        '{' | '[' => Some("JSON over several lines, or damaged JSON"),
        _ => Some("no JSON"),
    }
}

#[derive(Deserialize)]
struct Line {
    t: Option<String>,
    dir: String,
    text: Option<String>,
    b64: Option<String>,
    url: Option<String>,
}

impl RecordingReader {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = BufReader::new(File::open(path)?);
        let is_packed = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
        let lines: Box<dyn BufRead> =
            if is_packed { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(file) };
        Ok(Self { lines, number: 0, form: None, was_cut: false })
    }

    /// Whether the file ended in the middle of something, which was left out.
    pub fn was_cut(&self) -> bool {
        self.was_cut
    }

    /// The next frame; none at the end.
    ///
    /// # Errors
    /// When a line is no frame, or the file cannot be read.
    pub fn next_frame(&mut self) -> Result<Option<RecordedFrame>, ReadError> {
        loop {
            let mut line = String::new();
            self.number += 1;
            let number = self.number;
            match (&mut self.lines).take(LINE_BYTES_MAX).read_line(&mut line) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.was_cut = true;
                    return Ok(None);
                }
                Err(source) => return Err(ReadError::Io { line: number, source }),
            }
            if line.trim().is_empty() {
                continue;
            }
            let is_whole = line.ends_with('\n');
            match self.frame(line) {
                // The last line of a file that was cut.
                Err(_) if !is_whole && number > 1 => {
                    self.was_cut = true;
                    return Ok(None);
                }
                Err(Unread::Foreign(what)) => return Err(ReadError::Foreign { what }),
                Err(Unread::Line(reason)) => return Err(ReadError::Line { line: number, reason }),
                Ok(frame) => return Ok(Some(frame)),
            }
        }
    }

    fn frame(&mut self, mut line: String) -> Result<RecordedFrame, Unread> {
        if line.ends_with('\n') {
            line.pop();
        }
        let read = serde_json::from_str::<Line>(&line);
        let is_json = || serde_json::from_str::<&RawValue>(&line).is_ok();
        let form = *self.form.get_or_insert(if read.is_err() && is_json() { Form::Plain } else { Form::Session });
        if form == Form::Plain {
            let payload = line.into_bytes();
            return Ok(RecordedFrame { at: None, direction: Direction::In, payload, is_binary: false });
        }
        let Line { t, dir, text, b64, url } =
            read.map_err(|error| match foreign(&line).filter(|_| self.number == 1) {
                Some(what) => Unread::Foreign(what),
                None => Unread::Line(error.to_string()),
            })?;
        let direction =
            Direction::of(&dir).ok_or_else(|| Unread::Line(format!("`dir` is `{}`", dir.escape_debug())))?;
        let is_binary = text.is_none() && b64.is_some();
        let payload = match (direction, text, b64) {
            (Direction::Open | Direction::Close, ..) => url.unwrap_or_default().into_bytes(),
            (_, Some(text), _) => text.into_bytes(),
            (_, None, Some(packed)) => {
                STANDARD.decode(packed).map_err(|error| Unread::Line(format!("`b64`: {error}")))?
            }
            (_, None, None) => return Err(Unread::Line("neither `text` nor `b64` is there".to_owned())),
        };
        Ok(RecordedFrame { at: t, direction, payload, is_binary })
    }
}

#[cfg(test)]
mod tests {
    use super::super::FrameWriter;
    use super::*;
    use crate::clock::UnixNanos;

    fn read(path: &Path) -> (Vec<RecordedFrame>, bool) {
        let mut reader = RecordingReader::open(path).unwrap();
        let mut frames = Vec::new();
        while let Some(frame) = reader.next_frame().unwrap() {
            frames.push(frame);
        }
        (frames, reader.was_cut())
    }

    #[test]
    fn what_was_written_is_read_and_a_file_that_was_cut_up_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        for packed in [true, false] {
            let path = folder.path().join(format!("{packed}.session.jsonl"));
            let mut writer = FrameWriter::new(Box::new(File::create(&path).unwrap()), packed);
            let at = UnixNanos(1_723_161_253_000_000_007);
            writer.open(at, "ws://h/").unwrap();
            writer.text(at, Direction::Out, "{\"a\": \"\\u0001\u{e9}\"}").unwrap();
            writer.flush().unwrap();
            let flushed = std::fs::metadata(&path).unwrap().len();
            writer.binary(at, Direction::In, &[0, 255]).unwrap();
            writer.close(at, "enough").unwrap();
            writer.flush().unwrap();
            let (frames, was_cut) = read(&path);
            assert!(!was_cut);
            let payloads: Vec<&[u8]> = frames.iter().map(|frame| &*frame.payload).collect();
            assert_eq!(payloads, [&b"ws://h/"[..], "{\"a\": \"\\u0001\u{e9}\"}".as_bytes(), &[0, 255], b""]);
            assert_eq!(frames[0].at.as_deref(), Some("1723161253.000000007"));
            assert!(frames[2].is_binary);
            let whole = std::fs::read(&path).unwrap();
            let cut = folder.path().join("cut");
            for length in flushed + 1..whole.len() as u64 - 1 {
                std::fs::write(&cut, &whole[..usize::try_from(length).unwrap()]).unwrap();
                let (read, _) = read(&cut);
                assert!(read.len() >= 2 && frames.starts_with(&read), "{packed} {length}");
            }
        }
    }
}
