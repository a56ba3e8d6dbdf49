//! Log lines, on standard error or where a command wants them: for people, or one JSON object a line.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;

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
    // The NATS client tells of every connection at every level, and at `trace` the password too. What goes wrong with it is
    // told by the sink.
    let filter = settings.level.parse::<EnvFilter>()?.add_directive("async_nats=off".parse()?);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    // Tests and embedders may have installed their own before; that one stays.
    match settings.format {
        LogFormat::Human => lines.with_ansi(terminal).with_target(false).try_init().ok(),
        LogFormat::Json => lines.json().flatten_event(true).try_init().ok(),
    };
    Ok(())
}
