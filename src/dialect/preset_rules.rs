//! The event rules that presets bring, held against recorded feeds.
//!
//! Read here with `serde_json` and not with the monitors' reader: what the rules mean is checked against the messages, not
//! against ourselves.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use super::recordings::Recording;
use super::registry;
use crate::config::{Condition, EventRuleSettings, TimeUnit};

/// What the rules make of a recording.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    events: usize,
    with_id: usize,
    distinct_ids: usize,
    with_key: usize,
    with_time: usize,
}

fn fits(condition: &Condition, found: Option<&Value>) -> bool {
    match condition {
        Condition::Present(present) => found.is_some() == *present,
        Condition::Integer(number) => found.and_then(Value::as_i64) == Some(*number),
        Condition::Text(text) => found.and_then(Value::as_str) == Some(text),
        Condition::AnyOf(several) => several.iter().any(|one| fits(one, found)),
    }
}

fn look<'a>(pointer: &str, element: &'a Value, frame: &'a Value) -> Option<&'a Value> {
    pointer.strip_prefix("frame:").map_or_else(|| element.pointer(pointer), |pointer| frame.pointer(pointer))
}

/// What a condition looks at. Presets choose among `each` rules by the whole message only.
fn look_at_frame<'a>(rule: &EventRuleSettings, pointer: &str, frame: &'a Value) -> Option<&'a Value> {
    match (&rule.each, pointer.strip_prefix("frame:")) {
        (_, Some(pointer)) => frame.pointer(pointer),
        (None, None) => frame.pointer(pointer),
        (Some(_), None) => panic!("`{pointer}` is relative to an element: say `frame:{pointer}`"),
    }
}

fn read_time(rule: &EventRuleSettings, value: &Value) -> bool {
    match rule.time_unit {
        TimeUnit::Rfc3339 => value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
        TimeUnit::HexS => {
            let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
            digits.is_some_and(|digits| u64::from_str_radix(digits, 16).is_ok())
        }
        TimeUnit::S => value.as_f64().or_else(|| value.as_str()?.parse().ok()).is_some(),
        _ => value.as_u64().or_else(|| value.as_str()?.parse().ok()).is_some(),
    }
}

/// Takes every message of a recording that `is_data` says is one.
fn read(preset: &str, recording: &str, is_data: impl Fn(&Value) -> bool) -> Counts {
    let dialect = registry::build(preset, &BTreeMap::new()).unwrap();
    let rules = dialect.default_event_rules();
    let mut counts = Counts::default();
    let mut ids = HashSet::new();
    for text in Recording::load(recording).received {
        let frame: Value = serde_json::from_str(&text).unwrap();
        if !is_data(&frame) {
            continue;
        }
        let rule = rules
            .iter()
            .find(|rule| {
                rule.when.iter().all(|(pointer, condition)| fits(condition, look_at_frame(rule, pointer, &frame)))
            })
            .unwrap_or_else(|| panic!("no rule for {text}"));
        assert!(!rule.ignore);
        let elements = match &rule.each {
            Some(each) => frame.pointer(each).and_then(Value::as_array).expect("`each` leads to an array").as_slice(),
            None => std::slice::from_ref(&frame),
        };
        for element in elements {
            counts.events += 1;
            if !rule.id.is_empty() {
                let part = |pointer: &String| {
                    look(pointer, element, &frame).unwrap_or_else(|| panic!("no {pointer} in {text}")).to_string()
                };
                counts.with_id += 1;
                counts.distinct_ids += usize::from(ids.insert(rule.id.iter().map(part).collect::<Vec<_>>()));
            }
            counts.with_key += usize::from(rule.key.as_ref().is_some_and(|key| look(key, element, &frame).is_some()));
            match rule.time.as_ref().and_then(|time| look(time, element, &frame)) {
                Some(time) => {
                    assert!(read_time(rule, time), "{time} is no {:?} in {text}", rule.time_unit);
                    counts.with_time += 1;
                }
                None => assert!(rule.time.is_none() || rule.time_optional, "no time in {text}"),
            }
        }
    }
    counts
}

#[test]
fn preset_rules_read_every_recorded_message_and_their_ids_never_repeat() {
    let stream = |frame: &Value| frame.get("stream").is_some();
    let data = |frame: &Value| frame.get("data").is_some() && frame.get("channel") != Some(&Value::from("status"));
    let coinbase = |frame: &Value| frame["type"] != "subscriptions";
    let notification = |frame: &Value| frame.get("params").is_some();
    let expect = |preset: &str, recording: &str, is_data: &dyn Fn(&Value) -> bool, expected: [usize; 4]| {
        let [events, ids, keys, times] = expected;
        let expected = Counts { events, with_id: ids, distinct_ids: ids, with_key: keys, with_time: times };
        assert_eq!(read(preset, recording, is_data), expected, "{recording}");
    };
    // Events, those with an id, with a key, with a time. Spot's bookTicker has no time, snapshots mostly have none.
    expect("binance", "binance-spot/combined_2021-10-11", &stream, [265, 265, 265, 181]);
    expect("binance", "binance-spot/btcusdt_2024-08-08", &stream, [7999, 7999, 7999, 2129]);
    expect("binance", "binance-futures/combined_2021-07-22", &stream, [1535, 1535, 1535, 1535]);
    expect("binance", "binance-futures/btcusdt_2024-08-08", &stream, [14_999, 14_999, 14_999, 14_999]);
    expect("coinbase", "coinbase-exchange/level2_ticker_matches_2021-04-17", &coinbase, [5997, 92, 5997, 5987]);
    expect("kraken", "kraken-v2/btcusd_book25_2026-08-02", &data, [2052, 0, 2052, 2052]);
    expect("kraken", "kraken-v2/xrpusd_book25_2026-08-02", &data, [1147, 0, 1147, 1147]);
    expect("bybit", "bybit-v5/linear_2025-06-13", &data, [198, 0, 198, 198]);
    expect("okx", "okx-v5/public_2022-05-13", &data, [392, 74, 392, 392]);
    let data_of_channel = |frame: &Value| frame.is_array() && frame[1] != "hb";
    expect("bitfinex", "bitfinex-v2/arrays_2021-04-17", &data_of_channel, [1831, 210, 0, 210]);
    expect("bitmex", "bitmex/public_2021-07-22", &|frame| frame.get("table").is_some(), [896, 13, 896, 179]);
    let bitstamp = |frame: &Value| frame["event"] == "data" || frame["event"] == "trade";
    expect("bitstamp", "bitstamp/public_2022-01-05", &bitstamp, [727, 727, 727, 727]);
    expect("gemini", "gemini-v2/l2_2021-06-24", &|frame| frame.get("symbol").is_some(), [671, 16, 671, 16]);
    expect("huobi", "huobi-gzip/binary_2021-04-17", &|frame| frame.get("ch").is_some(), [251, 62, 251, 251]);
    expect("upbit", "upbit-binary/simple_2021-04-17", &|_| true, [449, 304, 449, 449]);
    expect("kraken-v1", "kraken-v1/trade_2021-04-17", &Value::is_array, [10, 0, 10, 10]);
    expect("kraken-v1", "kraken-v1/ticker_2021-04-17", &Value::is_array, [18, 0, 18, 0]);
    expect("kraken-v1", "kraken-v1/book1000_2021-04-17", &Value::is_array, [1475, 0, 1475, 1465]);
    expect("deribit", "deribit-jsonrpc/public_2021-07-22", &notification, [135, 46, 135, 135]);
    expect("ethereum", "ethereum-jsonrpc/anvil_heads_logs_pending", &notification, [497, 497, 300, 346]);
    expect("ethereum", "ethereum-jsonrpc/anvil_reorg", &notification, [49, 49, 32, 49]);
    expect("ethereum", "ethereum-jsonrpc/ganache_heads_logs_pending", &notification, [211, 211, 120, 30]);
    expect("solana", "solana-pubsub/slots_logs_program", &notification, [1784, 1592, 192, 0]);
}
