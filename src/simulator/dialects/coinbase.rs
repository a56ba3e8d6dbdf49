//! Coinbase Exchange: `matches`, `ticker`, `level2`, `heartbeat`. A topic is `channel:product`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::market::{LevelStyle, Market, Side, hash, hex, pair};
use super::{Desk, Draft, Moment, Series, Speaker, strings};

const LEVELS: LevelStyle = LevelStyle { price_places: 2, size_places: 8, zeros: false, write: pair };

#[derive(Debug, Default)]
pub(super) struct CoinbaseSpeaker {
    /// Products by channel, as the `subscriptions` message shows them.
    channels: BTreeMap<String, Vec<String>>,
    beats: u64,
}

impl CoinbaseSpeaker {
    /// The whole state, which is the only acknowledgement there is.
    fn state(&self) -> String {
        let channels: Vec<String> = self
            .channels
            .iter()
            .map(|(name, products)| format!(r#"{{"name":"{name}","product_ids":{}}}"#, Value::from(products.clone())))
            .collect();
        format!(r#"{{"type":"subscriptions","channels":[{}]}}"#, channels.join(","))
    }
}

/// Channels with their products, as a request names them.
fn wanted(request: &Value) -> Vec<(String, String)> {
    let common = strings(request.get("product_ids"));
    let channels = request.get("channels").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut wanted = Vec::new();
    for channel in channels {
        let name = channel.as_str().or_else(|| channel.get("name").and_then(Value::as_str)).unwrap_or_default();
        let own = strings(channel.get("product_ids"));
        for product in if own.is_empty() { &common } else { &own } {
            wanted.push((name.to_owned(), product.clone()));
        }
    }
    wanted
}

impl Speaker for CoinbaseSpeaker {
    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        let request: Value = match serde_json::from_str(text) {
            Ok(request) => request,
            Err(_) => return desk.say(r#"{"type":"error","message":"Malformed JSON"}"#.to_owned()),
        };
        let kind = request.get("type").and_then(Value::as_str).unwrap_or_default();
        match kind {
            "subscribe" => {
                let mut added = Vec::new();
                for (channel, product) in wanted(&request) {
                    let topic = format!("{channel}:{product}");
                    if desk.refuses(&topic) {
                        desk.acknowledge(format!(
                            r#"{{"type":"error","message":"Failed to subscribe","reason":"{product} is not a valid product for {channel}"}}"#
                        ));
                        continue;
                    }
                    let products = self.channels.entry(channel).or_default();
                    if !products.contains(&product) {
                        products.push(product);
                    }
                    added.push(topic);
                }
                desk.acknowledge(self.state());
                for topic in added {
                    desk.subscribe(topic, "");
                }
            }
            "unsubscribe" => {
                for (channel, product) in wanted(&request) {
                    desk.unsubscribe(format!("{channel}:{product}"), "");
                    if let Some(products) = self.channels.get_mut(&channel) {
                        products.retain(|known| *known != product);
                    }
                }
                self.channels.retain(|_, products| !products.is_empty());
                desk.acknowledge(self.state());
            }
            other => desk.say(format!(
                r#"{{"type":"error","message":"Failed to process","reason":"{} is not a valid type"}}"#,
                other.escape_default()
            )),
        }
    }

    fn beat(&mut self, desk: &mut Desk<'_>) {
        self.beats += 1;
        for product in self.channels.get("heartbeat").into_iter().flatten() {
            desk.say(format!(
                r#"{{"type":"heartbeat","last_trade_id":{beats},"product_id":"{product}","sequence":{beats},"time":"{}"}}"#,
                Moment::now().rfc3339(),
                beats = self.beats
            ));
        }
    }
}

#[derive(PartialEq)]
enum Kind {
    Matches,
    Ticker,
    Level2,
    /// Sent each second by the speaker, whatever the rate.
    Heartbeat,
}

struct Channel {
    product: String,
    kind: Kind,
    market: Market,
    sequence: u64,
    /// The trade that a new subscription to `matches` begins with.
    last: Option<Draft>,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let (channel, product) = topic.split_once(':')?;
    let kind = match channel {
        "matches" => Kind::Matches,
        "ticker" => Kind::Ticker,
        "level2" | "level2_batch" => Kind::Level2,
        "heartbeat" => Kind::Heartbeat,
        _ => return None,
    };
    if !product.contains('-') {
        return None;
    }
    let market = Market::new(topic, product, seed, first_id);
    Some(Box::new(Channel { product: product.to_owned(), kind, market, sequence: first_id * 7, last: None }))
}

/// A version 4 UUID that depends on `number` only.
fn uuid(number: u64) -> String {
    let hex = hex(number, 16);
    let digits = &hex[2..];
    format!("{}-{}-4{}-8{}-{}", &digits[..8], &digits[8..12], &digits[13..16], &digits[17..20], &digits[20..])
}

impl Channel {
    fn matched(&mut self, id: u64, moment: Moment) -> Draft {
        let Self { product, market, sequence, .. } = self;
        let mut draft = Draft::new();
        let direction = if market.coin() { "buy" } else { "sell" };
        let (price, size) = (market.price(2), market.size(8));
        let (maker, taker) = (uuid(hash(id, product)), uuid(hash(id + 1, product)));
        _ = write!(draft.text, r#"{{"type":"match","trade_id":"#);
        draft.push_id(&id.to_string(), false);
        _ = write!(
            draft.text,
            r#","maker_order_id":"{maker}","taker_order_id":"{taker}","side":"{direction}","size":"{size}","price":"{price}"#
        );
        draft.mark_twist();
        _ = write!(draft.text, r#"","product_id":"{product}","sequence":{sequence},"time":"{}"}}"#, moment.rfc3339());
        self.last = Some(draft.clone());
        draft
    }

    /// The last trade once more, under another type.
    fn last_match(&mut self, moment: Moment) -> Draft {
        let mut draft = match self.last.clone() {
            Some(draft) => draft,
            None => self.matched(self.market.last_id(), moment),
        };
        let added = "last_".len();
        draft.text = draft.text.replacen("match", "last_match", 1);
        draft.id_span = draft.id_span.start + added..draft.id_span.end + added;
        draft.twist = draft.twist.map(|at| at + added);
        draft
    }
}

impl Series for Channel {
    fn next(&mut self, moment: Moment) -> Draft {
        self.market.step();
        self.sequence += self.market.rng.u64(1..=9);
        if self.kind == Kind::Matches {
            let id = self.market.next_id();
            return self.matched(id, moment);
        }
        let Self { product, kind, market, sequence, .. } = self;
        let mut draft = Draft::new();
        if *kind == Kind::Ticker {
            let direction = if market.coin() { "buy" } else { "sell" };
            let (bid, ask) = (market.level(-1, 2), market.level(0, 2));
            let size = market.size(8);
            draft.text.push_str(r#"{"type":"ticker","sequence":"#);
            draft.push_id(&sequence.to_string(), false);
            _ = write!(
                draft.text,
                r#","product_id":"{product}","price":"{}","open_24h":"{ask}","volume_24h":"{size}","low_24h":"{bid}","high_24h":"{ask}","volume_30d":"{size}","best_bid":"{bid}","best_ask":"{ask}","side":"{direction}","time":"{}","trade_id":{}"#,
                market.price(2),
                moment.rfc3339(),
                market.next_id()
            );
            _ = write!(draft.text, r#","last_size":"{size}"#);
            draft.mark_twist();
            draft.text.push_str(r#""}"#);
            return draft;
        }
        let ask = market.coin();
        let price = market.level(if ask { 1 } else { -2 }, 2);
        let size = if market.rng.u8(0..4) == 0 { String::from("0.00000000") } else { market.size(8) };
        _ = write!(
            draft.text,
            r#"{{"type":"l2update","product_id":"{product}","changes":[["{}","{price}","{size}"]],"time":"{}"}}"#,
            if ask { "sell" } else { "buy" },
            moment.rfc3339()
        );
        draft.without_id()
    }

    fn snapshot(&mut self, moment: Moment) -> Option<Draft> {
        match self.kind {
            Kind::Matches => Some(self.last_match(moment)),
            Kind::Level2 => {
                let mut draft = Draft::new();
                let asks = self.market.exact_levels(Side::Ask, 50, LEVELS);
                let bids = self.market.exact_levels(Side::Bid, 50, LEVELS);
                let product = &self.product;
                _ = write!(draft.text, r#"{{"type":"snapshot","product_id":"{product}","asks":{asks},"bids":{bids}}}"#);
                Some(draft.without_id())
            }
            Kind::Ticker => Some(self.next(moment)),
            Kind::Heartbeat => None,
        }
    }

    fn timed(&self) -> bool {
        self.kind == Kind::Heartbeat
    }
}
