//! `sluice verify`: what each sink's store holds against the journal.

use std::sync::Arc;

use serde::Serialize;
use tokio::runtime::{self, Runtime};

use super::query::open_journal;
use super::run::journal_error;
use super::{CliError, Context, Exit, Format, OutputArgs, print_json, print_line, print_table};
use crate::clock::UnixNanos;
use crate::config::{Settings, SinkSettings};
use crate::journal::JournalReader;
use crate::recovery::verify::{DifferentEvent, Subject, Verified, VerifyError, VerifyRequest, verify};
use crate::sink::{AnyStore, Opening, Purpose, StoreError};

/// The sink that a store is compared as when no name is given.
const NAMELESS: &str = "against";

/// `sluice verify`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this sink; with `--against`: whose filter and cursor hold
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// Compare this store, and none of the settings: `sqlite:FOLDER`, `jsonl:FOLDER`, `postgres:URL`
    #[arg(long, value_name = "KIND:PLACE", value_parser = against)]
    against: Option<Against>,
    /// Received at or after: `5m` (ago), or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = super::selection::moment)]
    since: Option<UnixNanos>,
    /// Received before: `5m` (ago), or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = super::selection::moment)]
    until: Option<UnixNanos>,
    /// From this offset on
    #[arg(long, value_name = "OFFSET")]
    from: Option<u64>,
    /// Up to, but without, this offset
    #[arg(long, value_name = "OFFSET")]
    to: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

/// A store that need not be in the settings.
#[derive(Debug, Clone)]
struct Against(SinkSettings);

fn against(text: &str) -> Result<Against, String> {
    #[derive(Serialize)]
    struct Named<'a> {
        kind: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        folder: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        url: Option<&'a str>,
    }
    let named = match text.split_once(':') {
        // The address may be given whole.
        Some(("postgres" | "postgresql", rest)) => {
            let url = if rest.starts_with("//") { text } else { rest };
            Named { kind: "postgres", folder: None, url: Some(url) }
        }
        Some((kind @ ("sqlite" | "jsonl"), folder)) if !folder.is_empty() => {
            Named { kind, folder: Some(folder), url: None }
        }
        _ => return Err(format!("`{text}` is not of the form sqlite:FOLDER, jsonl:FOLDER or postgres:URL")),
    };
    let table = toml::to_string(&named).map_err(|error| error.to_string())?;
    toml::from_str(&table).map(Against).map_err(|error| error.to_string())
}

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

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let settings = context.load()?.settings;
        let backwards =
            |from: Option<i128>, to: Option<i128>| matches!((from, to), (Some(from), Some(to)) if from >= to);
        let number = |time: Option<crate::clock::UnixNanos>| time.map(|time| i128::from(time.0));
        if backwards(number(self.since), number(self.until))
            || backwards(self.from.map(i128::from), self.to.map(i128::from))
        {
            return Err(CliError::plain(Exit::Usage, "the span ends before it begins; nothing was compared"));
        }
        if let Some(folder) = self.against.as_ref().and_then(|Against(store)| store.folder.as_deref())
            && !folder.is_dir()
        {
            let reason = format!("there is no folder {}; nothing was compared", folder.display());
            return Err(CliError::plain(Exit::Usage, reason));
        }
        let subjects = self.subjects(&settings)?;
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| CliError::new(Exit::No, "threads cannot be started", error))?;
        let mut reader = open_journal(context)?;
        let request = VerifyRequest { from: self.from, to: self.to, since: self.since, until: self.until };
        let mut rows = Vec::new();
        for (name, sink) in &subjects {
            rows.push(compare(&runtime, &settings, &mut reader, (name, sink), &request)?);
        }
        match self.output.output {
            Format::Json => print_json(&rows)?,
            Format::Table => show(&rows)?,
        }
        Ok(if rows.iter().all(|row| row.result == "equal") { Exit::Done } else { Exit::No })
    }

    fn subjects(&self, settings: &Settings) -> Result<Vec<(String, SinkSettings)>, CliError> {
        let named = match &self.sink {
            Some(name) => match settings.sinks.get(name) {
                Some(sink) => Some((name.clone(), sink.clone())),
                None if self.against.is_some() => None,
                None => {
                    let reason = format!("there is no sink `{name}`; `sluice sinks` lists them");
                    return Err(CliError::plain(Exit::Usage, reason));
                }
            },
            None => None,
        };
        if let Some(Against(store)) = &self.against {
            let name = self.sink.clone().unwrap_or_else(|| NAMELESS.to_owned());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SinkKind;

    #[test]
    fn a_store_is_named_by_its_kind_and_place() {
        assert_eq!(against("sqlite:/data/events").unwrap().0.folder, Some("/data/events".into()));
        assert_eq!(against("jsonl:out").unwrap().0.kind, SinkKind::Jsonl);
        for url in ["postgres://me@localhost/market", "postgres:postgres://me@localhost/market"] {
            assert_eq!(against(url).unwrap().0.kind, SinkKind::Postgres, "{url}");
        }
        assert!(against("legacy").unwrap_err().contains("sqlite:FOLDER"));
        assert!(against("oracle:x").is_err() && against("jsonl:").is_err());
    }
}
