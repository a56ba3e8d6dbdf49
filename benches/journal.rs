//! What an event costs in the journal: `cargo bench --bench journal`.
//!
//! CPU is that of the thread or the process as the system counts it, so that neighbours on the machine do not count.

use std::sync::Arc;
use std::time::Duration;

use sluice::clock::UnixNanos;
use sluice::config::JournalSettings;
use sluice::journal::{
    BlockBuilder, DedupeHash, EncodedBlock, Encoder, EventId, Journal, JournalOptions, MonitorIdentity, NewEvent,
    Offset, Part, Path, SourceSlot,
};

const EVENTS: u64 = 400_000;

struct Trade {
    payload: Vec<u8>,
    id: (u32, u32),
    key: (u32, u32),
}

struct Trades {
    payloads: Vec<Trade>,
    monitors: Vec<Arc<MonitorIdentity>>,
    topics: Vec<String>,
}

impl Trades {
    /// Messages like those of an exchange, about 165 bytes each.
    fn new(monitors: u32) -> Self {
        let mut rng = fastrand::Rng::with_seed(7);
        let payloads = (0..20_000_u64)
            .map(|number| {
                let symbol = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"][rng.usize(..4)];
                let time = 1_767_225_600_000 + number;
                let id = 4_000_000_000 + number;
                let (price, quantity) = (60_000 + rng.u32(..200), rng.u32(..100_000));
                let text = format!(
                    r#"{{"stream":"{}@trade","data":{{"e":"trade","E":{time},"s":"{symbol}","t":{id},"p":"{price}.{:02}000000","q":"0.{quantity:05}000","T":{},"m":{},"M":true}}}}"#,
                    symbol.to_lowercase(),
                    rng.u32(..100),
                    time - u64::from(rng.u8(..5)),
                    rng.bool(),
                );
                let at = |needle: &str| text.find(needle).map_or(0, |at| at + needle.len());
                let (id_at, key_at) = (at(r#""t":"#), at(r#""s":"#));
                let span = |at: usize, len: usize| (u32::try_from(at).unwrap_or(0), u32::try_from(at + len).unwrap_or(0));
                Trade { payload: text.into_bytes(), id: span(id_at, 10), key: span(key_at, 9) }
            })
            .collect();
        let monitors = (0..monitors)
            .map(|index| {
                let name = format!("monitor-{index}").into();
                Arc::new(MonitorIdentity { index, name, domain: "trading".into() })
            })
            .collect::<Vec<_>>();
        let topics = (0..monitors.len()).map(|index| format!("symbol{index}@trade")).collect();
        Self { payloads, monitors, topics }
    }

    fn bytes(&self, events: u64) -> u64 {
        let all: u64 = self.payloads.iter().map(|trade| trade.payload.len() as u64).sum();
        all * events / self.payloads.len() as u64
    }

    fn fill(&self, builder: &mut BlockBuilder, from: u64, events: u64) {
        for number in from..from + events {
            let Trade { payload, id, key } = &self.payloads[usize::try_from(number).unwrap_or(0) % self.payloads.len()];
            let index = usize::try_from(number.wrapping_mul(2_654_435_761) >> 7).unwrap_or(0) % self.monitors.len();
            let slot = SourceSlot(self.monitors[index].index);
            let source = builder.source(&self.monitors[index], &self.topics[index], slot);
            let received = 1_767_225_600_050_000_000 + i64::try_from(number / 16).unwrap_or(0) * 16_000;
            let event_time = 1_767_225_600_000_000_000 + i64::try_from(number).unwrap_or(0) * 1_000_000;
            let hash = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            builder.push(&NewEvent {
                source,
                received: UnixNanos(received),
                event_time: Some(UnixNanos(event_time)),
                payload,
                id: EventId::Parts(&[Part::Span { start: id.0, end: id.1 }]),
                key: Some(Part::Span { start: key.0, end: key.1 }),
                hash: Some(DedupeHash { hash, payload_check: 1 }),
                conflict: false,
                handover: false,
            });
        }
    }
}

fn cpu_of_thread() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn cpu_of_process() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn per(total: Duration, events: u64) -> f64 {
    total.as_nanos() as f64 / events as f64
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn main() {
    println!("building a block, CPU of the link's thread; the best of five rounds");
    println!("monitors  events/block  raw KiB/block  push ns/event  finish ns/event  finish ns/raw KiB  ratio");
    for monitors in [4, 250, 1000] {
        let trades = Trades::new(monitors);
        for batch in [20, 200, 380, 1000, 1520, 5000, 6080] {
            let mut builder = BlockBuilder::new(Path::Smart);
            let mut encoder = Encoder::new();
            let (mut best_push, mut best_finish) = (Duration::MAX, Duration::MAX);
            let mut bytes = 0;
            for _ in 0..5 {
                let (mut push, mut finish) = (Duration::ZERO, Duration::ZERO);
                bytes = 0;
                for from in (0..EVENTS / 2).step_by(usize::try_from(batch).unwrap_or(1)) {
                    let start = cpu_of_thread();
                    trades.fill(&mut builder, from, batch);
                    let filled = cpu_of_thread();
                    let block: EncodedBlock = builder.finish(&mut encoder);
                    finish += cpu_of_thread().saturating_sub(filled);
                    push += filled.saturating_sub(start);
                    bytes += block.bytes() as u64;
                }
                best_push = best_push.min(push);
                best_finish = best_finish.min(finish);
            }
            let events = (EVENTS / 2).div_ceil(batch) * batch;
            let raw = trades.bytes(events);
            println!(
                "{monitors:8}  {batch:12}  {:13}  {:13.1}  {:15.1}  {:17.1}  {:.3}",
                trades.bytes(batch) >> 10,
                per(best_push, events),
                per(best_finish, events),
                per(best_finish, raw >> 10),
                bytes as f64 / raw as f64,
            );
        }
    }

    println!(
        "\nwriting and syncing, CPU of the whole process less that of the link's thread; sync at most every 10 ms"
    );
    println!("events/block  link ns/event  writer ns/event  events/s  bytes/raw  syncs");
    let trades = Trades::new(4);
    for batch in [200, 1000, 5000] {
        let dir = match tempfile::tempdir() {
            Ok(dir) => dir,
            Err(error) => return eprintln!("no folder to write to: {error}"),
        };
        let syncs = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counted = Arc::clone(&syncs);
        let mut options = JournalOptions::new(JournalSettings::default());
        options.observer = Box::new(move |notice| {
            if matches!(notice, sluice::journal::Notice::Committed(_)) {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        });
        let (journal, _) = match Journal::open(dir.path(), options) {
            Ok(opened) => opened,
            Err(error) => return eprintln!("{error}"),
        };
        let events = EVENTS * 4;
        let (process, thread, wall) = (cpu_of_process(), cpu_of_thread(), tokio::time::Instant::now());
        let mut builder = BlockBuilder::new(Path::Smart);
        let mut encoder = Encoder::new();
        for from in (0..events).step_by(usize::try_from(batch).unwrap_or(1)) {
            trades.fill(&mut builder, from, batch);
            let mut block = builder.finish(&mut encoder);
            while let Err(back) = journal.try_submit(block) {
                block = back;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let mine = cpu_of_thread().saturating_sub(thread);
        if let Err(error) = journal.close() {
            return eprintln!("{error}");
        }
        let all = cpu_of_process().saturating_sub(process);
        let written: u64 = dir
            .path()
            .read_dir()
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|file| file.metadata().ok())
            .map(|file| file.len())
            .sum();
        assert_eq!(journal.durable(), Offset(events));
        println!(
            "{batch:12}  {:13.1}  {:15.1}  {:8.0}  {:9.3}  {:5}",
            per(mine, events),
            per(all.saturating_sub(mine), events),
            events as f64 / wall.elapsed().as_secs_f64(),
            written as f64 / trades.bytes(events) as f64,
            syncs.load(std::sync::atomic::Ordering::Relaxed),
        );
    }
}
