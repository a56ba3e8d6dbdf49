//! `sluice latest`: the newest event of each monitor and key, as the running daemon has them at hand.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use url::form_urlencoded::Serializer;

use super::{CliError, Context, Exit, Format, OutputArgs, api, print_line, print_table};

/// `sluice latest`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this monitor
    #[arg(long, value_name = "NAME")]
    monitor: Option<String>,
    /// Only this key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The most to show, newest first
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    values: Vec<Row<'a>>,
}

#[derive(Debug, Deserialize)]
struct Row<'a> {
    offset: u64,
    monitor: String,
    key: Option<String>,
    received_time: String,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    payload_base64: Option<String>,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let mut query = Serializer::new(String::new());
        query.append_pair("limit", &self.limit.to_string());
        for (name, value) in [("monitor", &self.monitor), ("key", &self.key)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        let answer = api::get(context, &format!("/api/v1/latest?{}", query.finish()))?;
        let foreign = |error| CliError::new(Exit::No, "the daemon's answer is in no form we know", error);
        if self.output.output == Format::Json {
            // As it came, so that no number is written anew.
            print_line(String::from_utf8_lossy(&answer.body))?;
            return Ok(Exit::Done);
        }
        let body: Body<'_> = serde_json::from_slice(&answer.body).map_err(foreign)?;
        let shown = body.values.into_iter().map(|row| {
            let payload = row.payload.map(|payload| match serde_json::from_str(payload.get()) {
                Ok(Value::String(text)) => text,
                _ => payload.get().to_owned(),
            });
            let payload = payload.or(row.payload_base64).unwrap_or_default();
            let short = payload.chars().take(80).map(|character| if character.is_control() { ' ' } else { character });
            [row.offset.to_string(), row.received_time, row.monitor, row.key.unwrap_or("-".into()), short.collect()]
        });
        print_table(["OFFSET", "RECEIVED", "MONITOR", "KEY", "PAYLOAD"], shown)?;
        Ok(Exit::Done)
    }
}
