//! The archive. Whatever goes in is a text, and goes through the scrubber.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use crate::cli::{CliError, Exit};
use crate::clock::UnixNanos;
use crate::credentials::Scrubber;

/// The folder that all is in.
const FOLDER: &str = "sluice-diagnostics";

/// A longer part is cut: an archive is to be sent.
const PART_BYTES_MAX: usize = 32 << 20;

/// What is gathered.
pub(super) struct Bundle {
    scrubber: Scrubber,
    parts: Vec<(String, String)>,
    missing: Vec<Missing>,
}

/// A part of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Entry {
    /// Its name.
    pub(super) name: String,
    /// Its size.
    pub(super) bytes: usize,
}

/// A part that could not be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Missing {
    /// Its name.
    pub(super) name: String,
    /// Why not.
    pub(super) why: String,
}

/// What is in the archive: its part `manifest.json`, and what the command prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Written {
    /// Where it is.
    file: String,
    /// When it was made.
    made: String,
    /// By which release.
    sluice: &'static str,
    /// The running daemon's process; none where none has the journal.
    daemon: Option<u32>,
    /// Bytes of the archive; 0 in the archive itself, which does not know.
    pub(super) bytes: u64,
    /// What is in it.
    pub(super) entries: Vec<Entry>,
    /// What is not, and why.
    pub(super) missing: Vec<Missing>,
}

impl Bundle {
    pub(super) fn new(scrubber: Scrubber) -> Self {
        Self { scrubber, parts: Vec::new(), missing: Vec::new() }
    }

    /// Adds a part.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        let mut end = text.len().min(PART_BYTES_MAX);
        end = text.floor_char_boundary(end);
        self.parts.push((name.to_owned(), self.scrubber.scrub(&text[..end])));
        if end < text.len() {
            self.miss(name, &format!("only its first {end} bytes of {} are there", text.len()));
        }
    }

    /// Adds a part as JSON.
    pub(super) fn json(&mut self, name: &str, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.text(name, &text),
            Err(error) => self.miss(name, &error.to_string()),
        }
    }

    /// Adds a file as it is; a part that is missing where it cannot be read.
    pub(super) fn file(&mut self, name: &str, path: &Path) {
        match std::fs::read(path) {
            Ok(bytes) => self.text(name, &String::from_utf8_lossy(&bytes)),
            Err(error) => self.miss(name, &format!("{}: {error}", path.display())),
        }
    }

    /// Notes that a part could not be had.
    pub(super) fn miss(&mut self, name: &str, why: &str) {
        self.missing.push(Missing { name: name.to_owned(), why: self.scrubber.scrub(why) });
    }

    /// Writes the archive, which only its owner may read. What cannot be finished is taken away.
    pub(super) fn write(self, path: &Path, daemon: Option<u32>) -> Result<Written, CliError> {
        let shown = path.display();
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
            let hint = if error.kind() == io::ErrorKind::AlreadyExists { "; name another by --to" } else { "" };
            CliError::new(Exit::No, format!("{shown} cannot be made{hint}"), error)
        })?;
        let mut written = Written {
            file: shown.to_string(),
            made: UnixNanos::now().to_string(),
            sluice: env!("CARGO_PKG_VERSION"),
            daemon,
            bytes: 0,
            entries: self.parts.iter().map(|(name, text)| Entry { name: name.clone(), bytes: text.len() }).collect(),
            missing: self.missing,
        };
        let packed = pack(file, &self.parts, &written).map_err(|error| {
            std::fs::remove_file(path).ok();
            CliError::new(Exit::No, format!("{shown} cannot be written"), error)
        })?;
        written.bytes = packed;
        Ok(written)
    }
}

fn pack(file: File, parts: &[(String, String)], manifest: &Written) -> io::Result<u64> {
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    let manifest = serde_json::to_string_pretty(manifest).map_err(io::Error::from)?;
    let manifest = ("manifest.json".to_owned(), manifest);
    let now = u64::try_from(UnixNanos::now().0 / 1_000_000_000).unwrap_or_default();
    for (name, text) in [&manifest].into_iter().chain(parts) {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        archive.append_data(&mut header, format!("{FOLDER}/{name}"), text.as_bytes())?;
    }
    let mut file = archive.into_inner()?.finish()?;
    file.flush()?;
    Ok(file.metadata()?.len())
}
