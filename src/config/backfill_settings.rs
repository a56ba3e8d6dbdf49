//! `[monitors.NAME.backfill]` and `[monitors.NAME.poll]`: what is fetched over HTTP in the place of what a link brings.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::endpoint::{self, Endpoint};
use super::event_rule_settings::{EventRuleSettings, TimeUnit};
use super::limits::Rate;
use super::units;

/// A range query: how a span of a topic that was not seen is asked for, and how the answers are read. A dialect may bring some;
/// a key that is set here takes the place of its key.
///
/// Texts with `{holes}` are templates. Every one knows `{topic}`, the named parts of `topic`, `{from}`, `{to}`, `{limit}`,
/// `{cursor}` and `{page}`; behind a `|` stands how a hole is filled: `upper`, `lower`, `members` (an object's members after a comma).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackfillSettings {
    /// Which topics it is for, and how they are taken apart: `{symbol}@{stream}`. Absent: every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// False: nothing is taken from the dialect's own declaration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<bool>,
    /// `http://` or `https://` address; absent: the upstream's own address, over HTTP. Credentials in it are shown redacted.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "optional_over_http")]
    pub url: Option<Endpoint>,
    /// Whether requests carry the upstream's credentials (`[upstreams.NAME.auth]`). Default: only where `url` is not set, so that nobody
    /// else is told them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<bool>,
    /// What is put behind the address's path: a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Parameters of the address: templates. One whose hole has nothing yet, such as a cursor, is left out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
    /// A JSON body, which makes it a POST: a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Pointer to the items of an answer: an array, or one alone. Default: the whole answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub each: Option<String>,
    /// Pointer to what says that an answer is an error, whatever its status. Default: `/error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The message that an item would have been on a link: a JSON template whose holes are also `{item}` and pointers into the
    /// item (`{/price}`). It is read by the monitor's rules, so that ids agree. Default: the item itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Event rules in the place of the monitor's.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "units::one_or_many")]
    pub event: Vec<EventRuleSettings>,
    /// Pointers into an item and what must be there, as templates: other items are not what was asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub only: BTreeMap<String, String>,
    /// What a span is measured by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<RangeSettings>,
    /// How a span is asked for in parts. Default: in one request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pages: Option<PageSettings>,
    /// Items that are asked for at once: `{limit}`. An answer with fewer is the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Requests that may be made. Default: 4 in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// The longest an answer may take. Default: 30 s.
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How long after a gap's end it is asked for: providers have things ready a little later. Default: 1 s.
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub delay: Option<Duration>,
    /// Causes of gaps that are filled. Default: all but `unreadable`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "units::one_or_many")]
    pub causes: Vec<String>,
    /// The most requests for one gap. Default: 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_max: Option<u32>,
}

impl BackfillSettings {
    /// These over those of a dialect: what is said here takes the place of what is said there.
    #[must_use]
    pub fn over(&self, under: &Self) -> Self {
        let or = |own: &Option<String>, under: &Option<String>| own.clone().or_else(|| under.clone());
        let map = |own: &BTreeMap<String, String>, under: &BTreeMap<String, String>| {
            if own.is_empty() { under.clone() } else { own.clone() }
        };
        Self {
            topic: or(&self.topic, &under.topic),
            preset: self.preset,
            url: self.url.clone().or_else(|| under.url.clone()),
            auth: self.auth.or(under.auth),
            path: or(&self.path, &under.path),
            params: map(&self.params, &under.params),
            body: or(&self.body, &under.body),
            each: or(&self.each, &under.each),
            error: or(&self.error, &under.error),
            message: or(&self.message, &under.message),
            event: if self.event.is_empty() { under.event.clone() } else { self.event.clone() },
            only: map(&self.only, &under.only),
            range: self.range.clone().or_else(|| under.range.clone()),
            pages: self.pages.clone().or_else(|| under.pages.clone()),
            limit: self.limit.or(under.limit),
            rate: self.rate.or(under.rate),
            timeout: self.timeout.or(under.timeout),
            delay: self.delay.or(under.delay),
            causes: if self.causes.is_empty() { under.causes.clone() } else { self.causes.clone() },
            requests_max: self.requests_max.or(under.requests_max),
        }
    }
}

/// What a span is measured by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RangeSettings {
    /// Its unit's kind.
    pub by: RangeBy,
    /// How times are written in requests and items. Default: `ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<TimeUnit>,
    /// Whether numbers are written in hexadecimal, as `0x1f`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hex: bool,
    /// Pointers into journaled events, of which the first that finds something counts: where the span begins and ends, when it is
    /// not measured by time.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "units::one_or_many")]
    pub at: Vec<String>,
    /// Whose events these are.
    #[serde(default)]
    pub of: RangeOf,
    /// Pointer to where an item stands in the span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// How far beyond both ends is asked for, in time. Default: 2 s.
    #[serde(default, with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Duration>,
    /// The same in numbers. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_count: Option<u64>,
    /// What `{from}` is where no event came before the gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// What `{to}` is where no event has come after the gap yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// How old something may be that the provider still has; absent: any age.
    #[serde(default, with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub reach: Option<Duration>,
}

/// The kind of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RangeBy {
    /// From one moment to another: the gap's own.
    Time,
    /// From one event's id to another's.
    Id,
    /// From one block to another.
    Block,
    /// From one number of a sequence to another.
    Sequence,
}

/// Whose events tell where a span begins and ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RangeOf {
    /// Those of the topic that has the gap.
    #[default]
    Topic,
    /// Those of any topic of the monitor.
    Monitor,
}

/// How a span is asked for in parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageSettings {
    /// What leads from one part to the next.
    pub by: PagesBy,
    /// Pointer to the next cursor (`cursor`), or to the next address (`link`; absent: the header `Link`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The header that has the next cursor, where the answer's body has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The first `{page}`. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// The longest part (`split`), in numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// The same in time.
    #[serde(default, with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub step_time: Option<Duration>,
    /// Newest first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub descending: bool,
    /// Words in an error that say that the part was too long (`split`): it is halved.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "units::one_or_many")]
    pub too_long: Vec<String>,
}

/// What leads from one part of a span to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PagesBy {
    /// A cursor in the answer.
    Cursor,
    /// `{page}` counts up until a page is empty.
    Number,
    /// Where the last item stands.
    Item,
    /// The span is cut into parts that are short enough.
    Split,
    /// The address of the next page, in the header `Link` or in the answer.
    Link,
}

/// `[monitors.NAME.poll]`: what is fetched at an interval while the upstream's circuit is open, or when an operator says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollSettings {
    /// Time between two polls of a topic.
    #[serde(with = "units::duration")]
    pub interval: Duration,
    /// How long the circuit is open before it is polled.
    #[serde(default, with = "units::duration")]
    pub after: Duration,
    /// How long the circuit is closed before it is polled no longer.
    #[serde(default = "PollSettings::default_back_after", with = "units::duration")]
    pub back_after: Duration,
    /// What is asked. Keys that are not set are those of the monitor's backfill; with a range, a poll asks for what came since the one
    /// before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<BackfillSettings>,
}

impl PollSettings {
    fn default_back_after() -> Duration {
        Duration::from_secs(10)
    }

    /// What is asked: the monitor's backfill, with the keys that are set here in the place of its own.
    pub fn requests(&self, backfill: &[BackfillSettings]) -> Vec<BackfillSettings> {
        match &self.request {
            None => backfill.to_vec(),
            Some(request) if request.preset == Some(false) || backfill.is_empty() => vec![request.clone()],
            Some(request) => {
                let over = |under: &BackfillSettings| BackfillSettings { preset: under.preset, ..request.over(under) };
                backfill.iter().map(over).collect()
            }
        }
    }
}

fn optional_over_http<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Endpoint>, D::Error> {
    endpoint::over_http(deserializer).map(Some)
}
