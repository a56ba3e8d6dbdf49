//! What the `nats` sink costs beside a bare loop: `cargo bench --bench sink_nats`. Needs `nats-server`.
//!
//! Both publish the same payloads to a stream of the same settings on the same server, with as many acknowledgements in flight. The
//! loop has them in memory, sends no headers, and expects nothing; once more it sends headers as long as the sink's, which shows what
//! their bytes alone cost client and server. The sink is the daemon's own: its runner reads them from a
//! journal, and each message carries all that is known of its event and what it expects of the one before. They take turns, and
//! the middle one of the ratios counts.

use std::collections::VecDeque;
use std::net::{TcpListener, TcpStream};
use std::path::Path as FilePath;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_nats::header::HeaderName;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::stream::Config;
use async_nats::{HeaderMap, HeaderValue};
use sluice::clock::UnixNanos;
use sluice::config::{Endpoint, JournalSettings, Settings, SinkSettings};
use sluice::journal::{
    BlockBuilder, DedupeHash, Encoder, EventId, Journal, JournalOptions, MonitorIdentity, NewEvent, Offset, Part, Path,
    SourceSlot,
};
use tokio::time::Instant;

mod taking;

use taking::{Taken, cpu_of_process};

/// Events of a round.
const EVENTS: u64 = 300_000;

/// Rounds of both.
const ROUNDS: usize = 7;

/// Messages in flight, as the sink has them.
const IN_FLIGHT: usize = 4096;

type Failure = Box<dyn std::error::Error>;

/// nats-server, until this is dropped.
struct Server {
    process: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let process = Command::new("nats-server")
            .args(["-a", "127.0.0.1", "-p", &address.port().to_string(), "-js", "-sd"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self { process, url: format!("nats://{address}"), _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                return Err("nats-server does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Messages like those of an exchange, about 165 bytes each.
fn payload(number: u64) -> String {
    let symbol = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"][usize::try_from(number % 4).unwrap_or(0)];
    let (time, id) = (1_767_225_600_000 + number, 4_000_000_000 + number);
    format!(
        r#"{{"stream":"{}@trade","data":{{"e":"trade","E":{time},"s":"{symbol}","t":{id},"p":"{}.{:02}000000","q":"0.{:05}000","T":{time},"m":{},"M":true}}}}"#,
        symbol.to_lowercase(),
        60_000 + number % 200,
        number % 100,
        number * 7 % 100_000,
        number.is_multiple_of(2),
    )
}

/// A journal with all events.
fn fill(dir: &FilePath) -> Result<Journal, Failure> {
    let (journal, _) = Journal::open(dir, JournalOptions::new(JournalSettings::default()))?;
    let (mut builder, mut encoder) = (BlockBuilder::new(Path::Smart), Encoder::new());
    let monitor = Arc::new(MonitorIdentity { index: 0, name: "spot-trades".into(), domain: "trading".into() });
    let now = UnixNanos::now().0;
    for first in (0..EVENTS).step_by(1000) {
        for number in first..(first + 1000).min(EVENTS) {
            let text = payload(number);
            let at = |needle: &str| u32::try_from(text.find(needle).map_or(0, |at| at + needle.len())).unwrap_or(0);
            let (id, key) = (at(r#""t":"#), at(r#""s":"#));
            let source = builder.source(&monitor, "btcusdt@trade", SourceSlot(0));
            let received = now + i64::try_from(number).unwrap_or(0);
            builder.push(&NewEvent {
                source,
                received: UnixNanos(received),
                event_time: Some(UnixNanos((received - 50_000_000) / 1_000_000 * 1_000_000)),
                payload: text.as_bytes(),
                id: EventId::Parts(&[Part::Span { start: id, end: id + 10 }]),
                key: Some(Part::Span { start: key, end: key + 9 }),
                hash: Some(DedupeHash { hash: u128::from(number), payload_check: 1 }),
                conflict: false,
                handover: false,
            });
        }
        let mut block = builder.finish(&mut encoder);
        while let Err(back) = journal.try_submit(block) {
            block = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    while journal.durable() < Offset(EVENTS) {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(journal)
}

/// The bare loop.
async fn bare(url: &str, payloads: &[Vec<u8>], headers: Option<&HeaderMap>) -> Result<Taken, Failure> {
    let client = async_nats::connect(url).await?;
    let context = ContextBuilder::new().max_ack_inflight(IN_FLIGHT).build(client);
    let config = Config {
        name: "BARE".into(),
        subjects: vec!["sluice.bare.>".into()],
        duplicate_window: Duration::from_secs(1),
        ..Config::default()
    };
    context.create_stream(config).await?;
    let (started, before) = (Instant::now(), cpu_of_process());
    let mut acks = VecDeque::with_capacity(IN_FLIGHT);
    for payload in payloads {
        if acks.len() == IN_FLIGHT
            && let Some(ack) = acks.pop_front()
        {
            ack.await?;
        }
        let (subject, payload) = ("sluice.bare.trading.spot-trades", payload.clone().into());
        acks.push_back(match headers {
            Some(headers) => context.publish_with_headers(subject, headers.clone(), payload).await?,
            None => context.publish(subject, payload).await?,
        });
    }
    for ack in acks {
        ack.await?;
    }
    let took = Taken { elapsed: started.elapsed(), cpu: cpu_of_process().saturating_sub(before) };
    context.delete_stream("BARE").await?;
    Ok(took)
}

/// Headers like those of the sink: as many, as long, and without a meaning for the server.
fn headers() -> HeaderMap {
    let lengths = [42, 6, 42, 5, 36, 6, 11, 7, 13, 7, 10, 24, 30, 5];
    lengths
        .iter()
        .enumerate()
        .map(|(number, &len)| {
            let name: HeaderName = format!("Sluice-Header{number:02}").parse().expect("plain");
            (name, HeaderValue::from("x".repeat(len)))
        })
        .collect()
}

/// The sink, from its start until it has everything.
fn sink(url: &str, journal: &Arc<Journal>, data_dir: &FilePath) -> Result<Taken, Failure> {
    let sink: SinkSettings = toml::from_str(r#"kind = "nats""#)?;
    let sink = SinkSettings { url: Some(Endpoint::from(url::Url::parse(url)?)), ..sink };
    let mut settings = Settings::default();
    data_dir.clone_into(&mut settings.daemon.data_dir);
    settings.sinks.insert("bench".into(), sink);
    Ok(taking::take(&settings, journal, EVENTS))
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()?;
    let server = Server::start()?;
    let folder = tempfile::tempdir()?;
    let journal = Arc::new(fill(&folder.path().join("journal"))?);
    let payloads: Vec<Vec<u8>> = (0..EVENTS).map(|number| payload(number).into_bytes()).collect();
    let bytes: usize = payloads.iter().map(Vec::len).sum();
    println!("{EVENTS} events of {} bytes; per second, and CPU of this process for each", bytes as u64 / EVENTS);
    println!("round  bare/s   sink/s   ratio  bare µs  sink µs  bare with headers/s  ratio to it");
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let one = |loop_first: bool| -> Result<Taken, Failure> {
            if loop_first {
                return runtime.block_on(bare(&server.url, &payloads, None));
            }
            let took = sink(&server.url, &journal, folder.path())?;
            runtime.block_on(async {
                let client = async_nats::connect(&server.url).await?;
                let context = async_nats::jetstream::new(client);
                let messages = context.get_stream("SLUICE_BENCH").await?.cached_info().state.messages;
                assert_eq!(messages, EVENTS);
                context.delete_stream("SLUICE_BENCH").await?;
                Ok::<_, Failure>(())
            })?;
            Ok(took)
        };
        let first = one(round % 2 == 0)?;
        let second = one(round % 2 != 0)?;
        let headed = runtime.block_on(bare(&server.url, &payloads, Some(&headers())))?;
        let (bare, sink) = if round % 2 == 0 { (first, second) } else { (second, first) };
        let rate = |took: &Taken| EVENTS as f64 / took.elapsed.as_secs_f64();
        let each = |took: &Taken| took.cpu.as_secs_f64() * 1e6 / EVENTS as f64;
        let ratio = rate(&sink) / rate(&bare);
        println!(
            "{:5}  {:7.0}  {:7.0}  {ratio:5.2}  {:7.2}  {:7.2}  {:19.0}  {:11.2}",
            round + 1,
            rate(&bare),
            rate(&sink),
            each(&bare),
            each(&sink),
            rate(&headed),
            rate(&sink) / rate(&headed),
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("the middle one: {:.2}", ratios[ratios.len() / 2]);
    Ok(())
}
