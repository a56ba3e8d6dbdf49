//! `sluice canary`: the share of monitors on the smart path, the plan that raises it by steps, and what the guard makes of it.

use std::io::{self, Write as _};

use super::canary_text::{print_answer, print_status, view};
use super::run::journal_error;
use super::{CliError, Context, Exit, Format, OutputArgs, api, change, print_json, print_table};
use crate::clock::UnixNanos;
use crate::journal::{self, JournalReader};
use crate::rollout::Fraction;
use crate::rollout::history::{self, CanaryRow};
use crate::server::{CanaryAction, CanaryAnswer, CanaryRequest, CanaryStatus};

/// Decisions that a table shows when no limit is given.
const TABLE_LIMIT: usize = 50;

/// `sluice canary`
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

// Not a doc comment: clap would print it as what the command does.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// How the change-over stands: fraction, paths, plan, guard
    Status(Output),
    /// Put a share of the monitors on the smart path; over restarts too
    Set(Set),
    /// Take back what was decided at run time: the settings' own fraction counts again
    Clear(Decide),
    /// Every decision, out of the journal; with or without a running daemon
    History(History),
    /// Watch stage, time left, both paths' figures and the guard
    Watch(super::canary_watch::Watch),
    /// Hold both paths against the targets of a change-over; with and without a running daemon
    Report(Box<super::canary_report::ReportOfPaths>),
    /// Have the plan wait
    Pause(Decide),
    /// Have the plan go on
    Resume(Decide),
    /// Give the plan up: monitors go back to where they were before it
    Abort(Abort),
    /// The plan that `[rollout]` declares; starting it
    Plan(PlanArgs),
}

#[derive(Debug, clap::Args)]
struct Output {
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
struct Set {
    /// From 0 to 1, or from 0% to 100%
    #[arg(allow_negative_numbers = true)]
    fraction: Fraction,
    #[command(flatten)]
    decide: Decide,
}

#[derive(Debug, clap::Args)]
struct Abort {
    /// Leave monitors where they are
    #[arg(long)]
    stay: bool,
    #[command(flatten)]
    decide: Decide,
}

#[derive(Debug, clap::Args)]
struct Decide {
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only say what would be
    #[arg(long)]
    dry_run: bool,
    /// Also where the guard has taken monitors back a short time ago
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
struct History {
    /// What was decided since: `1d` (ago), or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = super::selection::moment)]
    since: Option<UnixNanos>,
    /// The most decisions to print, the newest (default: 50 in a table, 10,000 as JSON)
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
struct PlanArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: Option<PlanCommand>,
}

// Not a doc comment, as above.
#[derive(Debug, clap::Subcommand)]
enum PlanCommand {
    /// Enter one stage after the other, as long as all is well
    Start(Decide),
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let request = |action| CanaryRequest { action, ..CanaryRequest::default() };
        match self.command {
            None => show_status(context, self.output.output),
            Some(Command::Status(Output { output })) => show_status(context, output.output),
            Some(Command::Set(Set { fraction, decide })) => {
                decide.run(context, &CanaryRequest { fraction: Some(fraction), ..CanaryRequest::default() })
            }
            Some(Command::Clear(decide)) => decide.run(context, &request(CanaryAction::Clear)),
            Some(Command::Pause(decide)) => decide.run(context, &request(CanaryAction::Pause)),
            Some(Command::Resume(decide)) => decide.run(context, &request(CanaryAction::Resume)),
            Some(Command::Abort(Abort { stay, decide })) => {
                decide.run(context, &CanaryRequest { stay, ..request(CanaryAction::Abort) })
            }
            Some(Command::Plan(PlanArgs { command: Some(PlanCommand::Start(decide)), .. })) => {
                decide.run(context, &request(CanaryAction::Start))
            }
            Some(Command::Plan(PlanArgs { command: None, output })) => show_plan(context, output.output),
            Some(Command::History(history)) => history.run(context),
            Some(Command::Report(report)) => report.run(context),
            Some(Command::Watch(watch)) => watch.run(context),
        }
    }
}

/// Asks the daemon how the change-over stands.
pub(super) fn status(context: &Context) -> Result<CanaryStatus, CliError> {
    change::read(&api::get(context, "/api/v1/canary")?)
}

fn show_status(context: &Context, format: Format) -> Result<Exit, CliError> {
    let status = status(context)?;
    match format {
        Format::Json => print_json(&status)?,
        Format::Table => print_status(&status)?,
    }
    Ok(Exit::Done)
}

fn show_plan(context: &Context, format: Format) -> Result<Exit, CliError> {
    let status = status(context)?;
    match format {
        Format::Json => print_json(&status.plan)?,
        Format::Table => view::print_plan(&status.plan)?,
    }
    Ok(Exit::Done)
}

impl Decide {
    fn run(self, context: &Context, request: &CanaryRequest) -> Result<Exit, CliError> {
        let Self { reason, dry_run, force, output } = self;
        let request = CanaryRequest { reason, dry_run, force, ..request.clone() };
        let body = serde_json::to_vec(&request)
            .map_err(|error| CliError::new(Exit::No, "the request cannot be written", error))?;
        let answer = api::send_patiently(context, "PUT", "/api/v1/canary", Some(&body), api::CHANGE_PATIENCE)?;
        let answer: CanaryAnswer = change::read(&answer)?;
        match output.output {
            Format::Json => print_json(&answer)?,
            Format::Table => print_answer(&answer)?,
        }
        Ok(Exit::Done)
    }
}

impl History {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let Self { since, limit, output } = self;
        let folder = journal::folder(&context.load()?.settings.daemon.data_dir);
        let mut reader = JournalReader::open(&folder).map_err(journal_error)?;
        let all = if output.output == Format::Json { 10_000 } else { TABLE_LIMIT };
        let (rows, more) = history::read(&mut reader, since, limit.unwrap_or(all)).map_err(journal_error)?;
        if output.output == Format::Json {
            print_json(&rows)?;
            return Ok(Exit::Done);
        }
        let nothing = rows.is_empty();
        if !nothing {
            let shown = rows.into_iter().map(|CanaryRow { offset, event }| {
                [
                    event.time,
                    offset.to_string(),
                    event.what.as_str().to_owned(),
                    event.from.to_string(),
                    event.to.to_string(),
                    event.by.as_str().to_owned(),
                    event.reason.unwrap_or_default(),
                ]
            });
            print_table(["TIME", "OFFSET", "WHAT", "FROM", "TO", "BY", "REASON"], shown)?;
        }
        let mut note = io::stderr().lock();
        // A note for people, beside the data: its loss costs nothing.
        if nothing {
            writeln!(note, "nothing was decided").ok();
        } else if more {
            writeln!(note, "… and older ones; see them with --limit").ok();
        }
        Ok(Exit::Done)
    }
}
