//! The feed simulator does what its figures say, in each dialect.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use sluice::simulator::{
    AfterRecording, Fault, Faults, FloodSettings, Handshake, LedgerSettings, Pace, Running, SimulatedDialect,
    Simulator, SimulatorSettings, Source,
};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::Workplace;

struct Client {
    socket: WebSocketStream<TcpStream>,
}

impl Client {
    async fn connect(running: &Running, path: &str) -> Result<Self, Error> {
        let stream = TcpStream::connect(running.address()).await.expect("the simulator listens");
        let url = format!("ws://{}{path}", running.address());
        tokio_tungstenite::client_async(url, stream).await.map(|(socket, _)| Self { socket })
    }

    async fn say(&mut self, request: &Value) {
        self.socket.send(Message::text(request.to_string())).await.expect("an open connection");
    }

    async fn next(&mut self) -> Option<Result<Message, Error>> {
        tokio::time::timeout(Duration::from_secs(10), self.socket.next()).await.expect("a frame within 10 s")
    }

    /// The next data frame, as text.
    async fn text(&mut self) -> String {
        loop {
            match self.next().await.expect("an open connection").expect("a sound frame") {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("expected a text, got {other:?}"),
            }
        }
    }

    async fn json(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// Texts that `pick` takes something out of, until there are `count`.
    async fn gather<T>(&mut self, count: usize, mut pick: impl FnMut(&Value) -> Option<T>) -> Vec<T> {
        let mut found = Vec::new();
        while found.len() < count {
            found.extend(pick(&self.json().await));
        }
        found
    }
}

fn fast(dialect: SimulatedDialect) -> SimulatorSettings {
    SimulatorSettings { rate: 2000, seed: 7, ..SimulatorSettings::synthetic(dialect) }
}

fn recorded(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}

#[tokio::test]
async fn binance_acknowledges_and_sends_trades_with_increasing_ids() {
    let running = Simulator::start(fast(SimulatedDialect::Binance)).await.unwrap();
    let mut client = Client::connect(&running, "/stream").await.unwrap();
    let topics = ["btcusdt@trade", "ethusdt@trade"];
    client.say(&json!({"method": "SUBSCRIBE", "params": topics, "id": 9})).await;
    assert_eq!(client.json().await, json!({"result": null, "id": 9}));
    let trades =
        client.gather(200, |frame| Some((frame["stream"].as_str()?.to_owned(), frame["data"]["t"].as_u64()?))).await;
    for topic in topics {
        let ids: Vec<u64> = trades.iter().filter(|(stream, _)| stream == topic).map(|(_, id)| *id).collect();
        assert!(ids.len() >= 90, "fair over topics: {topic} had {} of 200", ids.len());
        assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }
    client.say(&json!({"method": "UNSUBSCRIBE", "params": topics, "id": 10})).await;
    client.gather(1, |frame| (frame["id"] == 10).then_some(())).await;
    assert_eq!(running.figures().subscriptions, 0);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn binance_streams_of_the_url_begin_without_a_request() {
    let running = Simulator::start(fast(SimulatedDialect::Binance)).await.unwrap();
    let streams = ["btcusdt@aggTrade", "btcusdt@bookTicker", "btcusdt@depth@100ms"];
    let mut client = Client::connect(&running, &format!("/stream?streams={}", streams.join("/"))).await.unwrap();
    let seen = client.gather(30, |frame| frame["stream"].as_str().map(str::to_owned)).await;
    assert_eq!(seen.into_iter().collect::<HashSet<_>>(), streams.map(str::to_owned).into_iter().collect());
    running.stop().await.unwrap();
}

#[tokio::test]
async fn two_connections_get_the_same_events_of_a_topic() {
    let running = Simulator::start(fast(SimulatedDialect::Binance)).await.unwrap();
    let mut first = Client::connect(&running, "/stream?streams=btcusdt@trade").await.unwrap();
    let mut second = Client::connect(&running, "/stream?streams=btcusdt@trade").await.unwrap();
    let start = second.gather(1, |frame| frame["data"]["t"].as_u64()).await[0];
    let mut texts = HashMap::new();
    while texts.len() < 50 {
        let text = first.text().await;
        let id = serde_json::from_str::<Value>(&text).unwrap()["data"]["t"].as_u64().unwrap();
        if id > start {
            texts.insert(id, text);
        }
    }
    for _ in 0..50 {
        let text = second.text().await;
        let id = serde_json::from_str::<Value>(&text).unwrap()["data"]["t"].as_u64().unwrap();
        assert_eq!(texts.get(&id), Some(&text));
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn faults_are_made_and_counted_exactly_as_the_figures_say() {
    let mut settings = SimulatorSettings { rate: 0, ..fast(SimulatedDialect::Binance) };
    settings.ledger = LedgerSettings::Memory { entries_max: 1_000_000 };
    settings.faults.repeats = 0.02;
    settings.faults.disorder = 0.02;
    settings.faults.bad_frames = 0.02;
    settings.faults.conflicts = 0.02;
    settings.faults.silent_after = Some(20_000);
    let running = Simulator::start(settings).await.unwrap();
    let mut client = Client::connect(&running, "/stream?streams=btcusdt@trade/ethusdt@trade").await.unwrap();
    let mut frames = Vec::new();
    while frames.len() < 20_000 {
        match client.next().await.unwrap().unwrap() {
            Message::Text(text) => frames.push(text.as_bytes().to_vec()),
            Message::Binary(bytes) => frames.push(bytes.to_vec()),
            _ => {}
        }
    }
    let ledger = running.ledger();
    let seed = "seed 7";
    assert_eq!(ledger.len(), frames.len(), "{seed}");
    for (entry, frame) in ledger.iter().zip(&frames) {
        assert_eq!(entry.crc, crc32c::crc32c(frame), "{seed}: the ledger has what was sent, in order");
    }
    let count = |fault| ledger.iter().filter(|entry| entry.fault == fault).count();
    for fault in [Fault::Repeat, Fault::Disorder, Fault::Conflict] {
        let made = count(Some(fault));
        assert!((250..550).contains(&made), "{seed}: {made} of {fault:?} in 20,000 at 2 %");
    }
    for fault in [Fault::Truncated, Fault::InvalidUtf8, Fault::Junk, Fault::Nested, Fault::ChangedId] {
        let made = count(Some(fault));
        assert!((50..110).contains(&made), "{seed}: {made} of {fault:?} in 20,000 at 0.4 %");
    }
    let mut texts: HashMap<(&str, &str), &[u8]> = HashMap::new();
    for (entry, frame) in ledger.iter().zip(&frames) {
        let known = texts.get(&(&*entry.topic, &*entry.id)).copied();
        match entry.fault {
            None | Some(Fault::Disorder) => {
                assert_eq!(known, None, "{seed}: an id is new");
                texts.insert((&entry.topic, &entry.id), frame);
            }
            Some(Fault::Repeat) => assert_eq!(known, Some(&frame[..]), "{seed}: a repeat is the same text"),
            Some(Fault::Conflict) => {
                assert_ne!(known, Some(&frame[..]), "{seed}: a conflict is another text");
                let value: Value = serde_json::from_slice(frame).expect("a conflict is sound JSON");
                assert_eq!(value["data"]["t"].to_string(), entry.id, "{seed}: with the id of an earlier one");
                assert!(known.is_some());
            }
            Some(Fault::ChangedId) => {
                let value: Value = serde_json::from_slice(frame).unwrap();
                assert_eq!(value["data"]["t"]["was"].to_string(), entry.id);
            }
            Some(_) => assert!(serde_json::from_slice::<Value>(frame).is_err(), "{seed}: a bad frame is no JSON"),
        }
    }
    let figures = running.figures();
    assert_eq!(figures.frames, 20_000, "{seed}");
    let sent = |fault| count(Some(fault)) as u64;
    assert_eq!(
        [figures.repeats, figures.disorder, figures.conflicts],
        [Fault::Repeat, Fault::Disorder, Fault::Conflict].map(sent),
        "{seed}"
    );
    let sound = count(None) as u64;
    assert_eq!(figures.bad_frames, 20_000 - sound - figures.repeats - figures.disorder - figures.conflicts, "{seed}");
    drop(client);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_refused_topic_is_refused_and_the_handshake_can_fail_first() {
    let mut settings = fast(SimulatedDialect::Binance);
    settings.faults.refuse = vec!["badusdt@trade".to_owned()];
    settings.faults.handshake.status = Some(429);
    settings.faults.handshake.refusals = 2;
    settings.faults.handshake.retry_after = Some(Duration::from_secs(3));
    let running = Simulator::start(settings).await.unwrap();
    for _ in 0..2 {
        match Client::connect(&running, "/stream").await.err() {
            Some(Error::Http(response)) => {
                assert_eq!(response.status(), 429);
                assert_eq!(response.headers()["retry-after"], "3");
            }
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
    let mut client = Client::connect(&running, "/stream").await.unwrap();
    client.say(&json!({"method": "SUBSCRIBE", "params": ["badusdt@trade"], "id": 1})).await;
    assert!(client.json().await["error"]["code"].is_number());
    assert_eq!(running.figures().refused, 1);
    assert_eq!(running.figures().handshakes_refused, 2);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_silenced_connection_answers_pings_and_sends_nothing() {
    let mut settings = fast(SimulatedDialect::Binance);
    settings.faults.silent_after = Some(20);
    let running = Simulator::start(settings).await.unwrap();
    let mut client = Client::connect(&running, "/stream?streams=btcusdt@trade").await.unwrap();
    client.gather(20, |frame| frame["data"]["t"].as_u64()).await;
    client.socket.send(Message::Ping("still there?".into())).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong("still there?".into()));
    assert_eq!(running.figures().silenced, 1);
    assert_eq!(running.figures().subscriptions, 0);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn connections_are_broken_in_each_way_and_ids_go_on() {
    let mut settings = fast(SimulatedDialect::Binance);
    settings.faults.disconnect_every = Some(Duration::from_millis(40));
    let running = Simulator::start(settings).await.unwrap();
    let (mut last, mut closed, mut broken) = (0, 0, 0);
    for _ in 0..6 {
        let mut client = Client::connect(&running, "/stream?streams=btcusdt@trade").await.unwrap();
        loop {
            match client.next().await {
                Some(Ok(Message::Text(text))) => {
                    let id = serde_json::from_str::<Value>(&text).unwrap()["data"]["t"].as_u64().unwrap();
                    assert!(id > last);
                    last = id;
                }
                Some(Ok(Message::Close(_))) => closed += 1,
                Some(Ok(_)) => {}
                Some(Err(_)) => {
                    broken += 1;
                    break;
                }
                None => break,
            }
        }
    }
    assert_eq!((closed, broken), (2, 4));
    assert_eq!(running.figures().disconnects, 6);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_giant_frame_announces_its_size() {
    let mut settings = fast(SimulatedDialect::Binance);
    settings.faults.giant_frame = Some(1 << 30);
    let running = Simulator::start(settings).await.unwrap();
    let mut client = Client::connect(&running, "/stream?streams=btcusdt@trade").await.unwrap();
    let refused = loop {
        match client.next().await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Capacity(_)), "{refused}");
    assert_eq!(running.figures().giant_frames, 1);
    drop(client);
    running.stop().await.unwrap();
}

fn lines(path: &Path) -> Vec<Value> {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).expect("a packed recording");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of a recording")).collect()
}

#[tokio::test]
async fn a_recording_is_served_to_the_byte_and_replies_fit_the_client() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.session.jsonl");
    let newheads = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}).to_string();
    let bogus = json!({"jsonrpc": "2.0", "id": 2, "method": "eth_subscribe", "params": ["bogus"]}).to_string();
    let ins = [
        r#"{"jsonrpc":"2.0","id":1,"result":"0xa"}"#,
        r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"no"}}"#,
        r#"{"jsonrpc":"2.0", "method":"eth_subscription","params":{"subscription":"0xa","result":{"n":1.10}}}"#,
    ];
    let mut text = String::new();
    let out = |text: &str| json!({"t": "1.5", "dir": "out", "text": text});
    let inbound = |text: &&str| json!({"t": "2.5", "dir": "in", "text": text});
    let binary = json!({"t": "2.6", "dir": "in", "b64": "AAEC/w=="});
    for line in [out(&newheads), out(&bogus)].into_iter().chain(ins.iter().map(inbound)).chain([binary]) {
        text.push_str(&line.to_string());
        text.push('\n');
    }
    std::fs::write(&path, text).unwrap();

    let mut settings = SimulatorSettings::recording(&path);
    if let Source::Recording(recording) = &mut settings.source {
        recording.patience = Duration::from_millis(50);
        recording.then = AfterRecording::Close;
    }
    let running = Simulator::start(settings).await.unwrap();
    let mut client = Client::connect(&running, "/").await.unwrap();
    client.say(&json!({"method": "eth_subscribe", "params": ["newHeads"], "id": "mine", "jsonrpc": "2.0"})).await;
    assert_eq!(client.text().await, r#"{"jsonrpc":"2.0","id":"mine","result":"0xa"}"#);
    assert_eq!(client.text().await, ins[2], "the refusal of what this client never asked for is withheld");
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Binary(vec![0, 1, 2, 255].into()));
    assert!(matches!(client.next().await.unwrap().unwrap(), Message::Close(_)));
    assert_eq!(running.figures().replies_withheld, 1);
    assert_eq!(running.figures().recordings_served, 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn real_recordings_are_served_to_the_byte() {
    for name in [
        "binance-spot/combined_2021-10-11.session.jsonl.gz",
        "kraken-v2/btcusd_book25_2026-08-02.session.jsonl.gz",
        "bybit-v5/linear_2025-06-13.session.jsonl.gz",
        "okx-v5/public_2022-05-13.session.jsonl.gz",
        "coinbase-exchange/level2_ticker_matches_2021-04-17.session.jsonl.gz",
        "deribit-jsonrpc/public_2021-07-22.session.jsonl.gz",
        "solana-pubsub/slots_logs_program.session.jsonl.gz",
    ] {
        let path = recorded(name);
        let running = Simulator::start(SimulatorSettings::recording(&path)).await.unwrap();
        let mut client = Client::connect(&running, "/stream?streams=x").await.unwrap();
        let recorded = lines(&path);
        for line in recorded.iter().filter(|line| line["dir"] == "out") {
            client.socket.send(Message::text(line["text"].as_str().unwrap())).await.unwrap();
        }
        for line in recorded.iter().filter(|line| line["dir"] == "in") {
            assert_eq!(client.text().await, line["text"].as_str().unwrap(), "{name}");
        }
        running.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_flood_has_ids_that_are_new_and_grow_and_ends_at_its_total() {
    for topics in [1_usize, 1000] {
        let flood = FloodSettings { total: Some(5_000), start_topics: topics };
        let running = Simulator::start(SimulatorSettings::flood(flood)).await.unwrap();
        let mut client = Client::connect(&running, "/stream").await.unwrap();
        let names: Vec<String> = (0..topics).map(|number| format!("c{number}usdt@trade")).collect();
        for (number, part) in names.chunks(400).enumerate() {
            client.say(&json!({"method": "SUBSCRIBE", "params": part, "id": number})).await;
        }
        let mut last: HashMap<String, u64> = HashMap::new();
        let mut ids = HashSet::new();
        let mut seen = 0;
        while seen < 5_000 {
            let frame = client.json().await;
            let Some(stream) = frame["stream"].as_str() else { continue };
            let id = frame["data"]["t"].as_u64().unwrap();
            assert!(ids.insert(id), "no id twice");
            assert!(last.insert(stream.to_owned(), id).is_none_or(|before| before < id));
            assert!(frame["data"]["E"].as_u64().unwrap() > 1_700_000_000_000);
            seen += 1;
        }
        assert_eq!(last.len(), topics);
        assert_eq!(running.figures().events, 5_000);
        running.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_paced_flood_keeps_its_rate() {
    let settings =
        SimulatorSettings { rate: 20_000, ..SimulatorSettings::flood(FloodSettings { total: None, start_topics: 0 }) };
    let running = Simulator::start(settings).await.unwrap();
    let mut client = Client::connect(&running, "/stream?streams=btcusdt@trade/ethusdt@trade").await.unwrap();
    let start = tokio::time::Instant::now();
    client.gather(10_000, |frame| frame["data"]["t"].as_u64()).await;
    let took = start.elapsed();
    // A loaded machine may be late, never early.
    assert!(took > Duration::from_millis(450), "10,000 at 20,000 a second took {took:?}");
    running.stop().await.unwrap();
}

/// What a dialect promises: requests are acknowledged, and ids of what follows are new and grow.
async fn ids_after(
    dialect: SimulatedDialect,
    requests: &[Value],
    acknowledged: fn(&Value) -> bool,
    ids: fn(&Value) -> Vec<u64>,
) -> Vec<Value> {
    let running = Simulator::start(fast(dialect)).await.expect("a running simulator");
    let mut client = Client::connect(&running, dialect.path()).await.expect("a running simulator");
    let mut frames = Vec::new();
    for request in requests {
        client.say(request).await;
        loop {
            let frame = client.json().await;
            let found = acknowledged(&frame);
            frames.push(frame);
            if found {
                break;
            }
        }
    }
    let mut last = 0;
    let mut count = 0;
    while count < 200 {
        let frame = client.json().await;
        for id in ids(&frame) {
            assert!(id > last, "{dialect}: {id} after {last}");
            last = id;
            count += 1;
        }
        frames.push(frame);
    }
    assert_eq!(running.figures().subscriptions, requests.len() as u64);
    running.stop().await.expect("a running simulator");
    frames
}

fn all_u64(frame: &Value, list: &str, member: &str) -> Vec<u64> {
    let list = frame.pointer(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .filter_map(|item| item[member].as_u64().or_else(|| item[member].as_str().and_then(|text| text.parse().ok())))
        .collect()
}

#[tokio::test]
async fn coinbase_acknowledges_with_its_full_state_and_sends_matches() {
    let subscribe = |channel: &str| json!({"type": "subscribe", "product_ids": ["BTC-USD"], "channels": [channel]});
    let frames = ids_after(
        SimulatedDialect::Coinbase,
        &[subscribe("level2"), subscribe("matches")],
        |frame| frame["type"] == "subscriptions",
        |frame| if frame["type"] == "match" { vec![frame["trade_id"].as_u64().unwrap()] } else { Vec::new() },
    )
    .await;
    let states: Vec<&Value> = frames.iter().filter(|frame| frame["type"] == "subscriptions").collect();
    assert_eq!(states[0]["channels"].as_array().unwrap().len(), 1);
    assert_eq!(states[1]["channels"].as_array().unwrap().len(), 2, "the second shows both");
    for kind in ["snapshot", "l2update", "last_match"] {
        assert!(frames.iter().any(|frame| frame["type"] == kind), "{kind}");
    }
}

#[tokio::test]
async fn kraken_acknowledges_each_symbol_with_the_same_request_id() {
    let running = Simulator::start(fast(SimulatedDialect::Kraken)).await.unwrap();
    let mut client = Client::connect(&running, "/v2").await.unwrap();
    assert_eq!(client.json().await["channel"], "status");
    let params = json!({"channel": "trade", "symbol": ["BTC/USD", "ETH/USD", "nonsense"]});
    client.say(&json!({"method": "subscribe", "params": params, "req_id": 5})).await;
    let acks = client.gather(3, |frame| (frame["req_id"] == 5).then(|| frame.clone())).await;
    assert_eq!(acks.iter().filter(|ack| ack["success"] == true).count(), 2);
    assert!(acks.iter().any(|ack| ack["success"] == false && ack["error"].is_string()));
    let trades = client.gather(100, |frame| frame["data"][0]["trade_id"].as_u64()).await;
    assert!(trades.len() >= 100);
    client.gather(2, |frame| (frame["channel"] == "heartbeat").then_some(())).await;
    client.say(&json!({"method": "ping", "req_id": 6})).await;
    client.gather(1, |frame| (frame["method"] == "pong" && frame["req_id"] == 6).then_some(())).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn bybit_acknowledges_once_a_request_and_sends_trades_and_books() {
    let frames = ids_after(
        SimulatedDialect::Bybit,
        &[
            json!({"op": "subscribe", "args": ["orderbook.1.BTCUSDT"]}),
            json!({"op": "subscribe", "args": ["publicTrade.BTCUSDT"], "req_id": "x"}),
        ],
        |frame| frame["op"] == "subscribe" && frame["success"] == true,
        |frame| if frame["topic"] == "publicTrade.BTCUSDT" { all_u64(frame, "/data", "seq") } else { Vec::new() },
    )
    .await;
    let acks: Vec<&str> = frames.iter().filter_map(|frame| frame["req_id"].as_str()).collect();
    assert_eq!(acks, ["", "x"]);
    for kind in ["snapshot", "delta"] {
        assert!(frames.iter().any(|frame| frame["topic"] == "orderbook.1.BTCUSDT" && frame["type"] == kind));
    }
    assert!(frames.iter().any(|frame| frame["data"].as_array().is_some_and(|data| data.len() > 1)), "many in one");
}

#[tokio::test]
async fn okx_acknowledges_each_argument_and_answers_literal_pings() {
    let arg = |channel: &str| json!({"op": "subscribe", "args": [{"channel": channel, "instId": "BTC-USDT"}]});
    ids_after(
        SimulatedDialect::Okx,
        &[arg("books"), arg("tickers"), arg("trades")],
        |frame| frame["event"] == "subscribe",
        |frame| if frame["arg"]["channel"] == "trades" { all_u64(frame, "/data", "tradeId") } else { Vec::new() },
    )
    .await;
    let running = Simulator::start(fast(SimulatedDialect::Okx)).await.unwrap();
    let mut client = Client::connect(&running, "/").await.unwrap();
    client.socket.send(Message::text("ping")).await.unwrap();
    assert_eq!(client.text().await, "pong");
    client.say(&json!({"op": "subscribe", "args": [{"channel": "trades", "instId": "nothing"}]})).await;
    assert_eq!(client.json().await["event"], "error");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn deribit_acknowledges_with_the_channels_it_has() {
    let frames = ids_after(
        SimulatedDialect::Deribit,
        &[
            json!({"jsonrpc": "2.0", "id": 0, "method": "public/subscribe",
                "params": {"channels": ["book.BTC-PERPETUAL.raw", "nonsense"]}}),
            json!({"jsonrpc": "2.0", "id": 1, "method": "public/subscribe",
                "params": {"channels": ["trades.BTC-PERPETUAL.raw"]}}),
        ],
        |frame| frame["result"].is_array(),
        |frame| all_u64(frame, "/params/data", "trade_seq"),
    )
    .await;
    assert!(frames.iter().any(|frame| frame["id"] == 0 && frame["result"] == json!(["book.BTC-PERPETUAL.raw"])));
    let mut books = frames.iter().filter(|frame| frame["params"]["channel"] == "book.BTC-PERPETUAL.raw");
    let mut last = books.next().expect("a snapshot")["params"]["data"]["change_id"].clone();
    for book in books {
        assert_eq!(book["params"]["data"]["prev_change_id"], last);
        last = book["params"]["data"]["change_id"].clone();
    }
}

#[tokio::test]
async fn ethereum_gives_each_request_a_subscription_of_its_own() {
    let running = Simulator::start(fast(SimulatedDialect::Ethereum)).await.unwrap();
    let mut client = Client::connect(&running, "/").await.unwrap();
    let subscribe =
        |id: u64, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": "eth_subscribe", "params": params});
    for (id, params) in (1..).zip([json!(["newHeads"]), json!(["newHeads"]), json!(["logs", {}])]) {
        client.say(&subscribe(id, params)).await;
    }
    client.say(&subscribe(4, json!(["bogus"]))).await;
    let mut handed_out = HashMap::new();
    while handed_out.len() < 4 {
        let frame = client.json().await;
        if let Some(id) = frame["id"].as_u64() {
            let known = handed_out.insert(id, frame);
            assert!(known.is_none());
        }
    }
    assert!(handed_out[&4]["error"]["message"].is_string());
    assert_ne!(handed_out[&1]["result"], handed_out[&2]["result"]);
    let mut parents: HashMap<String, Value> = HashMap::new();
    let (mut heads, mut logs) = (0, HashSet::new());
    while heads < 100 || logs.len() < 50 {
        let frame = client.json().await;
        let (params, result) = (&frame["params"], &frame["params"]["result"]);
        let subscription = params["subscription"].as_str().unwrap().to_owned();
        if params["subscription"] == handed_out[&3]["result"] {
            assert!(logs.insert(format!("{}{}", result["blockHash"], result["logIndex"])), "a log comes once");
        } else if let Some(parent) = parents.insert(subscription, result["hash"].clone()) {
            assert_eq!(result["parentHash"], parent);
            heads += 1;
        }
    }
    client.say(&json!([{"jsonrpc": "2.0", "id": 8, "method": "eth_chainId", "params": []}])).await;
    client.gather(1, |frame| (frame[0]["id"] == 8).then_some(())).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn solana_gives_equal_requests_the_same_subscription_beginning_with_0() {
    let running = Simulator::start(fast(SimulatedDialect::Solana)).await.unwrap();
    let mut client = Client::connect(&running, "/").await.unwrap();
    let request =
        |id: u64, method: &str, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    client.say(&request(1, "slotSubscribe", json!([]))).await;
    client.say(&json!({"jsonrpc": "2.0", "id": 2, "method": "slotSubscribe"})).await;
    client.say(&request(3, "logsSubscribe", json!(["all", {"commitment": "processed"}]))).await;
    client.say(&request(4, "blockSubscribe", json!(["all"]))).await;
    let replies = client.gather(4, |frame| frame["id"].as_u64().map(|id| (id, frame.clone()))).await;
    let replies: HashMap<u64, Value> = replies.into_iter().collect();
    assert_eq!([&replies[&1]["result"], &replies[&2]["result"], &replies[&3]["result"]], [0, 0, 1]);
    assert!(replies[&4]["error"].is_object());
    let mut slots = 0;
    let mut signatures = HashSet::new();
    while signatures.len() < 50 {
        let frame = client.json().await;
        match frame["method"].as_str() {
            Some("slotNotification") => {
                assert_eq!(frame["params"]["subscription"], 0);
                let slot = frame["params"]["result"]["slot"].as_u64().unwrap();
                assert!(slot > slots);
                slots = slot;
            }
            Some("logsNotification") => {
                let signature = frame["params"]["result"]["value"]["signature"].as_str().unwrap().to_owned();
                assert!(signatures.insert(signature));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(slots > 0);
    client.say(&request(5, "slotUnsubscribe", json!([0]))).await;
    client.gather(1, |frame| (frame["id"] == 5 && frame["result"] == true).then_some(())).await;
    assert_eq!(running.figures().subscriptions, 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn every_topic_kind_sends_sound_json_also_where_it_is_spoilt_by_conflicts() {
    for (dialect, requests) in [
        (
            SimulatedDialect::Binance,
            vec![json!({"method": "SUBSCRIBE", "id": 1, "params":
            ["btcusdt@trade", "solusdt@aggTrade", "abcusdt@bookTicker", "xrpusdt@depth@100ms"]})],
        ),
        (
            SimulatedDialect::Coinbase,
            vec![json!({"type": "subscribe", "product_ids": ["ABC-USD"],
            "channels": ["matches", "ticker", "level2", "heartbeat"]})],
        ),
        (
            SimulatedDialect::Kraken,
            vec![
                json!({"method": "subscribe", "params": {"channel": "book", "symbol": ["ABC/USD"], "depth": 10}}),
                json!({"method": "subscribe", "params": {"channel": "trade", "symbol": ["ABC/USD"]}}),
            ],
        ),
        (
            SimulatedDialect::Bybit,
            vec![json!({"op": "subscribe", "args":
            ["publicTrade.ABCUSDT", "orderbook.50.ABCUSDT"]})],
        ),
        (
            SimulatedDialect::Okx,
            vec![json!({"op": "subscribe", "args": [
            {"channel": "trades", "instId": "ABC-USDT"}, {"channel": "tickers", "instId": "ABC-USDT"},
            {"channel": "books", "instId": "ABC-USDT"}]})],
        ),
        (
            SimulatedDialect::Ethereum,
            ["newHeads", "logs", "newPendingTransactions"]
                .map(|name| json!({"id": 1, "method": "eth_subscribe", "params": [name]}))
                .to_vec(),
        ),
        (
            SimulatedDialect::Solana,
            ["slotSubscribe", "logsSubscribe", "programSubscribe", "accountSubscribe"]
                .map(|method| json!({"id": 1, "method": method, "params": ["all"]}))
                .to_vec(),
        ),
        (
            SimulatedDialect::Deribit,
            vec![json!({"id": 1, "method": "public/subscribe", "params": {"channels":
            ["trades.ABC-1.raw", "book.ABC-1.raw", "ticker.ABC-1.raw"]}})],
        ),
    ] {
        let mut settings = fast(dialect);
        settings.faults.conflicts = 0.5;
        settings.ledger = LedgerSettings::Memory { entries_max: 100_000 };
        let running = Simulator::start(settings).await.unwrap();
        let mut client = Client::connect(&running, dialect.path()).await.unwrap();
        for request in requests {
            client.say(&request).await;
        }
        client.gather(300, |frame| Some(frame.clone())).await;
        let ledger = running.ledger();
        let ids: Vec<&str> = ledger.iter().filter(|e| e.fault.is_none() && !e.id.is_empty()).map(|e| &*e.id).collect();
        assert!(!ids.is_empty(), "{dialect}");
        running.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_a_recording_does_not_have_is_answered_in_the_dialect_s_words() {
    let path = recorded("deribit-jsonrpc/public_2021-07-22.session.jsonl.gz");
    let running = Simulator::start(SimulatorSettings::recording(&path)).await.unwrap();
    let mut client = Client::connect(&running, "/ws/api/v2").await.unwrap();
    let recorded = lines(&path);
    let request: Value =
        serde_json::from_str(recorded.iter().find(|line| line["dir"] == "out").unwrap()["text"].as_str().unwrap())
            .unwrap();
    let channels = request["params"]["channels"].as_array().unwrap();
    // The recording's client asked once; this one asks twice, for half each.
    for (id, half) in (70..).zip(channels.chunks(channels.len().div_ceil(2))) {
        let params = json!({"channels": half});
        client.say(&json!({"jsonrpc": "2.0", "id": id, "method": "public/subscribe", "params": params})).await;
        let answer = client.gather(1, |frame| (frame["id"] == id).then(|| frame.clone())).await;
        assert_eq!(answer[0]["result"].as_array(), Some(&half.to_vec()));
    }
    for line in recorded.iter().filter(|line| line["dir"] == "in").skip(1) {
        assert_eq!(client.text().await, line["text"].as_str().unwrap());
    }
    let figures = running.figures();
    assert_eq!((figures.replies_withheld, figures.replies_made), (1, 2));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn acknowledgements_can_come_late_or_never_while_data_flows() {
    let mut settings = fast(SimulatedDialect::Binance);
    settings.faults.ack_delay = Duration::from_millis(100);
    let running = Simulator::start(settings).await.unwrap();
    let mut client = Client::connect(&running, "/stream").await.unwrap();
    let request = json!({"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1});
    client.say(&request).await;
    assert_eq!(client.json().await["stream"], "btcusdt@trade", "data comes first");
    client.gather(1, |frame| (frame["id"] == 1).then_some(())).await;
    running.stop().await.unwrap();

    let mut settings = fast(SimulatedDialect::Binance);
    settings.faults.no_ack = true;
    let running = Simulator::start(settings).await.unwrap();
    let mut client = Client::connect(&running, "/stream").await.unwrap();
    client.say(&request).await;
    client.gather(100, |frame| frame["data"]["t"].as_u64()).await;
    assert_eq!(running.figures().acks_lost, 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_that_takes_nothing_holds_up_nobody_else_and_is_cut() {
    let mut settings = SimulatorSettings { rate: 0, ..fast(SimulatedDialect::Binance) };
    settings.slow_reader_after = Duration::from_millis(300);
    let running = Simulator::start(settings).await.unwrap();
    let stalled = Client::connect(&running, "/stream?streams=btcusdt@trade").await.unwrap();
    let mut client = Client::connect(&running, "/stream?streams=ethusdt@trade").await.unwrap();
    while running.figures().slow_readers == 0 {
        client.gather(1000, |frame| frame["data"]["t"].as_u64()).await;
    }
    drop(stalled);
    running.stop().await.unwrap();
}

/// A started program that does not outlive its test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        drop(self.0.kill());
    }
}

#[test]
fn the_command_says_where_it_listens_and_ends_with_a_summary() {
    let workplace = Workplace::new();
    let arguments =
        ["simulate", "--dialect", "binance", "--rate", "1000", "--ledger", "sent.jsonl", "--repeats", "0.1"];
    let child = workplace.command(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut child = Program(child);
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = first.strip_prefix("listening on ws://").unwrap().strip_suffix("/stream").unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(&address).await.unwrap();
        let url = format!("ws://{address}/stream?streams=btcusdt@trade");
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        let mut client = Client { socket };
        client.gather(100, |frame| frame["data"]["t"].as_u64()).await;
    });
    let process = rustix::process::Pid::from_child(&child.0);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    let last = lines.next().unwrap().unwrap();
    assert!(last.starts_with("stopped: 0 connections open (1 accepted)"), "{last}");
    assert!(child.0.wait().unwrap().success());
    let ledger = std::fs::read_to_string(workplace.path("sent.jsonl")).unwrap();
    let entries: Vec<Value> = ledger.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(entries.len() >= 100);
    assert!(entries.iter().all(|entry| entry["topic"] == "btcusdt@trade" && entry["crc"].is_u64()));
    assert!(entries.iter().any(|entry| entry["fault"] == "repeat"));
}

#[test]
fn the_command_refuses_what_makes_no_sense() {
    let workplace = Workplace::new();
    for (arguments, said) in [
        (vec!["simulate"], "--dialect"),
        (vec!["simulate", "--dialect", "binanse"], "the simulator speaks binance"),
        (vec!["simulate", "--dialect", "binance", "--repeats", "2"], "a fraction is from 0 to 1"),
        (vec!["simulate", "--flood", "--recording", "x"], "cannot be used with"),
    ] {
        let outcome = workplace.run(&arguments);
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {outcome:?}");
        assert!(outcome.stderr.contains(said), "{arguments:?}: {}", outcome.stderr);
    }
    let outcome = workplace.run(["simulate", "--recording", "nothing.jsonl"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("nothing.jsonl"), "{}", outcome.stderr);
}

#[tokio::test]
async fn a_recording_s_faults_leave_each_frame_in_it_once() {
    let path = recorded("binance-spot/btcusdt_2024-08-08.session.jsonl.gz");
    let mut settings = SimulatorSettings { seed: 3, ..SimulatorSettings::recording(&path) };
    settings.ledger = LedgerSettings::Memory { entries_max: 100_000 };
    settings.faults.repeats = 0.05;
    settings.faults.disorder = 0.05;
    settings.faults.bad_frames = 0.05;
    if let Source::Recording(recording) = &mut settings.source {
        recording.then = AfterRecording::Close;
    }
    let running = Simulator::start(settings).await.unwrap();
    let mut client = Client::connect(&running, "/stream?streams=btcusdt@trade").await.unwrap();
    let mut frames = 0;
    while !matches!(client.next().await.unwrap().unwrap(), Message::Close(_)) {
        frames += 1;
    }
    let count = lines(&path).iter().filter(|line| line["dir"] == "in").count();
    let ledger = running.ledger();
    assert_eq!(ledger.len(), frames);
    let once = ledger.iter().filter(|entry| matches!(entry.fault, None | Some(Fault::Disorder)));
    let once: Vec<&str> = once.map(|entry| &*entry.id).collect();
    assert_eq!(once.len(), count, "seed 3");
    assert_eq!(once.iter().collect::<HashSet<_>>().len(), count, "seed 3");
    let figures = running.figures();
    assert!(figures.repeats > 300 && figures.disorder > 300 && figures.bad_frames > 300, "seed 3: {figures}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn fragments_without_end_end_with_the_client_s_patience() {
    let mut settings = fast(SimulatedDialect::Binance);
    settings.faults.giant_frame = Some(1);
    settings.faults.giant_fragments = true;
    let running = Simulator::start(settings).await.unwrap();
    let mut client = Client::connect(&running, "/stream?streams=btcusdt@trade").await.unwrap();
    let refused = loop {
        match client.next().await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Capacity(_)), "{refused}");
    drop(client);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_recording_can_keep_its_pace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slow.jsonl");
    let line = |t: &str| json!({"t": t, "dir": "in", "text": t}).to_string();
    std::fs::write(&path, [line("100.0"), line("100.2"), line("100.4")].join("\n")).unwrap();
    let mut settings = SimulatorSettings::recording(&path);
    if let Source::Recording(recording) = &mut settings.source {
        recording.pace = Pace::Recorded { speed: 2.0 };
    }
    let running = Simulator::start(settings).await.unwrap();
    let start = tokio::time::Instant::now();
    let mut client = Client::connect(&running, "/?streams").await.unwrap();
    for text in ["100.0", "100.2", "100.4"] {
        assert_eq!(client.text().await, text);
    }
    assert!(start.elapsed() >= Duration::from_millis(200));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_topic_goes_on_while_nobody_is_subscribed_and_all_that_it_made_is_told() {
    let mut settings = fast(SimulatedDialect::Kraken);
    settings.topics = vec!["trade:BTC/USD".to_owned()];
    settings.made_max = 100_000;
    let running = Simulator::start(settings).await.unwrap();
    while running.made().len() < 50 {
        tokio::task::yield_now().await;
    }
    let mut client = Client::connect(&running, "/v2").await.unwrap();
    client.say(&json!({"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USD"]}})).await;
    let ids_of = |frame: &Value| -> Option<Vec<u64>> {
        frame["data"].as_array()?.iter().map(|trade| trade["trade_id"].as_u64()).collect()
    };
    let mut came = client.gather(20, ids_of).await.concat();
    running.pause(true);
    let made = running.made();
    let ids: Vec<u64> = made.iter().map(|made| made.id.parse().unwrap()).collect();
    assert!(ids.is_sorted_by(|one, next| one + 1 == *next), "each once, in order");
    // What was made before the pause still comes.
    while came.last() != ids.last() {
        came.extend(client.gather(1, ids_of).await.concat());
    }
    let before = ids.iter().position(|id| *id == came[0]).unwrap();
    assert!(before >= 50, "made before anybody asked: {before}");
    assert_eq!(came, ids[before..]);
    assert!(made.iter().all(|made| &*made.topic == "trade:BTC/USD"));
    assert!(made.is_sorted_by_key(|made| (made.at, made.message)));
    assert!(made.len() as u64 == running.figures().events && running.figures().made_lost == 0);
    assert_eq!(running.made(), made, "nothing more is made");
    let mut settings = fast(SimulatedDialect::Kraken);
    settings.topics = vec!["nothing".to_owned()];
    let Err(error) = Simulator::start(settings).await else { panic!("it has no such topic") };
    assert_eq!(error.to_string(), "the dialect kraken has no topic `nothing`");
    drop(running);
}

#[tokio::test]
async fn faults_change_while_it_runs_and_connections_are_broken_on_request_or_by_its_death() {
    let running = Simulator::start(fast(SimulatedDialect::Binance)).await.unwrap();
    let mut client = Client::connect(&running, "/stream?streams=btcusdt@trade").await.unwrap();
    client.gather(50, |frame| frame["data"]["t"].as_u64()).await;
    assert_eq!(running.figures().repeats, 0);
    running.set_faults(Faults { repeats: 0.5, ..Faults::default() }).unwrap();
    client.gather(200, |frame| frame["data"]["t"].as_u64()).await;
    assert!(running.figures().repeats > 20, "{}", running.figures());
    assert!(running.set_faults(Faults { repeats: 2.0, ..Faults::default() }).is_err());

    let handshake = Handshake { status: Some(429), refusals: 1, ..Handshake::default() };
    running.set_faults(Faults { handshake, ..Faults::default() }).unwrap();
    assert!(matches!(Client::connect(&running, "/stream").await, Err(Error::Http(_))), "counted from the change on");
    running.break_connections();
    while !matches!(client.next().await, Some(Ok(Message::Close(_)))) {}

    let mut client = Client::connect(&running, "/stream?streams=btcusdt@trade").await.unwrap();
    client.gather(5, |frame| frame["data"]["t"].as_u64()).await;
    let address = running.address();
    running.kill().await;
    loop {
        match client.next().await {
            Some(Ok(Message::Close(_))) => panic!("the dead say nothing"),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => break,
        }
    }
    let again = SimulatorSettings { listen: address, ..fast(SimulatedDialect::Binance) };
    Simulator::start(again).await.expect("its port is free at once").stop().await.unwrap();
}

#[tokio::test]
async fn a_muted_topic_is_silent_while_others_flow_until_it_is_subscribed_to_anew() {
    let running = Simulator::start(fast(SimulatedDialect::Binance)).await.unwrap();
    let target = "/stream?streams=btcusdt@trade/ethusdt@trade";
    let mut client = Client::connect(&running, target).await.unwrap();
    let stream = |frame: &Value| frame["stream"].as_str().map(str::to_owned);
    client.gather(20, stream).await;
    running.set_faults(Faults { mute: vec!["ethusdt@trade".to_owned()], ..Faults::default() }).unwrap();
    while running.figures().silenced == 0 {
        client.gather(1, stream).await;
    }
    running.set_faults(Faults::default()).unwrap();
    // What was on its way is read first.
    client.gather(500, stream).await;
    assert!(client.gather(200, stream).await.iter().all(|stream| stream == "btcusdt@trade"));
    client.say(&json!({"method": "SUBSCRIBE", "params": ["ethusdt@trade"], "id": 1})).await;
    while client.gather(1, stream).await[0] != "ethusdt@trade" {}
    running.stop().await.unwrap();
}
