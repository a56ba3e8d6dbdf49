//! `sluice circuits`: how the running daemon's circuit breakers are; holding one open or closed, and letting it go.

use super::{CliError, Context, Exit, Format, OutputArgs, api, print_json, print_line, print_table};
use crate::breaker::{CircuitKind, Forced};
use crate::circuits::{CircuitAction, CircuitChange, CircuitRow};

/// `sluice circuits`
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
    /// How all circuit breakers are
    List(List),
    /// Hold one open: no call passes, until it is reset; over restarts too
    Open(Change),
    /// Hold one closed: every call passes, whatever comes of it, until it is reset; over restarts too
    Close(Change),
    /// Let one go: closed, with no failures behind it
    Reset(Change),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
struct Change {
    /// Of which upstream, sink or channel
    name: String,
    /// Which is meant, where several have that name: the sink, the channel of notifications, or an upstream's connects, token, backfill or polling
    #[arg(long)]
    kind: Option<Kind>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    Upstream,
    Sink,
    Backfill,
    Poll,
    #[value(name = "look_up")]
    LookUp,
    Token,
    Channel,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        match self.command {
            None => list(context, self.output.output),
            Some(Command::List(list_args)) => list(context, list_args.output.output),
            Some(Command::Open(change)) => change.run(context, CircuitAction::Open),
            Some(Command::Close(change)) => change.run(context, CircuitAction::Close),
            Some(Command::Reset(change)) => change.run(context, CircuitAction::Reset),
        }
    }
}

fn rows(context: &Context) -> Result<Vec<CircuitRow>, CliError> {
    read(&api::get(context, "/api/v1/circuits")?)
}

fn read<T: serde::de::DeserializeOwned>(answer: &api::Answer) -> Result<T, CliError> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| CliError::new(Exit::No, "the daemon's answer cannot be read", error))
}

fn list(context: &Context, format: Format) -> Result<Exit, CliError> {
    let rows = rows(context)?;
    match format {
        Format::Json => print_json(&rows)?,
        Format::Table => print(rows)?,
    }
    Ok(Exit::Done)
}

impl Change {
    fn run(self, context: &Context, action: CircuitAction) -> Result<Exit, CliError> {
        let kind = self.kind(&rows(context)?)?;
        let body = serde_json::to_vec(&CircuitChange { action })
            .map_err(|error| CliError::new(Exit::No, "the request cannot be written", error))?;
        let path = format!("/api/v1/circuits/{}/{}", kind.as_str(), api::in_path(&self.name));
        let row: CircuitRow = read(&api::send(context, "PUT", &path, Some(&body))?)?;
        match self.output.output {
            Format::Json => print_json(&row)?,
            Format::Table => {
                let held = if row.forced.is_some() { "is held" } else { "is let go, and" };
                print_line(format!("circuit of {} {} {held} {}", kind.as_str(), row.name, row.state.as_str()))?;
            }
        }
        Ok(Exit::Done)
    }

    /// Which of the circuits is meant. An unknown one is left to the daemon, which says so.
    fn kind(&self, rows: &[CircuitRow]) -> Result<CircuitKind, CliError> {
        let mut kinds = rows.iter().filter(|row| row.name == self.name).map(|row| row.kind);
        match (self.kind, kinds.next(), kinds.next()) {
            (Some(Kind::Upstream), ..) => Ok(CircuitKind::Upstream),
            (Some(Kind::Sink), ..) => Ok(CircuitKind::Sink),
            (Some(Kind::Backfill), ..) => Ok(CircuitKind::Backfill),
            (Some(Kind::Poll), ..) => Ok(CircuitKind::Poll),
            (Some(Kind::LookUp), ..) => Ok(CircuitKind::LookUp),
            (Some(Kind::Token), ..) => Ok(CircuitKind::Token),
            (Some(Kind::Channel), ..) => Ok(CircuitKind::Channel),
            (None, Some(one), Some(other)) => {
                let (one, other) = (one.as_str(), other.as_str());
                let message = format!(
                    "`{}` has circuits of several kinds; say which: `--kind {one}` or `--kind {other}`",
                    self.name
                );
                Err(CliError::plain(Exit::Usage, message))
            }
            (None, Some(kind), None) => Ok(kind),
            (None, None, _) => Err(CliError::plain(
                Exit::No,
                format!("there is no circuit `{}`; `sluice circuits` lists them", self.name),
            )),
        }
    }
}

fn print(rows: Vec<CircuitRow>) -> Result<(), CliError> {
    let errors: Vec<(String, String)> =
        rows.iter().filter_map(|row| Some((row.name.clone(), row.last_error.clone()?))).collect();
    let header = ["NAME", "KIND", "STATE", "FORCED", "SINCE", "FAILURES", "ALL FAILURES", "OPENINGS"];
    let rows = rows.into_iter().map(|row| {
        [
            row.name,
            row.kind.as_str().to_owned(),
            if row.enabled { row.state.as_str() } else { "disabled" }.to_owned(),
            row.forced.map_or("-", Forced::as_str).to_owned(),
            row.since,
            row.failures.to_string(),
            row.failures_total.to_string(),
            row.openings.to_string(),
        ]
    });
    print_table(header, rows)?;
    // Below, where they have room.
    for (name, error) in errors {
        print_line(format!("{name}: {error}"))?;
    }
    Ok(())
}
