//! Kraken WebSocket v2: `trade`, `book`, a heartbeat a second. A topic is `trade:BTC/USD` or, with its depth,
//! `book-10:BTC/USD`.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::market::{LevelStyle, Market, Side};
use super::{Desk, Draft, Greeting, Moment, Series, Speaker, echo, strings};

const LEVELS: LevelStyle = LevelStyle {
    price_places: 1,
    size_places: 8,
    zeros: true,
    write: |price, size| format!(r#"{{"price":{price},"qty":{size}}}"#),
};

#[derive(Debug)]
pub(super) struct KrakenSpeaker {
    connection: u64,
    topics: HashSet<String>,
}

impl KrakenSpeaker {
    pub(super) fn new(mut rng: fastrand::Rng) -> Self {
        Self { connection: rng.u64(..), topics: HashSet::new() }
    }
}

impl Speaker for KrakenSpeaker {
    fn greet(&mut self, _greeting: &Greeting, desk: &mut Desk<'_>) {
        desk.say(format!(
            r#"{{"channel":"status","type":"update","data":[{{"version":"2.0.10","system":"online","api_version":"v2","connection_id":{}}}]}}"#,
            self.connection
        ));
    }

    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        let now = Moment::now().rfc3339();
        let times = format!(r#""time_in":"{now}","time_out":"{now}""#);
        let Ok(request) = serde_json::from_str::<Value>(text) else {
            return desk.say(format!(r#"{{"error":"Malformed request","success":false,{times}}}"#));
        };
        let id = echo(&request, "req_id");
        let id = if id == "null" { String::new() } else { format!(r#""req_id":{id},"#) };
        let params = request.get("params").unwrap_or(&Value::Null);
        let channel = params.get("channel").and_then(Value::as_str).unwrap_or_default();
        match request.get("method").and_then(Value::as_str) {
            Some("ping") => desk.pong(format!(r#"{{"method":"pong",{id}{times}}}"#)),
            Some(method @ ("subscribe" | "unsubscribe")) => {
                let depth = params.get("depth").and_then(Value::as_u64).unwrap_or(10);
                for symbol in strings(params.get("symbol")) {
                    let topic = if channel == "book" {
                        format!("book-{depth}:{symbol}")
                    } else {
                        format!("{channel}:{symbol}")
                    };
                    let subscribe = method == "subscribe";
                    if subscribe && desk.refuses(&topic) {
                        desk.acknowledge(format!(
                            r#"{{"error":"Currency pair not supported {symbol}","method":"subscribe",{id}"success":false,"symbol":"{symbol}",{times}}}"#
                        ));
                        continue;
                    }
                    let depth = if channel == "book" { format!(r#""depth":{depth},"#) } else { String::new() };
                    let snapshot = if subscribe { r#""snapshot":true,"# } else { "" };
                    desk.acknowledge(format!(
                        r#"{{"method":"{method}",{id}"result":{{"channel":"{channel}",{depth}{snapshot}"symbol":"{symbol}"}},"success":true,{times}}}"#
                    ));
                    if subscribe {
                        self.topics.insert(topic.clone());
                        desk.subscribe(topic, "");
                    } else {
                        self.topics.remove(&topic);
                        desk.unsubscribe(topic, "");
                    }
                }
            }
            _ => desk.say(format!(r#"{{"error":"Unknown method",{id}"success":false,{times}}}"#)),
        }
    }

    fn beat(&mut self, desk: &mut Desk<'_>) {
        // It says nothing of topics: it also comes where every subscription was refused.
        desk.say(String::from(r#"{"channel":"heartbeat"}"#));
    }
}

struct Channel {
    symbol: String,
    book: bool,
    market: Market,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let (channel, symbol) = topic.split_once(':')?;
    let book = match channel {
        "trade" => false,
        "book-10" | "book-25" | "book-100" | "book-500" | "book-1000" => true,
        _ => return None,
    };
    if !symbol.contains('/') {
        return None;
    }
    Some(Box::new(Channel { symbol: symbol.to_owned(), book, market: Market::new(topic, symbol, seed, first_id) }))
}

impl Channel {
    fn book(&mut self, kind: &str, bids: &str, asks: &str, moment: Moment) -> Draft {
        let mut draft = Draft::new();
        // The checksum is a number of the right size; whoever checks it against the book finds it wrong.
        _ = write!(
            draft.text,
            r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"{}","bids":{bids},"asks":{asks},"checksum":{},"timestamp":"{}"}}]}}"#,
            self.symbol,
            self.market.rng.u32(..),
            moment.rfc3339()
        );
        draft.without_id()
    }
}

impl Series for Channel {
    fn next(&mut self, moment: Moment) -> Draft {
        self.market.step();
        if self.book {
            let (bids, asks) =
                (self.market.levels(Side::Bid, 3, LEVELS), self.market.exact_levels(Side::Ask, 1, LEVELS));
            return self.book("update", &bids, &asks, moment);
        }
        let mut draft = Draft::new();
        let Self { symbol, market, .. } = self;
        draft.text.push_str(r#"{"channel":"trade","type":"update","data":["#);
        for number in 0..market.batch() {
            let side = if market.coin() { "buy" } else { "sell" };
            let comma = if number > 0 { "," } else { "" };
            _ = write!(
                draft.text,
                r#"{comma}{{"symbol":"{symbol}","side":"{side}","price":{},"qty":{}"#,
                market.price(1),
                market.size(8)
            );
            draft.mark_twist();
            draft.text.push_str(r#","ord_type":"market","trade_id":"#);
            draft.push_id(&market.next_id().to_string(), false);
            _ = write!(draft.text, r#","timestamp":"{}"}}"#, moment.rfc3339());
        }
        draft.text.push_str("]}");
        draft
    }

    fn snapshot(&mut self, moment: Moment) -> Option<Draft> {
        if !self.book {
            return None;
        }
        let style = LevelStyle { zeros: false, ..LEVELS };
        let (bids, asks) =
            (self.market.exact_levels(Side::Bid, 10, style), self.market.exact_levels(Side::Ask, 10, style));
        Some(self.book("snapshot", &bids, &asks, moment))
    }
}
