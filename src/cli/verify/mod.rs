//! `sluice verify`: what stores hold against the journal, and one path against the other.
//!
//! | file     | compares                                                            |
//! |----------|---------------------------------------------------------------------|
//! | `sinks`  | what a sink of ours wrote, by offset                                |
//! | `others` | what others wrote, by key and id; the legacy path with the smart one |
//! | `target` | what `--against` means                                              |

mod others;
mod sinks;
mod target;

use self::target::Target;
use super::reporting::{ComparingArgs, ReportArgs};
use super::{CliError, Context, Exit};
use crate::clock::UnixNanos;
use crate::journal::Path;

/// `sluice verify`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this sink; with `--against` a sink's store: whose filter and cursor hold
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// Compare with this, and none of the settings' sinks: `legacy`, `sqlite:FILE?table=NAME`, `postgres:URL?table=NAME`,
    /// `jsonl:FILE`; or a sink's store: `sqlite:FOLDER`, `jsonl:FOLDER`, `postgres:URL`
    #[arg(long, value_name = "WHAT")]
    against: Option<String>,
    /// Which column (or JSON Pointer) of a table is what: `id=trade_id`; parts are id, key, payload, time, time_unit, monitor,
    /// domain, topic and path, and `-` is no column (may be repeated)
    #[arg(long, value_name = "PART=COLUMN")]
    map: Vec<String>,
    /// Received at or after: `5m` (ago), or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = super::selection::moment)]
    since: Option<UnixNanos>,
    /// Received before: `5m` (ago), or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = super::selection::moment)]
    until: Option<UnixNanos>,
    /// Of a sink's store: from this offset on
    #[arg(long, value_name = "OFFSET")]
    from: Option<u64>,
    /// Of a sink's store: up to, but without, this offset
    #[arg(long, value_name = "OFFSET")]
    to: Option<u64>,
    /// Only this monitor (may be repeated)
    #[arg(long, value_name = "NAME")]
    monitor: Vec<String>,
    /// Only this domain (may be repeated)
    #[arg(long, value_name = "NAME")]
    domain: Vec<String>,
    /// Only this topic (may be repeated)
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// Only events of this path
    #[arg(long, value_name = "PATH", value_parser = path)]
    path: Option<Path>,
    /// Of TLS to a PostgreSQL: certificates to trust
    #[arg(long, value_name = "FILE")]
    ca_file: Option<std::path::PathBuf>,
    #[command(flatten)]
    comparing: ComparingArgs,
    #[command(flatten)]
    report: ReportArgs,
}

fn path(text: &str) -> Result<Path, String> {
    [Path::Smart, Path::Legacy]
        .into_iter()
        .find(|path| path.as_str() == text)
        .ok_or_else(|| format!("`{text}` is no path; write smart or legacy"))
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let backwards =
            |from: Option<i128>, to: Option<i128>| matches!((from, to), (Some(from), Some(to)) if from >= to);
        let number = |time: Option<UnixNanos>| time.map(|time| i128::from(time.0));
        if backwards(number(self.since), number(self.until))
            || backwards(self.from.map(i128::from), self.to.map(i128::from))
        {
            return Err(usage("the span ends before it begins; nothing was compared"));
        }
        self.report.format()?;
        let target = self.against.as_deref().map(|against| target::parse(against, &self.map)).transpose()?;
        match target {
            None if !self.map.is_empty() => Err(usage("`--map` is about a table; name it by `--against`")),
            None => self.sinks(context, None),
            Some(Target::Store(store)) => self.sinks(context, Some(store)),
            Some(Target::Legacy) => self.without_offsets("legacy")?.paths(context),
            Some(Target::Table(table)) => self.without_offsets("a table")?.table(context, table),
        }
    }

    /// A sink's store is compared by offset, with nothing but a span.
    fn sinks(&self, context: &Context, store: Option<Box<crate::config::SinkSettings>>) -> Result<Exit, CliError> {
        let named = [
            ("--monitor", !self.monitor.is_empty()),
            ("--domain", !self.domain.is_empty()),
            ("--topic", !self.topic.is_empty()),
            ("--path", self.path.is_some()),
            ("--map", !self.map.is_empty()),
            ("--payload", self.comparing.payload().is_some()),
            ("--ca-file", self.ca_file.is_some()),
        ];
        if let Some((option, _)) = named.iter().find(|(_, named)| *named) {
            return Err(usage(&format!(
                "a sink's store is compared whole: `{option}` goes with `--against legacy` or a table, such as \
                 sqlite:FILE?table=NAME"
            )));
        }
        sinks::run(self, context, store.as_deref())
    }

    fn without_offsets(self, what: &str) -> Result<Self, CliError> {
        if self.from.is_some() || self.to.is_some() {
            return Err(usage(&format!("{what} knows no offsets; name a span of time by `--since` and `--until`")));
        }
        if self.sink.is_some() {
            return Err(usage(&format!("`--sink` says nothing of {what}")));
        }
        Ok(self)
    }
}

fn usage(text: &str) -> CliError {
    CliError::plain(Exit::Usage, text)
}
