//! An event as one JSON object, in the form that `query` prints and the store `jsonl` writes.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::block::Event;

/// An event for programs: serialized, it is a JSON object on one line, with names that stay.
#[derive(Debug, Serialize)]
pub struct EventObject<'a> {
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
    #[serde(skip_serializing_if = "Option::is_none")]
    retried_from: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enriched: Option<&'a RawValue>,
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

impl<'a> From<&Event<'a>> for EventObject<'a> {
    fn from(event: &Event<'a>) -> Self {
        Self {
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
            retried_from: None,
            enriched: None,
            payload: payload(event.payload),
        }
    }
}

impl<'a> EventObject<'a> {
    /// With what is known beside the payload, a JSON object on one line.
    #[must_use]
    pub fn enriched(self, enriched: Option<&'a str>) -> Self {
        Self { enriched: enriched.and_then(|text| serde_json::from_str(text).ok()), ..self }
    }

    /// Marked as parsed again out of the quarantined frame at this offset.
    #[must_use]
    pub fn retried_from(self, frame: Option<u64>) -> Self {
        Self { retried_from: frame, ..self }
    }
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
