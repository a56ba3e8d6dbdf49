//! When a batch is closed, and what it counts.

use std::collections::BTreeMap;

use super::*;
use crate::config::{ByteSize, MonitorSettings, QuarantineSettings};
use crate::dialect::{Intake, Message};
use crate::monitor::event_id::IdHasher;
use crate::monitor::reading::Reading;
use crate::monitor::roster::{Identities, RosterParts};

struct Link {
    reading: Reading,
    roster: Arc<Roster>,
    batcher: Batcher,
    now: Instant,
    closed: Vec<EncodedBlock>,
}

impl Link {
    fn new(settings: BatchSettings) -> Self {
        let monitor: MonitorSettings =
            toml::from_str("domain = \"d\"\nupstream = \"u\"\ntopics = [\"t\"]\nevent = { id = \"/id\" }").unwrap();
        let monitors = BTreeMap::from([("m".to_owned(), monitor)]);
        let mut identities = Identities::default();
        let own = OwnIdentities {
            quarantine: identities.of("quarantine", "_sluice"),
            gaps: identities.of("gaps", "_sluice"),
            retries: identities.of("retries", "_sluice"),
            coverage: identities.of("coverage", "_sluice"),
            fetched: identities.of("fetched", "_sluice"),
        };
        let quarantine = QuarantineSettings::default();
        let hasher = IdHasher::new(1);
        let parts = RosterParts::new("u", &monitors, &quarantine, &hasher);
        let roster = Roster::new(&parts, &mut identities).unwrap();
        let roster = Arc::new(roster);
        let window = Arc::new(DedupeWindow::new(Duration::from_mins(5), 1 << 20));
        Self {
            reading: Reading::new(Arc::clone(&roster)),
            batcher: Batcher::new(settings, Arc::clone(&roster), own, window),
            roster,
            now: Instant::now(),
            closed: Vec::new(),
        }
    }

    /// One burst with these texts.
    fn burst(&mut self, texts: &[String]) -> Absorbed {
        self.reading.begin(UnixNanos(1_000_000_000));
        for text in texts {
            self.reading.message(TopicId(0), Message { bytes: text.as_bytes(), fields: None });
        }
        self.batcher.absorb(self.reading.burst(), UnixNanos(1_000_000_000), self.now, &mut self.closed)
    }

    fn due_in(&self, writer_takes_in: Duration) -> Option<Duration> {
        self.batcher.due(self.now + writer_takes_in).map(|at| at - self.now)
    }

    fn closed_sizes(&self) -> Vec<u32> {
        self.closed.iter().map(EncodedBlock::events).collect()
    }
}

fn settings(min_size: u32, max_size: u32, max_bytes: u64) -> BatchSettings {
    BatchSettings { min_size, max_size, max_bytes: ByteSize(max_bytes), timeout: Duration::from_millis(500) }
}

fn messages(ids: std::ops::Range<u32>) -> Vec<String> {
    ids.map(|id| format!("{{\"id\":{id}}}")).collect()
}

const SOON: Duration = Duration::from_millis(7);

#[tokio::test(start_paused = true)]
async fn an_idle_writer_takes_what_is_there_from_the_minimum_on() {
    let mut link = Link::new(settings(3, 100, 1 << 20));
    assert_eq!(link.due_in(Duration::ZERO), None, "nothing is there");
    link.burst(&messages(0..2));
    assert_eq!(link.due_in(Duration::ZERO), Some(Duration::from_millis(500)), "below the minimum only time closes it");
    link.burst(&messages(2..3));
    assert_eq!(link.due_in(Duration::ZERO), Some(Duration::ZERO));
    assert_eq!(link.due_in(SOON), Some(SOON), "a busy writer gets more later");
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_longer_than_the_timeout_however_busy_the_writer_is() {
    let mut link = Link::new(settings(1, 100, 1 << 20));
    link.burst(&messages(0..1));
    tokio::time::advance(Duration::from_millis(400)).await;
    link.burst(&messages(1..2));
    assert_eq!(link.due_in(Duration::from_secs(9)), Some(Duration::from_millis(500)), "the oldest event counts");
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_is_closed_at_once_and_never_grows_beyond_its_bounds() {
    let mut link = Link::new(settings(1, 5, 1 << 20));
    link.burst(&messages(0..4));
    link.burst(&messages(4..8));
    assert_eq!(link.closed_sizes(), [4], "a burst that does not fit begins the next batch");
    link.burst(&messages(8..9));
    assert!(link.batcher.is_full());
    assert_eq!(link.due_in(SOON), Some(Duration::ZERO));
    link.burst(&messages(9..21));
    link.closed.extend(link.batcher.close());
    assert_eq!(link.closed_sizes(), [4, 5, 5, 5, 2], "a burst larger than a batch is split");
}

#[tokio::test(start_paused = true)]
async fn an_event_larger_than_a_batch_is_alone_in_its_block() {
    let mut link = Link::new(settings(1, 100, 200));
    let large = format!("{{\"id\":\"x\",\"text\":\"{}\"}}", "y".repeat(1000));
    link.burst(&[messages(0..3), vec![large], messages(3..5)].concat());
    link.closed.extend(link.batcher.close());
    assert_eq!(link.closed_sizes(), [3, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn repeats_are_dropped_counted_and_carried_to_the_journal_even_without_an_event() {
    let mut link = Link::new(settings(1, 100, 1 << 20));
    let absorbed = link.burst(&messages(0..3));
    assert_eq!(absorbed, Absorbed { events: 3, repeats: 0, conflicts: 0 });
    link.closed.extend(link.batcher.close());
    assert_eq!(link.due_in(SOON), None);
    let other_text = "{ \"id\":1}".to_owned();
    let absorbed = link.burst(&[messages(0..2), vec![other_text]].concat());
    assert_eq!(absorbed, Absorbed { events: 0, repeats: 3, conflicts: 1 });
    assert_eq!(link.due_in(SOON), Some(COUNTS_TIMEOUT), "counts may wait longer than events");
    link.closed.extend(link.batcher.close());
    assert_eq!(link.closed_sizes(), [3, 0]);
    let totals = link.roster.monitors[0].totals.now();
    assert_eq!((totals.messages, totals.events, totals.repeats), (6, 3, 3));
}
