//! What a target begins with, written into the folder that SLUICE_FUZZ_SEEDS names: made of the project's own recordings.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice::clock::UnixNanos;
use sluice::config::{ByteSize, JournalSettings};
use sluice::journal::{
    BlockBuilder, DedupeHash, EncodedBlock, Encoder, EventId, Journal, JournalOptions, MonitorIdentity, NewEvent, Part,
    Path as Way, SourceSlot,
};

use crate::MemoryStorage;

/// Header and trailer of a segment, and the fixed part of a block's header: docs/journal-format.md.
const SEGMENT_HEADER_BYTES: usize = 96;
const HASH_BYTES: usize = 20;

/// Writes seeds, if they are wanted.
pub fn write(seeds: fn() -> Vec<Vec<u8>>) {
    let Ok(folder) = std::env::var("SLUICE_FUZZ_SEEDS") else { return };
    fs::create_dir_all(&folder).unwrap();
    for (number, seed) in seeds().into_iter().enumerate() {
        fs::write(Path::new(&folder).join(format!("seed-{number}")), seed).unwrap();
    }
}

/// Frames of the recordings.
pub fn frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for path in files(&project("tests/data"), "gz") {
        let mut text = String::new();
        flate2::read::GzDecoder::new(fs::File::open(&path).unwrap()).read_to_string(&mut text).unwrap();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let texts = lines.filter_map(|line| line.get("text")?.as_str().map(|text| text.as_bytes().to_vec()));
        frames.extend(texts.filter(|text| text.len() < 2000).step_by(11).take(12));
    }
    assert!(frames.len() > 20, "the recordings have frames");
    frames
}

/// Frames of the recordings in a folder, text or binary; in a file of plain texts each line is one.
pub fn recorded(folder: &str) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    let mut frames = Vec::new();
    for path in files(&project("tests/data").join(folder), "gz") {
        let mut text = String::new();
        flate2::read::GzDecoder::new(fs::File::open(&path).unwrap()).read_to_string(&mut text).unwrap();
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            match (value["dir"].as_str(), value["text"].as_str(), value["b64"].as_str()) {
                (Some("in"), Some(text), _) => frames.push(text.as_bytes().to_vec()),
                (Some("in"), _, Some(packed)) => {
                    frames.push(base64::engine::general_purpose::STANDARD.decode(packed).unwrap());
                }
                (None, ..) => frames.push(line.as_bytes().to_vec()),
                _ => {}
            }
        }
    }
    frames.retain(|frame| frame.len() < 4000);
    let step = (frames.len() / 40).max(1);
    frames.into_iter().step_by(step).collect()
}

/// Streams of binary frames of recordings, behind a byte that says how they are cut.
pub fn streams(folder: &str) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    let mut seeds = Vec::new();
    for path in files(&project("tests/data").join(folder), "gz") {
        let mut text = String::new();
        flate2::read::GzDecoder::new(fs::File::open(&path).unwrap()).read_to_string(&mut text).unwrap();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let received = lines.filter(|line| line["dir"] == "in");
        let frames: Vec<Vec<u8>> = received
            .filter_map(|line| base64::engine::general_purpose::STANDARD.decode(line["b64"].as_str()?).ok())
            .collect();
        assert!(!frames.is_empty(), "the recording has frames");
        seeds.extend([1, 7].map(|piece| [&[piece], &frames.concat()[..]].concat()));
        seeds.extend(frames.into_iter().map(|frame| [&[3], &frame[..]].concat()));
    }
    seeds
}

/// The recorded stream of events, cut to what the fuzzer reads, and what recordings do not have.
pub fn event_streams() -> Vec<Vec<u8>> {
    let stream = fs::read(project("tests/data/wikimedia-sse/recentchange_2022-12-11.sse")).unwrap();
    let own = b":ok\n\nretry: 5\nevent: a\r\ndata: {}\rdata\n\nid: [1]\n\ndata:1\r\n\r\n";
    vec![[&[9], &stream[..stream.len().min(3000)], b"\n\n"].concat(), [&[2], &own[..]].concat()]
}

/// Answers and calls of a Core.
pub fn changes() -> Vec<Vec<u8>> {
    let frames = [
        r#"{"jsonrpc":"2.0","method":"EngineStatus","params":{"State":"Active","DesignName":"D","DesignCode":"c"}}"#,
        r#"{"jsonrpc":"2.0","result":true,"id":1}"#,
        r#"{"jsonrpc":"2.0","result":{"Id":"g","Changes":[{"Name":"Main Gain","Value":-1.5,"String":"-1.5dB"}]},"id":5}"#,
        r#"{"jsonrpc":"2.0","method":"ChangeGroup.Poll","params":{"Changes":[{"Component":"Mixer","Name":"gain"}]}}"#,
        r#"{"jsonrpc":"2.0","error":{"code":8,"message":"Unknown control"},"id":2}"#,
    ];
    let mut seeds: Vec<Vec<u8>> = frames.iter().map(|frame| frame.as_bytes().to_vec()).collect();
    seeds.push(frames.join("\0").into_bytes());
    seeds
}

/// The project's own settings files.
pub fn settings() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = files(&project("config"), "toml").iter().map(|path| fs::read(path).unwrap()).collect();
    seeds.extend(files(&project("src/dialect"), "toml").iter().map(|path| fs::read(path).unwrap()));
    seeds
}

/// Blocks, each with its header; sections as they are stored, and as they were before compression.
pub fn blocks() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for events in [0, 1, 3, 12] {
        let (segments, _) = journal(&[events], u64::MAX);
        let stored = first_block(&segments[0]).to_vec();
        seeds.push(unpacked(&stored));
        seeds.push(stored);
    }
    seeds
}

/// Segments: sealed and not, with a watermark file before them and without.
pub fn segments() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for blocks in [&[2][..], &[0, 1, 5], &[3, 3, 3, 3]] {
        let (segments, watermark) = journal(blocks, u64::MAX);
        let sealed = &segments[0];
        let cut = &sealed[..SEGMENT_HEADER_BYTES + first_block(sealed).len()];
        for segment in [&sealed[..], cut, &cut[..cut.len() - 3]] {
            seeds.push([&[0], segment].concat());
            seeds.push([&[1], &watermark[..], segment].concat());
        }
        let unpacked = [&sealed[..SEGMENT_HEADER_BYTES], &unpacked(first_block(sealed))].concat();
        seeds.push([&[0], &unpacked[..]].concat());
    }
    seeds
}

/// Checkpoints without their checksums, which the target adds.
pub fn checkpoints() -> Vec<Vec<u8>> {
    let journal = "0193d5a4-7f2b-7c3e-9a41-d08e1abae10d";
    let sinks = [
        String::new(),
        format!(r#"{{"name":"w","kind":"nats","journal":"{journal}","next":17,"sequence":18446744073709551615}}"#),
        format!(r#"{{"name":"files","kind":"jsonl","journal":"{journal}","next":0}}"#),
    ];
    let tokens = [
        "",
        r#"{"upstream":"u","topics":["a","b"],"token":"17","offset":5,"received":"2026-11-20T12:00:00.000000001Z"}"#,
        r#"{"upstream":"u","topics":[],"token_base64":"/wA=","offset":5,"received":"1970-01-01T00:00:00Z"}"#,
    ];
    let settings = [r#"{}"#, r#"{"sinks":{"w":{"enabled":false}}}"#, r#"{"a":[1,-1,1.5,1e30,null,"x"]}"#];
    let texts = sinks.iter().zip(tokens).zip(settings).zip(["periodic", "shutdown", "demand"]);
    let text = |(((sinks, tokens), settings), cause): (((&String, &str), &str), &str)| {
        format!(
            "sluice checkpoint 1\n{{\"journal\":\"{journal}\",\"durable_offset\":42,\"written\":\"2026-11-20T12:00:00Z\",\
             \"cause\":\"{cause}\",\"program\":\"0.1.0\",\"sinks\":[{sinks}],\"resume_tokens\":[{tokens}],\"settings\":{settings}}}"
        )
    };
    texts.map(|parts| text(parts).into_bytes()).collect()
}

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|its| its == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A journal of blocks with so many events: its segments and its watermark.
fn journal(blocks: &[u64], segment_size: u64) -> (Vec<Vec<u8>>, Vec<u8>) {
    let storage = MemoryStorage::default();
    let settings = JournalSettings { segment_size: ByteSize(segment_size), ..JournalSettings::default() };
    let (journal, _) = Journal::open_on(Arc::new(storage.clone()), JournalOptions::new(settings)).unwrap();
    let mut number = 0;
    for &events in blocks {
        journal.try_submit(block(&mut number, events)).unwrap();
    }
    journal.close().unwrap();
    let mut names: Vec<_> = storage_names(&storage);
    names.sort();
    (names.iter().map(|name| storage.content(name)).collect(), storage.content("watermark"))
}

fn storage_names(storage: &MemoryStorage) -> Vec<String> {
    use sluice::journal::storage::Storage as _;
    storage.names().unwrap().into_iter().filter(|name| name.ends_with(".seg")).collect()
}

fn block(number: &mut u64, events: u64) -> EncodedBlock {
    let monitors: Vec<_> = [("trades", "spot"), ("books", "liquidity")]
        .into_iter()
        .zip(0..)
        .map(|((name, domain), index)| Arc::new(MonitorIdentity { index, name: name.into(), domain: domain.into() }))
        .collect();
    let mut builder = BlockBuilder::new(Way::Smart);
    for _ in 0..events {
        let index = u32::try_from(*number % 2).unwrap();
        let source = builder.source(&monitors[index as usize], "btcusdt@trade", SourceSlot(index));
        let payload = format!(r#"{{"s":"BTCUSDT","t":{}}}"#, 1_000 + *number);
        let at = UnixNanos(1_767_225_600_000_000_000 + i64::try_from(*number).unwrap() * 1000);
        builder.push(&NewEvent {
            source,
            received: at,
            event_time: (*number % 3 != 0).then_some(at),
            payload: payload.as_bytes(),
            id: EventId::Parts(&[Part::Span { start: 19, end: 23 }]),
            key: Some(Part::Span { start: 5, end: 14 }),
            hash: Some(DedupeHash { hash: u128::from(*number), payload_check: 9 }),
            conflict: false,
            handover: false,
        });
        *number += 1;
    }
    builder.finish(&mut Encoder::new())
}

fn word(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn first_block(segment: &[u8]) -> &[u8] {
    let block = &segment[SEGMENT_HEADER_BYTES..];
    &block[..word(block, 4) + word(block, 8)]
}

/// The block with its sections as they were before compression, which a fuzzer can change with more success.
fn unpacked(block: &[u8]) -> Vec<u8> {
    let (header, body) = block.split_at(word(block, 4));
    let (hashes, rest) = body.split_at(word(block, 64) * HASH_BYTES);
    let (columns, payloads) = rest.split_at(word(block, 68));
    let [columns, payloads] = [(columns, 72), (payloads, 76)].map(|(packed, raw)| {
        if packed.is_empty() { Vec::new() } else { zstd::bulk::decompress(packed, word(block, raw)).unwrap() }
    });
    let mut header = header.to_vec();
    let body = [hashes, &columns, &payloads].concat();
    header[8..12].copy_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    header[68..72].copy_from_slice(&u32::try_from(columns.len()).unwrap().to_le_bytes());
    [header, body].concat()
}
