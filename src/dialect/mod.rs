//! How an upstream speaks: subscriptions, acknowledgements, routing, heartbeats.
//!
//! A [`Dialect`] is shared by all links of an upstream; each link has a [`Session`] of its own, which is given every
//! frame that came and says, through an [`Intake`], what it was. Neither does any input or output: what is to be sent
//! is put into an [`Outbox`] and sent by the link. The trait knows nothing of JSON, of text frames, or of requests that
//! have ids; a protocol of another nature is one more file here.

mod addressed;
mod asked;
mod asking;
pub mod atproto;
mod condition;
mod declaration;
mod declared;
mod decoding;
mod early;
mod envelope;
mod error;
pub mod graphql_ws;
pub mod jetstream;
pub mod json;
pub mod json_rpc;
mod last;
mod limits;
pub mod mastodon;
pub mod mqtt;
pub mod nats;
pub mod nostr;
mod pattern;
pub mod poll;
#[cfg(test)]
mod preset_rules;
pub mod qsys;
#[cfg(test)]
mod recordings;
pub mod registry;
mod requests;
mod resume;
mod scanned;
pub mod sse;
mod subscriptions;
pub(crate) mod template;
mod topic_book;
mod topic_form;
mod transport;
mod undescribed;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::declared::{ControlSettings, LimitSettings, PingSettings};
pub use self::decoding::DecodeStep;
pub use self::early::EarlySettings;
pub use self::error::DialectError;
pub use self::limits::{Limits, MaxAge};
pub use self::resume::{ResumeScope, ResumeSettings, ResumeUnit, Resumption};
pub use self::topic_form::TopicFormSettings;
pub use self::transport::{Opening, Transport};
pub use self::undescribed::Undescribed;

use crate::scanner::Fields;

/// One upstream's topic, numbered densely from 0 for the life of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub u32);

/// A topic with its text in the upstream's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its number.
    pub id: TopicId,
    /// What the settings call it: `btcusdt@trade`.
    pub name: Arc<str>,
}

/// What came over a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A text frame, checked to be UTF-8.
    Text(&'a str),
    /// A binary frame.
    Binary(&'a [u8]),
}

impl<'a> Frame<'a> {
    /// The frame's bytes as they came.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// What is to be sent over a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutFrame {
    /// As a text frame.
    Text(String),
    /// As a binary frame.
    Binary(Vec<u8>),
}

/// Frames that a session wants sent, in order.
pub type Outbox = Vec<OutFrame>;

/// JSON Pointers that monitors of an upstream read out of its messages. A dialect that scans messages itself fills these
/// in the same pass (they are the first slots of the [`Fields`] it hands over); any other hands over none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadingPlan {
    /// RFC 6901 pointers, each once.
    pub pointers: Vec<String>,
}

/// One message for one topic.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The message as it came, to the byte.
    pub bytes: &'a [u8],
    /// Where the plan's pointers are in `bytes`, when the dialect has already scanned them; their presence also says that
    /// `bytes` is one well-formed JSON text.
    pub fields: Option<&'a Fields>,
}

/// Where a session says what a frame was. Each frame leads to at least one call, but for those that are not whole yet.
pub trait Intake {
    /// Data of a topic.
    fn message(&mut self, topic: TopicId, message: Message<'_>);
    /// Data of a topic that is kept as it came, `raw`, while pointers look into `view`, a JSON text that was made of it.
    fn converted(&mut self, topic: TopicId, raw: &[u8], view: Message<'_>);
    /// Something understood that is no event: an acknowledgement, a heartbeat. `topic` where it belongs to one.
    fn control(&mut self, topic: Option<TopicId>);
    /// A subscription is in force. Counts nothing: the frame that said so is reported by [`Intake::control`].
    fn acknowledged(&mut self, topic: TopicId);
    /// A subscription was refused or ended by the upstream. Counts nothing. An empty list: the upstream did not say which.
    fn refused(&mut self, topics: &[TopicId], reason: &str);
    /// A frame, or a part of one, that could not be understood, or belongs to nothing that was asked for.
    fn unreadable(&mut self, topic: Option<TopicId>, reason: &str, raw: &[u8]);
    /// The upstream announces that it will close this link. Counts nothing: the frame that said so is reported by
    /// [`Intake::control`].
    fn closing(&mut self) {}
    /// The upstream says that a topic has nothing new: it is no event, and no silence. Counts nothing.
    fn alive(&mut self, _topic: TopicId) {}
    /// The link is of no use any more: it cannot be read on, or the upstream refuses us. It is closed after this burst, and
    /// opened again later. Counts nothing.
    fn broken(&mut self, _reason: &str) {}
    /// The upstream wants a lost link to stay away for at least so long, from now on. Counts nothing.
    fn reconnect_after(&mut self, _wait: Duration) {}
}

/// Something that an upstream sends again until it is told that we have it. What the number means its session knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt(pub u64);

/// A resume token that came with a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionToken {
    /// The topic that it is good for; none: all of the link.
    pub topic: Option<TopicId>,
    /// In the dialect's own form.
    pub token: Vec<u8>,
}

/// A way of speaking, with everything its settings say; shared by all links of an upstream.
pub trait Dialect: fmt::Debug + Send + Sync {
    /// Limits of the upstream.
    fn limits(&self) -> Limits;

    /// What it is spoken over; which of them is meant, the scheme of the upstream's address says.
    fn transports(&self) -> &'static [Transport] {
        &[Transport::WebSocket]
    }

    /// What a new connection for these topics is opened with, to go on from `point` where there is one.
    fn opening(&self, _topics: &[&str], point: Option<&str>) -> Opening {
        Opening::resuming(self.resumption(), point)
    }

    /// Headers that the handshake must carry, such as a subprotocol.
    fn handshake_headers(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Whether [`Dialect::opening`] names the topics: they are in force once the connection is open, and the session's first
    /// [`Session::subscribe`] is about them. Else topics are asked for within the connection.
    fn asks_by_opening(&self) -> bool {
        false
    }

    /// Whether a link of another process may be open beside one of ours. Not where the upstream goes by the name that
    /// [`Session::opened`] is given, which must stay the same, and ends the one before.
    fn connects_beside(&self) -> bool {
        true
    }

    /// Time between calls of [`Session::keep_alive`]; none where the upstream needs no word of ours.
    fn keep_alive_interval(&self) -> Option<Duration> {
        None
    }

    /// Names of credentials that messages of it have as `{auth.NAME}` inside of JSON strings, filled when they are sent.
    fn credentials_named(&self) -> BTreeSet<String> {
        self.greeting().iter().flat_map(|text| named_in(text)).collect()
    }

    /// Texts that may name credentials of the upstream, `{auth.NAME}`, and that [`Session::opened`] is given with what they name.
    fn greeting(&self) -> Vec<String> {
        Vec::new()
    }

    /// Event rules for monitors that declare none.
    fn default_event_rules(&self) -> &[crate::config::EventRuleSettings] {
        &[]
    }

    /// Checks a topic's wording, before anything is connected. The error says what is wrong and how it should look.
    ///
    /// # Errors
    /// When no subscription can be made of it.
    fn check_topic(&self, topic: &str) -> Result<(), String>;

    /// How an upstream of this dialect is taken up again after a loss; none where it cannot be.
    fn resumption(&self) -> Option<&Resumption> {
        None
    }

    /// A session for a new link. `topics` are all of the upstream, since data may come for any.
    fn session(&self, topics: &Arc<[Topic]>, plan: &ReadingPlan) -> Box<dyn Session>;
}

/// The longest message of a session that was told no bound. Source: the default of `max_message`.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Why a link is given up that begins a message longer than may be.
fn too_long(what: &str, bytes_max: usize) -> String {
    format!("it began a {what} of more than {bytes_max} bytes; raise `max_message` if it is meant")
}

/// The names in a text that are written `{auth.NAME}`.
fn named_in(text: &str) -> impl Iterator<Item = String> {
    text.split("{auth.").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name.to_owned())
}

/// One link's conversation. It starts anew with each connection: nothing an upstream handed out outlives its socket.
pub trait Session: Send {
    /// The link is open, and nothing was asked for over it. `name` is what it may call itself: at most 23 letters and digits,
    /// the same whenever a link takes this place, also after a restart, and no other link's. `greeting` is
    /// [`Dialect::greeting`] with the credentials of now.
    fn opened(&mut self, _name: &str, _greeting: &[String], _out: &mut Outbox) {}
    /// The longest message that is taken of those that come in pieces; 16 MiB as long as nothing is said. Called before anything
    /// is received.
    fn bound_messages(&mut self, _bytes_max: usize) {}
    /// Asks for topics. Also called again for topics that stayed unacknowledged.
    fn subscribe(&mut self, topics: &[TopicId], out: &mut Outbox);
    /// Ends topics. What is under way still is no data.
    fn unsubscribe(&mut self, topics: &[TopicId], out: &mut Outbox);
    /// Ends topics that another link goes on with, where what comes twice is told by its id: what is under way still is data.
    fn hand_over(&mut self, topics: &[TopicId], out: &mut Outbox) {
        self.unsubscribe(topics, out);
    }
    /// Goes on with more topics, in which those known keep their numbers, and another plan.
    fn adopt(&mut self, topics: &Arc<[Topic]>, plan: &ReadingPlan);
    /// Says the word that keeps the upstream from closing the link.
    fn keep_alive(&mut self, out: &mut Outbox);
    /// Everything that is asked for from here on is asked for from `point` on, which [`Resumption::point`] gave. Called
    /// before anything else, and not at all where there is no such point.
    fn resume_from(&mut self, _point: &str) {}
    /// The newest resume tokens of the frames read since the last call.
    fn take_tokens(&mut self) -> Vec<SessionToken> {
        Vec::new()
    }
    /// What the upstream waits to be told of, of the frames read since the last call: that it is durable.
    fn take_receipts(&mut self) -> Vec<Receipt> {
        Vec::new()
    }
    /// What these were taken with is durable: the events, or the originals of repeats.
    fn durable(&mut self, _receipts: &[Receipt], _out: &mut Outbox) {}
    /// Writes the JSON text that pointers look into where that is not the message itself, as [`Intake::converted`] has it.
    /// False: the message is read as it is. The error says why there is no such text.
    ///
    /// # Errors
    /// When the message is damaged.
    fn view(&self, _message: &[u8], _view: &mut Vec<u8>) -> Result<bool, String> {
        Ok(false)
    }
    /// Reads one frame and says what it was; answers it where the upstream expects that.
    fn receive(&mut self, frame: Frame<'_>, intake: &mut dyn Intake, out: &mut Outbox);
}
