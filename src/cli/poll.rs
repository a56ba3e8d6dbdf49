//! `sluice poll`: which monitors of the running daemon are polled over HTTP; holding one to it, or off it.

use super::{CliError, Context, Exit, Format, OutputArgs, api, change, print_json, print_line, print_table};
use crate::server::{PollAction, PollChange, PollRow};

/// `sluice poll`
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
    /// Poll a monitor, whatever its upstream does; over restarts too
    On(Change),
    /// Never poll it; over restarts too
    Off(Change),
    /// Poll it while its upstream's circuit is open, as `[monitors.NAME.poll]` says
    Auto(Change),
}

#[derive(Debug, clap::Args)]
struct Change {
    /// Which
    monitor: String,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let (change, action) = match self.command {
            None => {
                let rows: Vec<PollRow> = change::read(&api::get(context, "/api/v1/polls")?)?;
                print(rows, self.output.output)?;
                return Ok(Exit::Done);
            }
            Some(Command::On(change)) => (change, PollAction::On),
            Some(Command::Off(change)) => (change, PollAction::Off),
            Some(Command::Auto(change)) => (change, PollAction::Auto),
        };
        let body = serde_json::to_vec(&PollChange { action })
            .map_err(|error| CliError::new(Exit::No, "the request cannot be written", error))?;
        let path = format!("/api/v1/polls/{}", api::in_path(&change.monitor));
        let answer = api::send_patiently(context, "PUT", &path, Some(&body), api::CHANGE_PATIENCE)?;
        let rows: Vec<PollRow> = change::read(&answer)?;
        match change.output.output {
            Format::Json => print_json(&rows)?,
            Format::Table => print_line(format!("polling of {} is {}", change.monitor, action.as_str()))?,
        }
        Ok(Exit::Done)
    }
}

fn print(rows: Vec<PollRow>, format: Format) -> Result<(), CliError> {
    if format == Format::Json {
        return Ok(print_json(&rows)?);
    }
    if rows.is_empty() {
        return Ok(print_line("no monitor has a fall-back; declare one as `[monitors.NAME.poll]`")?);
    }
    let errors: Vec<String> =
        rows.iter().filter_map(|row| Some(format!("{}: {}", row.monitor, row.last_error.as_ref()?))).collect();
    let header = ["MONITOR", "UPSTREAM", "MODE", "FORCED", "SINCE", "POLLS", "EVENTS", "FAILURES"];
    let shown = rows.into_iter().map(|row| {
        [
            row.monitor,
            row.upstream,
            row.mode,
            row.forced.map_or("-", PollAction::as_str).to_owned(),
            row.since.unwrap_or_else(|| "-".into()),
            row.polls.to_string(),
            row.events.to_string(),
            row.failures.to_string(),
        ]
    });
    print_table(header, shown)?;
    for error in errors {
        print_line(error)?;
    }
    Ok(())
}
