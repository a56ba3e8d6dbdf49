//! A GraphQL server that has one field, of any name: each subscription is a topic, whose events are numbered. One that asks for
//! `nope` is refused, and what the protocol forbids closes the connection with the protocol's code.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::market::Market;
use super::{Desk, Draft, Moment, Series, Speaker};

#[derive(Debug, Default)]
pub(super) struct GraphqlSpeaker {
    begun: bool,
    /// Operations that are going on, by id.
    operations: HashMap<String, String>,
}

/// A request's payload as a topic is called: the query where it has nothing else.
fn topic_of(payload: &Value) -> String {
    match (payload["query"].as_str(), payload.as_object().map_or(0, serde_json::Map::len)) {
        (Some(query), 1) => query.to_owned(),
        _ => payload.to_string(),
    }
}

impl Speaker for GraphqlSpeaker {
    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let id = message["id"].as_str().unwrap_or_default().to_owned();
        match message["type"].as_str() {
            Some("connection_init") if self.begun => desk.close(4429, "Too many initialisation requests"),
            Some("connection_init") => {
                self.begun = true;
                desk.acknowledge(r#"{"type":"connection_ack"}"#.to_owned());
            }
            Some("ping") => desk.pong(r#"{"type":"pong"}"#.to_owned()),
            Some("pong") => {}
            Some("subscribe") if !self.begun => desk.close(4401, "Unauthorized"),
            Some("subscribe") if self.operations.contains_key(&id) => desk.close(4409, "Subscriber already exists"),
            Some("subscribe") => {
                let topic = topic_of(&message["payload"]);
                if desk.refuses(&topic) {
                    let message = "Cannot query this field on type \\\"Subscription\\\".";
                    return desk
                        .say(format!(r#"{{"id":"{id}","type":"error","payload":[{{"message":"{message}"}}]}}"#));
                }
                desk.subscribe(topic.clone(), id.clone());
                self.operations.insert(id, topic);
            }
            Some("complete") => {
                if let Some(topic) = self.operations.remove(&id) {
                    desk.unsubscribe(topic, id);
                }
            }
            _ => desk.close(4400, "Invalid message received"),
        }
    }
}

struct Ticks {
    field: String,
    market: Market,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let (_, fields) = topic.split_once('{').filter(|_| topic.contains("subscription") && !topic.contains("nope"))?;
    let field = fields.trim_start_matches(|letter: char| !letter.is_ascii_alphabetic());
    let field = field.split(|letter: char| !letter.is_ascii_alphanumeric()).next()?;
    Some(Box::new(Ticks { field: field.to_owned(), market: Market::new(topic, topic, seed, first_id) }))
}

impl Series for Ticks {
    fn next(&mut self, moment: Moment) -> Draft {
        let Self { field, market } = self;
        market.step();
        let mut draft = Draft::new();
        draft.text.push_str(r#"{"id":""#);
        draft.splice = Some(draft.text.len());
        _ = write!(draft.text, r#"","type":"next","payload":{{"data":{{"{field}":{{"i":"#);
        draft.push_id(&market.next_id().to_string(), false);
        _ = write!(draft.text, r#","at":{},"price":"{}"#, moment.millis(), market.price(2));
        draft.mark_twist();
        draft.text.push_str("\"}}}}");
        draft
    }
}
