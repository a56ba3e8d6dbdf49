//! OKX v5: `trades`, `tickers`, `books`. A topic is `channel:instId`.

use std::fmt::Write as _;

use serde_json::Value;

use super::market::{LevelStyle, Market, Side, hex};
use super::{Desk, Draft, Moment, Series, Speaker, echo};

const LEVELS: LevelStyle = LevelStyle {
    price_places: 2,
    size_places: 4,
    zeros: true,
    write: |price, size| format!(r#"["{price}","{size}","0","1"]"#),
};

#[derive(Debug)]
pub(super) struct OkxSpeaker {
    connection: String,
}

impl OkxSpeaker {
    pub(super) fn new(mut rng: fastrand::Rng) -> Self {
        Self { connection: hex(rng.u64(..), 4)[2..].to_owned() }
    }

    fn error(&self, id: &str, code: u32, message: &str) -> String {
        format!(
            r#"{{{id}"event":"error","code":"{code}","msg":"{}","connId":"{}"}}"#,
            message.escape_default(),
            self.connection
        )
    }
}

impl Speaker for OkxSpeaker {
    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        if text == "ping" {
            return desk.pong(String::from("pong"));
        }
        let Ok(request) = serde_json::from_str::<Value>(text) else {
            return desk.say(self.error("", 60012, "Illegal request"));
        };
        let id = echo(&request, "id");
        let id = if id == "null" { String::new() } else { format!(r#""id":{id},"#) };
        let op = request.get("op").and_then(Value::as_str).unwrap_or_default();
        if op != "subscribe" && op != "unsubscribe" {
            return desk.say(self.error(&id, 60012, "Illegal request"));
        }
        for arg in request.get("args").and_then(Value::as_array).into_iter().flatten() {
            let member = |name| arg.get(name).and_then(Value::as_str).unwrap_or_default();
            let topic = format!("{}:{}", member("channel"), member("instId"));
            if op == "subscribe" && desk.refuses(&topic) {
                let message = format!(
                    "Wrong URL or channel:{},instId:{} does not exist. Please use the correct URL, channel and parameters",
                    member("channel"),
                    member("instId")
                );
                desk.acknowledge(self.error(&id, 60018, &message));
                continue;
            }
            desk.acknowledge(format!(r#"{{{id}"event":"{op}","arg":{arg},"connId":"{}"}}"#, self.connection));
            if op == "subscribe" {
                desk.subscribe(topic, "");
            } else {
                desk.unsubscribe(topic, "");
            }
        }
    }
}

enum Kind {
    Trades,
    Tickers,
    Books,
}

struct Channel {
    instrument: String,
    kind: Kind,
    market: Market,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let (channel, instrument) = topic.split_once(':')?;
    let kind = match channel {
        "trades" => Kind::Trades,
        "tickers" => Kind::Tickers,
        "books" => Kind::Books,
        _ => return None,
    };
    if !instrument.contains('-') {
        return None;
    }
    let market = Market::new(topic, instrument, seed, first_id);
    Some(Box::new(Channel { instrument: instrument.to_owned(), kind, market }))
}

impl Channel {
    fn books(&mut self, action: &str, levels: i64, moment: Moment) -> Draft {
        let Self { instrument, market, .. } = self;
        let style = LevelStyle { zeros: action == "update", ..LEVELS };
        let (asks, bids) =
            (market.exact_levels(Side::Ask, levels, style), market.exact_levels(Side::Bid, levels, style));
        let mut draft = Draft::new();
        let previous = market.last_id();
        market.skip_ids(9);
        _ = write!(
            draft.text,
            r#"{{"arg":{{"channel":"books","instId":"{instrument}"}},"action":"{action}","data":[{{"asks":{asks},"bids":{bids},"ts":"{}","checksum":{},"seqId":{},"prevSeqId":{}}}]}}"#,
            moment.millis(),
            market.rng.i32(..),
            market.last_id(),
            if action == "snapshot" { String::from("-1") } else { previous.to_string() }
        );
        draft.without_id()
    }
}

impl Series for Channel {
    fn next(&mut self, moment: Moment) -> Draft {
        self.market.step();
        let Self { instrument, kind, market } = self;
        let millis = moment.millis();
        let mut draft = Draft::new();
        match kind {
            Kind::Trades => {
                _ = write!(draft.text, r#"{{"arg":{{"channel":"trades","instId":"{instrument}"}},"data":["#);
                for number in 0..market.batch() {
                    let comma = if number > 0 { "," } else { "" };
                    _ = write!(draft.text, r#"{comma}{{"instId":"{instrument}","tradeId":"#);
                    draft.push_id(&market.next_id().to_string(), true);
                    _ = write!(draft.text, r#","px":"{}","sz":"{}"#, market.price(2), market.size(4));
                    draft.mark_twist();
                    let side = if market.coin() { "buy" } else { "sell" };
                    _ = write!(draft.text, r#"","side":"{side}","ts":"{}"}}"#, millis - 3);
                }
                draft.text.push_str("]}");
                draft
            }
            Kind::Tickers => {
                let (bid, ask, last) = (market.level(-1, 2), market.level(0, 2), market.price(2));
                let (size, volume) = (market.size(4), market.size(4));
                _ = write!(
                    draft.text,
                    r#"{{"arg":{{"channel":"tickers","instId":"{instrument}"}},"data":[{{"instType":"SPOT","instId":"{instrument}","last":"{last}","lastSz":"{size}","askPx":"{ask}","askSz":"{size}","bidPx":"{bid}","bidSz":"{size}","open24h":"{last}","high24h":"{ask}","low24h":"{bid}","sodUtc0":"{last}","sodUtc8":"{last}","volCcy24h":"{volume}","vol24h":"{volume}","ts":"{millis}"}}]}}"#
                );
                draft.without_id()
            }
            Kind::Books => self.books("update", 2, moment),
        }
    }

    fn snapshot(&mut self, moment: Moment) -> Option<Draft> {
        matches!(self.kind, Kind::Books).then(|| self.books("snapshot", 40, moment))
    }
}
