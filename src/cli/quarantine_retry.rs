//! `sluice quarantine retry`: quarantined frames are parsed again, by the running daemon, because it alone has the dedupe
//! window and the rules in force.

use std::io::Write;
use std::time::Duration;

use super::{CliError, Context, Exit, Format, OutputArgs, api, print_json, print_table};
use crate::clock::UnixNanos;
use crate::server::{RetryOutcome, RetryReport, RetryRequest};

/// The longest the daemon may take. Source: a guess; a look at all headers of a journal of 50 GiB is below it.
const PATIENCE: Duration = Duration::from_mins(10);

/// `sluice quarantine retry`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only the frames at these offsets, as `list` has them
    #[arg(value_name = "OFFSET")]
    offsets: Vec<u64>,
    /// Only those of this monitor (`upstream:NAME` for frames that belong to none)
    #[arg(long, value_name = "NAME")]
    monitor: Option<String>,
    /// Received at or after: `5m` (ago), or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = super::selection::moment)]
    since: Option<UnixNanos>,
    /// The most frames, oldest first (default: 10000, at most 100000)
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Parse them and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let named = !self.offsets.is_empty();
        let request = RetryRequest {
            offsets: self.offsets,
            monitor: self.monitor,
            since: self.since.map(|since| since.to_string()),
            limit: self.limit,
            dry_run: self.dry_run,
        };
        let body = serde_json::to_vec(&request).map_err(|error| CliError::from_error(Exit::No, error))?;
        let answer = api::send_patiently(context, "POST", "/api/v1/quarantine/retry", Some(&body), PATIENCE)?;
        let foreign = |error| CliError::new(Exit::No, "the daemon's answer is in no form we know", error);
        let report: RetryReport = serde_json::from_slice(&answer.body).map_err(foreign)?;
        let all_done = report.frames.iter().all(|row| row.outcome.is_done());
        match self.output.output {
            Format::Json => print_json(&report)?,
            Format::Table => show(&report)?,
        }
        // Of frames that nobody named some are rubbish for ever; one that was named is a question.
        Ok(if named && !all_done { Exit::No } else { Exit::Done })
    }
}

fn show(report: &RetryReport) -> Result<(), CliError> {
    let rows = report.frames.iter().map(|row| {
        [
            row.offset.to_string(),
            row.monitor.clone().unwrap_or_default(),
            row.outcome.as_str().to_owned(),
            row.events.to_string(),
            row.first_event.map(|offset| offset.to_string()).unwrap_or_default(),
            row.reason.clone().unwrap_or_default(),
        ]
    });
    print_table(["OFFSET", "MONITOR", "OUTCOME", "EVENTS", "FIRST", "REASON"], rows)?;
    let count = |wanted: &[RetryOutcome]| report.frames.iter().filter(|row| wanted.contains(&row.outcome)).count();
    let events: u64 = report.frames.iter().map(|row| u64::from(row.events)).sum();
    let left = report.frames.iter().filter(|row| !row.outcome.is_done()).count();
    let mut note = std::io::stderr().lock();
    let verb = if report.dry_run { "would give" } else { "gave" };
    // A note for people, beside the data: its loss costs nothing.
    writeln!(
        note,
        "{} frames: {} {verb} {events} events, {} are repeats, {} are no events, {left} stay in quarantine",
        report.frames.len(),
        count(&[RetryOutcome::Event]),
        count(&[RetryOutcome::Repeat]),
        count(&[RetryOutcome::Control]),
    )
    .ok();
    if report.dry_run {
        writeln!(note, "dry run: nothing was changed; repeats are told from events only when it is done").ok();
    } else if !report.durable {
        writeln!(note, "not all of it is durable yet; it is on its way").ok();
    }
    if report.more {
        writeln!(note, "… and more frames are left; run it again").ok();
    }
    Ok(())
}
