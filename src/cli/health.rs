//! `sluice health`: how the running daemon is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CliError, Context, Exit, Format, OutputArgs, api, print_json, print_table};

/// `sluice health`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    output: OutputArgs,
}

/// What the daemon answers. Words of a newer daemon that are not known here are passed on.
#[derive(Debug, Serialize, Deserialize)]
struct Health {
    status: String,
    timestamp: String,
    uptime: u64,
    journal: String,
    upstreams: BTreeMap<String, String>,
    reasons: Vec<String>,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let answer = api::get(context, "/v1/health/ready")?;
        let health: Health = serde_json::from_slice(&answer.body)
            .map_err(|error| CliError::new(Exit::No, "the daemon's answer cannot be read", error))?;
        match self.output.output {
            Format::Json => print_json(&health)?,
            Format::Table => print(&health)?,
        }
        Ok(match health.status.as_str() {
            "healthy" | "degraded" => Exit::Done,
            _ => Exit::No,
        })
    }
}

fn print(health: &Health) -> Result<(), CliError> {
    let uptime = humantime::format_duration(std::time::Duration::from_secs(health.uptime)).to_string();
    let mut rows = vec![
        ["status".into(), health.status.clone()],
        ["up for".into(), uptime],
        ["journal".into(), health.journal.clone()],
    ];
    rows.extend(health.upstreams.iter().map(|(name, state)| [format!("upstream {name}"), state.clone()]));
    rows.extend(health.reasons.iter().map(|reason| ["reason".into(), reason.clone()]));
    print_table(["WHAT", "STATE"], rows)?;
    Ok(())
}
