//! `sluice quarantine list|show|retry`: frames that could not be read, raw, with the reason.

use std::io::Write;

use clap::Subcommand;
use serde::Serialize;

use super::exit::PrintError;
use super::query::open_journal;
use super::run::journal_error;
use super::selection::{Selection, Span};
use super::{CliError, Context, Exit, Format, OutputArgs, print_json, print_table};
use crate::journal::{Event, OWN_DOMAIN, Offset, Path, QUARANTINE_MONITOR, RETRIES_MONITOR};
use crate::monitor::quarantine::Quarantined;
use crate::monitor::retry::RetryRecord;

/// `sluice quarantine`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the newest quarantined frames
    List {
        /// Only those of this monitor (`upstream:NAME` for frames that belong to none)
        #[arg(long, value_name = "NAME")]
        monitor: Option<String>,
        /// Only those that came by this path
        #[arg(long, value_name = "smart|legacy", value_parser = super::selection::path)]
        path: Option<Path>,
        /// Received at or after: `5m` (ago), or RFC 3339
        #[arg(long, value_name = "TIME", value_parser = super::selection::moment)]
        since: Option<crate::clock::UnixNanos>,
        /// The most to list
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Print one frame, to the byte
    Show {
        /// Its offset, as `list` has it
        offset: u64,
    },
    /// Have the running daemon parse frames again, by the rules it has now
    Retry(super::quarantine_retry::Args),
}

/// A quarantined frame for programs.
#[derive(Debug, Serialize)]
struct Row {
    offset: u64,
    received_time: String,
    /// Whether it was parsed again.
    retried: bool,
    #[serde(flatten)]
    frame: Quarantined,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        match self.action {
            Action::List { monitor, path, since, limit, output } => {
                let span = Span { since, ..Span::default() };
                list(context, (monitor.as_deref(), path), &span, limit, output)
            }
            Action::Show { offset } => show(context, Offset(offset)),
            Action::Retry(args) => args.run(context),
        }
    }
}

fn list(
    context: &Context,
    (monitor, path): (Option<&str>, Option<Path>),
    span: &Span,
    limit: usize,
    output: OutputArgs,
) -> Result<Exit, CliError> {
    let mut reader = open_journal(context)?;
    let selection = Selection {
        monitor: vec![QUARANTINE_MONITOR.to_owned(), RETRIES_MONITOR.to_owned()],
        domain: vec![OWN_DOMAIN.to_owned()],
        key: monitor.map(str::to_owned).into_iter().collect(),
        ..Selection::default()
    };
    match span.since {
        Some(since) => reader.seek_received(since).map_err(journal_error)?,
        None => reader.seek(reader.earliest().map_err(journal_error)?),
    }
    let filter = selection.block_filter(span);
    let mut rows = std::collections::VecDeque::<Row>::new();
    while let Some(block) = reader.next_block(&filter).map_err(journal_error)? {
        for event in block.events().filter(|event| selection.takes(event, span)) {
            if event.monitor == RETRIES_MONITOR {
                let record: Option<RetryRecord> = serde_json::from_slice(event.payload).ok();
                let of_record =
                    record.and_then(|record| rows.binary_search_by_key(&record.retried, |row| row.offset).ok());
                if let Some(row) = of_record.and_then(|at| rows.get_mut(at)) {
                    row.retried = true;
                }
            } else if path.is_some_and(|path| event.path != path) {
                // What retries tell has to be looked at whichever way they went.
            } else if let Some(mut frame) = read(&event) {
                // Always somebody's, for programs: the upstream's own account where it was no monitor's.
                frame.monitor.get_or_insert_with(|| format!("upstream:{}", frame.upstream));
                if rows.len() == limit {
                    rows.pop_front();
                }
                let received_time = event.received.to_string();
                rows.push_back(Row { offset: event.offset.0, received_time, retried: false, frame });
            }
        }
    }
    match output.output {
        Format::Json => print_json(&rows)?,
        Format::Table => {
            let shown = rows.into_iter().map(|row| {
                let raw = row.frame.frame.or(row.frame.frame_base64).unwrap_or_default();
                [
                    row.offset.to_string(),
                    row.received_time,
                    row.frame.monitor.unwrap_or_default(),
                    row.frame.reason,
                    if row.retried { "yes" } else { "" }.to_owned(),
                    row.frame.bytes.to_string(),
                    raw.chars()
                        .take(60)
                        .map(|character| if character.is_control() { ' ' } else { character })
                        .collect(),
                ]
            });
            print_table(["OFFSET", "RECEIVED", "MONITOR", "REASON", "RETRIED", "BYTES", "FRAME"], shown)?;
        }
    }
    Ok(Exit::Done)
}

fn show(context: &Context, offset: Offset) -> Result<Exit, CliError> {
    use base64::Engine as _;
    let mut reader = open_journal(context)?;
    reader.seek(offset);
    let selection = Selection { domain: vec![OWN_DOMAIN.to_owned()], ..Selection::default() };
    let missing = || CliError::plain(Exit::No, format!("there is no quarantined frame at offset {offset}"));
    let block = reader.next_block(&selection.block_filter(&Span::default())).map_err(journal_error)?;
    let block = block.ok_or_else(missing)?;
    let frame = block
        .events()
        .find(|event| event.offset == offset && event.monitor == QUARANTINE_MONITOR)
        .and_then(|event| read(&event))
        .ok_or_else(missing)?;
    let raw = match (frame.frame, frame.frame_base64) {
        (Some(text), _) => text.into_bytes(),
        (None, Some(encoded)) => base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .map_err(|error| CliError::new(Exit::No, "the kept frame cannot be decoded", error))?,
        (None, None) => Vec::new(),
    };
    std::io::stdout().lock().write_all(&raw).map_err(PrintError::from)?;
    Ok(Exit::Done)
}

fn read(event: &Event<'_>) -> Option<Quarantined> {
    serde_json::from_slice(event.payload).ok()
}
