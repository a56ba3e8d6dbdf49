//! Replay: a span of the journal is written anew, each event once and in order, and nothing else is disturbed by it.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sluice::config::{ByteSize, JournalSettings, Settings as AllSettings, SinkSettings};
use sluice::journal::{Journal, JournalOptions, JournalReader, Offset};
use sluice::recovery::replay::{Plan, Progress, ReplayError, ReplayRequest, Scene, run};
use sluice::sink::{Batch, Opening, Parked, Purpose, Store, StoreError, StoreFigures, StoredRow};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::journal::support::Feed as Events;
use super::processes::{Daemon, Feed, Settings, query, request, until};
use super::support::{Outcome, Workplace};

// --- the driver, against a store with a script ---

/// What becomes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is taken.
    Taken,
    /// It is not, and the store is away.
    Lost,
    /// It is, and nobody is told.
    Unheard,
}

#[derive(Debug, Default)]
struct Held {
    cursor: Option<Offset>,
    rows: Vec<u64>,
    parked: Vec<u64>,
    complete: bool,
}

/// Refuses some offsets for ever, and fails as it is told.
#[derive(Debug, Clone)]
struct Scripted {
    held: Arc<Mutex<Held>>,
    refused: Vec<u64>,
    /// Whether it says which one it refuses.
    names: bool,
    fates: VecDeque<Fate>,
    open: bool,
    pause: Duration,
}

impl Scripted {
    fn new(held: &Arc<Mutex<Held>>) -> Self {
        let held = Arc::clone(held);
        Self { held, refused: Vec::new(), names: false, fates: VecDeque::new(), open: false, pause: Duration::ZERO }
    }
}

impl Store for Scripted {
    async fn open(&mut self, opening: &Opening) -> Result<Option<Offset>, StoreError> {
        assert!(matches!(opening.purpose, Purpose::Replay { .. }), "the live cursor is not touched");
        self.open = true;
        Ok(self.held.lock().unwrap().cursor)
    }

    async fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        tokio::time::sleep(self.pause).await;
        assert!(self.open, "after an error it is opened again");
        if let Some(offset) = batch.events().map(|event| event.offset).find(|offset| self.refused.contains(&offset.0)) {
            self.open = false;
            let offset = self.names.then_some(offset);
            return Err(StoreError::Refused { reason: "no".into(), offset });
        }
        let fate = self.fates.pop_front().unwrap_or(Fate::Taken);
        if fate != Fate::Lost {
            let mut held = self.held.lock().unwrap();
            assert!(held.cursor.is_none_or(|cursor| cursor == batch.from()), "spans adjoin");
            held.rows.extend(batch.events().map(|event| event.offset.0));
            held.parked.extend(batch.parked().iter().map(|parked| parked.offset));
            held.cursor = Some(batch.to());
        }
        if fate == Fate::Taken {
            return Ok(());
        }
        self.open = false;
        Err(StoreError::Unavailable("away".into()))
    }

    async fn close(&mut self, complete: bool) -> Result<(), StoreError> {
        self.held.lock().unwrap().complete = complete;
        Ok(())
    }

    async fn read_back(
        &mut self,
        _: &Opening,
        _: Range<Offset>,
        _: &mut (dyn FnMut(StoredRow<'_>) + Send),
    ) -> Result<(), StoreError> {
        Ok(())
    }

    async fn parked(&mut self, _: &Opening, _: usize) -> Result<Vec<Parked>, StoreError> {
        Ok(Vec::new())
    }

    fn figures(&self) -> StoreFigures {
        StoreFigures::default()
    }
}

/// A journal of small segments, and a sink in the settings.
struct Stage {
    journal: Journal,
    settings: AllSettings,
    folder: TempDir,
    events: Events,
}

impl Stage {
    fn new(max_size: ByteSize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings: AllSettings = AllSettings::default();
        folder.path().clone_into(&mut settings.daemon.data_dir);
        let sink: SinkSettings = serde_json::from_value(json!({
            "kind": "jsonl", "folder": folder.path().join("out"), "batch_max": 50, "timeout": "5s"
        }))
        .unwrap();
        settings.sinks.insert("lines".into(), sink);
        let kept = JournalSettings {
            sync_interval: Duration::from_millis(1),
            segment_size: ByteSize(8 << 10),
            max_size,
            retention: Duration::from_hours(24 * 365 * 100),
            ..JournalSettings::default()
        };
        let (journal, _) = Journal::open(&folder.path().join("journal"), JournalOptions::new(kept)).unwrap();
        Self { journal, settings, folder, events: Events::new(3) }
    }

    fn add(&mut self, blocks: u64, events: u64) {
        for _ in 0..blocks {
            let until = self.journal.durable().plus(events);
            self.journal.try_submit(self.events.block(events)).unwrap();
            while self.journal.durable() < until {
                std::thread::yield_now();
            }
        }
    }

    fn plan(&self, request: &ReplayRequest) -> Result<Plan, ReplayError> {
        let scene = Scene { settings: &self.settings, journal: self.journal.id() };
        Plan::of(request, scene, &mut self.journal.reader())
    }

    async fn run(&self, plan: &Plan, store: &mut Scripted, stop: &CancellationToken) -> Result<u64, ReplayError> {
        let opening = Opening {
            purpose: Purpose::Replay { id: plan.id.clone(), to: None },
            ..Opening::live("lines", self.journal.id())
        };
        let hold = self.journal.hold("replay", Offset(plan.from));
        let (work, progress) = ((Arc::new(plan.clone()), &self.settings.sinks["lines"]), Progress::default());
        let outcome = run(store, &opening, work, self.journal.reader(), &progress, stop, |at| hold.advance(at)).await?;
        assert_eq!(progress.at().0, plan.to);
        Ok(outcome.events)
    }
}

fn from(offset: u64) -> ReplayRequest {
    ReplayRequest { sink: Some("lines".into()), from_offset: Some(offset), ..ReplayRequest::default() }
}

#[tokio::test(start_paused = true)]
async fn every_event_of_the_span_is_written_once_and_in_order_whatever_the_store_does() {
    let mut stage = Stage::new(ByteSize::gib(1));
    stage.add(40, 37);
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let held = Arc::default();
        let mut store = Scripted::new(&held);
        store.names = seed % 2 == 0;
        store.refused = (0..5).map(|_| random.u64(0..1480)).collect();
        store.fates = (0..60)
            .map(|_| match random.u32(0..4) {
                0 => Fate::Lost,
                1 => Fate::Unheard,
                _ => Fate::Taken,
            })
            .collect();
        let (first, last) = (random.u64(0..700), random.u64(700..1480));
        let plan = stage.plan(&ReplayRequest { to_offset: Some(last), ..from(first) }).unwrap();
        stage.run(&plan, &mut store, &CancellationToken::new()).await.unwrap();
        let held = held.lock().unwrap();
        let refused = |offset: &u64| store.refused.contains(offset);
        assert_eq!(held.rows, (first..last).filter(|offset| !refused(offset)).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(held.parked, (first..last).filter(refused).collect::<Vec<_>>(), "seed {seed}");
        assert!(held.complete && held.cursor == Some(Offset(last)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_was_broken_off_goes_on_by_the_same_command_to_the_same_end() {
    let mut stage = Stage::new(ByteSize::gib(1));
    stage.add(20, 40);
    let held = Arc::default();
    let mut store = Scripted::new(&held);
    let plan = stage.plan(&from(10)).unwrap();
    plan.keep().unwrap();
    let stop = CancellationToken::new();
    store.pause = Duration::from_secs(1);
    let stopping = async {
        tokio::time::sleep(Duration::from_millis(4500)).await;
        stop.cancel();
    };
    let (broken_off, ()) = tokio::join!(stage.run(&plan, &mut store, &stop), stopping);
    assert!(matches!(broken_off, Err(ReplayError::Stopped { .. })), "{broken_off:?}");
    let done = held.lock().unwrap().cursor.unwrap();
    assert!(done > Offset(10) && done < Offset(800) && !held.lock().unwrap().complete, "{done}");

    stage.add(5, 40);
    let again = stage.plan(&from(10)).unwrap();
    assert!(again.resumed && again.to == 800 && again.id == plan.id, "the end was fixed when it began: {again:?}");
    assert!(!stage.plan(&from(11)).unwrap().resumed, "another command is another replay");
    let written = stage.run(&again, &mut Scripted::new(&held), &CancellationToken::new()).await.unwrap();
    assert_eq!(held.lock().unwrap().rows, (10..800).collect::<Vec<_>>());
    assert_eq!(written, 800 - done.0);
    again.forget().unwrap();
    assert_eq!(stage.plan(&from(10)).unwrap().to, 1000, "it is complete: the same command begins anew");
}

#[tokio::test]
async fn retention_deletes_nothing_of_a_span_that_is_being_replayed() {
    let mut stage = Stage::new(ByteSize(64 << 10));
    stage.add(40, 40);
    let earliest = stage.journal.reader().earliest().unwrap().0;
    let plan = stage.plan(&from(earliest)).unwrap();
    let held = Arc::default();
    let mut store = Scripted::new(&held);
    store.pause = Duration::from_millis(5);
    let stop = CancellationToken::new();
    let (id, reader) = (stage.journal.id(), stage.journal.reader());
    let opening = Opening { purpose: Purpose::Replay { id: plan.id.clone(), to: None }, ..Opening::live("lines", id) };
    let kept = stage.journal.hold("replay", Offset(plan.from));
    let (sink, progress) = (stage.settings.sinks["lines"].clone(), Progress::default());
    let span = (plan.from..plan.to).collect::<Vec<_>>();
    let writing = tokio::task::spawn_blocking(move || {
        // Far more than the journal keeps.
        stage.add(200, 40);
        stage
    });
    run(&mut store, &opening, (Arc::new(plan), &sink), reader, &progress, &stop, |at| kept.advance(at)).await.unwrap();
    assert_eq!(held.lock().unwrap().rows, span);
    drop(kept);
    let mut stage = writing.await.unwrap();
    stage.add(60, 40);
    assert!(stage.journal.reader().earliest().unwrap().0 >= *span.last().unwrap(), "then it may go");
}

#[test]
fn what_cannot_be_replayed_is_refused_with_a_reason() {
    let mut stage = Stage::new(ByteSize::gib(1));
    stage.add(5, 10);
    let reason = |request: &ReplayRequest| stage.plan(request).unwrap_err().to_string();
    assert!(reason(&from(51)).contains("behind its end at 50"));
    assert!(reason(&ReplayRequest { to_offset: Some(60), ..from(0) }).contains("the journal ends at 50"));
    assert!(reason(&ReplayRequest { sink: Some("other".into()), ..from(0) }).contains("there are"));
    assert!(reason(&ReplayRequest { to: Some("X".into()), ..from(0) }).contains("kind nats"));
    assert!(reason(&ReplayRequest { from_offset: None, ..from(0) }).contains("--from-checkpoint"));
    assert!(reason(&ReplayRequest { since: Some("1h".into()), ..from(0) }).contains("in one way"));
    let newest = ReplayRequest { from_offset: None, from_checkpoint: Some("newest".into()), ..from(0) };
    assert!(reason(&newest).contains("there is no checkpoint"));
    assert!(stage.folder.path().join("journal").is_dir());
}

// --- the program ---

fn settings(feed: &Feed, more: &str) -> Settings {
    Settings::new()
        .with(more)
        .with("[sinks.days]\nkind = \"sqlite\"\nfolder = \"days\"\nflush_interval = \"10ms\"")
        .upstream("feed", "binance", feed.url())
        .monitor("trades", "spot", "feed", &["btcusdt@trade"], "")
        .monitor("others", "spot", "feed", &["ethusdt@trade"], "")
}

fn cursor(daemon: &Daemon) -> u64 {
    let (_, rows) = daemon.get("/api/v1/sinks");
    let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
    rows.iter().find(|row| row["name"] == "days").and_then(|row| row["cursor"].as_u64()).unwrap_or(0)
}

/// Rows of the day files, by offset.
fn stored(place: &Workplace) -> BTreeMap<u64, String> {
    let mut stored = BTreeMap::new();
    for entry in fs::read_dir(place.path("days")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "db") {
            continue;
        }
        let file = rusqlite::Connection::open(&path).unwrap();
        let mut rows = file.prepare("SELECT offset, payload FROM events").unwrap();
        let rows = rows.query_map([], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, String>(1)?)));
        for row in rows.unwrap() {
            let (offset, payload) = row.unwrap();
            assert!(stored.insert(offset, payload).is_none(), "event {offset} is in two files");
        }
    }
    stored
}

/// Loses rows of the store.
fn lose(place: &Workplace, which: &str) {
    for entry in fs::read_dir(place.path("days")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "db") {
            rusqlite::Connection::open(&path)
                .unwrap()
                .execute(&format!("DELETE FROM events WHERE {which}"), [])
                .unwrap();
        }
    }
}

/// As the journal has them.
fn journaled(place: &Workplace) -> BTreeMap<u64, String> {
    let events = query(place, &["--domain", "spot"]);
    events.into_iter().map(|event| (event.offset, event.payload.get().to_owned())).collect()
}

fn replay(place: &Workplace, daemon: Option<&Daemon>, arguments: &[&str]) -> Outcome {
    let listen = format!("server.listen={}", daemon.map_or("127.0.0.1:9", Daemon::address));
    place.run(["replay", "--config", "sluice.toml", "--set", &listen].iter().chain(arguments))
}

#[test]
fn without_a_daemon_the_command_itself_mends_a_store_from_the_journal() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "2000"]);
    let daemon = Daemon::start(&place, &settings(&feed, ""));
    until("the sink has some", || (cursor(&daemon) > 300).then_some(()));
    daemon.stop();
    let whole = journaled(&place);
    assert!(stored(&place) == whole, "{} rows of {} events", stored(&place).len(), whole.len());
    lose(&place, "offset % 3 = 0");
    assert!(stored(&place).len() < whole.len());

    let outcome = replay(&place, None, &["--from-offset", "0", "--dry-run", "--output", "json"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let counted: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&counted["events"], &counted["sink"]), (&whole.len().into(), &"days".into()));
    assert!(stored(&place).len() < whole.len(), "nothing was written");

    let outcome = replay(&place, None, &["--from-offset", "0", "--output", "json"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let done: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&done["events"], &done["parked"]), (&whole.len().into(), &0.into()));
    assert!(outcome.stderr.contains("replay: offsets 0 to"), "{}", outcome.stderr);
    assert!(stored(&place) == whole, "{} rows of {} events", stored(&place).len(), whole.len());

    lose(&place, "monitor = 'others'");
    let outcome = replay(&place, None, &["--since", "1h", "--monitor", "others"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("replayed") && outcome.stdout.contains("into `days`"), "{}", outcome.stdout);
    assert!(stored(&place) == whole, "{} rows of {} events", stored(&place).len(), whole.len());

    lose(&place, "offset > 0");
    let first = *whole.keys().next_back().unwrap() - 50;
    let outcome = replay(&place, None, &["--from-offset", &first.to_string()]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let tail = |events: BTreeMap<u64, String>| events.into_iter().filter(|(offset, _)| *offset >= first).collect();
    let (now, wanted): (BTreeMap<u64, String>, BTreeMap<u64, String>) = (tail(stored(&place)), tail(whole));
    assert!(now == wanted, "{} rows of {} events", now.len(), wanted.len());
}

#[test]
fn in_the_daemon_a_replay_is_an_operation_and_the_live_cursor_goes_on_its_own_way() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "2000"]);
    let daemon = Daemon::start(&place, &settings(&feed, "[checkpoint]\ninterval = \"50ms\""));
    until("the sink has some", || (cursor(&daemon) > 500).then_some(()));
    lose(&place, "offset < 400");
    let before = cursor(&daemon);
    let outcome = replay(&place, Some(&daemon), &["--from-offset", "0", "--to-offset", "450", "--output", "json"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("the daemon does it (operation "), "{}", outcome.stderr);
    let done: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&done["from_offset"], &done["to_offset"]), (&0.into(), &450.into()));
    until("live goes on", || (cursor(&daemon) > before + 200).then_some(()));

    let (_, operations) = daemon.get("/api/v1/operations");
    let operations: Vec<Value> = serde_json::from_str(&operations).unwrap();
    let row = operations.iter().find(|row| row["kind"] == "replay").unwrap();
    assert_eq!((row["state"].as_str(), &row["done"], &row["total"]), (Some("done"), &450.into(), &450.into()));
    assert_eq!(row["outcome"]["events"], done["events"]);
    let (status, one) = daemon.get(&format!("/api/v1/operations/{}", row["id"].as_str().unwrap()));
    assert!(status == 200 && one.contains("\"replay\""), "{one}");
    assert_eq!(daemon.get("/api/v1/operations/none").0, 404);

    // From where the sink was at a checkpoint.
    let checkpoint = until("one with the sink's cursor", || {
        let shown = place.run(["checkpoint", "show", "--config", "sluice.toml", "--output", "json"]);
        let shown: Value = serde_json::from_str(&shown.stdout).ok()?;
        shown["sinks"][0]["next"].as_u64().filter(|next| *next > 0)
    });
    let outcome = replay(&place, Some(&daemon), &["--from-checkpoint", "--output", "json"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let done: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert!(done["from_offset"].as_u64().unwrap() >= checkpoint, "{done}");

    let address = daemon.address();
    let post = |body: &str| {
        let length = body.len();
        let head = format!(
            "POST /api/v1/replay HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        request(address, &(head + body)).unwrap()
    };
    let (status, body) = post(r#"{"from_offset": 0, "to_offset": 100, "dry_run": true}"#);
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert!(
        status == 200 && answer["operation"].is_null() && answer["would_write"]["events"].as_u64() > Some(0),
        "{body}"
    );
    assert_eq!(post(r#"{"from_offset": 99999999}"#).0, 400);
    assert_eq!(post(r#"{"from_ofset": 1}"#).0, 400);
    daemon.stop();
    assert!(stored(&place) == journaled(&place), "{} rows of {} events", stored(&place).len(), journaled(&place).len());
}

#[test]
fn where_there_are_several_sinks_one_is_named() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "500"]);
    let more = "[sinks.lines]\nkind = \"jsonl\"\nfolder = \"lines\"";
    let daemon = Daemon::start(&place, &settings(&feed, more));
    until("the sink has some", || (cursor(&daemon) > 10).then_some(()));
    daemon.stop();
    let outcome = replay(&place, None, &["--from-offset", "0"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("choose one with --sink: days, lines"), "{}", outcome.stderr);
    let outcome = replay(&place, None, &["--from-offset", "0", "--sink", "days"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let outcome = replay(&place, None, &["--sink", "days"]);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    // The lock is free again, and the store as it was.
    Daemon::again(&place).stop();
    assert!(JournalReader::open(&place.path("data/journal")).is_ok());
}
