//! The scanner takes what serde_json takes, finds what serde_json finds, and never reads outside of the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use sluice::scanner::{Fields, Pointer, PointerSet, ScanErrorKind, Utf8, elements};

const POINTERS: [&str; 12] =
    ["", "/a", "/a/b", "/0", "/1/a", "/stream", "/data", "/data/E", "/data/t", "/params/result", "/é", "/a~1b"];

fn scan(pointers: &[&str], text: &[u8]) -> (Result<(), sluice::scanner::ScanError>, Fields) {
    let pointers: Vec<Pointer> = pointers.iter().map(|pointer| Pointer::parse(pointer).unwrap()).collect();
    let set = PointerSet::new(&pointers);
    let mut fields = Fields::default();
    (set.scan(text, Utf8::Unchecked, &mut fields), fields)
}

fuzz_target!(init: sluice_fuzz::seeds::write(sluice_fuzz::seeds::frames), |text: &[u8]| {
    let (plain, _) = scan(&[], text);
    let (result, fields) = scan(&POINTERS, text);
    assert_eq!(plain, result, "what is looked for must not matter");
    if let Err(error) = result {
        assert!(error.at <= text.len());
        if error.kind != ScanErrorKind::TooDeep {
            assert!(!serde_json_takes(text), "{error:?}");
        }
        return;
    }
    assert!(serde_json_takes(text));
    let root: &RawValue = serde_json::from_slice(text).unwrap();
    for (slot, pointer) in POINTERS.iter().enumerate() {
        let found = fields.get(slot).map(|span| std::str::from_utf8(span.of(text)).unwrap());
        assert_eq!(found, look_up(root.get(), pointer), "{pointer}");
        if let Some(span) = fields.get(slot) {
            let ours: Vec<&[u8]> = elements(text, span).map(|element| element.of(text)).collect();
            let theirs: Vec<&RawValue> = serde_json::from_slice(span.of(text)).unwrap_or_default();
            assert!(ours.iter().copied().eq(theirs.iter().map(|value| value.get().as_bytes())));
        }
    }
});

/// Whether `serde_json` takes it for one JSON value. Raw values check grammar and UTF-8, but not what `\u` escapes mean.
fn serde_json_takes(text: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(text).is_ok_and(|value| strings_decode(value.get(), 0))
}

fn strings_decode(value: &str, depth: usize) -> bool {
    if depth > 140 {
        return true;
    }
    match value.as_bytes()[0] {
        b'"' => serde_json::from_str::<String>(value).is_ok(),
        b'[' => serde_json::from_str::<Vec<&RawValue>>(value)
            .is_ok_and(|elements| elements.iter().all(|element| strings_decode(element.get(), depth + 1))),
        b'{' => serde_json::from_str::<Members<'_>>(value)
            .is_ok_and(|members| members.0.iter().all(|(_, member)| strings_decode(member.get(), depth + 1))),
        _ => true,
    }
}

/// By the first of repeated keys.
fn look_up<'a>(mut value: &'a str, pointer: &str) -> Option<&'a str> {
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        value = match value.as_bytes()[0] {
            b'[' => {
                let index = step.parse::<usize>().ok().filter(|index| index.to_string() == step)?;
                serde_json::from_str::<Vec<&RawValue>>(value).ok()?.get(index)?.get()
            }
            b'{' => {
                let members: Members<'a> = serde_json::from_str(value).ok()?;
                members.0.iter().find(|(key, _)| *key == step)?.1.get()
            }
            _ => return None,
        };
    }
    Some(value)
}

/// The members of an object, repeated ones included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

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
                while let Some(member) = map.next_entry::<String, &RawValue>()? {
                    values.push(member);
                }
                Ok(Members(values))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}
