//! Deribit JSON-RPC: `trades.*`, `book.*`, `ticker.*` channels.

use std::fmt::Write as _;

use serde_json::Value;

use super::market::{LevelStyle, Market, Side};
use super::{Desk, Draft, Moment, Series, Speaker, echo, strings};

const NEW: LevelStyle = LevelStyle {
    price_places: 4,
    size_places: 1,
    zeros: false,
    write: |price, size| format!(r#"["new",{price},{size}]"#),
};
const CHANGE: LevelStyle = LevelStyle { write: |price, size| format!(r#"["change",{price},{size}]"#), ..NEW };

#[derive(Debug, Default)]
pub(super) struct DeribitSpeaker;

fn answer(id: &str, result: &str) -> String {
    let micros = Moment::now().micros();
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{result},"usIn":{micros},"usOut":{},"usDiff":581,"testnet":false}}"#,
        micros + 581
    )
}

impl Speaker for DeribitSpeaker {
    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        let Ok(request) = serde_json::from_str::<Value>(text) else {
            let error = r#"{"code":-32700,"message":"parse error"}"#;
            return desk.say(format!(r#"{{"jsonrpc":"2.0","error":{error}}}"#));
        };
        let id = echo(&request, "id");
        let channels = strings(request.get("params").and_then(|params| params.get("channels")));
        match request.get("method").and_then(Value::as_str) {
            Some("public/subscribe") => {
                // A channel that does not exist is only missing from the answer.
                let known: Vec<String> = channels.into_iter().filter(|channel| !desk.refuses(channel)).collect();
                desk.acknowledge(answer(&id, &Value::from(known.clone()).to_string()));
                for channel in known {
                    desk.subscribe(channel, "");
                }
            }
            Some("public/unsubscribe") => {
                desk.acknowledge(answer(&id, &Value::from(channels.clone()).to_string()));
                for channel in channels {
                    desk.unsubscribe(channel, "");
                }
            }
            Some("public/test") => desk.pong(answer(&id, r#"{"version":"1.2.26"}"#)),
            Some("public/set_heartbeat" | "public/disable_heartbeat") => desk.say(answer(&id, r#""ok""#)),
            _ => desk.say(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"Method not found"}}}}"#
            )),
        }
    }
}

enum Kind {
    Trades,
    Book,
    Ticker,
}

struct Channel {
    name: String,
    instrument: String,
    kind: Kind,
    market: Market,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let mut parts = topic.split('.');
    let kind = match parts.next()? {
        "trades" => Kind::Trades,
        "book" => Kind::Book,
        "ticker" => Kind::Ticker,
        _ => return None,
    };
    let instrument = parts.next().filter(|instrument| instrument.contains('-'))?.to_owned();
    let market = Market::new(topic, &instrument, seed, first_id);
    Some(Box::new(Channel { name: topic.to_owned(), instrument, kind, market }))
}

impl Channel {
    /// What every notification begins with.
    fn begin(&self) -> Draft {
        let mut draft = Draft::new();
        _ = write!(
            draft.text,
            r#"{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"{}","data":"#,
            self.name
        );
        draft
    }

    fn book(&mut self, opening: bool, moment: Moment) -> Draft {
        let mut draft = self.begin();
        let Self { instrument, market, .. } = self;
        let previous = market.last_id();
        market.skip_ids(190);
        let (kind, previous) =
            if opening { ("snapshot", String::new()) } else { ("change", format!(r#""prev_change_id":{previous},"#)) };
        _ = write!(
            draft.text,
            r#"{{"type":"{kind}","timestamp":{},{previous}"instrument_name":"{instrument}","change_id":"#,
            moment.millis()
        );
        draft.push_id(&market.last_id().to_string(), false);
        let (style, count) = if opening { (NEW, 10) } else { (CHANGE, 1) };
        let bids = market.exact_levels(Side::Bid, count, style);
        let asks = market.exact_levels(Side::Ask, count, style);
        _ = write!(draft.text, r#","bids":{bids},"asks":{asks}}}}}}}"#);
        // The text ends `5]]}}}`: the asks' last amount is the digit to change.
        draft.twist = draft.text.len().checked_sub(6);
        draft
    }
}

impl Series for Channel {
    fn next(&mut self, moment: Moment) -> Draft {
        self.market.step();
        if matches!(self.kind, Kind::Book) {
            return self.book(false, moment);
        }
        let mut draft = self.begin();
        let Self { instrument, kind, market, .. } = self;
        let millis = moment.millis();
        let price = market.price(1);
        if matches!(kind, Kind::Ticker) {
            let (bid, ask, size) = (market.level(-1, 1), market.level(0, 1), market.size(1));
            _ = write!(
                draft.text,
                r#"{{"timestamp":{millis},"stats":{{"volume":{size},"price_change":0.0,"low":{bid},"high":{ask}}},"state":"open","settlement_price":{price},"open_interest":{size},"min_price":{bid},"max_price":{ask},"mark_price":{price},"last_price":{price},"instrument_name":"{instrument}","index_price":{price},"estimated_delivery_price":{price},"best_bid_price":{bid},"best_bid_amount":{size},"best_ask_price":{ask},"best_ask_amount":{size}}}}}}}"#
            );
            return draft.without_id();
        }
        draft.text.push('[');
        for number in 0..market.batch() {
            let id = market.next_id();
            let comma = if number > 0 { "," } else { "" };
            _ = write!(draft.text, r#"{comma}{{"trade_seq":{id},"trade_id":"#);
            draft.push_id(&(2 * id).to_string(), true);
            let side = if market.coin() { "buy" } else { "sell" };
            _ = write!(
                draft.text,
                r#","timestamp":{millis},"tick_direction":{},"price":{price},"mark_price":{price},"instrument_name":"{instrument}","index_price":{price},"direction":"{side}","amount":{}"#,
                market.rng.u8(0..4),
                market.size(1)
            );
            draft.mark_twist();
            draft.text.push('}');
        }
        draft.text.push_str("]}}");
        draft
    }

    fn snapshot(&mut self, moment: Moment) -> Option<Draft> {
        matches!(self.kind, Kind::Book).then(|| self.book(true, moment))
    }
}
