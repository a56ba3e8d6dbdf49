//! The demo's log: a file, and the last warning for the screen. Lines on the terminal would tear its table apart.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// A longer file of earlier demos is begun anew.
const KEPT_BYTES_MAX: u64 = 1 << 20;
/// What one demo writes at most; later lines are still shown on the screen.
const WRITTEN_BYTES_MAX: u64 = 16 << 20;

/// Where log lines go. Clones are the same log.
#[derive(Debug, Clone)]
pub(super) struct DemoLog(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    file: File,
    written: u64,
    last_warning: Option<String>,
}

impl DemoLog {
    /// Opens the file for appending.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        if file.metadata()?.len() > KEPT_BYTES_MAX {
            file.set_len(0)?;
        }
        Ok(Self(Arc::new(Mutex::new(State { file, written: 0, last_warning: None }))))
    }

    /// The last line that was a warning or worse, with its time of day.
    pub(super) fn last_warning(&self) -> Option<String> {
        self.state().last_warning.clone()
    }

    /// Whole after every line: a panic elsewhere leaves nothing half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes one line, which comes in one piece.
pub(super) struct LineWriter<'a> {
    state: MutexGuard<'a, State>,
    warning: bool,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.warning {
            let text = String::from_utf8_lossy(line);
            // 2026-11-20T23:45:43.818416Z  WARN link lost: …
            let clock = text.get(11..19).unwrap_or_default();
            let message = text.get(27..).unwrap_or(&text).trim();
            self.state.last_warning = Some(format!("{clock} {message}"));
        }
        if self.state.written < WRITTEN_BYTES_MAX {
            self.state.written += line.len() as u64;
            self.state.file.write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.state.file.flush()
    }
}

impl<'a> MakeWriter<'a> for DemoLog {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter { state: self.state(), warning: false }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> LineWriter<'a> {
        LineWriter { state: self.state(), warning: *meta.level() <= Level::WARN }
    }
}
