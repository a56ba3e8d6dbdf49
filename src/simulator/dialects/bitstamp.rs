//! Bitstamp v2: `live_trades_*`, `diff_order_book_*`.

use std::fmt::Write as _;

use serde_json::Value;

use super::market::{LevelStyle, Market, Side, pair};
use super::{Desk, Draft, Moment, Series, Speaker};

const LEVELS: LevelStyle = LevelStyle { price_places: 2, size_places: 8, zeros: true, write: pair };

#[derive(Debug, Default)]
pub(super) struct BitstampSpeaker;

impl Speaker for BitstampSpeaker {
    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        let channel = request.pointer("/data/channel").and_then(Value::as_str).unwrap_or_default();
        match request.get("event").and_then(Value::as_str) {
            Some("bts:heartbeat") => {
                desk.pong(String::from(r#"{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}"#));
            }
            Some("bts:subscribe") if desk.refuses(channel) => desk.acknowledge(format!(
                r#"{{"event":"bts:error","channel":"{}","data":{{"code":null,"message":"Bad subscription string."}}}}"#,
                channel.escape_default()
            )),
            Some("bts:subscribe") => {
                desk.acknowledge(format!(
                    r#"{{"event":"bts:subscription_succeeded","channel":"{channel}","data":{{}}}}"#
                ));
                desk.subscribe(channel, "");
            }
            Some("bts:unsubscribe") => {
                desk.acknowledge(format!(
                    r#"{{"event":"bts:unsubscription_succeeded","channel":"{}","data":{{}}}}"#,
                    channel.escape_default()
                ));
                desk.unsubscribe(channel, "");
            }
            _ => desk.say(String::from(
                r#"{"event":"bts:error","channel":"","data":{"code":null,"message":"Incorrect JSON format."}}"#,
            )),
        }
    }
}

struct Channel {
    name: String,
    trades: bool,
    /// Of the last message: no two of a channel have one.
    micros: i64,
    market: Market,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let (trades, symbol) = match topic.strip_prefix("live_trades_") {
        Some(symbol) => (true, symbol),
        None => (false, topic.strip_prefix("diff_order_book_")?),
    };
    let market = Market::new(topic, symbol, seed, first_id);
    Some(Box::new(Channel { name: topic.to_owned(), trades, micros: 0, market }))
}

impl Series for Channel {
    fn next(&mut self, moment: Moment) -> Draft {
        let Self { name, trades, micros, market } = self;
        market.step();
        *micros = moment.micros().max(*micros + 1);
        let seconds = *micros / 1_000_000;
        let mut draft = Draft::new();
        if *trades {
            draft.text.push_str(r#"{"data":{"id":"#);
            draft.push_id(&market.next_id().to_string(), false);
            let (price, size) = (market.price(2), market.size(8));
            _ = write!(draft.text, r#","timestamp":"{seconds}","amount":{size}"#);
            draft.mark_twist();
            let kind = u8::from(market.coin());
            _ = write!(
                draft.text,
                r#","amount_str":"{size}","price":{price},"price_str":"{price}","type":{kind},"microtimestamp":"{micros}"}},"channel":"{name}","event":"trade"}}"#
            );
            return draft;
        }
        let (bids, asks) = (market.levels(Side::Bid, 3, LEVELS), market.exact_levels(Side::Ask, 1, LEVELS));
        _ = write!(draft.text, r#"{{"data":{{"timestamp":"{seconds}","microtimestamp":"#);
        draft.push_id(&micros.to_string(), true);
        _ = write!(draft.text, r#","bids":{bids},"asks":{asks}}},"channel":"{name}","event":"data"}}"#);
        draft
    }
}
