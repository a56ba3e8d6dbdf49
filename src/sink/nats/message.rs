//! An event as a message of the stream, and back.

use std::fmt::Write as _;

use async_nats::header::HeaderName;
use async_nats::{HeaderMap, HeaderValue};
use uuid::Uuid;

use super::escape;
use super::subject::{SUBJECT_BYTES_MAX, SubjectTemplate, TEMPLATE_BYTES_MAX};
use crate::clock::UnixNanos;
use crate::journal::{Event, JournalId, Offset};
use crate::sink::{Opening, Purpose};

/// The server counts the headers of a message in 16 bits and refuses more.
const HEADER_BYTES_MAX: usize = 65_535;

/// `NATS/1.0`, the line ends around it and after the last header.
const HEADER_FRAME_BYTES: usize = 12;

/// The headers with what is expected, at their longest.
const EXPECTED_BYTES_MAX: usize = "Nats-Expected-Last-Sequence: 18446744073709551615\r\n".len()
    + "Nats-Expected-Last-Msg-Id: 00000000-0000-0000-0000-000000000000-18446744073709551615\r\n".len();

const SINK: HeaderName = HeaderName::from_static("Sluice-Sink");
const REPLAY: HeaderName = HeaderName::from_static("Sluice-Replay");
const JOURNAL: HeaderName = HeaderName::from_static("Sluice-Journal");
const OFFSET: HeaderName = HeaderName::from_static("Sluice-Offset");
const MONITOR: HeaderName = HeaderName::from_static("Sluice-Monitor");
const DOMAIN: HeaderName = HeaderName::from_static("Sluice-Domain");
const TOPIC: HeaderName = HeaderName::from_static("Sluice-Topic");
const KEY: HeaderName = HeaderName::from_static("Sluice-Key");
const ID: HeaderName = HeaderName::from_static("Sluice-Id");
const EVENT_TIME: HeaderName = HeaderName::from_static("Sluice-Event-Time");
const RECEIVED_TIME: HeaderName = HeaderName::from_static("Sluice-Received-Time");
const PATH: HeaderName = HeaderName::from_static("Sluice-Path");
const CONFLICT: HeaderName = HeaderName::from_static("Sluice-Conflict");
const ENRICHED: HeaderName = HeaderName::from_static("Sluice-Enriched");
const HANDOVER: HeaderName = HeaderName::from_static("Sluice-Handover");

/// A message, but for what it expects of the one before it.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) subject: String,
    pub(super) id: String,
    headers: HeaderMap,
    /// Bytes of the headers as they are sent, without what is expected.
    header_bytes: usize,
}

/// Makes messages of events.
#[derive(Debug)]
pub(super) struct Author {
    subjects: SubjectTemplate,
    sink: HeaderValue,
    replay: Option<HeaderValue>,
    journal: String,
}

impl Author {
    pub(super) fn new(opening: &Opening, subjects: SubjectTemplate) -> Self {
        let replay = match &opening.purpose {
            Purpose::Replay { id, .. } => Some(value(id)),
            Purpose::Live | Purpose::Inspect => None,
        };
        Self { subjects, sink: value(&opening.sink), replay, journal: opening.journal.to_string() }
    }

    /// The message of an event, with what is known beside its payload if the server takes that too.
    pub(super) fn write_enriched(&self, event: &Event<'_>, enriched: Option<&str>, limits: &Limits) -> Message {
        let plain = self.write(event);
        let Some(enriched) = enriched else { return plain };
        let Message { subject, id, headers, header_bytes } = plain;
        let mut headers = Headers { map: headers, bytes: header_bytes };
        headers.set(ENRICHED, value(enriched));
        let message = Message { subject, id, headers: headers.map, header_bytes: headers.bytes };
        // No event is refused for what was only added to it.
        if message.refusal(event.payload.len(), limits).is_some() { self.write(event) } else { message }
    }

    /// The message of an event.
    pub(super) fn write(&self, event: &Event<'_>) -> Message {
        let subject = self.subjects.of(event);
        let mut headers = Headers { map: HeaderMap::new(), bytes: HEADER_FRAME_BYTES };
        let id = format!("{}-{}", self.journal, event.offset);
        headers.set(async_nats::header::NATS_MESSAGE_ID, HeaderValue::from(id.as_str()));
        headers.set(SINK, self.sink.clone());
        if let Some(replay) = &self.replay {
            headers.set(REPLAY, replay.clone());
        }
        headers.set(JOURNAL, HeaderValue::from(self.journal.as_str()));
        headers.set(OFFSET, event.offset.0.into());
        headers.set(MONITOR, value(event.monitor));
        headers.set(DOMAIN, value(event.domain));
        headers.set(TOPIC, value(event.topic));
        if let Some(key) = event.key() {
            headers.set(KEY, value(&key));
        }
        if let Some(id) = event.id() {
            headers.set(ID, value(&id));
        }
        if let Some(time) = event.event_time {
            headers.set(EVENT_TIME, moment(time));
        }
        headers.set(RECEIVED_TIME, moment(event.received));
        headers.set(PATH, event.path.as_str().into());
        if event.conflict {
            headers.set(CONFLICT, "true".into());
        }
        if event.handover {
            headers.set(HANDOVER, "true".into());
        }
        Message { subject, id, headers: headers.map, header_bytes: headers.bytes }
    }
}

impl Message {
    /// Its headers, with what the last message of the stream must be: its sequence number, and its id where we know that the
    /// server knows it.
    pub(super) fn expecting(mut self, last_sequence: u64, last_id: Option<&str>) -> HeaderMap {
        self.headers.insert(async_nats::header::NATS_EXPECTED_LAST_SEQUENCE, HeaderValue::from(last_sequence));
        if let Some(id) = last_id {
            self.headers.insert(async_nats::header::NATS_EXPECTED_LAST_MESSAGE_ID, HeaderValue::from(id));
        }
        self.headers
    }

    /// Why the server will never take it, if so.
    pub(super) fn refusal(&self, payload: usize, limits: &Limits) -> Option<String> {
        let headers = self.header_bytes + EXPECTED_BYTES_MAX;
        let bytes = headers + payload;
        if self.subject.len() > SUBJECT_BYTES_MAX {
            return Some(format!(
                "its subject would have {} bytes, and no server takes more than {SUBJECT_BYTES_MAX} of ours",
                self.subject.len()
            ));
        }
        if headers > HEADER_BYTES_MAX {
            return Some(format!(
                "its headers would have {headers} bytes, and no server takes more than {HEADER_BYTES_MAX}"
            ));
        }
        if bytes > limits.server {
            return Some(format!(
                "the message would have {bytes} bytes with its headers, and the server's `max_payload` is {}",
                limits.server
            ));
        }
        if bytes > limits.stream {
            return Some(format!(
                "the message would have {bytes} bytes with its headers, and the stream's `max_msg_size` is {}",
                limits.stream
            ));
        }
        None
    }
}

/// The largest message, headers and payload together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// `max_payload`
    pub(super) server: usize,
    /// `max_msg_size`
    pub(super) stream: usize,
}

impl Limits {
    /// Whether a message is surely within the limits, whatever is in its headers as long as their texts have `texts` bytes
    /// together. Spares nearly all messages a closer look.
    pub(super) fn surely_admit(&self, texts: usize, payload: usize) -> bool {
        /// All headers without their texts take under 600 bytes. An escaped byte takes three.
        const FIXED_BYTES: usize = 1024;
        let headers = FIXED_BYTES + 3 * texts;
        3 * texts < SUBJECT_BYTES_MAX - TEMPLATE_BYTES_MAX
            && headers < HEADER_BYTES_MAX
            && headers + payload <= self.server.min(self.stream)
    }
}

/// What a message of the stream says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) sink: String,
    pub(super) replay: Option<String>,
    pub(super) journal: JournalId,
    pub(super) offset: Offset,
    pub(super) monitor: String,
    pub(super) received: Option<UnixNanos>,
}

impl Stamp {
    /// Of a message's headers; none if it is none of ours.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &HeaderName| escape::unescape(headers.get(name.clone())?.as_str());
        Some(Self {
            sink: text(&SINK)?,
            replay: text(&REPLAY),
            journal: JournalId(Uuid::parse_str(&text(&JOURNAL)?).ok()?),
            offset: Offset(text(&OFFSET)?.parse().ok()?),
            monitor: text(&MONITOR)?,
            received: text(&RECEIVED_TIME).and_then(|time| {
                let time: jiff::Timestamp = time.parse().ok()?;
                Some(UnixNanos(i64::try_from(time.as_nanosecond()).ok()?))
            }),
        })
    }
}

struct Headers {
    map: HeaderMap,
    bytes: usize,
}

impl Headers {
    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        let (name_text, value_text): (&str, &str) = (name.as_ref(), value.as_ref());
        self.bytes += name_text.len() + 2 + value_text.len() + 2;
        self.map.insert(name, value);
    }
}

fn value(text: &str) -> HeaderValue {
    let mut escaped = String::with_capacity(text.len());
    escape::header_value(text, &mut escaped);
    escaped.into()
}

fn moment(time: UnixNanos) -> HeaderValue {
    let mut text = String::with_capacity(32);
    // A string takes everything.
    write!(text, "{time}").ok();
    text.into()
}
