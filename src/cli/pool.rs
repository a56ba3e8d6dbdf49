//! `sluice pool`: the running daemon's links to each upstream, and where its topics are.

use super::{CliError, Context, Exit, Format, OutputArgs, api, change, print_json, print_line, print_table, selection};
use crate::journal::Path;
use crate::server::{LinkRow, PoolRow, TopicRow};

/// The longest topic that a table shows in full; JSON does in any case.
const TOPIC_CHARS_MAX: usize = 36;

/// `sluice pool`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Of this upstream only
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Only links of this path
    #[arg(long, value_name = "smart|legacy", value_parser = selection::path)]
    path: Option<Path>,
    /// Each topic too: its link, its state, and what comes of it
    #[arg(long)]
    topics: bool,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let mut path = format!("/api/v1/pool?topics={}", self.topics);
        if let Some(upstream) = &self.upstream {
            path = format!("{path}&upstream={}", api::in_path(upstream));
        }
        let answer = api::get(context, &path)?;
        let mut rows: Vec<PoolRow> = change::read(&answer)?;
        rows.retain(|row| self.path.is_none_or(|path| row.path == path));
        match self.output.output {
            Format::Json => print_json(&rows)?,
            Format::Table => print(&rows)?,
        }
        Ok(Exit::Done)
    }
}

fn print(rows: &[PoolRow]) -> Result<(), CliError> {
    let header = ["UPSTREAM", "CIRCUIT", "LINKS", "MAX", "TOPICS", "LEFT OUT", "MSG/S", "PER LINK", "CONNECTS"];
    print_table(header, rows.iter().map(upstream))?;
    print_line("")?;
    let header = ["UPSTREAM", "LINK", "STATE", "SINCE", "TOPICS", "MSG/S", "PING MS", "AGE", "CONNECTS"];
    print_table(header, rows.iter().flat_map(|row| row.links.iter().map(|of| link(&whose(row), of))))?;
    if rows.iter().any(|row| row.topics.is_some()) {
        print_line("")?;
        let header = ["UPSTREAM", "TOPIC", "LINK", "STATE", "MESSAGES", "MSG/S", "LAST SEEN"];
        let topics = |row: &PoolRow| row.topics.clone().unwrap_or_default();
        let rows = rows.iter().flat_map(|row| topics(row).into_iter().map(|of| topic(&whose(row), of)));
        print_table(header, rows)?;
    }
    // Below, where they have room.
    for row in rows {
        for (link, error) in row.links.iter().filter_map(|link| Some((link.link, link.last_error.as_ref()?))) {
            print_line(format!("{} link {link}: {error}", whose(row)))?;
        }
        for (topic, error) in
            row.topics.iter().flatten().filter_map(|topic| Some((&topic.topic, topic.error.as_ref()?)))
        {
            print_line(format!("{} topic {topic}: {error}", whose(row)))?;
        }
    }
    Ok(())
}

/// The upstream, and on the legacy path the monitor.
fn whose(row: &PoolRow) -> String {
    match &row.monitor {
        None => row.upstream.clone(),
        Some(monitor) => format!("{} for {monitor}", row.upstream),
    }
}

fn upstream(row: &PoolRow) -> [String; 9] {
    [
        whose(row),
        row.circuit.map_or("-", crate::breaker::BreakerState::as_str).to_owned(),
        format!("{}/{}", row.links_open, row.links_wanted),
        row.links_max.to_string(),
        row.topics_placed.to_string(),
        row.topics_left_out.to_string(),
        rate(row.messages_per_second),
        row.limits.topics_per_link.to_string(),
        row.limits.connects.map_or_else(|| "-".to_owned(), |rate| rate.to_string()),
    ]
}

fn link(upstream: &str, row: &LinkRow) -> [String; 9] {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    [
        upstream.to_owned(),
        row.link.to_string(),
        row.state.clone(),
        or_dash(row.since.as_deref().map(to_the_second)),
        row.topics.to_string(),
        rate(row.messages_per_second),
        or_dash(row.latency_ms.map(|latency| format!("{latency:.1}"))),
        or_dash(row.age_seconds.map(age)),
        row.connects.to_string(),
    ]
}

fn topic(upstream: &str, row: TopicRow) -> [String; 7] {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    [
        upstream.to_owned(),
        shortened(&row.topic),
        or_dash(row.link.map(|link| link.to_string())),
        row.state,
        row.messages.to_string(),
        rate(row.messages_per_second),
        or_dash(row.last_seen.as_deref().map(to_the_second)),
    ]
}

/// Small rates matter where large ones do not differ by a tenth.
fn rate(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

/// An RFC 3339 time in UTC without its fraction.
fn to_the_second(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => time.to_owned(),
    }
}

/// The two largest units: `4s`, `3m 20s`, `23h 59m`, `6d 1h`.
fn age(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let seconds = seconds as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days}d {}h", hours % 24),
        () if hours > 0 => format!("{hours}h {}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m {}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

fn shortened(topic: &str) -> String {
    match topic.char_indices().nth(TOPIC_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &topic[..end]),
        None => topic.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_by_its_two_largest_units() {
        let told = [0.9, 200.0, 86_399.0, 522_100.0].map(age);
        assert_eq!(told, ["0s", "3m 20s", "23h 59m", "6d 1h"]);
    }

    #[test]
    fn a_time_of_a_table_has_no_fraction() {
        assert_eq!(to_the_second("2026-11-21T12:40:47.123456789Z"), "2026-11-21T12:40:47Z");
        assert_eq!(to_the_second("2026-11-21T12:40:47Z"), "2026-11-21T12:40:47Z");
    }
}
