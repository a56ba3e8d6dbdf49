//! `BitMEX`: `trade`, `quote`, `orderBookL2`. A topic is `table:SYMBOL`.

use std::fmt::Write as _;

use serde_json::Value;

use super::market::{Market, mix};
use super::{Desk, Draft, Greeting, Moment, Series, Speaker, strings};

#[derive(Debug, Default)]
pub(super) struct BitmexSpeaker;

impl Speaker for BitmexSpeaker {
    fn greet(&mut self, _greeting: &Greeting, desk: &mut Desk<'_>) {
        desk.say(format!(
            r#"{{"info":"Welcome to the BitMEX Realtime API.","version":"2.0.0","timestamp":"{}","docs":"/app/wsAPI","limit":{{"remaining":39}}}}"#,
            Moment::now().rfc3339()
        ));
    }

    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        if text == "ping" {
            return desk.pong(String::from("pong"));
        }
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        let op = request.get("op").and_then(Value::as_str).unwrap_or_default();
        if op != "subscribe" && op != "unsubscribe" {
            return desk.say(format!(r#"{{"status":400,"error":"Unknown op","meta":{{}},"request":{request}}}"#));
        }
        for topic in strings(request.get("args")) {
            if op == "subscribe" && desk.refuses(&topic) {
                desk.acknowledge(format!(
                    r#"{{"status":400,"error":"Unknown or expired symbol.","meta":{{}},"request":{{"op":"subscribe","args":["{}"]}}}}"#,
                    topic.escape_default()
                ));
                continue;
            }
            desk.acknowledge(format!(r#"{{"success":true,"{op}":"{topic}","request":{request}}}"#));
            if op == "subscribe" {
                desk.subscribe(topic, "");
            } else {
                desk.unsubscribe(topic, "");
            }
        }
    }
}

enum Table {
    Trade,
    Quote,
    Book,
}

struct Rows {
    table: Table,
    symbol: String,
    market: Market,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let (table, symbol) = topic.split_once(':')?;
    let table = match table {
        "trade" => Table::Trade,
        "quote" => Table::Quote,
        "orderBookL2" => Table::Book,
        _ => return None,
    };
    Some(Box::new(Rows { table, symbol: symbol.to_owned(), market: Market::new(topic, symbol, seed, first_id) }))
}

/// A trade's id, which looks like chance.
fn match_id(number: u64) -> String {
    let (high, low) = (mix(number), mix(!number));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

impl Series for Rows {
    fn next(&mut self, moment: Moment) -> Draft {
        let Self { table, symbol, market } = self;
        market.step();
        let time = moment.rfc3339();
        let side = if market.coin() { "Buy" } else { "Sell" };
        let mut draft = Draft::new();
        match table {
            Table::Trade => {
                draft.text.push_str(r#"{"table":"trade","action":"insert","data":["#);
                for number in 0..market.batch() {
                    let comma = if number > 0 { "," } else { "" };
                    _ = write!(
                        draft.text,
                        r#"{comma}{{"timestamp":"{time}","symbol":"{symbol}","side":"{side}","price":{},"size":{}"#,
                        market.price(1),
                        market.size(0)
                    );
                    draft.mark_twist();
                    draft.text.push_str(r#","tickDirection":"PlusTick","trdMatchID":"#);
                    draft.push_id(&match_id(market.next_id()), true);
                    draft.text.push('}');
                }
                draft.text.push_str("]}");
                draft
            }
            Table::Quote => {
                let (bid, ask) = (market.level(-1, 1), market.level(0, 1));
                let (bids, asks) = (market.size(0), market.size(0));
                _ = write!(
                    draft.text,
                    r#"{{"table":"quote","action":"insert","data":[{{"timestamp":"{time}","symbol":"{symbol}","bidSize":{bids},"bidPrice":{bid},"askPrice":{ask},"askSize":{asks}}}]}}"#
                );
                draft.without_id()
            }
            Table::Book => {
                let id = 8_799_000_000 + market.rng.u64(0..100_000);
                _ = write!(
                    draft.text,
                    r#"{{"table":"orderBookL2","action":"update","data":[{{"symbol":"{symbol}","id":{id},"side":"{side}","size":{},"timestamp":"{time}"}}]}}"#,
                    market.size(0)
                );
                draft.without_id()
            }
        }
    }
}
