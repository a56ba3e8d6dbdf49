//! What identifies an event, what it is about, when it was, and how the feed numbers it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;

use super::leaves::{at, depth, integer, last_step, places};
use super::routing::{Look, NO_TOPICS, Route};
use super::sample::Message;
use super::times::{self, FoundTime};

/// Kinds of messages of one look that get a rule of their own. Source: a guess; the richest feed at hand has ten.
const KINDS_MAX: usize = 12;
/// Two shapes with so much in common are one kind, with members that may be missing.
const ALIKE_MIN: f64 = 0.65;
/// Events from which on it can be said that something tells all apart.
const EVENTS_MIN: usize = 5;
/// Steps from which on numbers can be said to count.
const STEPS_MIN: usize = 5;
/// The share of steps that must be as they would be in a sequence; what is lost or repeated are the others.
const STEPS_SHARE: f64 = 0.98;

/// Members that name what an event is about.
const THINGS: [&str; 10] =
    ["s", "symbol", "sym", "pair", "market", "instid", "instrument_name", "product_id", "code", "cd"];
/// Members that name what kind of event it is.
const KINDS: [&str; 7] = ["e", "event", "type", "channel", "op", "kind", "method"];

/// How often a place is there and what it tells.
#[derive(Debug, Clone)]
pub(super) struct FoundId {
    pub(super) pointers: Vec<String>,
    pub(super) distinct: usize,
    pub(super) increasing: bool,
}

/// How messages are numbered.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum FoundSequence {
    /// By one, for each topic or the whole connection.
    Counts { value: String, per_link: bool, steps: usize },
    /// Each names the one before.
    Previous { value: String, previous: String, steps: usize },
    /// Each has several numbers.
    Span { first: String, last: String, steps: usize },
}

/// One kind of messages and how events are read out of it.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// Pointers and what they must find; an empty list: anything; `None`: nothing.
    pub(super) when: Vec<(String, Option<Vec<String>>)>,
    pub(super) messages: usize,
    pub(super) events: usize,
    pub(super) each: Option<String>,
    pub(super) id: Option<FoundId>,
    pub(super) key: Option<String>,
    pub(super) time: Option<FoundTime>,
    pub(super) sequence: Option<FoundSequence>,
    /// Parts of the topic that all these messages have: an id is told apart within them.
    pub(super) scope: Vec<String>,
    /// Whether it is a heartbeat of a topic.
    pub(super) is_heartbeat: bool,
}

struct Kind<'a> {
    places: BTreeSet<String>,
    messages: Vec<&'a Message>,
}

/// Rules for the messages of one route, the most frequent kind first.
pub(super) fn find(route: &Route, data: &[&Message]) -> Vec<Rule> {
    let mut kinds = kinds_of(data);
    let mut rules = Vec::new();
    while !kinds.is_empty() {
        // One that can be told from all that are left; else they share a rule.
        let place = (0..kinds.len()).find_map(|place| Some((place, told_by(&kinds, place, route)?)));
        let (mut kind, mut when) = if let Some((place, when)) = place {
            (kinds.remove(place), when)
        } else {
            let mut rest = kinds.remove(0);
            for other in kinds.drain(..) {
                rest.messages.extend(other.messages);
            }
            (rest, Vec::new())
        };
        kind.messages.sort_by_key(|message| message.number);
        if let Look::Array(length) = route.look {
            when.push((format!("/{}", length - 1), Some(Vec::new())));
            when.push((format!("/{length}"), None));
        }
        rules.push(rule(route, &kind.messages, when));
    }
    per_link(route, data, &mut rules);
    rules
}

fn kinds_of<'a>(data: &[&'a Message]) -> Vec<Kind<'a>> {
    let mut shapes: BTreeMap<BTreeSet<String>, Vec<&'a Message>> = BTreeMap::new();
    for message in data {
        let near = places(&message.value).into_iter().filter(|(pointer, _)| depth(pointer) <= 4);
        shapes.entry(near.map(|(pointer, _)| pointer).collect()).or_default().push(message);
    }
    let mut shapes: Vec<_> = shapes.into_iter().collect();
    shapes.sort_by_key(|(_, messages)| std::cmp::Reverse(messages.len()));
    let mut kinds: Vec<Kind<'a>> = Vec::new();
    for (shape, messages) in shapes {
        let alike = |kind: &Kind<'_>| {
            let common = kind.places.intersection(&shape).count() as f64;
            common / kind.places.union(&shape).count().max(1) as f64
        };
        let likest =
            (0..kinds.len()).map(|place| (alike(&kinds[place]), place)).max_by(|(a, _), (b, _)| a.total_cmp(b));
        match likest {
            Some((likeness, place)) if likeness >= ALIKE_MIN || kinds.len() >= KINDS_MAX => {
                kinds[place].messages.extend(messages);
            }
            _ => kinds.push(Kind { places: shape, messages }),
        }
    }
    kinds
}

/// By what a kind is told from the others that are left.
fn told_by(kinds: &[Kind<'_>], place: usize, route: &Route) -> Option<Vec<(String, Option<Vec<String>>)>> {
    if kinds.len() == 1 {
        return Some(Vec::new());
    }
    let own = &kinds[place];
    let others = || kinds.iter().enumerate().filter(|(index, _)| *index != place).flat_map(|(_, kind)| &kind.messages);
    let in_all = |pointer: &str| own.messages.iter().all(|message| message.value.pointer(pointer).is_some());
    // A topic's whole name tells this recording's topics only.
    let whole_name = match &route.parts[..] {
        [part] => Some(part.pointer.as_str()),
        _ => route.learned.as_ref().map(|learned| learned.pointer.as_str()),
    };
    let fitting = own.places.iter().filter(|pointer| in_all(pointer) && Some(pointer.as_str()) != whole_name);
    let mut pointers: Vec<&String> = fitting.collect();
    pointers.sort_by_key(|pointer| (depth(pointer), pointer.len()));
    // A word says more than that something is there.
    for pointer in &pointers {
        let values: Option<BTreeSet<&str>> =
            own.messages.iter().map(|message| message.value.pointer(pointer).and_then(Value::as_str)).collect();
        let says_kind = depth(pointer) <= 2 && !NO_TOPICS.contains(&last_step(pointer).to_lowercase().as_str());
        let few = |values: &BTreeSet<&str>| {
            values.len() <= 4 && (values.len() == 1 || values.len() * 3 <= own.messages.len())
        };
        let Some(values) = values.filter(|values| says_kind && few(values)) else { continue };
        let other = |message: &&Message| {
            message.value.pointer(pointer).and_then(Value::as_str).is_some_and(|value| values.contains(value))
        };
        if !others().any(other) {
            return Some(vec![((*pointer).clone(), Some(values.into_iter().map(str::to_owned).collect()))]);
        }
    }
    let alone = pointers.iter().find(|pointer| !others().any(|message| message.value.pointer(pointer).is_some()));
    alone.map(|pointer| vec![((*pointer).clone(), Some(Vec::new()))])
}

fn rule(route: &Route, messages: &[&Message], when: Vec<(String, Option<Vec<String>>)>) -> Rule {
    let topics: Vec<String> = messages.iter().map(|message| route.topic(&message.value).unwrap_or_default()).collect();
    let is_heartbeat = route.learned.is_some()
        && messages.iter().all(|message| message.value.get(1).and_then(Value::as_str) == Some("hb"));
    let whole: Vec<Record<'_>> = messages
        .iter()
        .zip(&topics)
        .map(|(message, topic)| Record { topic, value: &message.value, at: message.at })
        .collect();
    let mut rule = Rule {
        when,
        messages: messages.len(),
        events: messages.len(),
        each: None,
        id: None,
        key: None,
        time: None,
        sequence: sequence(&whole),
        scope: Vec::new(),
        is_heartbeat,
    };
    if is_heartbeat {
        return rule;
    }
    let has = |pointer: &str| messages.iter().all(|message| at(&message.value, pointer).is_some());
    rule.scope = route.parts.iter().map(|part| part.pointer.clone()).filter(|pointer| has(pointer)).collect();
    rule.key = key(route, messages, &topics);
    for array in arrays(messages) {
        let elements: Vec<Record<'_>> = whole
            .iter()
            .flat_map(|record| {
                let elements = record.value.pointer(&array).and_then(Value::as_array).into_iter().flatten();
                elements.map(|value| Record { value, ..*record })
            })
            .collect();
        let several = elements.len() > messages.len();
        if let Some(found) = id(&elements, route).filter(|_| several) {
            rule.events = elements.len();
            rule.time = times::find(&elements).or_else(|| framed(times::find(&whole)));
            rule.each = Some(array);
            rule.id = Some(found);
            // A number of the message's is nobody's within it.
            rule.sequence = None;
            rule.key = rule.key.map(|pointer| format!("frame:{pointer}"));
            return rule;
        }
    }
    rule.id = id(&whole, route);
    // The number by which they are counted, where that tells them apart as well.
    if let (Some(found), Some(FoundSequence::Previous { value, .. } | FoundSequence::Span { last: value, .. })) =
        (&mut rule.id, &rule.sequence)
        && found.increasing
    {
        found.pointers = vec![value.clone()];
    }
    rule.time = times::find(&whole);
    rule
}

fn framed(time: Option<FoundTime>) -> Option<FoundTime> {
    time.map(|time| FoundTime { pointer: format!("frame:{}", time.pointer), ..time })
}

/// What an event is read out of.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) topic: &'a str,
    pub(super) value: &'a Value,
    pub(super) at: Option<f64>,
}

fn is_list(value: &Value) -> bool {
    value.as_array().is_some_and(|elements| elements.iter().all(|element| element.is_object() || element.is_array()))
}

/// Arrays of objects, or of rows that are arrays, of a message.
pub(super) fn arrays_in(value: &Value) -> Vec<String> {
    let found = places(value).into_iter().filter(|(pointer, value)| depth(pointer) <= 3 && is_list(value));
    found.map(|(pointer, _)| pointer).collect()
}

/// Arrays of objects, or of rows that are arrays, which all messages have.
fn arrays(messages: &[&Message]) -> Vec<String> {
    let Some(first) = messages.first() else { return Vec::new() };
    let found = arrays_in(&first.value)
        .into_iter()
        .filter(|pointer| messages.iter().all(|message| message.value.pointer(pointer).is_some_and(is_list)));
    found.collect()
}

/// How much a place looks as what tells events apart.
pub(super) fn likely_id(pointer: &str, values: &[&Value], increasing: bool, is_time: bool) -> i32 {
    let name = last_step(pointer);
    let small = name.to_lowercase();
    let named = small == "id"
        || small == "uuid"
        || small == "hash"
        || small == "sid"
        || small == "signature"
        || small.ends_with("_id")
        || name.ends_with("Id")
        || name.ends_with("ID")
        || small.ends_with("hash")
        || small.ends_with("uuid");
    let measured = [
        "price", "px", "qty", "size", "sz", "amount", "volume", "count", "bid", "ask", "fee", "balance", "sig",
        "content",
    ];
    let is_measure = measured
        .iter()
        .any(|word| small == *word || small.starts_with(word) || (word.len() > 3 && small.ends_with(word)));
    let whole = values.iter().all(|value| integer(value).is_some());
    let coded = values.iter().all(|value| {
        value.as_str().is_some_and(|text| {
            text.len() >= 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-' || byte == b'x')
        })
    });
    let word = values.iter().all(|value| value.as_str().is_some_and(|text| text.parse::<f64>().is_err()));
    let mut score = 0;
    score += 3 * i32::from(named);
    score += if coded { 2 } else { 0 };
    score += if whole && increasing { 2 } else { 0 };
    score -= if is_measure { 4 } else { 0 };
    score -= i32::from(small.starts_with("parent") || small.starts_with("prev"));
    score -= if !whole && !word { 4 } else { 0 };
    score - if is_time { 4 } else { 0 }
}

fn id(records: &[Record<'_>], route: &Route) -> Option<FoundId> {
    if records.len() < EVENTS_MIN {
        return None;
    }
    let first = records.first()?;
    let mut pointers: Vec<String> = places(first.value)
        .into_iter()
        .filter(|(_, value)| value.is_string() || value.is_number())
        .map(|(pointer, _)| pointer)
        .collect();
    if first.value.is_string() {
        pointers.push(String::new());
    }
    let mut best: Option<(i32, FoundId)> = None;
    pointers.retain(|pointer| route.parts.iter().all(|part| part.pointer != *pointer));
    for pointer in pointers {
        let values: Option<Vec<&Value>> = records
            .iter()
            .map(|record| record.value.pointer(&pointer).filter(|value| value.is_string() || value.is_number()))
            .collect();
        let Some(values) = values else { continue };
        let mut seen = HashSet::new();
        for (record, value) in records.iter().zip(&values) {
            // An id that an answer gave is another one on the next connection, and cannot be a part of one.
            let topic = if route.learned.is_some() { "" } else { record.topic };
            seen.insert((topic, value.to_string()));
        }
        let distinct = seen.len();
        if distinct < records.len() {
            continue;
        }
        let increasing = increases(records, &values);
        let is_time = times::is_near(records, &values);
        let score =
            likely_id(&pointer, &values, increasing, is_time) * 10 - i32::try_from(depth(&pointer)).unwrap_or(0);
        if score >= 15 && best.as_ref().is_none_or(|(most, _)| score > *most) {
            best = Some((score, FoundId { pointers: vec![pointer], distinct, increasing }));
        }
    }
    best.map(|(_, id)| id)
}

/// Whether numbers only grow within a topic.
fn increases(records: &[Record<'_>], values: &[&Value]) -> bool {
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    let mut steps = 0;
    for (record, value) in records.iter().zip(values) {
        let Some(number) = integer(value) else { return false };
        if let Some(before) = last.insert(record.topic, number) {
            steps += 1;
            if number <= before {
                return false;
            }
        }
    }
    steps >= STEPS_MIN
}

/// The part of the topic that is a thing, and not a kind of message.
fn key(route: &Route, messages: &[&Message], topics: &[String]) -> Option<String> {
    if let [_, .., last] = &route.parts[..] {
        return messages
            .iter()
            .all(|message| at(&message.value, &last.pointer).is_some())
            .then(|| last.pointer.clone());
    }
    // A member that is the same for a topic, and stands in its name.
    let first = messages.first()?;
    let mut best: Option<((usize, bool), String)> = None;
    let learned = route.learned.as_ref().map(|learned| learned.pointer.as_str());
    let taken: BTreeSet<&str> = route.parts.iter().map(|part| part.pointer.as_str()).chain(learned).collect();
    for (pointer, value) in places(&first.value) {
        if !value.is_string() || taken.contains(pointer.as_str()) {
            continue;
        }
        let mut by_topic: BTreeMap<&str, String> = BTreeMap::new();
        let plain = |text: &str| text.to_lowercase().replace(['-', '_', '/'], "");
        let fits = messages.iter().zip(topics).all(|(message, topic)| {
            let Some(value) = message.value.pointer(&pointer).and_then(Value::as_str) else { return false };
            let known = by_topic.entry(topic).or_insert_with(|| value.to_owned());
            value.len() > 2 && known == value && plain(topic).contains(&plain(value))
        });
        let distinct = by_topic.values().collect::<BTreeSet<_>>().len();
        let name = last_step(&pointer).to_lowercase();
        let rank = (distinct, THINGS.contains(&name.as_str()));
        if fits && !KINDS.contains(&name.as_str()) && best.as_ref().is_none_or(|(most, _)| rank > *most) {
            best = Some((rank, pointer));
        }
    }
    best.map(|(_, pointer)| pointer)
}

/// The first and the last number of a message.
type Numbers = (i64, i64);

/// Steps of numbers within each topic: from the pair before to the next.
fn steps<'a>(records: &[Record<'a>], read: impl Fn(&'a Value) -> Option<Numbers>) -> Option<Vec<(Numbers, Numbers)>> {
    let mut last: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    let mut found = Vec::new();
    for record in records {
        let pair = read(record.value)?;
        if let Some(before) = last.insert(record.topic, pair) {
            found.push((before, pair));
        }
    }
    (found.len() >= STEPS_MIN).then_some(found)
}

fn share<T>(steps: &[T], fits: impl Fn(&T) -> bool) -> bool {
    steps.iter().filter(|step| fits(step)).count() as f64 >= steps.len() as f64 * STEPS_SHARE
}

fn sequence(records: &[Record<'_>]) -> Option<FoundSequence> {
    let first = records.first()?;
    let numbers: Vec<String> = places(first.value)
        .into_iter()
        .filter(|(_, value)| integer(value).is_some())
        .map(|(pointer, _)| pointer)
        .take(40)
        .collect();
    let number = |value: &Value, pointer: &str| value.pointer(pointer).and_then(integer);
    for value in &numbers {
        let found = steps(records, |record| number(record, value).map(|number| (number, number)));
        if let Some(found) = found.filter(|found| share(found, |(before, next)| next.0 == before.0 + 1)) {
            return Some(FoundSequence::Counts { value: value.clone(), per_link: false, steps: found.len() });
        }
    }
    let mut span = None;
    for one in &numbers {
        for other in numbers.iter().filter(|other| *other != one) {
            let Some(found) = steps(records, |record| Some((number(record, one)?, number(record, other)?))) else {
                continue;
            };
            // `one` is the number before, or the first; `other` the number itself, or the last.
            let moves = found.iter().filter(|(before, next)| next.1 != before.1).count() * 2 > found.len();
            if moves && share(&found, |(before, next)| next.0 == before.1) {
                return Some(FoundSequence::Previous {
                    value: other.clone(),
                    previous: one.clone(),
                    steps: found.len(),
                });
            }
            if moves && span.is_none() && share(&found, |(before, next)| next.0 == before.1 + 1 && next.0 <= next.1) {
                span = Some(FoundSequence::Span { first: one.clone(), last: other.clone(), steps: found.len() });
            }
        }
    }
    span
}

/// A number that counts all messages of the connection, in the last place of arrays at the root.
fn per_link(route: &Route, data: &[&Message], rules: &mut [Rule]) {
    let Look::Array(length) = route.look else { return };
    let pointer = format!("/{}", length.saturating_sub(1));
    let numbers: Option<Vec<i64>> =
        data.iter().map(|message| message.value.pointer(&pointer).and_then(integer)).collect();
    let Some(numbers) = numbers else { return };
    let grows = numbers.windows(2).filter(|pair| pair[1] > pair[0]).count();
    if numbers.len() > STEPS_MIN && grows + 1 == numbers.len() {
        for rule in rules.iter_mut() {
            let found = FoundSequence::Counts { value: pointer.clone(), per_link: true, steps: grows };
            rule.sequence = Some(found);
        }
    }
}
