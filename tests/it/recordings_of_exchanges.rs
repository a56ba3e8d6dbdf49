//! More real input: feeds whose messages are arrays, whose frames are packed, or whose data says ids that are learned. As in
//! `recordings.rs`, the numbers were counted by a script beside the program.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::processes::{Account, json};
use super::recordings::{Played, Recording, play};
use super::support::Workplace;

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// No number of the feed's is missing.
fn assert_no_gap_of_a_sequence(played: &Played) {
    let gaps: Vec<Value> =
        serde_json::from_str(&json(&played.place, &["gaps", "--cause", "sequence"])).expect("a JSON array");
    assert!(gaps.is_empty(), "{gaps:?}");
}

#[test]
fn bitfinex_is_accounted_for() {
    let recording = Recording::load("bitfinex-v2/arrays_2021-04-17");
    let topics = |channel: &str| -> Vec<String> {
        let requests = recording.sent.iter().map(|text| value(text)).filter(|request| request["channel"] == channel);
        let name = |request: &Value| {
            let part = |name: &str| request[name].as_str().unwrap().to_owned();
            match channel {
                "book" => format!("book-{}-{}-{}:{}", part("prec"), part("freq"), part("len"), part("symbol")),
                _ => format!("{channel}:{}", part("symbol")),
            }
        };
        requests.map(|request| name(&request)).collect()
    };
    let played = play(&recording, "bitfinex", 1693, |settings| {
        ["book", "trades", "ticker"].into_iter().fold(settings, |settings, channel| {
            let topics = topics(channel);
            assert_eq!(topics.len(), 7);
            let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
            settings.monitor(channel, channel, "feed", &topics, "")
        })
    });
    // Each has 14 heartbeats, two of which came before their book's acknowledgement, and 7 acknowledgements.
    played.assert_account("book", [1600, 0, 14 + 7, 0]);
    // Seven lists of 30 trades.
    played.assert_account("trades", [210, 0, 14 + 7, 0]);
    played.assert_account("ticker", [21, 0, 14 + 7, 0]);
    // What the server says of itself, and that our flags are in force.
    played.assert_upstream([2, 0]);
    played.assert_no_conflicts();
    played.assert_distinct_ids("trades");
    let rows = recording.received.iter().filter(|text| text.starts_with('['));
    let (mut of_book, mut of_ticker) = (Vec::new(), Vec::new());
    let channels: BTreeMap<i64, String> = recording
        .received
        .iter()
        .map(|text| value(text))
        .filter(|message| message["event"] == "subscribed")
        .map(|message| (message["chanId"].as_i64().unwrap(), message["channel"].as_str().unwrap().to_owned()))
        .collect();
    for row in rows {
        let message = value(row);
        match &*channels[&message[0].as_i64().unwrap()] {
            _ if message[1] == "hb" => {}
            "book" => of_book.push(row.as_str()),
            "ticker" => of_ticker.push(row.as_str()),
            _ => {}
        }
    }
    played.assert_payloads("book", of_book);
    played.assert_payloads("ticker", of_ticker);
    assert_eq!(
        played.of("trades").next().map(|event| event.payload.get()),
        Some("[669899159,1618665870435,166.391496,0.076989]")
    );
    assert_eq!(played.first("trades"), (None, Some("669899159"), Some("2021-04-17T13:24:30.435Z")));
    // 1,670 numbers in one row, over three monitors, heartbeats included.
    assert_no_gap_of_a_sequence(&played);
}

#[test]
fn bitmex_is_accounted_for() {
    let recording = Recording::load("bitmex/public_2021-07-22");
    let played = play(&recording, "bitmex", 800, |settings| {
        ["orderBookL2", "quote", "trade"].into_iter().fold(settings, |settings, table| {
            let request = recording.sent.iter().map(|text| value(text)).find(|request| {
                request["args"][0]
                    .as_str()
                    .is_some_and(|topic| topic.split_once(':').is_some_and(|(found, _)| found == table))
            });
            let topics = request.unwrap()["args"].as_array().unwrap().clone();
            let topics: Vec<&str> = topics.iter().map(|topic| topic.as_str().unwrap()).collect();
            settings.monitor(table, table, "feed", &topics, "")
        })
    });
    // Ten acknowledgements each; a row of `quote` and `trade` is an event, a change of a book is one whole.
    played.assert_account("orderBookL2", [717, 0, 10, 0]);
    played.assert_account("quote", [166, 0, 10, 0]);
    played.assert_account("trade", [13, 0, 10, 0]);
    played.assert_upstream([1, 0]);
    played.assert_no_conflicts();
    played.assert_distinct_ids("trade");
    played.assert_without_ids("orderBookL2");
    let of_table = |table: &str| {
        recording.received.iter().filter(|text| value(text)["table"] == table).map(String::as_str).collect::<Vec<_>>()
    };
    played.assert_payloads("orderBookL2", of_table("orderBookL2"));
}

#[test]
fn bitstamp_is_accounted_for() {
    let recording = Recording::load("bitstamp/public_2022-01-05");
    let topics: Vec<String> =
        recording.sent.iter().map(|text| value(text)["data"]["channel"].as_str().unwrap().to_owned()).collect();
    let played = play(&recording, "bitstamp", 747, |settings| {
        [("books", "diff_order_book_"), ("trades", "live_trades_")].into_iter().fold(
            settings,
            |settings, (monitor, prefix)| {
                let topics: Vec<&str> =
                    topics.iter().map(String::as_str).filter(|topic| topic.starts_with(prefix)).collect();
                settings.monitor(monitor, monitor, "feed", &topics, "")
            },
        )
    });
    played.assert_account("books", [717, 0, 10, 0]);
    played.assert_account("trades", [10, 0, 10, 0]);
    played.assert_upstream([0, 0]);
    played.assert_no_conflicts();
    for (monitor, event) in [("books", "data"), ("trades", "trade")] {
        played.assert_distinct_ids(monitor);
        let of_event = recording.received.iter().filter(|text| value(text)["event"] == event);
        played.assert_payloads(monitor, of_event.map(String::as_str));
    }
}

#[test]
fn gemini_is_accounted_for() {
    let recording = Recording::load("gemini-v2/l2_2021-06-24");
    let symbols = value(&recording.sent[0])["subscriptions"][0]["symbols"].as_array().unwrap().clone();
    let topics: Vec<String> = symbols.iter().map(|symbol| format!("l2:{}", symbol.as_str().unwrap())).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    let played = play(&recording, "gemini", 678, |settings| settings.monitor("l2", "books", "feed", &topics, ""));
    // 655 changes of books, ten of them whole ones, and 16 trades. Nothing is acknowledged.
    played.assert_account("l2", [671, 0, 0, 0]);
    played.assert_upstream([7, 0]);
    played.assert_no_conflicts();
    let data = recording.received.iter().filter(|text| value(text)["type"] != "heartbeat");
    played.assert_payloads("l2", data.map(String::as_str));
    assert_eq!(played.events.iter().filter(|event| event.id.is_some()).count(), 16, "trades have ids");
}

#[test]
fn gzip_in_binary_frames_of_huobi_is_accounted_for() {
    let recording = Recording::load("huobi-gzip/binary_2021-04-17");
    let topics: Vec<String> =
        recording.sent.iter().filter_map(|text| value(text)["sub"].as_str().map(str::to_owned)).collect();
    let played = play(&recording, "huobi", 250, |settings| {
        [("books", ".depth."), ("trades", ".trade.")].into_iter().fold(settings, |settings, (monitor, part)| {
            let topics: Vec<&str> = topics.iter().map(String::as_str).filter(|topic| topic.contains(part)).collect();
            assert_eq!(topics.len(), 10);
            settings.monitor(monitor, monitor, "feed", &topics, "")
        })
    });
    played.assert_account("books", [189, 0, 10, 0]);
    // 36 messages, of one trade or several.
    played.assert_account("trades", [62, 0, 10, 0]);
    // Four pings.
    played.assert_upstream([4, 0]);
    played.assert_no_conflicts();
    played.assert_distinct_ids("trades");
    played.assert_without_ids("books");
    let books = recording.received.iter().filter(|text| text.contains("depth") && text.starts_with("{\"ch\""));
    played.assert_payloads("books", books.map(String::as_str));
}

#[test]
fn json_in_binary_frames_of_upbit_is_accounted_for() {
    let recording = Recording::load("upbit-binary/simple_2021-04-17");
    let request = value(&recording.sent[0]);
    let codes: Vec<&str> = request[2]["codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap()).collect();
    let played = play(&recording, "upbit", 449, |settings| {
        ["trade", "orderbook"].into_iter().fold(settings, |settings, kind| {
            let topics: Vec<String> = codes.iter().map(|code| format!("{kind}:{code}")).collect();
            settings.monitor(kind, kind, "feed", &topics.iter().map(String::as_str).collect::<Vec<_>>(), "")
        })
    });
    played.assert_account("trade", [304, 0, 0, 0]);
    played.assert_account("orderbook", [145, 0, 0, 0]);
    played.assert_upstream([0, 0]);
    played.assert_no_conflicts();
    played.assert_distinct_ids("trade");
    for kind in ["trade", "orderbook"] {
        let of_kind = recording.received.iter().filter(|text| value(text)["ty"] == kind);
        played.assert_payloads(kind, of_kind.map(String::as_str));
    }
}

#[test]
fn arrays_of_kraken_version_1_are_accounted_for() {
    for (name, topic, frames, events, control) in [
        // Eight messages of one or two trades.
        ("trade", "trade", 49, 10, 30 + 1),
        ("ticker", "ticker", 60, 18, 31 + 1),
        ("book1000", "book-1000", 1500, 1475, 14 + 1),
    ] {
        let recording = Recording::load(&format!("kraken-v1/{name}_2021-04-17"));
        let pairs = value(&recording.sent[0])["pair"].as_array().unwrap().clone();
        let topics: Vec<String> = pairs.iter().map(|pair| format!("{topic}:{}", pair.as_str().unwrap())).collect();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let played = play(&recording, "kraken-v1", frames, |settings| settings.monitor("m", "d", "feed", &topics, ""));
        played.assert_account("m", [events, 0, 10, 0]);
        played.assert_upstream([control, 0]);
        played.assert_no_conflicts();
        played.assert_without_ids("m");
        if name != "trade" {
            let arrays = recording.received.iter().filter(|text| text.starts_with('['));
            played.assert_payloads("m", arrays.map(String::as_str));
        }
        assert!(played.events.iter().all(|event| event.key.as_deref().is_some_and(|key| key.contains('/'))));
    }
}

/// What a script counted of an exchange's messages by a preset's rules.
#[derive(Debug, Deserialize)]
struct Shapes {
    exchange: String,
    frames: u64,
    /// Events, repeats, control, quarantined.
    account: [u64; 4],
    /// Answers of HTTP interfaces, which are no feed's messages, and what another preset reads.
    unrouted: u64,
    topics: Vec<String>,
}

/// The recorder had put each channel's request in the place of its number.
const BITFINEX_SHAPES: &str = r#"
[dialects.bitfinex]
extends = "bitfinex"
routes = [
    { when = { "/0/len" = true }, topic = "book-{/0/prec}-{/0/freq}-{/0/len}:{/0/symbol}" },
    { when = { "/0/key" = true }, topic = "key-{/0/channel}:{/0/key}" },
    { when = { "/0/channel" = true }, topic = "{/0/channel}:{/0/symbol}" },
]
"#;

#[test]
fn single_messages_of_twenty_one_exchanges_are_accounted_for() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/exchange-shapes");
    let mut text = String::new();
    let file = std::fs::File::open(folder.join("messages_2021-2023.jsonl.gz")).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let lines: Vec<Value> = text.lines().map(value).collect();
    let presets: BTreeMap<String, Shapes> =
        serde_json::from_str(&std::fs::read_to_string(folder.join("accounts.json")).unwrap()).unwrap();
    let exchanges: std::collections::BTreeSet<_> = presets.values().map(|shapes| &shapes.exchange).collect();
    assert_eq!(exchanges.len(), 21);
    let mut wrong = Vec::new();
    for (preset, Shapes { exchange, frames, account, unrouted, topics }) in &presets {
        let mut session = String::new();
        for line in lines.iter().filter(|line| line["exchange"] == *exchange) {
            writeln!(session, "{}", serde_json::json!({ "dir": "in", "text": line["text"] })).unwrap();
        }
        let place = Workplace::new().with_file("shapes.session.jsonl", &session);
        let recording = Recording::of(place.path("shapes.session.jsonl"), &session);
        assert_eq!(recording.received.len() as u64, *frames, "{preset}");
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let played = play(&recording, preset, *frames, |settings| {
            let settings = if preset == "bitfinex" { settings.with(BITFINEX_SHAPES) } else { settings };
            settings.monitor("m", "d", "feed", &topics, "")
        });
        let accounts = (played.account("m"), played.account("upstream:feed"));
        let ([messages, upstream_messages], unread) = ([account.iter().sum(), *unrouted], played.quarantine_of("m"));
        let [events, repeats, control, quarantined] = *account;
        let expected = (
            Account { messages, events, repeats, control, quarantined },
            Account { messages: upstream_messages, quarantined: *unrouted, ..Account::default() },
        );
        if accounts != expected {
            wrong.push(format!("{preset}: {accounts:?} is not {expected:?}: {unread:#?}"));
        }
        played.assert_no_conflicts();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
