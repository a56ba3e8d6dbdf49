//! What is tried, in this order.

use serde::Deserialize;
use serde_json::Value;

use super::workshop::Workshop;
use crate::alert::AlertStatus;
use crate::server::{AlertRow, JournalRow};
use crate::sink::SinkRow;

/// Events that are waited for: some batches.
const EVENTS: u64 = 100;

/// A step.
pub(super) struct Step {
    pub(super) name: &'static str,
    /// Steps without which it says nothing.
    pub(super) needs: &'static [&'static str],
    /// What was seen, or why it is not as promised.
    pub(super) run: fn(&mut Workshop) -> Result<String, String>,
}

/// All of them.
pub(super) const STEPS: [Step; 13] = [
    Step { name: "feed", needs: &[], run: feed },
    Step { name: "start", needs: &["feed"], run: start },
    Step { name: "journal", needs: &["start"], run: journal },
    Step { name: "query", needs: &["journal"], run: query },
    Step { name: "stream", needs: &["journal"], run: stream },
    Step { name: "sink", needs: &["journal"], run: sink },
    Step { name: "alert", needs: &["journal"], run: alert },
    Step { name: "checkpoint", needs: &["journal"], run: checkpoint },
    Step { name: "stop", needs: &["start"], run: stop },
    Step { name: "restart", needs: &["stop", "journal"], run: restart },
    Step { name: "replay", needs: &["restart", "checkpoint", "sink"], run: replay },
    Step { name: "end", needs: &["restart"], run: end },
    Step { name: "verify", needs: &["end", "sink"], run: verify },
];

fn feed(workshop: &mut Workshop) -> Result<String, String> {
    Ok(format!("simulated, {}", workshop.begin_feed()?))
}

fn start(workshop: &mut Workshop) -> Result<String, String> {
    let took = workshop.begin_daemon()?;
    Ok(format!("ready and connected after {} ms", took.as_millis()))
}

/// Waits until so much is durable.
fn until_durable(workshop: &mut Workshop, at_least: u64) -> Result<u64, String> {
    let durable = workshop.until(&format!("{at_least} events are durable"), |workshop| {
        let row: JournalRow = workshop.ask("/api/v1/journal")?;
        Ok((row.durable_offset >= at_least).then_some(row.durable_offset))
    })?;
    workshop.durable = durable;
    Ok(durable)
}

fn journal(workshop: &mut Workshop) -> Result<String, String> {
    Ok(format!("{} events are durable", until_durable(workshop, EVENTS)?))
}

/// An event as commands print it.
#[derive(Deserialize)]
struct Line {
    offset: u64,
    monitor: String,
    key: Option<String>,
    id: Option<Value>,
}

fn lines_of(text: &str) -> Result<Vec<Line>, String> {
    text.lines()
        .map(|line| serde_json::from_str(line).map_err(|error| format!("a line cannot be read: {error}")))
        .collect()
}

fn query(workshop: &mut Workshop) -> Result<String, String> {
    let arguments = ["query", "--monitor", "trades", "--key", "BTCUSDT", "--limit", "20", "--output", "json"];
    let lines = lines_of(&workshop.sluice(&arguments)?)?;
    let wanted = |line: &Line| line.monitor == "trades" && line.key.as_deref() == Some("BTCUSDT") && line.id.is_some();
    if lines.is_empty() || !lines.iter().all(wanted) {
        return Err("it does not find what is in the journal".to_owned());
    }
    if !lines.is_sorted_by(|one, next| one.offset < next.offset) {
        return Err("events are not in the journal's order".to_owned());
    }
    Ok(format!("{} events by monitor and key, in order", lines.len()))
}

fn stream(workshop: &mut Workshop) -> Result<String, String> {
    let trades = |text: &str| text.matches("\ndata:").filter(|_| text.contains("@trade")).count() > 1;
    if workshop.stream("/v1/sse/events?monitor=trades", trades)?.is_some() {
        return Ok("events come by SSE as they become durable".to_owned());
    }
    // A daemon that serves no streams.
    let before = workshop.durable;
    until_durable(workshop, before + 1)?;
    let lines = lines_of(&workshop.sluice(&["tail", "-n", "1", "--no-follow", "--output", "json"])?)?;
    match lines.first() {
        Some(line) if line.offset >= before => Ok(format!("the newest event is {}", line.offset)),
        _ => Err("the newest event is not among those that are shown".to_owned()),
    }
}

fn sink(workshop: &mut Workshop) -> Result<String, String> {
    let durable = workshop.durable;
    let cursor = workshop.until("the sink has what is durable", |workshop| {
        let rows: Vec<SinkRow> = workshop.ask("/api/v1/sinks")?;
        let cursor = rows.iter().find(|row| row.name == "rows").and_then(|row| row.cursor);
        Ok(cursor.filter(|cursor| *cursor >= durable))
    })?;
    Ok(format!("SQLite has all up to {cursor}"))
}

/// An alert as it stands, by the rule that the test has of its own.
fn alert_of(workshop: &Workshop, status: AlertStatus) -> Result<Option<AlertRow>, String> {
    let rows: Vec<AlertRow> = workshop.ask("/api/v1/monitoring/alerts?type=selftest")?;
    Ok(rows.into_iter().find(|row| row.alert.status == status))
}

fn alert(workshop: &mut Workshop) -> Result<String, String> {
    let open = |workshop: &mut Workshop| alert_of(workshop, AlertStatus::Open);
    let id = workshop.until("the rule opens an alert", open)?.alert.id;
    workshop.sluice(&["alerts", "ack", &id, "--notes", "seen by the self-test"])?;
    let seen = alert_of(workshop, AlertStatus::Acknowledged)?.ok_or("it was acknowledged, and is not so")?;
    if seen.alert.id != id || seen.alert.notes.as_deref() != Some("seen by the self-test") {
        return Err("it was acknowledged, and does not say so".to_owned());
    }
    workshop.sluice(&["alerts", "resolve", &id, "--resolution", "tested"])?;
    let over = alert_of(workshop, AlertStatus::Resolved)?.ok_or("it was resolved, and is not so")?;
    if over.alert.resolution.as_deref() != Some("tested") {
        return Err("it was resolved, and does not say so".to_owned());
    }
    Ok(format!("{id} opened, acknowledged, resolved"))
}

fn checkpoint(workshop: &mut Workshop) -> Result<String, String> {
    let text = workshop.sluice(&["checkpoint", "create", "--output", "json"])?;
    let row: Value = serde_json::from_str(&text).map_err(|error| format!("its answer cannot be read: {error}"))?;
    let durable = row["durable_offset"].as_u64().unwrap_or_default();
    if durable < workshop.durable {
        return Err(format!("it says {durable}, and {} were durable before", workshop.durable));
    }
    Ok(format!("written, durable up to {durable}"))
}

fn stop(workshop: &mut Workshop) -> Result<String, String> {
    let took = workshop.end_daemon()?;
    Ok(format!("stopped in order after {} ms", took.as_millis()))
}

fn restart(workshop: &mut Workshop) -> Result<String, String> {
    let before = durable_on_disk(workshop)?;
    if before < workshop.durable {
        return Err(format!("{} events were durable, and {before} are there", workshop.durable));
    }
    let took = workshop.begin_daemon()?;
    // More than the daemon tells of itself when it starts, so that there is something of the feed to be written anew.
    let after = until_durable(workshop, before + 50)?;
    Ok(format!("ready after {} ms, went on from {before} to {after}", took.as_millis()))
}

/// As the files say, without the daemon.
fn durable_on_disk(workshop: &mut Workshop) -> Result<u64, String> {
    let stat = workshop.sluice(&["journal", "stat", "--output", "json"])?;
    let stat: Value = serde_json::from_str(&stat).map_err(|error| format!("`journal stat` cannot be read: {error}"))?;
    Ok(stat["durable_offset"].as_u64().unwrap_or_default())
}

fn replay(workshop: &mut Workshop) -> Result<String, String> {
    let text = workshop.sluice(&["replay", "--from-checkpoint", "--output", "json"])?;
    let outcome: Value = serde_json::from_str(&text).map_err(|error| format!("its answer cannot be read: {error}"))?;
    match outcome["events"].as_u64() {
        Some(events) if events > 0 => Ok(format!("{events} events written anew")),
        _ => Err(format!("it wrote nothing: {}", text.trim())),
    }
}

fn end(workshop: &mut Workshop) -> Result<String, String> {
    let took = workshop.end_daemon()?;
    let durable = durable_on_disk(workshop)?;
    Ok(format!("stopped in order after {} ms with {durable} events", took.as_millis()))
}

fn verify(workshop: &mut Workshop) -> Result<String, String> {
    workshop.sluice(&["verify"])?;
    Ok("the sink has what the journal has, each event once".to_owned())
}
