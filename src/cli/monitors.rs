//! `sluice monitors`: how the running daemon's monitors are.

use super::{CliError, Context, Exit, Format, OutputArgs, api, print_json, print_table};
use crate::server::MonitorRow;

/// `sluice monitors`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let answer = api::get(context, "/api/v1/monitors")?;
        let monitors: Vec<MonitorRow> = serde_json::from_slice(&answer.body)
            .map_err(|error| CliError::new(Exit::No, "the daemon's answer cannot be read", error))?;
        match self.output.output {
            Format::Json => print_json(&monitors)?,
            Format::Table => print(monitors)?,
        }
        Ok(Exit::Done)
    }
}

fn print(monitors: Vec<MonitorRow>) -> Result<(), CliError> {
    let errors: Vec<(String, String)> =
        monitors.iter().filter_map(|row| Some((row.name.clone(), row.error.clone()?))).collect();
    let header = [
        "NAME",
        "DOMAIN",
        "UPSTREAM",
        "PATH",
        "STATE",
        "TOPICS",
        "PARSE RATE",
        "EVENTS",
        "REPEATS",
        "CONFLICTS",
        "QUARANTINED",
    ];
    let rows = monitors.into_iter().map(|row| {
        [
            row.name,
            row.domain,
            row.upstream,
            row.path,
            row.state,
            row.topics,
            row.parse_rate.map_or_else(|| String::from("-"), percent),
            row.events.to_string(),
            row.repeats.to_string(),
            row.conflicts.to_string(),
            row.quarantined.to_string(),
        ]
    });
    print_table(header, rows)?;
    // Below, where they have room.
    for (name, error) in errors {
        super::print_line(format!("{name}: {error}"))?;
    }
    Ok(())
}

/// Never 100 % when something was not read.
fn percent(rate: f64) -> String {
    let percent = (rate * 10_000.0).floor() / 100.0;
    if rate >= 1.0 { String::from("100 %") } else { format!("{percent:.2} %") }
}
