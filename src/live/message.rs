//! An event in the forms in which it goes out. Each form is made once, by whoever needs it first, however many clients take it.

use std::sync::OnceLock;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::config::Priority;
use crate::journal::{Event, EventObject, Offset};

/// In which form a client wants events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// As `query` prints them.
    Plain,
    /// As CloudEvents 1.0, structured JSON.
    CloudEvents,
}

/// An event that goes to clients.
#[derive(Debug)]
pub struct LiveMessage {
    /// Its number in the journal.
    pub offset: Offset,
    /// What a slow client loses first.
    pub priority: Priority,
    /// As a JSON object on one line.
    plain: Bytes,
    /// What CloudEvents says beside the object.
    kind: Box<str>,
    subject: Option<Box<str>>,
    time: Box<str>,
    source: Box<str>,
    cloud: OnceLock<Bytes>,
    plain_sse: OnceLock<Bytes>,
    cloud_sse: OnceLock<Bytes>,
}

/// The attributes of <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>, and the object as data.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    time: &'a str,
    datacontenttype: &'static str,
    data: &'a RawValue,
}

impl LiveMessage {
    /// Of an event of the journal `source`, which is its CloudEvents source: with the id, which is the offset, it names the event for
    /// good.
    pub fn new(event: &Event<'_>, source: &str, priority: Priority, retried_from: Option<u64>) -> Self {
        let object = EventObject::from(event).retried_from(retried_from);
        // Strings and numbers only: serialization has nothing to refuse.
        let plain = serde_json::to_vec(&object).unwrap_or_default().into();
        Self {
            offset: event.offset,
            priority,
            plain,
            kind: format!("sluice.{}.{}", event.domain, event.monitor).into(),
            subject: event.key().map(|key| key.into_owned().into()),
            time: event.event_time.unwrap_or(event.received).to_string().into(),
            source: source.into(),
            cloud: OnceLock::new(),
            plain_sse: OnceLock::new(),
            cloud_sse: OnceLock::new(),
        }
    }

    /// As a text.
    pub fn text(&self, form: Form) -> &Bytes {
        match form {
            Form::Plain => &self.plain,
            Form::CloudEvents => self.cloud.get_or_init(|| self.cloud_event()),
        }
    }

    /// As a message of an event stream, with its offset as id.
    pub fn server_sent(&self, form: Form) -> &Bytes {
        let made = match form {
            Form::Plain => &self.plain_sse,
            Form::CloudEvents => &self.cloud_sse,
        };
        made.get_or_init(|| server_sent(Some(self.offset), "event", self.text(form)))
    }

    /// Bytes that it takes in memory, in about.
    pub fn bytes(&self) -> usize {
        self.plain.len() + size_of::<Self>()
    }

    fn cloud_event(&self) -> Bytes {
        let Ok(data) = serde_json::from_slice::<&RawValue>(&self.plain) else { return self.plain.clone() };
        let event = CloudEvent {
            specversion: "1.0",
            id: self.offset.to_string(),
            source: &self.source,
            kind: &self.kind,
            subject: self.subject.as_deref(),
            time: &self.time,
            datacontenttype: "application/json",
            data,
        };
        serde_json::to_vec(&event).unwrap_or_default().into()
    }
}

/// A message of an event stream: <https://html.spec.whatwg.org/multipage/server-sent-events.html>. `data` is on one line.
pub fn server_sent(id: Option<Offset>, event: &str, data: &[u8]) -> Bytes {
    let mut text = BytesMut::with_capacity(data.len() + event.len() + 48);
    if let Some(id) = id {
        text.put_slice(b"id: ");
        text.put_slice(id.to_string().as_bytes());
        text.put_u8(b'\n');
    }
    text.put_slice(b"event: ");
    text.put_slice(event.as_bytes());
    text.put_slice(b"\ndata: ");
    text.put_slice(data);
    text.put_slice(b"\n\n");
    text.freeze()
}

#[cfg(test)]
impl LiveMessage {
    /// One of so many bytes of text.
    pub(super) fn of_length(offset: u64, priority: Priority, length: usize) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self {
            offset: Offset(offset),
            priority,
            plain: format!("{{\"payload\":\"{}\"}}", "x".repeat(length.saturating_sub(14))).into(),
            kind: "sluice.d.m".into(),
            subject: Some("k".into()),
            time: "1970-01-01T00:00:00Z".into(),
            source: "urn:uuid:0".into(),
            cloud: OnceLock::new(),
            plain_sse: OnceLock::new(),
            cloud_sse: OnceLock::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_holds_the_same_text_and_is_made_once() {
        let message = LiveMessage::of_length(7, Priority::Medium, 40);
        let cloud: serde_json::Value = serde_json::from_slice(message.text(Form::CloudEvents)).unwrap();
        let plain: serde_json::Value = serde_json::from_slice(message.text(Form::Plain)).unwrap();
        assert_eq!((&cloud["data"], &cloud["id"], &cloud["specversion"]), (&plain, &"7".into(), &"1.0".into()));
        let sent = message.server_sent(Form::Plain);
        assert!(sent.starts_with(b"id: 7\nevent: event\ndata: {") && sent.ends_with(b"}\n\n"));
        assert_eq!(sent.as_ptr(), message.server_sent(Form::Plain).as_ptr());
    }
}
