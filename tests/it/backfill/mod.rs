//! What was not seen is fetched, whatever the provider's pages are like and whatever goes wrong meanwhile; once, and no more.

mod exchange;
mod faults;
mod node;
mod pages;
mod polls;

use std::collections::BTreeSet;

use serde_json::Value;

use self::exchange::Exchange;
use super::processes::{Daemon, Settings, json, query, until};
use super::support::Workplace;

/// A daemon's settings: a monitor `m` of the exchange's trades. `backfill` are the keys of its declaration beside the address.
fn watching(exchange: &Exchange, backfill: &str) -> Settings {
    let dialect = r#"
[dialects.exchange]
kind = "json"
event = { id = "/data/id", time = "/data/ts" }
topics = [{ form = "{channel}", subscribe = '{"op":"sub","args":{topics}}' }]
routes = [{ topic = "{/channel}" }]
"#;
    let more = format!(
        "[monitors.m.backfill]\nurl = \"{}\"\nmessage = '{{\"channel\":\"{{topic}}\",\"data\":{{\"id\":{{/trade_id}},\"ts\":{{/time}}}}}}'\n\
         rate = {{ count = 1000, per = \"1s\" }}\ndelay = \"50ms\"\nonly = {{ \"/s\" = \"X\" }}\n{backfill}",
        exchange.history_url()
    );
    Settings::new().with(dialect).upstream("x", "exchange", &exchange.live_url()).monitor(
        "m",
        "trading",
        "x",
        &["trades"],
        &more,
    )
}

/// By time, a page after the other from where the last one ended.
const BY_ITEM: &str = "path = \"/item\"\nparams = { from = \"{from}\", to = \"{to}\" }\neach = \"/items\"\nlimit = 15\n\
                       range = { by = \"time\", position = \"/time\", overlap = \"200ms\" }\npages = { by = \"item\" }";

fn gaps(place: &Workplace, more: &[&str]) -> Vec<Value> {
    serde_json::from_str(&json(place, &[&["gaps"], more].concat())).expect("a JSON array")
}

/// Ids of the events in the journal, which must be distinct.
fn ids(place: &Workplace) -> BTreeSet<u64> {
    let events = query(place, &["--monitor", "m"]);
    let ids: Vec<u64> = events.iter().map(|event| event.id.as_ref().unwrap().parse().unwrap()).collect();
    let distinct: BTreeSet<u64> = ids.iter().copied().collect();
    assert_eq!(ids.len(), distinct.len(), "an event is in the journal twice");
    distinct
}

/// Waits until events are durable.
fn live(place: &Workplace, more: usize) {
    let before = ids(place).len();
    until("it brings something", || (ids(place).len() >= before + more).then_some(()));
}

/// The gap of this cause that was filled.
fn filled(place: &Workplace, cause: &str) -> Value {
    until("the gap is filled", || {
        gaps(place, &["--cause", cause])
            .into_iter()
            .find(|gap| gap["filled"] == "backfill" && gap["left_from"].is_null())
    })
}

/// Every trade from the first that was seen to the last is in the journal once.
fn all_once(place: &Workplace, exchange: &Exchange) {
    exchange.pause();
    let last = exchange.trades() as u64;
    until("the last trade is durable", || ids(place).last().is_some_and(|id| *id + 1 == last).then_some(()));
    let ids = ids(place);
    let first = *ids.first().unwrap();
    let missing: Vec<u64> = (first..last).filter(|id| !ids.contains(id)).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
}

/// A gap by a provider that takes no links for a while; it is over when this returns.
fn cut(place: &Workplace, exchange: &Exchange, trades: usize) {
    exchange.close();
    until("it is lost", || (!gaps(place, &["--open"]).is_empty()).then_some(()));
    exchange.trade_on(trades);
    exchange.open();
    until("it is back", || gaps(place, &["--open"]).is_empty().then_some(()));
}

/// A `POST` of the running daemon.
fn post(daemon: &Daemon, path: &str, body: &str) -> (u16, String) {
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        daemon.address(),
        body.len()
    );
    super::processes::request(daemon.address(), &text).expect("an answer")
}

/// What the daemon says of its backfills.
fn operations(daemon: &Daemon) -> Vec<Value> {
    let (status, body) = daemon.get("/api/v1/operations");
    assert_eq!(status, 200, "{body}");
    let all: Vec<Value> = serde_json::from_str(&body).unwrap();
    all.into_iter().filter(|operation| operation["kind"] == "backfill").collect()
}
