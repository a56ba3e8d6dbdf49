//! How a command ends: its exit code, and its error said to a person.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// Exit codes, which scripts and the service manager rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The answer is no, or it could not be done.
    No = 1,
    /// Used wrongly.
    Usage = 2,
    /// The daemon could not be reached.
    Unreachable = 3,
    /// The journal is damaged; a restart does not help.
    Damaged = 65,
    /// Another process has the data; a restart does not help.
    Locked = 73,
    /// A write or sync failed; a restart recovers from disk.
    SyncFailed = 74,
    /// Bad settings; a restart does not help.
    BadSettings = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ended without doing what it was asked for.
#[derive(Debug)]
pub struct CliError {
    exit: Exit,
    message: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl CliError {
    /// An error with what lies under it.
    pub fn new(exit: Exit, message: impl Into<String>, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit, message: message.into(), cause: Some(cause.into()) }
    }

    /// An error that says everything by itself.
    pub fn plain(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), cause: None }
    }

    /// A room's error, as it is.
    pub fn from_error(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error = error.into();
        Self { exit, message: String::new(), cause: Some(error) }
    }

    /// The code the process ends with.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Whether it is only that nobody reads what is printed any more: `sluice query | head`. A broken pipe of anything
    /// else, such as a connection, is an error.
    fn is_broken_pipe(&self) -> bool {
        let print_error = self.cause.as_deref().and_then(|cause| cause.downcast_ref::<PrintError>());
        print_error.is_some_and(|PrintError(error)| error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static));
        let mut said = self.message.clone();
        while let Some(error) = cause {
            let text = error.to_string();
            // Most errors say what lies under them in words of their own.
            if !said.contains(&text) {
                f.write_str(if said.is_empty() { "" } else { ": " })?;
                f.write_str(&text)?;
                said.push_str(&text);
            }
            cause = error.source();
        }
        Ok(())
    }
}

impl Error for CliError {}

impl From<PrintError> for CliError {
    fn from(error: PrintError) -> Self {
        Self::from_error(Exit::No, error)
    }
}

/// Standard output cannot be written. A type of its own, so that no other input or output error passes for it.
#[derive(Debug, thiserror::Error)]
#[error("the output cannot be written")]
pub struct PrintError(#[from] pub io::Error);

/// Says what went wrong, if anything did.
pub(super) fn report(result: Result<Exit, CliError>) -> Exit {
    match result {
        Ok(exit) => exit,
        Err(error) if error.is_broken_pipe() => Exit::Done,
        Err(error) => {
            // Without a place for errors the exit code has to do.
            writeln!(io::stderr().lock(), "error: {error}").ok();
            error.exit
        }
    }
}
