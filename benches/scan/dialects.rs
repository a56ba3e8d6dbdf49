//! What each dialect's session takes of its recording: frames through the session with the pointers of the preset's own event rules,
//! into an intake that only counts. CPU time per message and per byte, and the latter as a ratio to Binance's, with what is
//! packed named apart: there a byte is one of the JSON, and unpacking is part of the cost.
//!
//! Where messages are tiny, what is spent on each whatever its length weighs more on a byte; the column of nanoseconds a
//! message says which it is.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use serde_json::Value;
use sluice::dialect::{Dialect, Intake, Message, Outbox, ReadingPlan, Topic, TopicId, registry};

use super::cpu_time;

/// A recording is gone through until about so many bytes are read, in each of [`ROUNDS`].
pub(super) const BYTES: usize = 32 << 20;
pub(super) const ROUNDS: usize = 5;

/// Binance first: the others are held against the first line.
const RECORDINGS: [(&str, &str); 20] = [
    ("binance", "binance-spot/btcusdt_2024-08-08"),
    ("binance", "binance-futures/btcusdt_2024-08-08"),
    ("bitfinex", "bitfinex-v2/arrays_2021-04-17"),
    ("bitmex", "bitmex/public_2021-07-22"),
    ("bitstamp", "bitstamp/public_2022-01-05"),
    ("bybit", "bybit-v5/linear_2025-06-13"),
    ("coinbase", "coinbase-exchange/level2_ticker_matches_2021-04-17"),
    ("deribit", "deribit-jsonrpc/public_2021-07-22"),
    ("ethereum", "ethereum-jsonrpc/anvil_heads_logs_pending"),
    ("ethereum", "ethereum-jsonrpc/ganache_heads_logs_pending"),
    ("gemini", "gemini-v2/l2_2021-06-24"),
    ("huobi", "huobi-gzip/binary_2021-04-17"),
    ("kraken", "kraken-v2/btcusd_book25_2026-08-02"),
    ("kraken", "kraken-v2/xrpusd_book25_2026-08-02"),
    ("kraken-v1", "kraken-v1/trade_2021-04-17"),
    ("kraken-v1", "kraken-v1/ticker_2021-04-17"),
    ("kraken-v1", "kraken-v1/book1000_2021-04-17"),
    ("okx", "okx-v5/public_2022-05-13"),
    ("solana", "solana-pubsub/slots_logs_program"),
    ("upbit", "upbit-binary/simple_2021-04-17"),
];

/// A frame as it came, and how long its JSON is.
pub(super) struct Recorded {
    pub(super) text: Option<String>,
    pub(super) bytes: Vec<u8>,
    pub(super) json_length: usize,
}

/// What a session said.
#[derive(Default)]
pub(super) struct Count {
    pub(super) messages: u64,
    pub(super) unreadable: u64,
}

impl Intake for Count {
    fn message(&mut self, _topic: TopicId, message: Message<'_>) {
        black_box(message.fields);
        self.messages += 1;
    }
    fn converted(&mut self, topic: TopicId, raw: &[u8], view: Message<'_>) {
        black_box(raw);
        self.message(topic, view);
    }
    fn control(&mut self, _topic: Option<TopicId>) {
        self.messages += 1;
    }
    fn acknowledged(&mut self, _topic: TopicId) {}
    fn refused(&mut self, _topics: &[TopicId], _reason: &str) {}
    fn unreadable(&mut self, _topic: Option<TopicId>, _reason: &str, _raw: &[u8]) {
        self.messages += 1;
        self.unreadable += 1;
    }
}

/// Prints a line for each recording; gives Binance's nanoseconds a byte.
pub(crate) fn compare() -> f64 {
    println!();
    println!(
        "{:<22}{:<48}{:>8}{:>8}{:>10}{:>9}{:>8}  packed",
        "dialect", "recording", "frames", "bytes", "ns/frame", "ns/byte", "ratio"
    );
    let mut base = None;
    for (dialect, recording) in RECORDINGS {
        let (frames, sent) = load(recording);
        let built = registry::build(dialect, &BTreeMap::new()).expect("a preset");
        let plan = plan(&*built);
        let topics = topics(dialect, recording, &sent);
        let bytes: usize = frames.iter().map(|frame| frame.json_length).sum();
        let passes = (BYTES / bytes).max(1);
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let mut time = std::time::Duration::ZERO;
            for _ in 0..passes {
                time += pass(&*built, &topics, &plan, &frames, recording);
            }
            best = best.min(time.as_secs_f64() * 1e9 / float(passes * bytes));
        }
        let packed = if dialect == "huobi" { "gzip" } else { "" };
        line(dialect, recording, frames.len(), bytes, best, *base.get_or_insert(best), packed);
    }
    base.expect("there are recordings")
}

fn float(number: usize) -> f64 {
    f64::from(u32::try_from(number).expect("a recording's size"))
}

/// Prints what so many frames of so many bytes in all took a byte, and how that is to `base`.
pub(super) fn line(dialect: &str, source: &str, frames: usize, bytes: usize, byte_nanos: f64, base: f64, packed: &str) {
    println!(
        "{dialect:<22}{source:<48}{frames:>8}{:>8}{:>10.1}{byte_nanos:>9.3}{:>8.2}  {packed}",
        bytes / frames,
        byte_nanos * float(bytes) / float(frames),
        byte_nanos / base,
    );
}

/// A link's life: what its frames take of the CPU.
fn pass(
    dialect: &dyn Dialect,
    topics: &Arc<[Topic]>,
    plan: &ReadingPlan,
    frames: &[Recorded],
    recording: &str,
) -> std::time::Duration {
    let mut session = dialect.session(topics, plan);
    let (mut count, mut out) = (Count::default(), Outbox::new());
    let ids: Vec<TopicId> = topics.iter().map(|topic| topic.id).collect();
    session.subscribe(&ids, &mut out);
    out.clear();
    let start = cpu_time();
    for frame in frames {
        session.receive(black_box(frame.frame()), &mut count, &mut out);
        out.clear();
    }
    let spent = cpu_time().saturating_sub(start);
    // What is read by no rule costs something else than what is.
    assert!(count.messages >= frames.len() as u64 && count.unreadable <= 1, "{recording}: {}", count.unreadable);
    spent
}

/// Pointers that the preset's event rules read out of whole messages.
pub(super) fn plan(dialect: &dyn Dialect) -> ReadingPlan {
    let mut pointers = BTreeSet::new();
    for rule in dialect.default_event_rules() {
        let named = rule.when.keys().chain(&rule.id).chain(&rule.key).chain(&rule.time).chain(&rule.payload);
        for pointer in named.filter(|pointer| *pointer != "hash") {
            match pointer.strip_prefix("frame:") {
                Some(pointer) => pointers.insert(pointer.to_owned()),
                None if rule.each.is_none() => pointers.insert(pointer.clone()),
                None => false,
            };
        }
        pointers.extend(rule.each.clone());
    }
    ReadingPlan { pointers: pointers.into_iter().collect() }
}

/// A recording's frames, and what its client sent; first of all the address.
pub(super) fn load(name: &str) -> (Vec<Recorded>, Vec<Value>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.session.jsonl.gz"));
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("a recording");
    let (mut frames, mut sent) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        match line["dir"].as_str() {
            Some("open") => sent.push(line["url"].clone()),
            Some("out") => sent.extend(line["text"].as_str().and_then(|text| serde_json::from_str(text).ok())),
            Some("in") => frames.push(recorded(&line)),
            _ => {}
        }
    }
    (frames, sent)
}

fn recorded(line: &Value) -> Recorded {
    if let Some(text) = line["text"].as_str() {
        return Recorded { text: Some(text.to_owned()), bytes: Vec::new(), json_length: text.len() };
    }
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(line["b64"].as_str().expect("a binary frame"))
        .expect("base64");
    let mut json = Vec::new();
    let unpacked = flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut json);
    let json_length = if unpacked.is_ok() { json.len() } else { bytes.len() };
    Recorded { text: None, bytes, json_length }
}

/// The topics of a recording, in the order in which its client asked for them.
fn topics(dialect: &str, recording: &str, sent: &[Value]) -> Arc<[Topic]> {
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let text = |request: &Value, name: &str| request[name].as_str().unwrap_or_default().to_owned();
    let mut names: Vec<String> = match (dialect, recording) {
        ("binance", "binance-spot/btcusdt_2024-08-08") => {
            ["depth@100ms", "bookTicker", "trade"].map(|stream| format!("btcusdt@{stream}")).into()
        }
        ("binance", _) => ["depth@0ms", "bookTicker", "trade"].map(|stream| format!("btcusdt@{stream}")).into(),
        ("ethereum", _) => ["newHeads", "logs {}", "newPendingTransactions"].map(str::to_owned).into(),
        ("solana", _) => [
            "slotSubscribe",
            r#"logsSubscribe ["all",{"commitment":"processed"}]"#,
            r#"programSubscribe ["11111111111111111111111111111111",{"encoding":"base64","commitment":"processed"}]"#,
            r#"accountSubscribe ["8p72CpUWAU3SqqoXD6LJnYv9JD2CpHQGFXnmUMLyEa9y",{"encoding":"base64"}]"#,
        ]
        .map(str::to_owned)
        .into(),
        ("kraken", name) if name.contains("btcusd") => vec!["book-25:BTC/USD".to_owned()],
        ("kraken", _) => vec!["book-25:XRP/USD".to_owned()],
        _ => sent.iter().flat_map(|request| asked(dialect, request, &strings, &text)).collect(),
    };
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    assert!(!names.is_empty(), "{recording}");
    (0..).zip(names).map(|(id, name)| Topic { id: TopicId(id), name: name.into() }).collect()
}

/// What one request asked for.
fn asked(
    dialect: &str,
    request: &Value,
    strings: &dyn Fn(&Value) -> Vec<String>,
    text: &dyn Fn(&Value, &str) -> String,
) -> Vec<String> {
    match dialect {
        "bitfinex" => match request["channel"].as_str() {
            None => Vec::new(),
            Some("book") => {
                let part = |name| text(request, name);
                vec![format!("book-{}-{}-{}:{}", part("prec"), part("freq"), part("len"), part("symbol"))]
            }
            Some(channel) => vec![format!("{channel}:{}", text(request, "symbol"))],
        },
        "bitmex" | "bybit" => strings(&request["args"]),
        "okx" => request["args"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|arg| format!("{}:{}", text(arg, "channel"), text(arg, "instId")))
            .collect(),
        "bitstamp" => request["data"]["channel"].as_str().map(str::to_owned).into_iter().collect(),
        "coinbase" => {
            let channels = strings(&request["channels"]);
            let products = strings(&request["product_ids"]);
            channels
                .iter()
                .flat_map(|channel| products.iter().map(move |product| format!("{channel}:{product}")))
                .collect()
        }
        "deribit" => strings(&request["params"]["channels"]),
        "gemini" => {
            strings(&request["subscriptions"][0]["symbols"]).iter().map(|symbol| format!("l2:{symbol}")).collect()
        }
        "huobi" => request["sub"].as_str().map(str::to_owned).into_iter().collect(),
        "kraken-v1" => {
            let subscription = &request["subscription"];
            let depth = subscription["depth"].as_u64().map(|depth| format!("-{depth}")).unwrap_or_default();
            let channel = format!("{}{depth}", text(subscription, "name"));
            strings(&request["pair"]).iter().map(|pair| format!("{channel}:{pair}")).collect()
        }
        "upbit" => {
            let of_group = |group: &Value| -> Vec<String> {
                strings(&group["codes"]).iter().map(|code| format!("{}:{code}", text(group, "type"))).collect()
            };
            request.as_array().into_iter().flatten().flat_map(of_group).collect()
        }
        _ => Vec::new(),
    }
}
