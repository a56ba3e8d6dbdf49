//! What a declaration of the `json_rpc` dialect says.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::{EventRuleSettings, units};
use crate::dialect::declared::{ControlSettings, LimitSettings, PingSettings};
use crate::dialect::early::EarlySettings;
use crate::dialect::topic_form::TopicFormSettings;

/// A whole declaration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JsonRpcDialectSettings {
    /// What the declaration is for, for people.
    pub about: Option<String>,
    /// What the upstream allows.
    pub limits: LimitSettings,
    /// Headers that the handshake must carry.
    pub headers: BTreeMap<String, String>,
    /// The word that keeps a link open.
    pub ping: Option<PingSettings>,
    /// How topics are worded and asked for; the first form that fits counts.
    pub topics: Vec<TopicFormSettings>,
    /// How notifications say what they are about.
    pub notification: NotificationSettings,
    /// Notifications that come before the answer that gives their subscription's id.
    pub early: EarlySettings,
    /// Pointers to texts of an error that say why, joined by `: `.
    #[serde(deserialize_with = "units::one_or_many")]
    pub reason: Vec<String>,
    /// Which messages are neither events nor answers, and what they are answered with.
    pub controls: Vec<ControlSettings>,
    /// Event rules for monitors that declare none.
    #[serde(deserialize_with = "units::one_or_many")]
    pub event: Vec<EventRuleSettings>,
}

impl Default for JsonRpcDialectSettings {
    fn default() -> Self {
        Self {
            about: None,
            limits: LimitSettings::default(),
            headers: BTreeMap::new(),
            ping: None,
            topics: Vec::new(),
            notification: NotificationSettings::default(),
            early: EarlySettings::default(),
            reason: vec!["/error/message".into()],
            controls: Vec::new(),
            event: Vec::new(),
        }
    }
}

/// `[notification]`: one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotificationSettings {
    /// Pointer to the subscription's id, which the answer to the request gave as its result.
    pub subscription: Option<String>,
    /// Pointer to the channel's name, which is the topic's; the answer's result lists the names that are in force.
    pub channel: Option<String>,
}
