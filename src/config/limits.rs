//! What an upstream allows, as settings write it.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units::{self, show_duration};

/// At most so many within any span of so long: `{ count = 300, per = "5m" }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenRate")]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// Within how long; never 0.
    #[serde(with = "units::duration")]
    pub per: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRate {
    count: NonZeroU32,
    #[serde(with = "units::duration")]
    per: Duration,
}

impl TryFrom<WrittenRate> for Rate {
    type Error = &'static str;

    fn try_from(WrittenRate { count, per }: WrittenRate) -> Result<Self, Self::Error> {
        if per.is_zero() || per > Rate::PER_MAX {
            return Err(
                "`per` must be longer than 0 and at most 366d; write a rate such as `{ count = 5, per = \"1s\" }`",
            );
        }
        Ok(Self { count, per })
    }
}

impl Rate {
    /// The longest span. Source: a guess; providers count by seconds, minutes and hours.
    pub const PER_MAX: Duration = Duration::from_hours(366 * 24);

    /// So many within so long.
    ///
    /// # Panics
    /// When `count` or `per` is 0.
    pub const fn new(count: u32, per: Duration) -> Self {
        assert!(!per.is_zero(), "a rate is over some time");
        match NonZeroU32::new(count) {
            Some(count) => Self { count, per },
            None => panic!("a rate of nothing lets nothing pass"),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.count, show_duration(self.per))
    }
}

/// `[upstreams.NAME.limits]`: what an upstream allows, where its dialect says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitOverrides {
    /// Whether a link may stay open with no topic subscribed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_links: Option<bool>,
    /// The shortest time between two frames that we send over a link.
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub send_interval: Option<Duration>,
    /// Connections that may be attempted, by all of us that the provider sees under one address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connects: Option<Rate>,
    /// Frames that we may send over a link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<Rate>,
    /// Requests over a link that subscribe or end a subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriptions: Option<Rate>,
    /// The age at which the upstream closes a link; 0: it does not.
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
    /// How long before that a link is replaced.
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub max_age_margin: Option<Duration>,
}

impl LimitOverrides {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
