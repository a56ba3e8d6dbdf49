//! Solana pubsub: slots, logs, programs, accounts. A topic is the method and its parameters as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::market::{hash, mix};
use super::{Desk, Draft, Moment, Series, Speaker, echo};

/// Subscriptions by number; equal parameters get the same number, and one unsubscription ends it.
#[derive(Debug, Default)]
pub(super) struct SolanaSpeaker {
    subscriptions: BTreeMap<u64, String>,
    next: u64,
}

impl SolanaSpeaker {
    fn subscribe(&mut self, topic: String, desk: &mut Desk<'_>) -> u64 {
        if let Some((number, _)) = self.subscriptions.iter().find(|(_, known)| **known == topic) {
            return *number;
        }
        let number = self.next;
        self.next += 1;
        desk.subscribe(topic.as_str(), number.to_string());
        self.subscriptions.insert(number, topic);
        number
    }
}

impl Speaker for SolanaSpeaker {
    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        let Some(request) = serde_json::from_str(text).ok().filter(Value::is_object) else {
            // It has no id: what cannot be parsed has none to repeat.
            let error = r#"{"code":-32700,"message":"error parsing request body"}"#;
            return desk.say(format!(r#"{{"jsonrpc":"2.0","error":{error}}}"#));
        };
        let id = echo(&request, "id");
        let method = request.get("method").and_then(Value::as_str).unwrap_or_default();
        let params = request.get("params").filter(|params| params.as_array().is_some_and(|array| !array.is_empty()));
        if method == "ping" {
            desk.pong(format!(r#"{{"jsonrpc":"2.0","result":"pong","id":{id}}}"#));
        } else if method.ends_with("Unsubscribe") {
            let number = params.and_then(|params| params.get(0)).and_then(Value::as_u64);
            match number.and_then(|number| Some((number, self.subscriptions.remove(&number)?))) {
                Some((number, topic)) => {
                    desk.unsubscribe(topic, number.to_string());
                    desk.acknowledge(format!(r#"{{"jsonrpc":"2.0","result":true,"id":{id}}}"#));
                }
                None => desk.acknowledge(format!(
                    r#"{{"jsonrpc":"2.0","error":{{"code":-32602,"message":"Invalid subscription id."}},"id":{id}}}"#
                )),
            }
        } else {
            let topic = params.map_or_else(|| method.to_owned(), |params| format!("{method} {params}"));
            if desk.refuses(&topic) {
                return desk.acknowledge(format!(
                    r#"{{"jsonrpc":"2.0","error":{{"code":-32601,"message":"Method not found"}},"id":{id}}}"#
                ));
            }
            let before = desk.changes.len();
            let number = self.subscribe(topic, desk);
            debug_assert!(desk.changes.len() - before <= 1, "one subscription a request");
            desk.acknowledge(format!(r#"{{"jsonrpc":"2.0","result":{number},"id":{id}}}"#));
        }
    }
}

enum Kind {
    Slot,
    Logs,
    Program,
    Account,
}

struct Subscription {
    kind: Kind,
    account: String,
    slot: u64,
    number: u64,
    chain: u64,
    rng: fastrand::Rng,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let (method, params) = topic.split_once(' ').unwrap_or((topic, "[]"));
    let kind = match method {
        "slotSubscribe" => Kind::Slot,
        "logsSubscribe" => Kind::Logs,
        "programSubscribe" => Kind::Program,
        "accountSubscribe" => Kind::Account,
        _ => return None,
    };
    let params: Value = serde_json::from_str(params).ok()?;
    let account = params.get(0).and_then(Value::as_str).unwrap_or_default().to_owned();
    if !matches!(kind, Kind::Slot) && params.get(0).is_none() {
        return None;
    }
    let chain = hash(seed ^ mix(first_id), topic);
    let slot = 250_000_000 + first_id % 10_000_000_000;
    Some(Box::new(Subscription { kind, account, slot, number: 0, chain, rng: fastrand::Rng::with_seed(chain) }))
}

/// So many characters of base 58 that depend on `number` only.
fn base58(number: u64, length: usize) -> String {
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut state = number;
    (0..length)
        .map(|_| {
            state = mix(state);
            char::from(ALPHABET[(state % 58) as usize])
        })
        .collect()
}

impl Series for Subscription {
    fn next(&mut self, _moment: Moment) -> Draft {
        self.number += 1;
        let slot = self.slot + self.number;
        let mut draft = Draft::new();
        let lamports = self.rng.u64(..);
        let value = format!(
            r#"{{"lamports":{lamports},"data":["","base64"],"owner":"{}","executable":false,"rentEpoch":18446744073709551615,"space":0}}"#,
            if self.account.is_empty() { "11111111111111111111111111111111" } else { &self.account }
        );
        match self.kind {
            Kind::Slot => {
                draft.text.push_str(r#"{"jsonrpc":"2.0","method":"slotNotification","params":{"result":{"slot":"#);
                draft.push_id(&slot.to_string(), false);
                _ = write!(draft.text, r#","parent":{},"root":{slot}"#, slot - 1);
                draft.mark_twist();
                draft.text.push('}');
            }
            Kind::Logs => {
                _ = write!(
                    draft.text,
                    r#"{{"jsonrpc":"2.0","method":"logsNotification","params":{{"result":{{"context":{{"slot":{slot}}},"value":{{"signature":"#
                );
                draft.push_id(&base58(self.chain.wrapping_add(self.number), 88), true);
                _ = write!(
                    draft.text,
                    r#","err":null,"logs":["Program 11111111111111111111111111111111 invoke [1]","Program 11111111111111111111111111111111 success","Program consumed {}"#,
                    self.rng.u32(150..200_000)
                );
                draft.mark_twist();
                draft.text.push_str(r#" compute units"]}}"#);
            }
            Kind::Program => {
                let account = base58(self.rng.u64(0..64), 44);
                _ = write!(
                    draft.text,
                    r#"{{"jsonrpc":"2.0","method":"programNotification","params":{{"result":{{"context":{{"slot":{slot}}},"value":{{"pubkey":"{account}","account":{value}}}}}"#
                );
                draft.ids.push(String::new());
            }
            Kind::Account => {
                _ = write!(
                    draft.text,
                    r#"{{"jsonrpc":"2.0","method":"accountNotification","params":{{"result":{{"context":{{"slot":{slot}}},"value":{value}}}"#
                );
                draft.ids.push(String::new());
            }
        }
        draft.text.push_str(r#","subscription":"#);
        draft.splice = Some(draft.text.len());
        draft.text.push_str("}}");
        draft
    }
}
