//! A journal with events of the test's choice, and stores that are fed from it.

use std::sync::Arc;

use sluice::clock::UnixNanos;
use sluice::config::Settings;
use sluice::journal::{
    Ancestor, BlockBuilder, BlockFilter, Encoder, EventId, Journal, JournalId, JournalOptions, MonitorIdentity,
    NewEvent, Offset, Part, Path as Way, SourceSlot,
};
use sluice::sink::{AnyStore, Batch, BatchBuilder, BatchLimits, Opening, Purpose, Store, StoreError};
use tempfile::TempDir;

use super::super::postgres_server::{PostgresServer, TIMEOUT};
use super::super::processes::until;

/// The name of every sink here.
pub(super) const SINK: &str = "warehouse";

/// 2026-01-01T00:00:00Z
pub(super) const START: i64 = 1_767_225_600 * 1_000_000_000;

/// A journal in a folder of its own.
pub(super) struct Source {
    pub(super) journal: Journal,
    builder: BlockBuilder,
    encoder: Encoder,
    monitors: Vec<Arc<MonitorIdentity>>,
    _folder: TempDir,
}

impl Source {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut settings = Settings::default().journal;
        settings.retention = std::time::Duration::from_hours(24 * 365 * 100);
        let (journal, _) = Journal::open(folder.path(), JournalOptions::new(settings)).expect("a journal");
        let monitors = ["trades", "books"]
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let index = u32::try_from(index).expect("few");
                Arc::new(MonitorIdentity { index, name: (*name).into(), domain: "trading".into() })
            })
            .collect();
        let (builder, encoder) = (BlockBuilder::new(Way::Smart), Encoder::new());
        Self { journal, builder, encoder, monitors, _folder: folder }
    }

    /// With so many events of [`payload`].
    pub(super) fn of(events: u64) -> Self {
        let mut source = Self::new();
        let payloads: Vec<_> = (0..events).map(payload).collect();
        source.append(0, &payloads);
        source
    }

    /// Appends events of a monitor, one block, and waits until they are durable. Event n of the journal is received n
    /// milliseconds and 1,234,567 nanoseconds after [`START`], and happened 50 ms before. The key is the value of `/s`.
    pub(super) fn append<P: AsRef<[u8]>>(&mut self, monitor: usize, payloads: &[P]) {
        let from = self.journal.durable().0;
        for (number, payload) in (from..).zip(payloads) {
            let payload = payload.as_ref();
            let slot = SourceSlot(self.monitors[monitor].index);
            let source = self.builder.source(&self.monitors[monitor], "btcusdt@trade", slot);
            let at = START + i64::try_from(number).expect("small") * 1_000_000;
            let text = String::from_utf8_lossy(payload);
            let key = text.find(r#""s":""#).map(|at| at + 4).and_then(|start| {
                let end = start + 2 + text[start + 1..].find('"')?;
                Some(Part::Span { start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()? })
            });
            let id = number.to_string();
            self.builder.push(&NewEvent {
                source,
                received: UnixNanos(at + 1_234_567),
                event_time: Some(UnixNanos(at - 50_000_000)),
                payload,
                id: EventId::Parts(&[Part::Literal(id.as_bytes())]),
                key,
                hash: None,
                conflict: false,
                handover: false,
            });
        }
        let block = self.builder.finish(&mut self.encoder);
        self.journal.try_submit(block).expect("there is room");
        let to = Offset(from + payloads.len() as u64);
        until("the events are durable", || (self.journal.durable() >= to).then_some(()));
    }

    /// All events of a span as a batch.
    pub(super) fn batch(&self, from: u64, to: u64) -> Batch {
        let limits = BatchLimits { rows: usize::try_from(to - from).expect("few"), bytes: usize::MAX };
        let mut reader = self.journal.reader();
        reader.seek(Offset(from));
        let mut builder = BatchBuilder::new(Offset(from));
        while builder.to() < Offset(to) {
            let block = reader.next_block(&BlockFilter::all()).expect("it can be read").expect("it is there");
            builder.fill(&Arc::new(block), |_| true, limits);
        }
        let batch = builder.finish();
        assert_eq!((batch.from().0, batch.to().0), (from, to));
        batch
    }

    /// Everything, but only those events whose offset is wanted.
    pub(super) fn batch_where(&self, wanted: impl Fn(u64) -> bool) -> Batch {
        let mut reader = self.journal.reader();
        let mut builder = BatchBuilder::new(Offset::ZERO);
        while let Some(block) = reader.next_block(&BlockFilter::all()).expect("it can be read") {
            builder.add(block, |event| wanted(event.offset.0));
        }
        builder.finish()
    }

    pub(super) fn id(&self) -> JournalId {
        self.journal.id()
    }

    /// What a live sink is opened with.
    pub(super) fn live(&self) -> Opening {
        Opening::live(SINK, self.id())
    }

    pub(super) fn replay(&self, id: &str) -> Opening {
        Opening { purpose: Purpose::Replay { id: id.to_owned(), to: None }, ..self.live() }
    }

    pub(super) fn inspect(&self) -> Opening {
        Opening { purpose: Purpose::Inspect, ..self.live() }
    }

    pub(super) fn restored_from(&self, journal: JournalId, end: u64) -> Opening {
        Opening { ancestors: Arc::new([Ancestor { journal, end: Offset(end) }]), ..self.live() }
    }
}

/// What an ordinary event says.
pub(super) fn payload(number: u64) -> String {
    format!(r#"{{"e":"trade","s":"BTCUSDT","t":{number},"p":"{}.50000000"}}"#, 40_000 + number % 7919)
}

/// The store of a sink with these further lines of settings. `monitors` are lines of TOML too.
pub(super) fn store_at(url: &str, more: &str, monitors: &str) -> Result<AnyStore, StoreError> {
    let text = format!(
        "[sinks.{SINK}]\nkind = \"postgres\"\nurl = \"{url}\"\ntimeout = \"{}ms\"\n{more}\n{monitors}",
        TIMEOUT.as_millis()
    );
    let settings: Settings = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    AnyStore::new(SINK, &settings.sinks[SINK], &settings)
}

pub(super) fn store(server: &PostgresServer) -> AnyStore {
    store_at(&server.url(), "", "").expect("usable settings")
}

pub(super) fn store_with(server: &PostgresServer, more: &str) -> AnyStore {
    store_at(&server.url(), more, "").expect("usable settings")
}

/// Opens a store, and says where its cursor is.
pub(super) async fn opened(store: &mut AnyStore, opening: &Opening) -> Option<u64> {
    store.open(opening).await.expect("it opens").map(|cursor| cursor.0)
}

/// What a store gives back of a span: offset, monitor, received nanoseconds, payload and whether it is text to the byte.
pub(super) async fn held(store: &mut AnyStore, opening: &Opening, from: u64, to: u64) -> Vec<Held> {
    let mut rows = Vec::new();
    let mut take = |row: sluice::sink::StoredRow<'_>| {
        let (payload, raw) = match row.payload {
            sluice::sink::StoredPayload::Raw(bytes) => (bytes, true),
            sluice::sink::StoredPayload::Json(bytes) => (bytes, false),
        };
        rows.push(Held {
            offset: row.offset.0,
            monitor: row.monitor.to_owned(),
            received: row.received.0,
            payload: String::from_utf8_lossy(payload).into_owned(),
            raw,
        });
    };
    store.read_back(opening, Offset(from)..Offset(to), &mut take).await.expect("it can be read back");
    rows
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) offset: u64,
    pub(super) monitor: String,
    pub(super) received: i64,
    pub(super) payload: String,
    pub(super) raw: bool,
}

/// The offsets in the table, in order.
pub(super) fn offsets(server: &PostgresServer) -> Vec<u64> {
    let text = server.sql(r#"SELECT "offset" FROM events ORDER BY "offset""#);
    text.lines().map(|line| line.parse().expect("a number")).collect()
}

/// The cursor as the server has it.
pub(super) fn cursor(server: &PostgresServer) -> String {
    server.sql("SELECT sink, next FROM sluice_cursors ORDER BY sink")
}
