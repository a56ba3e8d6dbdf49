//! `sluice monitors compare`: a monitor on both paths, out of the journal, with and without a running daemon.

use super::reporting::{ComparingArgs, ReportArgs, compare_error, unreadable};
use super::{CliError, Context, Exit};
use crate::clock::UnixNanos;
use crate::config::DedupeScope;
use crate::journal;
use crate::recovery::compare::Span;
use crate::rollout::shadow::{PathsError, PathsRequest, compare_paths};

/// `sluice monitors compare`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which [default: all that had a shadow]
    names: Vec<String>,
    /// Received at or after: `5m` (ago), or RFC 3339 [default: when the last shadow began]
    #[arg(long, value_name = "TIME", value_parser = super::selection::moment)]
    since: Option<UnixNanos>,
    /// Received before: `5m` (ago), or RFC 3339 [default: when the last shadow ended]
    #[arg(long, value_name = "TIME", value_parser = super::selection::moment)]
    until: Option<UnixNanos>,
    /// Only this topic (may be repeated)
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    #[command(flatten)]
    comparing: ComparingArgs,
    #[command(flatten)]
    report: ReportArgs,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since >= until
        {
            return Err(CliError::plain(Exit::Usage, "the span ends before it begins; nothing was compared"));
        }
        let request = PathsRequest {
            monitors: self.names,
            domains: Vec::new(),
            topics: self.topic,
            span: Span { since: self.since, until: self.until },
            tolerance: self.comparing.tolerance,
            join: self.comparing.join(),
            payload: self.comparing.payload().unwrap_or_default(),
            ids_by_topic: std::collections::HashSet::new(),
        };
        compare_and_report(context, request, &self.comparing, &self.report)
    }
}

/// Compares the paths and says what came of it.
pub(super) fn compare_and_report(
    context: &Context,
    mut request: PathsRequest,
    comparing: &ComparingArgs,
    report: &ReportArgs,
) -> Result<Exit, CliError> {
    report.format()?;
    let settings = context.load()?.settings;
    let by_topic = settings.monitors.iter().filter(|(_, monitor)| monitor.dedupe == DedupeScope::Topic);
    request.ids_by_topic = by_topic.map(|(name, _)| name.clone()).collect();
    let room = comparing.room(context)?;
    let folder = journal::folder(&settings.daemon.data_dir);
    let mut shown = comparing.shown();
    let compared = compare_paths(&folder, &request, &room, &mut |progress| shown.look(progress));
    shown.end();
    let compared = compared.map_err(|error| match error {
        PathsError::Nothing(text) => CliError::plain(Exit::Usage, text),
        PathsError::Journal(error) => unreadable(error),
        PathsError::Compare(error) => compare_error(error),
    })?;
    report.give(&compared.report(), &compared)?;
    Ok(if compared.equal { Exit::Done } else { Exit::No })
}
