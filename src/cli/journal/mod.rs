//! `sluice journal`: what the journal holds, whether it is whole, and what to do when it is not.

mod check;
mod export;
mod repair;

use clap::Subcommand;
use serde::Serialize;

use super::api;
use super::query::open_journal;
use super::run::journal_error;
use super::{CliError, Context, Exit, Format, OutputArgs, print_json, print_line, print_table};
use crate::config::{ByteSize, Settings};
use crate::journal::{Hole, JournalId, JournalStat, KnownDurable, MANIFEST_FILE, Offset};
use crate::server::{JournalRow, RetentionRow};

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
    /// Read every block and say what is damaged, and which events are lost by it; goes beside a running daemon
    Check(check::Args),
    /// Make a damaged journal one that can be opened: keep every whole block, record what is lost
    Repair(repair::Args),
    /// Write events as JSON lines, to standard output or into a folder
    Export(export::Args),
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
    lost: u64,
    holes: Vec<HoleObject>,
    /// As the running daemon says; null where none answers, or another journal's.
    retention: Option<RetentionRow>,
    domains: Vec<DomainObject<'a>>,
    monitors: Vec<AccountObject<'a>>,
}

/// Offsets that no event has, because a repair could not save what was there; `to` is not one of them.
#[derive(Debug, Serialize)]
struct HoleObject {
    from: u64,
    to: u64,
}

impl HoleObject {
    fn all(holes: &[Hole]) -> Vec<Self> {
        let lost = holes.iter().filter(|hole| !hole.is_empty());
        lost.map(|hole| Self { from: hole.from.0, to: hole.to.0 }).collect()
    }
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
            Action::Check(args) => args.run(context),
            Action::Repair(args) => args.run(context),
            Action::Export(args) => args.run(context),
        }
    }
}

fn stat(context: &Context, args: OutputArgs) -> Result<Exit, CliError> {
    let reader = open_journal(context)?;
    let stat = reader.stat().map_err(journal_error)?;
    match args.output {
        Format::Json => print_json(&object(&stat, retention_of(context, &stat)))?,
        Format::Table => print(&stat, retention_of(context, &stat))?,
    }
    Ok(Exit::Done)
}

/// What retention did and does, if a daemon runs on this journal.
fn retention_of(context: &Context, stat: &JournalStat) -> Option<RetentionRow> {
    let answer = api::get(context, "/api/v1/journal").ok()?;
    let row: JournalRow = serde_json::from_slice(&answer.body).ok()?;
    (row.journal == stat.journal?.to_string()).then_some(row.retention)
}

/// The journal for programs, whether a daemon runs or not.
pub(super) fn stat_json(context: &Context) -> Result<serde_json::Value, CliError> {
    let stat = open_journal(context)?.stat().map_err(journal_error)?;
    serde_json::to_value(object(&stat, retention_of(context, &stat)))
        .map_err(|error| CliError::new(Exit::No, "what the journal holds cannot be written down", error))
}

fn object(stat: &JournalStat, retention: Option<RetentionRow>) -> StatObject<'_> {
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
        lost: lost(&stat.holes),
        holes: HoleObject::all(&stat.holes),
        retention,
        domains,
        monitors,
    }
}

fn print(stat: &JournalStat, retention: Option<RetentionRow>) -> Result<(), CliError> {
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
        ("lost", lost_in(&stat.holes)),
    ];
    let mut rows: Vec<_> = rows.map(|(name, figure)| [name.to_owned(), figure]).into();
    if let Some(RetentionRow { last_run, deleted_segments, deleted_bytes, held_by, held_from, held_bytes, .. }) =
        retention
    {
        let deleted = format!("{deleted_segments} segments, {} since the daemon's start", human(deleted_bytes));
        rows.push(["deleted".into(), deleted]);
        rows.push(["retention looked".into(), last_run.unwrap_or_else(|| "not yet".into())]);
        if let (Some(who), Some(from)) = (held_by, held_from) {
            rows.push([
                "held back".into(),
                format!("{} by {who}, which needs events from {from} on", human(held_bytes)),
            ]);
        }
    }
    print_table(["WHAT", "FIGURE"], rows)?;
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

fn lost(holes: &[Hole]) -> u64 {
    holes.iter().map(|hole| hole.len()).sum()
}

/// How many events are lost, and which.
fn lost_in(holes: &[Hole]) -> String {
    /// Spans that are named; the others are only counted.
    const NAMED: usize = 5;
    let spans: Vec<_> = holes.iter().filter(|hole| !hole.is_empty()).collect();
    let named: Vec<_> = spans.iter().take(NAMED).map(|hole| format!("{} to {}", hole.from, hole.to.0 - 1)).collect();
    let more = if spans.len() > NAMED { format!(" and {} more holes", spans.len() - NAMED) } else { String::new() };
    match lost(holes) {
        0 => "0".into(),
        lost => format!("{lost} ({}{more})", named.join(", ")),
    }
}

/// Others that remember how far the journal was durable: checkpoints say it by their names.
fn known_of(settings: &Settings) -> Vec<KnownDurable> {
    let data_dir = &settings.daemon.data_dir;
    // A backup is of its own moment: what the journal went on to since is not missing from it.
    let is_backup = data_dir.join(MANIFEST_FILE).exists();
    let dir = if is_backup { data_dir.join("checkpoints") } else { settings.checkpoint.dir.clone() };
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let parse = |name: &str| {
        let (journal, offset) = name.get(..57)?.split_at_checked(36)?;
        let journal = JournalId(journal.parse().ok()?);
        let offset = Offset(offset.strip_prefix('-')?.parse().ok()?);
        Some(KnownDurable { who: format!("checkpoint {name}"), journal, offset })
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut known: Vec<_> = names.filter_map(|name| parse(&name)).collect();
    known.sort_by_key(|known| std::cmp::Reverse(known.offset));
    known
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
