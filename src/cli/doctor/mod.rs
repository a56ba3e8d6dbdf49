//! `sluice config doctor`: whether what the settings name is there and works, tried without changing anything.
//!
//! | file       | looks at                                                          |
//! |------------|-------------------------------------------------------------------|
//! | `host`     | files that may be open, disks, folders, the clock, port and token |
//! | `reach`    | names, TCP, certificates, the clocks of servers                   |
//! | `upstream` | an upstream: reached, logged in to, one topic asked for           |
//! | `sink`     | a sink: reached, its rights                                       |

mod finding;
mod host;
mod reach;
mod sink;
mod upstream;

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream;

use self::finding::{Finding, Verdict};
use super::config::{check_loaded, fitted};
use super::{CliError, Context, Exit, Format, OutputArgs, print_json, print_line, print_table};
use crate::config::units::parse_duration;
use crate::config::{Base, Loaded};
use crate::credentials::Scrubber;

/// Checks that go on at once. Source: a guess; each is a connection or two.
const AT_ONCE: usize = 16;

/// `sluice config doctor`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this upstream; may be repeated
    #[arg(long, value_name = "NAME")]
    upstream: Vec<String>,
    /// The longest that each step of a check may take
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10s")]
    timeout: Duration,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let options = context.options()?;
        let base = Base::read(&options)?;
        let loaded = fitted(&base, &options.run_time)?.loaded;
        if let Some(name) = self.upstream.iter().find(|name| !loaded.settings.upstreams.contains_key(*name)) {
            let known: Vec<&str> = loaded.settings.upstreams.keys().map(String::as_str).collect();
            let message =
                format!("the settings have no upstream `{}`; there are: {}", name.escape_debug(), known.join(", "));
            return Err(CliError::plain(Exit::Usage, message));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| CliError::new(Exit::No, "the doctor cannot be started", error))?;
        let scrubber = Scrubber::new(base.hidden(), &options.environment);
        let mut findings = runtime.block_on(self.look(&loaded));
        // A name that is looked up has a thread that cannot be stopped.
        runtime.shutdown_background();
        for finding in &mut findings {
            // Servers are quoted, and may repeat what they were told.
            finding.found = scrubber.scrub(&finding.found);
            finding.advice = finding.advice.as_deref().map(|advice| scrubber.scrub(advice));
        }
        match self.output.output {
            Format::Json => print_json(&findings)?,
            Format::Table => print(&findings)?,
        }
        Ok(if count(&findings, Verdict::Failed) == 0 { Exit::Done } else { Exit::No })
    }

    async fn look(&self, loaded: &Loaded) -> Vec<Finding> {
        let settings = &loaded.settings;
        let mut checks: Vec<LocalBoxFuture<'_, Vec<Finding>>> = Vec::new();
        if self.upstream.is_empty() {
            checks.push(Box::pin(async { vec![settings_check(loaded)] }));
            checks.push(Box::pin(async { host::look(settings).await }));
        }
        let wanted = |name: &&String| self.upstream.is_empty() || self.upstream.contains(name);
        for name in settings.upstreams.keys().filter(wanted) {
            checks.push(Box::pin(upstream::look(name, settings, self.timeout)));
        }
        if self.upstream.is_empty() {
            for (name, sink) in settings.sinks.iter().filter(|(_, sink)| sink.enabled) {
                checks.push(Box::pin(sink::look(name, sink, settings, self.timeout)));
            }
        }
        stream::iter(checks).buffered(AT_ONCE).concat().await
    }
}

/// What `sluice config check` says.
fn settings_check(loaded: &Loaded) -> Finding {
    let shown = loaded.file.as_ref().map_or_else(|| "built-in defaults".to_owned(), |path| path.display().to_string());
    let check = finding::Check::new("settings", "");
    match check_loaded(loaded) {
        Ok(()) => check.ok(shown),
        Err(error) => check.broken(error.to_string()),
    }
}

fn count(findings: &[Finding], verdict: Verdict) -> usize {
    findings.iter().filter(|finding| finding.result == verdict).count()
}

fn print(findings: &[Finding]) -> Result<(), CliError> {
    let rows = findings.iter().map(|finding| {
        let advice = finding.advice.as_ref().map(|advice| format!("\n→ {advice}")).unwrap_or_default();
        let found = format!("{}{advice}", finding.found);
        [finding.result.as_str().to_owned(), finding.check.to_owned(), finding.subject.clone(), found]
    });
    print_table(["RESULT", "CHECK", "SUBJECT", "FOUND, AND WHAT TO DO"], rows)?;
    let counted = [Verdict::Ok, Verdict::Warning, Verdict::Failed, Verdict::Skipped]
        .map(|verdict| format!("{} {}", count(findings, verdict), verdict.as_str()));
    print_line(format!("\n{}", counted.join(", ")))?;
    Ok(())
}
