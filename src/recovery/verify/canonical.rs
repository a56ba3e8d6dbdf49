//! A JSON text in one form for all texts of the same value: for stores that write values anew.
//!
//! Numbers are compared by what they say and not by what a floating-point number could hold of it: `1.50`, `1.5` and `15e-1` are
//! the same, 20 digits stay 20. Of repeated keys the last counts, as `jsonb` has it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Texts nested deeper are compared as they are; the journal takes none.
const DEPTH_MAX: usize = 130;

/// Appends the form of a payload to `out`. One that is a text, but not JSON, has that of the JSON string it makes; anything else is
/// taken as it is.
pub(in crate::recovery) fn put_payload(raw: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(raw) {
        Ok(text) => match serde_json::from_str::<&RawValue>(text) {
            Ok(json) => put(json.get(), 0, out),
            Err(_) => put_string(text, out),
        },
        Err(_) => out.extend_from_slice(raw),
    }
}

fn put(text: &str, depth: usize, out: &mut Vec<u8>) {
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    match text.as_bytes().first() {
        Some(b'{') if depth < DEPTH_MAX => match serde_json::from_str::<Members<'_>>(text) {
            Ok(Members(members)) => {
                out.push(b'{');
                for (name, value) in members {
                    put_string(&name, out);
                    put(value.get(), depth + 1, out);
                }
                out.push(b'}');
            }
            Err(_) => out.extend_from_slice(text.as_bytes()),
        },
        Some(b'[') if depth < DEPTH_MAX => match serde_json::from_str::<Vec<&RawValue>>(text) {
            Ok(elements) => {
                out.push(b'[');
                for element in elements {
                    put(element.get(), depth + 1, out);
                    out.push(b',');
                }
                out.push(b']');
            }
            Err(_) => out.extend_from_slice(text.as_bytes()),
        },
        Some(b'"') => match serde_json::from_str::<String>(text) {
            Ok(string) => put_string(&string, out),
            Err(_) => out.extend_from_slice(text.as_bytes()),
        },
        Some(b'-' | b'0'..=b'9') => put_number(text, out),
        _ => out.extend_from_slice(text.as_bytes()),
    }
}

/// By its length, so that no two lists of strings look alike.
fn put_string(string: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(&(string.len() as u64).to_le_bytes());
    out.extend_from_slice(string.as_bytes());
}

/// Sign, digits without zeros at either end, and the power of ten that they are times.
fn put_number(text: &str, out: &mut Vec<u8>) {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = [whole, fraction].concat();
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    out.push(b'#');
    if significant.is_empty() {
        out.push(b'0');
        return;
    }
    let dropped = digits.len() - digits.trim_end_matches('0').len();
    // A longer exponent is none that any store keeps; its text stands for it.
    match exponent.parse::<i128>() {
        Ok(exponent) => {
            let power = exponent - fraction.len() as i128 + dropped as i128;
            out.extend_from_slice(format!("{sign}{significant}e{power}").as_bytes());
        }
        Err(_) => out.extend_from_slice(text.as_bytes()),
    }
}

/// The members of an object, in the order of their names.
struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    members.insert(name, value);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        put_payload(text.as_bytes(), &mut out);
        out
    }

    #[test]
    fn texts_of_one_value_have_one_form_and_others_have_others() {
        let same = [
            (r#"{"a":1.50,"b":[1,2]}"#, r#" { "b" : [1, 2], "a" : 15e-1 } "#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            (r#""é""#, r#""\u00e9""#),
            ("100000", "1e5"),
            ("-0.0", "0"),
            ("0.00012", "1.2E-4"),
            ("18446744073709551617.0", "18446744073709551617"),
        ];
        for (one, other) in same {
            assert_eq!(form(one), form(other), "{one} and {other}");
        }
        let different = [
            ("18446744073709551616", "18446744073709551617"),
            ("0.1", "0.10000000000000001"),
            (r#"["a","b"]"#, r#"["ab"]"#),
            (r#"["a",["b"]]"#, r#"[["a"],"b"]"#),
            (r#"{"a":"b"}"#, r#"["a","b"]"#),
            ("1", "\"1\""),
            ("1", "-1"),
            ("null", "false"),
            ("[]", "{}"),
            ("1e400", "1e401"),
        ];
        for (one, other) in different {
            assert_ne!(form(one), form(other), "{one} and {other}");
        }
    }

    #[test]
    fn what_is_no_json_is_compared_as_the_string_that_a_store_makes_of_it() {
        assert_eq!(form("plain text"), form(r#""plain text""#));
        let mut out = Vec::new();
        put_payload(&[0xff, 0x00], &mut out);
        assert_eq!(out, [0xff, 0x00]);
    }
}
