//! `sluice selftest`: whether this program does on this machine what it promises, end to end, with a daemon and a feed of its own.
//!
//! `workshop` is the daemon, its folder and the simulated feed; `steps` is what is tried with them.

mod steps;
mod workshop;

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use self::steps::STEPS;
use self::workshop::Workshop;
use super::{CliError, Context, Exit, Format, OutputArgs, print_json, print_line, print_table};

/// `sluice selftest`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    output: OutputArgs,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Went {
    /// As promised.
    Ok,
    /// Not as promised.
    Failed,
    /// It was not tried, because of what failed before it.
    Skipped,
}

/// A step of the test.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct StepRow {
    step: &'static str,
    result: Went,
    /// How long it took.
    ms: u64,
    /// What was seen.
    found: String,
}

/// The test, for programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Summary {
    steps: Vec<StepRow>,
    passed: usize,
    total: usize,
    /// Percent of the steps that went as promised.
    success_rate: f64,
    ms: u64,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        if context.file.is_some() {
            return Err(CliError::plain(
                Exit::Usage,
                "the self-test has settings of its own, so --config does not go with it; `sluice config doctor` looks at yours, and \
                 --set changes single settings of the test",
            ));
        }
        let began = Instant::now();
        let mut workshop = Workshop::open(context)?;
        let mut steps: Vec<StepRow> = Vec::with_capacity(STEPS.len());
        for step in STEPS {
            let broken = steps.iter().find(|row| row.result != Went::Ok && step.needs.contains(&row.step));
            let row = if let Some(broken) = broken {
                let found = format!("needs `{}`", broken.step);
                StepRow { step: step.name, result: Went::Skipped, ms: 0, found }
            } else {
                let began = Instant::now();
                let (result, found) = match (step.run)(&mut workshop) {
                    Ok(found) => (Went::Ok, found),
                    Err(reason) => (Went::Failed, reason),
                };
                StepRow { step: step.name, result, ms: millis(began.elapsed()), found }
            };
            steps.push(row);
        }
        if steps.iter().any(|row| row.result == Went::Failed) {
            let last = workshop.last_words();
            if let (Some(row), false) = (steps.iter_mut().find(|row| row.result == Went::Failed), last.is_empty()) {
                row.found = format!("{}; the daemon's last words: {last}", row.found);
            }
        }
        workshop.close()?;
        let (passed, total) = (steps.iter().filter(|row| row.result == Went::Ok).count(), steps.len());
        #[expect(clippy::cast_precision_loss, reason = "a percentage of a dozen is a float")]
        let success_rate = (passed as f64 / total as f64 * 1000.0).round() / 10.0;
        let summary = Summary { steps, passed, total, success_rate, ms: millis(began.elapsed()) };
        match self.output.output {
            Format::Json => print_json(&summary)?,
            Format::Table => print(&summary)?,
        }
        Ok(if passed == total { Exit::Done } else { Exit::No })
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn print(summary: &Summary) -> Result<(), CliError> {
    let rows = summary.steps.iter().map(|row| {
        let result = match row.result {
            Went::Ok => "ok",
            Went::Failed => "failed",
            Went::Skipped => "skipped",
        };
        [row.step.to_owned(), result.to_owned(), format!("{} ms", row.ms), row.found.clone()]
    });
    print_table(["STEP", "RESULT", "TIME", "FOUND"], rows)?;
    let Summary { passed, total, success_rate, ms, .. } = summary;
    #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
    let seconds = *ms as f64 / 1000.0;
    print_line(format!("\n{passed} of {total} steps as promised ({success_rate} %) in {seconds:.1} s"))?;
    Ok(())
}
