//! Gemini v2: `l2:SYMBOL`, with its trades. Nothing is acknowledged; a heartbeat every 5 s.

use std::fmt::Write as _;

use serde_json::Value;

use super::market::{LevelStyle, Market, Side};
use super::{Desk, Draft, Moment, Series, Speaker, strings};

/// Seconds between heartbeats. Source: measured on a recording.
const HEARTBEAT: u32 = 5;

#[derive(Debug, Default)]
pub(super) struct GeminiSpeaker {
    beats: u32,
}

impl Speaker for GeminiSpeaker {
    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        let subscribe = request.get("type").and_then(Value::as_str) == Some("subscribe");
        for subscription in request.get("subscriptions").and_then(Value::as_array).into_iter().flatten() {
            let name = subscription.get("name").and_then(Value::as_str).unwrap_or_default();
            for symbol in strings(subscription.get("symbols")) {
                let topic = format!("{name}:{symbol}");
                if subscribe && desk.refuses(&topic) {
                    desk.acknowledge(format!(
                        r#"{{"result":"error","reason":"InvalidSymbol","message":"Supplied value '{}' is not a valid symbol"}}"#,
                        symbol.escape_default()
                    ));
                } else if subscribe {
                    desk.subscribe(topic, "");
                } else {
                    desk.unsubscribe(topic, "");
                }
            }
        }
    }

    fn beat(&mut self, desk: &mut Desk<'_>) {
        self.beats += 1;
        if self.beats.is_multiple_of(HEARTBEAT) {
            desk.say(format!(r#"{{"type":"heartbeat","timestamp":{}}}"#, Moment::now().millis()));
        }
    }
}

struct Book {
    symbol: String,
    market: Market,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let symbol = topic.strip_prefix("l2:")?;
    Some(Box::new(Book { symbol: symbol.to_owned(), market: Market::new(topic, symbol, seed, first_id) }))
}

impl Book {
    fn levels(&mut self, count: i64) -> Draft {
        let bids = LevelStyle {
            price_places: 2,
            size_places: 6,
            zeros: true,
            write: |price, size| format!(r#"["buy","{price}","{size}"]"#),
        };
        let asks = LevelStyle { write: |price, size| format!(r#"["sell","{price}","{size}"]"#), ..bids };
        let (bids, asks) =
            (self.market.exact_levels(Side::Bid, count, bids), self.market.exact_levels(Side::Ask, count, asks));
        // Two lists, made one.
        let changes = format!("{},{}", &bids[..bids.len() - 1], &asks[1..]);
        let mut draft = Draft::new();
        _ = write!(draft.text, r#"{{"type":"l2_updates","symbol":"{}","changes":{changes}}}"#, self.symbol);
        draft.without_id()
    }
}

impl Series for Book {
    fn next(&mut self, moment: Moment) -> Draft {
        self.market.step();
        if self.market.rng.u8(0..4) > 0 {
            return self.levels(1);
        }
        let Self { symbol, market } = self;
        let mut draft = Draft::new();
        _ = write!(draft.text, r#"{{"type":"trade","symbol":"{symbol}","event_id":"#);
        draft.push_id(&market.next_id().to_string(), false);
        let side = if market.coin() { "buy" } else { "sell" };
        _ = write!(
            draft.text,
            r#","timestamp":{},"price":"{}","quantity":"{}"#,
            moment.millis(),
            market.price(2),
            market.size(6)
        );
        draft.mark_twist();
        _ = write!(draft.text, r#"","side":"{side}"}}"#);
        draft
    }

    fn snapshot(&mut self, _moment: Moment) -> Option<Draft> {
        Some(self.levels(20))
    }
}
