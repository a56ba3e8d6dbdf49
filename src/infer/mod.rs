//! Proposes how a feed is to be declared that nobody has described, out of a recording of it.
//!
//! What is proposed is what the frames show: which places name a topic, tell events apart, are a time, count. What is shown by
//! nothing is not proposed. The first [`sample::MESSAGES_MAX`] messages are looked at; of the others only the topics.

#![expect(clippy::cast_precision_loss, reason = "shares of at most ten thousand messages, and times to a microsecond")]

mod control;
mod declaration;
mod events;
mod failures;
mod leaves;
mod routing;
mod sample;
mod times;

use std::collections::BTreeMap;
use std::path::Path;

use self::control::ControlRule;
use self::events::Rule;
use self::routing::{Look, Route};
use self::sample::{Message, Sample};
use crate::recording::{Direction, ReadError, RecordingReader};

pub use self::declaration::Evidence;
pub use self::failures::{FailedFrame, Failure, FailureKind, Failures, Suggestion};

/// Topics that are gathered. Source: a guess; nobody reads a longer list.
const TOPICS_MAX: usize = 5000;

/// Why nothing can be said of a recording.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// The file.
    #[error("{file} cannot be read: {source}")]
    File {
        /// Its name.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// A line of it.
    #[error("{file}: {source}")]
    Line {
        /// Its name.
        file: String,
        /// What is wrong.
        source: ReadError,
    },
    /// It has no messages at all.
    #[error("{file}: it has no frame that a provider sent; there is nothing to be told")]
    Empty {
        /// Its name.
        file: String,
    },
    /// It has no messages that are JSON.
    #[error("{file}: none of its {frames} frames is JSON, packed or not; there is nothing to be told by pointers")]
    NoJson {
        /// Its name.
        file: String,
        /// Frames that the provider sent.
        frames: u64,
    },
}

/// What a recording shows.
pub struct Proposal {
    name: String,
    file: String,
    sample: Sample,
    control: Vec<ControlRule>,
    routes: Vec<Route>,
    rules: Vec<Rule>,
    /// Topics, and how many messages each has in all of the recording.
    topics: BTreeMap<String, u64>,
    /// Messages of the provider's in all of the recording.
    messages: u64,
    /// Of those looked at, how many are control, and how many nothing tells the topic of.
    control_messages: u64,
    unrouted: u64,
    was_cut: bool,
}

/// Looks at a recording. `name` is what the declaration is called.
///
/// # Errors
/// When the file cannot be read, or has no JSON.
pub fn infer(path: &Path, name: &str) -> Result<Proposal, InferError> {
    let file = || path.display().to_string();
    let mut reader = RecordingReader::open(path).map_err(|source| InferError::File { file: file(), source })?;
    let mut next = || reader.next_frame().map_err(|source| InferError::Line { file: file(), source });
    let mut sample = Sample::default();
    let mut frames = 0;
    let mut behind = None;
    while let Some(frame) = next()? {
        frames += u64::from(frame.direction == Direction::In);
        let copy = frame.clone();
        if !sample.take(frame) {
            behind = Some(copy);
            break;
        }
    }
    if frames == 0 {
        return Err(InferError::Empty { file: file() });
    }
    if sample.messages.is_empty() {
        return Err(InferError::NoJson { file: file(), frames });
    }
    let (is_control, control) = control::tell(&sample);
    let routes = routing::find(&sample, &is_control);
    let mut rules = Vec::new();
    for route in &routes {
        let all = sample.messages.iter().zip(&is_control);
        let of_route = all.filter(|(message, control)| !**control && Look::of(&message.value) == route.look);
        let data: Vec<&Message> = of_route.map(|(message, _)| message).collect();
        rules.extend(events::find(route, &data));
    }
    let control_messages = is_control.iter().filter(|control| **control).count() as u64;
    let mut proposal = Proposal {
        name: name.to_owned(),
        file: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        sample,
        control,
        routes,
        rules,
        topics: BTreeMap::new(),
        messages: frames,
        control_messages,
        unrouted: 0,
        was_cut: false,
    };
    for (at, control) in is_control.iter().enumerate() {
        if !control {
            proposal.note_topic(at);
        }
    }
    // What is behind is only counted: its topics are wanted too.
    while let Some(frame) = match behind.take() {
        Some(frame) => Some(frame),
        None => next()?,
    } {
        if frame.direction == Direction::In {
            proposal.messages += 1;
            proposal.note_topic_behind(frame);
        }
    }
    proposal.messages -= u64::from(proposal.sample.is_full);
    proposal.was_cut = reader.was_cut();
    Ok(proposal)
}

impl Proposal {
    fn topic_of(&self, value: &serde_json::Value) -> Option<String> {
        self.routes.iter().find(|route| route.look == Look::of(value))?.topic(value)
    }

    fn note_topic(&mut self, at: usize) {
        match self.topic_of(&self.sample.messages[at].value) {
            Some(topic) => self.count_topic(topic),
            None => self.unrouted += 1,
        }
    }

    fn note_topic_behind(&mut self, frame: crate::recording::RecordedFrame) {
        let mut one = Sample::default();
        one.take(frame);
        let Some(message) = one.messages.pop() else { return };
        let is_control = self.control.iter().any(|rule| rule.applies(&message.value));
        if let Some(topic) = self.topic_of(&message.value).filter(|_| !is_control) {
            self.count_topic(topic);
        }
    }

    fn count_topic(&mut self, topic: String) {
        if self.topics.len() < TOPICS_MAX || self.topics.contains_key(&topic) {
            *self.topics.entry(topic).or_default() += 1;
        }
    }
}
