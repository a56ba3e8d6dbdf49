//! Kraken WebSocket v1: `trade:PAIR`, `book-DEPTH:PAIR`, as arrays whose last two elements say so. A heartbeat a second.

use std::fmt::Write as _;

use serde_json::Value;

use super::market::{LevelStyle, Market, Side};
use super::{Desk, Draft, Greeting, Moment, Series, Speaker, echo, strings};

const LEVELS: LevelStyle = LevelStyle {
    price_places: 5,
    size_places: 8,
    zeros: true,
    // The time stands where the `@` is.
    write: |price, size| format!(r#"["{price}","{size}","@"]"#),
};

/// Seconds, as Kraken writes them.
fn time(moment: Moment) -> String {
    let micros = moment.micros();
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[derive(Debug)]
pub(super) struct KrakenV1Speaker {
    connection: u64,
}

impl KrakenV1Speaker {
    pub(super) fn new(mut rng: fastrand::Rng) -> Self {
        Self { connection: rng.u64(..) }
    }
}

impl Speaker for KrakenV1Speaker {
    fn greet(&mut self, _greeting: &Greeting, desk: &mut Desk<'_>) {
        desk.say(format!(
            r#"{{"connectionID":{},"event":"systemStatus","status":"online","version":"1.8.3"}}"#,
            self.connection
        ));
    }

    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        let id = echo(&request, "reqid");
        let id = if id == "null" { String::new() } else { format!(r#""reqid":{id},"#) };
        let subscription = request.get("subscription").cloned().unwrap_or_default();
        let name = subscription.get("name").and_then(Value::as_str).unwrap_or_default();
        let channel = match name {
            "book" => format!("book-{}", subscription.get("depth").and_then(Value::as_u64).unwrap_or(10)),
            other => other.to_owned(),
        };
        match request.get("event").and_then(Value::as_str) {
            Some("ping") => desk.pong(format!(r#"{{{id}"event":"pong"}}"#)),
            Some(event @ ("subscribe" | "unsubscribe")) => {
                for pair in strings(request.get("pair")) {
                    let topic = format!("{channel}:{pair}");
                    if event == "subscribe" && desk.refuses(&topic) {
                        desk.acknowledge(format!(
                            r#"{{"errorMessage":"Currency pair not supported {0}","event":"subscriptionStatus","pair":"{0}",{id}"status":"error","subscription":{subscription}}}"#,
                            pair.escape_default()
                        ));
                        continue;
                    }
                    desk.acknowledge(format!(
                        r#"{{"channelID":340,"channelName":"{channel}","event":"subscriptionStatus","pair":"{pair}",{id}"status":"{event}d","subscription":{subscription}}}"#
                    ));
                    if event == "subscribe" {
                        desk.subscribe(topic, "");
                    } else {
                        desk.unsubscribe(topic, "");
                    }
                }
            }
            _ => desk.say(format!(r#"{{"errorMessage":"Malformed request",{id}"event":"error"}}"#)),
        }
    }

    fn beat(&mut self, desk: &mut Desk<'_>) {
        desk.say(String::from(r#"{"event":"heartbeat"}"#));
    }
}

struct Channel {
    name: String,
    pair: String,
    market: Market,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let (name, pair) = topic.split_once(':')?;
    if !matches!(name, "trade" | "book-10" | "book-25" | "book-100" | "book-500" | "book-1000") || !pair.contains('/') {
        return None;
    }
    let market = Market::new(topic, pair, seed, first_id);
    Some(Box::new(Channel { name: name.to_owned(), pair: pair.to_owned(), market }))
}

impl Series for Channel {
    fn next(&mut self, moment: Moment) -> Draft {
        let Self { name, pair, market } = self;
        market.step();
        let mut draft = Draft::new();
        if name == "trade" {
            let side = if market.coin() { "b" } else { "s" };
            _ = write!(
                draft.text,
                r#"[337,[["{}","{}","{}","{side}","l",""]],"trade","{pair}"]"#,
                market.price(5),
                market.size(8),
                time(moment)
            );
            return draft.without_id();
        }
        // The checksum is a number of the right size; whoever checks it against the book finds it wrong.
        let check = market.rng.u32(..);
        let time = time(moment);
        let bids = market.exact_levels(Side::Bid, 1, LEVELS).replace('@', &time);
        if market.rng.u8(0..8) == 0 {
            let asks = market.exact_levels(Side::Ask, 1, LEVELS).replace('@', &time);
            _ = write!(draft.text, r#"[336,{{"a":{asks}}},{{"b":{bids},"c":"{check}"}},"{name}","{pair}"]"#);
        } else {
            _ = write!(draft.text, r#"[336,{{"b":{bids},"c":"{check}"}},"{name}","{pair}"]"#);
        }
        draft.without_id()
    }

    fn snapshot(&mut self, moment: Moment) -> Option<Draft> {
        if self.name == "trade" {
            return None;
        }
        let style = LevelStyle { zeros: false, ..LEVELS };
        let (asks, bids) =
            (self.market.exact_levels(Side::Ask, 10, style), self.market.exact_levels(Side::Bid, 10, style));
        let mut draft = Draft::new();
        _ = write!(draft.text, r#"[336,{{"as":{asks},"bs":{bids}}},"{}","{}"]"#, self.name, self.pair);
        draft.text = draft.text.replace('@', &time(moment));
        Some(draft.without_id())
    }
}
