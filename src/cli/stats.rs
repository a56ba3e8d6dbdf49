//! `sluice stats`: what the running daemon has counted of each monitor, business counters among it.

use serde::Deserialize;
use serde_json::Value;

use super::{CliError, Context, Exit, Format, OutputArgs, api, print_json, print_line, print_table};

/// `sluice stats`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// By hour (the last 48) and day (35) as well; in JSON only
    #[arg(long)]
    history: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Deserialize)]
struct Row {
    monitor: String,
    domain: String,
    events: u64,
    events_today: u64,
    rate_1m: f64,
    duplicates: u64,
    quarantined: u64,
    last_received_time: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Counter {
    monitor: String,
    counter: String,
    total: u64,
    last_hour: u64,
    up_to: u64,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let path = if self.history { "/api/v1/statistics?history=true" } else { "/api/v1/statistics" };
        let answer = api::get(context, path)?;
        let foreign = |error| CliError::new(Exit::No, "the daemon's answer is in no form we know", error);
        let body: Value = serde_json::from_slice(&answer.body).map_err(foreign)?;
        if self.output.output == Format::Json {
            print_json(&body)?;
            return Ok(Exit::Done);
        }
        let rows: Vec<Row> = serde_json::from_value(body["monitors"].clone()).map_err(foreign)?;
        let shown = rows.into_iter().map(|row| {
            [
                row.monitor,
                row.domain,
                row.events.to_string(),
                row.events_today.to_string(),
                format!("{:.1}", row.rate_1m),
                row.duplicates.to_string(),
                row.quarantined.to_string(),
                row.last_received_time.unwrap_or_default(),
            ]
        });
        print_table(["MONITOR", "DOMAIN", "EVENTS", "TODAY", "EVENTS/S", "REPEATS", "QUARANTINED", "LAST"], shown)?;
        let counters: Vec<Counter> = serde_json::from_value(body["counters"].clone()).map_err(foreign)?;
        if !counters.is_empty() {
            print_line("")?;
            let shown = counters.into_iter().map(|row| {
                [row.monitor, row.counter, row.total.to_string(), row.last_hour.to_string(), row.up_to.to_string()]
            });
            print_table(["MONITOR", "COUNTER", "TOTAL", "LAST HOUR", "UP TO"], shown)?;
        }
        Ok(Exit::Done)
    }
}
