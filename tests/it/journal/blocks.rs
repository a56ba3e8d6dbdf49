//! What goes into a block comes out of it.

use proptest::prelude::*;
use sluice::clock::UnixNanos;
use sluice::journal::{
    AccountDelta, BlockBuilder, BlockFilter, DedupeHash, Encoder, EventId, JournalReader, NewEvent, Part, Path,
    ResumeToken, SourceSlot,
};

use super::support::{START, monitor, open, wait_for};

#[derive(Debug, Clone)]
struct Given {
    source: u32,
    waited: i64,
    event_time: Option<i64>,
    payload: Vec<u8>,
    id: GivenId,
    key: Option<(u32, u32)>,
    conflict: bool,
    handover: bool,
    hash: Option<(u128, u32)>,
}

#[derive(Debug, Clone)]
enum GivenId {
    None,
    Hash,
    Parts(Vec<(bool, u32, u32)>),
}

fn given() -> impl Strategy<Value = Given> {
    let id = prop_oneof![
        Just(GivenId::None),
        Just(GivenId::Hash),
        prop::collection::vec(any::<(bool, u32, u32)>(), 1..6).prop_map(GivenId::Parts),
        Just(GivenId::Parts(vec![(false, 1, 2)])),
    ];
    let time = prop_oneof![
        Just(None),
        any::<i64>().prop_map(Some),
        (0..1_000_000_i64).prop_map(|ms| Some(START + ms * 1_000_000))
    ];
    let key = prop_oneof![Just(None), any::<(u32, u32)>().prop_map(Some), Just(Some((0, 1)))];
    (
        0..5_u32,
        0..2_000_000_i64,
        time,
        prop::collection::vec(any::<u8>(), 0..300),
        id,
        key,
        any::<(bool, bool)>(),
        any::<Option<(u128, u32)>>(),
    )
        .prop_map(|(source, waited, event_time, payload, id, key, (conflict, handover), hash)| Given {
            source,
            waited,
            event_time,
            payload,
            id,
            key,
            conflict,
            handover,
            hash,
        })
}

fn span(len: usize, a: u32, b: u32) -> (u32, u32) {
    let len = u32::try_from(len).unwrap() + 1;
    ((a % len).min(b % len), (a % len).max(b % len))
}

fn text(bytes: &[u8]) -> String {
    match bytes {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => String::from_utf8_lossy(inner).into_owned(),
        [b'"', ..] => serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned()),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_goes_into_a_block_comes_out_of_it(blocks in prop::collection::vec(prop::collection::vec(given(), 1..60), 1..4)) {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        let monitors = [monitor(0), monitor(1), monitor(7)];
        let mut builder = BlockBuilder::new(Path::Legacy);
        let mut encoder = Encoder::new();
        let mut stamp = START;
        let literal = br#""from \u0065lsewhere""#;
        for block in &blocks {
            for event in block {
                stamp += event.waited;
                let of = &monitors[event.source as usize % 3];
                let source = builder.source(of, &format!("topic-{}", event.source), SourceSlot(event.source));
                let mut parts = Vec::new();
                let hash = event.hash.map(|(hash, payload_check)| DedupeHash { hash, payload_check });
                let id = match &event.id {
                    GivenId::None => EventId::None,
                    GivenId::Hash if hash.is_none() => EventId::None,
                    GivenId::Hash => EventId::PayloadHash,
                    GivenId::Parts(given) => {
                        for &(is_literal, a, b) in given {
                            let (start, end) = span(event.payload.len(), a, b);
                            parts.push(if is_literal { Part::Literal(literal) } else { Part::Span { start, end } });
                        }
                        EventId::Parts(&parts)
                    }
                };
                builder.push(&NewEvent {
                    source,
                    received: UnixNanos(stamp),
                    event_time: event.event_time.map(UnixNanos),
                    payload: &event.payload,
                    id,
                    key: event.key.map(|(a, b)| {
                        let (start, end) = span(event.payload.len(), a, b);
                        Part::Span { start, end }
                    }),
                    hash,
                    conflict: event.conflict,
                    handover: event.handover,
                });
            }
            journal.try_submit(builder.finish(&mut encoder)).unwrap();
        }
        let total: usize = blocks.iter().map(Vec::len).sum();
        wait_for(|| journal.durable().0 == total as u64);
        let mut reader = journal.reader();
        let mut stamp = START;
        let mut offset = 0;
        for given in &blocks {
            let block = reader.next_block(&BlockFilter::all()).unwrap().unwrap();
            prop_assert_eq!(block.events().len(), given.len());
            for (event, given) in block.events().zip(given) {
                stamp += given.waited;
                prop_assert_eq!(event.offset.0, offset);
                offset += 1;
                prop_assert_eq!(event.payload, &given.payload[..]);
                prop_assert_eq!(event.received, UnixNanos(stamp));
                prop_assert_eq!(event.event_time, given.event_time.map(UnixNanos));
                prop_assert_eq!(event.path, Path::Legacy);
                prop_assert_eq!(event.monitor, &*monitors[given.source as usize % 3].name);
                prop_assert_eq!(event.topic, format!("topic-{}", given.source));
                prop_assert_eq!((event.conflict, event.handover), (given.conflict, given.handover));
                prop_assert_eq!(event.hash().map(|hash| (hash.hash, hash.payload_check)), given.hash);
                let key = given.key.map(|(a, b)| {
                    let (start, end) = span(given.payload.len(), a, b);
                    text(&given.payload[start as usize..end as usize])
                });
                prop_assert_eq!(event.key().map(String::from), key);
                let id = match &given.id {
                    GivenId::None => None,
                    GivenId::Hash => given.hash.map(|(hash, _)| format!("{hash:032x}")),
                    GivenId::Parts(parts) => {
                        let texts: Vec<_> = parts
                            .iter()
                            .map(|&(is_literal, a, b)| {
                                let (start, end) = span(given.payload.len(), a, b);
                                if is_literal { "from elsewhere".to_owned() } else {
                                    text(&given.payload[start as usize..end as usize])
                                }
                            })
                            .collect();
                        Some(texts.join(":"))
                    }
                };
                prop_assert_eq!(event.id().map(String::from), id);
            }
        }
        prop_assert!(reader.next_block(&BlockFilter::all()).unwrap().is_none());
    }
}

#[test]
fn accounts_and_resume_tokens_are_read_from_headers_alone() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let mut builder = BlockBuilder::new(Path::Smart);
    let mut encoder = Encoder::new();
    let delta = AccountDelta { messages: 10, repeats: 3, control: 5, quarantined: 2 };
    builder.account(&monitor(3), delta);
    builder.account(&monitor(3), delta);
    let token = ResumeToken { upstream: "u".into(), topics: vec!["t".into()], token: vec![1, 2, 3] };
    builder.resume(ResumeToken { token: vec![0], ..token.clone() });
    builder.resume(token.clone());
    assert!(!builder.is_empty());
    assert_eq!(builder.events(), 0);
    journal.try_submit(builder.finish(&mut encoder)).unwrap();
    assert!(builder.is_empty());
    journal.close().unwrap();
    let mut reader = JournalReader::open(dir.path()).unwrap();
    let header = reader.next_header().unwrap().unwrap();
    assert_eq!(header.events(), 0);
    assert_eq!(header.tokens(), [token]);
    let [row] = header.rows() else { panic!("one monitor was counted") };
    assert_eq!(row.account, AccountDelta { messages: 20, repeats: 6, control: 10, quarantined: 4 });
    assert!(reader.next_header().unwrap().is_none());
    let stat = reader.stat().unwrap();
    assert_eq!((stat.events, stat.duplicates, stat.quarantined), (0, 6, 4));
}
