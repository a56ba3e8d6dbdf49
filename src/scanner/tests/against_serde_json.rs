//! Properties that hold the scanner against `serde_json`, and against the author of the text, who knows what stands where.

use proptest::prelude::*;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::*;

/// Whether `serde_json` takes a text for one JSON value.
///
/// Not asked as a `Value`, which refuses numbers that an f64 cannot hold (`1e999` is good JSON) and nests one less deep. Raw
/// values check the grammar, numbers included, and UTF-8, but not what `\u` escapes mean, so each string in them is decoded
/// once more.
fn serde_json_takes(text: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(text).is_ok_and(|value| strings_decode(value.get()))
}

fn strings_decode(value: &str) -> bool {
    match value.as_bytes()[0] {
        b'"' => serde_json::from_str::<String>(value).is_ok(),
        b'[' => serde_json::from_str::<Vec<&RawValue>>(value)
            .is_ok_and(|elements| elements.iter().all(|element| strings_decode(element.get()))),
        b'{' => serde_json::from_str::<Members<'_>>(value)
            .is_ok_and(|members| members.0.iter().all(|member| strings_decode(member.get()))),
        _ => true,
    }
}

/// The values of an object with any keys, repeated ones included.
struct Members<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut values = Vec::new();
                while let Some((_, value)) = map.next_entry::<String, &RawValue>()? {
                    values.push(value);
                }
                Ok(Members(values))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// A value with everything about it that a text can show; numbers as they are spelt.
#[derive(Debug, Clone)]
enum Json {
    Bare(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

fn characters() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ -~]{0,20}",
        1 => "[\"\\\\/\u{0}-\u{20}\u{7f}-\u{ff}\u{20ac}\u{ffff}\u{10000}-\u{1f600}]{0,8}",
        1 => "[a-z]{24,90}",
        1 => any::<String>(),
    ]
}

/// Few, so that they repeat; of lengths around that of a machine word.
fn keys() -> impl Strategy<Value = String> {
    let few = [
        "",
        "a",
        "b",
        "é",
        "0",
        "1",
        "01",
        "a/b",
        "m~n",
        "stream",
        "abcdefg",
        "abcdefgh",
        "abcdefg\"h",
        "abcdefghi",
        "😀",
    ];
    prop_oneof![6 => prop::sample::select(few.to_vec()).prop_map(str::to_owned), 1 => characters()]
}

fn json(number: &'static str) -> impl Strategy<Value = Json> {
    let bare = prop::sample::select(vec!["null", "true", "false"]).prop_map(|text| Json::Bare(text.to_owned()));
    let leaf = prop_oneof![1 => bare, 2 => number.prop_map(Json::Bare), 2 => characters().prop_map(Json::String)];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
            2 => prop::collection::vec((keys(), inner), 0..6).prop_map(Json::Object),
        ]
    })
}

/// Any that the grammar allows, also such as no machine type holds.
const ANY_NUMBER: &str = "-?(0|[1-9][0-9]{0,22})(\\.[0-9]{1,22})?([eE][+-]?[0-9]{1,4})?";
/// Such as f64 holds.
const NUMBER: &str = "-?(0|[1-9][0-9]{0,18})(\\.[0-9]{1,10})?([eE][+-]?[0-9]{1,2})?";
/// A pointer that may or may not lead somewhere.
const STRANGER: &str = "(/[a-c0-2]){0,3}";

/// Writes a value with random white space and escapes, and notes what stands where.
struct Author {
    random: fastrand::Rng,
    /// How often there is white space, from 0 to 1.
    blanks: f64,
    text: String,
    /// Pointer and span of each value. Of repeated keys only the first one's value is here, and what is in it.
    places: Vec<(String, Span)>,
}

impl Author {
    fn write(value: &Json, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let blanks = if random.bool() { 0.0 } else { random.f64() };
        let mut author = Self { random, blanks, text: String::new(), places: Vec::new() };
        author.value(value, Some(String::new()));
        author
    }

    /// `pointer` is the value's own, unless it is behind a repeated key.
    fn value(&mut self, value: &Json, pointer: Option<String>) {
        self.blank();
        let start = self.text.len();
        match value {
            Json::Bare(text) => self.text.push_str(text),
            Json::String(text) => self.string(text),
            Json::Array(elements) => {
                self.text.push('[');
                for (index, element) in elements.iter().enumerate() {
                    self.comma(index);
                    self.value(element, pointer.as_ref().map(|pointer| format!("{pointer}/{index}")));
                }
                self.blank();
                self.text.push(']');
            }
            Json::Object(members) => {
                self.text.push('{');
                for (index, (key, member)) in members.iter().enumerate() {
                    self.comma(index);
                    self.blank();
                    self.string(key);
                    self.blank();
                    self.text.push(':');
                    let repeated = members[..index].iter().any(|(earlier, _)| earlier == key);
                    let token = key.replace('~', "~0").replace('/', "~1");
                    let pointer = pointer.as_ref().filter(|_| !repeated);
                    self.value(member, pointer.map(|pointer| format!("{pointer}/{token}")));
                }
                self.blank();
                self.text.push('}');
            }
        }
        self.places.extend(pointer.map(|pointer| (pointer, Span::new(start, self.text.len()))));
        self.blank();
    }

    fn comma(&mut self, index: usize) {
        if index > 0 {
            self.text.push(',');
        }
    }

    fn blank(&mut self) {
        while self.random.f64() < self.blanks * 0.9 {
            self.text.push([' ', '\n', '\r', '\t'][self.random.usize(..4)]);
        }
    }

    fn string(&mut self, text: &str) {
        let escapes = if self.random.bool() { 0.0 } else { self.random.f64() };
        self.text.push('"');
        for character in text.chars() {
            let short = match character {
                '"' | '\\' | '/' => Some(character),
                '\u{8}' => Some('b'),
                '\u{c}' => Some('f'),
                '\n' => Some('n'),
                '\r' => Some('r'),
                '\t' => Some('t'),
                _ => None,
            };
            let forced = character < ' ' || matches!(character, '"' | '\\');
            if !forced && self.random.f64() >= escapes {
                self.text.push(character);
            } else if let Some(short) = short.filter(|_| self.random.bool()) {
                self.text.extend(['\\', short]);
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let digits = if self.random.bool() { format!("{unit:04x}") } else { format!("{unit:04X}") };
                    self.text.push_str("\\u");
                    self.text.push_str(&digits);
                }
            }
        }
        self.text.push('"');
    }
}

/// What may happen to a text.
#[derive(Debug, Clone)]
enum Damage {
    Flip { at: prop::sample::Index, bits: u8 },
    Delete { at: prop::sample::Index },
    Insert { at: prop::sample::Index, bytes: Vec<u8> },
    Cut { at: prop::sample::Index },
    Repeat { from: prop::sample::Index, to: prop::sample::Index },
}

impl Damage {
    fn any() -> impl Strategy<Value = Self> {
        let index = any::<prop::sample::Index>;
        // Most of what can go wrong shows with bytes that mean something.
        let telling = prop::sample::select(b"{}[],:\"\\ 0123456789.eE+-tfnu\n\x1f".to_vec());
        let byte = prop_oneof![4 => telling, 1 => any::<u8>()];
        let words: [&[u8]; 10] =
            [b"null", b"true", b"\\u0041", b"\\ud800", b"\\udc00", b"\\uD83D\\uDE00", b"1e5", b"\"\"", b"[]", b"{}"];
        let word = prop::sample::select(words.to_vec()).prop_map(<[u8]>::to_vec);
        let bytes = prop_oneof![prop::collection::vec(byte, 1..4), word];
        prop_oneof![
            3 => (index(), any::<u8>()).prop_map(|(at, bits)| Self::Flip { at, bits }),
            3 => index().prop_map(|at| Self::Delete { at }),
            4 => (index(), bytes).prop_map(|(at, bytes)| Self::Insert { at, bytes }),
            1 => index().prop_map(|at| Self::Cut { at }),
            1 => (index(), index()).prop_map(|(from, to)| Self::Repeat { from, to }),
        ]
    }

    fn strike(&self, text: &mut Vec<u8>) {
        let places = text.len() + 1;
        match self {
            Self::Flip { at, bits } => text.iter_mut().skip(at.index(places)).take(1).for_each(|byte| *byte ^= bits),
            Self::Delete { at } => {
                let at = at.index(places);
                text.drain(at..(at + 1).min(text.len()));
            }
            Self::Insert { at, bytes } => {
                let at = at.index(places);
                text.splice(at..at, bytes.iter().copied());
            }
            Self::Cut { at } => text.truncate(at.index(places)),
            Self::Repeat { from, to } => {
                let (from, to) = (from.index(places), to.index(places));
                let copy = text[from.min(to)..from.max(to)].to_vec();
                text.splice(from..from, copy);
            }
        }
    }
}

/// Whether scans take a text, however it is put to them.
fn scan_takes(text: &[u8], pointers: &[&str]) -> bool {
    let with = set(pointers).scan(text, Utf8::Unchecked, &mut Fields::default());
    let without = PointerSet::default().scan(text, Utf8::Unchecked, &mut Fields::default());
    assert_eq!(with, without, "what is looked for must not matter");
    if std::str::from_utf8(text).is_ok() {
        let checked = PointerSet::default().scan(text, Utf8::Checked, &mut Fields::default());
        assert_eq!(without, checked, "who checks UTF-8 must not matter");
    }
    if let Err(error) = without {
        assert!(error.at <= text.len());
    }
    // Another surrounding puts other words under the eight-byte steps, and the end elsewhere.
    let surrounded = [b"  ", text, b"                                        "].concat();
    if without.is_ok() {
        assert!(is_valid(&surrounded), "white space around must not matter");
    }
    without.is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(500)))]

    #[test]
    fn whatever_is_written_is_taken_and_found_where_it_was_written(
        value in json(ANY_NUMBER),
        seed: u64,
        strangers in prop::collection::vec(STRANGER, 0..4),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let author = Author::write(&value, seed);
        prop_assert!(serde_json_takes(author.text.as_bytes()));
        let places = &author.places;
        let mut all: Vec<&str> = places.iter().map(|(pointer, _)| pointer.as_str()).collect();
        all.extend(strangers.iter().map(String::as_str));
        // A few, as in life, and all at once, in an order that has nothing to do with the text's.
        let mut few: Vec<&str> = picks.iter().map(|pick| *pick.get(&all)).collect();
        few.extend(strangers.iter().map(String::as_str));
        fastrand::Rng::with_seed(seed).shuffle(&mut all);
        let mut fields = Fields::default();
        for pointers in [&few, &all] {
            set(pointers).scan(author.text.as_bytes(), Utf8::Checked, &mut fields).unwrap();
            for (slot, pointer) in pointers.iter().enumerate() {
                let written = places.iter().find(|(place, _)| place == pointer).map(|(_, span)| *span);
                prop_assert_eq!(fields.get(slot), written, "{} in {}", pointer, &author.text);
            }
        }
    }

    #[test]
    fn pointers_find_what_serde_json_finds(
        value in json(NUMBER),
        seed: u64,
        strangers in prop::collection::vec(STRANGER, 0..4),
    ) {
        // serde_json takes the last of repeated keys, so that there is nothing to compare.
        let value = without_repeated_keys(value);
        let author = Author::write(&value, seed);
        let parsed: Value = serde_json::from_str(&author.text).unwrap();
        let written = author.places.iter().map(|(pointer, _)| pointer.as_str());
        let pointers: Vec<&str> = written.chain(strangers.iter().map(String::as_str)).collect();
        for (pointer, raw) in pointers.iter().zip(find(&author.text, &pointers)) {
            let ours: Option<Value> = raw.map(|raw| serde_json::from_str(raw).unwrap());
            prop_assert_eq!(ours.as_ref(), parsed.pointer(pointer), "{}", pointer);
        }
    }

    #[test]
    fn damaged_texts_are_judged_as_by_serde_json(
        value in json(ANY_NUMBER),
        seed: u64,
        damages in prop::collection::vec(Damage::any(), 1..4),
    ) {
        let author = Author::write(&value, seed);
        let pointers: Vec<&str> = author.places.iter().map(|(pointer, _)| pointer.as_str()).collect();
        let mut text = author.text.into_bytes();
        for damage in damages {
            damage.strike(&mut text);
            let shown = String::from_utf8_lossy(&text);
            prop_assert_eq!(scan_takes(&text, &pointers), serde_json_takes(&text), "{}", shown);
        }
    }

    #[test]
    fn noise_of_json_is_judged_as_by_serde_json(text in "[\\[\\]{}:,\"\\\\0-1.eE+\\-tfnu \u{1f}é]{0,12}") {
        prop_assert_eq!(scan_takes(text.as_bytes(), &["/0", "/"]), serde_json_takes(text.as_bytes()));
    }

    #[test]
    fn numbers_are_judged_as_by_serde_json(text in "[-+0-9.eE]{1,12}") {
        prop_assert_eq!(scan_takes(text.as_bytes(), &[]), serde_json_takes(text.as_bytes()));
    }

    #[test]
    fn every_cut_of_a_container_is_refused(value in json(ANY_NUMBER), seed: u64) {
        let author = Author::write(&Json::Array(vec![value]), seed);
        let closed = author.text.trim_end().len();
        for length in 0..closed {
            let cut = &author.text.as_bytes()[..length];
            let scanned = PointerSet::default().scan(cut, Utf8::Checked, &mut Fields::default());
            let end = Err(ScanError { at: length, kind: ScanErrorKind::UnexpectedEnd });
            prop_assert_eq!(scanned, end, "{}", String::from_utf8_lossy(cut));
        }
    }

    #[test]
    fn elements_are_those_that_serde_json_sees(values in prop::collection::vec(json(ANY_NUMBER), 0..6), seed: u64) {
        let author = Author::write(&Json::Array(values), seed);
        let text = author.text.as_bytes();
        let mut fields = Fields::default();
        set(&[""]).scan(text, Utf8::Checked, &mut fields).unwrap();
        let ours: Vec<&[u8]> = elements(text, fields.get(0).unwrap()).map(|span| span.of(text)).collect();
        let theirs: Vec<&RawValue> = serde_json::from_str(&author.text).unwrap();
        prop_assert_eq!(ours, theirs.iter().map(|raw| raw.get().as_bytes()).collect::<Vec<_>>());
    }

    #[test]
    fn strings_read_as_they_were_written(text in characters(), other in characters(), seed: u64) {
        let author = Author::write(&Json::String(text.clone()), seed);
        let raw = author.text.trim_matches([' ', '\n', '\r', '\t']);
        let token = Token::new(raw.as_bytes());
        prop_assert_eq!(token.as_str(), Some(text.as_str().into()));
        prop_assert_eq!(token.text(), text.as_str());
        prop_assert!(token.same_text(&text));
        prop_assert_eq!(token.same_text(&other), text == other);
        prop_assert!(!token.same_text(raw));
        // What begins as it does, or is its beginning, is not it.
        for (at, character) in text.char_indices() {
            prop_assert!(!token.same_text(&text[..at]));
            let longer = format!("{text}{character}");
            prop_assert!(!token.same_text(&longer));
        }
    }

    #[test]
    fn whole_numbers_read_as_by_serde_json(
        text in NUMBER,
        whole in any::<i128>().prop_map(|number| (number >> 60).to_string()),
    ) {
        // `-0` is a float there, and a whole number here.
        for text in [text, whole].into_iter().filter(|text| text != "-0") {
            let value: Value = serde_json::from_str(&text).unwrap();
            let token = Token::new(text.as_bytes());
            prop_assert_eq!(token.as_i64(), value.as_i64(), "{}", text);
            prop_assert_eq!(token.as_u64(), value.as_u64(), "{}", text);
        }
    }
}

fn without_repeated_keys(value: Json) -> Json {
    match value {
        Json::Array(elements) => Json::Array(elements.into_iter().map(without_repeated_keys).collect()),
        Json::Object(members) => {
            let mut kept: Vec<(String, Json)> = Vec::new();
            for (key, value) in members {
                if kept.iter().all(|(earlier, _)| *earlier != key) {
                    kept.push((key, without_repeated_keys(value)));
                }
            }
            Json::Object(kept)
        }
        leaf => leaf,
    }
}
