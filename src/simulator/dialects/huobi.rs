//! Huobi: `market.SYMBOL.trade.detail`, `market.SYMBOL.depth.step0`. All of it is gzip in binary frames, with a ping every 5 s.

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::market::{LevelStyle, Market, Side};
use super::{Desk, Draft, Moment, Series, Speaker, echo};

/// Seconds between pings. Source: Huobi's documents.
const PING: u32 = 5;

const LEVELS: LevelStyle =
    LevelStyle { price_places: 2, size_places: 6, zeros: false, write: |price, size| format!("[{price},{size}]") };

#[derive(Debug, Default)]
pub(super) struct HuobiSpeaker {
    beats: u32,
}

impl Speaker for HuobiSpeaker {
    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        let (id, now) = (echo(&request, "id"), Moment::now().millis());
        let member = |name: &str| request.get(name).and_then(Value::as_str).map(str::to_owned);
        if let Some(topic) = member("sub") {
            if desk.refuses(&topic) {
                return desk.acknowledge(format!(
                    r#"{{"status":"error","ts":{now},"id":{id},"err-code":"bad-request","err-msg":"invalid topic {}"}}"#,
                    topic.escape_default()
                ));
            }
            desk.acknowledge(format!(r#"{{"id":{id},"status":"ok","subbed":"{topic}","ts":{now}}}"#));
            desk.subscribe(topic, "");
        } else if let Some(topic) = member("unsub") {
            desk.acknowledge(format!(
                r#"{{"id":{id},"status":"ok","unsubbed":"{}","ts":{now}}}"#,
                topic.escape_default()
            ));
            desk.unsubscribe(topic, "");
        } else if request.get("pong").is_none() {
            desk.say(format!(
                r#"{{"status":"error","ts":{now},"id":{id},"err-code":"bad-request","err-msg":"unknown"}}"#
            ));
        }
    }

    fn beat(&mut self, desk: &mut Desk<'_>) {
        self.beats += 1;
        if self.beats.is_multiple_of(PING) {
            desk.say(format!(r#"{{"ping":{}}}"#, Moment::now().millis()));
        }
    }
}

/// A text as it goes over the wire.
pub(super) fn frame(text: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).ok()?;
    encoder.finish().ok()
}

struct Channel {
    topic: String,
    trades: bool,
    market: Market,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let parts: Vec<&str> = topic.split('.').collect();
    let (symbol, trades) = match parts.as_slice() {
        ["market", symbol, "trade", "detail"] => (*symbol, true),
        ["market", symbol, "depth", "step0"] => (*symbol, false),
        _ => return None,
    };
    Some(Box::new(Channel { topic: topic.to_owned(), trades, market: Market::new(topic, symbol, seed, first_id) }))
}

impl Series for Channel {
    fn next(&mut self, moment: Moment) -> Draft {
        let Self { topic, trades, market } = self;
        market.step();
        let millis = moment.millis();
        let mut draft = Draft::new();
        if !*trades {
            let (bids, asks) = (market.exact_levels(Side::Bid, 5, LEVELS), market.exact_levels(Side::Ask, 5, LEVELS));
            market.skip_ids(9);
            _ = write!(
                draft.text,
                r#"{{"ch":"{topic}","ts":{millis},"tick":{{"bids":{bids},"asks":{asks},"version":{},"ts":{millis}}}}}"#,
                market.last_id()
            );
            return draft.without_id();
        }
        _ = write!(draft.text, r#"{{"ch":"{topic}","ts":{millis},"tick":{{"id":{millis},"ts":{millis},"data":["#);
        for number in 0..market.batch() {
            let comma = if number > 0 { "," } else { "" };
            let id = market.next_id();
            _ = write!(draft.text, r#"{comma}{{"id":{millis}{id},"ts":{millis},"tradeId":"#);
            draft.push_id(&id.to_string(), false);
            _ = write!(draft.text, r#","amount":{},"price":{}"#, market.size(4), market.price(2));
            draft.mark_twist();
            let side = if market.coin() { "buy" } else { "sell" };
            _ = write!(draft.text, r#","direction":"{side}"}}"#);
        }
        draft.text.push_str("]}}");
        draft
    }
}
