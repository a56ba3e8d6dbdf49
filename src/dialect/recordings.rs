//! Recorded feeds for tests: real frames, and what a session made of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use super::{Dialect, Frame, Intake, Message, OutFrame, Outbox, ReadingPlan, Session, Topic, TopicId, registry};
use crate::scanner::Fields;

/// Frames of a recording, by direction.
pub(crate) struct Recording {
    /// Where the recording client connected to, if that is known.
    pub(crate) url: Option<String>,
    /// What it sent.
    pub(crate) sent: Vec<String>,
    /// What it was sent.
    pub(crate) received: Vec<String>,
}

impl Recording {
    pub(crate) fn load(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(format!("{name}.session.jsonl.gz"));
        let mut text = String::new();
        let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        let mut recording = Self { url: None, sent: Vec::new(), received: Vec::new() };
        for line in text.lines() {
            let frame: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = frame["text"].as_str().map(str::to_owned).or_else(|| Some(unpacked(frame["b64"].as_str()?)));
            match frame["dir"].as_str() {
                Some("open") => recording.url = frame["url"].as_str().map(str::to_owned),
                Some("out") => recording.sent.extend(text),
                Some("in") => recording.received.extend(text),
                _ => {}
            }
        }
        recording
    }
}

/// Payloads of the binary frames that a recording client was sent.
pub(crate) fn binary_frames(name: &str) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(format!("{name}.session.jsonl.gz"));
    let mut text = String::new();
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let frames = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let received = frames.filter(|frame| frame["dir"] == "in");
    let payloads = received.filter_map(|frame| frame["b64"].as_str().map(str::to_owned));
    payloads.map(|text| base64::engine::general_purpose::STANDARD.decode(text).unwrap()).collect()
}

/// The JSON in a binary frame, packed with gzip or with nothing.
fn unpacked(encoded: &str) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    let mut text = String::new();
    match flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text) {
        Ok(_) => text,
        Err(_) => String::from_utf8(bytes).unwrap(),
    }
}

/// Everything a session said about frames.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) messages: BTreeMap<TopicId, u64>,
    pub(crate) texts: Vec<(TopicId, String)>,
    pub(crate) control: u64,
    pub(crate) acknowledged: Vec<TopicId>,
    pub(crate) refused: Vec<(Vec<TopicId>, String)>,
    pub(crate) unreadable: Vec<(String, String)>,
    /// How often it was announced that the link will be closed.
    pub(crate) closing: u64,
    /// Why the link is of no use any more.
    pub(crate) broken: Vec<String>,
    /// Messages that were read in another text, as they came.
    pub(crate) raw: Vec<Vec<u8>>,
    /// Places of the plan's pointers in the last message.
    pub(crate) last_fields: Fields,
}

impl Intake for Tally {
    fn message(&mut self, topic: TopicId, message: Message<'_>) {
        *self.messages.entry(topic).or_default() += 1;
        self.texts.push((topic, String::from_utf8(message.bytes.to_vec()).unwrap()));
        if let Some(fields) = message.fields {
            self.last_fields.clone_from(fields);
        }
    }

    fn converted(&mut self, topic: TopicId, raw: &[u8], view: Message<'_>) {
        self.message(topic, view);
        self.raw.push(raw.to_vec());
    }

    fn control(&mut self, _topic: Option<TopicId>) {
        self.control += 1;
    }

    fn acknowledged(&mut self, topic: TopicId) {
        self.acknowledged.push(topic);
    }

    fn refused(&mut self, topics: &[TopicId], reason: &str) {
        self.refused.push((topics.to_vec(), reason.to_owned()));
    }

    fn closing(&mut self) {
        self.closing += 1;
    }

    fn broken(&mut self, reason: &str) {
        self.broken.push(reason.to_owned());
    }

    fn unreadable(&mut self, _topic: Option<TopicId>, reason: &str, raw: &[u8]) {
        self.unreadable.push((reason.to_owned(), String::from_utf8_lossy(raw).into_owned()));
    }
}

/// A session under test, its topics numbered in the order given.
pub(crate) struct Bench {
    pub(crate) dialect: Arc<dyn Dialect>,
    pub(crate) session: Box<dyn Session>,
    pub(crate) topics: Arc<[Topic]>,
    pub(crate) tally: Tally,
    pub(crate) out: Outbox,
}

impl Bench {
    pub(crate) fn of(dialect: &str, topics: &[impl AsRef<str>]) -> Self {
        Self::declared(dialect, "", topics, &[])
    }

    /// With `[dialects.*]` tables beside the presets, and pointers of monitors.
    pub(crate) fn declared(dialect: &str, toml: &str, topics: &[impl AsRef<str>], plan: &[&str]) -> Self {
        let declared: BTreeMap<String, toml::Table> = toml::from_str(toml).unwrap();
        let dialect = registry::build(dialect, &declared).unwrap();
        let topics: Arc<[Topic]> =
            (0..).zip(topics).map(|(id, name)| Topic { id: TopicId(id), name: Arc::from(name.as_ref()) }).collect();
        for topic in &*topics {
            dialect.check_topic(&topic.name).unwrap();
        }
        let plan = ReadingPlan { pointers: plan.iter().map(|pointer| (*pointer).to_owned()).collect() };
        let session = dialect.session(&topics, &plan);
        Self { dialect, session, topics, tally: Tally::default(), out: Outbox::new() }
    }

    /// Asks for topics by their places; gives what is to be sent.
    pub(crate) fn subscribe(&mut self, topics: impl IntoIterator<Item = u32>) -> Vec<String> {
        let topics: Vec<TopicId> = topics.into_iter().map(TopicId).collect();
        self.session.subscribe(&topics, &mut self.out);
        self.take_out()
    }

    pub(crate) fn subscribe_all(&mut self) -> Vec<String> {
        self.subscribe(0..u32::try_from(self.topics.len()).unwrap())
    }

    pub(crate) fn unsubscribe(&mut self, topics: impl IntoIterator<Item = u32>) -> Vec<String> {
        let topics: Vec<TopicId> = topics.into_iter().map(TopicId).collect();
        self.session.unsubscribe(&topics, &mut self.out);
        self.take_out()
    }

    pub(crate) fn hand_over(&mut self, topics: impl IntoIterator<Item = u32>) -> Vec<String> {
        let topics: Vec<TopicId> = topics.into_iter().map(TopicId).collect();
        self.session.hand_over(&topics, &mut self.out);
        self.take_out()
    }

    pub(crate) fn receive(&mut self, text: &str) -> Vec<String> {
        self.session.receive(Frame::Text(text), &mut self.tally, &mut self.out);
        self.take_out()
    }

    /// Of dialects that do not send text: what they send stays in the outbox.
    pub(crate) fn receive_frame(&mut self, frame: Frame<'_>) {
        self.session.receive(frame, &mut self.tally, &mut self.out);
    }

    pub(crate) fn receive_all(&mut self, recording: &Recording) {
        for text in &recording.received {
            self.receive(text);
        }
    }

    fn take_out(&mut self) -> Vec<String> {
        let text = |frame| match frame {
            OutFrame::Text(text) => text,
            OutFrame::Binary(_) => panic!("these dialects send text"),
        };
        self.out.drain(..).map(text).collect()
    }

    /// Messages added up over topics that `kind` gives one name.
    pub(crate) fn by_kind(&self, kind: impl Fn(&str) -> String) -> String {
        let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
        for (topic, count) in &self.tally.messages {
            *kinds.entry(kind(&self.topics[topic.0 as usize].name)).or_default() += count;
        }
        kinds.iter().fold(String::new(), |mut text, (kind, count)| {
            if !text.is_empty() {
                text.push(' ');
            }
            write!(text, "{kind}={count}").unwrap();
            text
        })
    }

    pub(crate) fn messages(&self) -> u64 {
        self.tally.messages.values().sum()
    }

    /// Texts of the topics that are in force.
    pub(crate) fn acknowledged(&self) -> Vec<&str> {
        self.tally.acknowledged.iter().map(|topic| &*self.topics[topic.0 as usize].name).collect()
    }
}

/// A text as a JSON value, so that requests are compared by meaning.
pub(crate) fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A request without its id.
pub(crate) fn json_without(text: &str, id: &str) -> serde_json::Value {
    let mut value = json(text);
    value.as_object_mut().unwrap().remove(id);
    value
}
