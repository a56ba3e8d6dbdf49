//! `sluice canary report`: both paths against the targets of a change-over, out of the journal, with and without a running daemon.

use std::time::Duration;

use super::reporting::{ComparingArgs, ReportArgs, compare_error, journal_of, unreadable};
use super::{CliError, Context, Exit};
use crate::clock::UnixNanos;
use crate::config::DedupeScope;
use crate::journal;
use crate::recovery::compare::Span;
use crate::rollout::measured::measure;
use crate::rollout::report::{CanaryReport, Go, Targets};
use crate::rollout::shadow::{PathsError, PathsRequest, compare_paths};

/// How far back it looks where nothing is said.
const SPAN: Duration = Duration::from_hours(24);

/// `sluice canary report`
#[derive(Debug, clap::Args)]
pub(super) struct ReportOfPaths {
    /// Received at or after: `5m` (ago), or RFC 3339 [default: 24 hours ago]
    #[arg(long, value_name = "TIME", value_parser = super::selection::moment)]
    since: Option<UnixNanos>,
    #[command(flatten)]
    comparing: ComparingArgs,
    #[command(flatten)]
    report: ReportArgs,
}

impl ReportOfPaths {
    pub(super) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        self.report.format()?;
        let until = UnixNanos::now();
        let since = self.since.unwrap_or_else(|| until.saturating_sub(SPAN));
        let data_match = data_match_by(context, Span { since: Some(since), until: None }, &self.comparing)?;
        let figures = measure(&mut journal_of(context)?, since, until, data_match).map_err(unreadable)?;
        let report = CanaryReport::new(&Targets::default(), &figures);
        self.report.give(&report.report(), &report)?;
        Ok(if report.verdict == Go::NoGo { Exit::No } else { Exit::Done })
    }
}

/// What both paths have alike; none where they had nothing together.
pub(super) fn data_match(
    context: &Context,
    since: UnixNanos,
    until: Option<UnixNanos>,
) -> Result<Option<f64>, CliError> {
    data_match_by(context, Span { since: Some(since), until }, &ComparingArgs::default())
}

fn data_match_by(context: &Context, span: Span, comparing: &ComparingArgs) -> Result<Option<f64>, CliError> {
    let settings = context.load()?.settings;
    let by_topic = settings.monitors.iter().filter(|(_, monitor)| monitor.dedupe == DedupeScope::Topic);
    let request = PathsRequest {
        monitors: Vec::new(),
        domains: Vec::new(),
        topics: Vec::new(),
        span,
        tolerance: comparing.tolerance,
        join: comparing.join(),
        payload: comparing.payload().unwrap_or_default(),
        ids_by_topic: by_topic.map(|(name, _)| name.clone()).collect(),
    };
    let (room, mut shown) = (comparing.room(context)?, comparing.shown());
    let folder = journal::folder(&settings.daemon.data_dir);
    let compared = compare_paths(&folder, &request, &room, &mut |progress| shown.look(progress));
    shown.end();
    match compared {
        Ok(compared) => Ok(compared.counts.data_match),
        Err(PathsError::Nothing(_)) => Ok(None),
        Err(PathsError::Journal(error)) => Err(unreadable(error)),
        Err(PathsError::Compare(error)) => Err(compare_error(error)),
    }
}
