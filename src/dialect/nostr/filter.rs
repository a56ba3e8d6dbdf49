//! Topics: what a subscription filters by.
//!
//! Either as the protocol has it, one filter or a list of them: `{"kinds":[1],"#t":["rust"]}`. Or short, words with their
//! values: `kinds=1,7 #t=rust`; `*` is the filter that lets everything pass.

use serde_json::{Map, Value};

/// Members of a filter whose values are lists of texts, and those that are one number. `kinds` is a list of numbers. Source:
/// NIP-01; `search` is NIP-50's.
const LISTS: [&str; 2] = ["ids", "authors"];
const NUMBERS: [&str; 3] = ["since", "until", "limit"];

const FORM: &str =
    "a topic is a filter such as `{\"kinds\":[1],\"#t\":[\"rust\"]}`, or short `kinds=1 #t=rust`, or `*`";

/// The filters of a topic. The error says what is wrong with it.
pub(super) fn read(topic: &str) -> Result<Vec<Map<String, Value>>, String> {
    let topic = topic.trim();
    let filters = match topic.chars().next() {
        None => return Err(format!("a topic is empty; {FORM}")),
        Some('{' | '[') => {
            let value: Value =
                serde_json::from_str(topic).map_err(|error| format!("topic `{topic}`: {error}; {FORM}"))?;
            let filters = if let Value::Array(filters) = value { filters } else { vec![value] };
            let objects = filters.into_iter().map(|filter| match filter {
                Value::Object(members) => Ok(members),
                other => Err(format!("topic `{topic}`: `{other}` is no filter; {FORM}")),
            });
            objects.collect::<Result<Vec<_>, _>>()?
        }
        Some('*') if topic == "*" => vec![Map::new()],
        Some(_) => vec![short(topic)?],
    };
    if filters.is_empty() {
        return Err(format!("topic `{topic}` has no filter; {FORM}"));
    }
    for filter in &filters {
        for (name, value) in filter {
            check(name, value).map_err(|reason| format!("topic `{topic}`: `{name}` {reason}"))?;
        }
    }
    Ok(filters)
}

fn short(topic: &str) -> Result<Map<String, Value>, String> {
    let mut filter = Map::new();
    for word in topic.split_whitespace() {
        let Some((name, text)) = word.split_once('=') else {
            return Err(format!("topic `{topic}`: `{word}` has no `=`; {FORM}"));
        };
        let number = |text: &str| text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from);
        let value = match name {
            "kinds" => text.split(',').map(number).collect(),
            name if NUMBERS.contains(&name) => number(text),
            "search" => Value::from(text),
            _ => text.split(',').map(Value::from).collect(),
        };
        if filter.insert(name.to_owned(), value).is_some() {
            return Err(format!("topic `{topic}` has `{name}` twice; write all its values behind one, with commas"));
        }
    }
    Ok(filter)
}

/// A relay answers a filter that it does not understand in a way of its own, or not at all.
fn check(name: &str, value: &Value) -> Result<(), String> {
    let list = value.as_array().map(Vec::as_slice);
    let all = |fits: fn(&Value) -> bool| list.is_some_and(|list| !list.is_empty() && list.iter().all(fits));
    let is_hexadecimal = |value: &Value| {
        value.as_str().is_some_and(|text| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let mut letters = name.strip_prefix('#').unwrap_or_default().chars();
    match name {
        "kinds" if all(Value::is_u64) => Ok(()),
        "kinds" => Err("is a list of numbers, such as `[1,7]`".to_owned()),
        name if LISTS.contains(&name) && all(is_hexadecimal) => Ok(()),
        name if LISTS.contains(&name) => {
            Err("is a list of ids of 64 hexadecimal digits; one that begins with `npub` or `note` has to be converted"
                .to_owned())
        }
        name if NUMBERS.contains(&name) && value.is_u64() => Ok(()),
        name if NUMBERS.contains(&name) => Err("is a whole number".to_owned()),
        "search" if value.is_string() => Ok(()),
        _ if letters.next().is_some_and(|letter| letter.is_ascii_alphabetic()) && letters.next().is_none() => {
            if all(Value::is_string) { Ok(()) } else { Err("is a list of texts".to_owned()) }
        }
        _ => Err(format!(
            "is nothing that a filter has; known are `ids`, `authors`, `kinds`, `since`, `until`, `limit`, `search` and tags \
             such as `#t`; {FORM}"
        )),
    }
}

/// The request for a subscription, from a moment on where there is one to go on from.
pub(super) fn request(filters: &[Map<String, Value>], subscription: u64, since: Option<u64>) -> String {
    let mut parts = vec![Value::from("REQ"), Value::from(subscription_name(subscription))];
    for filter in filters {
        let mut filter = filter.clone();
        if let Some(since) = since {
            let own = filter.get("since").and_then(Value::as_u64).unwrap_or(0);
            filter.insert("since".to_owned(), since.max(own).into());
            // It bounds what is stored, and here everything since then is wanted.
            filter.remove("limit");
        }
        parts.push(Value::Object(filter));
    }
    Value::Array(parts).to_string()
}

/// The end of a subscription.
pub(super) fn close(subscription: u64) -> String {
    format!(r#"["CLOSE","{}"]"#, subscription_name(subscription))
}

/// What we call a subscription.
fn subscription_name(number: u64) -> String {
    format!("sluice-{number}")
}

/// The number of a subscription that is called as we call ours.
pub(super) fn subscription_number(name: &[u8]) -> Option<u64> {
    std::str::from_utf8(name).ok()?.strip_prefix("sluice-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(topic: &str, since: Option<u64>) -> String {
        request(&read(topic).unwrap(), 7, since)
    }

    #[test]
    fn a_topic_is_a_filter_or_several_or_its_short_form() {
        assert_eq!(asked("*", None), r#"["REQ","sluice-7",{}]"#);
        assert_eq!(asked(r#"{"kinds":[1],"limit":5}"#, None), r#"["REQ","sluice-7",{"kinds":[1],"limit":5}]"#);
        assert_eq!(
            asked("kinds=1,7 #t=rust,nostr", None),
            r##"["REQ","sluice-7",{"#t":["rust","nostr"],"kinds":[1,7]}]"##
        );
        assert_eq!(
            asked(r#"[{"kinds":[0]},{"kinds":[3]}]"#, None),
            r#"["REQ","sluice-7",{"kinds":[0]},{"kinds":[3]}]"#
        );
        assert_eq!(asked("since=9 limit=0", None), r#"["REQ","sluice-7",{"limit":0,"since":9}]"#);
        assert_eq!(subscription_number(b"sluice-7"), Some(7));
        assert_eq!(subscription_number(b"other-7"), None);
    }

    #[test]
    fn what_goes_on_begins_at_its_moment_and_is_not_limited() {
        assert_eq!(asked("kinds=1 limit=0", Some(100)), r#"["REQ","sluice-7",{"kinds":[1],"since":100}]"#);
        assert_eq!(asked("since=200", Some(100)), r#"["REQ","sluice-7",{"since":200}]"#, "never before what is wanted");
    }

    #[test]
    fn a_filter_that_no_relay_understands_is_refused_with_the_reason() {
        for (topic, reason) in [
            ("", "empty"),
            ("notes", "has no `=`"),
            ("kinds=x", "is a list of numbers"),
            ("kinds=1 kinds=2", "twice"),
            ("authors=npub1abc", "has to be converted"),
            ("limit=many", "is a whole number"),
            ("kind=1", "is nothing that a filter has"),
            ("#tt=x", "is nothing that a filter has"),
            (r#"{"kinds":[1]"#, "EOF"),
            ("[]", "has no filter"),
            ("[1]", "is no filter"),
        ] {
            let said = read(topic).unwrap_err();
            assert!(said.contains(reason), "{topic}: {said}");
        }
    }
}
