//! `sluice monitors`: how the running daemon's monitors are; stopping and starting them, putting them to rest.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::ValueEnum;

use super::api::{self, CHANGE_PATIENCE, in_path};
use super::selection::path;
use super::{
    CliError, Context, Exit, Format, OutputArgs, change, monitors_compare, print_json, print_line, print_table,
};
use crate::config::Priority;
use crate::config::units::parse_duration;
use crate::journal::Path;
use crate::server::{MonitorRow, MonitorState, MonitorVerdict, ShadowRow, StateAnswer, StateRequest};

/// `sluice monitors`
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(flatten)]
    list: List,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only those on this path
    #[arg(long, value_name = "smart|legacy", value_parser = path)]
    path: Option<Path>,
    #[command(flatten)]
    output: OutputArgs,
}

// Not a doc comment: clap would print it as what the command does.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// How all monitors are
    List(List),
    /// Say of each monitor whether it is well: settings, upstream, topics, data, parse rate
    Verify(Verify),
    /// Hold what the smart path has of monitors against what the legacy path has; of a shadow, say
    Compare(Box<monitors_compare::Args>),
    /// Stop monitors: they take nothing until they are started, over restarts too
    Stop(Named),
    /// Start monitors that were stopped or rest
    Start(Named),
    /// Take a monitor by both paths for a time, to compare them; what the other path brings goes to `_shadow.DOMAIN`
    Shadow(Shadow),
    /// Put monitors to rest, to leave room for others; what they miss is recorded as gaps
    Rest(Rest),
    /// Wake monitors that rest
    Wake(Wake),
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// Which [default: all]
    name: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
struct Named {
    /// Which
    #[arg(required_unless_present = "path")]
    names: Vec<String>,
    /// All that are on this path
    #[arg(long, value_name = "smart|legacy", value_parser = path, conflicts_with = "names")]
    path: Option<Path>,
    /// Only say what it would do
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
struct Shadow {
    /// Which
    name: String,
    /// For how long, such as 1h
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration, required_unless_present = "stop")]
    span: Option<Duration>,
    /// Be done with it now
    #[arg(long, conflicts_with = "span")]
    stop: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
struct Rest {
    /// Which
    #[arg(required_unless_present = "priority")]
    names: Vec<String>,
    /// All of this priority and lower ones
    #[arg(long, value_enum, conflicts_with = "names")]
    priority: Option<PriorityArg>,
    /// Only say what it would do
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
struct Wake {
    /// Which [default: all that rest]
    names: Vec<String>,
    /// Only say what it would do
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PriorityArg {
    High,
    Medium,
    Low,
}

impl From<PriorityArg> for Priority {
    fn from(argument: PriorityArg) -> Self {
        match argument {
            PriorityArg::High => Self::High,
            PriorityArg::Medium => Self::Medium,
            PriorityArg::Low => Self::Low,
        }
    }
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        match self.command {
            None => self.list.run(context),
            Some(Command::List(list)) => list.run(context),
            Some(Command::Shadow(shadow)) => shadow.run(context),
            Some(Command::Verify(verify)) => verify.run(context),
            Some(Command::Compare(compare)) => compare.run(context),
            Some(Command::Stop(named)) => named.run(context, MonitorState::Stopped),
            Some(Command::Start(named)) => named.run(context, MonitorState::Running),
            Some(Command::Rest(Rest { names, priority, dry_run, output })) => {
                let priority = priority.map(Priority::from);
                // One that is stopped stays so.
                let from = priority.map(|_| MonitorState::Running);
                set(
                    context,
                    &StateRequest { state: MonitorState::Resting, names, priority, path: None, from, dry_run },
                    output,
                )
            }
            Some(Command::Wake(Wake { names, dry_run, output })) => {
                let from = Some(MonitorState::Resting);
                let request =
                    StateRequest { state: MonitorState::Running, names, priority: None, path: None, from, dry_run };
                set(context, &request, output)
            }
        }
    }
}

impl Named {
    fn run(self, context: &Context, state: MonitorState) -> Result<Exit, CliError> {
        let Self { names, path, dry_run, output } = self;
        set(context, &StateRequest { state, names, priority: None, path, from: None, dry_run }, output)
    }
}

fn set(context: &Context, request: &StateRequest, output: OutputArgs) -> Result<Exit, CliError> {
    let body =
        serde_json::to_vec(request).map_err(|error| CliError::new(Exit::No, "the request cannot be written", error))?;
    let answer = api::send_patiently(context, "PUT", "/api/v1/monitor-states", Some(&body), CHANGE_PATIENCE)?;
    let done: StateAnswer = change::read(&answer)?;
    match output.output {
        Format::Json => print_json(&done)?,
        Format::Table if done.monitors.is_empty() => print_line("nothing changes")?,
        Format::Table => {
            let would = if done.dry_run { "would be" } else { "is" };
            for monitor in &done.monitors {
                print_line(format!("{monitor} {would} {}", done.state.as_str()))?;
            }
        }
    }
    Ok(Exit::Done)
}

impl Verify {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let query = self.name.as_deref().map(|name| format!("?name={}", in_path(name))).unwrap_or_default();
        let answer = api::get(context, &format!("/api/v1/monitor-verdicts{query}"))?;
        let verdicts: Vec<MonitorVerdict> = change::read(&answer)?;
        let well = verdicts.iter().all(|verdict| verdict.well);
        match self.output.output {
            Format::Json => print_json(&verdicts)?,
            Format::Table => {
                let header = ["NAME", "WELL", "UPSTREAM", "TOPICS", "SILENT S", "PARSE RATE", "VERDICT"];
                let rows = verdicts.into_iter().map(|row| {
                    [
                        row.name,
                        if row.well { "yes" } else { "no" }.to_owned(),
                        if row.connected { "connected" } else { "-" }.to_owned(),
                        row.topics,
                        row.silent_seconds.map_or_else(|| "-".to_owned(), |silent| format!("{silent:.0}")),
                        row.parse_rate.map_or_else(|| "-".to_owned(), percent),
                        row.verdict,
                    ]
                });
                print_table(header, rows)?;
            }
        }
        Ok(if well { Exit::Done } else { Exit::No })
    }
}

impl List {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let answer = api::get(context, "/api/v1/monitors")?;
        let mut monitors: Vec<MonitorRow> = change::read(&answer)?;
        monitors.retain(|row| self.path.is_none_or(|path| row.path == path.as_str()));
        match self.output.output {
            Format::Json => print_json(&monitors)?,
            Format::Table => print(monitors)?,
        }
        Ok(Exit::Done)
    }
}

impl Shadow {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        if self.span.is_some_and(|span| span.is_zero()) {
            return Err(CliError::plain(Exit::Usage, "`--for` wants a time, such as 1h; `--stop` ends a shadow"));
        }
        let seconds = self.span.filter(|_| !self.stop).map_or(0.0, |span| span.as_secs_f64());
        let body = serde_json::json!({ "seconds": seconds }).to_string();
        let url = format!("/api/v1/monitors/{}/shadow", in_path(&self.name));
        let answer = api::send_patiently(context, "PUT", &url, Some(body.as_bytes()), CHANGE_PATIENCE)?;
        let done: ShadowRow = change::read(&answer)?;
        match (self.output.output, &done.until) {
            (Format::Json, _) => print_json(&done)?,
            (Format::Table, Some(until)) => print_line(format!(
                "{} is taken by the {} path as well until {until}: its events are in the domain `{}`",
                done.monitor,
                done.path.as_str(),
                done.domain
            ))?,
            (Format::Table, None) => print_line(format!("{} is taken by one path alone", done.monitor))?,
        }
        Ok(Exit::Done)
    }
}

fn print(monitors: Vec<MonitorRow>) -> Result<(), CliError> {
    let errors: Vec<(String, String)> =
        monitors.iter().filter_map(|row| Some((row.name.clone(), row.error.clone()?))).collect();
    let counters: BTreeSet<String> = monitors.iter().filter_map(counters).collect();
    let races: Vec<String> = monitors.iter().filter_map(race).collect();
    let header = [
        "NAME",
        "DOMAIN",
        "UPSTREAM",
        "PATH",
        "STATE",
        "TOPICS",
        "PARSE RATE",
        "EVENTS",
        "REPEATS",
        "CONFLICTS",
        "QUARANTINED",
    ];
    let rows = monitors.into_iter().map(|row| {
        let path = match row.crossing_to {
            Some(to) => format!("{}→{to}", row.path),
            None => row.path,
        };
        [
            row.name,
            row.domain,
            row.upstream,
            path,
            row.state,
            row.topics,
            row.parse_rate.map_or_else(|| String::from("-"), percent),
            row.events.to_string(),
            row.repeats.to_string(),
            row.conflicts.to_string(),
            row.quarantined.to_string(),
        ]
    });
    print_table(header, rows)?;
    // Below, where they have room.
    for line in counters.into_iter().chain(races) {
        super::print_line(line)?;
    }
    for (name, error) in errors {
        super::print_line(format!("{name}: {error}"))?;
    }
    Ok(())
}

/// What was counted of a monitor's business, for people.
fn counters(row: &MonitorRow) -> Option<String> {
    let counted: Vec<String> = row.counters.iter().map(|(name, total)| format!("{name} {total}")).collect();
    (!counted.is_empty()).then(|| format!("{}: counted {}", row.name, counted.join(", ")))
}

/// How one of several upstreams of a monitor does, for people.
fn race(row: &MonitorRow) -> Option<String> {
    let race = row.race.as_ref()?;
    let share = race.win_rate.map_or_else(String::new, |rate| format!(" ({})", percent(rate)));
    let lag = race.lag_median_ms.map_or_else(String::new, |lag| format!(", else mostly within {lag:.1} ms of it"));
    Some(format!("{}: {} brought {} of {} first{share}{lag}", row.name, row.upstream, race.wins, race.deliveries))
}

/// Never 100 % when something was not read.
fn percent(rate: f64) -> String {
    let percent = (rate * 10_000.0).floor() / 100.0;
    if rate >= 1.0 { String::from("100 %") } else { format!("{percent:.2} %") }
}
