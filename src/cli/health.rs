//! `sluice health`: how the running daemon is.

use std::collections::BTreeMap;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::{CliError, Context, Exit, Format, OutputArgs, api, print_json, print_table};
use crate::telemetry::Memory;

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
    #[serde(default)]
    sinks: BTreeMap<String, String>,
    #[serde(default)]
    memory: Memory,
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
    let uptime = humantime::format_duration(Duration::from_secs(health.uptime)).to_string();
    let Memory { used, total, percentage } = health.memory;
    let memory = format!("{} of {} ({percentage} %)", ByteSize(used), ByteSize(total));
    let mut rows = vec![
        ["status".into(), health.status.clone()],
        ["up for".into(), uptime],
        ["journal".into(), health.journal.clone()],
        ["memory".into(), memory],
    ];
    rows.extend(health.upstreams.iter().map(|(name, state)| [format!("upstream {name}"), state.clone()]));
    rows.extend(health.sinks.iter().map(|(name, state)| [format!("sink {name}"), state.clone()]));
    rows.extend(health.reasons.iter().map(|reason| ["reason".into(), reason.clone()]));
    print_table(["WHAT", "STATE"], rows)?;
    Ok(())
}
