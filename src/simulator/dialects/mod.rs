//! The upstream's side of each dialect: how requests are answered, and what its messages look like.
//!
//! A [`Speaker`] is one connection's conversation; it neither sends nor knows other connections, but says on its
//! [`Desk`] what is to be done. A [`Series`] makes one topic's messages, the same for all connections.

mod atproto;
mod binance;
mod bitfinex;
mod bitmex;
mod bitstamp;
mod bybit;
mod coinbase;
mod deribit;
mod ethereum;
mod gemini;
mod graphql;
mod huobi;
mod jetstream;
mod kraken;
mod kraken_v1;
mod market;
mod mastodon;
mod mqtt;
mod nats;
mod nostr;
mod okx;
mod polled;
mod qsys;
mod solana;
mod sse;
mod standing;
mod upbit;

pub(crate) use binance::streams_of;
pub(crate) use standing::Standing;

use std::fmt::Debug;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::settings::SimulatedDialect;

/// The time that messages carry.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moment {
    nanos: i64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { nanos: i64::try_from(since.as_nanos()).unwrap_or(i64::MAX) }
    }

    pub(crate) fn nanos(self) -> i64 {
        self.nanos
    }

    pub(crate) fn millis(self) -> i64 {
        self.nanos / 1_000_000
    }

    pub(crate) fn micros(self) -> i64 {
        self.nanos / 1_000
    }

    pub(crate) fn seconds(self) -> i64 {
        self.nanos / 1_000_000_000
    }

    /// RFC 3339 with six fractional digits, as Coinbase and Kraken write it.
    pub(crate) fn rfc3339(self) -> String {
        match jiff::Timestamp::from_microsecond(self.micros()) {
            Ok(timestamp) => format!("{timestamp:.6}"),
            Err(_) => String::from("1970-01-01T00:00:00.000000Z"),
        }
    }
}

/// One message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Draft {
    pub(crate) text: String,
    /// Where the connection's subscription id belongs, in dialects that route by one.
    pub(crate) splice: Option<usize>,
    /// The id of each event in it as in the text, without quotes; empty for an event that has none.
    pub(crate) ids: Vec<String>,
    /// The first event's id in the text, quotes included; an empty range: none.
    pub(crate) id_span: Range<usize>,
    /// A digit of the first event that is not part of its id: a conflict changes it.
    pub(crate) twist: Option<usize>,
    /// From where on it comes again, in dialects that can be taken up again.
    pub(crate) position: Option<u64>,
    /// What the message is about and the topic that it is of, in dialects whose topics are patterns.
    pub(crate) name: String,
    pub(crate) of: String,
    /// When it was made, in dialects whose frames say so.
    pub(crate) made: Moment,
}

impl Draft {
    /// Begins a message.
    fn new() -> Self {
        Self { text: String::with_capacity(256), ..Self::default() }
    }

    /// Appends the id of an event, with quotes where `quoted`.
    fn push_id(&mut self, id: &str, quoted: bool) {
        let start = self.text.len();
        let quote = if quoted { "\"" } else { "" };
        self.text.extend([quote, id, quote]);
        if self.ids.is_empty() {
            self.id_span = start..self.text.len();
        }
        self.ids.push(id.to_owned());
    }

    /// Declares that the text now ends with a digit that a conflict may change.
    fn mark_twist(&mut self) {
        self.twist = self.twist.or(self.text.len().checked_sub(1));
    }

    /// Ends a message that holds one event without an id.
    fn without_id(mut self) -> Self {
        self.ids.push(String::new());
        self
    }
}

/// Makes a topic's messages.
pub(crate) trait Series: Send {
    /// The next message.
    fn next(&mut self, moment: Moment) -> Draft;

    /// What a new subscription begins with.
    fn snapshot(&mut self, _moment: Moment) -> Option<Draft> {
        None
    }

    /// Whether its messages come by the clock, from the speaker, and not at the rate asked for.
    fn timed(&self) -> bool {
        false
    }
}

/// What a connection began with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Greeting {
    /// The path and query that were asked for; `/` where there is nothing of the kind.
    pub(crate) target: String,
    /// The header `Last-Event-ID`.
    pub(crate) last_event_id: Option<String>,
}

/// What is said to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Words {
    Text(String),
    Bytes(Vec<u8>),
}

/// How an event's text goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wrapped {
    /// As it is.
    AsItIs,
    /// In a text of this dialect's.
    Text(Vec<u8>),
    /// In a binary frame of this dialect's.
    Binary(Vec<u8>),
    /// When the client asks for it.
    Held,
}

/// A frame that answers a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) words: Words,
    /// Acknowledgements can be held back on request.
    pub(crate) acknowledgement: bool,
}

/// What a request changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Events of `topic` go to this connection; `token` is what they are marked with.
    Subscribe { topic: String, token: String },
    /// They end.
    Unsubscribe { topic: String, token: String },
    /// As `Subscribe`, for several topics at once, with what was made of them from a position on, in the order in which it
    /// was made, and then a word.
    Resume { topics: Vec<String>, token: String, since: Option<u64>, then: Option<String> },
    /// The connection is closed.
    Close { code: u16, reason: &'static str },
}

/// What a speaker reads and writes while it answers a request.
#[derive(Debug)]
pub(crate) struct Desk<'a> {
    refuse: &'a [String],
    dialect: SimulatedDialect,
    mute: bool,
    /// What is kept of clients from connection to connection.
    standing: &'a Standing,
    pub(crate) replies: Vec<Reply>,
    pub(crate) changes: Vec<Change>,
    pub(crate) refused: u64,
    /// Whether what was held is among the replies.
    pub(crate) released: bool,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(dialect: SimulatedDialect, refuse: &'a [String], mute: bool, standing: &'a Standing) -> Self {
        Self { refuse, dialect, mute, standing, replies: Vec::new(), changes: Vec::new(), refused: 0, released: false }
    }

    /// Whether a topic is refused: on request, or since the upstream has none such.
    fn refuses(&mut self, topic: &str) -> bool {
        let refused = self.refuse.iter().any(|refused| refused == topic) || !self.dialect.has_topic(topic);
        self.refused += u64::from(refused);
        refused
    }

    /// Answers a subscribe or unsubscribe request.
    fn acknowledge(&mut self, text: String) {
        self.replies.push(Reply { words: Words::Text(text), acknowledgement: true });
    }

    /// The same where the protocol has no texts.
    fn acknowledge_bytes(&mut self, bytes: Vec<u8>) {
        self.replies.push(Reply { words: Words::Bytes(bytes), acknowledgement: true });
    }

    /// Says something else.
    fn say(&mut self, text: String) {
        self.replies.push(Reply { words: Words::Text(text), acknowledgement: false });
    }

    fn say_bytes(&mut self, bytes: Vec<u8>) {
        self.replies.push(Reply { words: Words::Bytes(bytes), acknowledgement: false });
    }

    /// Answers a ping of the dialect's, unless pings go unanswered.
    fn pong(&mut self, text: String) {
        if !self.mute {
            self.say(text);
        }
    }

    /// The same where the protocol has no texts.
    fn pong_bytes(&mut self, bytes: Vec<u8>) {
        if !self.mute {
            self.say_bytes(bytes);
        }
    }

    /// Refuses a JSON-RPC subscription that a recording has no data for.
    pub(crate) fn say_unknown(&mut self, id: &str) {
        self.refused += 1;
        self.say(format!(
            r#"{{"jsonrpc":"2.0","error":{{"code":-32602,"message":"the recording has no such subscription"}},"id":{id}}}"#
        ));
    }

    fn subscribe(&mut self, topic: impl Into<String>, token: impl Into<String>) {
        self.changes.push(Change::Subscribe { topic: topic.into(), token: token.into() });
    }

    fn resume(&mut self, topics: Vec<String>, token: &str, since: Option<u64>, then: Option<String>) {
        self.changes.push(Change::Resume { topics, token: token.to_owned(), since, then });
    }

    fn close(&mut self, code: u16, reason: &'static str) {
        self.changes.push(Change::Close { code, reason });
    }

    fn unsubscribe(&mut self, topic: impl Into<String>, token: impl Into<String>) {
        self.changes.push(Change::Unsubscribe { topic: topic.into(), token: token.into() });
    }
}

/// One connection's conversation, from the upstream's side.
pub(crate) trait Speaker: Send + Debug {
    /// A connection has come.
    fn greet(&mut self, _greeting: &Greeting, _desk: &mut Desk<'_>) {}

    /// The client has sent a text.
    fn hear(&mut self, text: &str, desk: &mut Desk<'_>);

    /// The client has sent bytes.
    fn hear_bytes(&mut self, _bytes: &[u8], _desk: &mut Desk<'_>) {}

    /// Whether the client is to get more events now; it may owe acknowledgements.
    fn takes_more(&self) -> bool {
        true
    }

    /// How the text of an event goes out that is marked with `token`.
    fn wrap(&mut self, _draft: &Draft, _token: &str, _text: &[u8], _standing: &Standing) -> Wrapped {
        Wrapped::AsItIs
    }

    /// A second has passed.
    fn beat(&mut self, _desk: &mut Desk<'_>) {}

    /// How often the upstream sends a WebSocket ping.
    fn ping_interval(&self) -> Option<Duration> {
        None
    }
}

impl SimulatedDialect {
    /// A conversation with a new connection.
    pub(crate) fn speaker(self, rng: fastrand::Rng) -> Box<dyn Speaker> {
        match self {
            Self::Binance => Box::<binance::BinanceSpeaker>::default(),
            Self::Coinbase => Box::<coinbase::CoinbaseSpeaker>::default(),
            Self::Kraken => Box::new(kraken::KrakenSpeaker::new(rng)),
            Self::Bybit => Box::new(bybit::BybitSpeaker::new(rng)),
            Self::Okx => Box::new(okx::OkxSpeaker::new(rng)),
            Self::Ethereum => Box::new(ethereum::EthereumSpeaker::new(rng)),
            Self::Solana => Box::<solana::SolanaSpeaker>::default(),
            Self::Deribit => Box::<deribit::DeribitSpeaker>::default(),
            Self::Nostr => Box::<nostr::NostrSpeaker>::default(),
            Self::Jetstream => Box::<jetstream::JetstreamSpeaker>::default(),
            Self::Graphql => Box::<graphql::GraphqlSpeaker>::default(),
            Self::Mastodon => Box::new(mastodon::MastodonSpeaker),
            Self::Atproto => Box::new(atproto::AtprotoSpeaker),
            Self::Bitfinex => Box::new(bitfinex::BitfinexSpeaker::new(rng)),
            Self::Bitmex => Box::<bitmex::BitmexSpeaker>::default(),
            Self::Bitstamp => Box::<bitstamp::BitstampSpeaker>::default(),
            Self::Gemini => Box::<gemini::GeminiSpeaker>::default(),
            Self::Huobi => Box::<huobi::HuobiSpeaker>::default(),
            Self::Upbit => Box::<upbit::UpbitSpeaker>::default(),
            Self::KrakenV1 => Box::new(kraken_v1::KrakenV1Speaker::new(rng)),
            Self::Sse => Box::new(sse::SseSpeaker),
            Self::Poll => Box::new(polled::PollSpeaker),
            Self::Qsys => Box::<qsys::QsysSpeaker>::default(),
            Self::Mqtt => Box::<mqtt::MqttSpeaker>::default(),
            Self::Nats => Box::<nats::NatsSpeaker>::default(),
        }
    }

    /// A topic's messages; none where the upstream has no such topic.
    pub(crate) fn series(self, topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
        match self {
            Self::Binance => binance::series(topic, seed, first_id),
            Self::Coinbase => coinbase::series(topic, seed, first_id),
            Self::Kraken => kraken::series(topic, seed, first_id),
            Self::Bybit => bybit::series(topic, seed, first_id),
            Self::Okx => okx::series(topic, seed, first_id),
            Self::Ethereum => ethereum::series(topic, seed, first_id),
            Self::Solana => solana::series(topic, seed, first_id),
            Self::Deribit => deribit::series(topic, seed, first_id),
            Self::Nostr => nostr::series(topic, seed, first_id),
            Self::Jetstream => jetstream::series(topic, seed, first_id),
            Self::Graphql => graphql::series(topic, seed, first_id),
            Self::Mastodon => mastodon::series(topic, seed, first_id),
            Self::Atproto => atproto::series(topic, seed, first_id),
            Self::Bitfinex => bitfinex::series(topic, seed, first_id),
            Self::Bitmex => bitmex::series(topic, seed, first_id),
            Self::Bitstamp => bitstamp::series(topic, seed, first_id),
            Self::Gemini => gemini::series(topic, seed, first_id),
            Self::Huobi => huobi::series(topic, seed, first_id),
            Self::Upbit => upbit::series(topic, seed, first_id),
            Self::KrakenV1 => kraken_v1::series(topic, seed, first_id),
            Self::Sse => sse::series(topic, seed, first_id),
            Self::Poll => polled::series(topic, seed, first_id),
            Self::Qsys => qsys::series(topic, seed, first_id),
            Self::Mqtt => mqtt::series(topic, seed, first_id),
            Self::Nats => nats::series(topic, seed, first_id),
        }
    }

    /// Whether it sends again what came from a position on.
    pub(crate) fn resumes(self) -> bool {
        matches!(self, Self::Nostr | Self::Jetstream | Self::Atproto | Self::Sse | Self::Mqtt | Self::Nats)
    }

    /// The frame that a message's text stands for, where frames of the dialect are no texts. None also where the text has been
    /// spoiled so far that it stands for nothing.
    pub(crate) fn frame(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Atproto => atproto::frame(text),
            Self::Huobi => huobi::frame(text),
            Self::Upbit => Some(text.to_vec()),
            _ => None,
        }
    }

    pub(crate) fn has_topic(self, topic: &str) -> bool {
        // Binance acknowledges streams that do not exist, and nothing comes.
        self == Self::Binance || self.series(topic, 0, 0).is_some()
    }
}

/// The raw text of a request's id, to be echoed; `null` where it has none.
fn echo(request: &serde_json::Value, name: &str) -> String {
    request.get(name).map_or_else(|| String::from("null"), ToString::to_string)
}

/// The strings in an array member of a request.
fn strings(value: Option<&serde_json::Value>) -> Vec<String> {
    let array = value.and_then(serde_json::Value::as_array).map(Vec::as_slice).unwrap_or_default();
    array.iter().filter_map(serde_json::Value::as_str).map(str::to_owned).collect()
}
