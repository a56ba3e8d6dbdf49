//! The command line: one file a command. Each is an `Args` struct with a `run` of its own, and one variant of
//! [`Command`]; what all share (finding the settings, printing, exit codes) is here.

mod api;
mod backup;
mod canary;
mod canary_report;
mod canary_text;
mod canary_watch;
mod change;
mod checkpoint;
mod circuits;
mod config;
mod demo;
mod diagnostics;
mod doctor;
mod emergency;
mod event_line;
mod exit;
mod gaps;
mod gaps_fill;
mod health;
mod infer;
mod journal;
mod latest;
mod monitors;
mod monitors_compare;
mod parse;
mod poll;
mod pool;
mod print;
mod quarantine;
mod quarantine_retry;
mod query;
mod record;
mod reload;
mod replay;
mod report;
mod reporting;
mod restore;
mod run;
mod selection;
mod selftest;
mod simulate;
mod sinks;
mod stats;
mod tail;
mod token;
pub mod top;
mod verify;
mod walk;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, FromArgMatches as _, Subcommand};

use crate::config::{ConfigError, LoadOptions, Loaded};

pub use exit::{CliError, Exit, PrintError};
pub use print::{Format, OutputArgs, print_json, print_line, print_table};

// Every command. Not a doc comment: clap would print it as what the program does.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon: connect, and journal what comes
    Run(run::Args),
    /// See it work: simulated upstreams and the daemon in one, with live figures
    Demo(demo::Args),
    /// Ask the running daemon how it is
    Health(health::Args),
    /// Ask the running daemon how its monitors are; stop and start them, put them to rest
    Monitors(monitors::Args),
    /// Have the running daemon take nothing more, and make durable what was taken; it stays so until `start`, over restarts too
    EmergencyStop(emergency::StopArgs),
    /// Have a daemon that was stopped in an emergency take again
    Start(emergency::StartArgs),
    /// Ask the running daemon how its links to each upstream are, and where topics are
    Pool(pool::Args),
    /// Ask the running daemon how its sinks are; switch them off and on
    Sinks(sinks::Args),
    /// Ask the running daemon how its circuit breakers are; hold them open or closed
    Circuits(circuits::Args),
    /// The share of monitors on the smart path: set it, raise it by steps, watch it, see who decided what
    Canary(canary::Args),
    /// Which monitors are polled over HTTP in the place of their upstream; holding one to it, or off it
    Poll(poll::Args),
    /// Print events of the journal
    Query(query::Args),
    /// Print the newest events, and those that come
    Tail(tail::Args),
    /// Look at the journal, check, repair and export it
    Journal(journal::Args),
    /// Bookmarks of the journal: write one, list and show them
    Checkpoint(checkpoint::Args),
    /// Write a span of the journal into a sink anew
    Replay(replay::Args),
    /// Copy the journal, consistent to one offset, while the daemon runs or not
    Backup(backup::Args),
    /// Make a new journal out of a backup
    Restore(restore::Args),
    /// What was not seen, and what share was
    Gaps(gaps::Args),
    /// Look at frames that could not be read
    Quarantine(quarantine::Args),
    /// How the daemon did over a span, held against targets
    Report(report::Args),
    /// Watch the running daemon on a terminal: throughput, links, breakers, sinks, canary, alerts
    Top(top::Args),
    /// Why messages could not be read, and what would help
    Parse(parse::Args),
    /// Ask the running daemon what it has counted
    Stats(stats::Args),
    /// Ask the running daemon for the newest event of each monitor and key
    #[command(visible_alias = "last")]
    Latest(latest::Args),
    /// Compare what sinks hold, or others wrote, with the journal
    Verify(Box<verify::Args>),
    /// Gather in one archive what helps to find a fault; without secrets
    Diagnostics(diagnostics::Args),
    /// Try the whole of it: a daemon of its own, from a simulated feed to journal, sink, restart and replay
    Selftest(selftest::Args),
    /// Check, dial or show the settings; set some while the daemon runs; say what another file would do
    Config(config::Args),
    /// Tokens of the HTTP API
    Token(token::Args),
    /// Have the running daemon read its settings again
    Reload(reload::Args),
    /// Write an upstream's raw frames to a file
    Record(Box<record::Args>),
    /// Be a feed provider: synthetic feeds, recordings or a flood, with faults on request
    Simulate(Box<simulate::Args>),
    /// Try whether a folder of views can be opened: the daemon's own, as a process that may break
    #[command(name = crate::views::PROBE_COMMAND, hide = true)]
    ViewsProbe {
        /// The folder
        folder: PathBuf,
    },
}

impl Command {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        match self {
            Self::Run(args) => args.run(context),
            Self::Demo(args) => args.run(context),
            Self::Health(args) => args.run(context),
            Self::Monitors(args) => args.run(context),
            Self::EmergencyStop(args) => args.run(context),
            Self::Start(args) => args.run(context),
            Self::Pool(args) => args.run(context),
            Self::Sinks(args) => args.run(context),
            Self::Circuits(args) => args.run(context),
            Self::Canary(args) => args.run(context),
            Self::Poll(args) => args.run(context),
            Self::Query(args) => args.run(context),
            Self::Tail(args) => args.run(context),
            Self::Journal(args) => args.run(context),
            Self::Checkpoint(args) => args.run(context),
            Self::Replay(args) => args.run(context),
            Self::Backup(args) => args.run(context),
            Self::Restore(args) => args.run(context),
            Self::Gaps(args) => args.run(context),
            Self::Quarantine(args) => args.run(context),
            Self::Diagnostics(args) => args.run(context),
            Self::Selftest(args) => args.run(context),
            Self::Config(args) => args.run(context),
            Self::Token(args) => args.run(context),
            Self::Reload(args) => args.run(context),
            Self::Record(args) => args.run(context),
            Self::Simulate(args) => args.run(context),
            Self::Report(args) => args.run(context),
            Self::Top(args) => args.run(context),
            Self::Parse(args) => args.run(context),
            Self::Stats(args) => args.run(context),
            Self::Latest(args) => args.run(context),
            Self::Verify(args) => args.run(context),
            Self::ViewsProbe { folder } => Ok(if crate::views::probe(&folder) { Exit::Done } else { Exit::No }),
        }
    }
}

/// What goes with every command.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// `--config`
    pub file: Option<PathBuf>,
    /// `--set`, in the order they were typed.
    pub set: Vec<String>,
}

impl Context {
    /// The settings in force for this process.
    ///
    /// # Errors
    /// When they cannot be used; the command then ends with [`Exit::BadSettings`].
    pub fn load(&self) -> Result<Loaded, CliError> {
        Ok(crate::config::load(&self.options()?)?)
    }

    /// Where settings are read from. What an operator set at run time is not in it: it is in a daemon's journal.
    ///
    /// # Errors
    /// When the current folder is gone.
    pub fn options(&self) -> Result<LoadOptions, CliError> {
        LoadOptions::of_process(self.file.clone(), self.set.clone())
            .map_err(|error| CliError::new(Exit::No, "the current folder cannot be told", error))
    }

    /// Takes `--config` and `--set` of a command and of the commands inside it.
    fn collect(&mut self, matches: &ArgMatches) {
        if let Some(file) = matches.get_one::<PathBuf>("config") {
            self.file = Some(file.clone());
        }
        self.set.extend(matches.get_many::<String>("set").into_iter().flatten().cloned());
        if let Some((_, inner)) = matches.subcommand() {
            self.collect(inner);
        }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::from_error(Exit::BadSettings, error)
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        // Help and version come this way too. Where not even this can be printed, the code has to say it.
        Err(usage) => return usage.print().map_or(Exit::No.into(), |()| usage_code(&usage)),
    };
    let parsed = Command::from_arg_matches(&matches).map_err(|usage| usage.format(&mut command()));
    let mut context = Context::default();
    context.collect(&matches);
    match parsed {
        Ok(command) => exit::report(command.run(&context)).into(),
        Err(usage) => usage.print().map_or(Exit::No.into(), |()| usage_code(&usage)),
    }
}

fn usage_code(usage: &clap::Error) -> ExitCode {
    if usage.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() }
}

/// The command line's tree.
pub(crate) fn command() -> clap::Command {
    let root = clap::Command::new("sluice")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .subcommand_required(true)
        .arg_required_else_help(true);
    with_settings(Command::augment_subcommands(root))
}

/// Gives `--config` and `--set` to a command and to all inside it. Not by clap's global arguments: of a repeated one
/// given before and after the command's name they forget the first without a word.
fn with_settings(command: clap::Command) -> clap::Command {
    command
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help_heading("Settings")
                .help("Settings file [default: config/sluice.toml, else /etc/sluice/sluice.toml]"),
        )
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("KEY=VALUE")
                .action(ArgAction::Append)
                .help_heading("Settings")
                .help("Set one setting, such as batch.timeout=100ms; may be repeated"),
        )
        .mut_subcommands(with_settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn settings_may_be_given_before_and_after_the_command() {
        let line = [
            "sluice", "--config", "a", "--set", "x=1", "config", "--set", "y=2", "check", "--config", "b", "--set",
            "z=3",
        ];
        let mut context = Context::default();
        context.collect(&command().try_get_matches_from(line).unwrap());
        assert_eq!(context.file, Some("b".into()));
        assert_eq!(context.set, ["x=1", "y=2", "z=3"]);
    }
}
