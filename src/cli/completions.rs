//! `sluice completions`: what a shell needs to complete this command line, made from it.

use std::io::Write as _;

use clap_complete::Shell;

use super::{CliError, Context, Exit, PrintError};

/// `sluice completions`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For which shell
    shell: Shell,
}

impl Args {
    pub(super) fn run(self, _context: &Context) -> Result<Exit, CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "sluice", &mut script);
        std::io::stdout().write_all(&script).map_err(PrintError::from)?;
        Ok(Exit::Done)
    }
}
