//! `sluice tail`: the newest events, and those that come.

use std::io::{self, BufWriter};

use super::event_line::{EventPrinter, terminal_width};
use super::exit::PrintError;
use super::query::{open_journal, recorded_answers};
use super::run::journal_error;
use super::selection::{FOLLOW_INTERVAL, Selection, Span};
use super::walk::tell;
use super::{CliError, Context, Exit, OutputArgs};
use crate::journal::{BlockFilter, JournalReader, Offset};

/// `sluice tail`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Newest events to begin with
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10)]
    lines: u64,
    /// Stop at the end instead of waiting for more
    #[arg(long)]
    no_follow: bool,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let mut reader = open_journal(context)?;
        let span = Span::default();
        let filter = self.selection.block_filter(&span);
        let start = newest(&mut reader, &self.selection, &filter, self.lines)?;
        reader.seek(start);
        reader.take_holes();
        let printer = EventPrinter::new(BufWriter::new(io::stdout().lock()), self.output.output, terminal_width());
        let (answers, mut answers_reader) = recorded_answers(context, self.output.output)?.unzip();
        let mut printer = printer.enriching(answers);
        loop {
            if let Some(reader) = &mut answers_reader {
                printer.follow_answers(reader).map_err(journal_error)?;
            }
            while let Some(block) = reader.next_block(&filter).map_err(journal_error)? {
                tell(&reader.take_holes());
                let events = block.events();
                for event in events.filter(|event| event.offset >= start && self.selection.takes(event, &span)) {
                    printer.print(&event).map_err(PrintError::from)?;
                }
            }
            printer.flush().map_err(PrintError::from)?;
            if self.no_follow {
                return Ok(Exit::Done);
            }
            std::thread::sleep(FOLLOW_INTERVAL);
        }
    }
}

/// The offset from which `lines` events fit, looking back in steps that double.
fn newest(
    reader: &mut JournalReader,
    selection: &Selection,
    filter: &BlockFilter,
    lines: u64,
) -> Result<Offset, CliError> {
    let end = reader.durable().map_err(journal_error)?;
    let earliest = reader.earliest().map_err(journal_error)?;
    let mut back = lines.max(1);
    loop {
        let from = Offset(end.0.saturating_sub(back)).max(earliest);
        reader.seek(from);
        let mut found = Vec::new();
        while let Some(block) = reader.next_block(filter).map_err(journal_error)? {
            let events = block.events();
            let fitting = events.filter(|event| event.offset >= from && event.offset < end);
            found.extend(fitting.filter(|event| selection.takes(event, &Span::default())).map(|event| event.offset));
            if block.header().end() >= end {
                break;
            }
        }
        if found.len() as u64 >= lines || from == earliest {
            let skip = found.len().saturating_sub(usize::try_from(lines).unwrap_or(usize::MAX));
            return Ok(found.get(skip).copied().unwrap_or(end));
        }
        back = back.saturating_mul(4);
    }
}
