//! `sluice gaps`: what was not seen, and what share was; with or without a running daemon.

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use clap::Subcommand;

use super::exit::PrintError;
use super::gaps_fill::Fill;
use super::run::journal_error;
use super::{CliError, Context, Exit, Format, OutputArgs, print_json, print_table};
use crate::clock::UnixNanos;
use crate::config::units::show_duration;
use crate::journal::{self, JournalReader};
use crate::recovery::gaps::{CompletenessRow, GapQuery, GapRow, completeness, each_gap, last_received};

/// Gaps that a table shows when no limit is given.
const TABLE_LIMIT: usize = 100;

/// `sluice gaps`
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Have the running daemon fetch what was not seen, as `[monitors.NAME.backfill]` declares it
    Fill(Fill),
    /// What share of the time each topic was seen, and of its messages where a sequence tells
    Completeness {
        #[command(flatten)]
        topics: Topics,
        #[command(flatten)]
        output: OutputArgs,
    },
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    topics: Topics,
    /// Only with this cause, such as `disconnect` or `downtime` (may be repeated)
    #[arg(long, value_name = "CAUSE")]
    cause: Vec<String>,
    /// Only those that go on
    #[arg(long)]
    open: bool,
    /// Only those that were not filled
    #[arg(long)]
    unfilled: bool,
    /// The most gaps to print, the newest (default: 100 in a table, all as JSON)
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Which topics, and when.
#[derive(Debug, clap::Args)]
struct Topics {
    /// Only this monitor (may be repeated)
    #[arg(long, value_name = "NAME")]
    monitor: Vec<String>,
    /// Only this upstream (may be repeated)
    #[arg(long, value_name = "NAME")]
    upstream: Vec<String>,
    /// Only this topic (may be repeated)
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// What lasted to this time or longer: `5m` (ago), or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = super::selection::moment)]
    since: Option<UnixNanos>,
    /// What began before: `5m` (ago), or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = super::selection::moment)]
    until: Option<UnixNanos>,
}

impl Topics {
    fn query(self) -> GapQuery {
        let Self { monitor, upstream, topic, since, until } = self;
        GapQuery { monitors: monitor, upstreams: upstream, topics: topic, since, until, ..GapQuery::default() }
    }
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let action = match self.action {
            Some(Action::Fill(fill)) => return fill.run(context),
            action => action,
        };
        let folder = journal::folder(&context.load()?.settings.daemon.data_dir);
        let mut reader = JournalReader::open(&folder).map_err(journal_error)?;
        let is_running = journal::is_locked(&folder);
        let now = if is_running {
            UnixNanos::now()
        } else {
            // Nobody knows anything of later: a daemon that died has not said so.
            last_received(&mut reader).map_err(journal_error)?.unwrap_or_default()
        };
        match action {
            Some(Action::Fill(_)) | None => self.list.run(&mut reader, now, is_running),
            Some(Action::Completeness { topics, output }) => {
                print_completeness(&mut reader, &topics.query(), now, output)
            }
        }
    }
}

impl List {
    fn run(self, reader: &mut JournalReader, now: UnixNanos, is_running: bool) -> Result<Exit, CliError> {
        let Self { topics, cause, open, unfilled, limit, output } = self;
        let query = GapQuery { causes: cause, open, unfilled, ..topics.query() };
        if output.output == Format::Json && limit.is_none() {
            return stream(reader, &query, now);
        }
        let limit = limit.unwrap_or(TABLE_LIMIT);
        let (mut rows, mut more) = (VecDeque::new(), false);
        let found = each_gap(reader, &query, now, |row| {
            rows.push_back(row);
            if rows.len() > limit {
                rows.pop_front();
                more = true;
            }
            ControlFlow::Continue(())
        });
        found.map_err(journal_error)?;
        match output.output {
            Format::Json => print_json(&rows)?,
            Format::Table => {
                let goes_on = rows.iter().any(|row| row.end.is_none());
                print(rows, more)?;
                if goes_on && !is_running {
                    // As below: a note for people.
                    let said = "no daemon runs: what goes on is counted to the journal's end";
                    writeln!(io::stderr().lock(), "{said}, {now}").ok();
                }
            }
        }
        Ok(Exit::Done)
    }
}

/// All of them, one after the other as they are read: an array, however long.
fn stream(reader: &mut JournalReader, query: &GapQuery, now: UnixNanos) -> Result<Exit, CliError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut first = true;
    let mut put = |row: &GapRow| -> io::Result<()> {
        out.write_all(if std::mem::take(&mut first) { b"[\n" } else { b",\n" })?;
        serde_json::to_writer(&mut out, row).map_err(io::Error::from)
    };
    let mut failed = Ok(());
    let found = each_gap(reader, query, now, |row| {
        failed = put(&row);
        if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    failed.map_err(PrintError::from)?;
    found.map_err(journal_error)?;
    let end: &[u8] = if first { b"[]\n" } else { b"\n]\n" };
    out.write_all(end).and_then(|()| out.flush()).map_err(PrintError::from)?;
    Ok(Exit::Done)
}

fn print(rows: VecDeque<GapRow>, more: bool) -> Result<(), CliError> {
    let nothing = rows.is_empty();
    let shown = rows.into_iter().map(|row| {
        let filled = match (row.filled, row.left_from) {
            (Some(filled), Some(_)) => format!("{filled}, in part"),
            (filled, _) => filled.unwrap_or_default(),
        };
        [
            row.monitor,
            row.upstream,
            row.topic,
            row.cause,
            row.start,
            row.end.unwrap_or_else(|| "goes on".into()),
            duration(row.seconds),
            row.missing.map(|missing| missing.to_string()).unwrap_or_default(),
            filled,
        ]
    });
    if !nothing {
        print_table(["MONITOR", "UPSTREAM", "TOPIC", "CAUSE", "START", "END", "DURATION", "MISSING", "FILLED"], shown)?;
    }
    let mut note = io::stderr().lock();
    // A note for people, beside the data: its loss costs nothing.
    if nothing {
        writeln!(note, "no gap fits").ok();
    } else if more {
        writeln!(note, "… and older ones; see them with --limit").ok();
    }
    Ok(())
}

fn print_completeness(
    reader: &mut JournalReader,
    query: &GapQuery,
    now: UnixNanos,
    output: OutputArgs,
) -> Result<Exit, CliError> {
    let found = completeness(reader, query, now).map_err(journal_error)?;
    match output.output {
        Format::Json => print_json(&found)?,
        Format::Table if found.topics.is_empty() => {
            // As above.
            writeln!(
                io::stderr().lock(),
                "no topic that fits was in force between {} and {}",
                found.since,
                found.until
            )
            .ok();
        }
        Format::Table => {
            let rows = found.topics.iter().chain([&found.total]).map(|row: &CompletenessRow| {
                let name = |name: &Option<String>, sum: &str| name.clone().unwrap_or_else(|| sum.to_owned());
                let count = |count: Option<u64>| count.map(|count| count.to_string()).unwrap_or_default();
                [
                    name(&row.monitor, "together"),
                    name(&row.upstream, ""),
                    name(&row.topic, ""),
                    row.completeness.map_or_else(|| String::from("-"), percent),
                    duration(row.watched_seconds),
                    duration(row.gap_seconds),
                    duration(row.filled_seconds),
                    row.gaps.to_string(),
                    row.open.to_string(),
                    count(row.seen),
                    count(row.expected),
                ]
            });
            let header = [
                "MONITOR", "UPSTREAM", "TOPIC", "COMPLETE", "WATCHED", "IN GAPS", "FILLED", "GAPS", "OPEN", "SEEN",
                "EXPECTED",
            ];
            print_table(header, rows)?;
        }
    }
    Ok(Exit::Done)
}

/// To the millisecond, or to the second where that does not matter.
fn duration(seconds: f64) -> String {
    let step = if seconds < 60.0 { 1000.0 } else { 1.0 };
    let rounded = (seconds * step).round() / step;
    show_duration(std::time::Duration::try_from_secs_f64(rounded).unwrap_or_default())
}

/// Never 100 % when something is missing.
fn percent(share: f64) -> String {
    let percent = (share * 100_000.0).floor() / 1000.0;
    if share >= 1.0 { String::from("100 %") } else { format!("{percent:.3} %") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_complete_never_looks_so() {
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.999_999_9), "99.999 %");
        assert_eq!(percent(0.5), "50.000 %");
        assert_eq!((duration(0.0125), duration(90.4)), ("13ms".into(), "1m 30s".into()));
    }
}
