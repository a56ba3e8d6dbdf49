//! How it looks: a frame of a state.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Sparkline, Table, TableState, Wrap};
use serde_json::Value;

use super::snapshot::Snapshot;
use super::state::{Panel, State};
use crate::breaker::BreakerState;

/// The least columns and rows that it works with.
pub(super) const LEAST: (u16, u16) = (80, 24);

const KEYS: [(&str, &str); 9] = [
    ("q", "quit"),
    ("?", "this page"),
    ("p, space", "pause: what is shown stands still, and the daemon goes on"),
    ("s", "sort monitors by name, events/s, events, quarantined"),
    ("r", "the other way round"),
    ("tab, shift+tab", "go to monitors, upstreams, sinks"),
    ("↑ ↓, k j", "choose a row"),
    ("enter", "show all of it: of an upstream its links"),
    ("esc", "back"),
];

/// Draws a state.
pub fn draw(state: &State, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let words = format!(
            "This terminal has {}x{}; sluice top needs {}x{}. Make it larger, or press q.",
            area.width, area.height, LEAST.0, LEAST.1
        );
        frame.render_widget(Paragraph::new(words).wrap(Wrap { trim: true }), area);
        return;
    }
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(6), Constraint::Min(0), Constraint::Length(1)]).areas(area);
    header(state, frame, head);
    match &state.snapshot {
        None => waiting(state, frame, body),
        Some(snapshot) if state.detail => detail(state, snapshot, frame, body),
        Some(snapshot) => panels(state, snapshot, frame, body),
    }
    frame.render_widget(Paragraph::new(footer(state)), foot);
    if state.help {
        help(frame, area);
    }
}

fn footer(state: &State) -> Line<'static> {
    let order = if state.reversed { ", reversed" } else { "" };
    let text = format!(
        " q quit  ? help  p {}  s sort: {}{order}  tab panel  enter {}",
        if state.paused { "go on" } else { "pause" },
        state.sort.as_str(),
        if state.detail { "(esc: back)" } else { "more" },
    );
    Line::styled(text, Style::new().add_modifier(Modifier::REVERSED))
}

fn colour_of(word: &str) -> Color {
    match word {
        "healthy" | "connected" | "live" | "open" | "writable" => Color::Green,
        "unhealthy" | "disconnected" | "refused" | "failed" => Color::Red,
        _ => Color::Yellow,
    }
}

fn word(word: &str) -> Span<'static> {
    Span::styled(word.to_owned(), Style::new().fg(colour_of(word)).add_modifier(Modifier::BOLD))
}

fn known(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}

fn header(state: &State, frame: &mut Frame<'_>, area: Rect) {
    let [first, second, third, curve] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Length(1), Constraint::Length(3)])
            .areas(area);
    let mut title = vec![Span::styled("sluice top  ", Style::new().add_modifier(Modifier::BOLD))];
    if let Some(snapshot) = &state.snapshot {
        let health = &snapshot.health;
        title.extend([word(&health.status), Span::raw("  journal "), word(&health.journal)]);
        let uptime = humantime::format_duration(std::time::Duration::from_secs(health.uptime));
        title.push(Span::raw(format!(
            "  up {uptime}  memory {}",
            bytesize::ByteSize(health.memory.used).display().iec()
        )));
    }
    if state.paused {
        title.push(Span::styled("  PAUSED", Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD)));
    }
    frame.render_widget(Paragraph::new(Line::from(title)), first);
    let second_line = match (&state.away, &state.snapshot) {
        (Some(away), _) => {
            Line::styled(format!("AWAY, asking again every second: {away}"), Style::new().fg(Color::Red))
        }
        (None, Some(snapshot)) => figures(state, snapshot),
        (None, None) => Line::raw("asking the daemon …"),
    };
    frame.render_widget(Paragraph::new(second_line), second);
    let reason = state.snapshot.as_ref().and_then(|snapshot| snapshot.health.reasons.first().cloned());
    let third_line = Line::styled(reason.unwrap_or_default(), Style::new().fg(Color::Yellow));
    frame.render_widget(Paragraph::new(third_line), third);
    let shown = usize::from(curve.width);
    let data: Vec<u64> = state.history.iter().skip(state.history.len().saturating_sub(shown)).copied().collect();
    frame.render_widget(Sparkline::default().data(&data).style(Style::new().fg(Color::Cyan)), curve);
}

fn figures(state: &State, snapshot: &Snapshot) -> Line<'static> {
    let now = state.history.back().map_or_else(|| known(snapshot.rate_of_minute()), ToString::to_string);
    let statistics = snapshot.statistics.clone().unwrap_or_default();
    let latency = statistics.latency_ms;
    Line::raw(format!(
        "events/s {now}  in all {}  latency ms p50 {} p95 {} p99 {}  buffer {:.0} %",
        snapshot.events(),
        known(latency.p50),
        known(latency.p95),
        known(latency.p99),
        statistics.buffer.utilization_percent,
    ))
}

fn waiting(state: &State, frame: &mut Frame<'_>, area: Rect) {
    let words = if state.away.is_some() { "The daemon does not answer. It is shown as soon as it does." } else { "" };
    frame.render_widget(Paragraph::new(words).wrap(Wrap { trim: true }), area);
}

fn panels(state: &State, snapshot: &Snapshot, frame: &mut Frame<'_>, area: Rect) {
    // Of what is not needed above, lists of sinks and links get a third.
    let lower = (area.height / 3).max(5);
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Min(5), Constraint::Length(lower), Constraint::Length(5)]).areas(area);
    monitors(state, snapshot, frame, top);
    let [left, right] = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).areas(middle);
    upstreams(state, snapshot, frame, left);
    sinks(state, snapshot, frame, right);
    let [left, middle, right] =
        Layout::horizontal([Constraint::Percentage(34), Constraint::Percentage(33), Constraint::Percentage(33)])
            .areas(bottom);
    list("Breakers", breakers(snapshot), frame, left);
    list("Canary", canary(snapshot), frame, middle);
    list("Alerts", alerts(snapshot), frame, right);
}

fn frame_of(title: &str, chosen: bool) -> Block<'static> {
    let style = if chosen { Style::new().fg(Color::Cyan) } else { Style::new().fg(Color::DarkGray) };
    Block::bordered().title(format!(" {title} ")).border_style(style)
}

fn table(
    (title, panel): (&str, Panel),
    columns: &[(&'static str, Constraint)],
    rows: Vec<Row<'static>>,
    state: &State,
    frame: &mut Frame<'_>,
    area: Rect,
) {
    let is_here = state.panel == panel;
    let head =
        columns.iter().map(|(name, _)| *name).collect::<Row<'_>>().style(Style::new().add_modifier(Modifier::BOLD));
    let highlight = if is_here { Modifier::REVERSED } else { Modifier::empty() };
    let drawn = Table::new(rows, columns.iter().map(|(_, width)| *width))
        .header(head)
        .block(frame_of(title, is_here))
        .row_highlight_style(Style::new().add_modifier(highlight));
    let mut at = TableState::default().with_selected(state.place(panel));
    frame.render_stateful_widget(drawn, area, &mut at);
}

fn monitors(state: &State, snapshot: &Snapshot, frame: &mut Frame<'_>, area: Rect) {
    let row = |row: &&crate::server::MonitorRow| {
        let rate = snapshot.rates.get(&row.name).map(|(rate, _)| *rate);
        let parsed = row.parse_rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.2}", rate * 100.0));
        Row::new([
            Cell::from(row.name.clone()),
            Cell::from(row.upstream.clone()),
            Cell::from(row.path.clone()),
            Cell::from(word(&row.state)),
            Cell::from(row.topics.clone()),
            Cell::from(known(rate)),
            Cell::from(row.events.to_string()),
            Cell::from(parsed),
            Cell::from(row.quarantined.to_string()),
        ])
    };
    let rows = state.monitors().iter().map(row).collect();
    let columns = [
        ("MONITOR", Constraint::Fill(3)),
        ("UPSTREAM", Constraint::Fill(2)),
        ("PATH", Constraint::Length(6)),
        ("STATE", Constraint::Length(11)),
        ("TOPICS", Constraint::Length(7)),
        ("EV/S", Constraint::Length(8)),
        ("EVENTS", Constraint::Length(9)),
        ("PARSED%", Constraint::Length(7)),
        ("QUAR", Constraint::Length(6)),
    ];
    let title = format!("Monitors ({})", snapshot.monitors.len());
    table((&title, Panel::Monitors), &columns, rows, state, frame, area);
}

fn upstreams(state: &State, snapshot: &Snapshot, frame: &mut Frame<'_>, area: Rect) {
    let name = |row: &crate::server::PoolRow| match &row.monitor {
        Some(monitor) => format!("{} ({monitor})", row.upstream),
        None => row.upstream.clone(),
    };
    let row = |row: &crate::server::PoolRow| {
        let links = format!("{}/{}", row.links_open, row.links_wanted);
        let colour = if row.links_open < row.links_wanted { Color::Yellow } else { Color::Green };
        Row::new([
            Cell::from(name(row)),
            Cell::from(Span::styled(links, Style::new().fg(colour))),
            Cell::from(row.topics_placed.to_string()),
            Cell::from(format!("{:.0}", row.messages_per_second)),
        ])
    };
    let columns = [
        ("UPSTREAM", Constraint::Fill(1)),
        ("LINKS", Constraint::Length(7)),
        ("TOPICS", Constraint::Length(6)),
        ("MSG/S", Constraint::Length(7)),
    ];
    table(("Upstreams", Panel::Upstreams), &columns, snapshot.pools.iter().map(row).collect(), state, frame, area);
}

fn sinks(state: &State, snapshot: &Snapshot, frame: &mut Frame<'_>, area: Rect) {
    let row = |row: &crate::sink::SinkRow| {
        Row::new([
            Cell::from(row.name.clone()),
            Cell::from(word(row.state.as_str())),
            Cell::from(row.lag_events.map_or_else(|| "-".to_owned(), |lag| lag.to_string())),
            Cell::from(known(row.latency_ms.map(|latency| latency.p95))),
        ])
    };
    let columns = [
        ("SINK", Constraint::Fill(1)),
        ("STATE", Constraint::Length(12)),
        ("LAG", Constraint::Length(8)),
        ("P95 MS", Constraint::Length(7)),
    ];
    table(("Sinks", Panel::Sinks), &columns, snapshot.sinks.iter().map(row).collect(), state, frame, area);
}

fn list(title: &str, lines: Vec<Line<'static>>, frame: &mut Frame<'_>, area: Rect) {
    frame.render_widget(Paragraph::new(lines).block(frame_of(title, false)), area);
}

fn breakers(snapshot: &Snapshot) -> Vec<Line<'static>> {
    let not_closed = snapshot.circuits.iter().filter(|row| row.state != BreakerState::Closed);
    let mut lines: Vec<Line<'static>> = not_closed
        .map(|row| {
            let text = format!("{} {} {}", row.state.as_str(), row.kind.as_str(), row.name);
            Line::styled(text, Style::new().fg(Color::Red))
        })
        .collect();
    let trips: u64 = snapshot.circuits.iter().map(|row| row.openings).sum();
    let closed = snapshot.circuits.len() - lines.len();
    lines.insert(0, Line::raw(format!("{closed} closed, {trips} trips so far")));
    lines
}

fn canary(snapshot: &Snapshot) -> Vec<Line<'static>> {
    let Some(canary) = &snapshot.canary else { return vec![Line::raw("-")] };
    let paths = canary.paths.iter().map(|path| format!("{} {}", path.path.as_str(), path.now)).collect::<Vec<_>>();
    let enabled = if canary.settings.enabled { "" } else { " (off)" };
    let mut lines = vec![Line::raw(format!("fraction {}{enabled}", canary.fraction)), Line::raw(paths.join(", "))];
    if let Some(roll_back) = &canary.roll_back {
        lines.push(Line::styled(format!("rolling back, {} left", roll_back.left), Style::new().fg(Color::Red)));
    } else if let Some(words) = &canary.guard.words {
        lines.push(Line::raw(words.clone()));
    }
    lines
}

fn alerts(snapshot: &Snapshot) -> Vec<Line<'static>> {
    let Some(alerts) = &snapshot.alerts else { return vec![Line::raw("-")] };
    if alerts.is_empty() {
        return vec![Line::styled("none", Style::new().fg(Color::Green))];
    }
    let line = |alert: &crate::alert::Alert| {
        let text = format!("{} {}", alert.kind.as_str(), alert.subject);
        Line::styled(text, Style::new().fg(Color::Red))
    };
    alerts.iter().map(line).collect()
}

fn detail(state: &State, snapshot: &Snapshot, frame: &mut Frame<'_>, area: Rect) {
    let Some(place) = state.place(state.panel) else { return };
    let (title, value) = match state.panel {
        Panel::Monitors => {
            let row = state.monitors().get(place).map(|row| (row.name.clone(), serde_json::to_value(row)));
            let Some((name, value)) = row else { return };
            let mut value = value.unwrap_or_default();
            if let Some((rate, last)) = snapshot.rates.get(&name) {
                value["rate_1m"] = (*rate).into();
                value["last_received_time"] = last.clone().into();
            }
            (format!("Monitor {name}"), value)
        }
        Panel::Upstreams => {
            let Some(row) = snapshot.pools.get(place) else { return };
            (format!("Upstream {}", row.upstream), serde_json::to_value(row).unwrap_or_default())
        }
        Panel::Sinks => {
            let Some(row) = snapshot.sinks.get(place) else { return };
            (format!("Sink {}", row.name), serde_json::to_value(row).unwrap_or_default())
        }
    };
    let mut lines = Vec::new();
    lay_out(&value, "", &mut lines);
    frame.render_widget(Paragraph::new(lines).block(frame_of(&title, true)).wrap(Wrap { trim: false }), area);
}

/// A line for each member; lists of objects below, an element a line.
fn lay_out(value: &Value, indent: &str, lines: &mut Vec<Line<'static>>) {
    let Value::Object(members) = value else { return };
    let plain = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    for (name, member) in members {
        let label = Span::styled(format!("{indent}{name}: "), Style::new().add_modifier(Modifier::BOLD));
        match member {
            Value::Array(elements) if elements.iter().any(Value::is_object) => {
                lines.push(Line::from(label));
                for element in elements {
                    let told: Vec<String> = element
                        .as_object()
                        .into_iter()
                        .flatten()
                        .filter(|(_, value)| !value.is_null())
                        .map(|(name, value)| format!("{name} {}", plain(value)))
                        .collect();
                    lines.push(Line::raw(format!("{indent}  {}", told.join(", "))));
                }
            }
            Value::Object(_) => {
                lines.push(Line::from(label));
                lay_out(member, &format!("{indent}  "), lines);
            }
            other => lines.push(Line::from(vec![label, Span::raw(plain(other))])),
        }
    }
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let (width, height) = (74.min(area.width), u16::try_from(KEYS.len()).unwrap_or(0) + 4);
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + area.height.saturating_sub(height) / 2,
        width,
        height: height.min(area.height),
    };
    let lines: Vec<Line<'static>> = KEYS.iter().map(|(key, does)| Line::raw(format!(" {key:<16}{does}"))).collect();
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(frame_of("Keys: any of them goes back", true)), place);
}
