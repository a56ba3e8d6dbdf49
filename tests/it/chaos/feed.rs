//! An upstream behind its proxy, and what befalls it.

use std::net::SocketAddr;
use std::sync::Arc;

use sluice::simulator::{Faults, Handshake, Made, Running, SimulatedDialect, Simulator, SimulatorSettings};
use tokio::runtime::Runtime;

use super::super::fault_proxy::{Done, FaultProxy};
use super::plan::Fault;

/// Events a second of an upstream.
const RATE: u64 = 300;
/// The most events of a run that are kept: an hour's, twice.
const MADE_MAX: usize = 2 * 3600 * 300;

/// Dialects whose messages have ids, with topics of theirs that begin without a snapshot.
const DIALECTS: [(SimulatedDialect, [&str; 4]); 5] = [
    (SimulatedDialect::Binance, ["btcusdt@trade", "ethusdt@trade", "solusdt@aggTrade", "xrpusdt@trade"]),
    (SimulatedDialect::Kraken, ["trade:BTC/USD", "trade:ETH/USD", "trade:SOL/USD", "trade:XRP/USD"]),
    (SimulatedDialect::Okx, ["trades:BTC-USDT", "trades:ETH-USDT", "trades:SOL-USDT", "trades:XRP-USDT"]),
    (
        SimulatedDialect::Bybit,
        ["publicTrade.BTCUSDT", "publicTrade.ETHUSDT", "publicTrade.SOLUSDT", "publicTrade.XRPUSDT"],
    ),
    (
        SimulatedDialect::Deribit,
        [
            "trades.BTC-PERPETUAL.100ms",
            "trades.ETH-PERPETUAL.100ms",
            "trades.SOL-PERPETUAL.100ms",
            "trades.XRP-PERPETUAL.100ms",
        ],
    ),
];

/// An upstream.
pub(super) struct Feed {
    pub(super) dialect: SimulatedDialect,
    pub(super) topics: [&'static str; 4],
    proxy: FaultProxy,
    runtime: Arc<Runtime>,
    settings: SimulatorSettings,
    /// None: it is killed.
    running: Option<Running>,
    /// What those made that were killed.
    made: Vec<Made>,
}

/// What is wrong always.
fn ordinary() -> Faults {
    Faults { repeats: 0.02, disorder: 0.02, bad_frames: 0.002, conflicts: 0.01, ..Faults::default() }
}

impl Feed {
    /// Three of different dialects.
    pub(super) fn three(runtime: &Arc<Runtime>, seed: u64) -> Vec<Self> {
        let mut dialects = DIALECTS;
        fastrand::Rng::with_seed(seed).shuffle(&mut dialects);
        dialects.into_iter().take(3).map(|(dialect, topics)| Self::start(runtime, seed, dialect, topics)).collect()
    }

    fn start(runtime: &Arc<Runtime>, seed: u64, dialect: SimulatedDialect, topics: [&'static str; 4]) -> Self {
        let mut settings = SimulatorSettings {
            rate: RATE,
            seed,
            topics: topics.map(str::to_owned).to_vec(),
            made_max: MADE_MAX,
            faults: ordinary(),
            ..SimulatorSettings::synthetic(dialect)
        };
        let running = runtime.block_on(Simulator::start(settings.clone())).expect("it can start");
        // Whoever is started in its place has its address.
        settings.listen = running.address();
        let proxy = FaultProxy::start(&running.address().to_string());
        let runtime = Arc::clone(runtime);
        Self { dialect, topics, proxy, runtime, settings, running: Some(running), made: Vec::new() }
    }

    /// Where the daemon is to connect to.
    pub(super) fn url(&self) -> String {
        let address: SocketAddr = self.settings.listen;
        self.proxy.url(&format!("ws://{address}{}", self.dialect.path()))
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("nobody but `Killed` ends it, for as long as that lasts")
    }

    fn set_faults(&self, faults: Faults) {
        self.running().set_faults(faults).expect("sound faults");
    }

    pub(super) fn begin(&mut self, fault: &Fault) {
        let handshake = |handshake| Faults { handshake, ..ordinary() };
        match fault {
            Fault::Network(plan) => self.proxy.set(*plan),
            Fault::Door(door) => {
                self.proxy.set_door(*door);
                self.proxy.reset_all();
            }
            Fault::Noise => self.set_faults(Faults {
                repeats: 0.2,
                disorder: 0.2,
                bad_frames: 0.05,
                conflicts: 0.1,
                ..Faults::default()
            }),
            Fault::RefusedTopic(number) => {
                let refused = self.topics[number % self.topics.len()].to_owned();
                self.set_faults(Faults { refuse: vec![refused], ..ordinary() });
                self.running().break_connections();
            }
            Fault::Closes => self.running().break_connections(),
            Fault::Silence => self.set_faults(Faults { silent_after: Some(0), ..ordinary() }),
            Fault::NoPong => self.set_faults(Faults { no_pong: true, ..ordinary() }),
            Fault::LateAcks(delay) => {
                let (ack_delay, no_ack) = (delay.unwrap_or_default(), delay.is_none());
                self.set_faults(Faults { ack_delay, no_ack, ..ordinary() });
                self.running().break_connections();
            }
            Fault::Refused { status, times, retry_after } => {
                let refused = Handshake {
                    status: Some(*status),
                    refusals: *times,
                    retry_after: *retry_after,
                    accept_then_close: 0,
                };
                self.set_faults(handshake(refused));
                self.running().break_connections();
            }
            Fault::AcceptThenClose(times) => {
                self.set_faults(handshake(Handshake { accept_then_close: *times, ..Handshake::default() }));
                self.running().break_connections();
            }
            Fault::Killed => {
                let running = self.running.take().expect("it is killed once at a time");
                self.made.extend(self.runtime.block_on(running.kill()));
            }
        }
    }

    pub(super) fn end(&mut self, fault: &Fault) {
        self.proxy.pass();
        if *fault == Fault::Killed {
            let settings = SimulatorSettings { faults: ordinary(), ..self.settings.clone() };
            self.running = Some(self.runtime.block_on(Simulator::start(settings)).expect("its port is its own"));
            return;
        }
        self.set_faults(ordinary());
        // Of a refused topic, and of a silent connection, nothing would ever come.
        if matches!(fault, Fault::RefusedTopic(_) | Fault::Silence) {
            self.running().break_connections();
        }
    }

    /// No fault is made any more, and whatever was subscribed is so anew.
    pub(super) fn settle(&self) {
        self.proxy.pass();
        self.set_faults(Faults::default());
        self.running().break_connections();
    }

    /// Nothing new is made.
    pub(super) fn pause(&self) {
        self.running().pause(true);
    }

    /// Everything that was made, in that order.
    pub(super) fn made(&self) -> Vec<Made> {
        let mut made = self.made.clone();
        made.extend(self.running().made());
        assert_eq!(self.running().figures().made_lost, 0, "the account has room for all of it");
        made
    }

    pub(super) fn done(&self) -> Done {
        self.proxy.done()
    }
}
