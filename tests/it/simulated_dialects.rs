//! The dialects' presets understand the simulator, and the simulator them: neither shares code with the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use sluice::dialect::{Frame, Intake, Message, OutFrame, Outbox, ReadingPlan, Topic, TopicId, registry};
use sluice::simulator::{SimulatedDialect, Simulator, SimulatorSettings};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite;

#[derive(Debug, Default)]
struct Tally {
    messages: BTreeMap<TopicId, u64>,
    acknowledged: BTreeSet<TopicId>,
    refused: Vec<(Vec<TopicId>, String)>,
    unreadable: Vec<(String, String)>,
    control: u64,
}

impl Intake for Tally {
    fn message(&mut self, topic: TopicId, _message: Message<'_>) {
        *self.messages.entry(topic).or_default() += 1;
    }
    fn converted(&mut self, topic: TopicId, _raw: &[u8], view: Message<'_>) {
        self.message(topic, view);
    }
    fn control(&mut self, _topic: Option<TopicId>) {
        self.control += 1;
    }
    fn acknowledged(&mut self, topic: TopicId) {
        self.acknowledged.insert(topic);
    }
    fn refused(&mut self, topics: &[TopicId], reason: &str) {
        self.refused.push((topics.to_vec(), reason.to_owned()));
    }
    fn unreadable(&mut self, _topic: Option<TopicId>, reason: &str, raw: &[u8]) {
        self.unreadable.push((reason.to_owned(), String::from_utf8_lossy(raw).into_owned()));
    }
}

/// Lets a preset's session talk to a simulator until `enough`.
async fn talk(dialect: SimulatedDialect, names: &[&str], refuse: &str, enough: impl Fn(&Tally) -> bool) -> Tally {
    let mut settings = SimulatorSettings { rate: 2000, ..SimulatorSettings::synthetic(dialect) };
    settings.faults.refuse = vec![refuse.to_owned()];
    let running = Simulator::start(settings).await.expect("a simulator");
    let stream = TcpStream::connect(running.address()).await.expect("a connection");
    let (mut socket, _) = tokio_tungstenite::client_async(running.url(), stream).await.expect("a handshake");
    let topics: Arc<[Topic]> =
        (0..).zip(names).map(|(id, name)| Topic { id: TopicId(id), name: Arc::from(*name) }).collect();
    let built = registry::build(dialect.name(), &BTreeMap::new()).expect("a preset");
    for topic in &*topics {
        built.check_topic(&topic.name).expect("a sound topic");
    }
    let mut session = built.session(&topics, &ReadingPlan::default());
    let (mut tally, mut out) = (Tally::default(), Outbox::new());
    let ids: Vec<TopicId> = topics.iter().map(|topic| topic.id).collect();
    session.subscribe(&ids, &mut out);
    session.keep_alive(&mut out);
    let conversation = async {
        while !enough(&tally) {
            for frame in out.drain(..) {
                let frame = match frame {
                    OutFrame::Text(text) => tungstenite::Message::text(text),
                    OutFrame::Binary(bytes) => tungstenite::Message::binary(bytes),
                };
                socket.send(frame).await.expect("an open connection");
            }
            match socket.next().await.expect("an open connection").expect("a sound frame") {
                tungstenite::Message::Text(text) => session.receive(Frame::Text(text.as_str()), &mut tally, &mut out),
                tungstenite::Message::Binary(bytes) => session.receive(Frame::Binary(&bytes), &mut tally, &mut out),
                _ => {}
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(10), conversation).await;
    assert!(ended.is_ok(), "{dialect}: not enough within 10 s: {tally:?}");
    drop(socket);
    running.stop().await.expect("a ledger that can be written");
    tally
}

#[tokio::test]
async fn every_preset_has_its_topics_acknowledged_and_reads_all_that_comes() {
    for (dialect, names) in [
        (SimulatedDialect::Binance, &["btcusdt@trade", "btcusdt@depth@100ms", "ethusdt@bookTicker"][..]),
        (SimulatedDialect::Coinbase, &["matches:BTC-USD", "level2:ETH-USD", "ticker:BTC-USD"]),
        (SimulatedDialect::Kraken, &["trade:BTC/USD", "book-25:ETH/USD", "trade:ETH/USD"]),
        (SimulatedDialect::Bybit, &["publicTrade.BTCUSDT", "orderbook.50.BTCUSDT"]),
        (SimulatedDialect::Okx, &["trades:BTC-USDT", "books:BTC-USDT", "tickers:ETH-USDT"]),
        (
            SimulatedDialect::Ethereum,
            &["newHeads", r#"logs {"address":"0x5fbdb2315678afecb367f032d93f642f64180aa3"}"#, "newPendingTransactions"],
        ),
        (SimulatedDialect::Solana, &["slotSubscribe", r#"logsSubscribe ["all"]"#]),
        (
            SimulatedDialect::Deribit,
            &["trades.BTC-PERPETUAL.raw", "book.BTC-PERPETUAL.raw", "ticker.BTC-PERPETUAL.raw"],
        ),
        (SimulatedDialect::Bitfinex, &["trades:tBTCUSD", "book-P0-F0-25:tBTCUSD", "ticker:tETHUSD"]),
        (SimulatedDialect::Bitmex, &["trade:XBTUSD", "quote:XBTUSD", "orderBookL2:ETHUSD"]),
        (SimulatedDialect::Bitstamp, &["live_trades_btcusd", "diff_order_book_ethusd"]),
        (SimulatedDialect::Huobi, &["market.btcusdt.trade.detail", "market.ethusdt.depth.step0"]),
        (SimulatedDialect::KrakenV1, &["trade:XBT/USD", "book-10:XBT/USD", "book-100:ETH/USD"]),
    ] {
        let count = names.len();
        let tally = talk(dialect, names, "", |tally| {
            tally.acknowledged.len() == count
                && (0..).take(count).all(|id| tally.messages.get(&TopicId(id)) > Some(&20))
        })
        .await;
        assert!(tally.refused.is_empty(), "{dialect}: {:?}", tally.refused);
        assert!(tally.unreadable.is_empty(), "{dialect}: {:?}", tally.unreadable.first());
    }
}

#[tokio::test]
async fn presets_without_acknowledgements_read_all_that_comes() {
    for (dialect, names) in [
        (SimulatedDialect::Gemini, &["l2:BTCUSD", "l2:ETHUSD"]),
        (SimulatedDialect::Upbit, &["trade:KRW-BTC", "orderbook:KRW-ETH"]),
    ] {
        let enough = |tally: &Tally| (0..2).all(|id| tally.messages.get(&TopicId(id)) > Some(&20));
        let tally = talk(dialect, names, "", enough).await;
        assert!(tally.refused.is_empty() && tally.acknowledged.is_empty(), "{dialect}: {tally:?}");
        assert!(tally.unreadable.is_empty(), "{dialect}: {:?}", tally.unreadable.first());
    }
}

#[tokio::test]
async fn every_preset_hears_a_refusal_or_stays_without_an_acknowledgement() {
    for (dialect, names) in [
        (SimulatedDialect::Binance, ["btcusdt@trade"]),
        (SimulatedDialect::Coinbase, ["matches:BTC-USD"]),
        (SimulatedDialect::Kraken, ["trade:BTC/USD"]),
        (SimulatedDialect::Bybit, ["publicTrade.BTCUSDT"]),
        (SimulatedDialect::Okx, ["trades:BTC-USDT"]),
        (SimulatedDialect::Ethereum, ["newHeads"]),
        (SimulatedDialect::Solana, ["slotSubscribe"]),
        (SimulatedDialect::Deribit, ["trades.BTC-PERPETUAL.raw"]),
        (SimulatedDialect::Bitfinex, ["trades:tBTCUSD"]),
        (SimulatedDialect::Bitmex, ["trade:XBTUSD"]),
        (SimulatedDialect::Bitstamp, ["live_trades_btcusd"]),
        (SimulatedDialect::Gemini, ["l2:BTCUSD"]),
        (SimulatedDialect::Huobi, ["market.btcusdt.trade.detail"]),
        (SimulatedDialect::Upbit, ["trade:KRW-BTC"]),
        (SimulatedDialect::KrakenV1, ["trade:XBT/USD"]),
    ] {
        let tally = talk(dialect, &names, names[0], |tally| !tally.refused.is_empty()).await;
        assert!(tally.acknowledged.is_empty(), "{dialect}: {tally:?}");
        assert!(tally.messages.is_empty(), "{dialect}: {tally:?}");
    }
}
