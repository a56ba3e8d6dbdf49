//! What declarations may say beside names in messages: ids that are learned, packed frames, requests that replace.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::dialect::recordings::{Bench, json};
use crate::dialect::{Frame, OutFrame, TopicId};

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn receive_binary(bench: &mut Bench, frame: &[u8]) -> Vec<OutFrame> {
    bench.session.receive(Frame::Binary(frame), &mut bench.tally, &mut bench.out);
    std::mem::take(&mut bench.out)
}

const TICKER: &str = r#"{"event":"subscribed","channel":"ticker","chanId":7,"symbol":"tBTCUSD","pair":"BTCUSD"}"#;

#[test]
fn data_belongs_to_the_topic_whose_acknowledgement_gave_its_id() {
    let mut bench = Bench::of("bitfinex", &["ticker:tBTCUSD", "book-P0-F0-25:tBTCUSD", "book-P0-F0-100:tBTCUSD"]);
    let sent = bench.subscribe_all();
    assert_eq!(json(&sent[0]), json(r#"{"event":"conf","flags":65536}"#));
    assert_eq!(
        json(&sent[2]),
        json(r#"{"event":"subscribe","channel":"book","symbol":"tBTCUSD","prec":"P0","freq":"F0","len":"25"}"#)
    );
    assert_eq!(bench.subscribe([0]).len(), 1, "what is said first is said once");
    bench.receive(TICKER);
    bench.receive(
        r#"{"event":"subscribed","channel":"book","chanId":8,"symbol":"tBTCUSD","prec":"P0","freq":"F0","len":"100"}"#,
    );
    assert_eq!(bench.acknowledged(), ["ticker:tBTCUSD", "book-P0-F0-100:tBTCUSD"]);
    bench.receive("[7,[1,2,3,4,5,6,7,8,9,10],1]");
    bench.receive("[8,[1,1,1],2]");
    assert_eq!(bench.tally.messages.keys().collect::<Vec<_>>(), [&TopicId(0), &TopicId(2)]);
    // `7` is not `"7"`, and nobody's number is nobody's data.
    bench.receive(r#"{"event":"error","msg":"symbol: invalid","code":10300,"channel":"book","symbol":"tBTCUSD","prec":"P0","freq":"F0","len":"25"}"#);
    assert_eq!(bench.tally.refused, [(vec![TopicId(1)], "symbol: invalid: 10300".into())]);
    bench.receive(r#"["7",[1],3]"#);
    assert_eq!(bench.tally.unreadable[0].0, "data of topic `\"7\"`, which nobody asked for");
    assert_eq!(bench.messages(), 2);
}

#[test]
fn what_comes_before_its_id_is_given_waits_for_it() {
    let mut bench = Bench::of("bitfinex", &["ticker:tBTCUSD", "trades:tBTCUSD"]);
    bench.subscribe_all();
    bench.receive(r#"[7,"hb",1]"#);
    bench.receive(r#"[9,"hb",2]"#);
    assert_eq!((bench.messages(), bench.tally.unreadable.len()), (0, 0));
    bench.receive(TICKER);
    assert_eq!(bench.tally.texts, [(TopicId(0), r#"[7,"hb",1]"#.into())]);
    bench.receive(r#"{"event":"subscribed","channel":"trades","chanId":8,"symbol":"tBTCUSD"}"#);
    assert_eq!(bench.tally.unreadable.len(), 1, "no answer can claim it any more");
}

#[test]
fn a_topic_that_has_an_id_is_ended_by_it_also_when_it_gets_it_late() {
    let mut bench = Bench::of("bitfinex", &["ticker:tBTCUSD", "trades:tBTCUSD"]);
    bench.subscribe_all();
    bench.receive(TICKER);
    let sent = bench.unsubscribe([0, 1]);
    assert_eq!(sent, [r#"{"event":"unsubscribe","chanId":7}"#]);
    bench.receive(r#"[7,"hb",1]"#);
    let sent = bench.receive(r#"{"event":"subscribed","channel":"trades","chanId":8,"symbol":"tBTCUSD"}"#);
    assert_eq!(sent, [r#"{"event":"unsubscribe","chanId":8}"#]);
    bench.receive("[8,[[1,2,3,4]],2]");
    bench.receive(r#"{"event":"unsubscribed","status":"OK","chanId":7}"#);
    assert_eq!((bench.messages(), bench.tally.unreadable.len(), bench.tally.control), (0, 0, 5));
}

#[test]
fn packed_frames_are_read_and_pings_inside_are_answered() {
    let mut bench = Bench::of("huobi", &["market.btcusdt.trade.detail"]);
    let sent = bench.subscribe_all();
    assert_eq!(sent, [r#"{"sub":"market.btcusdt.trade.detail","id":1}"#]);
    receive_binary(&mut bench, &gzip(r#"{"id":1,"status":"ok","subbed":"market.btcusdt.trade.detail","ts":1}"#));
    assert_eq!(bench.acknowledged().len(), 1);
    let out = receive_binary(&mut bench, &gzip(r#"{"ping":1618678073643}"#));
    assert_eq!(out, [OutFrame::Text(r#"{"pong":1618678073643}"#.into())]);
    let text = r#"{"ch":"market.btcusdt.trade.detail","ts":1,"tick":{"data":[]}}"#;
    receive_binary(&mut bench, &gzip(text));
    assert_eq!(bench.tally.texts, [(TopicId(0), text.into())], "what is journaled is the JSON");
    receive_binary(&mut bench, text.as_bytes());
    assert_eq!(bench.tally.unreadable[0], ("gzip: has no gzip header, or half of one".into(), text.into()));
    bench.receive(text);
    assert_eq!(bench.messages(), 2, "a text frame is taken as it is, as one is from the quarantine");
}

#[test]
fn a_frame_that_unpacks_to_more_than_is_allowed_goes_to_quarantine_as_it_came() {
    let toml = "[mine]\nextends = \"huobi\"\ndecoded_max = \"1KiB\"";
    let mut bench = Bench::declared("mine", toml, &["market.btcusdt.trade.detail"], &[]);
    let bomb = gzip(&format!("{{\"ch\":\"{}\"}}", " ".repeat(5_000)));
    receive_binary(&mut bench, &bomb);
    assert!(bench.tally.unreadable[0].0.contains("more than 1024 bytes"), "{:?}", bench.tally.unreadable);
}

const HUB: &str = r#"
[hub]
kind = "json"
wrapped = [{ when = { "/M/0/A" = true }, each = "/M", at = "/A/0", decode = ["base64", "deflate"] }]
topics = [{ form = "{channel}_{market}", subscribe = '{"A":[{topics}],"I":{id}}' }]
routes = [{ topic = "trade_{/marketSymbol}" }]
acknowledgements = [{ when = { "/I" = true }, id = "/I" }]
controls = [{ when = { "/C" = true } }]
"#;

#[test]
fn messages_inside_of_a_message_are_read_one_by_one() {
    use base64::Engine as _;
    let pack = |text: &str| {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        base64::engine::general_purpose::STANDARD.encode(encoder.finish().unwrap())
    };
    let mut bench = Bench::declared("hub", HUB, &["trade_BTC-USD", "trade_ETH-USD"], &["/marketSymbol"]);
    let sent = bench.subscribe_all();
    assert_eq!(sent, [r#"{"A":[["trade_BTC-USD","trade_ETH-USD"]],"I":1}"#]);
    bench.receive(r#"{"R":[],"I":"1"}"#);
    let (one, other) = (r#"{"marketSymbol":"BTC-USD"}"#, r#"{"marketSymbol":"ETH-USD"}"#);
    let frame = |inside: &[String]| {
        let elements: Vec<_> = inside.iter().map(|text| format!(r#"{{"M":"trade","A":["{text}"]}}"#)).collect();
        format!(r#"{{"C":"d-1","M":[{}]}}"#, elements.join(","))
    };
    bench.receive(&frame(&[pack(one), "!".into(), pack(other)]));
    assert_eq!(bench.tally.texts, [(TopicId(0), one.into()), (TopicId(1), other.into())]);
    assert_eq!(bench.tally.last_fields.get(0).map(|span| span.of(other.as_bytes())), Some(&b"\"ETH-USD\""[..]));
    assert!(bench.tally.unreadable[0].0.starts_with("base64: "), "{:?}", bench.tally.unreadable);
    bench.receive(r#"{"C":"d-2","M":[]}"#);
    assert_eq!((bench.tally.control, bench.tally.acknowledged.len()), (2, 2));
}

#[test]
fn a_request_that_takes_the_place_of_the_one_before_names_all_topics() {
    let mut bench = Bench::of("upbit", &["trade:KRW-BTC", "orderbook:KRW-BTC", "trade:KRW-ETH"]);
    let group = |kind: &str, codes: &str| format!(r#"{{"type":"{kind}","codes":[{codes}],"isOnlyRealtime":true}}"#);
    let request = |id: u32, groups: &[String]| {
        format!(r#"[{{"ticket":"sluice-{id}"}},{{"format":"SIMPLE"}},{}]"#, groups.join(","))
    };
    let (books, both) = (group("orderbook", "\"KRW-BTC\""), group("trade", "\"KRW-BTC\",\"KRW-ETH\""));
    assert_eq!(bench.subscribe([0, 1]), [request(1, &[group("trade", "\"KRW-BTC\""), books.clone()])]);
    assert_eq!(bench.subscribe([2]), [request(2, &[both, books.clone()])]);
    assert_eq!(bench.unsubscribe([0]), [request(3, &[books, group("trade", "\"KRW-ETH\"")])]);
    assert_eq!(bench.unsubscribe([1, 2]), [""; 0], "there is no word for nothing at all");
    bench.receive(r#"{"ty":"trade","cd":"KRW-ETH"}"#);
    assert_eq!((bench.messages(), bench.tally.control), (0, 1), "late data of an ended topic");
}

#[test]
fn places_in_an_array_are_told_by_how_long_it_is() {
    let mut bench = Bench::of("kraken-v1", &["book-25:XBT/USD", "trade:XBT/USD", "book:ETH/USD"]);
    let sent = bench.subscribe_all();
    assert_eq!(
        json(&sent[0]),
        json(r#"{"event":"subscribe","reqid":1,"pair":["XBT/USD"],"subscription":{"name":"book","depth":25}}"#)
    );
    bench.receive(r#"{"channelID":320,"channelName":"book-25","event":"subscriptionStatus","pair":"XBT/USD","reqid":1,"status":"subscribed","subscription":{"depth":25,"name":"book"}}"#);
    bench.receive(r#"{"channelName":"book-10","event":"subscriptionStatus","pair":"ETH/USD","status":"subscribed","subscription":{"depth":10,"name":"book"}}"#);
    bench.receive(r#"{"errorMessage":"Currency pair not supported XBT/USD","event":"subscriptionStatus","pair":"XBT/USD","reqid":2,"status":"error","subscription":{"name":"trade"}}"#);
    assert_eq!(bench.acknowledged(), ["book-25:XBT/USD", "book:ETH/USD"]);
    assert_eq!(bench.tally.refused, [(vec![TopicId(1)], "Currency pair not supported XBT/USD".into())]);
    bench.receive(r#"[320,{"b":[["1","2","3"]],"c":"1"},"book-25","XBT/USD"]"#);
    bench.receive(r#"[320,{"a":[["1","2","3"]]},{"b":[["1","2","3"]],"c":"1"},"book-25","XBT/USD"]"#);
    bench.receive(r#"[321,{"b":[],"c":"1"},"book-10","ETH/USD"]"#);
    assert_eq!(bench.tally.messages.clone().into_iter().collect::<Vec<_>>(), [(TopicId(0), 2), (TopicId(2), 1)]);
}

#[test]
fn an_acknowledgement_that_has_a_number_goes_to_the_monitors_too() {
    let mut bench = Bench::of("coinbase-advanced", &["level2:BTC-USD", "market_trades:BTC-USD", "heartbeats"]);
    let sent = bench.subscribe_all();
    assert_eq!(json(&sent[2]), json(r#"{"type":"subscribe","channel":"heartbeats"}"#));
    assert_eq!(sent.len(), 3);
    bench.receive(r#"{"channel":"subscriptions","sequence_num":0,"events":[{"subscriptions":{"level2":["BTC-USD"],"heartbeats":["heartbeats"]}}]}"#);
    assert_eq!(bench.acknowledged(), ["level2:BTC-USD", "heartbeats"]);
    bench.receive(r#"{"channel":"l2_data","sequence_num":1,"events":[{"type":"snapshot","product_id":"BTC-USD"}]}"#);
    bench.receive(r#"{"channel":"market_trades","sequence_num":2,"events":[{"trades":[{"product_id":"BTC-USD","trade_id":"1"}]}]}"#);
    bench.receive(r#"{"channel":"heartbeats","sequence_num":3,"events":[{"heartbeat_counter":1}]}"#);
    assert_eq!((bench.messages(), bench.tally.control, bench.tally.unreadable.len()), (4, 0, 0));
}

#[test]
fn mistakes_in_a_declaration_name_their_key() {
    use std::collections::BTreeMap;
    for (toml, expected) in [
        ("extends = \"huobi\"\ndecode = \"zip\"", "unknown variant `zip`"),
        (
            "extends = \"bitfinex\"\nroutes = [{ learned = \"/0\", topic = \"{/1}\" }]",
            "`routes[0].learned`: goes in the place",
        ),
        ("extends = \"bitfinex\"\nroutes = [{ learned = \"0\" }]", "`routes[0].learned`"),
        ("extends = \"bitfinex\"\nroutes = [{ when = { \"/1\" = true } }]", "`routes[0].topic`: is missing"),
        ("extends = \"bitfinex\"\nhello = \"{topic}\"", "`hello`: knows no `{topic}`"),
        (
            "extends = \"upbit\"\ntopics = [{ form = \"{a}\", group = '{\"x\":{topics}}', subscribe = '[{topics}]' }]",
            "`topics[0].group`",
        ),
        (
            "extends = \"upbit\"\ntopics = [{ form = \"{a}\", subscribe = '[\"{a}\"]', replaces = true }]",
            "`topics[0].replaces`",
        ),
        ("extends = \"huobi\"\nwrapped = [{ at = \"x\" }]", "`wrapped[0].at`"),
    ] {
        let declared: BTreeMap<String, toml::Table> = toml::from_str(&format!("[x]\n{toml}")).unwrap();
        let error = crate::dialect::registry::build("x", &declared).unwrap_err().to_string();
        assert!(error.contains(expected), "{toml}: {error}");
    }
}
