//! A runner against a store that does what a test says, on paused time.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::breaker::{Breaker, CircuitKind};
use crate::config::{ByteSize, JournalSettings};
use crate::journal::{
    BlockBuilder, EncodedBlock, Encoder, EventId, JournalOptions, MonitorIdentity, NewEvent, Path, SourceSlot,
};
use crate::sink::batch::Parked;
use crate::sink::status::{SinkRow, SinkState};
use crate::sink::store::{StoreFigures, StoredRow};

/// What the store does with a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Takes,
    /// Takes it, but the answer is lost.
    TakesAndFails,
    Fails,
    /// Takes it, and never answers.
    TakesAndHangs,
    Hangs,
}

/// The store's side, which outlives connections.
#[derive(Default)]
struct World {
    cursor: Option<Offset>,
    rows: Vec<u64>,
    parked: Vec<u64>,
    poison: BTreeSet<u64>,
    names_offsets: bool,
    /// By number of the write.
    script: Option<Box<dyn FnMut(usize) -> Answer + Send>>,
    dead: bool,
    opens: Vec<Instant>,
    /// Rows of each write, and when it came.
    writes: Vec<(Instant, usize)>,
    closes: usize,
}

#[derive(Clone, Default)]
struct ScriptedStore {
    world: Arc<Mutex<World>>,
    open: bool,
}

impl ScriptedStore {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn decide(&mut self, batch: &Batch) -> Result<Answer, StoreError> {
        assert!(self.open, "a store is opened again after an error, before it is written to");
        let mut world = self.world.lock().unwrap();
        let number = world.writes.len();
        world.writes.push((Instant::now(), batch.len()));
        if world.dead {
            return Err(StoreError::Unavailable("it is dead".into()));
        }
        if world.cursor.is_some_and(|cursor| cursor != batch.from()) {
            return Err(StoreError::Moved(format!("the cursor is {:?}, not {}", world.cursor, batch.from())));
        }
        let answer = world.script.as_mut().map_or(Answer::Takes, |script| script(number));
        if matches!(answer, Answer::Fails | Answer::Hangs) {
            return Ok(answer);
        }
        if let Some(event) = batch.events().find(|event| world.poison.contains(&event.offset.0)) {
            let offset = world.names_offsets.then_some(event.offset);
            return Err(StoreError::Refused { reason: "poison".into(), offset });
        }
        world.rows.extend(batch.events().map(|event| event.offset.0));
        world.parked.extend(batch.parked().iter().map(|parked| parked.offset));
        world.cursor = Some(batch.to());
        Ok(answer)
    }
}

impl Store for ScriptedStore {
    async fn open(&mut self, _opening: &Opening) -> Result<Option<Offset>, StoreError> {
        let mut world = self.world.lock().unwrap();
        world.opens.push(Instant::now());
        if world.dead {
            return Err(StoreError::Unavailable("it is dead".into()));
        }
        self.open = true;
        Ok(world.cursor)
    }

    async fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let decided = self.decide(batch);
        self.open = false;
        match decided? {
            Answer::Takes => {
                self.open = true;
                Ok(())
            }
            Answer::Fails | Answer::TakesAndFails => Err(StoreError::Unavailable("the connection broke".into())),
            Answer::Hangs | Answer::TakesAndHangs => std::future::pending().await,
        }
    }

    async fn close(&mut self, _complete: bool) -> Result<(), StoreError> {
        self.world().closes += 1;
        self.open = false;
        Ok(())
    }

    async fn read_back(
        &mut self,
        _opening: &Opening,
        _span: std::ops::Range<Offset>,
        _take: &mut (dyn FnMut(StoredRow<'_>) + Send),
    ) -> Result<(), StoreError> {
        Ok(())
    }

    async fn parked(&mut self, _opening: &Opening, _limit: usize) -> Result<Vec<Parked>, StoreError> {
        Ok(Vec::new())
    }

    fn figures(&self) -> StoreFigures {
        StoreFigures::default()
    }
}

/// A journal that sinks follow.
struct Place {
    journal: Arc<Journal>,
    lost: Arc<Mutex<Vec<LostSpan>>>,
    tasks: JoinSet<()>,
    _folder: TempDir,
}

/// A sink of a [`Place`].
struct Sink {
    store: ScriptedStore,
    status: Arc<SinkStatus>,
    orders: watch::Sender<Orders>,
}

impl Place {
    fn new() -> Self {
        Self::with(JournalSettings { sync_interval: Duration::ZERO, ..JournalSettings::default() })
    }

    fn with(settings: JournalSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), JournalOptions::new(settings)).unwrap().0;
        Self { journal: Arc::new(journal), lost: Arc::default(), tasks: JoinSet::new(), _folder: folder }
    }

    /// Journals events of a monitor in blocks of so many, and waits until they are durable.
    fn append(&self, monitor: &str, blocks: usize, events: usize) {
        let identity = Arc::new(MonitorIdentity {
            index: u32::from(monitor.as_bytes()[0]),
            name: monitor.into(),
            domain: "trading".into(),
        });
        let until = self.journal.durable().plus((blocks * events) as u64);
        for _ in 0..blocks {
            let mut block = block(&identity, events);
            while let Err(back) = self.journal.try_submit(block) {
                block = back;
                std::thread::yield_now();
            }
        }
        while self.journal.durable() < until {
            std::thread::yield_now();
        }
    }

    fn sink(&mut self, more: &str) -> Sink {
        self.sink_on(ScriptedStore::default(), more)
    }

    fn sink_on(&mut self, store: ScriptedStore, more: &str) -> Sink {
        let settings: SinkSettings = toml::from_str(&format!("kind = \"jsonl\"\n{more}")).unwrap();
        let orders = Orders { enabled: settings.enabled, start_at: Offset::ZERO, nudges: 0, anew: 0, draining: false };
        let (sender, receiver) = watch::channel(orders);
        let status =
            Arc::new(SinkStatus::new("s", settings.kind, Breaker::new(CircuitKind::Sink, "s"), settings.enabled));
        let lost = Arc::clone(&self.lost);
        let runner = Runner::new(Parts {
            store: store.clone(),
            opening: Opening::live("s", self.journal.id()),
            interest: Arc::new(Interest::new("s", &settings)),
            settings,
            journal: Arc::clone(&self.journal),
            durable_at_start: self.journal.durable(),
            last_received: Some(UnixNanos::now()),
            remembered: None,
            status: Arc::clone(&status),
            metrics: SinkMetrics::new("s"),
            orders: receiver,
            lost_log: Arc::new(move |span| {
                lost.lock().unwrap().push(span.clone());
                true
            }),
            lost_why: Arc::new(|_| LostCause::Retention),
            enrichment: None,
        });
        self.tasks.spawn(runner.run());
        Sink { store, status, orders: sender }
    }

    fn lost(&self) -> Vec<(u64, u64, LostCause)> {
        self.lost.lock().unwrap().iter().map(|span| (span.from, span.to, span.cause)).collect()
    }

    fn row(&self, sink: &Sink) -> SinkRow {
        sink.status.row(self.journal.durable())
    }

    /// Waits until the sink has everything. Time is paused: it passes as fast as it may.
    async fn caught_up(&self, sink: &Sink) {
        self.until(sink, |row| row.lag_events == Some(0)).await;
    }

    async fn until(&self, sink: &Sink, condition: impl Fn(&SinkRow) -> bool) {
        let deadline = std::time::SystemTime::now() + Duration::from_secs(30);
        while !condition(&self.row(sink)) {
            assert!(std::time::SystemTime::now() < deadline, "waited in vain: {:?}", self.row(sink));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn block(monitor: &Arc<MonitorIdentity>, events: usize) -> EncodedBlock {
    let mut builder = BlockBuilder::new(Path::Smart);
    let source = builder.source(monitor, "topic", SourceSlot(0));
    for number in 0..events {
        builder.push(&NewEvent {
            source,
            received: UnixNanos::now(),
            event_time: None,
            payload: format!("{{\"n\":{number}}}").as_bytes(),
            id: EventId::None,
            key: None,
            hash: None,
            conflict: false,
            handover: false,
        });
    }
    builder.finish(&mut Encoder::new())
}

fn all_but(poison: &[u64], events: u64) -> Vec<u64> {
    (0..events).filter(|offset| !poison.contains(offset)).collect()
}

#[tokio::test(start_paused = true)]
async fn every_event_arrives_once_and_in_order() {
    let mut place = Place::new();
    place.append("trades", 20, 100);
    let sink = place.sink("batch_max = 300");
    place.caught_up(&sink).await;
    place.append("trades", 3, 7);
    place.caught_up(&sink).await;
    assert_eq!(sink.store.world().rows, all_but(&[], 2021));
    assert!(sink.store.world().writes.iter().all(|(_, rows)| *rows <= 300), "batch_max holds");
    let row = place.row(&sink);
    assert_eq!((row.state, row.cursor, row.rows), (SinkState::Connected, Some(2021), 2021));
}

/// The clock was asked twice, first for what is past and then for what is due at once: with a clock that goes, what was due was never past,
/// and a sink with more to take than fits a transaction took nothing. A paused clock does not show it.
#[tokio::test]
async fn a_backlog_of_many_transactions_is_taken_by_a_clock_that_goes() {
    let mut place = Place::new();
    place.append("trades", 40, 100);
    let sink = place.sink("");
    place.caught_up(&sink).await;
    assert_eq!(sink.store.world().rows, all_but(&[], 4000));
}

#[tokio::test(start_paused = true)]
async fn halving_puts_aside_exactly_the_rows_that_are_refused() {
    let poison = [0, 1, 499, 500, 777, 1999];
    for names_offsets in [false, true] {
        let mut place = Place::new();
        place.append("trades", 20, 100);
        let store = ScriptedStore::default();
        store.world().poison = poison.into_iter().collect();
        store.world().names_offsets = names_offsets;
        let sink = place.sink_on(store, "");
        place.caught_up(&sink).await;
        let world = sink.store.world();
        assert_eq!(world.rows, all_but(&poison, 2000));
        assert_eq!(world.parked, poison);
        assert!(world.writes.len() < 200, "{} writes for six rows", world.writes.len());
        drop(world);
        assert_eq!(place.row(&sink).parked, 6);
        assert_eq!(place.row(&sink).state, SinkState::Connected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_of_which_the_acknowledgement_was_lost_is_not_written_twice() {
    let mut place = Place::new();
    place.append("trades", 20, 100);
    let store = ScriptedStore::default();
    store.world().script = Some(Box::new(|write| match write % 5 {
        0 => Answer::TakesAndFails,
        1 => Answer::Takes,
        2 => Answer::Fails,
        3 => Answer::TakesAndHangs,
        _ => Answer::Hangs,
    }));
    let sink = place.sink_on(store, "batch_max = 100");
    place.caught_up(&sink).await;
    assert_eq!(sink.store.world().rows, all_but(&[], 2000));
    assert_eq!(place.row(&sink).rows, 2000, "those of a lost acknowledgement are counted too");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lost_what_it_had_confirmed_gets_it_again() {
    let mut place = Place::new();
    place.append("trades", 10, 100);
    let sink = place.sink("");
    place.caught_up(&sink).await;
    {
        let mut world = sink.store.world();
        world.rows.truncate(900);
        world.cursor = Some(Offset(900));
        world.script = Some(Box::new(|_| Answer::Takes));
    }
    place.append("trades", 1, 100);
    place.until(&sink, |row| row.cursor == Some(1100)).await;
    assert_eq!(sink.store.world().rows, all_but(&[], 1100));
}

#[tokio::test(start_paused = true)]
async fn a_dead_store_is_asked_ever_more_seldom_and_costs_another_nothing() {
    let mut place = Place::new();
    place.append("trades", 10, 100);
    let store = ScriptedStore::default();
    store.world().dead = true;
    let dead = place.sink_on(store, "");
    let live = place.sink("");
    place.caught_up(&live).await;
    place.until(&dead, |row| row.state == SinkState::Open).await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    let opens = dead.store.world().opens.clone();
    assert!((60..400).contains(&opens.len()), "{} attempts in an hour", opens.len());
    let mut gaps: Vec<Duration> = opens.windows(2).map(|pair| pair[1] - pair[0]).skip(20).collect();
    gaps.sort();
    assert!(*gaps.last().unwrap() <= Duration::from_secs(61) && gaps[0] >= Duration::from_secs(10), "{gaps:?}");
    assert_ne!(gaps[0], *gaps.last().unwrap(), "there is jitter");
    place.append("trades", 10, 100);
    place.caught_up(&live).await;
    assert_eq!(live.store.world().rows.len(), 2000);
    dead.store.world().dead = false;
    place.caught_up(&dead).await;
    assert_eq!(dead.store.world().rows, all_but(&[], 2000));
    assert_eq!(place.row(&dead).state, SinkState::Connected);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_every_other_time_opens_its_breaker_and_is_probed_by_one_call() {
    let mut place = Place::new();
    place.append("trades", 100, 20);
    let store = ScriptedStore::default();
    store.world().script = Some(Box::new(|write| if write % 2 == 0 { Answer::Fails } else { Answer::Takes }));
    let sink = place.sink_on(store, "batch_max = 20");
    place.until(&sink, |row| row.state == SinkState::Open).await;
    place.caught_up(&sink).await;
    let world = sink.store.world();
    assert_eq!(world.rows, all_but(&[], 2000));
    let longest = world.writes.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap();
    assert!(longest >= Duration::from_millis(500), "it was left alone for a while: {longest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_every_row_stops_the_sink_and_parks_no_more() {
    let mut place = Place::new();
    place.append("trades", 10, 100);
    let store = ScriptedStore::default();
    store.world().poison = (0..1000).collect();
    let sink = place.sink_on(store, "");
    place.until(&sink, |row| row.state == SinkState::Refused).await;
    assert!(place.row(&sink).error.unwrap().contains("sluice sinks enable s"));
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(sink.store.world().parked.len(), 100, "looking again parks nothing");
    sink.store.world().poison.clear();
    sink.orders.send_modify(|orders| orders.nudges += 1);
    place.caught_up(&sink).await;
    assert_eq!(sink.store.world().rows, (100..1000).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn where_little_is_wanted_the_cursor_moves_once_a_second() {
    let mut place = Place::new();
    let sink = place.sink("monitors = [\"wanted\"]");
    let start = Instant::now();
    for _ in 0..100 {
        place.append("other", 1, 1);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    place.append("wanted", 1, 1);
    place.until(&sink, |row| row.cursor == Some(101)).await;
    let world = sink.store.world();
    let seconds = usize::try_from(start.elapsed().as_secs()).unwrap();
    assert!((5..=seconds + 2).contains(&world.writes.len()), "{} writes in {seconds} s", world.writes.len());
    assert_eq!(world.rows, [100]);
}

#[tokio::test(start_paused = true)]
async fn a_sink_switched_off_lets_go_of_the_journal_and_goes_on_where_an_operator_says() {
    let settings = JournalSettings {
        sync_interval: Duration::ZERO,
        segment_size: ByteSize::kib(4),
        max_size: ByteSize::kib(12),
        ..JournalSettings::default()
    };
    let mut place = Place::with(settings);
    let sink = place.sink("");
    place.append("trades", 1, 10);
    place.caught_up(&sink).await;
    let earliest = |place: &Place| place.journal.reader().earliest().unwrap();
    place.append("trades", 50, 50);
    assert_eq!(earliest(&place), Offset::ZERO, "what it has just taken is still held");
    place.caught_up(&sink).await;

    sink.orders.send_modify(|orders| orders.enabled = false);
    place.until(&sink, |row| row.state == SinkState::Off).await;
    assert_eq!(sink.store.world().closes, 1);
    place.append("trades", 50, 50);
    while earliest(&place) <= Offset(2510) {
        place.append("trades", 1, 50);
    }
    let durable = place.journal.durable().0;
    assert_eq!(sink.store.world().rows.len(), 2510);

    sink.orders.send_modify(|orders| orders.enabled = true);
    place.caught_up(&sink).await;
    // Retention may go on until the sink is back, and behind it.
    let lost = place.lost();
    let [(2510, gone_to, LostCause::Retention)] = lost[..] else { panic!("{lost:?}") };
    assert!(2510 < gone_to && gone_to <= earliest(&place).0);
    assert_eq!(sink.store.world().rows[2510..], (gone_to..durable).collect::<Vec<_>>());

    sink.orders.send_modify(|orders| orders.enabled = false);
    place.until(&sink, |row| row.state == SinkState::Off).await;
    place.append("trades", 1, 50);
    let start_at = place.journal.durable();
    place.append("trades", 1, 50);
    sink.orders.send_modify(|orders| (orders.enabled, orders.start_at) = (true, start_at));
    place.caught_up(&sink).await;
    assert_eq!(place.lost()[1], (durable, start_at.0, LostCause::StartNow));
    assert_eq!(sink.store.world().rows.last(), Some(&(start_at.0 + 49)));
    assert_eq!(place.row(&sink).lost, gone_to - 2510 + 50);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_ahead_of_the_journal_is_never_written_to() {
    let mut place = Place::new();
    place.append("trades", 1, 100);
    let store = ScriptedStore::default();
    store.world().cursor = Some(Offset(150));
    let sink = place.sink_on(store, "");
    place.until(&sink, |row| row.state == SinkState::Refused).await;
    // The journal grows past the cursor: other events are there now under the same offsets.
    place.append("trades", 1, 100);
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert!(sink.store.world().opens.len() >= 9, "it is looked again");
    assert_eq!(sink.store.world().writes.len(), 0);
    assert_eq!(place.row(&sink).state, SinkState::Refused);
}

#[tokio::test(start_paused = true)]
async fn at_the_stop_a_sink_takes_all_that_is_durable_and_a_dead_one_delays_nothing() {
    let mut place = Place::new();
    let store = ScriptedStore::default();
    store.world().dead = true;
    let dead = place.sink_on(store, "");
    let live = place.sink("flush_interval = \"10s\"");
    place.until(&dead, |row| row.retries > 0).await;
    place.append("trades", 30, 100);
    place.journal.close().unwrap();
    let asked = Instant::now();
    for sink in [&dead, &live] {
        sink.orders.send_modify(|orders| orders.draining = true);
    }
    while let Some(ended) = place.tasks.join_next().await {
        ended.unwrap();
    }
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(live.store.world().rows, all_but(&[], 3000));
    assert_eq!(live.store.world().closes, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_read_ahead_of_a_hung_store_is_bounded() {
    let mut place = Place::new();
    place.append("trades", 200, 1000);
    let store = ScriptedStore::default();
    store.world().script = Some(Box::new(|_| Answer::Hangs));
    let settings: SinkSettings = toml::from_str("kind = \"jsonl\"").unwrap();
    let bound = 256 << 10;
    let mut ahead = ReadAhead::new(&place.journal, Arc::new(Interest::new("s", &settings)), bound, Offset::ZERO);
    while tokio::time::timeout(Duration::from_secs(1), ahead.more()).await.is_ok() {}
    let block = bound / ahead.blocks();
    assert!(ahead.is_full() && ahead.bytes() < bound + 2 * block, "{} of {bound}", ahead.bytes());
    let sink = place.sink_on(store, "timeout = \"1s\"");
    place.until(&sink, |row| row.retries > 1).await;
    assert_eq!(place.row(&sink).lag_events, Some(200_000));
    assert!(place.row(&sink).error.unwrap().contains("no answer within 1s"));
}
