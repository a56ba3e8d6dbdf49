//! How topics are worded, and which requests are made of them.
//!
//! A form such as `{channel}:{product}` takes a topic's text apart into named parts; the templates beside it put the parts
//! into requests. Topics that agree in every part that a request names outside of its list go into one request.

use std::borrow::Cow;

use serde::Deserialize;

use super::error::Fault;
use super::template::{Fill, Template};

/// `[[topics]]`: one way of wording a topic. The first form that fits a topic is its form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicFormSettings {
    /// The wording: `{channel}:{product}`. A part ends where the text after it begins; the last one takes the rest.
    pub form: String,
    /// A topic of this form, for error messages.
    #[serde(default)]
    pub example: Option<String>,
    /// What one topic is in the `{topics}` list of a request. Default: `"{topic}"`.
    #[serde(default)]
    pub item: Option<String>,
    /// What topics are together in a request that has `{groups}`: those that agree in the parts that it names, listed by its
    /// `{topics}`.
    #[serde(default)]
    pub group: Option<String>,
    /// The request that subscribes. Holes: `{id}` of the request, `{topics}`: the list of items, `{groups}`: one `group` after
    /// the other, `{topic}`: its whole text, and the form's parts. Without a list each topic has a request of its own.
    pub subscribe: String,
    /// A request takes the place of the one before on its link: it always names all topics of this form.
    #[serde(default)]
    pub replaces: bool,
    /// The request that subscribes from a point on, where there is one to go on from: `{resume}`. It takes topics together
    /// as `subscribe` does.
    #[serde(default)]
    pub subscribe_from: Option<String>,
    /// The request that unsubscribes; `{subscription}` is the id that a JSON-RPC upstream gave. Absent: nothing is said.
    #[serde(default)]
    pub unsubscribe: Option<String>,
    /// What a route makes of this topic's messages, where they do not name all of it. Default: `{topic}`.
    #[serde(default)]
    pub route: Option<String>,
}

/// A checked form.
#[derive(Debug, Clone)]
pub(crate) struct TopicForm {
    text: String,
    example: Option<String>,
    pieces: Vec<Piece>,
    parts: Vec<String>,
    item: Template,
    group: Option<RequestForm>,
    replaces: bool,
    subscribe: RequestForm,
    subscribe_from: Option<RequestForm>,
    unsubscribe: Option<RequestForm>,
    route: Option<Template>,
}

#[derive(Debug, Clone)]
enum Piece {
    Fixed(String),
    Part,
}

/// A request's template and what follows from its holes.
#[derive(Debug, Clone)]
struct RequestForm {
    template: Template,
    lists: bool,
    /// Parts that all topics of one request must agree in.
    shared: Vec<usize>,
}

/// Where subscriptions go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Point {
    /// As it is put into a text.
    pub(crate) text: String,
    /// As a JSON value.
    pub(crate) json: String,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Subscribe,
    Unsubscribe,
}

const OWN_HOLES: [&str; 5] = ["id", "topic", "topics", "groups", "subscription"];
const RESUME_HOLES: [&str; 6] = ["id", "topic", "topics", "groups", "subscription", "resume"];

/// What begins the holes that are filled with credentials when a message is sent: `{auth.token}`.
const AUTH: &str = "auth.";

impl TopicForm {
    /// Names of credentials that its requests need.
    pub(crate) fn credentials_named(&self) -> impl Iterator<Item = String> {
        let requests = [Some(&self.subscribe), self.subscribe_from.as_ref(), self.unsubscribe.as_ref()];
        let templates = requests.into_iter().flatten().map(|request| &request.template).chain([&self.item]);
        templates.flat_map(Template::names).filter_map(|hole| hole.strip_prefix(AUTH)).map(str::to_owned)
    }

    pub(crate) fn compile(settings: &TopicFormSettings, key: &str) -> Result<Self, Fault> {
        let (pieces, parts) = split_form(&settings.form).map_err(|reason| Fault::new(format!("{key}.form"), reason))?;
        let check = |name: &str, template: Template, own: &[&str]| {
            for hole in template.names() {
                if !own.contains(&hole) && !hole.starts_with(AUTH) && !parts.iter().any(|part| part == hole) {
                    let known = own.iter().copied().chain(parts.iter().map(String::as_str));
                    let known = known.map(|name| format!("`{{{name}}}`")).collect::<Vec<_>>().join(", ");
                    return Err(Fault::new(
                        format!("{key}.{name}"),
                        format!("knows no `{{{hole}}}`; known are {known}"),
                    ));
                }
            }
            Ok(template)
        };
        let request = |name: &str, text: &str| {
            let template = Template::request(text).map_err(|reason| Fault::new(format!("{key}.{name}"), reason))?;
            let own: &[&str] = match name {
                "item" => &["topic"],
                "group" => &["topics"],
                "subscribe_from" => &RESUME_HOLES,
                _ => &OWN_HOLES,
            };
            let template = check(name, template, own)?;
            Ok::<_, Fault>(template)
        };
        let request_form = |template: Template| {
            let lists = template.names().any(|hole| matches!(hole, "topics" | "groups"));
            let shared = (0..parts.len()).filter(|part| template.names().any(|hole| hole == parts[*part])).collect();
            RequestForm { template, lists, shared }
        };
        let item = request("item", settings.item.as_deref().unwrap_or(r#""{topic}""#))?;
        let group = settings.group.as_deref().map(|text| request("group", text)).transpose()?.map(request_form);
        let subscribe = request_form(request("subscribe", &settings.subscribe)?);
        let groups = subscribe.template.names().any(|hole| hole == "groups");
        if groups != group.is_some() {
            let reason = "and `{groups}` in `subscribe` go together: what a group is, and where they stand";
            return Err(Fault::new(format!("{key}.group"), reason));
        }
        if settings.replaces && !(subscribe.lists && subscribe.shared.is_empty()) {
            let reason =
                "needs a `subscribe` that can name all topics: with `{topics}` or `{groups}`, and no part beside";
            return Err(Fault::new(format!("{key}.replaces"), reason));
        }
        let subscribe_from =
            settings.subscribe_from.as_deref().map(|text| request("subscribe_from", text)).transpose()?;
        let subscribe_from = subscribe_from.map(request_form);
        if let Some(from) = &subscribe_from {
            let refused = |reason: &str| Err(Fault::new(format!("{key}.subscribe_from"), reason));
            if !from.template.names().any(|hole| hole == "resume") {
                return refused("has no `{resume}`; it says where to go on from");
            }
            if (from.lists, &from.shared) != (subscribe.lists, &subscribe.shared) {
                return refused("must name the same parts as `subscribe`, so that it takes the same topics together");
            }
        }
        let unsubscribe = settings.unsubscribe.as_deref().map(|text| request("unsubscribe", text)).transpose()?;
        let route = match &settings.route {
            None => None,
            Some(text) => {
                let template = Template::plain(text).map_err(|reason| Fault::new(format!("{key}.route"), reason))?;
                Some(check("route", template, &["topic"])?)
            }
        };
        let form = Self {
            text: settings.form.clone(),
            example: settings.example.clone(),
            pieces,
            item,
            group,
            replaces: settings.replaces,
            subscribe,
            subscribe_from,
            unsubscribe: unsubscribe.map(request_form),
            route,
            parts,
        };
        if let Some(example) = &form.example {
            match form.split(example).map(|words| form.check(&words)) {
                Some(Ok(())) => {}
                Some(Err(reason)) => return Err(Fault::new(format!("{key}.example"), reason)),
                None => return Err(Fault::new(format!("{key}.example"), "does not have this form")),
            }
        }
        Ok(form)
    }

    /// The topic's parts, where it has this form.
    pub(crate) fn split<'a>(&self, topic: &'a str) -> Option<Vec<&'a str>> {
        let mut words = Vec::with_capacity(self.parts.len());
        let mut rest = topic;
        let mut pieces = self.pieces.iter().peekable();
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Fixed(text) => rest = rest.strip_prefix(text.as_str())?,
                Piece::Part => {
                    let end = match pieces.peek() {
                        // The part itself is never empty, so the search begins behind its first character.
                        Some(Piece::Fixed(text)) => {
                            let first = rest.chars().next()?.len_utf8();
                            rest[first..].find(text.as_str())? + first
                        }
                        _ => rest.len(),
                    };
                    if end == 0 {
                        return None;
                    }
                    words.push(&rest[..end]);
                    rest = &rest[end..];
                }
            }
        }
        rest.is_empty().then_some(words)
    }

    /// Whether the parts fit where the templates put them.
    pub(crate) fn check(&self, words: &[&str]) -> Result<(), String> {
        let requests = [Some(&self.subscribe), self.subscribe_from.as_ref(), self.unsubscribe.as_ref()];
        let requests = requests.map(|form| form.map(|form| &form.template));
        let group = self.group.as_ref().map(|group| &group.template);
        for template in requests.into_iter().flatten().chain([&self.item]).chain(group) {
            // `{topic}` is made a JSON string where it stands for a value; parts are put in as they are.
            for hole in template.value_names().filter(|hole| !matches!(*hole, "topic" | "resume")) {
                let Some(part) = self.parts.iter().position(|part| part == hole) else { continue };
                if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(words[part]) {
                    return Err(format!(
                        "`{}` stands where `{}` has JSON or a number: {error}",
                        words[part], self.text
                    ));
                }
            }
        }
        Ok(())
    }

    /// The form as people should write it.
    pub(crate) fn shown(&self) -> String {
        match &self.example {
            Some(example) => format!("`{}` such as `{example}`", self.text),
            None => format!("`{}`", self.text),
        }
    }

    /// The text under which this topic's messages are found.
    pub(crate) fn route(&self, topic: &str, words: &[Box<str>]) -> String {
        match &self.route {
            Some(route) => route.render(&Holes::of(self, topic, words, 0)).unwrap_or_else(|| topic.to_owned()),
            None => topic.to_owned(),
        }
    }

    /// Whether it can be asked to go on from a point.
    pub(crate) fn resumes(&self) -> bool {
        self.subscribe_from.is_some()
    }

    /// Whether a request takes the place of the one before.
    pub(crate) fn replaces(&self) -> bool {
        self.replaces
    }

    /// Whether the request that ends a topic names it by the id that the upstream gave.
    pub(crate) fn ends_by_id(&self) -> bool {
        let mut names = self.unsubscribe.iter().flat_map(|request| request.template.names());
        names.any(|hole| hole == "subscription")
    }

    /// A named part of a topic.
    pub(crate) fn part<'a>(&self, words: &'a [Box<str>], name: &str) -> Option<&'a str> {
        self.parts.iter().position(|part| part == name).map(|part| &*words[part])
    }

    fn request(&self, purpose: Purpose) -> Option<&RequestForm> {
        match purpose {
            Purpose::Subscribe => Some(&self.subscribe),
            Purpose::Unsubscribe => self.unsubscribe.as_ref(),
        }
    }

    /// Whether several topics fit into one request of this purpose.
    pub(crate) fn lists(&self, purpose: Purpose) -> bool {
        self.request(purpose).is_some_and(|request| request.lists)
    }

    /// Whether two topics' parts allow them into one request.
    pub(crate) fn together(&self, purpose: Purpose, one: &[Box<str>], other: &[Box<str>]) -> bool {
        self.request(purpose)
            .is_some_and(|request| request.lists && request.shared.iter().all(|part| one[*part] == other[*part]))
    }

    /// A request for topics that go together; none where there is nothing to say.
    pub(crate) fn render(
        &self,
        purpose: Purpose,
        id: u64,
        topics: &[Worded<'_>],
        subscription: Option<&str>,
        resume: Option<&Point>,
    ) -> Option<String> {
        let request = match (purpose, resume, &self.subscribe_from) {
            (Purpose::Subscribe, Some(_), Some(from)) => from,
            _ => self.request(purpose)?,
        };
        let (topic, words) = topics.first()?;
        let list = self.list(topics, id)?;
        let mut holes = Holes { topics: &list, subscription, resume, ..Holes::of(self, topic, words, id) };
        let groups = match &self.group {
            Some(group) => self.grouped(group, topics, id)?,
            None => String::new(),
        };
        holes.groups = &groups;
        request.template.render(&holes)
    }

    /// The items of topics, in brackets.
    fn list(&self, topics: &[Worded<'_>], id: u64) -> Option<String> {
        let items = topics.iter().map(|(topic, words)| self.item.render(&Holes::of(self, topic, words, id)));
        Some(format!("[{}]", items.collect::<Option<Vec<_>>>()?.join(",")))
    }

    /// Groups of topics, one behind the other, in the order in which each begins.
    fn grouped(&self, form: &RequestForm, topics: &[Worded<'_>], id: u64) -> Option<String> {
        let mut groups: Vec<Vec<Worded<'_>>> = Vec::new();
        for topic in topics {
            let together =
                |group: &&mut Vec<Worded<'_>>| form.shared.iter().all(|part| group[0].1[*part] == topic.1[*part]);
            match groups.iter_mut().find(together) {
                Some(group) => group.push(*topic),
                None => groups.push(vec![*topic]),
            }
        }
        let rendered = groups.iter().map(|group| {
            let list = self.list(group, id)?;
            let (topic, words) = group[0];
            form.template.render(&Holes { topics: &list, ..Holes::of(self, topic, words, id) })
        });
        Some(rendered.collect::<Option<Vec<_>>>()?.join(","))
    }
}

/// A topic and its parts.
type Worded<'a> = (&'a str, &'a [Box<str>]);

struct Holes<'a> {
    form: &'a TopicForm,
    topic: &'a str,
    words: &'a [Box<str>],
    id: u64,
    topics: &'a str,
    groups: &'a str,
    subscription: Option<&'a str>,
    resume: Option<&'a Point>,
}

impl<'a> Holes<'a> {
    /// What there is to say about one topic.
    fn of(form: &'a TopicForm, topic: &'a str, words: &'a [Box<str>], id: u64) -> Self {
        Self { form, topic, words, id, topics: "", groups: "", subscription: None, resume: None }
    }
}

impl Fill for Holes<'_> {
    fn json(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "topics" => Some(Cow::Borrowed(self.topics)),
            "groups" => Some(Cow::Borrowed(self.groups)),
            "subscription" => self.subscription.map(Cow::Borrowed),
            "resume" => self.resume.map(|point| Cow::Borrowed(point.json.as_str())),
            "topic" => serde_json::to_string(self.topic).ok().map(Cow::Owned),
            // The link fills what stands inside of strings.
            auth if auth.starts_with(AUTH) => Some(Cow::Owned(format!("\"{{{auth}}}\""))),
            _ => self.text(name),
        }
    }

    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "id" => Some(Cow::Owned(self.id.to_string())),
            "topic" => Some(Cow::Borrowed(self.topic)),
            "topics" | "groups" => None,
            auth if auth.starts_with(AUTH) => Some(Cow::Owned(format!("{{{auth}}}"))),
            "resume" => self.resume.map(|point| Cow::Borrowed(point.text.as_str())),
            "subscription" => self.subscription.map(|raw| Cow::Borrowed(raw.trim_matches('"'))),
            part => self.form.part(self.words, part).map(Cow::Borrowed),
        }
    }
}

fn split_form(text: &str) -> Result<(Vec<Piece>, Vec<String>), String> {
    let mut pieces = Vec::new();
    let mut parts: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        if at > 0 {
            pieces.push(Piece::Fixed(rest[..at].to_owned()));
        } else if matches!(pieces.last(), Some(Piece::Part)) {
            return Err("has two parts with nothing between them".into());
        }
        let end = rest[at..].find('}').ok_or("has a `{` that is never closed")? + at;
        let name = &rest[at + 1..end];
        let mut chars = name.chars();
        if !chars.next().is_some_and(|char| char.is_ascii_lowercase())
            || !chars.all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_')
        {
            return Err(format!("`{{{name}}}` is no part's name; use lower-case letters, digits and `_`"));
        }
        if parts.iter().any(|part| part == name) {
            return Err(format!("names `{{{name}}}` twice"));
        }
        if RESUME_HOLES.contains(&name) && name != "topic" {
            return Err(format!("`{{{name}}}` means something else in requests; choose another name"));
        }
        parts.push(name.to_owned());
        pieces.push(Piece::Part);
        rest = &rest[end + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Fixed(rest.to_owned()));
    }
    if pieces.is_empty() {
        return Err("is empty; write `{topic}` to take a topic as it is".into());
    }
    Ok((pieces, parts))
}
