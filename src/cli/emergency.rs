//! `sluice emergency-stop` and `sluice start`: nothing is taken any more, until it is again.

use super::api::{self, CHANGE_PATIENCE};
use super::{CliError, Context, Exit, Format, OutputArgs, change, print_json, print_line};
use crate::server::EmergencyRow;

/// `sluice emergency-stop`
#[derive(Debug, clap::Args)]
pub(super) struct StopArgs {
    /// Why, for whoever looks later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// `sluice start`
#[derive(Debug, clap::Args)]
pub(super) struct StartArgs {
    #[command(flatten)]
    output: OutputArgs,
}

impl StopArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let body = serde_json::json!({ "reason": self.reason }).to_string();
        let done = send(context, "/api/v1/emergency-stop", body.as_bytes())?;
        match self.output.output {
            Format::Json => print_json(&done)?,
            Format::Table if done.drained => print_line(format!(
                "stopped: nothing is taken, and all that was taken is durable, up to offset {}; `sluice start` goes on",
                done.durable_offset
            ))?,
            Format::Table => print_line(format!(
                "stopped, but not all that was taken is durable yet (up to offset {}): see `sluice health`",
                done.durable_offset
            ))?,
        }
        Ok(if done.drained { Exit::Done } else { Exit::No })
    }
}

impl StartArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let done = send(context, "/api/v1/start", b"")?;
        match self.output.output {
            Format::Json => print_json(&done)?,
            Format::Table => print_line("started: monitors are taken as the settings say")?,
        }
        Ok(Exit::Done)
    }
}

fn send(context: &Context, path: &str, body: &[u8]) -> Result<EmergencyRow, CliError> {
    change::read(&api::send_patiently(context, "POST", path, Some(body), CHANGE_PATIENCE)?)
}
