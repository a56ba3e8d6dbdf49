//! `sluice parse analyze`: why messages could not be read, out of the journal, with and without a running daemon.

use clap::Subcommand;
use serde::Serialize;

use super::reporting::unreadable;
use super::selection::moment;
use super::{CliError, Context, Exit, Format, OutputArgs, print_json, print_line, print_table};
use crate::clock::UnixNanos;
use crate::infer::{Failure, Failures};
use crate::journal::{self, BlockFilter, JournalError, JournalReader, OWN_DOMAIN, QUARANTINE_MONITOR};
use crate::monitor::quarantine::Quarantined;

/// `sluice parse`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Why messages failed, by monitor and reason, with samples and what would help
    Analyze(Analyze),
}

#[derive(Debug, clap::Args)]
struct Analyze {
    /// Received at or after: `24h` (ago), or RFC 3339 [default: all that is kept]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<UnixNanos>,
    /// Only those of this monitor (`upstream:NAME` for frames that belong to none)
    #[arg(long, value_name = "NAME")]
    monitor: Option<String>,
    /// Samples of each kind
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(0..=100))]
    samples: u16,
    #[command(flatten)]
    output: OutputArgs,
}

/// All of it, for programs.
#[derive(Debug, Serialize)]
struct Analysis {
    /// Messages that could not be read, by the journal's account.
    quarantined: u64,
    /// Of these, frames that were kept; beyond a rate they are only counted.
    kept: u64,
    /// Of these, frames of kinds beyond the last that is told apart.
    others: u64,
    failures: Vec<Failure>,
    /// Whether there was anything at all of who was asked for.
    #[serde(skip)]
    known: bool,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let Action::Analyze(analyze) = self.action;
        analyze.run(context)
    }
}

impl Analyze {
    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let folder = journal::folder(&context.load()?.settings.daemon.data_dir);
        let mut reader = JournalReader::open(&folder).map_err(unreadable)?;
        let analysis = self.read(&mut reader).map_err(unreadable)?;
        if let Some(monitor) = self.monitor.as_ref().filter(|_| !analysis.known) {
            let error = format!(
                "the journal has nothing of a monitor `{monitor}` in that time; `sluice journal stat` says of whom it has something"
            );
            return Err(CliError::plain(Exit::No, error));
        }
        match self.output.output {
            Format::Json => print_json(&analysis)?,
            Format::Table => analysis.print()?,
        }
        Ok(Exit::Done)
    }

    fn read(&self, reader: &mut JournalReader) -> Result<Analysis, JournalError> {
        self.seek(reader)?;
        let (mut quarantined, mut known) = (0, false);
        // A block that only counts has no time; it is behind those before it.
        while let Some(header) = reader.next_header()? {
            for row in header.rows().iter().filter(|row| self.takes(&row.monitor.name)) {
                quarantined += row.account.quarantined;
                known = true;
            }
        }
        self.seek(reader)?;
        let (mut failures, mut kept) = (Failures::new(self.samples.into()), 0);
        let filter = BlockFilter {
            monitors: vec![QUARANTINE_MONITOR.into()],
            domains: vec![OWN_DOMAIN.into()],
            ..BlockFilter::all()
        };
        while let Some(block) = reader.next_block(&filter)? {
            for event in block.events().filter(|event| filter.admits(event)) {
                let Ok(frame) = serde_json::from_slice::<Quarantined>(event.payload) else { continue };
                let whose = frame.monitor.clone().unwrap_or_else(|| format!("upstream:{}", frame.upstream));
                if self.since.is_none_or(|since| event.received >= since) && self.takes(&whose) {
                    kept += 1;
                    failures.take(event.offset.0, event.received, &frame);
                }
            }
        }
        let others = failures.others();
        Ok(Analysis { quarantined, kept, others, failures: failures.told(), known })
    }

    fn takes(&self, monitor: &str) -> bool {
        self.monitor.as_deref().is_none_or(|wanted| wanted == monitor)
    }

    fn seek(&self, reader: &mut JournalReader) -> Result<(), JournalError> {
        if let Some(since) = self.since {
            return reader.seek_received(since);
        }
        reader.seek(reader.earliest()?);
        Ok(())
    }
}

impl Analysis {
    fn print(&self) -> Result<(), CliError> {
        if self.failures.is_empty() {
            print_line(match self.quarantined {
                0 => "every message could be read".to_owned(),
                count => format!("{count} messages could not be read, and no frame of them was kept"),
            })?;
            return Ok(());
        }
        let rows = self.failures.iter().map(|failure| {
            [failure.monitor.clone(), failure.count.to_string(), failure.reason.clone(), failure.last.clone()]
        });
        print_table(["MONITOR", "COUNT", "REASON", "LAST"], rows)?;
        for failure in &self.failures {
            print_line("")?;
            print_line(format!("{}, {} times: {}", failure.monitor, failure.count, failure.reason))?;
            if let Some(suggestion) = &failure.suggestion {
                print_line(format!("  suggestion: {}", suggestion.text))?;
                if let Some(rule) = &suggestion.rule {
                    print_line(format!("  {rule}"))?;
                }
            }
            for sample in &failure.samples {
                print_line(format!("  {} ({} bytes)  {}", sample.offset, sample.bytes, sample.frame))?;
            }
        }
        print_line("")?;
        let others = if self.others > 0 {
            format!(", {} of them of more kinds than are told apart", self.others)
        } else {
            String::new()
        };
        print_line(format!(
            "{} messages could not be read; {} frames of them were kept{others}",
            self.quarantined, self.kept
        ))?;
        Ok(())
    }
}
