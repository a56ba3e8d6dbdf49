//! `sluice journal repair`: shows what it would do, and does it when told so.

use serde::Serialize;

use super::super::run::journal_error;
use super::check::{FlawObject, print_flaws, report};
use super::{CliError, Context, Exit, Format, HoleObject, OutputArgs, known_of, lost_in, print_json, print_line};
use crate::journal::storage::DiskStorage;
use crate::journal::{self, KnownDurable, Offset, RepairReport};
use crate::sink::ReadySinks;

/// `sluice journal repair`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Do it. Without this the journal is only looked at
    #[arg(long)]
    yes: bool,
    /// Somebody has taken events up to this offset (it is the next one): go on there, so that no offset is given twice
    #[arg(long, value_name = "OFFSET")]
    resume_after: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

/// The answer for programs.
#[derive(Debug, Serialize)]
struct RepairObject<'a> {
    journal: String,
    done: bool,
    flaws: Vec<FlawObject<'a>>,
    lost_events: u64,
    holes: Vec<HoleObject>,
    segments_written: &'a [String],
    kept: Vec<String>,
    next_offset: u64,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let settings = context.load()?.settings;
        let dir = journal::folder(&settings.daemon.data_dir);
        // Before the journal is looked at: a daemon beside us may be writing, and what witnesses say now is then not ahead of it.
        let mut known = known_of(&settings);
        // A sink that does not answer, or not about this journal, is left out: --resume-after can speak for it.
        if let (Ok(sinks), Ok(Some(journal))) = (ReadySinks::new(&settings), journal::identity(&dir)) {
            known.extend(sinks.ask(journal));
        }
        let looked = report(&settings)?;
        if let Some(offset) = self.resume_after {
            let who = "--resume-after".to_owned();
            known.push(KnownDurable { who, journal: looked.journal, offset: Offset(offset) });
        }
        let ours = known.iter().filter(|known| known.journal == looked.journal).map(|known| known.offset);
        let next = ours.fold(looked.durable, Offset::max);
        let behind = next > looked.durable;
        if self.yes {
            let done = journal::repair(&DiskStorage::new(&dir), &known).map_err(journal_error)?;
            self.print_done(&done)?;
            return Ok(Exit::Done);
        }
        match self.output.output {
            Format::Json => print_json(&RepairObject {
                journal: looked.journal.to_string(),
                done: false,
                flaws: FlawObject::all(&looked.flaws),
                lost_events: looked.lost(),
                holes: HoleObject::all(&looked.flaws.iter().map(|flaw| flaw.lost).collect::<Vec<_>>()),
                segments_written: &[],
                kept: Vec::new(),
                next_offset: next.0,
            })?,
            Format::Table if looked.is_whole() && !behind => print_line("nothing to repair: the journal is whole")?,
            Format::Table => {
                print_flaws(&looked.flaws)?;
                for known in
                    known.iter().filter(|known| behind && known.journal == looked.journal && known.offset == next)
                {
                    print_line(format!(
                        "{} has taken events up to {next}, and the journal has none behind {}",
                        known.who, looked.durable
                    ))?;
                }
                print_line(format!(
                    "\nnothing was changed. With --yes: {} events are recorded as lost, every whole block is kept under its offset, \
                     damaged files are kept in {}, and the journal goes on at offset {next}",
                    looked.lost(),
                    dir.join("damaged").display(),
                ))?;
            }
        }
        Ok(if looked.is_whole() && !behind { Exit::Done } else { Exit::No })
    }

    fn print_done(&self, done: &RepairReport) -> Result<(), CliError> {
        if self.output.output == Format::Json {
            return Ok(print_json(&RepairObject {
                journal: done.journal.to_string(),
                done: true,
                flaws: FlawObject::all(&done.flaws),
                lost_events: done.lost(),
                holes: HoleObject::all(&done.holes),
                segments_written: &done.segments,
                kept: done.kept.iter().map(|path| path.display().to_string()).collect(),
                next_offset: done.end.0,
            })?);
        }
        if done.flaws.is_empty() && done.segments.is_empty() {
            return Ok(print_line("nothing to repair: the journal is whole")?);
        }
        print_flaws(&done.flaws)?;
        print_line("")?;
        for segment in &done.segments {
            print_line(format!("written anew: {segment}"))?;
        }
        for kept in &done.kept {
            print_line(format!("kept aside: {}", kept.display()))?;
        }
        print_line(format!(
            "repaired: lost {}; the journal goes on at offset {}. Sinks and readers pass over the holes and say so",
            lost_in(&done.holes),
            done.end
        ))?;
        Ok(())
    }
}
