//! `sluice sinks`: how the running daemon's sinks are; switching them off and on; what their stores have put aside.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use super::{CliError, Context, Exit, Format, OutputArgs, api, print_json, print_line, print_table};
use crate::sink::{Parked, Resume, SinkChange, SinkRow, SinkState, SwitchedSink};

/// `sluice sinks`
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
    /// How all sinks are
    List(List),
    /// Switch a sink on, or have one that stopped try again at once
    Enable(Enable),
    /// Switch a sink off: it stops within one flush and holds nothing of the journal back
    Disable(Disable),
    /// Rows that a sink's store refused, and that were put aside
    Parked(ParkedArgs),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
struct Enable {
    /// Which sink
    name: String,
    /// Take what came while it was off
    #[arg(long, group = "resume")]
    catch_up: bool,
    /// Go on with new events only; the span between is recorded as lost to this sink
    #[arg(long, group = "resume")]
    start_now: bool,
    /// Go on with the store as it is now, whatever was known of it; what is missing there is created
    #[arg(long, group = "resume")]
    anew: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
struct Disable {
    /// Which sink
    name: String,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
struct ParkedArgs {
    /// Which sink
    name: String,
    /// At most so many, oldest first
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: usize,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        match self.command {
            None => list(context, self.output.output),
            Some(Command::List(list_args)) => list(context, list_args.output.output),
            Some(Command::Enable(enable)) => enable.run(context),
            Some(Command::Disable(Disable { name, output })) => {
                change(context, &name, SinkChange { enabled: false, resume: None }, output.output)
            }
            Some(Command::Parked(parked)) => parked.run(context),
        }
    }
}

fn rows(context: &Context) -> Result<Vec<SinkRow>, CliError> {
    read(&api::get(context, "/api/v1/sinks")?)
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

impl Enable {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let mut resume = match () {
            () if self.catch_up => Some(Resume::CatchUp),
            () if self.start_now => Some(Resume::StartNow),
            () if self.anew => Some(Resume::Anew),
            () => None,
        };
        if resume.is_none() && io::stdin().is_terminal() && io::stderr().is_terminal() {
            let row = rows(context)?.into_iter().find(|row| row.name == self.name);
            if let Some(row) = row.filter(|row| !row.enabled && row.lag_events != Some(0)) {
                resume = ask(&row)?;
            }
        }
        change(context, &self.name, SinkChange { enabled: true, resume }, self.output.output)
    }
}

/// Asks the person at the terminal; none where they do not say.
fn ask(row: &SinkRow) -> Result<Option<Resume>, CliError> {
    let behind = row.lag_events.map_or_else(|| "an unknown number of".to_owned(), |events| events.to_string());
    let failed = |error| CliError::new(Exit::No, "the terminal cannot be asked", error);
    let mut terminal = io::stderr().lock();
    write!(terminal, "sink {} is {behind} events behind. Catch up (c), or start now (s)? ", row.name)
        .map_err(failed)?;
    terminal.flush().map_err(failed)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(failed)?;
    Ok(match line.trim() {
        "c" | "catch up" | "catch_up" => Some(Resume::CatchUp),
        "s" | "start now" | "start_now" => Some(Resume::StartNow),
        _ => None,
    })
}

fn change(context: &Context, name: &str, change: SinkChange, format: Format) -> Result<Exit, CliError> {
    let body =
        serde_json::to_vec(&change).map_err(|error| CliError::new(Exit::No, "the request cannot be written", error))?;
    let answer = api::send(context, "PUT", &format!("/api/v1/sinks/{}", api::in_path(name)), Some(&body))?;
    let switched: SwitchedSink = read(&answer)?;
    match format {
        Format::Json => print_json(&switched)?,
        Format::Table => {
            if let Some(note) = &switched.note {
                writeln!(io::stderr().lock(), "note: {note}").ok();
            }
            let said = if switched.row.enabled { "is on" } else { "is off: it stops within one flush" };
            print_line(format!("{name} {said}"))?;
        }
    }
    Ok(Exit::Done)
}

impl ParkedArgs {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let path = format!("/api/v1/sinks/{}/parked?limit={}", api::in_path(&self.name), self.limit);
        let parked: Vec<Parked> = read(&api::get(context, &path)?)?;
        match self.output.output {
            Format::Json => print_json(&parked)?,
            Format::Table => {
                let header = ["OFFSET", "MONITOR", "DOMAIN", "PARKED", "REASON", "PAYLOAD"];
                let rows = parked.into_iter().map(|row| {
                    [
                        row.offset.to_string(),
                        row.monitor,
                        row.domain,
                        row.parked_time,
                        row.reason,
                        shortened(&row.payload),
                    ]
                });
                print_table(header, rows)?;
            }
        }
        Ok(Exit::Done)
    }
}

fn shortened(payload: &str) -> String {
    const CHARS_MAX: usize = 60;
    match payload.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &payload[..end]),
        None => payload.to_owned(),
    }
}

fn print(rows: Vec<SinkRow>) -> Result<(), CliError> {
    let errors: Vec<(String, String)> =
        rows.iter().filter_map(|row| Some((row.name.clone(), row.error.clone()?))).collect();
    let header = [
        "NAME", "KIND", "STATE", "CURSOR", "LAG", "LAG S", "P95 MS", "ROWS", "PARKED", "LOST", "FILES", "BYTES",
        "BREAKER",
    ];
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let rows = rows.into_iter().map(|row| {
        let state = if row.enabled || row.state == SinkState::Off { row.state.as_str() } else { "stopping" };
        [
            row.name,
            row.kind,
            state.to_owned(),
            or_dash(row.cursor.map(|cursor| cursor.to_string())),
            or_dash(row.lag_events.map(|events| events.to_string())),
            or_dash(row.lag_seconds.map(|seconds| format!("{seconds:.1}"))),
            or_dash(row.latency_ms.map(|latency| format!("{:.1}", latency.p95))),
            row.rows.to_string(),
            row.parked.to_string(),
            row.lost.to_string(),
            or_dash(row.files.map(|files| files.to_string())),
            or_dash(row.bytes.map(|bytes| bytes.to_string())),
            row.breaker.as_str().to_owned(),
        ]
    });
    print_table(header, rows)?;
    // Below, where they have room.
    for (name, error) in errors {
        print_line(format!("{name}: {error}"))?;
    }
    Ok(())
}
