//! `sluice demo`: simulated providers and the daemon in one process, with live figures.

mod log;
mod providers;
mod report;
mod screen;

use std::cell::{Cell, OnceCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::log::DemoLog;
use self::providers::Providers;
use self::report::{Rates, Stage, frame, status_line};
use self::screen::Screen;
use super::run::conclude;
use super::{CliError, Context, Exit, PrintError, print_line};
use crate::config::LogFormat;
use crate::config::units::{parse_duration, show_duration};
use crate::daemon::{self, Daemon, DaemonView, Ending, SettingsSource};
use crate::journal::Offset;
use crate::server::View as _;
use crate::telemetry;

/// Time between two looks at the figures on a terminal: quick enough to look alive, slow enough to be read.
const DRAW_INTERVAL: Duration = Duration::from_millis(500);
/// The same where lines are printed one after the other.
const LINE_INTERVAL: Duration = Duration::from_secs(2);
/// The address of the server if it is free: the one that `sluice run` has by default.
const SERVER_PORT: u16 = 9464;

/// `sluice demo`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of the journal, the log and the settings as used; a journal that is there is continued
    #[arg(long, value_name = "DIR", default_value = "demo-data")]
    data_dir: PathBuf,
    /// Events a second, all three simulated upstreams together
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// End by itself after so long [default: at Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        if context.file.is_some() {
            return Err(CliError::plain(
                Exit::Usage,
                "the demo has settings of its own, so --config does not go with it; `sluice run` runs yours, \
                 and --set changes single settings of the demo",
            ));
        }
        let in_folder = |name: &str| self.data_dir.join(name);
        let not_written = |path: &Path, error| {
            CliError::new(
                Exit::No,
                format!("cannot write {}; choose another place with --data-dir", path.display()),
                error,
            )
        };
        std::fs::create_dir_all(&self.data_dir).map_err(|error| not_written(&self.data_dir, error))?;

        // Simulators have threads of their own, so that the daemon's figures are its own too.
        let providers = Providers::start(self.rate)?;

        // The settings in use replace those of an earlier demo only when the journal is ours: another demo may be
        // running here, and what it printed refers to them.
        let (settings_file, draft_file) = (in_folder("demo.toml"), in_folder("demo.toml.new"));
        let draft = providers.settings(&format!("127.0.0.1:{}", free_port()));
        std::fs::write(&draft_file, draft).map_err(|error| not_written(&draft_file, error))?;
        let options = Context { file: Some(draft_file.clone()), ..context.clone() }.options()?;
        let source = SettingsSource::read(options);
        // Nobody needs it any more; if it stays, the next demo overwrites it.
        std::fs::remove_file(&draft_file).ok();
        let mut source = source?;
        // Where they will be, to be read again.
        source.options.file = Some(settings_file.clone());
        let loaded = source.loaded.clone();

        let log_file = in_folder("sluice.log");
        let log = DemoLog::open(&log_file).map_err(|error| not_written(&log_file, error))?;
        let log_settings = crate::config::LogSettings { format: LogFormat::Human, ..loaded.settings.log.clone() };
        telemetry::init_logging_to(&log_settings, log.clone(), false)
            .map_err(|error| CliError::from_error(Exit::BadSettings, error))?;
        let metrics = telemetry::install().map_err(|error| CliError::from_error(Exit::No, error))?;

        let show = Show {
            screen: Screen::of_stdout(),
            log,
            log_file,
            data_dir: self.shown_data_dir(&loaded.settings.daemon.data_dir),
            duration: self.duration,
            failed: Cell::new(None),
            begun: OnceCell::new(),
        };
        let ending = daemon::run(source, &metrics, |daemon| {
            let address = daemon.summary.address();
            let written = std::fs::write(&settings_file, providers.settings(&address.to_string()));
            if let Err(error) = &written {
                tracing::warn!("{} cannot be written: {error}", settings_file.display());
            }
            show.begin(daemon, &self, written.is_ok().then_some(settings_file.as_path()));
            show.go_on()
        })?;
        let stopped = match ending {
            Ending::Stopped(stopped) => stopped,
            other => return conclude(other),
        };
        providers.stop();
        if let Some(error) = show.failed.take() {
            return Err(error.into());
        }
        show.end()?;
        let promise =
            if stopped.drained { "everything received is durable" } else { "not everything received is durable" };
        print_line(format!("\nStopped: {promise}.{}\n", show.sum(stopped.durable)))?;
        print_commands(&settings_file, &context.set)?;
        Ok(Exit::Done)
    }
}

impl Args {
    /// The journal's folder as it was typed, unless another layer of the settings has put it elsewhere.
    fn shown_data_dir(&self, used: &Path) -> PathBuf {
        let typed = std::path::absolute(&self.data_dir).is_ok_and(|typed| typed.components().eq(used.components()));
        if typed { self.data_dir.clone() } else { used.to_owned() }
    }
}

/// A port for the server. Another process may still take it before the daemon does, which then says so.
fn free_port() -> u16 {
    let free = std::net::TcpListener::bind(("127.0.0.1", SERVER_PORT)).is_ok();
    if free { SERVER_PORT } else { 0 }
}

/// What is shown while the daemon runs.
struct Show {
    screen: Screen,
    log: DemoLog,
    log_file: PathBuf,
    data_dir: PathBuf,
    duration: Option<Duration>,
    /// Nothing can be printed any more: the demo ends.
    failed: Cell<Option<PrintError>>,
    begun: OnceCell<Begun>,
}

struct Begun {
    view: Arc<DaemonView>,
    at: Instant,
    /// The journal's end then.
    durable: Offset,
}

impl Show {
    fn begin(&self, daemon: &Daemon, args: &Args, settings_file: Option<&Path>) {
        let address = daemon.summary.address();
        let found = match daemon.durable().0 {
            0 => String::from("new"),
            events => format!("continued from offset {}", report::grouped(events)),
        };
        let mut lines = vec![
            format!(
                "Sluice demo: 6 monitors of 3 simulated upstreams, {} events/s in all,",
                report::grouped(args.rate)
            ),
            String::from("with some repeats, bad frames and lost connections."),
            format!("  journal   {} ({found})", self.data_dir.display()),
            format!("  log       {}", self.log_file.display()),
            format!("  server    http://{address}/metrics and /v1/health/ready"),
        ];
        if let Some(path) = settings_file {
            lines.push(format!("  settings  {}", path.display()));
        }
        lines.push(match args.duration {
            Some(duration) => format!("It ends after {}, or with Ctrl-C.\n", show_duration(duration)),
            None => String::from("Ctrl-C ends it.\n"),
        });
        self.note(print_line(lines.join("\n")));
        // Called once, before anything is drawn.
        self.begun.set(Begun { view: daemon.view(), at: Instant::now(), durable: daemon.durable() }).ok();
    }

    /// Shows figures until the demo is to end: the time is over, or nobody can read them.
    async fn go_on(&self) {
        let Some(begun) = self.begun.get() else { return };
        let interval = if self.screen.is_terminal() { DRAW_INTERVAL } else { LINE_INTERVAL };
        let end = self.duration.map(|duration| begun.at + duration);
        let mut rates = Rates::default();
        let mut ticks = tokio::time::interval(interval);
        // Links need a moment; the first look would show nothing.
        ticks.tick().await;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = at(end) => return,
            }
            self.note(self.show(begun, &mut rates));
            // A look at a cell is a take and a put back.
            let failed = self.failed.take();
            let over = failed.is_some();
            self.failed.set(failed);
            if over {
                return;
            }
        }
    }

    fn show(&self, begun: &Begun, rates: &mut Rates) -> Result<(), PrintError> {
        let elapsed = begun.at.elapsed();
        let monitors = begun.view.monitors();
        rates.add(begun.at + elapsed, &monitors);
        if self.screen.is_terminal() {
            let stage = Stage::Running { rates, warning: self.log.last_warning() };
            let lines = frame(&begun.view, stage, elapsed, self.screen.width());
            Ok(self.screen.draw(&lines)?)
        } else {
            print_line(status_line(&begun.view, &monitors, rates, elapsed))
        }
    }

    /// The figures at the end, in full: also where only lines were printed before.
    fn end(&self) -> Result<(), PrintError> {
        let Some(begun) = self.begun.get() else { return Ok(()) };
        let lines = frame(&begun.view, Stage::Over, begun.at.elapsed(), self.screen.width());
        self.screen.draw(&lines)?;
        Ok(())
    }

    /// How the journal has grown.
    fn sum(&self, durable: Offset) -> String {
        let Some(begun) = self.begun.get() else { return String::new() };
        let new = durable.0.saturating_sub(begun.durable.0);
        let own = new.saturating_sub(begun.view.monitors().iter().map(|monitor| monitor.events).sum());
        format!(
            " The journal has {} new events,\n{} of them the daemon's own: gaps, quarantined frames, figures, state.",
            report::grouped(new),
            report::grouped(own)
        )
    }

    fn note(&self, result: Result<(), PrintError>) {
        if let Err(error) = result {
            self.failed.set(Some(error));
        }
    }
}

async fn at(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// Prints commands for this journal that work from the current folder.
fn print_commands(settings_file: &Path, set: &[String]) -> Result<(), PrintError> {
    let program =
        std::env::args_os().next().map_or_else(|| "sluice".into(), |name| name.to_string_lossy().into_owned());
    let mut base = format!("{} --config {}", quoted(&program), quoted(&settings_file.to_string_lossy()));
    for assignment in set {
        base = format!("{base} --set {}", quoted(assignment));
    }
    print_line("Look at this journal, with or without a running demo:")?;
    for command in [
        "query --limit 5",
        "query --monitor spot-trades --key BTCUSDT --output json --limit 5",
        "tail -n 5 --no-follow",
        "journal stat",
        "quarantine list --limit 5",
    ] {
        print_line(format!("  {base} {command}"))?;
    }
    Ok(())
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+=:,@%".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_take_them_apart() {
        assert_eq!(quoted("target/release/sluice"), "target/release/sluice");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
