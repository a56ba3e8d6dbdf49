//! Log lines, on standard error or where a command wants them: for people, or one JSON object a line.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;

use super::recent_lines::Remembering;
use crate::config::{LogFormat, LogSettings};

/// Begins logging to standard error in this process. A second call changes nothing.
///
/// # Errors
/// When `log.level` is no filter.
pub fn init(settings: &LogSettings) -> Result<(), ParseError> {
    init_to(settings, std::io::stderr, std::io::stderr().is_terminal())
}

/// Begins logging to `writer`, with colours where it is a terminal. A second call changes nothing.
///
/// # Errors
/// When `log.level` is no filter.
pub fn init_to<W>(settings: &LogSettings, writer: W, terminal: bool) -> Result<(), ParseError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt().with_env_filter(filter(&settings.level)?).with_writer(Remembering(writer));
    // Tests and embedders may have installed their own before; that one stays.
    let set: Option<SetLevel> = match settings.format {
        LogFormat::Human => {
            let lines = lines.with_ansi(terminal).with_target(false).with_filter_reloading();
            let handle = lines.reload_handle();
            lines.try_init().ok().map(|()| Box::new(move |level| handle.reload(level).is_ok()) as SetLevel)
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_filter_reloading();
            let handle = lines.reload_handle();
            lines.try_init().ok().map(|()| Box::new(move |level| handle.reload(level).is_ok()) as SetLevel)
        }
    };
    if let Some(set) = set {
        SET_LEVEL.get_or_init(|| set);
    }
    Ok(())
}

type SetLevel = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// Changes the level of what was begun. There is one log a process.
static SET_LEVEL: OnceLock<SetLevel> = OnceLock::new();

/// Logs by another filter from now on. One that is none, or where this process's log is not ours, changes nothing.
pub fn set_level(level: &str) -> bool {
    let set = |filter| SET_LEVEL.get().is_some_and(|set| set(filter));
    let done = filter(level).is_ok_and(set);
    tracing::debug!(level, done, "the filter of the log is another one now");
    done
}

fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    // The NATS client tells of every connection at every level, and at `trace` the password too. What goes wrong with it is
    // told by the sink.
    Ok(level.parse::<EnvFilter>()?.add_directive("async_nats=off".parse()?))
}
