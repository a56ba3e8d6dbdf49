//! `sluice report`: how the daemon did over a span, out of the journal, with and without a running daemon.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::exit::PrintError;
use super::reporting::{journal_of, unreadable};
use super::selection::moment;
use super::{CliError, Context, Exit, Format, OutputArgs};
use crate::clock::UnixNanos;
use crate::journal;
use crate::operating::{Asked, OperatingFormat, OperatingReport, measure};
use crate::rollout::report::Targets;

/// How far back it looks where nothing is said.
const SPAN: Duration = Duration::from_hours(24);

/// The longest baseline that is read.
const BASELINE_BYTES_MAX: u64 = 64 << 20;

/// The word for the span before in the place of a file.
const PREVIOUS: &str = "previous";

/// `sluice report`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// From when on: `24h` (ago), or RFC 3339 [default: 24 hours ago]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<UnixNanos>,
    /// Up to when: `1h` (ago), or RFC 3339 [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<UnixNanos>,
    /// In which form to report [default: table]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<OperatingFormat>,
    /// Set another report beside it: a file that was written by `--format json`, or `previous`, the span before
    #[arg(long, value_name = "FILE|previous")]
    compare: Option<PathBuf>,
    /// Write the report to this file
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let format = match (self.format, self.output.output) {
            (Some(form), Format::Json) if form != OperatingFormat::Json => {
                return Err(CliError::plain(Exit::Usage, "`--output json` and another `--format` do not go together"));
            }
            (_, Format::Json) => OperatingFormat::Json,
            (form, Format::Table) => form.unwrap_or(OperatingFormat::Table),
        };
        let now = UnixNanos::now();
        let until = self.until.unwrap_or(now).min(now);
        let since = self.since.unwrap_or_else(|| until.saturating_sub(SPAN));
        if since >= until {
            return Err(CliError::plain(Exit::Usage, format!("`--since` {since} is not before `--until` {until}")));
        }
        // Before it is measured: a file that is no baseline is told at once.
        let baseline = match &self.compare {
            Some(file) if file.as_os_str() != PREVIOUS => Some(read_baseline(file)?),
            _ => None,
        };
        let mut report = made(context, since, until)?;
        let baseline = match (baseline, &self.compare) {
            (None, Some(_)) => Some(made(context, since.saturating_sub(until.since(since)), since)?),
            (baseline, _) => baseline,
        };
        if let Some(baseline) = baseline {
            report.compare(&baseline);
        }
        let text = report.render(format);
        let text = text.map_err(|error| CliError::new(Exit::No, "the report cannot be written", error))?;
        if let Some(path) = &self.to {
            std::fs::write(path, text)
                .map_err(|error| CliError::new(Exit::No, format!("cannot write {}", path.display()), error))?;
            return Ok(Exit::Done);
        }
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(PrintError::from)?;
        Ok(Exit::Done)
    }
}

fn made(context: &Context, since: UnixNanos, until: UnixNanos) -> Result<OperatingReport, CliError> {
    let folder = journal::folder(&context.load()?.settings.daemon.data_dir);
    let running = journal::is_locked(&folder);
    let asked = |data_match| Asked { since, until, running, data_match };
    let mut measured = measure(&mut journal_of(context)?, asked(None)).map_err(unreadable)?;
    if measured.was_shadowed() {
        measured.set_data_match(super::canary_report::data_match(context, since, Some(until))?);
    }
    Ok(OperatingReport::new(&measured, &Targets::default()))
}

fn read_baseline(file: &Path) -> Result<OperatingReport, CliError> {
    let unusable = |error: Box<dyn std::error::Error + Send + Sync>| {
        let message =
            format!("{} is no baseline: write one by `sluice report --format json --to FILE`", file.display());
        CliError::new(Exit::Usage, message, error)
    };
    let length = std::fs::metadata(file).map_err(|error| unusable(error.into()))?.len();
    if length > BASELINE_BYTES_MAX {
        return Err(unusable(format!("it has {length} bytes").into()));
    }
    let text = std::fs::read(file).map_err(|error| unusable(error.into()))?;
    serde_json::from_slice(&text).map_err(|error| unusable(error.into()))
}
