//! `sluice journal check`: whether every byte is as it was written.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::super::run::journal_error;
use super::{
    CliError, Context, Exit, Format, HoleObject, OutputArgs, human, known_of, lost_in, print_json, print_line,
    print_table,
};
use crate::config::Settings;
use crate::journal::storage::DiskStorage;
use crate::journal::{self, CheckReport, Flaw, JournalError};

/// `sluice journal check`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    output: OutputArgs,
}

/// The answer for programs.
#[derive(Debug, Serialize)]
struct CheckObject<'a> {
    journal: String,
    whole: bool,
    durable_offset: u64,
    blocks: u64,
    events: u64,
    bytes: u64,
    above_durable_bytes: u64,
    lost_events: u64,
    flaws: Vec<FlawObject<'a>>,
    holes: Vec<HoleObject>,
    segments: Vec<SegmentObject<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct FlawObject<'a> {
    file: &'a str,
    position: u64,
    bytes: u64,
    lost_from: u64,
    lost_to: u64,
    reason: &'a str,
}

#[derive(Debug, Serialize)]
struct SegmentObject<'a> {
    file: &'a str,
    from: u64,
    to: u64,
    blocks: u64,
    events: u64,
    bytes: u64,
    sealed: bool,
    flaws: usize,
}

impl<'a> FlawObject<'a> {
    pub(super) fn all(flaws: &'a [Flaw]) -> Vec<Self> {
        let object = |flaw: &'a Flaw| Self {
            file: &flaw.file,
            position: flaw.position,
            bytes: flaw.bytes,
            lost_from: flaw.lost.from.0,
            lost_to: flaw.lost.to.0,
            reason: &flaw.reason,
        };
        flaws.iter().map(object).collect()
    }
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let settings = context.load()?.settings;
        let report = report(&settings)?;
        match self.output.output {
            Format::Json => print_json(&object(&report))?,
            Format::Table => print(&report)?,
        }
        Ok(if report.is_whole() { Exit::Done } else { Exit::Damaged })
    }
}

/// Looks at everything, and shows people how far it is.
pub(super) fn report(settings: &Settings) -> Result<CheckReport, CliError> {
    let dir = journal::folder(&settings.daemon.data_dir);
    if !dir.is_dir() {
        return Err(journal_error(JournalError::NoJournal { dir }));
    }
    let shown = io::stderr().is_terminal();
    let progress = |file: &str| {
        if shown {
            // Overwrites itself; its loss costs nothing.
            write!(io::stderr().lock(), "\r{file} ").ok();
        }
    };
    let report = journal::check(&DiskStorage::new(&dir), &known_of(settings), progress);
    if shown {
        write!(io::stderr().lock(), "\r\x1b[K").ok();
    }
    report.map_err(journal_error)
}

fn object(report: &CheckReport) -> CheckObject<'_> {
    let segments = report.segments.iter().map(|segment| SegmentObject {
        file: &segment.file,
        from: segment.from.0,
        to: segment.to.0,
        blocks: segment.blocks,
        events: segment.events,
        bytes: segment.bytes,
        sealed: segment.sealed,
        flaws: segment.flaws,
    });
    CheckObject {
        journal: report.journal.to_string(),
        whole: report.is_whole(),
        durable_offset: report.durable.0,
        blocks: report.segments.iter().map(|segment| segment.blocks).sum(),
        events: report.segments.iter().map(|segment| segment.events).sum(),
        bytes: report.segments.iter().map(|segment| segment.bytes).sum(),
        above_durable_bytes: report.above_durable,
        lost_events: report.lost(),
        flaws: FlawObject::all(&report.flaws),
        holes: HoleObject::all(&report.holes),
        segments: segments.collect(),
    }
}

fn print(report: &CheckReport) -> Result<(), CliError> {
    let CheckObject { blocks, events, bytes, .. } = object(report);
    let rows = [
        ("journal", report.journal.to_string()),
        ("segments", report.segments.len().to_string()),
        ("whole blocks", blocks.to_string()),
        ("whole events", events.to_string()),
        ("bytes", format!("{bytes} ({})", human(bytes))),
        ("durable offset", report.durable.to_string()),
        (
            "above it",
            format!("{} bytes, which the daemon is about to sync or the next start settles", report.above_durable),
        ),
        ("holes of earlier repairs", lost_in(&report.holes)),
    ];
    print_table(["WHAT", "FIGURE"], rows.map(|(name, figure)| [name.to_owned(), figure]))?;
    if report.is_whole() {
        print_line("\nwhole: every block is as it was written")?;
        return Ok(());
    }
    print_line("")?;
    print_flaws(&report.flaws)?;
    let lost = report.lost();
    print_line(format!(
        "\ndamaged: {lost} events are lost. Restore a backup, or keep a copy of the folder and run `sluice journal repair`"
    ))?;
    Ok(())
}

pub(super) fn print_flaws(flaws: &[Flaw]) -> Result<(), CliError> {
    let rows = flaws.iter().map(|flaw| {
        let lost =
            if flaw.lost.is_empty() { "none".into() } else { format!("{} to {}", flaw.lost.from, flaw.lost.to.0 - 1) };
        [flaw.file.clone(), flaw.position.to_string(), flaw.bytes.to_string(), lost, flaw.reason.clone()]
    });
    print_table(["FILE", "AT BYTE", "BYTES", "EVENTS LOST", "WHAT IS WRONG"], rows)?;
    Ok(())
}
