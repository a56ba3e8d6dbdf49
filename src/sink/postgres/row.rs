//! An event as a row of a binary COPY.

use super::field::{DeclaredFields, put_sized};
use super::table::EVENT_COLUMNS;
use crate::clock::UnixNanos;
use crate::config::PayloadType;
use crate::journal::{Event, JournalId, payload_text};

/// What a binary COPY begins with: the signature, no flags, no extension.
const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The number of columns that ends it.
const END: [u8; 2] = (-1_i16).to_be_bytes();

/// From 1970-01-01 to the server's own first day, 2000-01-01.
pub(super) const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A `jsonb` in binary form is its text behind this version.
pub(super) const JSONB_VERSION: u8 = 1;

/// Writes rows of one journal.
#[derive(Debug)]
pub(super) struct RowEncoder {
    /// The number of columns and the journal's column, which are alike in all rows.
    start: Vec<u8>,
    payload: PayloadType,
    /// There is a column for what was looked up.
    enriched: bool,
    fields: DeclaredFields,
}

impl RowEncoder {
    pub(super) fn new(payload: PayloadType, enriched: bool, fields: DeclaredFields) -> Self {
        Self { start: Vec::new(), payload, enriched, fields }
    }

    /// Whose events follow.
    pub(super) fn set_journal(&mut self, journal: JournalId) {
        let columns = EVENT_COLUMNS.len() + usize::from(self.enriched) + self.fields.columns().len();
        let columns = i16::try_from(columns).expect("a table has at most 1,600 columns, which is checked before");
        self.start.clear();
        self.start.extend_from_slice(&columns.to_be_bytes());
        put_bytes(&mut self.start, journal.0.as_bytes());
    }

    pub(super) fn begin(out: &mut Vec<u8>) {
        out.extend_from_slice(HEAD);
    }

    pub(super) fn end(out: &mut Vec<u8>) {
        out.extend_from_slice(&END);
    }

    /// Appends an event, its columns in the order of [`EVENT_COLUMNS`], then what was looked up, then the fields.
    pub(super) fn put(&mut self, event: &Event<'_>, enriched: Option<&str>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.start);
        put_bytes(out, &event.offset.0.to_be_bytes());
        put_bytes(out, event.path.as_str().as_bytes());
        put_bytes(out, event.monitor.as_bytes());
        put_bytes(out, event.domain.as_bytes());
        put_bytes(out, event.topic.as_bytes());
        put_optional(out, event.key().as_deref().map(str::as_bytes));
        put_optional(out, event.id().as_deref().map(str::as_bytes));
        put_optional(out, event.event_time.map(micros).as_ref().map(<[u8; 8]>::as_slice));
        put_bytes(out, &micros(event.received));
        put_bytes(out, &[u8::from(event.conflict)]);
        put_bytes(out, &[u8::from(event.handover)]);
        let payload = payload_text(event.payload);
        match self.payload {
            PayloadType::Text => put_bytes(out, payload.as_bytes()),
            PayloadType::Jsonb => {
                put_sized(out, |out| {
                    out.push(JSONB_VERSION);
                    out.extend_from_slice(payload.as_bytes());
                    true
                });
            }
        }
        if self.enriched {
            put_sized(out, |out| {
                out.push(JSONB_VERSION);
                out.extend_from_slice(enriched.unwrap_or_default().as_bytes());
                enriched.is_some()
            });
        }
        self.fields.put(event, out);
    }
}

/// The server keeps microseconds; the nanoseconds below them are cut off.
fn micros(time: UnixNanos) -> [u8; 8] {
    (time.0.div_euclid(1000) - EPOCH_MICROS).to_be_bytes()
}

#[inline]
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = i32::try_from(bytes.len()).expect("a value is not longer than its message, which is bounded");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
}

#[inline]
fn put_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => put_bytes(out, bytes),
        None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
    }
}
