//! `sluice journal export`: events as JSON lines, as `query --output json` prints them, to be kept or read elsewhere.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::super::exit::PrintError;
use super::super::query::open_journal;
use super::super::selection::{Selection, Span};
use super::super::walk::each_event;
use super::{CliError, Context, Exit};
use crate::journal::{EventObject, JournalReader};

/// Quick, and a tenth of the raw size for most feeds.
const ZSTD_LEVEL: i32 = 3;

/// `sluice journal export`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    span: Span,
    /// Into a file in this folder, which is made if there is none; the file has its name when it is whole
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Compress by zstd
    #[arg(long)]
    zstd: bool,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let mut reader = open_journal(context)?;
        let Some(dir) = &self.into else {
            self.write(&mut reader, io::stdout().lock())?;
            return Ok(Exit::Done);
        };
        let failed = |what: &'static str, path: &Path| {
            let message = format!("cannot {what} {}", path.display());
            move |error: io::Error| CliError::new(Exit::No, message, error)
        };
        fs::create_dir_all(dir).map_err(failed("create", dir))?;
        let unfinished = dir.join("export.tmp");
        let file = File::create(&unfinished).map_err(failed("create", &unfinished))?;
        let written = self.write(&mut reader, file.try_clone().map_err(failed("write", &unfinished))?)?;
        let Some((first, last)) = written.span else {
            fs::remove_file(&unfinished).map_err(failed("remove", &unfinished))?;
            // A note for people: its loss costs nothing.
            writeln!(io::stderr().lock(), "no event fits; no file was written").ok();
            return Ok(Exit::Done);
        };
        let path = dir.join(format!("events-{first:020}-{last:020}.jsonl{}", if self.zstd { ".zst" } else { "" }));
        file.sync_all().map_err(failed("sync", &unfinished))?;
        fs::rename(&unfinished, &path).map_err(failed("rename", &unfinished))?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))?;
        writeln!(io::stderr().lock(), "{} events in {}", written.events, path.display()).ok();
        Ok(Exit::Done)
    }

    fn write(&self, reader: &mut JournalReader, out: impl Write) -> Result<Written, CliError> {
        if !self.zstd {
            let mut out = BufWriter::new(out);
            let written = self.write_lines(reader, &mut out)?;
            out.flush().map_err(PrintError::from)?;
            return Ok(written);
        }
        let mut out = zstd::stream::write::Encoder::new(BufWriter::new(out), ZSTD_LEVEL).map_err(PrintError::from)?;
        let written = self.write_lines(reader, &mut out)?;
        out.finish().and_then(|mut out| out.flush()).map_err(PrintError::from)?;
        Ok(written)
    }

    fn write_lines(&self, reader: &mut JournalReader, out: &mut impl Write) -> Result<Written, CliError> {
        let mut written = Written { events: 0, span: None };
        each_event(reader, &self.selection, &self.span, |event| {
            serde_json::to_writer(&mut *out, &EventObject::from(event)).map_err(io::Error::from).map_err(PrintError)?;
            out.write_all(b"\n").map_err(PrintError)?;
            written.events += 1;
            let first = written.span.map_or(event.offset.0, |(first, _)| first);
            written.span = Some((first, event.offset.0));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(written)
    }
}

struct Written {
    events: u64,
    /// The first and the last offset.
    span: Option<(u64, u64)>,
}
