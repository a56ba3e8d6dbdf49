//! The same for feeds of other natures: what their session takes of the data of a recording, again and again over one link, with what
//! it says of receipts. Where nothing is recorded, a published example stands for it. CBOR is named apart: a byte is one of the
//! frame, and writing it as JSON is part of the cost.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sluice::dialect::{Dialect, Frame, Outbox, Topic, TopicId, registry};

use super::cpu_time;
use super::dialects::{BYTES, Count, ROUNDS, Recorded, line, load, plan};

/// Data that is gone through between two looks at the clock, which would else weigh on short recordings.
const PIECE_BYTES: usize = 64 << 10;

/// How a nature is measured.
struct Nature {
    dialect: &'static str,
    source: &'static str,
    topics: &'static [&'static str],
    /// What the server says before its data.
    greeting: Vec<Recorded>,
    data: Vec<Recorded>,
    packed: &'static str,
}

/// Prints a line for each, held against so many nanoseconds a byte.
pub(crate) fn compare(base: f64) {
    for nature in natures() {
        let dialect = registry::build(nature.dialect, &BTreeMap::new()).expect("a preset");
        let once: usize = nature.data.iter().map(|frame| frame.json_length).sum();
        let repeats = PIECE_BYTES.div_ceil(once);
        let bytes = repeats * once;
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let passes = (BYTES / bytes).max(1);
            let time: Duration = (0..passes).map(|_| pass(&*dialect, &nature, repeats)).sum();
            let read = u32::try_from(passes * bytes).expect("a bound of ours");
            best = best.min(time.as_secs_f64() * 1e9 / f64::from(read));
        }
        line(nature.dialect, nature.source, nature.data.len(), once, best, base, nature.packed);
    }
}

/// A link's life: what its data takes of the CPU.
fn pass(dialect: &dyn Dialect, nature: &Nature, repeats: usize) -> Duration {
    let topics: Arc<[Topic]> =
        (0..).zip(nature.topics).map(|(id, name)| Topic { id: TopicId(id), name: Arc::from(*name) }).collect();
    let ids: Vec<TopicId> = topics.iter().map(|topic| topic.id).collect();
    let mut session = dialect.session(&topics, &plan(dialect));
    let (mut count, mut out) = (Count::default(), Outbox::new());
    session.opened("sl00000000000000000", &dialect.greeting(), &mut out);
    session.subscribe(&ids, &mut out);
    for frame in &nature.greeting {
        session.receive(frame.frame(), &mut count, &mut out);
    }
    let before = count.messages;
    let start = cpu_time();
    for frame in std::iter::repeat_n(&nature.data, repeats).flatten() {
        session.receive(std::hint::black_box(frame.frame()), &mut count, &mut out);
        let receipts = session.take_receipts();
        if !receipts.is_empty() {
            session.durable(&receipts, &mut out);
        }
        std::hint::black_box(session.take_tokens());
        out.clear();
    }
    let spent = cpu_time().saturating_sub(start);
    // What is read by no rule costs something else than what is.
    assert!(count.messages > before && count.unreadable == 0, "{}: {}", nature.source, count.unreadable);
    spent
}

fn natures() -> Vec<Nature> {
    let mut nostr = frames("nostr/relay_replay");
    nostr.retain(|frame| frame.starts_with(b"[\"EVENT\""));
    let nostr = nostr.into_iter().map(|frame| {
        // Under the names that our subscriptions have.
        let frame = String::from_utf8(frame).expect("texts");
        text(frame.replacen("\"notes\"", "\"sluice-1\"", 1).replacen("\"reactions\"", "\"sluice-2\"", 1))
    });
    let mut graphql = frames("graphql-transport-ws/two_subs_error_complete");
    graphql.retain(|frame| frame.windows(6).any(|part| part == b"\"next\""));
    let graphql = graphql.into_iter().map(|frame| {
        let frame = String::from_utf8(frame).expect("texts");
        text(frame.replacen("\"a1\"", "\"1\"", 1).replacen("\"b2\"", "\"2\"", 1))
    });
    let mut mqtt = frames("mqtt-websocket/qos1_sub");
    mqtt.retain(|frame| frame.first().is_some_and(|first| first >> 4 == 3));
    let mut nats = frames("nats-websocket/core_sub");
    nats.retain(|frame| frame.starts_with(b"MSG") && frame.ends_with(b"\r\n"));
    let posts = String::from_utf8(unpacked("bluesky-jetstream/events_2026-07-04.jsonl.gz")).expect("lines");
    let stream = file("wikimedia-sse/recentchange_2022-12-11.sse");
    vec![
        Nature {
            dialect: "atproto",
            source: "atproto-firehose-binary/frames_2026-07-04",
            topics: &["*"],
            greeting: Vec::new(),
            data: frames("atproto-firehose-binary/frames_2026-07-04").into_iter().map(binary).collect(),
            packed: "CBOR",
        },
        Nature {
            dialect: "nostr",
            source: "nostr/relay_replay",
            topics: &["kinds=1", "kinds=7"],
            greeting: Vec::new(),
            data: nostr.collect(),
            packed: "",
        },
        Nature {
            dialect: "jetstream",
            source: "bluesky-jetstream/events_2026-07-04",
            topics: &["*"],
            greeting: Vec::new(),
            data: posts.lines().map(|line| text(line.to_owned())).collect(),
            packed: "",
        },
        Nature {
            dialect: "graphql-transport-ws",
            source: "graphql-transport-ws/two_subs_error_complete",
            topics: &["subscription { tick { i } }", "subscription { tock { i } }"],
            greeting: vec![text(r#"{"type":"connection_ack"}"#.to_owned())],
            data: graphql.collect(),
            packed: "",
        },
        Nature {
            dialect: "mastodon",
            source: "an example of its documents",
            topics: &["public"],
            greeting: Vec::new(),
            data: vec![text(
                r#"{"stream":["public"],"event":"update","payload":"{\"id\":\"103254962155278888\",\"created_at\":\"2019-12-05T11:34:47.196Z\",\"sensitive\":false,\"visibility\":\"public\",\"language\":\"en\",\"content\":\"\\u003cp\\u003ehello\\u003c/p\\u003e\",\"account\":{\"id\":\"1\",\"acct\":\"someone@example.org\"}}"}"#
                    .to_owned(),
            )],
            packed: "",
        },
        Nature {
            dialect: "wikimedia",
            source: "wikimedia-sse/recentchange_2022-12-11",
            topics: &["recentchange"],
            greeting: vec![text("v2/stream/recentchange".to_owned())],
            data: vec![binary([&stream[..], b"\n\n"].concat())],
            packed: "",
        },
        Nature {
            dialect: "mqtt",
            source: "mqtt-websocket/qos1_sub",
            topics: &["md/#"],
            greeting: vec![binary(vec![0x20, 2, 0, 0])],
            data: mqtt.into_iter().map(binary).collect(),
            packed: "",
        },
        Nature {
            dialect: "nats",
            source: "nats-websocket/core_sub",
            topics: &["md.>", "md.btc"],
            greeting: vec![binary(b"INFO {}\r\n".to_vec())],
            data: nats.into_iter().map(binary).collect(),
            packed: "",
        },
        Nature {
            dialect: "qsys",
            source: "an example of its documents",
            topics: &["Main Gain", "Mixer/gain"],
            greeting: Vec::new(),
            data: vec![text(
                r#"{"jsonrpc":"2.0","method":"ChangeGroup.Poll","params":{"Id":"sluice","Changes":[{"Name":"Main Gain","Value":-12.0,"String":"-12.0dB","Position":0.5},{"Component":"Mixer","Name":"gain","Value":-1.5,"String":"-1.5dB","Position":0.9}]}}"#
                    .to_owned(),
            )],
            packed: "",
        },
    ]
}

/// What the server of a recording sent.
fn frames(name: &str) -> Vec<Vec<u8>> {
    let (frames, _) = load(name);
    frames.into_iter().map(|frame| frame.text.map_or(frame.bytes, String::into_bytes)).collect()
}

fn text(text: String) -> Recorded {
    Recorded { json_length: text.len(), text: Some(text), bytes: Vec::new() }
}

fn binary(bytes: Vec<u8>) -> Recorded {
    Recorded { json_length: bytes.len(), text: None, bytes }
}

fn file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn unpacked(name: &str) -> Vec<u8> {
    use std::io::Read as _;
    let (packed, mut bytes) = (file(name), Vec::new());
    flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut bytes).expect("gzip");
    bytes
}

impl Recorded {
    pub(super) fn frame(&self) -> Frame<'_> {
        self.text.as_deref().map_or(Frame::Binary(&self.bytes), Frame::Text)
    }
}
