//! What a simulator is to serve, how fast, and with which faults.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// A dialect that the simulator speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SimulatedDialect {
    /// Binance spot combined streams.
    Binance,
    /// Coinbase Exchange.
    Coinbase,
    /// Kraken WebSocket v2.
    Kraken,
    /// Bybit v5.
    Bybit,
    /// OKX v5.
    Okx,
    /// Ethereum JSON-RPC subscriptions.
    Ethereum,
    /// Solana pubsub.
    Solana,
    /// Deribit JSON-RPC.
    Deribit,
    /// A Nostr relay.
    Nostr,
    /// Bluesky's Jetstream.
    Jetstream,
    /// GraphQL subscriptions over `graphql-transport-ws`.
    Graphql,
    /// Mastodon's streaming API.
    Mastodon,
    /// An event stream of the AT protocol.
    Atproto,
    /// Bitfinex v2.
    Bitfinex,
    /// `BitMEX`.
    Bitmex,
    /// Bitstamp v2.
    Bitstamp,
    /// Gemini market data v2.
    Gemini,
    /// Huobi, gzip in binary frames.
    Huobi,
    /// Upbit, JSON in binary frames.
    Upbit,
    /// Kraken WebSocket v1.
    KrakenV1,
    /// Server-sent events over HTTP, as Wikimedia's are.
    Sse,
    /// An HTTP endpoint that shows the newest events of a list to whoever asks.
    Poll,
    /// A Q-SYS Core, over TCP with NUL ends or over WebSocket.
    Qsys,
    /// An MQTT 3.1.1 broker over WebSocket.
    Mqtt,
    /// A NATS server over WebSocket, with push consumers of `JetStream`.
    Nats,
}

impl SimulatedDialect {
    /// Every dialect, in the order they are listed to users.
    pub const ALL: [Self; 25] = [
        Self::Binance,
        Self::Coinbase,
        Self::Kraken,
        Self::Bybit,
        Self::Okx,
        Self::Ethereum,
        Self::Solana,
        Self::Deribit,
        Self::Nostr,
        Self::Jetstream,
        Self::Graphql,
        Self::Mastodon,
        Self::Atproto,
        Self::Bitfinex,
        Self::Bitmex,
        Self::Bitstamp,
        Self::Gemini,
        Self::Huobi,
        Self::Upbit,
        Self::KrakenV1,
        Self::Sse,
        Self::Poll,
        Self::Qsys,
        Self::Mqtt,
        Self::Nats,
    ];

    /// Its name in settings and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Binance => "binance",
            Self::Coinbase => "coinbase",
            Self::Kraken => "kraken",
            Self::Bybit => "bybit",
            Self::Okx => "okx",
            Self::Ethereum => "ethereum",
            Self::Solana => "solana",
            Self::Deribit => "deribit",
            Self::Nostr => "nostr",
            Self::Jetstream => "jetstream",
            Self::Graphql => "graphql-transport-ws",
            Self::Mastodon => "mastodon",
            Self::Atproto => "atproto",
            Self::Bitfinex => "bitfinex",
            Self::Bitmex => "bitmex",
            Self::Bitstamp => "bitstamp",
            Self::Gemini => "gemini",
            Self::Huobi => "huobi",
            Self::Upbit => "upbit",
            Self::KrakenV1 => "kraken-v1",
            Self::Sse => "sse",
            Self::Poll => "poll",
            Self::Qsys => "qsys",
            Self::Mqtt => "mqtt",
            Self::Nats => "nats",
        }
    }

    /// The path that the real upstream serves it under.
    pub fn path(self) -> &'static str {
        match self {
            Self::Binance => "/stream",
            Self::Kraken => "/v2",
            Self::Bybit => "/v5/public/spot",
            Self::Okx => "/ws/v5/public",
            Self::Deribit => "/ws/api/v2",
            Self::Jetstream => "/subscribe",
            Self::Graphql => "/graphql",
            Self::Mastodon => "/api/v1/streaming",
            Self::Atproto => "/xrpc/com.atproto.sync.subscribeRepos",
            Self::Bitfinex => "/ws/2",
            Self::Bitmex => "/realtime",
            Self::Gemini => "/v2/marketdata",
            Self::Huobi => "/ws",
            Self::Upbit => "/websocket/v1",
            Self::Mqtt => "/mqtt",
            Self::Coinbase
            | Self::Ethereum
            | Self::Solana
            | Self::Nostr
            | Self::Bitstamp
            | Self::KrakenV1
            | Self::Sse
            | Self::Poll
            | Self::Qsys
            | Self::Nats => "/",
        }
    }

    /// What its address begins with. A Q-SYS Core takes `ws` too.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Sse | Self::Poll => "http",
            Self::Qsys => "tcp",
            _ => "ws",
        }
    }

    /// The dialect whose name is part of `text`, such as a recording's URL or path; of several the longest.
    pub fn named_in(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        // Recordings are served over WebSocket, and `sse` stands in many a word.
        let served = Self::ALL.into_iter().filter(|dialect| dialect.scheme() == "ws");
        let named = served.filter(|dialect| text.contains(dialect.name()));
        named.max_by_key(|dialect| dialect.name().len())
    }
}

impl fmt::Display for SimulatedDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SimulatedDialect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.into_iter().map(Self::name).collect();
            format!("unknown dialect `{text}`; the simulator speaks {}", names.join(", "))
        })
    }
}

/// Where messages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Made up, for each topic that is subscribed.
    Synthetic(SimulatedDialect),
    /// A recorded session, served to each connection.
    Recording(RecordingSettings),
    /// Pre-encoded Binance trades.
    Flood(FloodSettings),
}

/// How a recording is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingSettings {
    /// A `.session.jsonl` or `.session.jsonl.gz` file.
    pub path: PathBuf,
    /// In whose words requests are answered that the recording has no reply to. None: told by the recording's URL or
    /// path, and if they name none, such requests are not answered.
    pub dialect: Option<SimulatedDialect>,
    /// How fast.
    pub pace: Pace,
    /// What follows the last frame.
    pub then: AfterRecording,
    /// How long a recorded reply waits for the client to make its request, counted from the client's last request.
    pub patience: Duration,
    /// How many connections get the recording; later ones are accepted and get nothing. None: all.
    pub connections: Option<u64>,
}

/// How fast a recording is served.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// As fast as the client takes it.
    AsTaken,
    /// At so many times the speed at which it was recorded.
    Recorded {
        /// 1.0 is the recorded speed.
        speed: f64,
    },
}

impl Eq for Pace {}

/// What follows a recording's last frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterRecording {
    /// The connection stays open and answers pings.
    StayOpen,
    /// The connection is closed with code 1000.
    Close,
}

/// What a flood sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FloodSettings {
    /// How many messages in all, over all connections; then connections stay open. None: without end.
    pub total: Option<u64>,
    /// Starts when so many topics are subscribed over all connections. 0: each connection by itself.
    pub start_topics: usize,
}

/// The ledger of what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerSettings {
    /// None is kept.
    Off,
    /// In memory, at most so many entries; more are counted as `ledger_lost`.
    Memory {
        /// The most entries.
        entries_max: usize,
    },
    /// One JSON line an event in a file, which is replaced.
    File(PathBuf),
}

/// Answers to the first handshakes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Handshake {
    /// The HTTP status that refused attempts get.
    pub status: Option<u16>,
    /// How many attempts are refused with it.
    pub refusals: u64,
    /// The `Retry-After` header that goes with it.
    pub retry_after: Option<Duration>,
    /// How many attempts, after those, are accepted and closed at once.
    pub accept_then_close: u64,
}

/// Faults made on request. All are drawn from the seed and counted in [`super::Figures`].
///
/// Those of a synthetic feed may change while it runs, see [`super::Running::set_faults`].
///
/// Synthetic feeds make all of them. Recordings make those of the handshake, pongs, disconnects, losses, repeats, disorder and bad
/// frames; floods those of the handshake, pongs and disconnects.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    /// The fraction of messages that are sent a second time, up to 64 messages later.
    pub repeats: f64,
    /// The fraction of messages that are not sent at all.
    pub drop: f64,
    /// The fraction of messages that are sent after the next one of their topic.
    pub disorder: f64,
    /// Bad frames sent in addition, as a fraction of messages.
    pub bad_frames: f64,
    /// Messages sent in addition that have the id of an earlier one and another payload, as a fraction of messages.
    pub conflicts: f64,
    /// The mean time after which a connection is broken: in turn by a close frame, by a reset in mid-frame and by an
    /// end of stream without a close frame.
    pub disconnect_every: Option<Duration>,
    /// Topics whose subscription is refused.
    pub refuse: Vec<String>,
    /// After so many messages a connection sends nothing but answers to WebSocket pings.
    pub silent_after: Option<u64>,
    /// Topics of which nothing more is sent, though their subscription is in force. Whoever has met this once gets nothing
    /// of them until it subscribes to them anew.
    pub mute: Vec<String>,
    /// Pings are not answered, neither the protocol's nor the dialect's.
    pub no_pong: bool,
    /// How long acknowledgements are held back; data is not.
    pub ack_delay: Duration,
    /// Acknowledgements are never sent; data is.
    pub no_ack: bool,
    /// The first connection to have got 10 messages then gets one frame of so many bytes.
    pub giant_frame: Option<u64>,
    /// The giant frame comes as fragments of 64 KiB and has no end.
    pub giant_fragments: bool,
    /// What happens at the handshake.
    pub handshake: Handshake,
    /// A connection with fewer subscriptions meets no fault in its messages, and is not broken: so that one client's pool suffers what
    /// another's connection of a single topic does not.
    pub from_topics: usize,
}

/// Everything a simulator needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatorSettings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What to send.
    pub source: Source,
    /// Events a second in all, shared fairly by the topics subscribed; 0: as fast as they are taken. A topic that two
    /// connections are subscribed to counts once. Recordings have a pace of their own.
    pub rate: u64,
    /// What all randomness is drawn from.
    pub seed: u64,
    /// Faults to make.
    pub faults: Faults,
    /// What is kept of what was sent.
    pub ledger: LedgerSettings,
    /// Topics of a synthetic feed that make events from the start on, whether or not anybody is subscribed. Others
    /// make them while somebody is.
    pub topics: Vec<String>,
    /// The most events that are kept in memory of what a synthetic feed made, sent or not; more are counted as
    /// `made_lost`. 0: none.
    pub made_max: usize,
    /// Ids of synthetic events begin after this; none: at a number that grows with the time of day, so that a
    /// simulator started later does not hand out the same ids again.
    pub first_id: Option<u64>,
    /// More connections than this are dropped at once.
    pub connections_max: usize,
    /// A connection that takes nothing for so long is cut.
    pub slow_reader_after: Duration,
}

impl SimulatorSettings {
    fn with_source(source: Source) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            source,
            rate: 100,
            seed: 0,
            faults: Faults::default(),
            ledger: LedgerSettings::Off,
            topics: Vec::new(),
            made_max: 0,
            first_id: None,
            connections_max: 4096,
            slow_reader_after: Duration::from_mins(1),
        }
    }

    /// A synthetic feed, 100 events a second on a free port of the loopback, without faults.
    pub fn synthetic(dialect: SimulatedDialect) -> Self {
        Self::with_source(Source::Synthetic(dialect))
    }

    /// A recording, as fast as it is taken, on a free port of the loopback.
    pub fn recording(path: impl Into<PathBuf>) -> Self {
        Self::with_source(Source::Recording(RecordingSettings {
            path: path.into(),
            dialect: None,
            pace: Pace::AsTaken,
            then: AfterRecording::StayOpen,
            patience: Duration::from_secs(1),
            connections: None,
        }))
    }

    /// A flood, as fast as it is taken, on a free port of the loopback.
    pub fn flood(flood: FloodSettings) -> Self {
        Self { rate: 0, ..Self::with_source(Source::Flood(flood)) }
    }
}
