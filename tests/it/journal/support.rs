//! Events and journals to test with.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sluice::clock::UnixNanos;
use sluice::config::{ByteSize, JournalSettings};
use sluice::journal::{
    Block, BlockBuilder, BlockFilter, DedupeHash, EncodedBlock, Encoder, EventId, Journal, JournalOptions,
    JournalReader, MonitorIdentity, NewEvent, Offset, Part, Path as Way, SourceSlot,
};

/// 2026-01-01T00:00:00Z
pub(crate) const START: i64 = 1_767_225_600 * 1_000_000_000;

pub(crate) fn monitor(index: u32) -> Arc<MonitorIdentity> {
    Arc::new(MonitorIdentity {
        index,
        name: format!("monitor-{index}").into(),
        domain: if index.is_multiple_of(2) { "trading".into() } else { "liquidity".into() },
    })
}

pub(crate) fn payload(number: u64) -> String {
    format!(r#"{{"e":"trade","s":"BTCUSDT","t":{number},"p":"{}.50000000"}}"#, 40_000 + number % 7919)
}

/// Builds blocks of numbered events; event n is received n microseconds after [`START`].
pub(crate) struct Feed {
    builder: BlockBuilder,
    encoder: Encoder,
    monitors: Vec<Arc<MonitorIdentity>>,
    pub(crate) next: u64,
}

impl Feed {
    pub(crate) fn new(monitors: u32) -> Self {
        Self {
            builder: BlockBuilder::new(Way::Smart),
            encoder: Encoder::new(),
            monitors: (0..monitors).map(monitor).collect(),
            next: 0,
        }
    }

    pub(crate) fn block(&mut self, events: u64) -> EncodedBlock {
        for _ in 0..events {
            let number = self.next;
            self.next += 1;
            let index = u32::try_from(number % self.monitors.len() as u64).unwrap();
            let source = self.builder.source(&self.monitors[index as usize], "btcusdt@trade", SourceSlot(index));
            let payload = payload(number);
            let start = u32::try_from(payload.find(r#""t":"#).unwrap() + 4).unwrap();
            let end = u32::try_from(payload.find(r#","p""#).unwrap()).unwrap();
            let at = START + i64::try_from(number).unwrap() * 1000;
            self.builder.push(&NewEvent {
                source,
                received: UnixNanos(at),
                event_time: Some(UnixNanos(at - 50_000_000)),
                payload: payload.as_bytes(),
                id: EventId::Parts(&[Part::Span { start, end }]),
                key: Some(Part::Span { start: 17, end: 26 }),
                hash: Some(DedupeHash { hash: u128::from(number) << 64 | 7, payload_check: 9 }),
                conflict: false,
                handover: false,
            });
        }
        self.builder.finish(&mut self.encoder)
    }
}

pub(crate) fn settings() -> JournalSettings {
    JournalSettings {
        sync_interval: Duration::from_millis(1),
        segment_size: ByteSize::mib(64),
        // The events of these tests are old.
        retention: Duration::from_hours(24 * 365 * 100),
        ..JournalSettings::default()
    }
}

pub(crate) fn open(dir: &Path) -> Journal {
    Journal::open(dir, JournalOptions::new(settings())).unwrap().0
}

/// Submits and waits until it is durable.
pub(crate) fn append(journal: &Journal, block: EncodedBlock) {
    let until = Offset(journal.durable().0 + u64::from(block.events()));
    journal.try_submit(block).unwrap();
    wait_for(|| journal.durable() >= until);
}

/// Waits for a condition; one that never comes is a failure.
pub(crate) fn wait_for(mut condition: impl FnMut() -> bool) {
    for _ in 0..20_000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    panic!("waited ten seconds for nothing");
}

pub(crate) fn read_all(reader: &mut JournalReader) -> Vec<Block> {
    let mut blocks = Vec::new();
    while let Some(block) = reader.next_block(&BlockFilter::all()).unwrap() {
        blocks.push(block);
    }
    blocks
}

/// Checks that `blocks` hold exactly the events `from..to`, in order.
pub(crate) fn assert_events(blocks: &[Block], from: u64, to: u64) {
    let mut expected = from;
    for event in blocks.iter().flat_map(Block::events) {
        assert_eq!(event.offset, Offset(expected));
        assert_eq!(event.payload, payload(expected).as_bytes());
        expected += 1;
    }
    assert_eq!(expected, to);
}
