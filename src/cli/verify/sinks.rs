//! What each sink's store holds against the journal.

use std::sync::Arc;

use serde::Serialize;
use tokio::runtime::{self, Runtime};

use super::Args;
use crate::cli::query::open_journal;
use crate::cli::run::journal_error;
use crate::cli::{CliError, Context, Exit, print_line, print_table};
use crate::config::{Settings, SinkSettings};
use crate::journal::JournalReader;
use crate::recovery::verify::{DifferentEvent, Subject, Verified, VerifyError, VerifyRequest, verify};
use crate::report::{Cell, Mark, Report, ReportTable};
use crate::sink::{AnyStore, Opening, Purpose, StoreError};

/// The sink that a store is compared as when no name is given.
const NAMELESS: &str = "against";

/// One sink for programs.
#[derive(Debug, Serialize)]
struct Row {
    sink: String,
    kind: &'static str,
    /// `equal`, `different`, `damaged` or `unavailable`.
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Verified>,
}

/// Compares the sinks that are meant, or one store.
pub(super) fn run(args: &Args, context: &Context, store: Option<&SinkSettings>) -> Result<Exit, CliError> {
    let settings = context.load()?.settings;
    if let Some(folder) = store.and_then(|store| store.folder.as_deref())
        && !folder.is_dir()
    {
        let reason = format!("there is no folder {}; nothing was compared", folder.display());
        return Err(CliError::plain(Exit::Usage, reason));
    }
    let subjects = subjects(&settings, args.sink.as_deref(), store)?;
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::No, "threads cannot be started", error))?;
    let mut reader = open_journal(context)?;
    let request = VerifyRequest { from: args.from, to: args.to, since: args.since, until: args.until };
    let mut rows = Vec::new();
    for (name, sink) in &subjects {
        rows.push(compare(&runtime, &settings, &mut reader, (name, sink), &request)?);
    }
    if args.report.is_table_here()? {
        show(&rows)?;
    } else {
        args.report.give(&report(&rows), &rows)?;
    }
    Ok(match store {
        // A store that was named: that it cannot be reached is no difference.
        Some(_) if rows.iter().any(|row| row.result == "unavailable") => Exit::Unreachable,
        _ if rows.iter().all(|row| row.result == "equal") => Exit::Done,
        _ => Exit::No,
    })
}

fn subjects(
    settings: &Settings,
    sink: Option<&str>,
    store: Option<&SinkSettings>,
) -> Result<Vec<(String, SinkSettings)>, CliError> {
    let named = match sink {
        Some(name) => match settings.sinks.get(name) {
            Some(sink) => Some((name.to_owned(), sink.clone())),
            None if store.is_some() => None,
            None => {
                let reason = format!("there is no sink `{name}`; `sluice sinks` lists them");
                return Err(CliError::plain(Exit::Usage, reason));
            }
        },
        None => None,
    };
    if let Some(store) = store {
        let name = sink.unwrap_or(NAMELESS).to_owned();
        let mut store = store.clone();
        if let Some((_, sink)) = named {
            (store.monitors, store.domains) = (sink.monitors, sink.domains);
            (store.table, store.payload, store.ca_file) = (sink.table, sink.payload, sink.ca_file);
        }
        return Ok(vec![(name, store)]);
    }
    let all = named.map_or_else(
        || settings.sinks.iter().map(|(name, sink)| (name.clone(), sink.clone())).collect(),
        |one| vec![one],
    );
    if all.is_empty() {
        return Err(CliError::plain(Exit::No, "there is no sink to compare; name a store by --against"));
    }
    Ok(all)
}

/// The same as [`show`] as a report.
fn report(rows: &[Row]) -> Report {
    let equal = rows.iter().filter(|row| row.result == "equal").count();
    let mark = |row: &Row| if row.result == "equal" { Mark::Good } else { Mark::Bad };
    let count = |row: &Row, of: fn(&Verified) -> u64| {
        Cell::from(row.compared.as_ref().map_or_else(|| "-".to_owned(), |compared| of(compared).to_string()))
    };
    let sinks = rows.iter().map(|row| {
        vec![
            row.sink.clone().into(),
            row.kind.into(),
            Cell::marked(row.result, mark(row)),
            count(row, |compared| compared.from),
            count(row, |compared| compared.to),
            count(row, |compared| compared.journal_events),
            count(row, |compared| compared.sink_events),
            count(row, |compared| compared.parked),
            count(row, |compared| compared.different_spans),
        ]
    });
    let events = rows.iter().flat_map(|row| {
        let first = row.compared.iter().flat_map(|compared| &compared.first_events);
        first.map(|event| {
            vec![
                row.sink.clone().into(),
                event.offset.to_string().into(),
                event.monitor.clone().into(),
                Cell::marked(event.what.as_str(), Mark::Bad),
                event.fields.join(", ").into(),
            ]
        })
    });
    let left_out = rows.iter().flat_map(|row| {
        let spans = row.compared.iter().flat_map(|compared| &compared.left_out);
        spans.map(|span| format!("{}: {} to {} is not compared: {}", row.sink, span.from, span.to, span.cause))
    });
    let reasons = rows.iter().filter_map(|row| Some(format!("{}: {}", row.sink, row.reason.as_ref()?)));
    Report {
        title: "The journal against its sinks".into(),
        verdict: if equal == rows.len() {
            Cell::marked(format!("equal: all {equal}"), Mark::Good)
        } else {
            Cell::marked(format!("different: {} of {}", rows.len() - equal, rows.len()), Mark::Bad)
        },
        facts: Vec::new(),
        tables: vec![
            ReportTable {
                heading: "Sinks".into(),
                columns: vec![
                    "Sink",
                    "Kind",
                    "Result",
                    "From",
                    "To",
                    "Journal",
                    "Store",
                    "Parked",
                    "Hours that differ",
                ],
                rows: sinks.collect(),
            },
            ReportTable {
                heading: "The first events that differ".into(),
                columns: vec!["Sink", "Offset", "Monitor", "What", "In"],
                rows: events.collect(),
            },
        ],
        charts: Vec::new(),
        notes: reasons.chain(left_out).collect(),
    }
}

fn compare(
    runtime: &Runtime,
    settings: &Settings,
    reader: &mut JournalReader,
    (name, sink): (&str, &SinkSettings),
    request: &VerifyRequest,
) -> Result<Row, CliError> {
    let journal = reader.journal_id().map_err(journal_error)?;
    let opening = Opening {
        ancestors: Arc::from(reader.ancestors().map_err(journal_error)?),
        purpose: Purpose::Inspect,
        ..Opening::live(name, journal)
    };
    let subject = Subject { name, settings: sink };
    let compared = match AnyStore::new(name, sink, settings) {
        Ok(mut store) => runtime.block_on(verify(reader, &mut store, (subject, &opening), request)),
        Err(error) => Err(error.into()),
    };
    let (result, reason, compared) = match compared {
        Ok(compared) => {
            let empty = "the store has no cursor of this journal: nothing was ever written to it, or it was emptied";
            let reason = (!compared.equal && compared.cursor.is_none()).then(|| empty.to_owned());
            (if compared.equal { "equal" } else { "different" }, reason, Some(compared))
        }
        Err(VerifyError::Journal(error)) => return Err(journal_error(error)),
        Err(VerifyError::Store(error @ StoreError::Stop(_))) => ("damaged", Some(error.to_string()), None),
        Err(VerifyError::Store(error)) => ("unavailable", Some(error.to_string()), None),
    };
    Ok(Row { sink: name.to_owned(), kind: sink.kind.as_str(), result, reason, compared })
}

fn show(rows: &[Row]) -> Result<(), CliError> {
    let count = |row: &Row, of: fn(&Verified) -> String| row.compared.as_ref().map(of).unwrap_or_default();
    let lines = rows.iter().map(|row| {
        [
            row.sink.clone(),
            row.kind.to_owned(),
            row.result.to_owned(),
            count(row, |compared| format!("{} to {} of {}", compared.from, compared.to, compared.durable_offset)),
            count(row, |compared| compared.journal_events.to_string()),
            count(row, |compared| compared.sink_events.to_string()),
            count(row, |compared| compared.parked.to_string()),
            count(row, |compared| format!("{} of {}", compared.different_spans, compared.spans)),
        ]
    });
    print_table(["SINK", "KIND", "RESULT", "OFFSETS", "JOURNAL", "STORE", "PARKED", "HOURS THAT DIFFER"], lines)?;
    for row in rows {
        if let Some(reason) = &row.reason {
            print_line(format!("{}: {reason}", row.sink))?;
        }
        let Some(compared) = &row.compared else { continue };
        for left in &compared.left_out {
            print_line(format!("{}: {} to {} is not compared: {}", row.sink, left.from, left.to, left.cause))?;
        }
        if let Some(since) = &compared.kept_since {
            print_line(format!("{}: compared from {since} on, since it keeps no more", row.sink))?;
        }
        for span in &compared.first_spans {
            print_line(format!(
                "{}: {} in the hour of {}: {} events in the journal, {} in the store",
                row.sink, span.monitor, span.start, span.journal_events, span.sink_events
            ))?;
        }
        for DifferentEvent { offset, monitor, what, fields } in &compared.first_events {
            let fields = if fields.is_empty() { String::new() } else { format!(" in {}", fields.join(", ")) };
            print_line(format!("{}: offset {offset} of {monitor} is {}{fields}", row.sink, what.as_str()))?;
        }
    }
    Ok(())
}
