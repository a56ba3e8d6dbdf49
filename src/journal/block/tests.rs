//! Blocks whose checksums fit but whose contents lie: what a bug of ours, or somebody with time, could leave on disk.

use std::sync::Arc;

use proptest::prelude::*;
use zstd::bulk::Decompressor;

use super::*;
use crate::clock::UnixNanos;
use crate::journal::identity::{MonitorIdentity, Path};
use crate::journal::offset::Offset;

const PLACE: HeaderPlace = HeaderPlace { journal_check: 1, base: Offset(5), durable_before: Offset(5), chain: 2 };

/// A block of a few events with ids of several kinds: its header and its body.
fn block(raw_columns: Option<&[u8]>) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let monitor = Arc::new(MonitorIdentity { index: 0, name: "m".into(), domain: "d".into() });
    let mut builder = BlockBuilder::new(Path::Smart);
    for number in 0..6_u8 {
        let source = builder.source(&monitor, "t", SourceSlot(0));
        let parts = [Part::Span { start: 0, end: 3 }, Part::Literal(b"17")];
        builder.push(&NewEvent {
            source,
            received: UnixNanos(1_000_000_000 + i64::from(number)),
            event_time: (number != 3).then_some(UnixNanos(999_000_000)),
            payload: &[b'7'; 20][..usize::from(number) + 4],
            id: if number == 2 { EventId::PayloadHash } else { EventId::Parts(&parts[..=usize::from(number % 2)]) },
            key: (number > 1).then_some(Part::Span { start: 1, end: 2 }),
            hash: Some(DedupeHash { hash: u128::from(number), payload_check: 3 }),
            conflict: false,
            handover: true,
        });
    }
    builder.resume(ResumeToken { upstream: "u".into(), topics: vec!["t".into()], token: vec![1] });
    let mut columns = Vec::new();
    builder.columns.write(&mut columns);
    let encoded = builder.finish(&mut Encoder::new());
    let mut header = Vec::new();
    let mut dictionary = Dictionary::default();
    compose_header(&encoded, PLACE, &mut dictionary, &mut header);
    let mut body = encoded.parts().body.clone();
    if let Some(raw) = raw_columns {
        // The same block with other columns, and a header that vouches for them.
        let read = BlockHeader::read(&header, &mut Dictionary::default()).unwrap();
        let columns_at = read.hashes_len();
        let packed = zstd::bulk::compress(raw, 1).unwrap();
        let tail = body.split_off(columns_at).split_off(read.columns_len as usize);
        body.extend_from_slice(&packed);
        body.extend_from_slice(&tail);
        let words = [
            (8, u32::try_from(body.len()).unwrap()),
            (40, crc32c::crc32c(&body[columns_at..])),
            (68, u32::try_from(packed.len()).unwrap()),
            (72, u32::try_from(raw.len()).unwrap()),
        ];
        for (at, word) in words {
            header[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        vouch(&mut header);
    }
    (header, body, columns)
}

fn vouch(header: &mut [u8]) {
    let end = header.len() - 4;
    let crc = crc32c::crc32c(&header[..end]);
    header[end..].copy_from_slice(&crc.to_le_bytes());
}

/// Decodes and walks over all that can be asked of the events. True if it could be decoded.
fn walk(header: &[u8], body: &[u8]) -> bool {
    let Ok(header) = BlockHeader::read(header, &mut Dictionary::default()) else { return false };
    let Ok(block) = Block::decode(header, body, &mut Decompressor::new().unwrap()) else { return false };
    for event in block.events() {
        let _ = (event.id(), event.key(), event.hash(), event.payload.len(), event.topic.len());
    }
    true
}

#[test]
fn an_honest_block_is_decoded() {
    let (header, body, columns) = block(None);
    assert!(walk(&header, &body));
    let (header, body, _) = block(Some(&columns));
    assert!(walk(&header, &body));
}

proptest! {
    #[test]
    fn columns_that_lie_are_refused_without_a_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let (_, _, mut columns) = block(None);
        for (at, byte) in changes {
            let at = at.index(columns.len());
            columns[at] = byte;
        }
        if let Some(cut) = cut {
            columns.truncate(cut.index(columns.len()));
        }
        let (header, body, _) = block(Some(&columns));
        walk(&header, &body);
    }

    #[test]
    fn headers_that_lie_are_refused_without_a_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (mut header, body, _) = block(None);
        for (at, byte) in changes {
            let at = at.index(header.len());
            header[at] = byte;
        }
        vouch(&mut header);
        walk(&header, &body);
    }

    #[test]
    fn any_bytes_are_no_header(bytes: Vec<u8>) {
        prop_assert!(BlockHeader::read(&bytes, &mut Dictionary::default()).is_err());
        BlockHeader::len_of(&bytes).ok();
        BlockHeader::durable_offset_of(&bytes, 1);
    }
}

#[test]
fn a_header_cannot_make_a_reader_allocate_more_than_zstd_says_is_there() {
    let (mut header, body, _) = block(None);
    header[76..80].copy_from_slice(&PAYLOAD_BYTES_MAX.to_le_bytes());
    vouch(&mut header);
    assert!(!walk(&header, &body));
}

/// The fuzzer found it: to the millisecond, the least of all times is below the least of all numbers.
#[test]
fn a_header_may_lie_about_its_first_receipt() {
    let (mut header, body, _) = block(None);
    header[48..56].copy_from_slice(&(i64::MIN + 1).to_le_bytes());
    vouch(&mut header);
    walk(&header, &body);
}
