//! The sinks that write files, driven as their runner does it, with blocks of a real journal.

mod daemon;
mod jsonl;
mod sqlite;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sluice::clock::UnixNanos;
use sluice::config::{ByteSize, JournalSettings, Settings, SinkSettings};
use sluice::journal::{
    BlockBuilder, BlockFilter, Encoder, EventId, Journal, JournalId, JournalOptions, MonitorIdentity, NewEvent, Offset,
    Part, Path as Way, SourceSlot,
};
use sluice::sink::{AnyStore, Batch, BatchBuilder, Opening, Purpose, Store, StoreError, StoredPayload};
use tempfile::TempDir;

/// 2026-01-01T00:00:00Z
const NEW_YEAR: i64 = 1_767_225_600 * 1_000_000_000;

const DAY: i64 = 24 * 3600 * 1_000_000_000;

/// A journal with numbered events, which may be of several monitors and days.
struct Feed {
    journal: Journal,
    builder: BlockBuilder,
    encoder: Encoder,
    _folder: TempDir,
}

impl Feed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = JournalSettings {
            sync_interval: Duration::from_millis(1),
            segment_size: ByteSize::mib(64),
            retention: Duration::from_hours(24 * 365 * 100),
            ..JournalSettings::default()
        };
        let (journal, _) = Journal::open(folder.path(), JournalOptions::new(settings)).unwrap();
        Self { journal, builder: BlockBuilder::new(Way::Smart), encoder: Encoder::new(), _folder: folder }
    }

    /// Journals events of a monitor, a microsecond apart, the first received at `at`.
    fn add(&mut self, monitor: u32, at: i64, payloads: &[Vec<u8>]) {
        let identity = Arc::new(MonitorIdentity {
            index: monitor,
            name: format!("monitor-{monitor}").into(),
            domain: "trading".into(),
        });
        for (number, payload) in (0..).zip(payloads) {
            let source = self.builder.source(&identity, "btcusdt@trade", SourceSlot(monitor));
            self.builder.push(&NewEvent {
                source,
                received: UnixNanos(at + number * 1000),
                event_time: Some(UnixNanos(at - 1_000_000)),
                payload,
                id: EventId::Parts(&[Part::Literal(format!("{number}").as_bytes())]),
                key: Some(Part::Literal(b"\"BTC\"")),
                hash: None,
                conflict: false,
                handover: false,
            });
        }
        let until = self.journal.durable().plus(payloads.len() as u64);
        self.journal.try_submit(self.builder.finish(&mut self.encoder)).unwrap();
        while self.journal.durable() < until {
            std::thread::yield_now();
        }
    }

    /// Trades of a monitor.
    fn trades(&mut self, monitor: u32, at: i64, count: u64) {
        let from = self.journal.durable().0;
        let payloads: Vec<_> = (from..from + count).map(trade).collect();
        self.add(monitor, at, &payloads);
    }

    /// What a sink's runner would give its store from `from` on, of these monitors.
    fn batch(&self, from: Offset, monitors: &[&str]) -> Batch {
        let mut reader = self.journal.reader();
        reader.seek(from);
        let mut batch = BatchBuilder::new(from);
        while let Some(block) = reader.next_block(&BlockFilter::all()).unwrap() {
            batch.add(block, |event| monitors.is_empty() || monitors.contains(&event.monitor));
        }
        batch.finish()
    }

    fn opening(&self, purpose: Purpose) -> Opening {
        opening(self.journal.id(), purpose)
    }

    /// What should be in a store: offset and payload.
    fn events(&self, monitors: &[&str]) -> Vec<(u64, Vec<u8>)> {
        let batch = self.batch(Offset::ZERO, monitors);
        batch.events().map(|event| (event.offset.0, event.payload.to_vec())).collect()
    }
}

fn trade(number: u64) -> Vec<u8> {
    format!(r#"{{"e":"trade","s":"BTC","t":{number},"p":"40000.5{number}"}}"#).into_bytes()
}

fn opening(journal: JournalId, purpose: Purpose) -> Opening {
    Opening { purpose, ..Opening::live("archive", journal) }
}

/// The store that these keys of `[sinks.archive]` mean.
fn store(kind: &str, folder: &Path, keys: &str) -> AnyStore {
    let text = format!("kind = \"{kind}\"\nfolder = \"{}\"\n{keys}", folder.display());
    let sink: SinkSettings = toml::from_str(&text).unwrap();
    AnyStore::new("archive", &sink, &Settings::default()).unwrap()
}

/// Cuts a batch into pieces of so many events and writes them.
async fn write_in_pieces(store: &mut AnyStore, batch: Batch, events: usize) -> Result<(), StoreError> {
    let mut rest = batch;
    while rest.len() > events {
        let (piece, behind) = rest.split_at(events);
        store.write(&piece).await?;
        rest = behind;
    }
    store.write(&rest).await
}

/// What a store gives back.
async fn read_back(store: &mut AnyStore, opening: &Opening, from: u64, to: u64) -> Vec<(u64, Vec<u8>)> {
    let mut rows = Vec::new();
    store
        .read_back(opening, Offset(from)..Offset(to), &mut |row| {
            let (StoredPayload::Raw(payload) | StoredPayload::Json(payload)) = row.payload;
            rows.push((row.offset.0, payload.to_vec()));
        })
        .await
        .unwrap();
    rows
}
