//! `sluice alerts test` and `sluice alerts deliveries`: how somebody is told of alerts.

use std::time::Duration;

use super::{CliError, Context, Exit, Format, OutputArgs, api, print_json, print_line, print_table};
use crate::alert::AlertKind;
use crate::alert::notify::{Delivery, Outcome};
use crate::config::CHANNELS;
use crate::server::{NotificationTest, Notifications};

const PATH: &str = "/api/v1/monitoring/notifications";

/// Above what a test takes at most.
const PATIENCE: Duration = Duration::from_secs(40);

/// `sluice alerts test`
#[derive(Debug, clap::Args)]
pub(super) struct Test {
    /// A channel (email, webhook, slack, pagerduty, sms), or a type of alerts, such as `SINK_DOWN`, which goes to the channels that
    /// it is routed to; without it every channel
    what: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// `sluice alerts deliveries`
#[derive(Debug, clap::Args)]
pub(super) struct Deliveries {
    /// At most so many, the newest
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    output: OutputArgs,
}

impl Test {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let test = test_of(self.what.as_deref())?;
        let body = serde_json::to_vec(&test)
            .map_err(|error| CliError::new(Exit::No, "the request cannot be written", error))?;
        let answer = api::send_patiently(context, "POST", &format!("{PATH}/test"), Some(&body), PATIENCE)?;
        let deliveries: Vec<Delivery> = read(&answer)?;
        print(&deliveries, self.output.output)?;
        let sent = deliveries.iter().all(|delivery| delivery.outcome == Outcome::Sent);
        Ok(if sent { Exit::Done } else { Exit::No })
    }
}

impl Deliveries {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let answer = api::get(context, &format!("{PATH}?limit={}", self.limit))?;
        let Notifications { channels, deliveries } = read(&answer)?;
        match self.output.output {
            Format::Json => print_json(&Notifications { channels, deliveries })?,
            Format::Table => {
                let header = ["CHANNEL", "SENT", "FAILED", "DROPPED", "WAITING"];
                let rows = channels.into_iter().map(|row| {
                    let [sent, failed, dropped, waiting] =
                        [row.sent, row.failed, row.dropped, row.waiting].map(|count| count.to_string());
                    [row.channel, sent, failed, dropped, waiting]
                });
                print_table(header, rows)?;
                print_line(String::new())?;
                print(&deliveries, Format::Table)?;
            }
        }
        Ok(Exit::Done)
    }
}

fn test_of(what: Option<&str>) -> Result<NotificationTest, CliError> {
    let Some(what) = what else { return Ok(NotificationTest::default()) };
    if CHANNELS.contains(&what) {
        return Ok(NotificationTest { channel: Some(what.to_owned()), kind: None });
    }
    if let Some(kind) = AlertKind::ALL.iter().find(|kind| kind.as_str().eq_ignore_ascii_case(what)) {
        return Ok(NotificationTest { channel: None, kind: Some(*kind) });
    }
    let known = CHANNELS.into_iter().chain(AlertKind::ALL.iter().map(|kind| kind.as_str()));
    let near = crate::config::suggestion(what, known.collect::<Vec<_>>().iter().copied());
    Err(CliError::plain(Exit::Usage, format!("`{what}` is neither a channel nor a type of alerts{near}")))
}

fn read<T: serde::de::DeserializeOwned>(answer: &api::Answer) -> Result<T, CliError> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| CliError::new(Exit::No, "the daemon's answer cannot be read", error))
}

fn print(deliveries: &[Delivery], format: Format) -> Result<(), CliError> {
    if matches!(format, Format::Json) {
        return Ok(print_json(&deliveries)?);
    }
    let header = ["AT", "CHANNEL", "OCCASION", "OUTCOME", "ATTEMPTS", "ALERT", "ERROR"];
    let rows = deliveries.iter().map(|delivery| {
        let Delivery { alert, channel, occasion, at, attempts, outcome, error } = delivery.clone();
        let error = error.unwrap_or_else(|| "-".to_owned());
        let (occasion, outcome) = (occasion.as_str().to_owned(), outcome.as_str().to_owned());
        [at, channel, occasion, outcome, attempts.to_string(), alert, error]
    });
    Ok(print_table(header, rows)?)
}
