//! SIGUSR2: the running daemon starts the program anew, as it is on disk by then, to take over from it.

use std::ffi::OsString;
use std::io;
use std::process::{Command, Stdio};

use tokio::task::JoinSet;

use crate::daemon::service_manager::OF_THIS_PROCESS;

const TAKE_OVER: &str = "--take-over";

/// How this process was started.
pub(in crate::daemon) struct Successors {
    /// As it was called, so that what is there now is started and not what was there then.
    program: OsString,
    arguments: Vec<OsString>,
    /// Variables that it does not get: those of a file that it reads by itself, and what names this process.
    left_out: Vec<OsString>,
    /// One at a time.
    waiting: JoinSet<()>,
}

impl Successors {
    /// Of this process, which takes this for its environment.
    pub(in crate::daemon) fn of_this_process(environment: &[(OsString, OsString)]) -> Self {
        let mut arguments: Vec<OsString> = std::env::args_os().collect();
        let program = if arguments.is_empty() { "sluice".into() } else { arguments.remove(0) };
        if !arguments.iter().any(|argument| argument == TAKE_OVER) {
            arguments.push(TAKE_OVER.into());
        }
        let kept = |name: &OsString| environment.iter().any(|(kept, _)| kept == name);
        let left_out = std::env::vars_os().map(|(name, _)| name).filter(|name| !kept(name));
        let left_out = left_out.chain(OF_THIS_PROCESS.map(OsString::from)).collect();
        Self { program, arguments, left_out, waiting: JoinSet::new() }
    }

    /// Starts one. In a runtime. What becomes of it is in the log: its own words, and that it failed.
    pub(in crate::daemon) fn start(&mut self) {
        while self.waiting.try_join_next().is_some() {}
        if !self.waiting.is_empty() {
            tracing::warn!("SIGUSR2: another process is taking over already");
            return;
        }
        let mut child = match self.spawn() {
            Ok(child) => child,
            Err(error) => {
                tracing::error!(program = %self.program.display(), "SIGUSR2: the program cannot be started, so we go on: {error}");
                return;
            }
        };
        tracing::info!(pid = child.id(), program = %self.program.display(), "SIGUSR2: started a process that takes over");
        self.waiting.spawn_blocking(move || match child.wait() {
            Ok(status) if status.success() => {}
            Ok(status) => tracing::warn!(pid = child.id(), "the process that was to take over has ended: {status}"),
            Err(error) => tracing::warn!("the process that was to take over cannot be waited for: {error}"),
        });
    }

    fn spawn(&self) -> io::Result<std::process::Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null());
        for name in &self.left_out {
            command.env_remove(name);
        }
        command.spawn()
    }
}
