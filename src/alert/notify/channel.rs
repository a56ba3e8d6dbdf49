//! What can be told, and what an attempt comes to.

use std::time::Duration;

use super::email::Email;
use super::pagerduty::PagerDuty;
use super::queue::Waiting;
use super::slack::Slack;
use super::sms::Sms;
use super::webhook::Webhook;

/// Why an attempt told nobody. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: String,
    pub(super) again: Again,
}

/// Whether another attempt may do better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// The same would be said.
    Never,
    /// It may; not before the server wants it, where it says so.
    Later(Option<Duration>),
}

impl Failure {
    pub(super) fn never(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), again: Again::Never }
    }

    pub(super) fn later(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), again: Again::Later(None) }
    }
}

/// A channel.
pub(super) enum Channel {
    Email(Box<Email>),
    Webhook(Box<Webhook>),
    Slack(Box<Slack>),
    PagerDuty(Box<PagerDuty>),
    Sms(Box<Sms>),
}

impl Channel {
    /// Tells it, once. May be dropped at any moment: then it is not known whether it was told.
    pub(super) async fn send(&mut self, waiting: &Waiting) -> Result<(), Failure> {
        match self {
            Self::Email(email) => email.send(waiting).await,
            Self::Webhook(webhook) => webhook.send(waiting).await,
            Self::Slack(slack) => slack.send(waiting).await,
            Self::PagerDuty(pagerduty) => pagerduty.send(waiting).await,
            Self::Sms(sms) => sms.send(waiting).await,
        }
    }
}
