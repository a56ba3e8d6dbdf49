//! A range query as settings declare it, checked and made ready.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::items::{AnswerForm, ItemForm};
use super::place::Measure;
use super::template::{Fill, Filling, Template, TopicForm};
use crate::config::{
    BackfillSettings, Endpoint, EventRuleSettings, PageSettings, PagesBy, RangeOf, RangeSettings, Rate,
};
use crate::monitor::gap::GapCause;
use crate::scanner::{Pointer, PointerSet};

/// Where nothing is published. Source: a guess that no provider takes amiss.
const RATE: Rate = Rate::new(4, Duration::from_secs(1));

/// The longest an answer may take. Source: a guess; range queries are slow at some.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long after a gap's end it is asked for. Source: a guess.
const DELAY: Duration = Duration::from_secs(1);

/// The most requests for one gap. Source: a guess: ten million items at a thousand a page.
const REQUESTS_MAX: u32 = 10_000;

/// How far beyond both ends of a time is asked for: our clock and theirs differ. Source: a guess.
const OVERLAP: Duration = Duration::from_secs(2);

/// Holes of a request.
const REQUEST_HOLES: [&str; 6] = ["topic", "from", "to", "limit", "cursor", "page"];

/// What is wrong with a declaration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` {reason}")]
pub struct DeclarationError {
    /// The key within the declaration.
    pub key: String,
    /// Why it cannot be used.
    pub reason: String,
}

pub(super) fn fault(key: impl Into<String>, reason: impl Into<String>) -> DeclarationError {
    DeclarationError { key: key.into(), reason: reason.into() }
}

/// A range query, ready to be asked for one topic.
#[derive(Debug, Clone)]
pub struct Declaration {
    url: Endpoint,
    path: Vec<Template>,
    params: Vec<(String, Template)>,
    body: Option<Template>,
    pub(super) answer: AnswerForm,
    pub(super) items: ItemForm,
    pub(super) range: Option<Range>,
    pub(super) pages: Option<PageSettings>,
    pub(super) limit: Option<u32>,
    causes: Vec<String>,
    /// Whether requests carry the upstream's credentials.
    pub auth: bool,
    /// What it may ask.
    pub rate: Rate,
    /// The longest an answer may take.
    pub timeout: Duration,
    /// How long after a gap's end it is asked for.
    pub delay: Duration,
    /// The most requests for one gap.
    pub requests_max: u32,
    /// Event rules in the place of the monitor's; mostly none.
    pub event: Vec<EventRuleSettings>,
    /// The topic, and its named parts.
    holes: BTreeMap<String, String>,
}

/// What a span is measured by, and where its ends are found.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub(super) measure: Measure,
    pub(super) at: Option<PointerSet>,
    pub(super) of: RangeOf,
    /// In the unit of places.
    pub(super) overlap: i128,
    pub(super) first: Option<String>,
    pub(super) last: Option<String>,
    pub(super) reach: Option<Duration>,
}

impl Declaration {
    /// The declaration for a topic, out of a monitor's own and those of its dialect; none where nothing is declared for it.
    ///
    /// # Errors
    /// When what is declared cannot be used.
    pub fn for_topic(
        own: &[BackfillSettings],
        of_dialect: &[BackfillSettings],
        upstream: &Endpoint,
        topic: &str,
    ) -> Result<Option<Self>, DeclarationError> {
        for settings in own {
            if parts(settings, topic)?.is_none() {
                continue;
            }
            let mut under = None;
            for preset in of_dialect.iter().filter(|_| settings.preset != Some(false)) {
                if parts(preset, topic)?.is_some() {
                    under = Some(preset);
                    break;
                }
            }
            let settings = match under {
                Some(under) => settings.over(under),
                // A few keys that are meant to change a preset are no declaration by themselves.
                None if settings.range.is_none() && settings.preset != Some(false) && !of_dialect.is_empty() => {
                    continue;
                }
                None => settings.clone(),
            };
            return Self::compile(&settings, upstream, topic);
        }
        Ok(None)
    }

    /// A declaration that stands by itself, for a topic; none where it is not for that.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn compile(
        settings: &BackfillSettings,
        upstream: &Endpoint,
        topic: &str,
    ) -> Result<Option<Self>, DeclarationError> {
        let Some(mut holes) = parts(settings, topic)? else { return Ok(None) };
        let own: Vec<String> = holes.keys().cloned().collect();
        holes.insert("topic".into(), topic.to_owned());
        let checked = |key: &str, template: Result<Template, String>, known: &[&str]| {
            let template = template.map_err(|reason| fault(key, reason))?;
            for hole in template.names() {
                if !known.contains(&hole) && !own.iter().any(|part| part == hole) {
                    let known: Vec<String> = known
                        .iter()
                        .copied()
                        .chain(own.iter().map(String::as_str))
                        .map(|name| format!("`{{{name}}}`"))
                        .collect();
                    return Err(fault(key, format!("knows no `{{{hole}}}`; known are {}", known.join(", "))));
                }
            }
            Ok(template)
        };
        let url = match &settings.url {
            Some(url) => url.clone(),
            None => over_http(upstream)
                .ok_or_else(|| fault("url", "is missing, and the upstream has no address over HTTP"))?,
        };
        let segments = settings.path.as_deref().unwrap_or_default().split('/').filter(|segment| !segment.is_empty());
        let path = segments.map(|segment| checked("path", Template::plain(segment), &REQUEST_HOLES));
        let params = settings.params.iter().map(|(name, text)| {
            Ok((name.clone(), checked(&format!("params.{name}"), Template::plain(text), &REQUEST_HOLES)?))
        });
        let range = settings.range.as_ref().map(Range::compile).transpose()?;
        let body =
            settings.body.as_deref().map(|body| checked("body", Template::json(body), &REQUEST_HOLES)).transpose()?;
        check_pages(settings)?;
        for (index, cause) in settings.causes.iter().enumerate() {
            if !GapCause::ALL.iter().any(|known| known.as_str() == cause) {
                let known: Vec<&str> = GapCause::ALL.iter().map(|cause| cause.as_str()).collect();
                return Err(fault(
                    format!("causes[{index}]"),
                    format!("is no cause of a gap; these are {}", known.join(", ")),
                ));
            }
        }
        Ok(Some(Self {
            url,
            path: path.collect::<Result<_, _>>()?,
            params: params.collect::<Result<_, DeclarationError>>()?,
            body,
            answer: AnswerForm::compile(settings)?,
            items: ItemForm::compile(settings, range.as_ref().map(|range| range.measure), &holes)?,
            range,
            pages: settings.pages.clone(),
            limit: settings.limit,
            causes: settings.causes.clone(),
            auth: settings.auth.unwrap_or(settings.url.is_none()),
            rate: settings.rate.unwrap_or(RATE),
            timeout: settings.timeout.unwrap_or(TIMEOUT),
            delay: settings.delay.unwrap_or(DELAY),
            requests_max: settings.requests_max.unwrap_or(REQUESTS_MAX).max(1),
            event: settings.event.clone(),
            holes,
        }))
    }

    /// Whether gaps of this cause are filled.
    pub fn fills(&self, cause: GapCause) -> bool {
        if self.causes.is_empty() {
            cause != GapCause::Unreadable
        } else {
            self.causes.iter().any(|one| one == cause.as_str())
        }
    }

    /// Whether it can be asked for a span.
    pub fn has_range(&self) -> bool {
        self.range.is_some()
    }

    /// Who is asked: its address without secrets.
    pub fn shown_url(&self) -> String {
        self.url.to_string()
    }

    /// Host and port, by which requests are counted.
    pub fn host(&self) -> String {
        let url = self.url.reveal();
        let port = url.port_or_known_default().unwrap_or_default();
        format!("{}:{port}", url.host_str().unwrap_or_default())
    }

    /// The address and the body of a request. `holes` has what there is beside the topic.
    pub(super) fn request<'f>(&self, holes: &Fill<'f>) -> Result<(Url, Option<String>), String> {
        let fill = |name: &str| self.hole(name).or_else(|| holes(name));
        let mut url = self.url.reveal().clone();
        if !self.path.is_empty() {
            let missing = || "the address needs what there is not".to_owned();
            let segments: Vec<String> =
                self.path.iter().map(|part| part.render(&fill)).collect::<Option<_>>().ok_or_else(missing)?;
            // An HTTP address always has a path.
            if let Ok(mut path) = url.path_segments_mut() {
                path.pop_if_empty().extend(&segments);
            }
        }
        for (name, template) in &self.params {
            if let Some(value) = template.render(&fill) {
                url.query_pairs_mut().append_pair(name, &value);
            }
        }
        let body = match &self.body {
            None => None,
            Some(template) => Some(template.render(&fill).ok_or("the body needs what there is not")?),
        };
        Ok((url, body))
    }

    fn hole(&self, name: &str) -> Option<Filling<'static>> {
        self.holes.get(name).map(|text| Filling::text(text.clone()))
    }

    /// Whether a page's address may be followed: nothing is sent to anybody else than who was asked.
    pub(super) fn is_same_place(&self, url: &Url) -> bool {
        url.origin() == self.url.reveal().origin()
    }
}

impl Range {
    fn compile(range: &RangeSettings) -> Result<Self, DeclarationError> {
        let measure = Measure::of(range);
        let pointers: Vec<Pointer> = range
            .at
            .iter()
            .map(|text| Pointer::parse(text).map_err(|error| fault("range.at", error.to_string())))
            .collect::<Result<_, _>>()?;
        if measure.is_time() {
            for (key, given) in [
                ("range.at", !range.at.is_empty()),
                ("range.overlap_count", range.overlap_count.is_some()),
                ("range.hex", range.hex),
            ] {
                if given {
                    return Err(fault(key, "says nothing of a range by time"));
                }
            }
        } else {
            if pointers.is_empty() {
                return Err(fault("range.at", "is missing; it says where the numbers are in the journaled events"));
            }
            for (key, given) in [("range.overlap", range.overlap.is_some()), ("range.unit", range.unit.is_some())] {
                if given {
                    return Err(fault(key, "goes with `by = \"time\"` only"));
                }
            }
        }
        let overlap = if measure.is_time() {
            i128::try_from(range.overlap.unwrap_or(OVERLAP).as_nanos()).unwrap_or(i128::MAX)
        } else {
            range.overlap_count.unwrap_or_default().into()
        };
        Ok(Self {
            measure,
            at: (!pointers.is_empty()).then(|| PointerSet::new(&pointers)),
            of: range.of,
            overlap,
            first: range.first.clone(),
            last: range.last.clone(),
            reach: range.reach,
        })
    }
}

fn check_pages(settings: &BackfillSettings) -> Result<(), DeclarationError> {
    let Some(pages) = &settings.pages else { return Ok(()) };
    let position = settings.range.as_ref().is_some_and(|range| range.position.is_some());
    let time = settings.range.as_ref().is_some_and(|range| Measure::of(range).is_time());
    let lacks = |key: &str, reason: &str| Err(fault(format!("pages.{key}"), reason));
    match pages.by {
        PagesBy::Cursor if pages.next.is_none() && pages.header.is_none() => {
            lacks("next", "is missing; it says where an answer has the next cursor (or `header`)")
        }
        PagesBy::Item if !position => {
            Err(fault("range.position", "is missing; pages go on behind where the last item stands"))
        }
        PagesBy::Split if time && pages.step_time.is_none() => {
            lacks("step_time", "is missing; it says how long a part may be")
        }
        PagesBy::Split if !time && pages.step.is_none_or(|step| step == 0) => {
            lacks("step", "is missing; it says how many numbers a part may have, at least 1")
        }
        PagesBy::Split if settings.range.is_none() => Err(fault("range", "is missing; there is nothing to split")),
        _ => Ok(()),
    }
}

/// The parts of a topic that a declaration is for; none where it is for others.
fn parts(settings: &BackfillSettings, topic: &str) -> Result<Option<BTreeMap<String, String>>, DeclarationError> {
    let Some(form) = &settings.topic else { return Ok(Some(BTreeMap::new())) };
    let form = TopicForm::parse(form).map_err(|reason| fault("topic", reason))?;
    if let Some(name) = form.names().find(|name| REQUEST_HOLES[1..].contains(name)) {
        return Err(fault("topic", format!("`{{{name}}}` means something else in requests; choose another name")));
    }
    Ok(form.split(topic).map(|parts| parts.into_iter().collect()))
}

/// A WebSocket address as the same provider's over HTTP.
fn over_http(upstream: &Endpoint) -> Option<Endpoint> {
    let mut url = upstream.reveal().clone();
    let scheme = match url.scheme() {
        "ws" | "http" => "http",
        "wss" | "https" => "https",
        _ => return None,
    };
    url.set_scheme(scheme).ok()?;
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream() -> Endpoint {
        Url::parse("wss://node.example/ws?key=1").unwrap().into()
    }

    fn settings(toml: &str) -> BackfillSettings {
        toml::from_str(toml).unwrap_or_else(|error| panic!("{error}"))
    }

    fn compiled(toml: &str, topic: &str) -> Declaration {
        Declaration::compile(&settings(toml), &upstream(), topic).unwrap().unwrap()
    }

    #[test]
    fn a_request_is_put_together_of_the_topics_parts_and_what_there_is() {
        let declaration = compiled(
            "topic = \"{symbol}@trade\"\nurl = \"https://api.example/v1\"\npath = \"/trades/{symbol|upper}\"\n\
             params = { from = \"{from}\", after = \"{cursor}\" }\nrange = { by = \"time\" }",
            "b/tc@trade",
        );
        let ask = |cursor: Option<&'static str>| {
            let (url, body) = declaration
                .request(&|name| match name {
                    "from" => Some(Filling::text("7")),
                    "cursor" => cursor.map(Filling::text),
                    _ => None,
                })
                .unwrap();
            assert_eq!(body, None);
            url.to_string()
        };
        assert_eq!(ask(None), "https://api.example/v1/trades/B%2FTC?from=7", "a part of a topic is no path of its own");
        assert_eq!(ask(Some("a&b")), "https://api.example/v1/trades/B%2FTC?after=a%26b&from=7");
    }

    #[test]
    fn without_an_address_it_is_the_upstreams_own_over_http() {
        let declaration = compiled("body = '{\"from\": {from}}'\nrange = { by = \"block\", at = \"/n\" }", "x");
        let (url, body) = declaration.request(&|_| Some(Filling::text("7"))).unwrap();
        assert_eq!((url.as_str(), body.as_deref()), ("https://node.example/ws?key=1", Some("{\"from\": 7}")));
        assert!(!declaration.shown_url().contains("key=1"), "secrets are not shown");
        assert_eq!(declaration.host(), "node.example:443");
    }

    #[test]
    fn a_monitors_keys_take_the_place_of_the_dialects_and_only_for_topics_that_fit() {
        let preset = [settings(
            "topic = \"{s}@trade\"\nurl = \"https://a.example\"\npath = \"/t/{s}\"\nrange = { by = \"time\" }",
        )];
        let own = [settings("url = \"http://b.example\"")];
        let url = |own: &[BackfillSettings], topic| {
            let found = Declaration::for_topic(own, &preset, &upstream(), topic).unwrap();
            found.map(|declaration| declaration.request(&|_| None).unwrap().0.to_string())
        };
        assert_eq!(url(&own, "x@trade").as_deref(), Some("http://b.example/t/x"));
        assert_eq!(url(&own, "x@depth"), None, "nobody declares it");
        assert_eq!(url(&[], "x@trade"), None, "nobody wants it");
        let alone = [settings("preset = false\nurl = \"http://b.example\"\nrange = { by = \"time\" }")];
        assert_eq!(url(&alone, "x@trade").as_deref(), Some("http://b.example/"));
    }

    #[test]
    fn mistakes_are_refused_with_their_key() {
        for (toml, says) in [
            ("path = \"/{symbl}\"", "`path` knows no `{symbl}`"),
            ("body = '{\"a\": [}'", "`body` is no JSON"),
            ("topic = \"{from}\"", "`topic` `{from}` means something else"),
            ("range = { by = \"block\" }", "`range.at` is missing"),
            ("range = { by = \"time\", overlap_count = 1 }", "`range.overlap_count` says nothing"),
            ("pages = { by = \"cursor\" }", "`pages.next` is missing"),
            ("range = { by = \"time\" }\npages = { by = \"item\" }", "`range.position` is missing"),
            ("range = { by = \"time\" }\npages = { by = \"split\" }", "`pages.step_time` is missing"),
            ("causes = \"sunspots\"", "`causes[0]` is no cause"),
            ("each = \"items\"", "`each`"),
            ("message = '{\"a\": {price}}'", "`message` knows no `{price}`"),
        ] {
            let error = Declaration::compile(&settings(toml), &upstream(), "x").unwrap_err().to_string();
            assert!(error.contains(says), "{toml}: {error}");
        }
    }
}
