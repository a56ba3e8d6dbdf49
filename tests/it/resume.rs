//! Upstreams that can be taken up again are, from their last durable token on, and nothing is lost or doubled by it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Message, accept_hdr};

use super::processes::{Daemon, Settings, json, query, until};
use super::support::Workplace;

/// Microseconds of the first message.
const START: u64 = 1_725_519_626_000_000;
/// Time between two messages, by their own clock.
const STEP: u64 = 10_000;
/// For how long the feed is silent in one test: longer than ids are remembered there.
const SILENCE: u64 = 1_700_000;
/// What the settings below say.
const OVERLAP: u64 = 1_000_000;

/// A feed in the manner of Bluesky's Jetstream: everything since `cursor`, then what comes; times not quite in order; nothing is
/// ever acknowledged.
struct Jetstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// How many messages there are so far.
    messages: AtomicU64,
    /// What every connection asked for, in order.
    cursors: Mutex<Vec<Option<u64>>>,
    /// Connections begun before this number are closed.
    hung_up: AtomicU64,
    over: AtomicBool,
    /// Before this message nothing came for a while.
    silent_before: AtomicU64,
}

/// The time of a message: each third is a little behind its neighbours.
fn time_of(number: u64) -> u64 {
    START + number * STEP - if number % 3 == 2 { STEP + STEP / 2 } else { 0 }
}

impl Shared {
    /// As [`time_of`], and later by the time for which the feed was silent.
    fn time_of(&self, number: u64) -> u64 {
        let silent = number >= self.silent_before.load(Ordering::SeqCst);
        time_of(number) + if silent { SILENCE } else { 0 }
    }

    fn text_of(&self, number: u64) -> String {
        let time = self.time_of(number);
        format!(r#"{{"time_us":{time},"kind":"commit","collection":"posts","id":{number}}}"#)
    }
}

impl Jetstream {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            messages: AtomicU64::new(0),
            cursors: Mutex::default(),
            hung_up: AtomicU64::new(0),
            over: AtomicBool::new(false),
            silent_before: AtomicU64::new(u64::MAX),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for (number, stream) in (1..).zip(listener.incoming()) {
                let (Ok(stream), shared) = (stream, Arc::clone(&serving)) else { return };
                thread::spawn(move || serve(stream, number, &shared));
            }
        });
        Self { address, shared }
    }

    /// Lets so many more messages come, one after the other.
    fn emit(&self, messages: u64) {
        for _ in 0..messages {
            self.shared.messages.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_micros(500));
        }
    }

    fn messages(&self) -> u64 {
        self.shared.messages.load(Ordering::SeqCst)
    }

    fn cursors(&self) -> Vec<Option<u64>> {
        self.shared.cursors.lock().unwrap().clone()
    }

    fn hang_up(&self) {
        let connections = self.cursors().len() as u64;
        self.shared.hung_up.store(connections + 1, Ordering::SeqCst);
    }

    fn settings(&self, ttl: &str) -> Settings {
        let mut toml = format!("[dedupe]\nttl = \"{ttl}\"\n[checkpoint]\ninterval = \"100ms\"\n");
        write!(
            toml,
            r#"
[dialects.jetstream]
kind = "json"
event = {{ id = "/id", time = "/time_us", time_unit = "us" }}
resume = {{ token = "/time_us", unit = "us", overlap = "1s", query = "cursor" }}
topics = [{{ form = "{{collection}}", subscribe = '{{"type":"options_update","wanted":{{topics}}}}' }}]
routes = [{{ topic = "{{/collection}}" }}]
"#
        )
        .unwrap();
        Settings::new()
            .with(&toml)
            .upstream("sky", "jetstream", &format!("ws://{}/subscribe?cursor=1&wanted=x", self.address))
            .monitor("posts", "social", "sky", &["posts"], "")
    }
}

impl Drop for Jetstream {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
    }
}

fn serve(stream: TcpStream, connection: u64, shared: &Shared) {
    let mut cursor = None;
    #[expect(clippy::result_large_err, reason = "tungstenite's own type")]
    let note = |request: &Request, response: Response| {
        let query = request.uri().query().unwrap_or_default();
        cursor = query.split('&').find_map(|pair| pair.strip_prefix("cursor=")?.parse().ok());
        Ok(response)
    };
    let Ok(mut socket) = accept_hdr(stream, note) else { return };
    // The address in the settings has a cursor of 1, which only a point to go on from takes the place of.
    shared.cursors.lock().unwrap().push(cursor.filter(|cursor| *cursor != 1));
    let since = cursor.unwrap_or(u64::MAX);
    let mut next = 0;
    while !shared.over.load(Ordering::SeqCst) && shared.hung_up.load(Ordering::SeqCst) <= connection {
        if next == shared.messages.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        if shared.time_of(next) >= since && socket.send(Message::text(shared.text_of(next))).is_err() {
            return;
        }
        next += 1;
    }
}

/// Ids of the events in the journal, which must be distinct.
fn ids(place: &Workplace) -> BTreeSet<u64> {
    let events = query(place, &["--monitor", "posts"]);
    let ids: Vec<u64> = events.iter().map(|event| event.id.as_ref().unwrap().parse().unwrap()).collect();
    let distinct: BTreeSet<u64> = ids.iter().copied().collect();
    assert_eq!(ids.len(), distinct.len(), "an event is in the journal twice");
    distinct
}

fn wait_for_all(feed: &Jetstream, place: &Workplace) {
    let messages = feed.messages();
    until("everything is in the journal", || (ids(place).len() as u64 >= messages).then_some(()));
}

#[test]
fn after_kill_9_an_upstream_goes_on_from_its_last_durable_token_and_nothing_is_lost_or_doubled() {
    let place = Workplace::new();
    let feed = Jetstream::start();
    let settings = feed.settings("5m");
    settings.write(&place);
    let daemon = Daemon::again(&place);
    feed.emit(300);
    until("some of it is durable", || (ids(&place).len() > 100).then_some(()));
    daemon.kill();
    for round in 0..4 {
        let before = ids(&place);
        // The journal alone suffices.
        if round % 2 == 1 {
            std::fs::remove_dir_all(place.path("checkpoints")).unwrap();
        }
        let asked = feed.cursors().len();
        feed.emit(200);
        let daemon = Daemon::again(&place);
        let cursor = until("it asks again", || feed.cursors().get(asked).copied()).expect("a point to go on from");
        // A crash leaves whole blocks above the watermark, which the start made durable: it may know more than we did.
        let token = cursor + OVERLAP;
        let last = time_of(*before.last().unwrap());
        assert!(token + 3 * STEP >= last, "it goes back further than it has to: {token} for {last}");
        until("it has gone on", || (ids(&place).len() > before.len() + 150).then_some(()));
        let known: BTreeSet<u64> = ids(&place).iter().map(|number| time_of(*number)).collect();
        assert!(known.contains(&token), "{token} is the time of a durable event");
        let log = daemon.log();
        assert!(log.contains("sky: 1 of 1 topic by tokens"), "{log}");
        feed.emit(100);
        daemon.kill();
    }
    let daemon = Daemon::again(&place);
    wait_for_all(&feed, &place);
    daemon.stop();
    assert_eq!(ids(&place), (0..feed.messages()).collect());
    assert!(feed.cursors()[0].is_none(), "the first time there is nothing to go on from");

    let downtimes: Vec<Value> = serde_json::from_str(&json(&place, &["gaps", "--cause", "downtime"])).unwrap();
    let (open, over): (Vec<_>, Vec<_>) = downtimes.iter().partition(|gap| gap["end"].is_null());
    assert!(over.len() == 5 && over.iter().all(|gap| gap["filled"] == "resumed"), "of every kill: {downtimes:?}");
    assert_eq!(open.len(), 1, "the stop's");
    let unfilled = json(&place, &["gaps", "--unfilled", "--until", over[4]["end"].as_str().unwrap()]);
    assert_eq!(unfilled, "[]\n", "what was missed came after all");

    let newest: Value = serde_json::from_str(&json(&place, &["checkpoint", "show"])).unwrap();
    let token = &newest["resume_tokens"][0];
    assert_eq!((token["upstream"].as_str(), token["topics"][0].as_str()), (Some("sky"), Some("posts")));
    assert_eq!(token["token"], time_of(feed.messages() - 1).to_string());
}

#[test]
fn a_lost_link_goes_on_where_it_was_and_the_gap_says_so() {
    let place = Workplace::new();
    let feed = Jetstream::start();
    let daemon = Daemon::start(&place, &feed.settings("5m"));
    feed.emit(200);
    wait_for_all(&feed, &place);
    feed.hang_up();
    feed.emit(200);
    wait_for_all(&feed, &place);
    assert_eq!(ids(&place), (0..400).collect());
    let cursors = feed.cursors();
    assert!(cursors.len() == 2 && cursors[1].is_some_and(|cursor| cursor > START - OVERLAP), "{cursors:?}");
    let gaps = until("the gap is recorded", || {
        let gaps = query(&place, &["--domain", "_sluice", "--monitor", "gaps"]);
        (!gaps.is_empty()).then_some(gaps)
    });
    let gap: Value = serde_json::from_str(gaps[0].payload.get()).unwrap();
    assert_eq!(gap["resumed_from"].as_str().map(str::to_owned), cursors[1].map(|cursor| cursor.to_string()));
    assert_eq!(gap["filled"], "resumed");
    daemon.stop();
}

/// Ids were remembered for a time, and the last token of a silent upstream was older: at the next start its last events came
/// again, were not known any more, and stood in the journal twice.
#[test]
fn events_of_an_upstream_that_was_silent_for_long_do_not_come_twice() {
    let place = Workplace::new();
    let feed = Jetstream::start();
    let settings = feed.settings("1500ms");
    settings.write(&place);
    let daemon = Daemon::again(&place);
    feed.emit(50);
    wait_for_all(&feed, &place);
    // Longer than ids are remembered, while the daemon is up.
    thread::sleep(Duration::from_micros(SILENCE));
    feed.shared.silent_before.store(50, Ordering::SeqCst);
    feed.hang_up();
    until("it asks again", || (feed.cursors().len() == 2).then_some(()));
    feed.emit(50);
    wait_for_all(&feed, &place);
    assert_eq!(ids(&place), (0..100).collect());
    let log = daemon.log();
    assert!(log.contains("read back ids for an upstream that was silent for long"), "{log}");
    daemon.kill();
    let daemon = Daemon::again(&place);
    feed.emit(10);
    wait_for_all(&feed, &place);
    assert_eq!(ids(&place), (0..110).collect());
    daemon.stop();
}

#[test]
fn an_overlap_that_reaches_behind_what_is_remembered_is_refused() {
    let place = Workplace::new();
    let feed = Jetstream::start();
    feed.settings("900ms").write(&place);
    let outcome = place.run(["config", "check", "--config", "sluice.toml"]);
    assert_eq!(outcome.code, Some(78), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("shorten its `resume.overlap`, or raise `dedupe.ttl`"), "{}", outcome.stderr);
}
