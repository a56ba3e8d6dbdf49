//! What is asked of `/api/v1/events`.

use std::fmt::Write as _;

use axum::http::StatusCode;

use super::cursor;
use crate::clock::UnixNanos;
use crate::config::units::parse_moment;
use crate::journal::{EventFilter, Offset, Path};
use crate::server::problem::Problem;

/// Events of a page that does not say how many.
const PAGE_DEFAULT: u64 = 1000;
/// The most of a page.
const PAGE_MAX: u64 = 10_000;
/// Values of one parameter that may be repeated.
const REPEATS_MAX: usize = 1000;

const PARAMETERS: &str = "monitor, domain, topic, key (each may be repeated), path, since, until, event_time, from, to, \
                          limit, cursor, format";

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventsAs {
    /// A page: `{"events": […], "next": …}`.
    Json,
    /// An object a line.
    Lines,
    /// A table.
    Csv,
}

impl EventsAs {
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Lines => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "jsonl" => Some(Self::Lines),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }

    /// The first that we have of what a client takes.
    fn accepted(accept: &str) -> Option<Self> {
        accept.split(',').find_map(|media| match media.split(';').next().unwrap_or_default().trim() {
            "application/json" | "application/*" | "*/*" | "" => Some(Self::Json),
            "application/x-ndjson" | "application/jsonl" | "application/jsonlines" => Some(Self::Lines),
            "text/csv" | "text/*" => Some(Self::Csv),
            _ => None,
        })
    }
}

/// A question.
#[derive(Debug, Clone)]
pub(super) struct EventQuery {
    monitors: Vec<String>,
    domains: Vec<String>,
    topics: Vec<String>,
    keys: Vec<String>,
    path: Option<Path>,
    since: Option<UnixNanos>,
    until: Option<UnixNanos>,
    event_time: bool,
    pub(super) from: Option<Offset>,
    pub(super) to: Option<Offset>,
    pub(super) limit: Option<u64>,
    pub(super) format: EventsAs,
    /// The parameters that a cursor has to come with again, as they were sent.
    asked: String,
}

impl EventQuery {
    /// By hand, because a parameter may come more than once, and to say which cannot be used.
    pub(super) fn read(raw: &str, accept: Option<&str>) -> Result<Self, Problem> {
        let format = EventsAs::accepted(accept.unwrap_or("*/*"));
        let mut query = Self {
            monitors: Vec::new(),
            domains: Vec::new(),
            topics: Vec::new(),
            keys: Vec::new(),
            path: None,
            since: None,
            until: None,
            event_time: false,
            from: None,
            to: None,
            limit: None,
            format: format.unwrap_or(EventsAs::Json),
            asked: String::new(),
        };
        let (mut named, mut handed) = (false, None);
        for (name, value) in url::form_urlencoded::parse(raw.as_bytes()) {
            let unusable = |detail: String| Problem::parameter(&name, format!("`{name}` {detail}"));
            let number = || value.parse::<u64>().map_err(|_| unusable(format!("is a number, not `{value}`")));
            let moment = || parse_moment(&value).map_err(|reason| unusable(format!("is a time: {reason}")));
            match &*name {
                "monitor" => query.monitors.push(value.to_string()),
                "domain" => query.domains.push(value.to_string()),
                "topic" => query.topics.push(value.to_string()),
                "key" => query.keys.push(value.to_string()),
                "path" => {
                    let known = [Path::Smart, Path::Legacy].into_iter().find(|path| path.as_str() == value);
                    query.path = Some(known.ok_or_else(|| unusable(format!("is `smart` or `legacy`, not `{value}`")))?);
                }
                "since" => query.since = Some(moment()?),
                "until" => query.until = Some(moment()?),
                "event_time" => {
                    let truth = value.parse().map_err(|_| unusable(format!("is true or false, not `{value}`")))?;
                    query.event_time = truth;
                }
                "from" => query.from = Some(Offset(number()?)),
                "to" => query.to = Some(Offset(number()?)),
                "limit" => match number()? {
                    0 => return Err(unusable("is at least 1".into())),
                    limit => query.limit = Some(limit),
                },
                "format" => {
                    named = true;
                    let known = EventsAs::named(&value);
                    query.format = known.ok_or_else(|| unusable(format!("is json, jsonl or csv, not `{value}`")))?;
                }
                "cursor" => handed = Some(value.to_string()),
                other => {
                    let detail = format!("there is no parameter `{other}`; there are {PARAMETERS}");
                    return Err(Problem::parameter(other, detail));
                }
            }
            // Relative times move on from page to page, so what was sent counts, not what it meant.
            if !matches!(&*name, "cursor" | "limit" | "format" | "from") {
                // A string takes all that is written.
                write!(query.asked, "{}:{name}={}:{value};", name.len(), value.len()).ok();
            }
        }
        if format.is_none() && !named {
            let detail = "events are told as application/json, application/x-ndjson or text/csv";
            return Err(Problem::new(StatusCode::NOT_ACCEPTABLE, detail));
        }
        for (name, values) in
            [("monitor", &query.monitors), ("domain", &query.domains), ("topic", &query.topics), ("key", &query.keys)]
        {
            if values.len() > REPEATS_MAX {
                let detail = format!("`{name}` is given {} times; at most {REPEATS_MAX} are taken", values.len());
                return Err(Problem::parameter(name, detail));
            }
        }
        if query.from.zip(query.to).is_some_and(|(from, to)| from > to) {
            return Err(Problem::parameter("to", "`to` is before `from`; nothing is between"));
        }
        if query.since.zip(query.until).is_some_and(|(since, until)| since > until) {
            return Err(Problem::parameter("until", "`until` is before `since`; nothing is between"));
        }
        if let Some(handed) = handed {
            query.from = Some(cursor::read(&handed, &query)?);
        }
        if query.format == EventsAs::Json {
            query.limit = Some(query.limit.unwrap_or(PAGE_DEFAULT).min(PAGE_MAX));
        }
        Ok(query)
    }

    /// What it means to the journal.
    pub(super) fn filter(&self) -> EventFilter<'_> {
        EventFilter {
            monitors: &self.monitors,
            domains: &self.domains,
            topics: &self.topics,
            keys: &self.keys,
            path: self.path,
            since: self.since,
            until: self.until,
            event_time: self.event_time,
            from: self.from,
            to: self.to,
        }
    }

    /// Tells questions apart, so that a cursor is not used for another one.
    pub(super) fn sum(&self) -> u32 {
        crc32c::crc32c(self.asked.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_named() {
        for (raw, parameter) in [
            ("mointor=a", "mointor"),
            ("limit=0", "limit"),
            ("limit=-1", "limit"),
            ("since=later", "since"),
            ("path=rough", "path"),
            ("event_time=maybe", "event_time"),
            ("format=xml", "format"),
            ("cursor=abc", "cursor"),
            ("from=1e3", "from"),
            ("from=10&to=5", "to"),
            ("since=1m&until=10m", "until"),
        ] {
            let refusal = format!("{:?}", EventQuery::read(raw, None).unwrap_err());
            assert!(refusal.contains(&format!("\"parameter\": String(\"{parameter}\")")), "{raw}: {refusal}");
        }
        assert!(EventQuery::read("", Some("image/png")).is_err());
    }

    #[test]
    fn a_cursor_is_of_its_question_only() {
        let asked = EventQuery::read("monitor=a&since=5m", None).unwrap();
        let handed = cursor::write(&asked, Offset(7));
        let next = EventQuery::read(&format!("monitor=a&since=5m&limit=3&cursor={handed}"), None).unwrap();
        assert_eq!((next.from, next.limit), (Some(Offset(7)), Some(3)));
        for other in ["monitor=b&since=5m", "monitor=a", "monitor=a&since=5m&key=x"] {
            assert!(EventQuery::read(&format!("{other}&cursor={handed}"), None).is_err(), "{other}");
        }
    }

    #[test]
    fn the_form_is_as_the_client_takes_it() {
        for (raw, accept, format) in [
            ("", "text/html, text/csv;q=0.9", EventsAs::Csv),
            ("", "application/x-ndjson", EventsAs::Lines),
            ("format=csv", "image/png", EventsAs::Csv),
            ("", "*/*", EventsAs::Json),
        ] {
            assert_eq!(EventQuery::read(raw, Some(accept)).unwrap().format, format, "{raw} {accept}");
        }
    }
}
