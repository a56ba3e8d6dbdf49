//! How an event is printed: one JSON object a line, or a line of a table.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::value::RawValue;

use super::Format;
use crate::journal::{Event, Offset};
use crate::monitor::retry::RetryMarks;

/// An event for programs.
#[derive(Debug, Serialize)]
struct EventObject<'a> {
    offset: u64,
    path: &'a str,
    monitor: &'a str,
    domain: &'a str,
    topic: &'a str,
    key: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    event_time: Option<String>,
    received_time: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    conflict: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    handover: bool,
    /// Parsed again out of the quarantined frame at this offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    retried_from: Option<u64>,
    #[serde(flatten)]
    payload: Payload<'a>,
}

/// A payload as what it is.
#[derive(Debug, Serialize)]
enum Payload<'a> {
    /// A JSON text, with its digits and its order of keys as they came.
    #[serde(rename = "payload")]
    Json(Cow<'a, RawValue>),
    /// Any other text.
    #[serde(rename = "payload")]
    Text(&'a str),
    /// Anything else.
    #[serde(rename = "payload_base64")]
    Bytes(String),
}

fn payload(raw: &[u8]) -> Payload<'_> {
    let Ok(text) = std::str::from_utf8(raw) else {
        use base64::Engine as _;
        return Payload::Bytes(base64::engine::general_purpose::STANDARD.encode(raw));
    };
    let Ok(json) = serde_json::from_str::<&RawValue>(text) else {
        return Payload::Text(text);
    };
    if !json.get().contains(['\n', '\r']) {
        return Payload::Json(Cow::Borrowed(json));
    }
    // Line ends of a JSON text stand between its tokens only, so that a blank says the same on one line.
    match RawValue::from_string(json.get().replace(['\n', '\r'], " ")) {
        Ok(json) => Payload::Json(Cow::Owned(json)),
        Err(_) => Payload::Text(text),
    }
}

/// Prints events.
pub(super) struct EventPrinter<W> {
    out: W,
    format: Format,
    width: usize,
    headed: bool,
    /// Of the block that was printed from last, by its first offset.
    marks: Option<(Offset, RetryMarks)>,
}

impl<W: Write> EventPrinter<W> {
    /// A printer onto `out`; lines of a table are cut to `width` columns.
    pub(super) fn new(out: W, format: Format, width: usize) -> Self {
        Self { out, format, width, headed: false, marks: None }
    }

    /// Prints one event.
    pub(super) fn print(&mut self, event: &Event<'_>) -> io::Result<()> {
        let retried_from = self.retried_from(event);
        match self.format {
            Format::Json => {
                let object = EventObject {
                    offset: event.offset.0,
                    path: event.path.as_str(),
                    monitor: event.monitor,
                    domain: event.domain,
                    topic: event.topic,
                    key: event.key(),
                    id: event.id(),
                    event_time: event.event_time.map(|time| time.to_string()),
                    received_time: event.received.to_string(),
                    conflict: event.conflict,
                    handover: event.handover,
                    retried_from,
                    payload: payload(event.payload),
                };
                serde_json::to_writer(&mut self.out, &object)?;
                self.out.write_all(b"\n")
            }
            Format::Table => {
                if !std::mem::replace(&mut self.headed, true) {
                    self.line(&["OFFSET", "RECEIVED", "MONITOR", "KEY", "ID", "PAYLOAD"])?;
                }
                // To the millisecond: people compare, they do not compute.
                let received = format!("{:.3}", event.received).replace('T', " ").replace('Z', "");
                let offset = event.offset.to_string();
                let (key, id) = (event.key().unwrap_or("-".into()), event.id().unwrap_or("-".into()));
                let payload = String::from_utf8_lossy(event.payload);
                self.line(&[&offset, &received, event.monitor, &key, &id, &payload])
            }
        }
    }

    fn retried_from(&mut self, event: &Event<'_>) -> Option<u64> {
        let base = event.block().header().base();
        if self.marks.as_ref().is_none_or(|(of, _)| *of != base) {
            self.marks = Some((base, RetryMarks::of(event.block())));
        }
        self.marks.as_ref().and_then(|(_, marks)| marks.retried_from(event.offset))
    }

    /// Says that what was printed is on its way.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn line(&mut self, cells: &[&str; 6]) -> io::Result<()> {
        const WIDTHS: [usize; 5] = [10, 23, 18, 14, 24];
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(WIDTHS) {
            let cell = printable(cell, width);
            line.push_str(&cell);
            // A cell wider than its column pushes the others; nothing is cut that a filter could need.
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        let room = self.width.saturating_sub(line.chars().count()).max(20);
        line.push_str(&cut(&printable(cells[5], room), room));
        writeln!(self.out, "{}", line.trim_end())
    }
}

/// Without control characters, which could move a terminal's cursor. Looks no further than a line can show.
fn printable(text: &str, room: usize) -> String {
    let most = room.max(256) * 4;
    text.chars().take(most).map(|character| if character.is_control() { ' ' } else { character }).collect()
}

fn cut(text: &str, room: usize) -> Cow<'_, str> {
    if text.chars().count() <= room {
        return Cow::Borrowed(text);
    }
    let mut short: String = text.chars().take(room.saturating_sub(1)).collect();
    short.push('…');
    Cow::Owned(short)
}

/// Columns of the terminal; wide enough for a payload where there is none.
pub(super) fn terminal_width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout()).ok().map_or(200, |size| usize::from(size.ws_col)).max(80)
}
