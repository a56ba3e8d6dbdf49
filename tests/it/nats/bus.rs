//! A journal, a stream and the store between them, driven as a sink's runner does it.

use std::ops::Range;
use std::sync::Arc;

use async_nats::jetstream::message::StreamMessage;
use sluice::clock::UnixNanos;
use sluice::config::{Endpoint, Settings, SinkSettings};
use sluice::journal::{
    BlockBuilder, BlockFilter, Encoder, EventId, Journal, MonitorIdentity, NewEvent, Offset, Part, Path as Way,
    SourceSlot,
};
use sluice::sink::{AnyStore, Batch, BatchBuilder, Opening, Parked, Store as _, StoreError};
use tempfile::TempDir;

use crate::journal::support::{START, append, open};
use crate::nats_server::NatsServer;

/// The sink of these tests.
pub(super) const SINK: &str = "bus";

pub(super) struct Bus {
    pub(super) folder: TempDir,
    pub(super) journal: Journal,
    pub(super) opening: Opening,
    pub(super) store: AnyStore,
    sink: SinkSettings,
    builder: BlockBuilder,
    encoder: Encoder,
    pub(super) appended: u64,
}

/// What a sink's runner would have done.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) parked: Vec<Parked>,
    pub(super) reopened: u32,
    pub(super) reasons: Vec<String>,
}

impl Bus {
    pub(super) fn new(url: &str) -> Self {
        Self::with(url, "")
    }

    /// With more lines in the sink's settings.
    pub(super) fn with(url: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(&folder.path().join("journal"));
        let mut sink: SinkSettings = toml::from_str(&format!("kind = \"nats\"\ntimeout = \"2s\"\n{more}")).unwrap();
        sink.url = Some(Endpoint::from(url.parse::<url::Url>().unwrap()));
        let opening = Opening::live(SINK, journal.id());
        let store = Self::store_of(&folder, &sink);
        let (builder, encoder) = (BlockBuilder::new(Way::Smart), Encoder::new());
        Self { folder, journal, opening, store, sink, builder, encoder, appended: 0 }
    }

    fn store_of(folder: &TempDir, sink: &SinkSettings) -> AnyStore {
        let mut settings = Settings::default();
        folder.path().clone_into(&mut settings.daemon.data_dir);
        AnyStore::new(SINK, sink, &settings).unwrap()
    }

    /// As a new process has it: nothing is remembered.
    pub(super) fn restart(&mut self) {
        self.store = Self::store_of(&self.folder, &self.sink);
    }

    pub(super) fn append(&mut self, events: u64) {
        for number in self.appended..self.appended + events {
            let payload = payload(number);
            self.push("trades", "BTC/USD", &payload);
        }
        self.flush();
    }

    /// One event of its own.
    pub(super) fn append_one(&mut self, topic: &str, key: &str, payload: &str) {
        self.push(topic, key, payload);
        self.flush();
    }

    fn push(&mut self, topic: &str, key: &str, payload: &str) {
        let monitor = MonitorIdentity { index: 0, name: "spot.trades".into(), domain: "trading".into() };
        let source = self.builder.source(&Arc::new(monitor), topic, SourceSlot(0));
        let at = START + i64::try_from(self.appended).unwrap() * 1000;
        let key = serde_json::to_string(key).unwrap();
        let id = format!("{}", self.appended);
        self.builder.push(&NewEvent {
            source,
            received: UnixNanos(at),
            event_time: Some(UnixNanos(at - 50_000_000)),
            payload: payload.as_bytes(),
            id: EventId::Parts(&[Part::Literal(id.as_bytes())]),
            key: Some(Part::Literal(key.as_bytes())),
            hash: None,
            conflict: false,
            handover: false,
        });
        self.appended += 1;
    }

    fn flush(&mut self) {
        let block = self.builder.finish(&mut self.encoder);
        append(&self.journal, block);
    }

    /// What the journal has in a span, as a batch.
    pub(super) fn batch(&self, span: Range<u64>) -> Batch {
        let mut reader = self.journal.reader();
        reader.seek(Offset(span.start));
        let mut batch = BatchBuilder::new(Offset(span.start));
        while let Some(block) = reader.next_block(&BlockFilter::all()).unwrap() {
            batch.add(block, |_| true);
        }
        let batch = batch.finish();
        let events = usize::try_from(span.end - span.start).unwrap();
        if batch.len() > events { batch.split_at(events).0 } else { batch }
    }

    pub(super) async fn open(&mut self) -> Result<Option<Offset>, StoreError> {
        self.store.open(&self.opening).await
    }

    pub(super) async fn write(&mut self, span: Range<u64>) -> Result<(), StoreError> {
        let batch = self.batch(span);
        self.store.write(&batch).await
    }

    /// Opens, and writes all that the journal has, however often it takes.
    pub(super) async fn follow(&mut self) -> Account {
        let mut account = Account::default();
        let mut work: Option<Vec<Batch>> = None;
        for _ in 0..200 {
            let cursor = match self.open().await {
                Ok(cursor) => cursor.unwrap_or(Offset::ZERO),
                Err(StoreError::Stop(reason)) => panic!("stopped: {reason}"),
                Err(error) => {
                    account.reasons.push(error.to_string());
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            };
            let mut batches = match work.take() {
                Some(batches) if batches.last().is_some_and(|batch| batch.from() == cursor) => batches,
                _ => vec![self.batch(cursor.0..self.appended)],
            };
            while let Some(batch) = batches.pop() {
                match self.store.write(&batch).await {
                    Ok(()) => {}
                    Err(StoreError::Refused { reason, offset }) => {
                        let named = offset.expect("the store names the event");
                        let at = batch.events().position(|event| event.offset == named).expect("of this batch");
                        let (mut rest, mut row) = (None, batch);
                        if at + 1 < row.len() {
                            let (first, second) = row.split_at(at + 1);
                            (row, rest) = (first, Some(second));
                        }
                        let mut before = None;
                        if row.len() > 1 {
                            let (first, second) = row.split_at(row.len() - 1);
                            (before, row) = (Some(first), second);
                        }
                        let parked = row.park(&reason);
                        account.parked.extend(parked.parked().to_vec());
                        batches.extend(rest.into_iter().chain([parked]).chain(before));
                        work = Some(batches);
                        break;
                    }
                    Err(StoreError::Stop(reason)) => panic!("stopped: {reason}"),
                    Err(error) => {
                        account.reasons.push(error.to_string());
                        work = Some(Vec::new());
                        break;
                    }
                }
            }
            if work.is_none() {
                return account;
            }
            account.reopened += 1;
        }
        panic!("it never came to an end: {:?}", account.reasons);
    }
}

/// The payload of the event with this offset.
pub(super) fn payload(number: u64) -> String {
    format!(r#"{{"e":"trade","t":{number},"p":"{}.5"}}"#, 40_000 + number % 7919)
}

/// All messages of a stream, in order.
pub(crate) async fn messages(server: &NatsServer, stream: &str) -> Vec<StreamMessage> {
    let stream = server.jetstream().await.get_stream(stream).await.unwrap();
    let state = &stream.cached_info().state;
    let mut messages = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        if state.messages > 0 {
            messages.push(stream.get_raw_message(sequence).await.unwrap());
        }
    }
    messages
}

pub(crate) fn header(message: &StreamMessage, name: &str) -> Option<String> {
    message.headers.get(name).map(|value| value.as_str().to_owned())
}

/// Checks that a stream holds exactly these events, each once, in order, with their payloads.
pub(super) async fn assert_holds(server: &NatsServer, stream: &str, offsets: impl IntoIterator<Item = u64>) {
    let found: Vec<(u64, Vec<u8>)> = messages(server, stream)
        .await
        .iter()
        .map(|message| (header(message, "Sluice-Offset").unwrap().parse().unwrap(), message.payload.to_vec()))
        .collect();
    let wanted: Vec<(u64, Vec<u8>)> =
        offsets.into_iter().map(|offset| (offset, payload(offset).into_bytes())).collect();
    let numbers = |list: &[(u64, Vec<u8>)]| list.iter().map(|(offset, _)| *offset).collect::<Vec<_>>();
    assert_eq!(numbers(&found), numbers(&wanted));
    assert!(found == wanted, "payloads differ");
}
