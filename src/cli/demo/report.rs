//! What the demo shows: figures as lines.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::screen::{Line, Style};
use crate::daemon::DaemonView;
use crate::server::{HealthState, MonitorRow, View as _};

/// Over how long events a second are counted: shorter, and the figures jump; longer, and they lag.
const RATE_SPAN: Duration = Duration::from_secs(3);

/// Counts of the last seconds, for events a second.
#[derive(Debug, Default)]
pub(super) struct Rates {
    samples: VecDeque<(Instant, Vec<u64>)>,
}

impl Rates {
    /// Adds the counts of now.
    pub(super) fn add(&mut self, now: Instant, monitors: &[MonitorRow]) {
        while self.samples.len() > 1 && now.duration_since(self.samples[1].0) >= RATE_SPAN {
            self.samples.pop_front();
        }
        self.samples.push_back((now, monitors.iter().map(|monitor| monitor.events).collect()));
    }

    /// Events a second of a monitor; none before there are two looks to compare.
    #[expect(clippy::cast_precision_loss, reason = "shown in few digits")]
    fn of(&self, monitor: usize) -> Option<f64> {
        let ((first, before), (last, now)) = (self.samples.front()?, self.samples.back()?);
        let span = last.duration_since(*first).as_secs_f64();
        let events = now.get(monitor)?.saturating_sub(*before.get(monitor)?);
        (span > 0.0).then(|| events as f64 / span)
    }

    fn of_all(&self) -> Option<f64> {
        let monitors = self.samples.back()?.1.len();
        (0..monitors).map(|monitor| self.of(monitor)).sum()
    }
}

/// What a frame is about.
pub(super) enum Stage<'a> {
    /// The daemon runs.
    Running { rates: &'a Rates, warning: Option<String> },
    /// It has stopped: only counts still mean something.
    Over,
}

/// The table and what belongs to it, for a terminal of `width` columns.
pub(super) fn frame(view: &DaemonView, stage: Stage<'_>, elapsed: Duration, width: usize) -> Vec<Line> {
    let rates = if let Stage::Running { rates, .. } = &stage { Some(*rates) } else { None };
    let mut lines = table(&view.monitors(), rates, width);
    lines.push(Line::default());
    let upstreams = view.upstreams();
    let mut connections = Line::new(Style::Strong, "links open  ");
    if matches!(stage, Stage::Over) {
        connections = Line::new(Style::Strong, "links       ");
    }
    let mut unreadable = Vec::new();
    for (index, upstream) in upstreams.iter().enumerate() {
        let style = if upstream.open == upstream.links { Style::Good } else { Style::Poor };
        connections =
            connections.then(Style::Plain, format!("{}{} ", if index == 0 { "" } else { ", " }, upstream.name));
        connections = match &stage {
            Stage::Running { .. } => connections.then(style, format!("{}/{}", upstream.open, upstream.links)),
            Stage::Over => connections.then(Style::Plain, upstream.links.to_string()),
        };
        if upstream.quarantined > 0 {
            unreadable.push(format!("{} {}", upstream.name, grouped(upstream.quarantined)));
        }
    }
    let reconnects: u64 = upstreams.iter().map(|upstream| upstream.reconnects).sum();
    let lost = match reconnects {
        0 => String::from("; none was lost so far"),
        1 => String::from("; one was lost and opened again"),
        _ => format!("; {} were lost and opened again", grouped(reconnects)),
    };
    lines.push(connections.then(Style::Plain, lost));
    let unreadable = if unreadable.is_empty() { String::from("none") } else { unreadable.join(", ") };
    lines.push(
        Line::new(Style::Strong, "quarantined ").then(Style::Plain, format!("frames for no monitor: {unreadable}")),
    );
    let journal = view.journal();
    let durable = format!(
        "{} events durable, {} written in {}",
        grouped(journal.durable.0),
        bytes(journal.written_bytes),
        clock(elapsed)
    );
    lines.push(Line::new(Style::Strong, "journal     ").then(Style::Plain, durable));
    if let (Some(p50), Some(p99)) = (journal.latency_p50, journal.latency_p99) {
        let latency = format!("from socket to durable: p50 {}, p99 {}", millis(p50), millis(p99));
        lines.push(Line::new(Style::Strong, "latency     ").then(Style::Plain, latency));
    }
    let Stage::Running { warning, .. } = stage else { return lines };
    let health = view.health();
    let (style, word) = match health.status {
        HealthState::Healthy => (Style::Good, "healthy"),
        HealthState::Degraded => (Style::Poor, "degraded"),
        HealthState::Unhealthy => (Style::Poor, "unhealthy"),
    };
    let reasons = if health.reasons.is_empty() { String::new() } else { format!(": {}", health.reasons.join("; ")) };
    lines.push(Line::new(Style::Strong, "health      ").then(style, word).then(Style::Plain, reasons));
    let warning = warning.unwrap_or_else(|| String::from("none yet"));
    lines.push(Line::new(Style::Strong, "warning     ").then(Style::Plain, warning));
    lines
}

/// A column of the table.
struct Column {
    name: &'static str,
    right: bool,
    cells: Vec<String>,
}

/// Rates and states are shown where there are any.
fn table(monitors: &[MonitorRow], rates: Option<&Rates>, width: usize) -> Vec<Line> {
    fn column<'a>(name: &'static str, right: bool, cells: impl Iterator<Item = String> + 'a) -> Column {
        Column { name, right, cells: cells.collect() }
    }
    let rows = || monitors.iter();
    let total = |of: fn(&MonitorRow) -> u64| std::iter::once(grouped(rows().map(of).sum()));
    let rate = |rate: Option<f64>| rate.map_or_else(|| String::from("-"), |rate| format!("{rate:.1}"));
    let rates_of = (0..monitors.len()).map(|monitor| rate(rates.and_then(|rates| rates.of(monitor))));
    let none = || std::iter::once(String::new());
    let mut columns = vec![
        column("MONITOR", false, rows().map(|row| row.name.clone()).chain([String::from("all")])),
        column("DOMAIN", false, rows().map(|row| row.domain.clone()).chain(none())),
        column("UPSTREAM", false, rows().map(|row| row.upstream.clone()).chain(none())),
        // As wide as its widest word, so that columns stay where they are.
        column("STATE      ", false, rows().map(|row| row.state.clone()).chain(none())),
        column("EVENTS", true, rows().map(|row| grouped(row.events)).chain(total(|row| row.events))),
        column("EVENTS/S", true, rates_of.chain([rate(rates.and_then(Rates::of_all))])),
        column("REPEATS", true, rows().map(|row| grouped(row.repeats)).chain(total(|row| row.repeats))),
        column("QUARANTINED", true, rows().map(|row| grouped(row.quarantined)).chain(total(|row| row.quarantined))),
    ];
    let widths_of = |columns: &[Column]| -> Vec<usize> {
        let cells = |column: &Column| column.cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
        columns.iter().map(|column| cells(column).max(column.name.len())).collect()
    };
    let fits =
        |columns: &[Column], gap: usize| widths_of(columns).iter().sum::<usize>() + gap * (columns.len() - 1) <= width;
    if rates.is_none() {
        columns.retain(|column| !["STATE      ", "EVENTS/S"].contains(&column.name));
    }
    // What is least missed goes first.
    for name in ["DOMAIN", "UPSTREAM", "REPEATS"] {
        if !fits(&columns, 1) {
            columns.retain(|column| column.name != name);
        }
    }
    let gap = if fits(&columns, 2) { 2 } else { 1 };
    let widths = widths_of(&columns);
    let line = |cell: &dyn Fn(&Column) -> (Style, String)| {
        let mut line = Line::default();
        for (index, (column, width)) in columns.iter().zip(&widths).enumerate() {
            let (style, text) = cell(column);
            let fill = " ".repeat(width - text.chars().count());
            let gap = if index == 0 { String::new() } else { " ".repeat(gap) };
            line = if column.right {
                line.then(Style::Plain, gap + &fill).then(style, text)
            } else {
                line.then(Style::Plain, gap).then(style, text).then(Style::Plain, fill)
            };
        }
        line
    };
    let mut lines = vec![line(&|column| (Style::Strong, column.name.to_owned()))];
    for index in 0..=monitors.len() {
        lines.push(line(&|column| {
            let text = column.cells[index].clone();
            let style = match (column.name.trim(), text.as_str()) {
                ("STATE", "live") => Style::Good,
                ("STATE", _) => Style::Poor,
                _ => Style::Plain,
            };
            (style, text)
        }));
    }
    lines
}

/// The same in one line, where lines cannot be drawn over.
pub(super) fn status_line(view: &DaemonView, monitors: &[MonitorRow], rates: &Rates, elapsed: Duration) -> String {
    let (upstreams, journal) = (view.upstreams(), view.journal());
    let sum = |of: fn(&MonitorRow) -> u64| monitors.iter().map(of).sum::<u64>();
    let live = monitors.iter().filter(|monitor| monitor.state == "live").count();
    let (open, links) = upstreams.iter().fold((0, 0), |(open, links), one| (open + one.open, links + one.links));
    let unreadable: u64 = sum(|row| row.quarantined) + upstreams.iter().map(|one| one.quarantined).sum::<u64>();
    let rate = rates.of_all().map_or_else(String::new, |rate| format!(" ({rate:.0}/s)"));
    let latency = journal.latency_p99.map_or_else(String::new, |p99| format!(", p99 {}", millis(p99)));
    format!(
        "{}  {} events{rate}, {} repeats, {} quarantined; {live}/{} monitors live, {open}/{links} links open; {} durable{latency}",
        clock(elapsed),
        grouped(sum(|row| row.events)),
        grouped(sum(|row| row.repeats)),
        grouped(unreadable),
        monitors.len(),
        grouped(journal.durable.0),
    )
}

/// 1234567 as 1,234,567.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{:.0} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    if millis < 10.0 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 3600 {
        format!("{}:{:02}", seconds / 60, seconds % 60)
    } else {
        format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn row(name: &str, events: u64) -> MonitorRow {
        MonitorRow {
            name: name.into(),
            domain: "liquidity".into(),
            upstream: "coinbase".into(),
            path: "smart".into(),
            crossing_to: None,
            state: "partly_live".into(),
            mode: None,
            topics: "1/2".into(),
            parse_rate: Some(1.0),
            events,
            conflicts: 0,
            repeats: 1_234,
            quarantined: 0,
            error: None,
            race: None,
            counters: BTreeMap::default(),
        }
    }

    fn width_of(line: &Line) -> usize {
        line.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    #[test]
    fn the_table_fits_eighty_columns_with_all_its_columns() {
        let monitors = [row("spot-trades", 123_456), row("usd-matches", 5)];
        let lines = table(&monitors, Some(&Rates::default()), 80);
        assert_eq!(lines.len(), 4);
        let header: String = lines[0].0.iter().map(|(_, text)| text.as_str()).collect();
        assert!(header.contains("DOMAIN") && header.ends_with("QUARANTINED"), "{header}");
        assert!(lines.iter().all(|line| width_of(line) == width_of(&lines[0]) && width_of(line) <= 80));
        let narrow = table(&monitors, Some(&Rates::default()), 60);
        assert!(narrow.iter().all(|line| width_of(line) <= 60));
    }

    #[test]
    fn events_a_second_are_those_of_the_last_seconds() {
        let mut rates = Rates::default();
        let start = Instant::now();
        for second in 0..10 {
            rates.add(start + Duration::from_secs(second), &[row("a", if second < 5 { 0 } else { second * 100 })]);
        }
        assert_eq!(rates.of(0), Some(100.0));
        assert_eq!(Rates::default().of(0), None);
    }

    #[test]
    fn numbers_read_easily() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(millis(Duration::from_micros(1_500)), "1.5 ms");
        assert_eq!(clock(Duration::from_secs(3_725)), "1:02:05");
    }
}
