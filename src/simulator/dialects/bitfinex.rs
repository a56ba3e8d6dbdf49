//! Bitfinex v2: `trades`, `ticker`, `book`. Each subscription gets a number, which its messages begin with. They have no number of
//! the link behind them, since they are made once for all connections: conf flag 65536 is answered and not in force.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::market::Market;
use super::{Desk, Draft, Greeting, Moment, Series, Speaker};

/// Seconds between heartbeats of a channel. Source: Bitfinex's documents.
const HEARTBEAT: u32 = 15;

#[derive(Debug)]
pub(super) struct BitfinexSpeaker {
    next: u64,
    beats: u32,
    topics: BTreeMap<u64, String>,
}

impl BitfinexSpeaker {
    pub(super) fn new(mut rng: fastrand::Rng) -> Self {
        Self { next: rng.u64(10_000..300_000), beats: 0, topics: BTreeMap::new() }
    }
}

/// As the preset words it.
fn topic_of(request: &Value) -> String {
    let text = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
    match text("channel") {
        "book" => format!("book-{}-{}-{}:{}", text("prec"), text("freq"), text("len"), text("symbol")),
        channel => format!("{channel}:{}", text("symbol")),
    }
}

/// The members of a request but for its event, to be repeated.
fn repeated(request: &Value) -> String {
    let members = request.as_object().into_iter().flatten().filter(|(name, _)| *name != "event");
    members.fold(String::new(), |mut text, (name, value)| {
        _ = write!(text, r#","{name}":{value}"#);
        text
    })
}

impl Speaker for BitfinexSpeaker {
    fn greet(&mut self, _greeting: &Greeting, desk: &mut Desk<'_>) {
        desk.say(String::from(r#"{"event":"info","version":2,"serverId":"simulator","platform":{"status":1}}"#));
    }

    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        match request.get("event").and_then(Value::as_str) {
            Some("conf") => {
                let flags = request.get("flags").cloned().unwrap_or_default();
                desk.say(format!(r#"{{"event":"conf","status":"OK","flags":{flags}}}"#));
            }
            Some("ping") => desk.pong(format!(r#"{{"event":"pong","ts":{}}}"#, Moment::now().millis())),
            Some("subscribe") => {
                let topic = topic_of(&request);
                let members = repeated(&request);
                if desk.refuses(&topic) {
                    return desk
                        .acknowledge(format!(r#"{{"event":"error","msg":"symbol: invalid","code":10300{members}}}"#));
                }
                self.next += 1;
                let number = self.next;
                desk.acknowledge(format!(r#"{{"event":"subscribed","chanId":{number}{members}}}"#));
                desk.subscribe(topic.clone(), number.to_string());
                self.topics.insert(number, topic);
            }
            Some("unsubscribe") => {
                let number = request.get("chanId").and_then(Value::as_u64).unwrap_or_default();
                let Some(topic) = self.topics.remove(&number) else {
                    return desk.acknowledge(String::from(r#"{"event":"error","msg":"not subscribed","code":10401}"#));
                };
                desk.acknowledge(format!(r#"{{"event":"unsubscribed","status":"OK","chanId":{number}}}"#));
                desk.unsubscribe(topic, number.to_string());
            }
            _ => desk.say(String::from(r#"{"event":"error","msg":"unknown event","code":10000}"#)),
        }
    }

    fn beat(&mut self, desk: &mut Desk<'_>) {
        self.beats += 1;
        if self.beats.is_multiple_of(HEARTBEAT) {
            for number in self.topics.keys() {
                desk.say(format!(r#"[{number},"hb"]"#));
            }
        }
    }
}

enum Kind {
    Trades,
    Ticker,
    Book,
}

struct Channel {
    kind: Kind,
    market: Market,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let (channel, symbol) = topic.split_once(':')?;
    let kind = match channel {
        "trades" => Kind::Trades,
        "ticker" => Kind::Ticker,
        _ if channel.starts_with("book-") => Kind::Book,
        _ => return None,
    };
    let pair = symbol.strip_prefix('t')?;
    Some(Box::new(Channel { kind, market: Market::new(topic, pair, seed, first_id) }))
}

impl Series for Channel {
    fn next(&mut self, moment: Moment) -> Draft {
        let Self { kind, market } = self;
        market.step();
        let mut draft = Draft::new();
        draft.text.push('[');
        draft.splice = Some(1);
        let (price, size) = (market.price(1), market.size(6));
        let sign = if market.coin() { "" } else { "-" };
        match kind {
            Kind::Trades => {
                draft.text.push_str(r#","te",["#);
                draft.push_id(&market.next_id().to_string(), false);
                _ = write!(draft.text, ",{},{sign}{size}", moment.millis());
                draft.mark_twist();
                _ = write!(draft.text, ",{price}]]");
                draft
            }
            Kind::Ticker => {
                let (bid, ask) = (market.level(-1, 1), market.level(0, 1));
                _ = write!(draft.text, ",[{bid},{size},{ask},{size},0.5,0.01,{price},{},{ask},{bid}]]", market.size(4));
                draft.without_id()
            }
            Kind::Book => {
                let level = if sign.is_empty() { -1 } else { 0 };
                _ = write!(draft.text, ",[{},{},{sign}{size}]]", market.level(level, 1), market.batch());
                draft.without_id()
            }
        }
    }

    fn snapshot(&mut self, _moment: Moment) -> Option<Draft> {
        if !matches!(self.kind, Kind::Book) {
            return None;
        }
        let mut draft = Draft::new();
        draft.text.push('[');
        draft.splice = Some(1);
        let levels: Vec<String> = (-5..5)
            .map(|level| {
                let side = if level < 0 { "" } else { "-" };
                format!("[{},1,{side}{}]", self.market.level(level, 1), self.market.size(4))
            })
            .collect();
        _ = write!(draft.text, ",[{}]]", levels.join(","));
        Some(draft.without_id())
    }
}
