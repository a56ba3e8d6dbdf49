//! `sluice query`: events of the journal, with or without a running daemon.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use super::event_line::{EventPrinter, terminal_width};
use super::exit::PrintError;
use super::run::journal_error;
use super::selection::{Selection, Span};
use super::walk::each_event;
use super::{CliError, Context, Exit, Format, OutputArgs};
use crate::enrich::RecordedAnswers;
use crate::journal::{self, JournalReader};

/// Events that a table shows when no limit is given.
const TABLE_LIMIT: u64 = 100;

/// `sluice query`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    span: Span,
    /// The most events to print (default: 100 in a table, all as JSON)
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

/// The journal of the settings, for reading.
pub(super) fn open_journal(context: &Context) -> Result<JournalReader, CliError> {
    let loaded = context.load()?;
    JournalReader::open(&journal::folder(&loaded.settings.daemon.data_dir)).map_err(journal_error)
}

/// What was looked up, and a reader for what will be; none where nothing is, or there is no room to show it.
pub(super) fn recorded_answers(
    context: &Context,
    format: Format,
) -> Result<Option<(RecordedAnswers, JournalReader)>, CliError> {
    let settings = context.load()?.settings;
    let enriches = || settings.monitors.values().any(|monitor| !monitor.enrich.is_empty());
    // What was set at run time may enrich too.
    let run_time = || crate::daemon::run_time_layer(&settings.daemon.data_dir).iter().next().is_some();
    if format != Format::Json || !(enriches() || run_time()) {
        return Ok(None);
    }
    let mut reader = open_journal(context)?;
    reader.seek(reader.earliest().map_err(journal_error)?);
    let answers = RecordedAnswers::read(&mut reader).map_err(journal_error)?;
    if answers.is_cut() {
        // A note for people: its loss costs nothing.
        writeln!(
            io::stderr().lock(),
            "there are more answers of look-ups than memory is given; the newest are not shown"
        )
        .ok();
    }
    Ok(Some((answers, reader)))
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let mut reader = open_journal(context)?;
        let Self { selection, span, limit, output } = self;
        let limit = limit.unwrap_or(if output.output == Format::Table { TABLE_LIMIT } else { u64::MAX });
        let mut count = 0;
        let mut more = false;
        let printer = EventPrinter::new(BufWriter::new(io::stdout().lock()), output.output, terminal_width());
        let answers = recorded_answers(context, output.output)?;
        let mut printer = printer.enriching(answers.map(|(answers, _)| answers));
        each_event(&mut reader, &selection, &span, |event| {
            if count == limit {
                more = true;
                return Ok(ControlFlow::Break(()));
            }
            printer.print(event).map_err(PrintError::from)?;
            count += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        printer.flush().map_err(PrintError::from)?;
        if output.output == Format::Table {
            let mut note = io::stderr().lock();
            // A note for people, beside the data: its loss costs nothing.
            if count == 0 {
                writeln!(note, "no event fits").ok();
            } else if more {
                writeln!(note, "… and more; see them with --limit, or from an offset with --from").ok();
            }
        }
        Ok(Exit::Done)
    }
}
