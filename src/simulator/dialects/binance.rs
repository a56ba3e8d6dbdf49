//! Binance spot, combined streams: `/stream?streams=a/b` and `SUBSCRIBE`.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::market::{LevelStyle, Market, Side, pair};
use super::{Desk, Draft, Greeting, Moment, Series, Speaker, echo, strings};

const LEVELS: LevelStyle = LevelStyle { price_places: 8, size_places: 8, zeros: true, write: pair };

#[derive(Debug, Default)]
pub(super) struct BinanceSpeaker {
    streams: Vec<String>,
}

impl BinanceSpeaker {
    fn add(&mut self, stream: &str, desk: &mut Desk<'_>) {
        if !self.streams.iter().any(|known| known == stream) {
            self.streams.push(stream.to_owned());
        }
        desk.subscribe(stream, "");
    }
}

impl Speaker for BinanceSpeaker {
    fn greet(&mut self, Greeting { target, .. }: &Greeting, desk: &mut Desk<'_>) {
        for stream in streams_of(target) {
            // Streams in the URL are never acknowledged, nor refused: nothing comes.
            if !desk.refuses(&stream) {
                self.add(&stream, desk);
            }
        }
    }

    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        let request: Value = match serde_json::from_str(text) {
            Ok(request) => request,
            Err(error) => {
                let message = Value::from(format!("Invalid JSON: {error}"));
                return desk.say(format!(r#"{{"error":{{"code":3,"msg":{message}}}}}"#));
            }
        };
        let id = echo(&request, "id");
        let streams = strings(request.get("params"));
        match request.get("method").and_then(Value::as_str) {
            Some("SUBSCRIBE") => {
                let refused: Vec<_> = streams.iter().filter(|stream| desk.refuses(stream)).cloned().collect();
                if refused.is_empty() {
                    desk.acknowledge(format!(r#"{{"result":null,"id":{id}}}"#));
                    for stream in &streams {
                        self.add(stream, desk);
                    }
                } else {
                    // One bad stream fails the whole request.
                    desk.acknowledge(format!(
                        r#"{{"error":{{"code":2,"msg":"Invalid request: invalid stream"}},"id":{id}}}"#
                    ));
                }
            }
            Some("UNSUBSCRIBE") => {
                for stream in &streams {
                    self.streams.retain(|known| known != stream);
                    desk.unsubscribe(stream.as_str(), "");
                }
                desk.acknowledge(format!(r#"{{"result":null,"id":{id}}}"#));
            }
            Some("LIST_SUBSCRIPTIONS") => {
                desk.say(format!(r#"{{"result":{},"id":{id}}}"#, Value::from(self.streams.clone())));
            }
            _ => desk.say(format!(
                r#"{{"error":{{"code":2,"msg":"Invalid request: unknown variant of method"}},"id":{id}}}"#
            )),
        }
    }

    fn ping_interval(&self) -> Option<Duration> {
        Some(Duration::from_secs(20))
    }
}

/// The streams that a URL asks for.
pub(crate) fn streams_of(target: &str) -> Vec<String> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let streams = query.split('&').find_map(|part| part.strip_prefix("streams="));
    streams.unwrap_or("").split('/').filter(|stream| !stream.is_empty()).map(|s| s.replace("%40", "@")).collect()
}

enum Kind {
    Trade,
    AggTrade,
    BookTicker,
    Depth,
}

struct Stream {
    name: String,
    symbol: String,
    kind: Kind,
    market: Market,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let (symbol, kind) = topic.split_once('@')?;
    let kind = match kind {
        "trade" => Kind::Trade,
        "aggTrade" => Kind::AggTrade,
        "bookTicker" => Kind::BookTicker,
        depth if depth == "depth" || depth.starts_with("depth@") => Kind::Depth,
        _ => return None,
    };
    let market = Market::new(topic, symbol, seed, first_id);
    Some(Box::new(Stream { name: topic.to_owned(), symbol: symbol.to_ascii_uppercase(), kind, market }))
}

impl Series for Stream {
    fn next(&mut self, moment: Moment) -> Draft {
        let Self { name, symbol, kind, market } = self;
        market.step();
        let millis = moment.millis();
        let mut draft = Draft::new();
        let price = market.price(8);
        // Writing to a string cannot fail.
        match kind {
            Kind::Trade => {
                let (size, maker) = (market.size(8), market.coin());
                _ = write!(draft.text, r#"{{"stream":"{name}","data":{{"e":"trade","E":{millis},"s":"{symbol}","t":"#);
                draft.push_id(&market.next_id().to_string(), false);
                _ = write!(draft.text, r#","p":"{price}","q":"{size}"#);
                draft.mark_twist();
                _ = write!(draft.text, r#"","T":{},"m":{maker},"M":true}}}}"#, millis - 1);
            }
            Kind::AggTrade => {
                let (size, maker, count) = (market.size(8), market.coin(), market.batch());
                _ = write!(
                    draft.text,
                    r#"{{"stream":"{name}","data":{{"e":"aggTrade","E":{millis},"s":"{symbol}","a":"#
                );
                let id = market.next_id();
                draft.push_id(&id.to_string(), false);
                _ = write!(draft.text, r#","p":"{price}","q":"{size}"#);
                draft.mark_twist();
                let (first, last) = (2 * id, 2 * id + count - 1);
                _ = write!(draft.text, r#"","f":{first},"l":{last},"T":{},"m":{maker},"M":true}}}}"#, millis - 1);
            }
            Kind::BookTicker => {
                market.skip_ids(8);
                _ = write!(draft.text, r#"{{"stream":"{name}","data":{{"u":"#);
                draft.push_id(&market.last_id().to_string(), false);
                let (bid, ask) = (market.level(-1, 8), market.level(0, 8));
                let (bid_size, ask_size) = (market.size(8), market.size(8));
                _ = write!(draft.text, r#","s":"{symbol}","b":"{bid}","B":"{bid_size}","a":"{ask}","A":"{ask_size}"#);
                draft.mark_twist();
                draft.text.push_str(r#""}}"#);
            }
            Kind::Depth => {
                let first = market.skip_ids(15);
                _ = write!(
                    draft.text,
                    r#"{{"stream":"{name}","data":{{"e":"depthUpdate","E":{millis},"s":"{symbol}","U":{first},"u":"#
                );
                draft.push_id(&market.last_id().to_string(), false);
                let (bids, asks) = (market.levels(Side::Bid, 6, LEVELS), market.exact_levels(Side::Ask, 1, LEVELS));
                _ = write!(draft.text, r#","b":{bids},"a":{asks}}}}}"#);
                // The text ends `5"]]}}`: the asks' last size is the digit to change.
                draft.twist = draft.text.len().checked_sub(6);
            }
        }
        draft
    }
}
