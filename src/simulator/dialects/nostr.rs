//! A Nostr relay: any filter is a topic, in which `since` and `limit` do not count.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::market::{hash, hex};
use super::{Desk, Draft, Moment, Series, Speaker};

#[derive(Debug, Default)]
pub(super) struct NostrSpeaker {
    /// The topic of each subscription.
    subscriptions: HashMap<String, String>,
}

/// The filters as a topic is called, and from where on stored events are wanted.
fn topic_of(filters: &[Value]) -> (String, Option<u64>) {
    let mut since = None;
    let plain = filters.iter().map(|filter| {
        let mut filter = filter.clone();
        if let Some(members) = filter.as_object_mut() {
            since = members.remove("since").and_then(|since| since.as_u64()).or(since);
            members.remove("limit");
        }
        filter
    });
    let plain: Vec<Value> = plain.collect();
    let text = if let [only] = &plain[..] { only.to_string() } else { Value::Array(plain).to_string() };
    (text, since)
}

impl Speaker for NostrSpeaker {
    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        let Ok(Value::Array(parts)) = serde_json::from_str::<Value>(text) else {
            return desk.say(r#"["NOTICE","invalid: not an array"]"#.to_owned());
        };
        match (parts.first().and_then(Value::as_str), parts.get(1).and_then(Value::as_str)) {
            (Some("REQ"), Some(name)) if parts.len() > 2 => {
                if let Some(before) = self.subscriptions.remove(name) {
                    desk.unsubscribe(before, name);
                }
                let (topic, since) = topic_of(&parts[2..]);
                let quoted = Value::from(name);
                if desk.refuses(&topic) {
                    return desk.acknowledge(format!(r#"["CLOSED",{quoted},"invalid: this filter is not served"]"#));
                }
                self.subscriptions.insert(name.to_owned(), topic.clone());
                desk.resume(vec![topic], name, since, Some(format!(r#"["EOSE",{quoted}]"#)));
            }
            (Some("CLOSE"), Some(name)) => {
                if let Some(topic) = self.subscriptions.remove(name) {
                    desk.unsubscribe(topic, name);
                }
            }
            _ => desk.say(r#"["NOTICE","invalid: unknown message"]"#.to_owned()),
        }
    }
}

struct Notes {
    seed: u64,
    last_id: u64,
    kind: u64,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let filter: Value = serde_json::from_str(topic).ok()?;
    let first = if let Value::Array(filters) = &filter { filters.first()? } else { &filter };
    let kind = first.as_object()?.get("kinds").map_or(Some(1), |kinds| kinds.get(0)?.as_u64())?;
    Some(Box::new(Notes { seed: hash(seed, topic), last_id: first_id, kind }))
}

impl Series for Notes {
    fn next(&mut self, moment: Moment) -> Draft {
        self.last_id += 1;
        let created = moment.seconds();
        let mut draft = Draft { position: u64::try_from(created).ok(), ..Draft::new() };
        draft.text.push_str(r#"["EVENT",""#);
        draft.splice = Some(draft.text.len());
        draft.text.push_str(r#"",{"id":"#);
        // Two topics make different events: the seed stands in front.
        draft.push_id(&format!("{}{:048x}", &hex(self.seed, 8)[2..], self.last_id), true);
        let author = &hex(self.seed % 97, 32)[2..];
        let signature = &hex(self.seed ^ self.last_id, 64)[2..];
        _ = write!(
            draft.text,
            r#","pubkey":"{author}","created_at":{created},"kind":{},"tags":[],"content":"note {}"#,
            self.kind, self.last_id
        );
        draft.mark_twist();
        _ = write!(draft.text, r#"","sig":"{signature}"}}]"#);
        draft
    }
}
