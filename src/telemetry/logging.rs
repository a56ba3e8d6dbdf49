//! Log lines, on standard error: for people, or one JSON object a line.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{LogFormat, LogSettings};

/// Begins logging in this process. A second call changes nothing.
///
/// # Errors
/// When `log.level` is no filter.
pub fn init(settings: &LogSettings) -> Result<(), ParseError> {
    let filter: EnvFilter = settings.level.parse()?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Tests and embedders may have installed their own before; that one stays.
    match settings.format {
        LogFormat::Human => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init().ok(),
        LogFormat::Json => lines.json().flatten_event(true).try_init().ok(),
    };
    Ok(())
}
