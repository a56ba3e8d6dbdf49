//! `sluice alerts`: what a person should know of, and how somebody is told.

use super::{CliError, Context, Exit, notifications};

/// `sluice alerts`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

// Not a doc comment: clap would print it as what the command does.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Try a channel, or how alerts of a type are told: sends a notice that says that it is a test
    Test(notifications::Test),
    /// What became of notices, newest first
    Deliveries(notifications::Deliveries),
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        match self.command {
            Command::Test(args) => args.run(context),
            Command::Deliveries(args) => args.run(context),
        }
    }
}
