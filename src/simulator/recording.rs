//! A recorded session in memory, with its replies tied to the requests that they answer.
//!
//! A line is one frame: `{"t":"1723161253.937","dir":"open|out|in|close","text":"…"}`, with `b64` in place of `text`
//! for binary frames. Inbound frames are served in order. One that carries the id (`id` or `req_id`) of a recorded
//! request is a reply to it, and is served only to a client that has made the same request; see [`super::replay`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::frames::Opcode;
use super::settings::{RecordingSettings, SimulatedDialect};

/// The most that is read of a recording, unpacked. Source: ten times the largest at hand.
const RECORDING_BYTES_MAX: u64 = 1 << 30;
/// The members that carry a request's id.
const ID_MEMBERS: [&str; 2] = ["id", "req_id"];

/// A recording.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) settings: RecordingSettings,
    /// In whose words the simulator answers what the recording does not.
    pub(crate) dialect: Option<SimulatedDialect>,
    /// What the server sent.
    pub(crate) frames: Vec<RecordedFrame>,
    /// What the client asked for, without ids.
    pub(crate) requests: Vec<Value>,
}

/// A frame that the server sent.
#[derive(Debug)]
pub(crate) struct RecordedFrame {
    pub(crate) payload: Vec<u8>,
    pub(crate) opcode: Opcode,
    /// When it came, counted from the recording's first line that has a time.
    pub(crate) at: Duration,
    /// The request that it answers.
    pub(crate) reply: Option<RecordedReply>,
}

/// That a frame is a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordedReply {
    /// The request's place in [`Recording::requests`].
    pub(crate) request: usize,
    /// Where the id is in the payload; none for a batch's reply.
    pub(crate) id: Option<Range<usize>>,
}

#[derive(Deserialize)]
struct Line {
    t: Option<String>,
    dir: String,
    text: Option<String>,
    b64: Option<String>,
    url: Option<String>,
}

impl Recording {
    /// Reads a file, packed or not.
    pub(crate) fn load(settings: &RecordingSettings) -> Result<Self, String> {
        let reader = open(&settings.path)?;
        let mut recording =
            Self { settings: settings.clone(), dialect: settings.dialect, frames: Vec::new(), requests: Vec::new() };
        let mut asked: Vec<(String, usize)> = Vec::new();
        let mut first = None;
        // Whether each line is a text that the server sent, and nothing is said about it.
        let mut plain = false;
        for (number, line) in reader.lines().enumerate() {
            let number = number + 1;
            let line = match line {
                Ok(line) => line,
                // The recorder was killed: what it had packed before is whole.
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(format!("line {number}: {error}")),
            };
            if line.trim().is_empty() {
                continue;
            }
            if number == 1 {
                plain =
                    serde_json::from_str::<Line>(&line).is_err() && serde_json::from_str::<&RawValue>(&line).is_ok();
            }
            if plain {
                let payload = line.into_bytes();
                recording.frames.push(RecordedFrame { payload, opcode: Opcode::Text, at: Duration::ZERO, reply: None });
                continue;
            }
            let line: Line =
                serde_json::from_str(&line).map_err(|error| match foreign(&line).filter(|_| number == 1) {
                    Some(what) => {
                        format!("it is {what}; a recording has a JSON text a line, as `sluice record` writes it")
                    }
                    None => format!(
                        "line {number}: {error}; a line is {{\"t\":\"…\",\"dir\":\"open|out|in|close\",\"text\":\"…\"}}"
                    ),
                })?;
            let time = line.t.as_deref().and_then(|t| t.parse::<f64>().ok());
            let start = *first.get_or_insert(time.unwrap_or(0.0));
            match (line.dir.as_str(), line.text, line.b64) {
                ("open", ..) => {
                    let url = line.url.unwrap_or_default();
                    recording.dialect = recording.dialect.or_else(|| SimulatedDialect::named_in(&url));
                }
                ("out", Some(text), _) => recording.note_request(&text, &mut asked),
                ("in", text, b64) => {
                    let (payload, opcode) = match (text, b64) {
                        (Some(text), _) => (text.into_bytes(), Opcode::Text),
                        (None, Some(packed)) => {
                            let decoded = base64::engine::general_purpose::STANDARD.decode(packed);
                            (decoded.map_err(|error| format!("line {number}: {error}"))?, Opcode::Binary)
                        }
                        (None, None) => return Err(format!("line {number}: neither `text` nor `b64`")),
                    };
                    let previous = recording.frames.last().map_or(Duration::ZERO, |frame| frame.at);
                    let at = time.and_then(|time| Duration::try_from_secs_f64(time - start).ok());
                    let at = at.unwrap_or(previous).max(previous);
                    let reply = reply_to(&payload, &asked);
                    recording.frames.push(RecordedFrame { payload, opcode, at, reply });
                }
                _ => {}
            }
        }
        if recording.frames.is_empty() {
            return Err("it has no frame that a server sent; there is nothing to serve".to_owned());
        }
        if recording.dialect.is_none() {
            recording.dialect = SimulatedDialect::named_in(&settings.path.to_string_lossy());
        }
        Ok(recording)
    }

    fn note_request(&mut self, text: &str, asked: &mut Vec<(String, usize)>) {
        let Ok(value) = serde_json::from_str::<Value>(text) else { return };
        let place = self.requests.len();
        if let Some(name) = subscription_of(&value).filter(|_| !ends(&value)) {
            asked.push((name.to_string(), place));
        }
        if subscription_of(&value).is_some() || ends(&value) {
            self.requests.push(content(&value));
            return;
        }
        let parts = if let Value::Array(parts) = &value { parts.as_slice() } else { std::slice::from_ref(&value) };
        for part in parts {
            asked.extend(id_in_value(part).map(|id| (id, place)));
        }
        self.requests.push(content(&value));
    }
}

/// What a file is by its first line that is no recording; none where that does not show.
fn foreign(first: &str) -> Option<&'static str> {
    const FIELDS: [&str; 5] = [":", "data:", "event:", "id:", "retry:"];
    let first = first.trim_start_matches('\u{feff}');
    if FIELDS.iter().any(|field| first.starts_with(field)) {
        return Some("a stream of server-sent events");
    }
    match first.trim_start().chars().next()? {
        '{' | '[' => Some("JSON over several lines, or damaged JSON"),
        _ => Some("no JSON"),
    }
}

fn open(path: &Path) -> Result<Box<dyn BufRead>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut reader = BufReader::new(file);
    let packed = reader.fill_buf().map_err(|error| error.to_string())?.starts_with(&[0x1f, 0x8b]);
    Ok(if packed {
        Box::new(BufReader::new(MultiGzDecoder::new(reader).take(RECORDING_BYTES_MAX)))
    } else {
        Box::new(BufReader::new(reader.take(RECORDING_BYTES_MAX)))
    })
}

/// What a request asks for, without the members that differ from client to client: the id, the protocol's version, and
/// parameters that are there but empty.
pub(crate) fn content(request: &Value) -> Value {
    if subscription_of(request).is_some()
        && let Value::Array(parts) = request
    {
        return parts.iter().enumerate().filter(|(at, _)| *at != 1).map(|(_, part)| part.clone()).collect();
    }
    match request {
        Value::Object(members) => {
            let mut members = members.clone();
            for name in ID_MEMBERS.into_iter().chain(["jsonrpc"]) {
                members.remove(name);
            }
            let empty = match members.get("params") {
                Some(Value::Null) => true,
                Some(Value::Array(array)) => array.is_empty(),
                Some(Value::Object(object)) => object.is_empty(),
                _ => false,
            };
            if empty {
                members.remove("params");
            }
            Value::Object(members)
        }
        Value::Array(parts) => Value::Array(parts.iter().map(content).collect()),
        other => other.clone(),
    }
}

/// The verbs of a relay's protocol whose messages name a subscription in the second place.
const NAMING: [&str; 5] = ["REQ", "CLOSE", "EVENT", "EOSE", "CLOSED"];

/// The name of the subscription that a Nostr message is about.
fn subscription_of(message: &Value) -> Option<&Value> {
    let [verb, name @ Value::String(_), ..] = &message.as_array()?[..] else { return None };
    NAMING.contains(&verb.as_str()?).then_some(name)
}

/// Whether a message ends what an earlier one began under the same id, whose replies are the earlier one's.
fn ends(message: &Value) -> bool {
    message["type"] == "complete" || message[0] == "CLOSE"
}

/// Where that name is in a text.
fn subscription_span(text: &str) -> Option<Range<usize>> {
    let parts: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    let [verb, name, ..] = &parts[..] else { return None };
    let verb = verb.get().trim_matches('"');
    if !NAMING.contains(&verb) || !name.get().starts_with('"') {
        return None;
    }
    let start = name.get().as_ptr() as usize - text.as_ptr() as usize;
    Some(start..start + name.get().len())
}

/// The raw text of a request's id; an empty one is none.
fn id_in_value(request: &Value) -> Option<String> {
    let id = ID_MEMBERS.iter().find_map(|name| request.get(name))?.to_string();
    (id != "null" && id != "\"\"").then_some(id)
}

/// The raw text of the id of a request as the client wrote it; an empty one is none.
pub(crate) fn id_in_text(text: &str) -> Option<&str> {
    let span = id_span(text)?;
    Some(&text[span]).filter(|id| *id != "null" && *id != "\"\"")
}

fn id_span(text: &str) -> Option<Range<usize>> {
    if text.trim_start().starts_with('[') {
        return subscription_span(text);
    }
    let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text).ok()?;
    let raw = ID_MEMBERS.iter().find_map(|name| members.get(*name))?.get();
    let start = raw.as_ptr() as usize - text.as_ptr() as usize;
    Some(start..start + raw.len())
}

fn reply_to(payload: &[u8], asked: &[(String, usize)]) -> Option<RecordedReply> {
    let text = std::str::from_utf8(payload).ok()?;
    let place = |id: &str| asked.iter().rev().find(|(known, _)| known == id).map(|(_, place)| *place);
    if let Some(span) = subscription_span(text) {
        return Some(RecordedReply { request: place(&text[span.clone()])?, id: Some(span) });
    }
    if text.trim_start().starts_with('[') {
        let parts: Vec<Value> = serde_json::from_str(text).ok()?;
        let id = id_in_value(parts.first().filter(|part| part.is_object())?)?;
        return Some(RecordedReply { request: place(&id)?, id: None });
    }
    let span = id_span(text)?;
    let id = serde_json::from_str::<Value>(&text[span.clone()]).ok()?.to_string();
    Some(RecordedReply { request: place(&id)?, id: Some(span) })
}
