//! What an upstream allows.

use std::time::Duration;

use crate::config::{LimitOverrides, Rate};

/// What an upstream of this dialect allows. Published numbers, each a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Topics a link may carry.
    pub topics_per_link: u32,
    /// Whether a link may stay open with no topic subscribed.
    pub idle_links: bool,
    /// The shortest time between two frames that we send.
    pub send_interval: Duration,
    /// Connections that may be attempted, by all that the provider sees under one address.
    pub connects: Option<Rate>,
    /// Frames that we may send over a link, beside `send_interval`.
    pub messages: Option<Rate>,
    /// Requests over a link that subscribe or end a subscription.
    pub subscriptions: Option<Rate>,
    /// The age at which the upstream closes a link.
    pub max_age: Option<MaxAge>,
}

/// The upstream closes links of this age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxAge {
    /// When it does.
    pub age: Duration,
    /// How long before that a link is replaced; less than `age`.
    pub margin: Duration,
}

impl MaxAge {
    /// Without a word of its own the margin is a tenth of the age, and at most this. Source: a guess; replacing all links of a
    /// pool one after the other, with thousands of topics each, takes some minutes.
    const MARGIN_MAX: Duration = Duration::from_mins(10);

    /// None where there is no such age. A margin that is none is kept below the age.
    pub fn new(age: Duration, margin: Option<Duration>) -> Option<Self> {
        let tenth = age / 10;
        let margin = margin.filter(|margin| *margin < age).unwrap_or_else(|| tenth.min(Self::MARGIN_MAX));
        (!age.is_zero()).then_some(Self { age, margin })
    }

    /// The age at which a link is to be replaced.
    pub fn replace_at(self) -> Duration {
        self.age.saturating_sub(self.margin)
    }
}

impl Limits {
    /// These limits with an upstream's own in their place.
    #[must_use]
    pub fn overridden_by(self, own: &LimitOverrides) -> Self {
        let margin = own.max_age_margin.or_else(|| self.max_age.map(|of| of.margin));
        let age = own.max_age.or_else(|| self.max_age.map(|of| of.age));
        Self {
            topics_per_link: self.topics_per_link,
            idle_links: own.idle_links.unwrap_or(self.idle_links),
            send_interval: own.send_interval.unwrap_or(self.send_interval),
            connects: own.connects.or(self.connects),
            messages: own.messages.or(self.messages),
            subscriptions: own.subscriptions.or(self.subscriptions),
            max_age: age.and_then(|age| MaxAge::new(age, margin)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::registry;
    use super::*;

    fn limits(dialect: &str, declared: &str) -> Limits {
        let declared: BTreeMap<String, toml::Table> = toml::from_str(declared).unwrap();
        registry::build(dialect, &declared).unwrap().limits()
    }

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn presets_carry_what_providers_publish() {
        let second = Duration::from_secs(1);
        let connects = |dialect| limits(dialect, "").connects;
        assert_eq!(connects("binance"), Some(Rate::new(300, 5 * MINUTE)));
        assert_eq!(connects("bybit"), Some(Rate::new(500, 5 * MINUTE)));
        assert_eq!(connects("kraken"), Some(Rate::new(150, 10 * MINUTE)));
        assert_eq!(connects("okx"), Some(Rate::new(3, second)));
        assert_eq!(connects("coinbase"), Some(Rate::new(8, second)));
        assert_eq!(connects("solana"), Some(Rate::new(40, 10 * second)));
        assert_eq!(connects("ethereum"), None, "a provider's own");
        assert_eq!(limits("okx", "").subscriptions, Some(Rate::new(480, 60 * MINUTE)));
        assert_eq!(limits("binance", "").messages, Some(Rate::new(4, second)), "one of five is left for pongs");
        let age = limits("binance", "").max_age.unwrap();
        assert_eq!((age.age, age.replace_at()), (24 * 60 * MINUTE, (24 * 60 - 10) * MINUTE));
    }

    #[test]
    fn a_dialect_of_ones_own_and_an_upstream_may_say_otherwise_number_by_number() {
        let own =
            "[mine]\nextends = \"binance\"\nlimits = { messages = { count = 9, per = \"1s\" }, max_age = \"0s\" }";
        let mine = limits("mine", own);
        assert_eq!(mine.messages, Some(Rate::new(9, Duration::from_secs(1))));
        assert_eq!((mine.connects, mine.max_age), (limits("binance", "").connects, None), "0 is none");
        let own: LimitOverrides =
            toml::from_str("connects = { count = 2, per = \"1m\" }\nmax_age = \"1h\"\nidle_links = false").unwrap();
        let overridden = mine.overridden_by(&own);
        assert_eq!(overridden.connects, Some(Rate::new(2, MINUTE)));
        assert_eq!(overridden.max_age, MaxAge::new(60 * MINUTE, None));
        assert_eq!(overridden.max_age.unwrap().replace_at(), 54 * MINUTE, "a tenth before");
        assert!(!overridden.idle_links);
        assert_eq!(overridden.messages, mine.messages);
        let none: LimitOverrides = toml::from_str("max_age = \"0s\"").unwrap();
        assert_eq!(limits("binance", "").overridden_by(&none).max_age, None);
        let shorter: LimitOverrides = toml::from_str("max_age = \"5m\"").unwrap();
        let age = limits("binance", "").overridden_by(&shorter).max_age.unwrap();
        assert_eq!(age.replace_at(), Duration::from_secs(270), "the dialect's margin is longer than this age");
    }

    #[test]
    fn a_rate_of_nothing_and_a_margin_as_long_as_the_age_are_refused() {
        for (toml, expected) in [
            ("connects = { count = 0, per = \"1s\" }", "nonzero"),
            ("connects = { count = 1, per = \"0s\" }", "must be longer than 0"),
            ("messages = { count = 1 }", "per"),
            ("connects = { count = 1, per = \"1s\", burst = 3 }", "burst"),
            ("max_age = \"1h\"\nmax_age_margin = \"1h\"", "must be less than"),
        ] {
            let table = toml::from_str(&format!("[mine]\nextends = \"okx\"\n[mine.limits]\n{toml}")).unwrap();
            let said = registry::build("mine", &table).unwrap_err().to_string();
            assert!(said.contains(expected), "{toml}: {said}");
        }
    }
}
