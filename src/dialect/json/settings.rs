//! What a declaration of the `json` dialect says.
//!
//! A binary frame is decoded first. A frame is tried in this order: literal texts of `literals`; `wrapped`; `routes` in their
//! order; `refusals`; `acknowledgements`; `controls`. What nothing fits is unreadable, and so is data of a topic that nobody
//! asked for.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::{ByteSize, Condition, EventRuleSettings, units};
use crate::dialect::declared::{ControlSettings, LimitSettings, PingSettings};
use crate::dialect::decoding::DecodeStep;
use crate::dialect::early::EarlySettings;
use crate::dialect::resume::ResumeSettings;
use crate::dialect::topic_form::TopicFormSettings;

/// A whole declaration. Texts in braces: a pointer (`{/arg/channel}`) where messages are read, a name (`{id}`) where
/// requests are written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JsonDialectSettings {
    /// What the declaration is for, for people.
    pub about: Option<String>,
    /// What the upstream allows.
    pub limits: LimitSettings,
    /// Headers that the handshake must carry.
    pub headers: BTreeMap<String, String>,
    /// What is said on each link before anything is asked for, in this order.
    #[serde(deserialize_with = "units::one_or_many")]
    pub hello: Vec<String>,
    /// The word that keeps a link open.
    pub ping: Option<PingSettings>,
    /// How the JSON is got out of binary frames, step by step; empty: it is their bytes.
    #[serde(deserialize_with = "units::one_or_many")]
    pub decode: Vec<DecodeStep>,
    /// The most that a step of decoding may give.
    pub decoded_max: ByteSize,
    /// Messages that have others inside.
    pub wrapped: Vec<WrappedSettings>,
    /// Whole frames that are heartbeats and no JSON: `pong`.
    #[serde(deserialize_with = "units::one_or_many")]
    pub literals: Vec<String>,
    /// How it is taken up again after a loss; absent: it cannot be.
    pub resume: Option<ResumeSettings>,
    /// How topics are worded and asked for; the first form that fits counts.
    pub topics: Vec<TopicFormSettings>,
    /// Which topic a message belongs to.
    pub routes: Vec<RouteSettings>,
    /// Which messages say that a request has failed. Asked before the acknowledgements.
    pub refusals: Vec<RefusalSettings>,
    /// Which messages say that a request was done.
    pub acknowledgements: Vec<AcknowledgementSettings>,
    /// Which messages are neither events nor answers.
    pub controls: Vec<ControlSettings>,
    /// Messages that come before the acknowledgement that gives their topic's id.
    pub early: EarlySettings,
    /// Event rules for monitors that declare none.
    #[serde(deserialize_with = "units::one_or_many")]
    pub event: Vec<EventRuleSettings>,
}

impl Default for JsonDialectSettings {
    /// `decoded_max` is what an upstream's `max_message` is where nothing is said.
    fn default() -> Self {
        Self {
            about: None,
            limits: LimitSettings::default(),
            headers: BTreeMap::new(),
            hello: Vec::new(),
            ping: None,
            decode: Vec::new(),
            decoded_max: ByteSize::mib(16),
            wrapped: Vec::new(),
            literals: Vec::new(),
            resume: None,
            topics: Vec::new(),
            routes: Vec::new(),
            refusals: Vec::new(),
            acknowledgements: Vec::new(),
            controls: Vec::new(),
            early: EarlySettings::default(),
            event: Vec::new(),
        }
    }
}

/// `[[wrapped]]`: a message whose texts are messages. What is inside is read in its place, and wraps nothing itself.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedSettings {
    /// What must be in the message.
    #[serde(default)]
    pub when: BTreeMap<String, Condition>,
    /// Pointer to an array whose elements have one text each.
    #[serde(default)]
    pub each: Option<String>,
    /// Pointer to the text, relative to the element of `each`.
    pub at: String,
    /// How the JSON is got out of the text; empty: it is the text.
    #[serde(default, deserialize_with = "units::one_or_many")]
    pub decode: Vec<DecodeStep>,
}

/// `[[routes]]`: a message of this kind belongs to the topic that is named so.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSettings {
    /// What must be in the message.
    #[serde(default)]
    pub when: BTreeMap<String, Condition>,
    /// The topic's text built of pointers. Of several the first whose topic was asked for on this link.
    #[serde(default, deserialize_with = "units::one_or_many")]
    pub topic: Vec<String>,
    /// In place of `topic`: pointer to the id that an acknowledgement gave it by `learn`.
    #[serde(default)]
    pub learned: Option<String>,
}

/// Which request an answer answers, where it does not name one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerTo {
    /// A subscription.
    #[default]
    Subscribe,
    /// The end of one.
    Unsubscribe,
}

/// `[[acknowledgements]]`: a message that says that a request was done. It may name the topics, or the request's id, or
/// neither (`in_order`); what is found first counts.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcknowledgementSettings {
    /// What must be in the message.
    #[serde(default)]
    pub when: BTreeMap<String, Condition>,
    /// What the request was for.
    #[serde(default)]
    pub of: AnswerTo,
    /// Pointer to an array whose elements name topics, as with messages that list all that is subscribed.
    #[serde(default)]
    pub each: Option<String>,
    /// The topics' texts built of pointers, relative to the element of `each`; a pointer to an array names several. All
    /// patterns are tried.
    #[serde(default, deserialize_with = "units::one_or_many")]
    pub topic: Vec<String>,
    /// Pointer to the request's id.
    #[serde(default)]
    pub id: Option<String>,
    /// Without an id in it, the message answers the oldest request that is open.
    #[serde(default)]
    pub in_order: bool,
    /// Pointer to the id by which the upstream calls the topic on this link from here on.
    #[serde(default)]
    pub learn: Option<String>,
    /// It has a place in the upstream's numbering, so that it goes to the monitors of the first topic that it names as data
    /// would; an event rule has to ignore it.
    #[serde(default)]
    pub numbered: bool,
}

/// `[[refusals]]`: a message that says that a request has failed, or a topic has ended.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusalSettings {
    /// What must be in the message.
    #[serde(default)]
    pub when: BTreeMap<String, Condition>,
    /// The refused topics' texts built of pointers. All patterns are tried.
    #[serde(default, deserialize_with = "units::one_or_many")]
    pub topic: Vec<String>,
    /// Pointer to the request's id. Of a request for several topics nobody knows which it was: each is asked for again,
    /// in smaller requests.
    #[serde(default)]
    pub id: Option<String>,
    /// Parts of a topic and where the message repeats them: which topics of the request were refused.
    #[serde(default)]
    pub parts: BTreeMap<String, String>,
    /// Without an id in it, the message answers the oldest request that is open.
    #[serde(default)]
    pub in_order: bool,
    /// Pointers to texts that say why, joined by `: `.
    #[serde(default, deserialize_with = "units::one_or_many")]
    pub reason: Vec<String>,
}
