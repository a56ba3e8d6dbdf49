//! Telling people of alerts: what is to be told, and what became of it. One file a channel.
//!
//! [`Notifier`] puts a notice into the queue (`queue.rs`) of each channel that its severity is routed to. A task a channel (`lane.rs`)
//! takes it out, waits for the channel's rate (`pace.rs`) and breaker, has the channel send it, and tries again. What became of it
//! goes to the log (`log.rs`) and to whoever asked to be told. Nothing here runs where events are taken in.

mod address_guard;
mod channel;
mod document;
mod email;
mod lane;
mod log;
mod message;
mod notifier;
mod pace;
mod pagerduty;
mod poster;
mod queue;
mod signature;
mod slack;
mod sms;
mod webhook;

pub use address_guard::reachable_by_few;
pub use document::{DOCUMENT_CHANNELS, Document, send_document};
pub use email::mailbox_fault;
pub use log::ChannelFigures;
pub use notifier::{Notifier, NotifierError, TestRefusal};
pub use signature::secret_fault;

use serde::{Deserialize, Serialize};

use super::Alert;

/// Why somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// It has begun.
    Opened,
    /// Somebody sees to it.
    Acknowledged,
    /// It is over.
    Resolved,
    /// An operator tries a channel.
    Test,
}

impl Occasion {
    /// Its name outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
            Self::Test => "test",
        }
    }
}

/// What is to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// The alert as it stands.
    pub alert: Alert,
    /// Why it is told.
    pub occasion: Occasion,
}

/// What became of telling one channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The alert.
    pub alert: String,
    /// The channel's name in the settings: `email`, `webhook`, `slack`, `pagerduty`, `sms`.
    pub channel: String,
    /// Why it was told.
    pub occasion: Occasion,
    /// When this was known, RFC 3339.
    pub at: String,
    /// How often it was tried.
    pub attempts: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How telling a channel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The channel's server has taken it.
    Sent,
    /// It has not.
    Failed,
    /// It was not tried: too many wait, or the channel's rate is used up.
    Dropped,
}

impl Outcome {
    /// Its name outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// Whoever tells. Never waits: what there is no room for is dropped, counted and among the deliveries.
pub trait Notify: Send + Sync + 'static {
    /// Takes a notice for all channels that its severity is routed to.
    fn offer(&self, notice: Notice);
}
