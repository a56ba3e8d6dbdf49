//! Bybit v5: `publicTrade.SYMBOL`, `orderbook.DEPTH.SYMBOL`.

use std::fmt::Write as _;

use serde_json::Value;

use super::market::{LevelStyle, Market, Side, hex, pair};
use super::{Desk, Draft, Moment, Series, Speaker, strings};

const LEVELS: LevelStyle = LevelStyle { price_places: 2, size_places: 6, zeros: true, write: pair };

#[derive(Debug)]
pub(super) struct BybitSpeaker {
    connection: String,
}

impl BybitSpeaker {
    pub(super) fn new(mut rng: fastrand::Rng) -> Self {
        Self { connection: hex(rng.u64(..), 16)[2..].to_owned() }
    }

    fn answer(&self, success: bool, message: &str, request: &Value, op: &str) -> String {
        // Without an id in the request all acknowledgements are the same text.
        let id = request.get("req_id").cloned().unwrap_or_else(|| Value::from(""));
        format!(
            r#"{{"success":{success},"ret_msg":"{message}","conn_id":"{}","req_id":{id},"op":"{op}"}}"#,
            self.connection
        )
    }
}

impl Speaker for BybitSpeaker {
    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        let topics = strings(request.get("args"));
        match request.get("op").and_then(Value::as_str) {
            Some("ping") => desk.pong(self.answer(true, "pong", &request, "ping")),
            Some("subscribe") => {
                if let Some(refused) = topics.iter().find(|topic| desk.refuses(topic)) {
                    // One bad topic fails the whole request.
                    let message = format!("error:handler not found,topic:{}", refused.escape_default());
                    return desk.acknowledge(self.answer(false, &message, &request, "subscribe"));
                }
                desk.acknowledge(self.answer(true, "", &request, "subscribe"));
                for topic in topics {
                    desk.subscribe(topic, "");
                }
            }
            Some("unsubscribe") => {
                desk.acknowledge(self.answer(true, "", &request, "unsubscribe"));
                for topic in topics {
                    desk.unsubscribe(topic, "");
                }
            }
            _ => desk.say(self.answer(false, "error:unknown op", &request, "")),
        }
    }
}

struct Channel {
    topic: String,
    symbol: String,
    book: bool,
    market: Market,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let parts: Vec<&str> = topic.split('.').collect();
    let (symbol, book) = match parts.as_slice() {
        ["publicTrade", symbol] => (*symbol, false),
        ["orderbook", "1" | "25" | "50" | "100" | "200" | "500" | "1000", symbol] => (*symbol, true),
        _ => return None,
    };
    let market = Market::new(topic, symbol, seed, first_id);
    Some(Box::new(Channel { topic: topic.to_owned(), symbol: symbol.to_owned(), book, market }))
}

impl Channel {
    fn book(&mut self, kind: &str, levels: i64, moment: Moment) -> Draft {
        let Self { topic, symbol, market, .. } = self;
        market.skip_ids(5);
        let style = LevelStyle { zeros: kind == "delta", ..LEVELS };
        let (bids, asks) =
            (market.exact_levels(Side::Bid, levels, style), market.exact_levels(Side::Ask, levels, style));
        let (millis, update) = (moment.millis(), market.last_id());
        let mut draft = Draft::new();
        _ = write!(
            draft.text,
            r#"{{"topic":"{topic}","type":"{kind}","ts":{millis},"data":{{"s":"{symbol}","b":{bids},"a":{asks},"u":{update},"seq":{}}},"cts":{}}}"#,
            8 * update,
            millis - 5
        );
        draft.without_id()
    }
}

impl Series for Channel {
    fn next(&mut self, moment: Moment) -> Draft {
        self.market.step();
        if self.book {
            return self.book("delta", 2, moment);
        }
        let Self { topic, symbol, market, .. } = self;
        let millis = moment.millis();
        let mut draft = Draft::new();
        _ = write!(draft.text, r#"{{"topic":"{topic}","type":"snapshot","ts":{millis},"data":["#);
        for number in 0..market.batch() {
            let comma = if number > 0 { "," } else { "" };
            draft.text.push_str(comma);
            draft.text.push_str(r#"{"i":"#);
            let id = market.next_id();
            draft.push_id(&format!("229{id:016}"), true);
            let side = if market.coin() { "Buy" } else { "Sell" };
            _ = write!(draft.text, r#","T":{},"p":"{}","v":"{}"#, millis - 2, market.price(2), market.size(6));
            draft.mark_twist();
            _ = write!(draft.text, r#"","S":"{side}","s":"{symbol}","BT":false,"seq":{}}}"#, 4 * id);
        }
        draft.text.push_str("]}");
        draft
    }

    fn snapshot(&mut self, moment: Moment) -> Option<Draft> {
        self.book.then(|| self.book("snapshot", 1, moment))
    }
}
