//! Feeds of other natures, recorded from servers that are not ours or published as examples, through the daemon: accounted for to
//! the last message, and kept to the byte.

use std::collections::{BTreeMap, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Message;

use super::processes::{Account, Daemon, Feed, Settings, accounts, json, until};
use super::raw_upstream::{Manner, RawUpstream};
use super::support::Workplace;

/// An event as `query` prints it, whatever its payload is.
#[derive(Debug, Clone, Deserialize)]
struct Printed {
    monitor: String,
    id: Option<String>,
    key: Option<String>,
    event_time: Option<String>,
    payload: Option<Box<RawValue>>,
    payload_base64: Option<String>,
}

/// What a daemon made of a feed.
struct Played {
    accounts: BTreeMap<String, Account>,
    events: Vec<Printed>,
    refused: u64,
    log: String,
    place: Workplace,
}

impl Played {
    /// `[events, repeats, control, quarantined]`
    fn assert_account(&self, monitor: &str, [events, repeats, control, quarantined]: [u64; 4]) {
        let messages = events + repeats + control + quarantined;
        let expected = Account { messages, events, repeats, control, quarantined };
        assert_eq!(self.accounts.get(monitor).copied().unwrap_or_default(), expected, "{monitor}");
    }

    fn of(&self, monitor: &str) -> Vec<&Printed> {
        self.events.iter().filter(|event| event.monitor == monitor).collect()
    }

    fn payloads(&self, monitor: &str) -> Vec<&str> {
        self.of(monitor).iter().map(|event| event.payload.as_ref().expect("JSON").get()).collect()
    }

    fn assert_distinct_ids(&self, monitor: &str) {
        let ids: HashSet<&str> = self.of(monitor).iter().map(|event| event.id.as_deref().expect("an id")).collect();
        assert_eq!(ids.len(), self.of(monitor).len(), "{monitor}");
    }
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn lines(name: &str) -> Vec<String> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(data(name)).unwrap()).read_to_string(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// What the server sent.
fn received(name: &str) -> Vec<String> {
    let frames = lines(name).into_iter().map(|line| serde_json::from_str::<Value>(&line).unwrap());
    let received = frames.filter(|frame| frame["dir"] == "in");
    received.map(|frame| frame["text"].as_str().or(frame["b64"].as_str()).unwrap().to_owned()).collect()
}

/// Serves a recording to a daemon until so many frames have been read.
fn play(name: &str, dialect: &str, frames: u64, monitors: impl Fn(Settings) -> Settings) -> Played {
    let place = Workplace::new();
    let path = data(name);
    let feed = Feed::start(&place, &["--recording", path.to_str().unwrap(), "--patience", "600ms"]);
    let daemon = Daemon::start(&place, &monitors(Settings::new().upstream("feed", dialect, feed.url())));
    let played = read(place, daemon, frames);
    feed.stop();
    played
}

fn read(place: Workplace, daemon: Daemon, frames: u64) -> Played {
    until("every frame is read", || {
        let read = daemon.frames("feed");
        assert!(read <= frames, "{read} frames were read, more than the {frames} that were to come");
        (read == frames).then_some(())
    });
    let metrics = daemon.metrics();
    assert_eq!(metrics.value("sluice_conflicts_total", &[]), 0);
    let refused = metrics.value("sluice_subscriptions_refused_total", &[]);
    let log = daemon.stop();
    let events = json(&place, &["query"]);
    let events = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Played { accounts: accounts(&place), events, refused, log, place }
}

#[test]
fn a_nostr_relay_is_accounted_for() {
    let name = "nostr/relay_replay.session.jsonl.gz";
    let frames = received(name);
    // The fourth recorded request was no filter; its answer is withheld.
    let played = play(name, "nostr", 465, |settings| {
        settings
            .monitor("notes", "social", "feed", &[r#"{"kinds":[1],"limit":100}"#], "")
            .monitor("all", "social", "feed", &["limit=20"], "")
            .monitor("reactions", "social", "feed", &["kinds=7,6 since=1711468765"], "")
    });
    // Each is told once that all stored events have come.
    played.assert_account("notes", [223, 0, 1, 0]);
    played.assert_account("reactions", [239, 0, 1, 0]);
    played.assert_account("all", [0, 0, 1, 0]);
    played.assert_account("upstream:feed", [0, 0, 0, 0]);
    assert_eq!(played.refused, 0);
    for monitor in ["notes", "reactions"] {
        played.assert_distinct_ids(monitor);
        let recorded = frames.iter().filter_map(|frame| {
            let parts: Vec<&RawValue> = serde_json::from_str(frame).unwrap();
            let ours = parts[0].get() == "\"EVENT\"" && parts[1].get().trim_matches('"') == monitor;
            ours.then(|| parts[2].get())
        });
        assert_eq!(played.payloads(monitor), recorded.collect::<Vec<_>>(), "{monitor}");
    }
    let first = played.of("notes")[0];
    assert_eq!(first.id.as_deref(), Some("2b0004e07fefdd27c15465eac1faa4be069ac887f9dc0368837669cd46bf4a40"));
    assert_eq!(first.event_time.as_deref(), Some("2024-03-26T16:05:24Z"));
}

#[test]
fn jetstream_is_accounted_for() {
    let name = "bluesky-jetstream/events_2026-07-04.jsonl.gz";
    let recorded = lines(name);
    let played = play(name, "jetstream", 152, |settings| {
        settings
            .monitor("posts", "social", "feed", &["app.bsky.feed.post"], "")
            .monitor("likes", "social", "feed", &["app.bsky.feed.like"], "")
            .monitor("graph", "social", "feed", &["app.bsky.graph.*"], "")
            .monitor("identities", "social", "feed", &["#identity"], "")
            .monitor("one", "social", "feed", &["app.bsky.feed.post@did:plc:dclwtltrt2ggsryagfzk7dp4"], "")
    });
    played.assert_account("posts", [18, 0, 0, 0]);
    played.assert_account("likes", [105, 0, 0, 0]);
    played.assert_account("graph", [10, 0, 0, 0]);
    played.assert_account("identities", [1, 0, 0, 0]);
    played.assert_account("one", [1, 0, 0, 0]);
    // 15 reposts, two states of collections that nobody asked for, and a message of kind `account`, which comes to everybody.
    played.assert_account("upstream:feed", [0, 0, 18, 0]);
    for (monitor, collection) in [("posts", "app.bsky.feed.post"), ("likes", "app.bsky.feed.like")] {
        played.assert_distinct_ids(monitor);
        let of_collection = |line: &&String| {
            let message: Value = serde_json::from_str(line).unwrap();
            message["commit"]["collection"] == collection
        };
        let expected: Vec<&str> = recorded.iter().filter(of_collection).map(String::as_str).collect();
        assert_eq!(played.payloads(monitor), expected, "{monitor}");
    }
}

#[test]
fn the_binary_stream_of_the_at_protocol_is_accounted_for_and_kept_to_the_byte() {
    let name = "atproto-firehose-binary/frames_2026-07-04.session.jsonl.gz";
    let frames = received(name);
    let played = play(name, "atproto", 60, |settings| {
        settings
            .monitor("commits", "social", "feed", &["#commit"], "")
            .monitor(
                "read",
                "social",
                "feed",
                &["*"],
                "event = { payload = \"\", id = \"/body/seq\", key = \"/body/ops/0/path\" }",
            )
            .monitor(
                "paths",
                "social",
                "feed",
                &["#commit"],
                "event = { each = \"/body/ops\", id = [\"frame:/body/seq\", \"/path\"] }",
            )
            .monitor("identities", "social", "feed", &["#identity"], "")
    });
    played.assert_account("commits", [60, 0, 0, 0]);
    played.assert_account("read", [60, 0, 0, 0]);
    played.assert_account("identities", [0, 0, 0, 0]);
    played.assert_account("upstream:feed", [0, 0, 0, 0]);
    let raw: Vec<&str> = played.of("commits").iter().map(|event| event.payload_base64.as_deref().unwrap()).collect();
    assert_eq!(raw, frames, "to the byte");
    assert!(played.of("commits").iter().all(|event| event.payload.is_none()));
    let (first, path) = (played.of("commits")[0], played.of("paths")[0]);
    assert_eq!(first.id.as_deref(), Some("31527015322"));
    assert_eq!(first.key.as_deref(), Some("did:plc:wq4aajammjtxdomz3e23667t"));
    assert_eq!(first.event_time.as_deref(), Some("2026-07-04T14:38:07.517Z"));
    assert_eq!(path.id.as_deref(), Some("31527015322:app.bsky.feed.like/3mptbyplj5d2a"));

    // Another program made JSON of the same commits, and recorded it: the links must be the same.
    let theirs: BTreeMap<String, String> = lines("bluesky-jetstream/events_2026-07-04.jsonl.gz")
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|message| {
            let commit = &message["commit"];
            let text = |name: &str| commit[name].as_str().map(str::to_owned);
            let place = format!("{}:{}/{}", message["did"].as_str()?, text("collection")?, text("rkey")?);
            Some((place, text("cid")?))
        })
        .collect();
    let mut compared = 0;
    for payload in played.payloads("read") {
        let message: Value = serde_json::from_str(payload).unwrap();
        let body = &message["body"];
        let blocks = STANDARD_NO_PAD.decode(body["blocks"]["$bytes"].as_str().expect("bytes")).expect("base64");
        assert!(blocks.starts_with(&[0x3a]), "an archive's header has 58 bytes");
        for operation in body["ops"].as_array().unwrap() {
            let place = format!("{}:{}", body["repo"].as_str().unwrap(), operation["path"].as_str().unwrap());
            if let Some(link) = theirs.get(&place) {
                assert_eq!(operation["cid"]["$link"].as_str(), Some(link.as_str()), "{place}");
                compared += 1;
            }
        }
    }
    assert!(compared > 40, "{compared} links were compared");

    // On a terminal and in columns of text a payload that is none is marked.
    let table = played.place.run(["--config", "sluice.toml", "query", "--monitor", "commits", "--limit", "1"]);
    assert!(table.stdout.contains(r#"{"$bytes":"omF0"#), "{}", table.stdout);
}

#[test]
fn a_graphql_server_is_accounted_for() {
    let name = "graphql-transport-ws/two_subs_error_complete.session.jsonl.gz";
    let event = "event = { id = [\"/payload/data/tick/sym\", \"/payload/data/tick/i\"] }";
    let played = play(name, "graphql-transport-ws", 13, |settings| {
        settings
            .monitor("btc", "ticks", "feed", &[r#"subscription{tick(sym:"BTC",n:4){i sym}}"#], event)
            .monitor("eth", "ticks", "feed", &[r#"{"query":"subscription{tick(sym:\"ETH\",n:200){i sym}}"}"#], event)
            .monitor("none", "ticks", "feed", &["subscription{nope}"], "")
    });
    played.assert_account("btc", [4, 0, 0, 0]);
    played.assert_account("eth", [5, 0, 0, 0]);
    played.assert_account("none", [0, 0, 0, 0]);
    // The agreement, an error, a pong, and a completion.
    played.assert_account("upstream:feed", [0, 0, 4, 0]);
    assert_eq!(played.refused, 2, "one was refused, one is over");
    assert!(
        played.log.contains("Cannot query field \\\"nope\\\"") || played.log.contains("Cannot query field"),
        "{}",
        played.log
    );
    assert!(played.log.contains("the upstream completed it"), "{}", played.log);
    assert_eq!(played.of("btc")[3].id.as_deref(), Some("BTC:3"));
}

/// Messages as the documentation of the streaming API shows them.
#[test]
fn mastodon_is_read_inside_of_its_payload_and_kept_to_the_byte() {
    let frames = [
        r#"{"stream":["hashtag:local","foo"],"event":"update","payload":"{\"id\":\"103254962155278888\",\"created_at\":\"2019-12-05T11:34:47.196Z\",\"content\":\"<p>a \\\"quote\\\"</p>\",\"account\":{\"id\":\"1\",\"acct\":\"Gargron\"}}"}"#,
        r#"{"stream":["hashtag:local","foo"],"event":"status.update","payload":"{\"id\":\"103254962155278888\",\"created_at\":\"2019-12-05T11:34:47.196Z\",\"edited_at\":\"2019-12-05T12:00:00.000Z\",\"account\":{\"id\":\"1\",\"acct\":\"Gargron\"}}"}"#,
        r#"{"stream":["public"],"event":"update","payload":"{\"id\":\"103254962155278888\",\"created_at\":\"2019-12-05T11:34:47.196Z\",\"account\":{\"id\":\"1\",\"acct\":\"Gargron\"}}"}"#,
        r#"{"stream":["public"],"event":"delete","payload":"103254962155278888"}"#,
        r#"{"stream":["public"],"event":"filters_changed"}"#,
        r#"{"stream":["public"],"event":"update","payload":"{\"id\": not sound"}"#,
        r#"{"stream":["list","12"],"event":"update","payload":"{}"}"#,
        r#"{"error":"Missing access token","status":401}"#,
    ];
    let messages: Vec<Message> = frames.iter().map(|frame| Message::text(*frame)).collect();
    let upstream = RawUpstream::start(Manner::Silent, move |_| messages.clone());
    let place = Workplace::new();
    let settings = Settings::new()
        .upstream("feed", "mastodon", &upstream.url())
        .monitor("tag", "social", "feed", &["hashtag:local:Foo"], "")
        .monitor("public", "social", "feed", &["public"], "");
    let daemon = Daemon::start(&place, &settings);
    until("both are asked for", || (upstream.requests().len() == 2).then_some(()));
    let played = read(place, daemon, frames.len() as u64);
    played.assert_account("tag", [2, 0, 0, 0]);
    played.assert_account("public", [4, 0, 0, 0]);
    played.assert_account("upstream:feed", [0, 0, 1, 1]);
    assert_eq!(played.payloads("tag"), &frames[..2]);
    assert_eq!(played.payloads("public"), &frames[2..6]);
    let tag = played.of("tag");
    assert_eq!(tag[0].id.as_deref(), Some("hashtag:local:foo:update:103254962155278888"));
    assert_eq!(tag[0].key.as_deref(), Some("Gargron"));
    assert_eq!(tag[1].event_time.as_deref(), Some("2019-12-05T12:00:00Z"), "when it was edited");
    assert_eq!(played.of("public")[1].id.as_deref(), Some("public:delete:103254962155278888"));
    let asked = upstream.requests();
    assert!(
        asked.len() == 2 && asked.contains(&r#"{"stream":"hashtag:local","tag":"Foo","type":"subscribe"}"#.to_owned()),
        "{asked:?}"
    );
}
