//! `sluice reload`: has the running daemon read its settings again.

use super::api::{self, CHANGE_PATIENCE};
use super::{CliError, Context, Exit, OutputArgs, change};
use crate::server::Changed;

/// `sluice reload`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only say what it would do
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let path = format!("/api/v1/reload?dry_run={}", self.dry_run);
        let answer = api::send_patiently(context, "POST", &path, None, CHANGE_PATIENCE)?;
        let changed: Changed = change::read(&answer)?;
        change::print(&changed, self.output.output)?;
        Ok(Exit::Done)
    }
}
