//! `sluice journal stat`: what the journal holds.

use clap::Subcommand;
use serde::Serialize;

use super::query::open_journal;
use super::run::journal_error;
use super::{CliError, Context, Exit, Format, OutputArgs, print_json, print_table};
use crate::config::ByteSize;
use crate::journal::JournalStat;

/// `sluice journal`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Count what the journal holds: events, segments, bytes, repeats, quarantined messages, gaps, domains
    Stat(OutputArgs),
}

/// The journal for programs.
#[derive(Debug, Serialize)]
struct StatObject<'a> {
    journal: Option<String>,
    events: u64,
    durable_offset: u64,
    earliest_offset: u64,
    segments: u64,
    bytes: u64,
    duplicates: u64,
    quarantined: u64,
    gaps: u64,
    domains: Vec<DomainObject<'a>>,
    monitors: Vec<AccountObject<'a>>,
}

#[derive(Debug, Serialize)]
struct DomainObject<'a> {
    domain: &'a str,
    events: u64,
}

/// The account of a monitor: messages = events + repeats + control + quarantined.
#[derive(Debug, Serialize)]
struct AccountObject<'a> {
    monitor: &'a str,
    domain: &'a str,
    messages: u64,
    events: u64,
    repeats: u64,
    control: u64,
    quarantined: u64,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        match self.action {
            Action::Stat(args) => stat(context, args),
        }
    }
}

fn stat(context: &Context, args: OutputArgs) -> Result<Exit, CliError> {
    let reader = open_journal(context)?;
    let stat = reader.stat().map_err(journal_error)?;
    match args.output {
        Format::Json => print_json(&object(&stat))?,
        Format::Table => print(&stat)?,
    }
    Ok(Exit::Done)
}

fn object(stat: &JournalStat) -> StatObject<'_> {
    let domains = stat.domains.iter().map(|(domain, stat)| DomainObject { domain, events: stat.events }).collect();
    let monitors = stat
        .monitors
        .iter()
        .map(|((domain, monitor), stat)| AccountObject {
            monitor,
            domain,
            messages: stat.account.messages,
            events: stat.events,
            repeats: stat.account.repeats,
            control: stat.account.control,
            quarantined: stat.account.quarantined,
        })
        .collect();
    StatObject {
        journal: stat.journal.map(|id| id.to_string()),
        events: stat.events,
        durable_offset: stat.durable_offset.0,
        earliest_offset: stat.earliest.0,
        segments: stat.segments,
        bytes: stat.bytes,
        duplicates: stat.duplicates,
        quarantined: stat.quarantined,
        gaps: stat.gaps,
        domains,
        monitors,
    }
}

fn print(stat: &JournalStat) -> Result<(), CliError> {
    let rows = [
        ("journal", stat.journal.map_or("-".into(), |id| id.to_string())),
        ("events", stat.events.to_string()),
        ("durable offset", stat.durable_offset.to_string()),
        ("earliest offset", stat.earliest.to_string()),
        ("segments", stat.segments.to_string()),
        ("bytes", format!("{} ({})", stat.bytes, human(stat.bytes))),
        ("duplicates", stat.duplicates.to_string()),
        ("quarantined", stat.quarantined.to_string()),
        ("gaps", stat.gaps.to_string()),
    ];
    print_table(["WHAT", "FIGURE"], rows.map(|(name, figure)| [name.to_owned(), figure]))?;
    println!();
    let accounts = stat.monitors.iter().map(|((domain, monitor), stat)| {
        [
            domain.clone(),
            monitor.clone(),
            stat.account.messages.to_string(),
            stat.events.to_string(),
            stat.account.repeats.to_string(),
            stat.account.control.to_string(),
            stat.account.quarantined.to_string(),
        ]
    });
    let header = ["DOMAIN", "MONITOR", "MESSAGES", "= EVENTS", "+ REPEATS", "+ CONTROL", "+ QUARANTINED"];
    print_table(header, accounts)?;
    Ok(())
}

/// Bytes as people say them.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn human(bytes: u64) -> String {
    let size = ByteSize(bytes);
    match bytes {
        0..1024 => size.to_string(),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
