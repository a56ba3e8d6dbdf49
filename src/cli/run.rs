//! `sluice run`: the daemon.

use super::checkpoint::checkpoint_error;
use super::{CliError, Context, Exit};
use crate::alert::notify::NotifierError;
use crate::config::{KeyPath, Loaded};
use crate::daemon::{self, AssemblyError, Ending, SettingsSource, StartError, TakeOverError, TakeOvers};
use crate::enrich::EnrichError;
use crate::journal::JournalError;
use crate::sink::SinkError;
use crate::telemetry;

/// `sluice run`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Take over from the daemon that runs on this data folder, without a gap; where none does, just start
    #[arg(long)]
    take_over: bool,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let source = SettingsSource::read(context.options()?)?;
        let loaded = source.loaded.clone();
        telemetry::init_logging(&loaded.settings.log)
            .map_err(|error| CliError::from_error(Exit::BadSettings, error))?;
        let metrics = telemetry::install().map_err(|error| CliError::from_error(Exit::No, error))?;
        let take_overs = if self.take_over { TakeOvers::Asked } else { TakeOvers::Offered };
        let ending = daemon::serve(source, &metrics, take_overs, |daemon| {
            let file =
                loaded.file.as_deref().map_or("none: built-in defaults".into(), |path| path.display().to_string());
            tracing::info!("settings: {file}");
            for line in daemon.summary.to_string().lines() {
                tracing::info!("{line}");
            }
            std::future::pending()
        })
        .map_err(|error| match error {
            StartError::Assembly(error) | StartError::TakeOver(TakeOverError::Assembly(error)) => {
                assembly_error(&loaded, &error)
            }
            StartError::Sink(error) => sink_error(&loaded, &error),
            other => other.into(),
        })?;
        conclude(ending)
    }
}

/// The exit code of an ending, with its last words.
pub(super) fn conclude(ending: Ending) -> Result<Exit, CliError> {
    match ending {
        Ending::Stopped(stopped) if stopped.drained => {
            tracing::info!("stopped; {} events are durable", stopped.durable);
            Ok(Exit::Done)
        }
        Ending::Stopped(stopped) => {
            tracing::warn!(
                "stopped after `daemon.stop_timeout` with links still draining; {} events are durable",
                stopped.durable
            );
            Ok(Exit::Done)
        }
        Ending::HandedOver { to, stopped } => {
            tracing::info!("process {to} has taken over; {} events are durable", stopped.durable);
            Ok(Exit::Done)
        }
        Ending::Hurried => {
            Err(CliError::plain(Exit::No, "stopped at once, as asked; what was not yet durable is lost"))
        }
        Ending::JournalFailed(error) => Err(CliError::from_error(journal_exit(&error), error)),
        Ending::Fault(error) => Err(CliError::plain(Exit::No, format!("a task broke, which is a bug: {error}"))),
    }
}

/// Settings that cannot be used, with the place where they were set.
pub(super) fn assembly_error(loaded: &Loaded, error: &AssemblyError) -> CliError {
    CliError::plain(Exit::BadSettings, format!("{}: {error}", loaded.origins.nearest(&error.key())))
}

/// A sink that cannot be made ready, with the place where its settings are.
pub(super) fn sink_error(loaded: &Loaded, error: &SinkError) -> CliError {
    match error {
        SinkError::Settings { sink, .. } => {
            let origin = loaded.origins.nearest(&KeyPath::from(["sinks", sink]));
            CliError::plain(Exit::BadSettings, format!("{origin}: {error}"))
        }
        SinkError::Runtime(_) => CliError::plain(Exit::No, error.to_string()),
    }
}

/// A journal's error with the exit code that belongs to it.
pub(super) fn journal_error(error: JournalError) -> CliError {
    CliError::from_error(journal_exit(&error), error)
}

fn journal_exit(error: &JournalError) -> Exit {
    match error.exit_code() {
        65 => Exit::Damaged,
        73 => Exit::Locked,
        74 => Exit::SyncFailed,
        _ => Exit::No,
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Journal(error) | StartError::TakeOver(TakeOverError::Journal(error)) => journal_error(error),
            StartError::Checkpoint(error) => checkpoint_error(error),
            StartError::Assembly(_)
            | StartError::Activation(_)
            | StartError::Upstream(_)
            | StartError::Access(_)
            | StartError::NothingToDo
            | StartError::Notify(NotifierError::Http(_) | NotifierError::Settings(_))
            | StartError::TakeOver(TakeOverError::Setup(_))
            | StartError::Enrich(EnrichError::Settings { .. } | EnrichError::File { .. })
            | StartError::Sink(SinkError::Settings { .. }) => Self::from_error(Exit::BadSettings, error),
            StartError::Enrich(EnrichError::Runtime(_))
            | StartError::Notify(NotifierError::Runtime(_))
            | StartError::TakeOver(_)
            | StartError::Sink(SinkError::Runtime(_))
            | StartError::Server(_)
            | StartError::Export(_)
            | StartError::Files { .. }
            | StartError::Runtime(_) => Self::from_error(Exit::No, error),
        }
    }
}
