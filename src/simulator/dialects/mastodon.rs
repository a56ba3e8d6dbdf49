//! A Mastodon server: `public` and its kin, `hashtag:TAG`, `hashtag:local:TAG`, `list:ID`. Statuses come, and some are deleted.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::market::{Market, hex};
use super::{Desk, Draft, Moment, Series, Speaker};

#[derive(Debug)]
pub(super) struct MastodonSpeaker;

impl Speaker for MastodonSpeaker {
    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        let stream = request["stream"].as_str().unwrap_or_default();
        let more = ["tag", "list"].iter().find_map(|name| request[*name].as_str());
        let topic = more.map_or_else(|| stream.to_owned(), |more| format!("{stream}:{more}"));
        match request["type"].as_str() {
            Some("subscribe") if desk.refuses(&topic) => {
                desk.acknowledge(r#"{"error":"Unknown stream type","status":400}"#.to_owned());
            }
            Some("subscribe") => desk.subscribe(topic, ""),
            Some("unsubscribe") => desk.unsubscribe(topic, ""),
            _ => {}
        }
    }
}

struct Statuses {
    stream: String,
    market: Market,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let stream = match topic.rsplit_once(':') {
        Some((name @ ("hashtag" | "hashtag:local" | "list"), value)) => json!([name, value]),
        _ if topic.starts_with("public") || topic.starts_with("user") || topic == "direct" => json!([topic]),
        _ => return None,
    };
    let market = Market::new(topic, topic, seed, first_id);
    Some(Box::new(Statuses { stream: stream.to_string(), market }))
}

impl Series for Statuses {
    fn next(&mut self, moment: Moment) -> Draft {
        let Self { stream, market } = self;
        let mut draft = Draft::new();
        let id = market.next_id();
        // A status among ten was deleted before.
        if market.rng.u8(0..10) == 0 {
            _ = write!(draft.text, r#"{{"stream":{stream},"event":"delete","payload":"{id}"}}"#);
        } else {
            let author = &hex(id % 50, 4)[2..];
            let status = json!({
                "id": id.to_string(),
                "created_at": moment.rfc3339(),
                "content": format!("<p>\"Entry\" {id}</p>"),
                "account": { "id": author, "acct": format!("{author}@simulator.example") },
            });
            let payload = Value::from(status.to_string());
            _ = write!(draft.text, r#"{{"stream":{stream},"event":"update","payload":{payload}}}"#);
        }
        draft.ids.push(id.to_string());
        draft
    }
}
