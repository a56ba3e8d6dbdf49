//! Real input: each recorded feed, served to the daemon over a socket, is accounted for to the last frame.
//!
//! The numbers were counted beside the program, by a script that reads the recordings with a general JSON parser, sorts
//! frames by the routing field that `tests/data/README.md` names, and counts ids that come back. It found that no id
//! comes back within a recording: whatever is dropped as a repeat here without being sent twice is a wrong rule.

use std::collections::{BTreeMap, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Message;

use super::processes::{
    Account, Daemon, Event, Feed, Metrics, Settings, accounts, figure, quarantined, query, stat, until,
};
use super::raw_upstream::{Manner, RawUpstream};
use super::support::Workplace;

/// A recording's frames, as the client that recorded it saw them; what was packed is unpacked.
pub(crate) struct Recording {
    path: PathBuf,
    url: String,
    pub(crate) received: Vec<String>,
    /// What the client sent.
    pub(crate) sent: Vec<String>,
}

impl Recording {
    pub(crate) fn load(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.session.jsonl.gz"));
        let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        Self::of(path, &text)
    }

    /// The recording at `path`, whose lines are `text`.
    pub(crate) fn of(path: PathBuf, text: &str) -> Self {
        let mut recording = Self { path, url: String::new(), received: Vec::new(), sent: Vec::new() };
        for line in text.lines() {
            let frame: Value = serde_json::from_str(line).unwrap();
            match frame["dir"].as_str() {
                Some("open") => frame["url"].as_str().unwrap().clone_into(&mut recording.url),
                Some("in") => recording.received.push(text_of(&frame)),
                Some("out") => recording.sent.push(text_of(&frame)),
                _ => {}
            }
        }
        recording
    }

    /// The streams that a Binance address asks for and whose name has `kind` behind its symbol.
    fn streams(&self, kind: &str) -> Vec<&str> {
        let (_, streams) = self.url.split_once("streams=").expect("a Binance address");
        streams.split('/').filter(|stream| stream.split_once('@').is_some_and(|(_, rest)| rest == kind)).collect()
    }
}

/// A recorded frame's text.
fn text_of(frame: &Value) -> String {
    use base64::Engine as _;
    let Some(packed) = frame["b64"].as_str() else { return frame["text"].as_str().unwrap().to_owned() };
    let bytes = base64::engine::general_purpose::STANDARD.decode(packed).unwrap();
    let mut text = String::new();
    match flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text) {
        Ok(_) => text,
        Err(_) => String::from_utf8(bytes).unwrap(),
    }
}

/// What a daemon made of a recording.
pub(crate) struct Played {
    pub(crate) place: Workplace,
    pub(crate) metrics: Metrics,
    feed: String,
    accounts: BTreeMap<String, Account>,
    pub(crate) events: Vec<Event>,
}

/// Serves a recording to a daemon with `monitors` of the upstream `feed` until `frames` frames have been read.
pub(crate) fn play(
    recording: &Recording,
    dialect: &str,
    frames: u64,
    monitors: impl Fn(Settings) -> Settings,
) -> Played {
    play_with(recording, dialect, frames, &[], monitors)
}

pub(crate) fn play_with(
    recording: &Recording,
    dialect: &str,
    frames: u64,
    more: &[&str],
    monitors: impl Fn(Settings) -> Settings,
) -> Played {
    let place = Workplace::new();
    let path = recording.path.to_str().unwrap();
    let feed = Feed::start(&place, &[&["--recording", path, "--patience", "300ms"], more].concat());
    let settings = monitors(Settings::new().upstream("feed", dialect, feed.url()));
    let daemon = Daemon::start(&place, &settings);
    until("every frame is read", || {
        let read = daemon.frames("feed");
        assert!(read <= frames, "{read} frames were read, more than the {frames} that were to come");
        (read == frames).then_some(())
    });
    let metrics = daemon.metrics();
    daemon.stop();
    let (accounts, events) = (accounts(&place), query(&place, &[]));
    Played { metrics, feed: feed.stop(), accounts, events, place }
}

impl Played {
    /// `[events, repeats, control, quarantined]` of a monitor; what it got is their sum.
    pub(crate) fn assert_account(&self, monitor: &str, [events, repeats, control, quarantined]: [u64; 4]) {
        let messages = events + repeats + control + quarantined;
        let expected = Account { messages, events, repeats, control, quarantined };
        assert_eq!(self.account(monitor), expected, "{monitor}");
    }

    pub(crate) fn account(&self, monitor: &str) -> Account {
        self.accounts.get(monitor).copied().unwrap_or_default()
    }

    /// Frames that belong to no monitor: `[control, quarantined]`.
    pub(crate) fn assert_upstream(&self, [control, quarantined]: [u64; 2]) {
        self.assert_account("upstream:feed", [0, 0, control, quarantined]);
    }

    /// No id came back with another payload: a rule that takes updates for one event loses data.
    pub(crate) fn assert_no_conflicts(&self) {
        assert_eq!(self.metrics.value("sluice_conflicts_total", &[]), 0);
        assert!(self.events.iter().all(|event| !event.conflict));
    }

    /// Why frames of a monitor are in quarantine.
    pub(crate) fn quarantine_of(&self, monitor: &str) -> Vec<String> {
        let frames = quarantined(&self.place).into_iter().filter(|frame| frame["monitor"] == monitor);
        frames.map(|frame| format!("{}: {}", frame["reason"], frame["frame"])).collect()
    }

    pub(crate) fn of<'a>(&'a self, monitor: &'a str) -> impl Iterator<Item = &'a Event> {
        self.events.iter().filter(move |event| event.monitor == monitor)
    }

    /// The payloads of a monitor are `expected`, each once, to the byte and in the order of arrival.
    pub(crate) fn assert_payloads<'a>(&self, monitor: &str, expected: impl IntoIterator<Item = &'a str>) {
        let mut expected = expected.into_iter();
        for event in self.of(monitor) {
            assert_eq!(Some(event.payload.get()), expected.next(), "{monitor}, offset {}", event.offset);
        }
        assert_eq!(expected.next(), None, "{monitor}");
    }

    /// Every event has an id, and no two of `monitor` the same.
    pub(crate) fn assert_distinct_ids(&self, monitor: &str) {
        let mut seen = HashSet::new();
        for event in self.of(monitor) {
            let id = event.id.as_deref().unwrap_or_else(|| panic!("{monitor}: no id in {}", event.payload));
            assert!(seen.insert(id), "{monitor}: `{id}` is there twice");
        }
    }

    pub(crate) fn assert_without_ids(&self, monitor: &str) {
        assert!(self.of(monitor).all(|event| event.id.is_none()), "{monitor}");
    }

    /// Key, id and event time of a monitor's first event.
    pub(crate) fn first<'a>(&'a self, monitor: &'a str) -> (Option<&'a str>, Option<&'a str>, Option<&'a str>) {
        let event = self.of(monitor).next().unwrap_or_else(|| panic!("{monitor} has no event"));
        (event.key.as_deref(), event.id.as_deref(), event.event_time.as_deref())
    }
}

/// The frames whose `field` of the whole message ends in `wanted`.
pub(crate) fn frames<'a>(recording: &'a Recording, pointer: &str, fits: impl Fn(&str) -> bool) -> Vec<&'a str> {
    let field = |text: &str| {
        let value: Value = serde_json::from_str(text).ok()?;
        Some(value.pointer(pointer)?.as_str()?.to_owned())
    };
    let received = recording.received.iter().map(String::as_str);
    received.filter(|text| field(text).is_some_and(|field| fits(&field))).collect()
}

/// The raw elements of `/data`.
fn elements<'a>(frames: &[&'a str]) -> Vec<&'a str> {
    #[derive(Deserialize)]
    struct Frame<'a> {
        #[serde(borrow)]
        data: Vec<&'a RawValue>,
    }
    frames.iter().flat_map(|frame| serde_json::from_str::<Frame>(frame).unwrap().data).map(RawValue::get).collect()
}

#[test]
fn binance_spot_of_2021_is_accounted_for() {
    let recording = Recording::load("binance-spot/combined_2021-10-11");
    // 265 recorded ones, and the answer to the one SUBSCRIBE for 16 streams.
    let played = play(&recording, "binance", 266, |settings| {
        settings
            .monitor("books", "books", "feed", &recording.streams("depth@100ms"), "")
            .monitor("quotes", "quotes", "feed", &recording.streams("bookTicker"), "")
            .monitor("candles", "prices", "feed", &recording.streams("kline_1m"), "")
            .monitor("trades", "trades", "feed", &recording.streams("aggTrade"), "")
    });
    played.assert_account("books", [177, 0, 0, 0]);
    played.assert_account("quotes", [84, 0, 0, 0]);
    played.assert_account("candles", [2, 0, 0, 0]);
    played.assert_account("trades", [2, 0, 0, 0]);
    played.assert_upstream([1, 0]);
    played.assert_no_conflicts();
    for (monitor, suffix) in
        [("books", "@depth@100ms"), ("quotes", "@bookTicker"), ("candles", "@kline_1m"), ("trades", "@aggTrade")]
    {
        played.assert_payloads(monitor, frames(&recording, "/stream", |stream| stream.ends_with(suffix)));
        played.assert_distinct_ids(monitor);
    }
    assert_eq!(
        played.first("books"),
        (Some("NKNUSDT"), Some("nknusdt@depth@100ms:499869752"), Some("2021-10-12T00:28:32.068Z"))
    );
    // Spot's book ticker says no time.
    assert_eq!(played.first("quotes"), (Some("NKNUSDT"), Some("nknusdt@bookTicker:499869768"), None));
}

#[test]
fn binance_spot_of_2024_is_accounted_for() {
    let recording = Recording::load("binance-spot/btcusdt_2024-08-08");
    let played = play(&recording, "binance", 8001, |settings| {
        settings
            .monitor("books", "books", "feed", &["btcusdt@depth@100ms"], "")
            .monitor("quotes", "quotes", "feed", &["btcusdt@bookTicker"], "")
            .monitor("trades", "trades", "feed", &["btcusdt@trade"], "")
            // Two monitors of one topic get each message, each with rules of its own.
            .monitor("prices", "trades", "feed", &["btcusdt@trade"], "event = { payload = \"/data/p\", id = \"hash\" }")
    });
    played.assert_account("books", [664, 0, 0, 0]);
    played.assert_account("quotes", [5870, 0, 0, 0]);
    played.assert_account("trades", [1465, 0, 0, 0]);
    // Prices come back; with the payload's hash for an id each is kept once: 245 different texts in 1,465.
    played.assert_account("prices", [PRICES, 1465 - PRICES, 0, 0]);
    // One line of the file is the answer to an HTTP request, which no stream carries.
    played.assert_upstream([1, 1]);
    let odd = quarantined(&played.place);
    assert_eq!(odd.len(), 1, "{odd:?}");
    assert!(odd[0]["frame"].as_str().unwrap().starts_with("{\"lastUpdateId\":50093239218,"), "{odd:?}");
    assert_eq!(odd[0]["reason"], UNROUTED);
    played.assert_no_conflicts();
    for (monitor, stream) in
        [("books", "btcusdt@depth@100ms"), ("quotes", "btcusdt@bookTicker"), ("trades", "btcusdt@trade")]
    {
        played.assert_payloads(monitor, frames(&recording, "/stream", |found| found == stream));
        played.assert_distinct_ids(monitor);
    }
    assert_eq!(
        played.first("trades"),
        (Some("BTCUSDT"), Some("btcusdt@trade:3735683259"), Some("2024-08-08T23:54:15.343Z"))
    );
}

/// Different prices among the trades of the recording of 2024.
const PRICES: u64 = 245;
/// Why a frame without a routing field is put aside.
const UNROUTED: &str = "no rule of the dialect says what this message is";

#[test]
fn binance_futures_of_2021_are_accounted_for() {
    let recording = Recording::load("binance-futures/combined_2021-07-22");
    let played = play(&recording, "binance", 1536, |settings| {
        settings
            .monitor("books", "books", "feed", &recording.streams("depth@100ms"), "")
            .monitor("quotes", "quotes", "feed", &recording.streams("bookTicker"), "")
            .monitor("candles", "prices", "feed", &recording.streams("kline_1m"), "")
            .monitor("trades", "trades", "feed", &recording.streams("aggTrade"), "")
    });
    played.assert_account("books", [764, 0, 0, 0]);
    played.assert_account("quotes", [613, 0, 0, 0]);
    played.assert_account("candles", [67, 0, 0, 0]);
    played.assert_account("trades", [91, 0, 0, 0]);
    played.assert_upstream([1, 0]);
    played.assert_no_conflicts();
    for (monitor, suffix) in
        [("books", "@depth@100ms"), ("quotes", "@bookTicker"), ("candles", "@kline_1m"), ("trades", "@aggTrade")]
    {
        played.assert_payloads(monitor, frames(&recording, "/stream", |stream| stream.ends_with(suffix)));
        played.assert_distinct_ids(monitor);
    }
}

#[test]
fn binance_futures_of_2024_are_accounted_for() {
    let recording = Recording::load("binance-futures/btcusdt_2024-08-08");
    let played = play(&recording, "binance", 15_001, |settings| {
        settings
            .monitor("books", "books", "feed", &["btcusdt@depth@0ms"], "")
            .monitor("quotes", "quotes", "feed", &["btcusdt@bookTicker"], "")
            .monitor("trades", "trades", "feed", &["btcusdt@trade"], "")
    });
    played.assert_account("books", [1098, 0, 0, 0]);
    played.assert_account("quotes", [11_507, 0, 0, 0]);
    played.assert_account("trades", [2394, 0, 0, 0]);
    played.assert_upstream([1, 1]);
    let odd = quarantined(&played.place);
    assert!(odd[0]["frame"].as_str().unwrap().starts_with("{\"lastUpdateId\":5123107852948,"), "{odd:?}");
    assert_eq!(odd[0]["reason"], UNROUTED);
    played.assert_no_conflicts();
    for (monitor, stream) in
        [("books", "btcusdt@depth@0ms"), ("quotes", "btcusdt@bookTicker"), ("trades", "btcusdt@trade")]
    {
        played.assert_payloads(monitor, frames(&recording, "/stream", |found| found == stream));
        played.assert_distinct_ids(monitor);
    }
    // Futures' book ticker has the time that spot's lacks.
    assert_eq!(
        played.first("quotes"),
        (Some("BTCUSDT"), Some("btcusdt@bookTicker:5123107839020"), Some("2024-08-08T23:54:16.313Z"))
    );
}

const COINBASE_PRODUCTS: [&str; 10] =
    ["SKL-USD", "SKL-BTC", "BAND-GBP", "NMR-EUR", "BAND-BTC", "YFI-BTC", "DASH-BTC", "NU-GBP", "CRV-EUR", "SKL-GBP"];

fn coinbase_monitors(settings: Settings) -> Settings {
    let topics = |channel: &str| COINBASE_PRODUCTS.map(|product| format!("{channel}:{product}"));
    ["level2", "ticker", "matches"].into_iter().fold(settings, |settings, channel| {
        let topics = topics(channel);
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        settings.monitor(channel, &format!("coinbase_{channel}"), "feed", &topics, "")
    })
}

fn coinbase_frames<'a>(recording: &'a Recording, monitor: &str) -> Vec<&'a str> {
    let types: &[&str] = match monitor {
        "level2" => &["snapshot", "l2update"],
        "ticker" => &["ticker"],
        _ => &["match", "last_match"],
    };
    frames(recording, "/type", |found| types.contains(&found))
}

#[test]
fn coinbase_is_accounted_for() {
    let recording = Recording::load("coinbase-exchange/level2_ticker_matches_2021-04-17");
    let played = play(&recording, "coinbase", 6000, coinbase_monitors);
    // 10 snapshots and 5,895 updates; 10 last matches and 36 matches.
    played.assert_account("level2", [5905, 0, 0, 0]);
    played.assert_account("ticker", [46, 0, 0, 0]);
    played.assert_account("matches", [46, 0, 0, 0]);
    played.assert_upstream([3, 0]);
    played.assert_no_conflicts();
    for monitor in ["level2", "ticker", "matches"] {
        played.assert_payloads(monitor, coinbase_frames(&recording, monitor));
    }
    played.assert_without_ids("level2");
    played.assert_distinct_ids("ticker");
    played.assert_distinct_ids("matches");
}

#[test]
fn a_recording_that_comes_twice_is_kept_once_where_it_has_ids() {
    let recording = Recording::load("coinbase-exchange/level2_ticker_matches_2021-04-17");
    let played =
        play_with(&recording, "coinbase", 12_000, &["--then", "close", "--connections", "2"], coinbase_monitors);
    // Level 2 has no ids, and equal texts are distinct events: nothing of it may be dropped.
    played.assert_account("level2", [11_810, 0, 0, 0]);
    played.assert_account("ticker", [46, 46, 0, 0]);
    played.assert_account("matches", [46, 46, 0, 0]);
    played.assert_upstream([6, 0]);
    played.assert_no_conflicts();
    for monitor in ["ticker", "matches"] {
        played.assert_payloads(monitor, coinbase_frames(&recording, monitor));
    }
    let level2 = coinbase_frames(&recording, "level2");
    played.assert_payloads("level2", level2.iter().chain(&level2).copied());
    assert_eq!(stat(&played.place)["duplicates"], 92);
}

#[test]
fn kraken_books_are_accounted_for() {
    // Beside the book there is a status, a heartbeat a second, and an acknowledgement, which names its topic and so counts for
    // its monitors: the recorded one, and the answer to our request, whose id the recording does not know.
    for (name, symbol, books, control, time) in [
        ("kraken-v2/btcusd_book25_2026-08-02", "BTC/USD", 2052, 1 + 50, "2026-08-02T03:35:51.302928Z"),
        ("kraken-v2/xrpusd_book25_2026-08-02", "XRP/USD", 1147, 1 + 43, "2026-08-02T04:23:45.378715Z"),
    ] {
        let recording = Recording::load(name);
        let topic = format!("book-25:{symbol}");
        let played = play(&recording, "kraken", books + control + 2, |settings| {
            settings
                .monitor("book", "books", "feed", &[&topic], "")
                // No id, so `hash`: equal texts would count once. There are none.
                .monitor("changes", "other", "feed", &[&topic], "event = { id = \"hash\", key = \"/type\" }")
        });
        played.assert_account("book", [books, 0, 2, 0]);
        played.assert_account("changes", [books, 0, 2, 0]);
        played.assert_upstream([control, 0]);
        played.assert_no_conflicts();
        for monitor in ["book", "changes"] {
            played.assert_payloads(monitor, frames(&recording, "/channel", |channel| channel == "book"));
        }
        played.assert_without_ids("book");
        assert_eq!(played.first("book"), (Some(symbol), None, Some(time)));
    }
}

#[test]
fn bybit_is_accounted_for() {
    let recording = Recording::load("bybit-v5/linear_2025-06-13");
    let played = play(&recording, "bybit", 203, |settings| {
        settings.monitor("large", "books", "feed", &["orderbook.1.SNTUSDT", "orderbook.1.BANDUSDT"], "").monitor(
            "small",
            "books",
            "feed",
            &["orderbook.1.AIOZUSDT", "orderbook.1.RADUSDT"],
            "",
        )
    });
    played.assert_account("large", [107 + 45, 0, 0, 0]);
    played.assert_account("small", [28 + 18, 0, 0, 0]);
    // 4 recorded acknowledgements, one a topic, and the answer to our one request for all four.
    played.assert_upstream([4 + 1, 0]);
    played.assert_no_conflicts();
    // `u` comes back every 3 s while nothing changes, so that it is no id.
    played.assert_without_ids("large");
    let large = ["orderbook.1.SNTUSDT", "orderbook.1.BANDUSDT"];
    played.assert_payloads("large", frames(&recording, "/topic", |topic| large.contains(&topic)));
    played.assert_payloads("small", frames(&recording, "/topic", |topic| !large.contains(&topic)));
}

#[test]
fn okx_is_accounted_for() {
    let recording = Recording::load("okx-v5/public_2022-05-13");
    let instruments = ["BTC-USD-220527", "UNI-USD-SWAP", "BTC-USDT"];
    let topics = |channel: &str| instruments.map(|instrument| format!("{channel}:{instrument}"));
    let played = play(&recording, "okx", 419, |settings| {
        ["tickers", "trades", "books"].into_iter().fold(settings, |settings, channel| {
            let topics = topics(channel);
            settings.monitor(channel, channel, "feed", &topics.each_ref().map(String::as_str), "")
        })
    });
    // Acknowledgements name their topic. The recording client asked for tickers three times and for trades twice: 3 times 3,
    // 3 times 2 and 3 recorded ones, and one answer for each of our 9 topics.
    played.assert_account("tickers", [28, 0, 9 + 3, 0]);
    played.assert_account("trades", [74, 0, 6 + 3, 0]);
    played.assert_account("books", [290, 0, 3 + 3, 0]);
    played.assert_upstream([0, 0]);
    played.assert_no_conflicts();
    let data = |channel: &str| {
        let with_data = frames(&recording, "/arg/channel", |found| found == channel);
        with_data.into_iter().filter(|frame| !frame.contains("\"event\"")).collect::<Vec<_>>()
    };
    // Tickers and trades are lists of events; a book's message is one.
    played.assert_payloads("tickers", elements(&data("tickers")));
    played.assert_payloads("trades", elements(&data("trades")));
    played.assert_payloads("books", data("books"));
    played.assert_distinct_ids("trades");
    assert_eq!(
        played.first("trades"),
        (Some("BTC-USD-220527"), Some("trades:BTC-USD-220527:7849"), Some("2022-05-13T16:26:39.958Z"))
    );
}

#[test]
fn deribit_is_accounted_for() {
    let recording = Recording::load("deribit-jsonrpc/public_2021-07-22");
    let instruments = [
        "BTC-24SEP21-8000-P",
        "BTC-30JUL21-24000-P",
        "ETH-30JUL21-2800-C",
        "BTC-31DEC21-34000-P",
        "BTC-24SEP21-34000-P",
        "BTC-24JUN22-15000-C",
        "BTC-31DEC21-300000-C",
        "ETH-27AUG21-4000-P",
        "BTC-25MAR22-30000-C",
        "ETH-23JUL21-2300-C",
    ];
    // Named so that topics are asked for in the recorded order, and the recorded answer fits.
    let played = play(&recording, "deribit", 136, |settings| {
        [("books", "book"), ("deals", "trades"), ("tickers", "ticker")].into_iter().fold(
            settings,
            |settings, (monitor, channel)| {
                let topics = instruments.map(|instrument| format!("{channel}.{instrument}.raw"));
                settings.monitor(monitor, monitor, "feed", &topics.each_ref().map(String::as_str), "")
            },
        )
    });
    assert_eq!(figure(&played.feed, "replies made"), 0, "{}", played.feed);
    played.assert_account("books", [46, 0, 0, 0]);
    played.assert_account("tickers", [89, 0, 0, 0]);
    // Nothing was traded.
    played.assert_account("deals", [0, 0, 0, 0]);
    played.assert_upstream([1, 0]);
    played.assert_no_conflicts();
    for (monitor, prefix) in [("books", "book."), ("tickers", "ticker.")] {
        played.assert_payloads(monitor, frames(&recording, "/params/channel", |name| name.starts_with(prefix)));
    }
    played.assert_distinct_ids("books");
    played.assert_without_ids("tickers");
}

/// Notifications whose `result` fits, by its kind: a text is a pending transaction, what has a log index is a log.
fn ethereum<'a>(recording: &'a Recording, kind: &str) -> Vec<&'a str> {
    let kind_of = |text: &str| {
        let frame: Value = serde_json::from_str(text).unwrap();
        let result = frame.pointer("/params/result")?;
        Some(match result {
            Value::String(_) => "pending",
            _ if result.get("logIndex").is_some() => "logs",
            _ => "heads",
        })
    };
    recording.received.iter().map(String::as_str).filter(|text| kind_of(text) == Some(kind)).collect()
}

fn ethereum_monitors(settings: Settings) -> Settings {
    settings
        .monitor("heads", "chain", "feed", &["newHeads"], "")
        .monitor("logs", "contracts", "feed", &["logs {}"], "")
        .monitor("pending", "pool", "feed", &["newPendingTransactions", "bogus"], "")
}

#[test]
fn anvil_is_accounted_for() {
    let recording = Recording::load("ethereum-jsonrpc/anvil_heads_logs_pending");
    // 502 without the answer to a batch that only the recording client asked for.
    let played = play(&recording, "ethereum", 501, ethereum_monitors);
    assert_eq!(figure(&played.feed, "recorded replies withheld"), 1, "{}", played.feed);
    // Each has its acknowledgement; the refused topic belongs to `pending`, and its refusal to nobody.
    played.assert_account("heads", [46, 0, 1, 0]);
    played.assert_account("logs", [300, 0, 1, 0]);
    played.assert_account("pending", [151, 0, 1, 0]);
    played.assert_upstream([1, 0]);
    assert_eq!(played.metrics.value("sluice_subscriptions_refused_total", &[]), 1);
    played.assert_no_conflicts();
    for monitor in ["heads", "logs", "pending"] {
        played.assert_payloads(monitor, ethereum(&recording, monitor));
        played.assert_distinct_ids(monitor);
    }
}

#[test]
fn a_reorganised_chain_is_accounted_for() {
    let recording = Recording::load("ethereum-jsonrpc/anvil_reorg");
    let played = play(&recording, "ethereum", 51, |settings| {
        settings.monitor("heads", "chain", "feed", &["newHeads"], "").monitor(
            "logs",
            "contracts",
            "feed",
            &["logs {}"],
            "",
        )
    });
    // Blocks 119 to 121 come twice with other hashes: 17 heads of 14 heights, and none of them is a repeat.
    played.assert_account("heads", [17, 0, 1, 0]);
    played.assert_account("logs", [32, 0, 1, 0]);
    played.assert_no_conflicts();
    let height = |event: &Event| {
        let frame: Value = serde_json::from_str(event.payload.get()).unwrap();
        frame.pointer("/params/result/number").unwrap().as_str().unwrap().to_owned()
    };
    assert_eq!(played.of("heads").map(height).collect::<HashSet<_>>().len(), 14);
    for monitor in ["heads", "logs"] {
        played.assert_payloads(monitor, ethereum(&recording, monitor));
        played.assert_distinct_ids(monitor);
    }
}

#[test]
fn ganache_is_accounted_for() {
    let recording = Recording::load("ethereum-jsonrpc/ganache_heads_logs_pending");
    let played = play(&recording, "ethereum", 215, ethereum_monitors);
    played.assert_account("heads", [30, 0, 1, 0]);
    played.assert_account("logs", [120, 0, 1, 0]);
    played.assert_account("pending", [61, 0, 1, 0]);
    played.assert_upstream([1, 0]);
    played.assert_no_conflicts();
    for monitor in ["heads", "logs", "pending"] {
        played.assert_payloads(monitor, ethereum(&recording, monitor));
        played.assert_distinct_ids(monitor);
    }
}

#[test]
fn solana_is_accounted_for() {
    let recording = Recording::load("solana-pubsub/slots_logs_program");
    let played = play(&recording, "solana", 1789, |settings| {
        settings
            .monitor("slots", "chain", "feed", &["slotSubscribe"], "")
            .monitor("logs", "logs", "feed", &["logsSubscribe [\"all\",{\"commitment\":\"processed\"}]"], "")
            .monitor(
                "programs",
                "accounts",
                "feed",
                &[
                    "programSubscribe [\"11111111111111111111111111111111\",{\"encoding\":\"base64\",\"commitment\":\"processed\"}]",
                    "accountSubscribe [\"8p72CpUWAU3SqqoXD6LJnYv9JD2CpHQGFXnmUMLyEa9y\",{\"encoding\":\"base64\"}]",
                ],
                "",
            )
    });
    played.assert_account("slots", [1465, 0, 1, 0]);
    played.assert_account("logs", [127, 0, 1, 0]);
    played.assert_account("programs", [192, 0, 2, 0]);
    // The answer to a method that the server does not know carries no id; nobody here asked for it.
    played.assert_upstream([1, 0]);
    played.assert_no_conflicts();
    for (monitor, method) in
        [("slots", "slotNotification"), ("logs", "logsNotification"), ("programs", "programNotification")]
    {
        played.assert_payloads(monitor, frames(&recording, "/method", |found| found == method));
    }
    played.assert_distinct_ids("slots");
    played.assert_distinct_ids("logs");
    played.assert_without_ids("programs");
}

#[test]
fn solana_subscriptions_of_equal_words_are_accounted_for() {
    let recording = Recording::load("solana-pubsub/duplicate_subscribe");
    // 11 without three acknowledgements: of two subscriptions made twice there, and of an end that nobody here asked for.
    let played = play(&recording, "solana", 8, |settings| {
        settings
            .monitor("slots", "chain", "feed", &["slotSubscribe"], "")
            .monitor("other_slots", "chain", "feed", &["slotSubscribe"], "")
            .monitor("logs", "logs", "feed", &["logsSubscribe [\"all\"]"], "")
    });
    assert_eq!(figure(&played.feed, "recorded replies withheld"), 3, "{}", played.feed);
    played.assert_account("slots", [4, 0, 1, 0]);
    played.assert_account("other_slots", [4, 0, 1, 0]);
    played.assert_account("logs", [0, 0, 1, 0]);
    // Two refusals without an id.
    played.assert_upstream([2, 0]);
    for monitor in ["slots", "other_slots"] {
        played.assert_payloads(monitor, frames(&recording, "/method", |found| found == "slotNotification"));
    }
}

/// Events of a feed that no recording has, sent once in this order; what the journal holds of them.
fn journaled(dialect: &str, manner: Manner, topic: &str, frames: &[String]) -> Vec<String> {
    let messages: Vec<Message> = frames.iter().map(Message::text).collect();
    let upstream = RawUpstream::start(manner, move |_| messages.clone());
    let place = Workplace::new();
    let settings = Settings::new().upstream("feed", dialect, &upstream.url()).monitor("m", "d", "feed", &[topic], "");
    let daemon = Daemon::start(&place, &settings);
    until("every frame is read", || (daemon.frames("feed") == frames.len() as u64 + 1).then_some(()));
    daemon.stop();
    query(&place, &[]).iter().map(|event| event.payload.get().to_owned()).collect()
}

/// Binance's stream of all book tickers carries symbols that count their updates each for itself. The stream and the number
/// alone made one event of two.
#[test]
fn equal_update_numbers_of_two_symbols_are_two_events() {
    let frame = |symbol: &str, update: u64| {
        format!(
            "{{\"stream\":\"!bookTicker\",\"data\":{{\"u\":{update},\"s\":\"{symbol}\",\"b\":\"1\",\"B\":\"1\",\"a\":\"2\",\"A\":\"1\"}}}}"
        )
    };
    let frames = [frame("BTCUSDT", 7), frame("ETHUSDT", 7), frame("BTCUSDT", 8)];
    assert_eq!(journaled("binance", Manner::Acknowledges, "!bookTicker", &frames), frames);
}

/// A node says `false` each time that it has caught up. As a result it was taken for a pending transaction, whose hash is its
/// id, and the second time for a repeat.
#[test]
fn a_state_that_comes_back_is_no_repeat() {
    let frame = |result: &str| {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"eth_subscription\",\"params\":{{\"subscription\":\"0x1\",\"result\":{result}}}}}"
        )
    };
    let syncing = "{\"syncing\":true,\"status\":{\"currentBlock\":1}}";
    let frames = [syncing, "false", syncing, "false"].map(frame);
    assert_eq!(journaled("ethereum", Manner::Subscribes, "syncing", &frames), frames);
}
