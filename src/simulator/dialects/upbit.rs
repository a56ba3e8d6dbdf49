//! Upbit: `trade:MARKET`, `orderbook:MARKET`, in the short form, in binary frames. A request takes the place of the one before.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::market::Market;
use super::{Desk, Draft, Moment, Series, Speaker, strings};

#[derive(Debug, Default)]
pub(super) struct UpbitSpeaker {
    topics: BTreeSet<String>,
}

impl Speaker for UpbitSpeaker {
    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        if text == "PING" {
            return desk.pong(String::from(r#"{"status":"UP"}"#));
        }
        let Ok(Value::Array(parts)) = serde_json::from_str(text) else {
            return desk.say(String::from(r#"{"error":{"name":"WRONG_FORMAT","message":"Format이 맞지 않습니다."}}"#));
        };
        let mut wanted = BTreeSet::new();
        for part in &parts {
            let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
            for code in strings(part.get("codes")) {
                let topic = format!("{kind}:{code}");
                if desk.refuses(&topic) {
                    desk.acknowledge(format!(
                        r#"{{"error":{{"name":"INVALID_PARAM","message":"{}"}}}}"#,
                        topic.escape_default()
                    ));
                } else {
                    wanted.insert(topic);
                }
            }
        }
        for topic in self.topics.difference(&wanted) {
            desk.unsubscribe(topic.clone(), "");
        }
        for topic in wanted.difference(&self.topics) {
            desk.subscribe(topic.clone(), "");
        }
        self.topics = wanted;
    }
}

struct Channel {
    code: String,
    trades: bool,
    market: Market,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let (kind, code) = topic.split_once(':')?;
    let trades = match kind {
        "trade" => true,
        "orderbook" => false,
        _ => return None,
    };
    let (_, symbol) = code.split_once('-')?;
    Some(Box::new(Channel { code: code.to_owned(), trades, market: Market::new(topic, symbol, seed, first_id) }))
}

impl Series for Channel {
    fn next(&mut self, moment: Moment) -> Draft {
        let Self { code, trades, market } = self;
        market.step();
        let millis = moment.millis();
        let mut draft = Draft::new();
        if *trades {
            let side = if market.coin() { "ASK" } else { "BID" };
            _ = write!(
                draft.text,
                r#"{{"ty":"trade","cd":"{code}","tms":{millis},"ttms":{},"tp":{},"tv":{}"#,
                millis - millis % 1000,
                market.price(1),
                market.size(8)
            );
            draft.mark_twist();
            _ = write!(draft.text, r#","ab":"{side}","sid":"#);
            draft.push_id(&market.next_id().to_string(), false);
            draft.text.push_str(r#","st":"REALTIME"}"#);
            return draft;
        }
        let units: Vec<String> = (0..5)
            .map(|level| {
                let (ask, bid) = (market.level(level, 1), market.level(-level - 1, 1));
                format!(r#"{{"ap":{ask},"bp":{bid},"as":{},"bs":{}}}"#, market.size(4), market.size(4))
            })
            .collect();
        _ = write!(
            draft.text,
            r#"{{"ty":"orderbook","cd":"{code}","tms":{millis},"tas":{},"tbs":{},"obu":[{}],"st":"REALTIME"}}"#,
            market.size(4),
            market.size(4),
            units.join(",")
        );
        draft.without_id()
    }
}
