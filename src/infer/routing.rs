//! By which places of a message its topic is told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::leaves::{at, depth, last_step, places, scalars};
use super::sample::Sample;

/// Places that together name a topic. Source: a guess; no feed at hand needs more than three.
const PARTS_MAX: usize = 3;
/// Different values of one place that still tell topics apart.
const VALUES_MAX: usize = 5000;
/// Of a place's values so many must be in what was sent for it to count as named there.
const NAMED_MIN: f64 = 0.9;
/// The share of messages that must have a place.
const PRESENT_MIN: f64 = 0.85;
/// Words for what a message does or says, and not for what it is about.
pub(super) const NO_TOPICS: [&str; 12] = [
    "side",
    "direction",
    "action",
    "operation",
    "op",
    "event_type",
    "tickdirection",
    "maker",
    "taker_side",
    "status",
    "reason",
    "jsonrpc",
];

/// Words for how far a message brings what it is about.
const STEPS: [&str; 7] = ["snapshot", "update", "partial", "delta", "insert", "delete", "initial"];

/// What a root looks like: messages of another look have their places elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    Object,
    /// With so many elements.
    Array(usize),
}

impl Look {
    pub(super) fn of(value: &Value) -> Self {
        value.as_array().map_or(Self::Object, |elements| Self::Array(elements.len()))
    }
}

/// Evidence for one place.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) pointer: String,
    pub(super) present: usize,
    pub(super) distinct: usize,
    /// The share of messages whose value is in what was sent.
    pub(super) named: f64,
}

/// How the messages of one look are routed.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) look: Look,
    pub(super) messages: usize,
    /// Empty: nothing was found.
    pub(super) parts: Vec<Part>,
    /// Instead: an id that an answer gave.
    pub(super) learned: Option<Learned>,
    /// Members that these messages have and control messages of the look do not, or the other way round.
    pub(super) present: Option<String>,
    pub(super) absent: Option<String>,
}

/// An id that answers give and data repeats.
#[derive(Debug, Clone)]
pub(super) struct Learned {
    pub(super) pointer: String,
    /// Where the answer has it.
    pub(super) answer: String,
    /// What names the topic in the answer; empty: the request that it answers.
    pub(super) named_by: Vec<String>,
    pub(super) distinct: usize,
}

impl Route {
    /// The topic's text of a message, and by how many parts it is told.
    pub(super) fn topic(&self, value: &Value) -> Option<String> {
        if let Some(learned) = &self.learned {
            return at(value, &learned.pointer);
        }
        let found: Vec<String> = self.parts.iter().map_while(|part| at(value, &part.pointer)).collect();
        (!found.is_empty()).then(|| found.join(":"))
    }
}

/// What was sent, in words.
pub(super) struct Vocabulary {
    whole: BTreeSet<String>,
    words: BTreeSet<String>,
}

impl Vocabulary {
    /// Where no request was recorded, what the answers repeat of them.
    pub(super) fn of(sample: &Sample, controls: &[&Value]) -> Self {
        let mut texts = Vec::new();
        sample.requests.iter().for_each(|request| scalars(request, &mut texts));
        if sample.requests.is_empty() {
            for control in controls {
                scalars(control, &mut texts);
            }
        }
        if let Some((_, streams)) = sample.url.as_deref().and_then(|url| url.split_once("streams=")) {
            texts.extend(streams.split(['/', '&']).map(str::to_owned));
        }
        let whole: BTreeSet<String> = texts.iter().map(|text| text.to_lowercase()).collect();
        let words = whole.iter().flat_map(|text| words_of(text)).collect();
        Self { whole, words }
    }

    fn is_empty(&self) -> bool {
        self.whole.is_empty()
    }

    pub(super) fn names(&self, value: &str) -> bool {
        let value = value.to_lowercase();
        if self.whole.contains(&value) {
            return true;
        }
        let words = words_of(&value);
        !words.is_empty() && words.iter().all(|word| self.words.contains(word))
    }
}

fn words_of(text: &str) -> Vec<String> {
    let words = text.split([':', '@', '.', ',', '_', '-', ' ', '|']).filter(|word| word.len() > 1);
    words.map(str::to_owned).collect()
}

/// Routes of all looks that data has.
pub(super) fn find(sample: &Sample, is_control: &[bool]) -> Vec<Route> {
    let mut looks: BTreeMap<Look, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    for (message, control) in sample.messages.iter().zip(is_control) {
        let (data, controls) = looks.entry(Look::of(&message.value)).or_default();
        if *control { controls.push(&message.value) } else { data.push(&message.value) }
    }
    let controls: Vec<&Value> = sample
        .messages
        .iter()
        .zip(is_control)
        .filter(|(_, control)| **control)
        .map(|(message, _)| &message.value)
        .collect();
    let vocabulary = Vocabulary::of(sample, &controls);
    let found = looks.into_iter().filter(|(_, (data, _))| !data.is_empty());
    found
        .map(|(look, (data, own_controls))| {
            let candidates = candidates(&data, &vocabulary);
            let learned = learned(&data, &controls, &candidates, &vocabulary, sample);
            let parts = if learned.is_some() { Vec::new() } else { parts(&data, candidates, vocabulary.is_empty()) };
            let (present, absent) = apart(&data, &own_controls);
            Route { look, messages: data.len(), parts, learned, present, absent }
        })
        .collect()
}

/// Places whose values come again and again.
fn candidates(data: &[&Value], vocabulary: &Vocabulary) -> Vec<Part> {
    let mut seen: BTreeMap<String, (usize, BTreeMap<String, usize>)> = BTreeMap::new();
    for value in data {
        for (pointer, place) in places(value) {
            let Some(text) = place.as_str() else { continue };
            if text.len() > 80 || text.is_empty() || text.parse::<f64>().is_ok() {
                continue;
            }
            let (present, values) = seen.entry(pointer).or_default();
            *present += 1;
            if values.len() <= VALUES_MAX {
                *values.entry(text.to_owned()).or_default() += 1;
            }
        }
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count is a count")]
    let present_min = (data.len() as f64 * PRESENT_MIN).ceil() as usize;
    let mut parts: Vec<Part> = seen
        .into_iter()
        .filter(|(pointer, (present, values))| {
            let times = if vocabulary.is_empty() { 4 } else { 2 };
            let again = values.len() == 1 || *present >= values.len() * times;
            *present >= present_min.max(1)
                && (again || data.len() < 8)
                && values.len() <= VALUES_MAX
                && !pointer.contains("/0/0")
                && !values.keys().all(|value| STEPS.contains(&value.to_lowercase().as_str()))
                && !NO_TOPICS.contains(&last_step(pointer).to_lowercase().as_str())
        })
        .map(|(pointer, (present, values))| {
            let named: usize = values.iter().filter(|(text, _)| vocabulary.names(text)).map(|(_, count)| count).sum();
            Part { pointer, present, distinct: values.len(), named: named as f64 / present as f64 }
        })
        .collect();
    parts.sort_by_key(|part| depth(&part.pointer));
    parts
}

/// How many different topics these places tell.
fn joint(data: &[&Value], parts: &[Part]) -> usize {
    let tuple = |value: &&Value| parts.iter().map(|part| at(value, &part.pointer)).collect::<Vec<_>>();
    data.iter().map(tuple).collect::<BTreeSet<_>>().len()
}

fn parts(data: &[&Value], candidates: Vec<Part>, nothing_sent: bool) -> Vec<Part> {
    let is_named = |part: &&Part| part.named >= NAMED_MIN;
    let mut chosen: Vec<Part> = Vec::new();
    let pool: Vec<Part> =
        if nothing_sent { candidates.clone() } else { candidates.iter().filter(is_named).cloned().collect() };
    // The place that tells most apart, the least deep of equals; then what tells more apart still.
    let mut pool = pool;
    pool.sort_by_key(|part| (std::cmp::Reverse(part.distinct), depth(&part.pointer)));
    for part in pool {
        if chosen.len() == PARTS_MAX {
            break;
        }
        let before = if chosen.is_empty() { 0 } else { joint(data, &chosen) };
        if chosen.iter().any(|own| repeats(data, own, &part)) {
            continue;
        }
        // What is the same in all messages says something too, if it was asked for.
        let constant = part.distinct == 1 && part.named >= NAMED_MIN;
        chosen.push(part);
        if joint(data, &chosen) <= before && !constant {
            chosen.pop();
        }
    }
    // A word for the kind of message that the client called something else.
    if chosen.len() < PARTS_MAX && kinds_told(data, &chosen) < 0.9 {
        let before = kinds_told(data, &chosen);
        let kinds = candidates.into_iter().filter(|part| {
            (2..=40).contains(&part.distinct)
                && part.present == data.len()
                && chosen.iter().all(|own| own.pointer != part.pointer)
        });
        let mut best: Option<(f64, Part)> = None;
        for part in kinds {
            let mut with = chosen.clone();
            with.push(part.clone());
            let told = kinds_told(data, &with);
            if told > before + 0.1 && best.as_ref().is_none_or(|(most, _)| told > *most + 1e-9) {
                best = Some((told, part));
            }
        }
        chosen.extend(best.map(|(_, part)| part));
    }
    // The kind first, as people write it: `trade:BTC-USD`.
    chosen.sort_by_key(|part| (std::cmp::Reverse(part.present), part.distinct));
    chosen
}

/// Whether a place only says again what another says: the same word, or one that is in it.
fn repeats(data: &[&Value], own: &Part, other: &Part) -> bool {
    let pairs = data.iter().filter_map(|value| Some((at(value, &own.pointer)?, at(value, &other.pointer)?)));
    let pairs: Vec<(String, String)> = pairs.collect();
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', '/', '.'], "");
    let same = pairs.iter().filter(|(own, other)| plain(own).contains(&plain(other))).count();
    !pairs.is_empty() && same * 20 >= pairs.len() * 19
}

/// The share of each shape that is in topics of which most look so, averaged over shapes.
fn kinds_told(data: &[&Value], parts: &[Part]) -> f64 {
    let mut topics: BTreeMap<Vec<Option<String>>, BTreeMap<String, usize>> = BTreeMap::new();
    for value in data {
        let topic = parts.iter().map(|part| at(value, &part.pointer)).collect();
        *topics.entry(topic).or_default().entry(shape(value)).or_default() += 1;
    }
    let mut shapes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for of_topic in topics.values() {
        let usual = of_topic.values().max().copied().unwrap_or_default();
        for (shape, count) in of_topic {
            let (all, told) = shapes.entry(shape).or_default();
            *all += count;
            *told += if *count == usual { *count } else { 0 };
        }
    }
    // What came once or twice proves nothing.
    let told: Vec<f64> =
        shapes.values().filter(|(all, _)| *all > 2).map(|(all, told)| *told as f64 / *all as f64).collect();
    if told.is_empty() { 1.0 } else { told.iter().sum::<f64>() / told.len() as f64 }
}

/// The members near the root.
pub(super) fn shape(value: &Value) -> String {
    let near = places(value).into_iter().filter(|(pointer, _)| depth(pointer) <= 2);
    near.map(|(pointer, _)| pointer).collect::<Vec<_>>().join(" ")
}

fn learned(
    data: &[&Value],
    controls: &[&Value],
    candidates: &[Part],
    vocabulary: &Vocabulary,
    sample: &Sample,
) -> Option<Learned> {
    if candidates.iter().any(|part| part.named >= NAMED_MIN && part.distinct > 1) || controls.is_empty() {
        return None;
    }
    let mut given: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for control in controls {
        for (pointer, place) in places(control) {
            if depth(&pointer) <= 2 && !["/id", "/jsonrpc"].contains(&pointer.as_str()) && !place.is_boolean() {
                given.entry(pointer).or_default().extend(super::leaves::scalar(place));
            }
        }
    }
    let mut carried: BTreeMap<String, (usize, BTreeSet<String>)> = BTreeMap::new();
    for value in data {
        for (pointer, place) in places(value).into_iter().filter(|(pointer, _)| depth(pointer) <= 2) {
            if let Some(text) = super::leaves::scalar(place)
                && !place.is_boolean()
            {
                let (present, values) = carried.entry(pointer).or_default();
                *present += 1;
                if values.len() <= VALUES_MAX {
                    values.insert(text);
                }
            }
        }
    }
    // A number, or a code of letters and digits; a word is a name.
    let is_code = |text: &String| {
        text.bytes().all(|byte| byte.is_ascii_digit())
            || text.starts_with("0x")
            || text.len() >= 8 && text.bytes().any(|byte| byte.is_ascii_digit()) && !vocabulary.names(text)
    };
    let whole = carried.iter().filter(|(_, (present, values))| *present == data.len() && values.iter().all(is_code));
    let (pointer, answer, distinct) = whole
        .flat_map(|(pointer, (_, values))| {
            let fits = given.iter().filter(|(_, ids)| values.is_subset(ids));
            fits.map(|(answer, _)| (pointer.clone(), answer.clone(), values.len())).collect::<Vec<_>>()
        })
        .max_by_key(|(pointer, _, distinct)| (*distinct, std::cmp::Reverse(depth(pointer))))?;
    let answers: Vec<&Value> = controls.iter().copied().filter(|control| control.pointer(&answer).is_some()).collect();
    // What the answer repeats of the request, word for word.
    let mut sent = Vec::new();
    sample.requests.iter().for_each(|request| scalars(request, &mut sent));
    let in_answer = candidates_of(&answers, vocabulary, &sent);
    let mut named_by: Vec<Part> = Vec::new();
    for part in in_answer {
        let before = if named_by.is_empty() { 1 } else { joint(&answers, &named_by) };
        named_by.push(part);
        if joint(&answers, &named_by) <= before {
            named_by.pop();
        }
    }
    named_by.sort_by_key(|part| part.distinct);
    let named_by: Vec<String> = named_by.into_iter().map(|part| part.pointer).collect();
    let is_named = !named_by.is_empty() || answer == "/result";
    is_named.then_some(Learned { pointer, answer, named_by, distinct })
}

/// Strings of answers that repeat a request's.
fn candidates_of(answers: &[&Value], vocabulary: &Vocabulary, sent: &[String]) -> Vec<Part> {
    let mut seen: BTreeMap<String, (usize, BTreeSet<String>, bool)> = BTreeMap::new();
    for answer in answers {
        for (pointer, place) in places(answer) {
            if let Some(text) = place.as_str() {
                let (present, values, named) = seen.entry(pointer).or_insert((0, BTreeSet::new(), true));
                *present += 1;
                *named &= vocabulary.names(text) && sent.iter().any(|word| word == text);
                values.insert(text.to_owned());
            }
        }
    }
    let fitting = seen.into_iter().filter(|(_, (present, _, named))| *named && *present == answers.len());
    let mut parts: Vec<Part> = fitting
        .map(|(pointer, (present, values, _))| Part { pointer, present, distinct: values.len(), named: 1.0 })
        .collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.distinct));
    parts
}

/// A member by which data is told from control messages of the same look.
fn apart(data: &[&Value], controls: &[&Value]) -> (Option<String>, Option<String>) {
    if controls.is_empty() {
        return (None, None);
    }
    let near = |value: &Value| -> BTreeSet<String> {
        places(value).into_iter().map(|(pointer, _)| pointer).filter(|pointer| depth(pointer) <= 2).collect()
    };
    let mut common: Option<BTreeSet<String>> = None;
    let mut any: BTreeSet<String> = BTreeSet::new();
    for value in data {
        let own = near(value);
        common = Some(common.map_or_else(|| own.clone(), |common| common.intersection(&own).cloned().collect()));
        any.extend(own);
    }
    let mut common_controls: Option<BTreeSet<String>> = None;
    let mut any_control: BTreeSet<String> = BTreeSet::new();
    for value in controls {
        let own = near(value);
        common_controls =
            Some(common_controls.map_or_else(|| own.clone(), |common| common.intersection(&own).cloned().collect()));
        any_control.extend(own);
    }
    let shallow = |set: Vec<String>| set.into_iter().min_by_key(|pointer| (depth(pointer), pointer.len()));
    let present = shallow(common.unwrap_or_default().difference(&any_control).cloned().collect());
    if present.is_some() {
        return (present, None);
    }
    (None, shallow(common_controls.unwrap_or_default().difference(&any).cloned().collect()))
}
