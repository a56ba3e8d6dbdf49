//! Events as text: a page of JSON, lines, or a table.

use std::borrow::Cow;
use std::io::{self, Write};

use base64::Engine as _;
use serde::Serialize;

use super::query::EventsAs;
use crate::journal::{Event, EventObject, Offset};
use crate::monitor::retry::RetryMarks;

/// The columns of a table.
const COLUMNS: [&str; 13] = [
    "offset",
    "received_time",
    "event_time",
    "monitor",
    "domain",
    "path",
    "topic",
    "key",
    "id",
    "conflict",
    "retried_from",
    "encoding",
    "payload",
];

/// What stands behind the events of a page.
#[derive(Debug, Serialize)]
pub(super) struct Ending {
    /// What the next page is asked for by, also where there is none yet.
    pub(super) next: String,
    /// Whether it has events already.
    pub(super) more: bool,
    /// The first offset that is still in the journal.
    pub(super) earliest: u64,
    /// The journal was looked at up to here.
    pub(super) durable: u64,
    /// Offsets, from and to, that a repair of the journal recorded as lost.
    pub(super) lost: Vec<(u64, u64)>,
}

enum Form<'a, W: Write> {
    Json { out: &'a mut W, first: bool },
    Lines(&'a mut W),
    Csv(Box<csv::Writer<&'a mut W>>),
}

/// Writes events.
pub(super) struct Rows<'a, W: Write> {
    form: Form<'a, W>,
    /// Of the block that was written from last, by its first offset.
    marks: Option<(Offset, RetryMarks)>,
}

impl<'a, W: Write> Rows<'a, W> {
    /// What stands before the events.
    pub(super) fn begin(format: EventsAs, out: &'a mut W) -> io::Result<Self> {
        let form = match format {
            EventsAs::Json => {
                out.write_all(b"{\"events\":[")?;
                Form::Json { out, first: true }
            }
            EventsAs::Lines => Form::Lines(out),
            EventsAs::Csv => {
                let mut table = csv::Writer::from_writer(out);
                table.write_record(COLUMNS)?;
                Form::Csv(Box::new(table))
            }
        };
        Ok(Self { form, marks: None })
    }

    /// One event.
    pub(super) fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        let base = event.block().header().base();
        if self.marks.as_ref().is_none_or(|(of, _)| *of != base) {
            self.marks = Some((base, RetryMarks::of(event.block())));
        }
        let retried_from = self.marks.as_ref().and_then(|(_, marks)| marks.retried_from(event.offset));
        let object = || EventObject::from(event).retried_from(retried_from);
        match &mut self.form {
            Form::Json { out, first } => {
                out.write_all(if std::mem::replace(first, false) { b"\n" } else { b",\n" })?;
                serde_json::to_writer(&mut **out, &object())?;
            }
            Form::Lines(out) => {
                serde_json::to_writer(&mut **out, &object())?;
                out.write_all(b"\n")?;
            }
            Form::Csv(table) => {
                // To the byte as it came, where it is text.
                let (encoding, payload) = match std::str::from_utf8(event.payload) {
                    Ok(text) => ("text", Cow::Borrowed(text)),
                    Err(_) => ("base64", Cow::Owned(base64::engine::general_purpose::STANDARD.encode(event.payload))),
                };
                let none = String::new;
                table.write_record([
                    event.offset.to_string().as_str(),
                    &event.received.to_string(),
                    &event.event_time.map_or_else(none, |time| time.to_string()),
                    event.monitor,
                    event.domain,
                    event.path.as_str(),
                    event.topic,
                    &event.key().unwrap_or_default(),
                    &event.id().unwrap_or_default(),
                    if event.conflict { "true" } else { "false" },
                    &retried_from.map_or_else(none, |frame| frame.to_string()),
                    encoding,
                    &payload,
                ])?;
            }
        }
        Ok(())
    }

    /// What stands behind them.
    pub(super) fn end(self, ending: &Ending) -> io::Result<()> {
        match self.form {
            Form::Json { out, .. } => {
                out.write_all(b"\n],")?;
                let rest = serde_json::to_vec(ending)?;
                // Its members go on in the page's own object.
                out.write_all(&rest[1..])?;
                out.write_all(b"\n")?;
                out.flush()
            }
            Form::Lines(out) => out.flush(),
            Form::Csv(mut table) => table.flush(),
        }
    }
}
