//! The last lines of this process's log, kept in memory for whoever looks for a fault when nobody kept the log.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// The most lines that are kept. Source: a guess; hours of a daemon that is well, minutes of one that is not.
const LINES_MAX: usize = 2_000;

/// The most bytes of them.
const BYTES_MAX: usize = 512 << 10;

/// A longer line is cut.
const LINE_BYTES_MAX: usize = 4 << 10;

/// There is one log a process.
static RECENT: Mutex<Recent> = Mutex::new(Recent { lines: VecDeque::new(), bytes: 0 });

struct Recent {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Recent {
    fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.len();
        }
    }
}

fn recent() -> MutexGuard<'static, Recent> {
    RECENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The newest lines of this process's log, at most so many, oldest first. As they were written: with whatever secrets they have.
pub fn recent_lines(limit: usize) -> Vec<String> {
    let recent = recent();
    let from = recent.lines.len().saturating_sub(limit);
    recent.lines.iter().skip(from).cloned().collect()
}

/// Where a log is written to, and what remembers its last lines.
pub(super) struct Remembering<W>(pub(super) W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Remembering<W> {
    type Writer = RememberingWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        RememberingWriter { inner: self.0.make_writer(), line: Vec::new() }
    }
}

/// Writes one line of a log.
pub(super) struct RememberingWriter<W> {
    inner: W,
    line: Vec<u8>,
}

impl<W: Write> Write for RememberingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.line.extend_from_slice(&bytes[..written]);
        Ok(written)
    }

    /// A line that nobody could be told is remembered all the more.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.line.extend_from_slice(bytes);
        self.inner.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W> Drop for RememberingWriter<W> {
    fn drop(&mut self) {
        let text = String::from_utf8_lossy(&self.line);
        for line in text.lines().filter(|line| !line.is_empty()) {
            let mut line = without_colours(line);
            if line.len() > LINE_BYTES_MAX {
                line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
                line.push('…');
            }
            recent().push(line);
        }
    }
}

/// Without what a terminal shows as colours: `ESC [ … m`.
fn without_colours(line: &str) -> String {
    let (mut plain, mut rest) = (String::with_capacity(line.len()), line);
    while let Some(at) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..at]);
        rest = rest[at..].find('m').map_or("", |end| &rest[at + end + 1..]);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_lines_go_when_there_are_too_many_or_they_are_too_long() {
        let mut recent = Recent { lines: VecDeque::new(), bytes: 0 };
        for number in 0..LINES_MAX + 10 {
            recent.push(number.to_string());
        }
        assert_eq!((recent.lines.len(), recent.lines[0].as_str()), (LINES_MAX, "10"));
        for _ in 0..200 {
            recent.push("x".repeat(LINE_BYTES_MAX));
        }
        assert!(recent.bytes <= BYTES_MAX && recent.bytes == recent.lines.iter().map(String::len).sum::<usize>());
    }

    #[test]
    fn a_line_is_kept_without_its_colours() {
        assert_eq!(without_colours("\u{1b}[2m2026\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m x"), "2026  INFO x");
        assert_eq!(without_colours("plain"), "plain");
        assert_eq!(without_colours("cut \u{1b}[3"), "cut ");
    }
}
