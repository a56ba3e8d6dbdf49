//! What the presets of the `json` dialect make of recorded feeds, and what is promised of declarations.

use crate::dialect::TopicId;
use crate::dialect::recordings::{Bench, Recording, json, json_without};

fn streams(recording: &Recording) -> Vec<String> {
    let url = recording.url.as_ref().unwrap();
    url.split_once("streams=").unwrap().1.split('/').map(str::to_owned).collect()
}

/// `btcusdt@depth@100ms` → `depth`
fn stream_kind(topic: &str) -> String {
    topic.split('@').nth(1).unwrap().to_owned()
}

fn channel(topic: &str) -> String {
    topic.split(':').next().unwrap().to_owned()
}

#[test]
fn every_frame_of_the_binance_spot_recordings_is_accounted_for() {
    let recording = Recording::load("binance-spot/combined_2021-10-11");
    let mut bench = Bench::of("binance", &streams(&recording));
    bench.subscribe_all();
    bench.receive_all(&recording);
    assert_eq!(bench.by_kind(stream_kind), "aggTrade=2 bookTicker=84 depth=177 kline_1m=2");
    assert_eq!((bench.messages(), bench.tally.control, bench.tally.unreadable.len()), (265, 0, 0));

    let recording = Recording::load("binance-spot/btcusdt_2024-08-08");
    let mut bench = Bench::of("binance", &["btcusdt@depth@100ms", "btcusdt@bookTicker", "btcusdt@trade"]);
    bench.subscribe_all();
    bench.receive_all(&recording);
    assert_eq!(bench.by_kind(stream_kind), "bookTicker=5870 depth=664 trade=1465");
    assert_eq!((bench.messages(), bench.tally.control, bench.tally.unreadable.len()), (7999, 0, 1));
    let (reason, raw) = &bench.tally.unreadable[0];
    assert_eq!(reason, "no rule of the dialect says what this message is");
    assert!(raw.starts_with(r#"{"lastUpdateId":50093239218,"#), "a snapshot of another interface, without a stream");
}

#[test]
fn every_frame_of_the_binance_futures_recordings_is_accounted_for() {
    let recording = Recording::load("binance-futures/combined_2021-07-22");
    let mut bench = Bench::of("binance", &streams(&recording));
    bench.receive_all(&recording);
    assert_eq!(bench.by_kind(stream_kind), "aggTrade=91 bookTicker=613 depth=764 kline_1m=67");
    assert_eq!((bench.messages(), bench.tally.control, bench.tally.unreadable.len()), (1535, 0, 0));

    let recording = Recording::load("binance-futures/btcusdt_2024-08-08");
    let mut bench = Bench::of("binance", &["btcusdt@depth@0ms", "btcusdt@bookTicker", "btcusdt@trade"]);
    bench.receive_all(&recording);
    assert_eq!(bench.by_kind(stream_kind), "bookTicker=11507 depth=1098 trade=2394");
    assert_eq!((bench.messages(), bench.tally.control, bench.tally.unreadable.len()), (14_999, 0, 1));
}

#[test]
fn binance_requests_are_listed_and_acknowledged_by_their_ids() {
    let mut bench = Bench::of("binance", &["btcusdt@trade", "ethusdt@trade", "nosuch@trade"]);
    let sent = bench.subscribe([0, 1]);
    assert_eq!(sent.len(), 1);
    assert_eq!(json(&sent[0]), json(r#"{"method":"SUBSCRIBE","params":["btcusdt@trade","ethusdt@trade"],"id":1}"#));
    bench.receive(r#"{"result":null,"id":1}"#);
    assert_eq!(bench.acknowledged(), ["btcusdt@trade", "ethusdt@trade"]);
    bench.subscribe([2]);
    bench.receive(r#"{"error":{"code":2,"msg":"Invalid request: unknown stream"},"id":2}"#);
    assert_eq!(bench.tally.refused, [(vec![TopicId(2)], "Invalid request: unknown stream".into())]);
    let sent = bench.unsubscribe([0]);
    assert_eq!(json(&sent[0]), json(r#"{"method":"UNSUBSCRIBE","params":["btcusdt@trade"],"id":3}"#));
    bench.receive(r#"{"result":null,"id":3}"#);
    bench.receive(r#"{"stream":"btcusdt@trade","data":{"e":"trade","t":1}}"#);
    assert_eq!((bench.messages(), bench.tally.control), (0, 4), "late messages of an ended topic are no events");
}

#[test]
fn what_comes_late_of_a_topic_that_another_link_goes_on_with_is_data() {
    let mut bench = Bench::of("binance", &["btcusdt@trade"]);
    bench.subscribe_all();
    let sent = bench.hand_over([0]);
    assert_eq!(json(&sent[0])["method"], "UNSUBSCRIBE");
    bench.receive(r#"{"stream":"btcusdt@trade","data":{"e":"trade","t":1}}"#);
    assert_eq!((bench.messages(), bench.tally.control), (1, 0));
}

#[test]
fn every_frame_of_the_coinbase_recording_is_accounted_for() {
    let recording = Recording::load("coinbase-exchange/level2_ticker_matches_2021-04-17");
    let products = json(&recording.sent[0])["product_ids"].as_array().unwrap().clone();
    let mut topics = Vec::new();
    for channel in ["level2", "ticker", "matches"] {
        topics.extend(products.iter().map(|product| format!("{channel}:{}", product.as_str().unwrap())));
    }
    let mut bench = Bench::of("coinbase", &topics);
    let sent = bench.subscribe_all();
    let (sent, recorded): (Vec<_>, Vec<_>) =
        (sent.iter().map(|text| json(text)).collect(), recording.sent.iter().map(|text| json(text)).collect());
    assert_eq!(sent, recorded, "grouped by channel, as the recording client asked");
    bench.receive_all(&recording);
    assert_eq!(bench.by_kind(channel), "level2=5905 matches=46 ticker=46");
    assert_eq!((bench.messages(), bench.tally.control, bench.tally.unreadable.len()), (5997, 3, 0));
    let mut acknowledged = bench.acknowledged();
    acknowledged.sort_unstable();
    topics.sort_unstable();
    assert_eq!(acknowledged, topics, "full-state lists acknowledge each topic once");
}

#[test]
fn a_coinbase_refusal_names_no_topic_and_says_why() {
    let mut bench = Bench::of("coinbase", &["matches:BTC-USD", "matches:NO-SUCH"]);
    bench.subscribe_all();
    bench.receive(r#"{"type":"error","message":"Failed to subscribe","reason":"NO-SUCH is not a valid product"}"#);
    assert_eq!(bench.tally.refused, [(vec![], "Failed to subscribe: NO-SUCH is not a valid product".into())]);
    let again = bench.subscribe_all();
    assert_eq!(again.len(), 1, "six at a time the second time");
    let again = bench.subscribe_all();
    assert_eq!(again.len(), 2, "one by one the third time");
}

#[test]
fn every_frame_of_the_kraken_recordings_is_accounted_for() {
    let recording = Recording::load("kraken-v2/btcusd_book25_2026-08-02");
    let mut bench = Bench::of("kraken", &["book-10:BTC/USD", "book-25:BTC/USD", "book-25:XRP/USD", "trade:BTC/USD"]);
    let sent = bench.subscribe([1]);
    assert_eq!(
        json(&sent[0]),
        json(r#"{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":25},"req_id":1}"#)
    );
    bench.receive_all(&recording);
    assert_eq!(bench.tally.messages.clone().into_iter().collect::<Vec<_>>(), [(TopicId(1), 2052)]);
    assert_eq!((bench.tally.control, bench.tally.unreadable.len()), (52, 0));
    assert_eq!(bench.acknowledged(), ["book-25:BTC/USD"]);

    let recording = Recording::load("kraken-v2/xrpusd_book25_2026-08-02");
    let mut bench = Bench::of("kraken", &["book:XRP/USD"]);
    bench.subscribe_all();
    bench.receive_all(&recording);
    assert_eq!((bench.messages(), bench.tally.control, bench.tally.unreadable.len()), (1147, 45, 0));
    assert_eq!(bench.acknowledged(), ["book:XRP/USD"]);
}

#[test]
fn kraken_answers_once_for_each_symbol_of_a_request() {
    let mut bench = Bench::of("kraken", &["trade:BTC/USD", "trade:NO/SUCH", "trade:ETH/USD", "ohlc-5:BTC/USD"]);
    let sent = bench.subscribe_all();
    assert_eq!(sent.len(), 2, "trades together, candles by themselves");
    bench.receive(r#"{"method":"subscribe","req_id":1,"result":{"channel":"trade","snapshot":true,"symbol":"BTC/USD"},"success":true}"#);
    bench.receive(r#"{"error":"Currency pair not supported NO/SUCH","method":"subscribe","req_id":1,"success":false,"symbol":"NO/SUCH"}"#);
    bench.receive(r#"{"method":"subscribe","req_id":1,"result":{"channel":"trade","snapshot":true,"symbol":"ETH/USD"},"success":true}"#);
    bench.receive(r#"{"method":"subscribe","req_id":2,"result":{"channel":"ohlc","interval":5,"symbol":"BTC/USD"},"success":true}"#);
    assert_eq!(bench.acknowledged(), ["trade:BTC/USD", "trade:ETH/USD", "ohlc-5:BTC/USD"]);
    assert_eq!(bench.tally.refused, [(vec![TopicId(1)], "Currency pair not supported NO/SUCH".into())]);
    bench.receive(r#"{"channel":"ohlc","type":"update","data":[{"symbol":"BTC/USD","interval":5}]}"#);
    assert_eq!(bench.tally.messages.keys().collect::<Vec<_>>(), [&TopicId(3)]);
}

#[test]
fn identical_acknowledgements_are_taken_in_the_order_of_requests() {
    let recording = Recording::load("bybit-v5/linear_2025-06-13");
    let topics: Vec<_> = recording.sent.iter().map(|text| json(text)["args"][0].as_str().unwrap().to_owned()).collect();
    let mut bench = Bench::of("bybit", &topics);
    for (topic, recorded) in (0..).zip(&recording.sent) {
        let sent = bench.subscribe([topic]);
        assert_eq!(json_without(&sent[0], "req_id"), json(recorded));
    }
    bench.receive_all(&recording);
    assert_eq!(bench.acknowledged(), topics);
    let counts: Vec<_> = bench.tally.messages.values().copied().collect();
    assert_eq!(counts, [45, 18, 107, 28]);
    assert_eq!((bench.messages(), bench.tally.control, bench.tally.unreadable.len()), (198, 4, 0));
}

#[test]
fn a_refused_request_of_many_topics_is_asked_again_until_the_bad_one_is_found() {
    let topics: Vec<String> = (0..10).map(|number| format!("publicTrade.T{number}USDT")).collect();
    let mut bench = Bench::of("bybit", &topics);
    let mut waiting = bench.subscribe_all();
    assert_eq!(waiting.len(), 1);
    let mut requests = 0;
    while let Some(request) = waiting.pop() {
        requests += 1;
        let request = json(&request);
        let bad = request["args"].as_array().unwrap().iter().any(|topic| topic == "publicTrade.T7USDT");
        let id = request["req_id"].as_str().unwrap();
        waiting.extend(bench.receive(&format!(
            r#"{{"success":{},"ret_msg":"error:handler not found","op":"subscribe","req_id":"{id}"}}"#,
            !bad
        )));
    }
    assert_eq!(requests, 11);
    assert_eq!(bench.tally.acknowledged.len(), 9);
    assert_eq!(bench.tally.refused, [(vec![TopicId(7)], "error:handler not found".into())]);
}

#[test]
fn every_frame_of_the_okx_recording_is_accounted_for() {
    let recording = Recording::load("okx-v5/public_2022-05-13");
    let last = json(recording.sent.last().unwrap());
    let topic =
        |arg: &serde_json::Value| format!("{}:{}", arg["channel"].as_str().unwrap(), arg["instId"].as_str().unwrap());
    let topics: Vec<String> = last["args"].as_array().unwrap().iter().map(topic).collect();
    let mut bench = Bench::of("okx", &topics);
    let sent = bench.subscribe_all();
    assert_eq!(json_without(&sent[0], "id"), last);
    bench.receive_all(&recording);
    assert_eq!(bench.by_kind(channel), "books=290 tickers=28 trades=74");
    assert_eq!((bench.messages(), bench.tally.control, bench.tally.unreadable.len()), (392, 18, 0));
    let mut acknowledged = bench.acknowledged();
    acknowledged.sort_unstable();
    let mut topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    topics.sort_unstable();
    assert_eq!(acknowledged, topics, "an acknowledgement that comes again says nothing new");
}

#[test]
fn a_literal_heartbeat_is_control_and_junk_is_unreadable() {
    let mut bench = Bench::of("okx", &["trades:BTC-USDT"]);
    bench.session.keep_alive(&mut bench.out);
    assert_eq!(bench.out, [crate::dialect::OutFrame::Text("ping".into())]);
    bench.receive("pong");
    assert_eq!((bench.tally.control, bench.tally.unreadable.len()), (1, 0));
    bench.receive("pongo");
    assert!(bench.tally.unreadable[0].0.contains("invalid JSON at byte 0"), "{:?}", bench.tally.unreadable);
    bench.receive(r#"{"arg":{"channel":"trades","instId":"ETH-USDT"},"data":[]}"#);
    assert_eq!(bench.tally.unreadable[1].0, "data of topic `trades:ETH-USDT`, which nobody asked for");
    bench.receive(r#"{"event":"error","code":"60012","msg":"Invalid request"}"#);
    assert_eq!(bench.tally.refused, [(vec![], "Invalid request: 60012".into())]);
}

#[test]
fn a_binary_frame_of_json_is_read_and_one_of_junk_is_not() {
    let mut bench = Bench::of("binance", &["btcusdt@trade"]);
    let text = br#"{"stream":"btcusdt@trade","data":{"t":1}}"#;
    bench.session.receive(crate::dialect::Frame::Binary(text), &mut bench.tally, &mut bench.out);
    assert_eq!(bench.messages(), 1);
    let junk = b"{\"stream\":\"btcusdt@trade\",\"data\":{\"t\":\"\xff\xfe\"}}";
    bench.session.receive(crate::dialect::Frame::Binary(junk), &mut bench.tally, &mut bench.out);
    bench.session.receive(crate::dialect::Frame::Binary(b"\x1f\x8b\x08"), &mut bench.tally, &mut bench.out);
    assert_eq!((bench.messages(), bench.tally.unreadable.len()), (1, 2));
    let deep = "[".repeat(1_000_000);
    bench.receive(&deep);
    assert_eq!(bench.tally.unreadable.len(), 3);
}

#[test]
fn pointers_of_monitors_are_filled_in_the_same_scan() {
    let mut bench = Bench::declared("binance", "", &["btcusdt@trade"], &["/data/t", "/stream", "/data/none"]);
    bench.receive(r#"{"stream":"btcusdt@trade","data":{"t":17}}"#);
    let text = &bench.tally.texts[0].1;
    let place = |slot| bench.tally.last_fields.get(slot).map(|span| &text[span.start as usize..span.end as usize]);
    assert_eq!((place(0), place(1), place(2)), (Some("17"), Some("\"btcusdt@trade\""), None));
}

#[test]
fn a_topic_cannot_break_out_of_its_request() {
    let evil = r#"x"],"op":"unsubscribe","y":["z\"#;
    let mut bench = Bench::of("bybit", &[evil]);
    let sent = bench.subscribe_all();
    assert_eq!(json(&sent[0]), serde_json::json!({ "op": "subscribe", "args": [evil], "req_id": "1" }));

    let dialect = bench.dialect;
    assert!(dialect.check_topic("").is_err());
    let kraken = Bench::of("kraken", &["trade:BTC/USD"]).dialect;
    let error = kraken.check_topic(r#"book-25,"x":1:BTC/USD"#).unwrap_err();
    assert!(error.contains("where `book-{depth}:{symbol}` has JSON or a number"), "{error}");
    let error = kraken.check_topic("trades").unwrap_err();
    assert!(error.contains("has not the form") && error.contains("`trade:BTC/USD`"), "{error}");
}

#[test]
fn a_whole_topic_stands_for_a_json_string_where_a_value_is_wanted() {
    let toml = r#"
        [mine]
        extends = "binance"
        topics = [{ form = "{topic}", subscribe = '{"stream":{topic},"id":{id}}' }]
    "#;
    let mut bench = Bench::declared("mine", toml, &["a\"b", "c"], &[]);
    let sent = bench.subscribe_all();
    assert_eq!(sent, [r#"{"stream":"a\"b","id":1}"#, r#"{"stream":"c","id":2}"#], "one request for each topic");
}

#[test]
fn an_upstream_that_asks_for_a_sign_of_life_gets_it() {
    let toml = r#"
        [mine]
        extends = "binance"
        controls = [{ when = { "/ping" = true }, answer = '{"pong":{/ping},"id":"{id}"}' }]
    "#;
    let mut bench = Bench::declared("mine", toml, &["a@trade"], &[]);
    let answer = bench.receive(r#"{"ping":18446744073709551615}"#);
    assert_eq!(answer, [r#"{"pong":18446744073709551615,"id":"1"}"#]);
    assert_eq!(bench.tally.control, 1);
}

const RESUMING: &str = r#"
[mine]
extends = "binance"
resume = { token = "/data/E", unit = "ms", overlap = "1500ms", scope = "topic" }
topics = [{ form = "{topic}", subscribe = '{"op":"sub","args":{topics}}', subscribe_from = '{"op":"sub","args":{topics},"since":{resume},"text":"{resume}"}' }]
"#;

#[test]
fn subscriptions_go_on_from_a_point_where_there_is_one() {
    let mut bench = Bench::declared("mine", RESUMING, &["a@trade", "b@trade"], &[]);
    let sent = bench.subscribe([0]);
    assert_eq!(json(&sent[0]), json(r#"{"op":"sub","args":["a@trade"]}"#));
    bench.session.resume_from("1700000000123");
    let sent = bench.subscribe([1]);
    assert_eq!(json(&sent[0]), json(r#"{"op":"sub","args":["b@trade"],"since":1700000000123,"text":"1700000000123"}"#));
}

#[test]
fn the_newest_token_of_each_topic_is_kept_and_what_is_none_is_not() {
    let mut bench = Bench::declared("mine", RESUMING, &["a@trade", "b@trade"], &[]);
    bench.subscribe_all();
    for (stream, token) in
        [("a", "5"), ("b", "7"), ("a", "6"), ("b", "null"), ("b", "-1"), ("a", r#""9""#), ("c", "99")]
    {
        bench.receive(&format!(r#"{{"stream":"{stream}@trade","data":{{"E":{token}}}}}"#));
    }
    let tokens = bench.session.take_tokens();
    let tokens: Vec<_> = tokens.iter().map(|token| (token.topic.unwrap().0, token.token.as_slice())).collect();
    assert_eq!(tokens, [(0, &b"9"[..]), (1, &b"7"[..])]);
    assert!(bench.session.take_tokens().is_empty());
}

#[test]
fn an_upstream_that_announces_that_it_will_close_the_link_is_heard() {
    let notice =
        r#"{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade."}"#;
    for (dialect, topic, text) in [
        ("binance", "btcusdt@trade", r#"{"e":"serverShutdown","E":1770123456789}"#),
        ("okx", "trades:BTC-USDT", notice),
    ] {
        let mut bench = Bench::of(dialect, &[topic]);
        bench.subscribe_all();
        bench.receive(text);
        assert_eq!((bench.tally.closing, bench.tally.control), (1, 1), "{dialect}");
    }
    let mut bench = Bench::of("okx", &["trades:BTC-USDT"]);
    bench.receive(r#"{"event":"channel-conn-count","channel":"trades","connCount":"2","connId":"abcd1234"}"#);
    assert_eq!((bench.tally.closing, bench.tally.control), (0, 1));
}
