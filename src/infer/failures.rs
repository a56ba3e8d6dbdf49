//! Why messages could not be read, and what the frames themselves say would help: quarantined frames by monitor and reason, and where in
//! them the wanted kind of value is instead.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Serialize;
use serde_json::Value;

use super::events::{Record, arrays_in, likely_id};
use super::leaves::{depth, last_step, places};
use super::{sample, times};
use crate::clock::UnixNanos;
use crate::monitor::quarantine::Quarantined;

/// Kinds of failure that are told apart. Source: a guess; nobody reads a longer list, and the rest is counted together.
const GROUPS_MAX: usize = 500;
/// Frames of a kind that are looked into, and their bytes. Source: a guess; as trees they take about ten times that.
const FRAMES_MAX: usize = 200;
const FRAME_BYTES_MAX: usize = 512 << 10;
/// Bytes of all frames that are looked into.
const TOTAL_BYTES_MAX: usize = 16 << 20;
/// Characters of a sample.
const SAMPLE_CHARACTERS: usize = 240;
/// What a suggestion must hold for. Source: a guess; a rare kind of message has a rule of its own.
const SHARE_MIN: f64 = 0.5;

/// What is the matter with a kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they say themselves what they are")]
pub enum FailureKind {
    MissingValue,
    WrongValue,
    NoEventRule,
    NoRoute,
    NotJson,
    Cut,
    Other,
}

/// A frame that is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedFrame {
    /// Where it is in the journal; `sluice quarantine show OFFSET` prints it whole.
    pub offset: u64,
    /// When it was received, RFC 3339.
    pub received_time: String,
    /// Bytes of the whole frame.
    pub bytes: u64,
    /// Its beginning, with what cannot be printed replaced.
    pub frame: String,
}

/// What would help.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suggestion {
    /// In a sentence.
    pub text: String,
    /// The pointer that has the wanted kind of value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Lines for an event rule, as settings write them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// In what share of the frames that were looked into it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
}

/// Failures of one monitor for one reason.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// Whose: a monitor, or `upstream:NAME` where no monitor is known.
    pub monitor: String,
    /// Why, with what differs from frame to frame left out.
    pub reason: String,
    /// In a word.
    pub kind: FailureKind,
    /// How many frames.
    pub count: u64,
    /// When the first was received, RFC 3339.
    pub first: String,
    /// When the last was.
    pub last: String,
    /// Frames that were looked into.
    pub looked_into: usize,
    /// What would help; none where the frames do not show it.
    pub suggestion: Option<Suggestion>,
    /// The first of them.
    pub samples: Vec<FailedFrame>,
}

#[derive(Debug, Default)]
struct Group {
    count: u64,
    first: Option<UnixNanos>,
    last: UnixNanos,
    samples: Vec<FailedFrame>,
    /// The text of a frame, the message around it, and when it came.
    frames: Vec<(Vec<u8>, Option<[String; 2]>, f64)>,
    bytes: usize,
    /// Frames of which only the beginning was kept.
    cut: u64,
}

/// Gathers frames, in bounded memory.
#[derive(Debug)]
pub struct Failures {
    groups: BTreeMap<(String, String, Begins), Group>,
    samples: usize,
    bytes: usize,
    /// Frames of kinds beyond the last that is told apart.
    others: u64,
}

impl Failures {
    /// None yet; so many samples of each kind are shown.
    pub fn new(samples: usize) -> Self {
        Self { groups: BTreeMap::new(), samples, bytes: 0, others: 0 }
    }

    /// Takes a frame.
    pub fn take(&mut self, offset: u64, received: UnixNanos, frame: &Quarantined) {
        use base64::Engine as _;
        let monitor = frame.monitor.clone().unwrap_or_else(|| format!("upstream:{}", frame.upstream));
        let decoded = || base64::engine::general_purpose::STANDARD.decode(frame.frame_base64.as_ref()?).ok();
        let raw = frame.frame.clone().map(String::into_bytes).or_else(decoded).unwrap_or_default();
        let key = (monitor, alike(&frame.reason), Begins::of(&raw));
        if !self.groups.contains_key(&key) && self.groups.len() >= GROUPS_MAX {
            self.others += 1;
            return;
        }
        let group = self.groups.entry(key).or_default();
        group.count += 1;
        group.first.get_or_insert(received);
        group.last = received;
        let whole = raw.len() as u64 >= frame.bytes;
        group.cut += u64::from(!whole);
        if group.samples.len() < self.samples {
            group.samples.push(FailedFrame {
                offset,
                received_time: received.to_string(),
                bytes: frame.bytes,
                frame: printable(&raw),
            });
        }
        let room = group.frames.len() < FRAMES_MAX
            && group.bytes + raw.len() <= FRAME_BYTES_MAX
            && self.bytes + raw.len() <= TOTAL_BYTES_MAX;
        if room && whole {
            group.bytes += raw.len();
            self.bytes += raw.len();
            #[expect(clippy::cast_precision_loss, reason = "seconds to a microsecond")]
            let at = received.0 as f64 / 1e9;
            group.frames.push((raw, frame.envelope.clone(), at));
        }
    }

    /// Frames of kinds that are not told apart any more.
    pub fn others(&self) -> u64 {
        self.others
    }

    /// What came of it, the most frequent first.
    pub fn told(self) -> Vec<Failure> {
        let mut failures: Vec<Failure> = self.groups.into_iter().map(|(key, group)| group.told(key)).collect();
        failures.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.monitor.cmp(&other.monitor)));
        failures
    }
}

/// How a frame begins: what is damaged in one way has the same reason as what is something else altogether.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Begins {
    AsJson,
    AsMarkup,
    Otherwise,
}

impl Begins {
    fn of(raw: &[u8]) -> Self {
        match raw.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{' | b'[') => Self::AsJson,
            Some(b'<') => Self::AsMarkup,
            _ => Self::Otherwise,
        }
    }
}

/// What a reason says, as far as frames must be looked into for it.
enum Said<'a> {
    /// There is nothing where `what` should be.
    Missing {
        what: &'a str,
        pointer: &'a str,
    },
    /// There is something else.
    Wrong {
        what: &'a str,
        pointer: &'a str,
    },
    NoEventRule,
    NoRoute,
    Other,
}

fn said(reason: &str) -> Said<'_> {
    let quoted = |text: &'_ str| -> Option<(usize, usize)> {
        let end = text.rfind('`')?;
        Some((text[..end].rfind('`')? + 1, end))
    };
    if reason.starts_with("no event rule fits") {
        return Said::NoEventRule;
    }
    if reason.starts_with("no rule of the dialect says") {
        return Said::NoRoute;
    }
    let Some((what, rest)) = reason.split_once(": ") else { return Said::Other };
    let at = rest.find(" at `").map(|at| at + 4);
    let Some(pointer) = at.and_then(|at| {
        let (start, end) = quoted(&rest[..rest[at + 1..].find('`')? + at + 2])?;
        Some(&rest[start..end])
    }) else {
        return Said::Other;
    };
    if rest.starts_with("there is nothing") || rest.starts_with("there is no array") {
        Said::Missing { what, pointer }
    } else {
        Said::Wrong { what, pointer }
    }
}

/// A reason without what differs from frame to frame: numbers, and quoted texts that are no pointers.
fn alike(reason: &str) -> String {
    let mut alike = String::new();
    for (number, part) in reason.split('`').enumerate() {
        let is_quoted = number % 2 == 1;
        if is_quoted && (part.is_empty() || part.starts_with('/') || part.starts_with("frame:")) {
            alike.extend(["`", part, "`"]);
        } else if is_quoted {
            alike.push_str("`…`");
        } else {
            let mut in_number = false;
            for character in part.chars() {
                if !character.is_ascii_digit() {
                    alike.push(character);
                } else if !in_number {
                    alike.push('N');
                }
                in_number = character.is_ascii_digit();
            }
        }
    }
    alike
}

impl Group {
    fn told(self, (monitor, reason, _): (String, String, Begins)) -> Failure {
        let (kind, suggestion) = self.judged(&reason);
        Failure {
            monitor,
            reason,
            kind,
            count: self.count,
            first: self.first.unwrap_or(self.last).to_string(),
            last: self.last.to_string(),
            looked_into: self.frames.len(),
            suggestion,
            samples: self.samples,
        }
    }

    fn judged(&self, reason: &str) -> (FailureKind, Option<Suggestion>) {
        let sentence = |text: String| Some(Suggestion { text, pointer: None, rule: None, share: None });
        if self.cut * 2 > self.count {
            let text = "only their beginnings were kept, since they are longer than `quarantine.frame_bytes`: what is behind cannot be looked into";
            return (FailureKind::Cut, sentence(text.to_owned()));
        }
        let parsed: Vec<(Value, f64)> =
            self.frames.iter().filter_map(|(raw, _, at)| Some((serde_json::from_slice(raw).ok()?, *at))).collect();
        if !self.frames.is_empty() && parsed.len() * 2 < self.frames.len() {
            return (FailureKind::NotJson, sentence(self.what_they_are(reason)));
        }
        match said(reason) {
            Said::Missing { what, pointer } | Said::Wrong { what, pointer } => {
                let kind = if matches!(said(reason), Said::Missing { .. }) {
                    FailureKind::MissingValue
                } else {
                    FailureKind::WrongValue
                };
                // Of an element what reaches the message looks into that.
                let (inside, pointer) = match pointer.strip_prefix("frame:") {
                    Some(pointer) => (self.messages(), pointer),
                    None => (parsed, pointer),
                };
                let prefix = if self.is_of_elements() && inside.len() != self.frames.len() { "frame:" } else { "" };
                (kind, instead(what, pointer, prefix, &inside))
            }
            Said::NoEventRule => (FailureKind::NoEventRule, told_apart(&parsed, true)),
            Said::NoRoute => (FailureKind::NoRoute, told_apart(&parsed, false)),
            Said::Other => (FailureKind::Other, None),
        }
    }

    fn is_of_elements(&self) -> bool {
        self.frames.iter().any(|(_, envelope, _)| envelope.is_some())
    }

    fn messages(&self) -> Vec<(Value, f64)> {
        let message = |(raw, envelope, at): &(Vec<u8>, Option<[String; 2]>, f64)| {
            let whole = match envelope {
                Some([before, behind]) => [before.as_bytes(), raw, behind.as_bytes()].concat(),
                None => raw.clone(),
            };
            Some((serde_json::from_slice(&whole).ok()?, *at))
        };
        self.frames.iter().filter_map(message).collect()
    }

    /// Of frames that are no JSON.
    fn what_they_are(&self, reason: &str) -> String {
        let all = |is: &dyn Fn(&[u8]) -> bool| {
            self.frames.iter().filter(|(raw, ..)| is(raw)).count() * 10 >= self.frames.len() * 9
        };
        let packing = self.frames.iter().find_map(|(raw, ..)| sample::unpacked(raw)).map(|(packing, _)| packing);
        if let Some(packing) = packing {
            return format!("they are packed by {packing}: set `decode = \"{packing}\"` of the dialect");
        }
        if all(&|raw| raw.is_empty()) {
            return "they are empty: if they are a sign of life, name them in the dialect's `literals`".to_owned();
        }
        if all(&|raw| Begins::of(raw) == Begins::AsMarkup) {
            return "they are HTML or XML: the address answers with a page, or a proxy does; check the upstream's `url`".to_owned();
        }
        if all(&|raw| Begins::of(raw) == Begins::AsJson) {
            return format!("they begin as JSON and are broken off or damaged ({reason}): the feed sends them so");
        }
        let texts: BTreeSet<&[u8]> = self.frames.iter().map(|(raw, ..)| &raw[..]).collect();
        if texts.len() <= 3 && texts.iter().all(|text| text.len() <= 64 && text.is_ascii()) {
            let named: Vec<String> = texts.iter().map(|text| format!("`{}`", printable(text))).collect();
            return format!(
                "they are always {}: if that is a sign of life, name it in the dialect's `literals`",
                named.join(" or ")
            );
        }
        "they are no JSON at all: the feed speaks another format than the dialect says".to_owned()
    }
}

/// A place that has the wanted kind of value in most frames, and in how many of them.
struct Found {
    pointer: String,
    share: f64,
    unit: Option<&'static str>,
}

fn instead(what: &str, missing: &str, prefix: &str, frames: &[(Value, f64)]) -> Option<Suggestion> {
    if frames.is_empty() {
        return None;
    }
    let key = what.split([' ', '.']).next().unwrap_or(what);
    let found = match key {
        "time" => time_in(frames),
        "id" => id_in(frames, missing),
        "each" => array_in(frames, missing),
        _ => same_name_in(frames, missing),
    };
    let percent = |share: f64| format!("{:.0} %", (share * 100.0).floor());
    let Some(found) = found.filter(|found| found.share >= SHARE_MIN) else {
        let text = match key {
            "time" => "no place of these frames holds a time: `time_optional = true` takes them without".to_owned(),
            _ => format!(
                "no place of these frames holds what could be the {key}: they may be of a kind that needs a rule of its own"
            ),
        };
        return Some(Suggestion { text, pointer: None, rule: None, share: None });
    };
    let Found { pointer, share, unit } = found;
    let pointer = format!("{prefix}{pointer}");
    let held = match key {
        "time" => "a plausible time",
        "id" => "a value that tells them apart",
        "each" => "a list",
        _ => "a value",
    };
    let rule = match unit {
        Some(unit) => format!("{key} = \"{pointer}\", time_unit = \"{unit}\""),
        None => format!("{key} = \"{pointer}\""),
    };
    Some(Suggestion {
        text: format!(
            "`{pointer}` has {held} in {} of the failures, where the rule looks at `{prefix}{missing}`",
            percent(share)
        ),
        pointer: Some(pointer),
        rule: Some(rule),
        share: Some(share),
    })
}

/// All pointers of scalars, in how many frames each is.
fn scalar_pointers(frames: &[(Value, f64)]) -> BTreeMap<String, usize> {
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for (value, _) in frames {
        let scalars = places(value).into_iter().filter(|(_, value)| value.is_string() || value.is_number());
        for (pointer, _) in scalars {
            *found.entry(pointer).or_default() += 1;
        }
    }
    found
}

#[expect(clippy::cast_precision_loss, reason = "shares of some hundred frames")]
fn share_of(present: usize, frames: &[(Value, f64)]) -> f64 {
    present as f64 / frames.len() as f64
}

/// The place of a time, also where some frames have none: those that have it at a place are looked at together.
fn time_in(frames: &[(Value, f64)]) -> Option<Found> {
    let records = |among: &dyn Fn(&Value) -> bool| -> Vec<Record<'_>> {
        let among = frames.iter().filter(|(value, _)| among(value));
        among.map(|(value, at)| Record { topic: "", value, at: Some(*at) }).collect()
    };
    let all = times::find(&records(&|_| true)).map(|time| Found {
        share: share_of(time.present, frames),
        pointer: time.pointer,
        unit: Some(time.unit),
    });
    all.or_else(|| {
        let mut pointers: Vec<(String, usize)> = scalar_pointers(frames).into_iter().collect();
        pointers.sort_by_key(|(pointer, present)| (std::cmp::Reverse(*present), depth(pointer)));
        pointers.into_iter().filter(|(_, present)| share_of(*present, frames) >= SHARE_MIN).find_map(
            |(pointer, present)| {
                let having = records(&|value| value.pointer(&pointer).is_some_and(|value| !value.is_null()));
                let time = times::find(&having).filter(|time| time.pointer == pointer)?;
                Some(Found { share: share_of(present, frames), pointer, unit: Some(time.unit) })
            },
        )
    })
}

fn id_in(frames: &[(Value, f64)], missing: &str) -> Option<Found> {
    let name = last_step(missing);
    let mut best: Option<(i32, Found)> = None;
    for (pointer, present) in scalar_pointers(frames) {
        let values: Vec<&Value> = frames.iter().filter_map(|(value, _)| value.pointer(&pointer)).collect();
        let distinct: HashSet<String> = values.iter().map(ToString::to_string).collect();
        // One frame tells nothing apart.
        if distinct.len() < values.len() || values.len() < 2 || share_of(present, frames) < SHARE_MIN {
            continue;
        }
        let records: Vec<Record<'_>> = frames
            .iter()
            .filter(|(value, _)| value.pointer(&pointer).is_some())
            .map(|(value, at)| Record { topic: "", value, at: Some(*at) })
            .collect();
        let is_time = times::is_near(&records, &values);
        let numbers: Option<Vec<i64>> = values.iter().map(|value| value.as_i64()).collect();
        let increasing = numbers.is_some_and(|numbers| numbers.is_sorted());
        let same_name = i32::from(last_step(&pointer) == name) * 20;
        let likely = likely_id(&pointer, &values, increasing, is_time) * 10 + same_name;
        let score = likely - i32::try_from(depth(&pointer)).unwrap_or(0);
        if score >= 15 && best.as_ref().is_none_or(|(most, _)| score > *most) {
            best = Some((score, Found { share: share_of(present, frames), pointer, unit: None }));
        }
    }
    best.map(|(_, found)| found)
}

fn array_in(frames: &[(Value, f64)], missing: &str) -> Option<Found> {
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for (value, _) in frames {
        for pointer in arrays_in(value) {
            *found.entry(pointer).or_default() += 1;
        }
    }
    let name = last_step(missing);
    let best = found
        .into_iter()
        .max_by_key(|(pointer, present)| (last_step(pointer) == name, *present, std::cmp::Reverse(depth(pointer))))?;
    Some(Found { share: share_of(best.1, frames), pointer: best.0, unit: None })
}

/// A value of the same name at another place, or else none: what a key or payload is only its name tells.
fn same_name_in(frames: &[(Value, f64)], missing: &str) -> Option<Found> {
    let name = last_step(missing).to_lowercase();
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for (value, _) in frames {
        let places = places(value).into_iter().filter(|(_, value)| !value.is_null());
        for (pointer, _) in
            places.filter(|(pointer, _)| pointer != missing && last_step(pointer).to_lowercase() == name)
        {
            *found.entry(pointer).or_default() += 1;
        }
    }
    let best = found.into_iter().max_by_key(|(pointer, present)| (*present, std::cmp::Reverse(depth(pointer))))?;
    Some(Found { share: share_of(best.1, frames), pointer: best.0, unit: None })
}

/// By what a rule of their own could know these frames: a word that most of them have at the same place.
fn told_apart(frames: &[(Value, f64)], by_rule: bool) -> Option<Suggestion> {
    const WORDS_MAX: usize = 4;
    struct Place {
        score: (usize, usize, usize),
        pointer: String,
        words: BTreeSet<String>,
        share: f64,
    }
    let kinds = [
        "e", "type", "event", "op", "action", "channel", "table", "method", "kind", "ev", "arg", "topic", "stream",
        "msg_type",
    ];
    let mut best: Option<Place> = None;
    for (pointer, present) in scalar_pointers(frames) {
        let share = share_of(present, frames);
        if depth(&pointer) > 3 || share < SHARE_MIN {
            continue;
        }
        let words: BTreeSet<String> = frames
            .iter()
            .filter_map(|(value, _)| value.pointer(&pointer)?.as_str())
            .filter(|word| word.len() <= 64 && word.parse::<f64>().is_err())
            .map(str::to_owned)
            .collect();
        if words.is_empty() || words.len() > WORDS_MAX {
            continue;
        }
        let name = last_step(&pointer).to_lowercase();
        // What says a kind before what says a topic, of which there may be more than these frames show.
        let named = kinds.iter().position(|kind| *kind == name).map_or(0, |place| kinds.len() - place);
        let score = (named, present, usize::MAX - depth(&pointer) - words.len() * 8);
        if best.as_ref().is_none_or(|best| score > best.score) {
            best = Some(Place { score, pointer, words, share });
        }
    }
    let Place { pointer, words, share, .. } = best?;
    let listed = words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
    let condition = if words.len() == 1 { listed.clone() } else { format!("[{listed}]") };
    let percent = format!("{:.0} %", (share * 100.0).floor());
    let rule = format!("when = {{ \"{pointer}\" = {condition} }}");
    let text = if by_rule {
        format!(
            "{percent} of the failures have {listed} at `{pointer}`: add an event rule with `{rule}`, or with `ignore = true` beside it where they are no events"
        )
    } else {
        format!(
            "{percent} of the failures have {listed} at `{pointer}`: add a route or a control rule of the dialect that knows them by it"
        )
    };
    Some(Suggestion { text, pointer: Some(pointer), rule: by_rule.then_some(rule), share: Some(share) })
}

/// The beginning of a frame, with what cannot be printed replaced.
fn printable(raw: &[u8]) -> String {
    let head = &raw[..raw.len().min(SAMPLE_CHARACTERS * 4)];
    let text = String::from_utf8_lossy(head);
    let mut shown: String = text
        .chars()
        .take(SAMPLE_CHARACTERS)
        .map(|character| if character.is_control() || is_unseen(character) { '\u{b7}' } else { character })
        .collect();
    if text.chars().count() > SAMPLE_CHARACTERS || head.len() < raw.len() {
        shown.push('…');
    }
    shown
}

/// Characters that turn or hide what stands around them.
fn is_unseen(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(reason: &str, text: &[u8]) -> Quarantined {
        let empty = Quarantined {
            monitor: Some("m".into()),
            upstream: "u".into(),
            topic: None,
            reason: reason.into(),
            bytes: 0,
            frame: None,
            frame_base64: None,
            envelope: None,
        };
        empty.with_frame(text, 1000)
    }

    fn told(frames: impl IntoIterator<Item = (String, String)>) -> Vec<Failure> {
        let mut failures = Failures::new(2);
        for (number, (reason, text)) in (0..).zip(frames) {
            failures.take(number, UnixNanos(1_760_000_000_000_000_000), &frame(&reason, text.as_bytes()));
        }
        failures.told()
    }

    #[test]
    fn a_time_that_moved_is_found_with_its_unit_and_share() {
        let reason = "time: there is nothing at `/data/E`".to_owned();
        let frames = (0..100).map(|number| {
            let moved = format!(r#"{{"data": {{"T": {}, "p": "1.5"}}}}"#, 1_760_000_000_000_u64 + number);
            (reason.clone(), if number < 97 { moved } else { r#"{"data": {"p": "2"}}"#.to_owned() })
        });
        let failures = told(frames);
        let [failure] = &failures[..] else { panic!("{failures:?}") };
        assert_eq!((failure.count, failure.kind, failure.samples.len()), (100, FailureKind::MissingValue, 2));
        let suggestion = failure.suggestion.as_ref().unwrap();
        assert_eq!(suggestion.pointer.as_deref(), Some("/data/T"));
        assert_eq!(suggestion.rule.as_deref(), Some("time = \"/data/T\", time_unit = \"ms\""));
        assert!(suggestion.text.contains("97 %") && suggestion.text.contains("/data/E"), "{}", suggestion.text);
    }

    #[test]
    fn a_time_in_another_unit_is_found_at_its_own_place() {
        let reason =
            |number: u64| format!("time: `{}` at `/t` is no time in milliseconds (ms)", 1_760_000_000 + number);
        let failures = told((0..10).map(|number| (reason(number), format!(r#"{{"t": {}}}"#, 1_760_000_000 + number))));
        assert_eq!(failures.len(), 1, "numbers do not make another reason: {failures:?}");
        assert_eq!(failures[0].kind, FailureKind::WrongValue);
        assert_eq!(failures[0].suggestion.as_ref().unwrap().rule.as_deref(), Some("time = \"/t\", time_unit = \"s\""));
    }

    #[test]
    fn an_id_that_moved_is_one_that_tells_them_apart() {
        let frames = (0..20).map(|number| {
            let text = format!(r#"{{"d": {{"trade_id": {}, "price": "{number}.5", "side": "buy"}}}}"#, 7000 + number);
            ("id: there is nothing at `/trade_id`".to_owned(), text)
        });
        assert_eq!(told(frames)[0].suggestion.as_ref().unwrap().pointer.as_deref(), Some("/d/trade_id"));
    }

    #[test]
    fn messages_that_no_rule_fits_are_known_by_a_word() {
        let frames = (0..10)
            .map(|number| ("no event rule fits".to_owned(), format!(r#"{{"e": "liquidation", "q": {number}}}"#)));
        let failures = told(frames);
        let suggestion = failures[0].suggestion.as_ref().unwrap();
        assert_eq!(failures[0].kind, FailureKind::NoEventRule);
        assert_eq!(suggestion.rule.as_deref(), Some("when = { \"/e\" = \"liquidation\" }"));
    }

    #[test]
    fn what_is_no_json_is_told_by_what_it_is() {
        let reason = "unexpected `<` at byte 0";
        let html = told((0..3).map(|number| (reason.to_owned(), format!("<html>{number}</html>"))));
        assert_eq!(html[0].kind, FailureKind::NotJson);
        assert!(html[0].suggestion.as_ref().unwrap().text.contains("HTML"));
        let broken = told([("end at byte 17".to_owned(), "{\"a\": 1,".to_owned())]);
        assert!(broken[0].suggestion.as_ref().unwrap().text.contains("broken off"), "{broken:?}");
        let mut failures = Failures::new(1);
        for number in 0..3_u8 {
            let mut cut = frame("longer", &[b'x'; 2000]);
            cut.bytes += u64::from(number);
            failures.take(0, UnixNanos(0), &cut);
        }
        assert_eq!(failures.told()[0].kind, FailureKind::Cut);
    }

    #[test]
    fn a_sample_is_cut_and_moves_no_cursor() {
        let text = format!("\u{1b}[31m\u{202e}{}", "x".repeat(500));
        let shown = printable(text.as_bytes());
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}') && shown.ends_with('…'), "{shown}");
        assert!(shown.chars().count() <= SAMPLE_CHARACTERS + 1);
        assert_eq!(printable(&[0xff, b'a']), "\u{fffd}a");
    }

    #[test]
    fn memory_is_bounded_by_kinds_and_bytes() {
        let mut failures = Failures::new(1);
        let word = |mut number: usize| {
            let mut word = String::new();
            for _ in 0..4 {
                word.push(char::from(b'a' + u8::try_from(number % 26).unwrap()));
                number /= 26;
            }
            word
        };
        for number in 0..GROUPS_MAX + 10 {
            failures.take(0, UnixNanos(0), &frame(&format!("kind {}", word(number)), b"{}"));
        }
        assert_eq!((failures.groups.len(), failures.others()), (GROUPS_MAX, 10));
        for _ in 0..1000 {
            failures.take(0, UnixNanos(0), &frame("kind aaaa", &[b'['; 900]));
        }
        let group = &failures.groups[&("m".to_owned(), "kind aaaa".to_owned(), Begins::AsJson)];
        assert_eq!((group.count, group.frames.len()), (1001, FRAMES_MAX));
    }
}
