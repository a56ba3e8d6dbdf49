//! What the book tells of several series.

use super::*;
use crate::monitor::sequence::numbers::Number;

struct Bench {
    book: SequenceBook,
    began: Instant,
    monitor: Arc<str>,
    topic: Arc<str>,
}

impl Bench {
    fn new() -> Self {
        Self { book: SequenceBook::default(), began: Instant::now(), monitor: "m".into(), topic: "t".into() }
    }

    fn note(&self, second: u64, series: u64, counting: Counting, (behind, last): (Number, Number)) {
        let received = UnixNanos(i64::try_from(second).unwrap() * 1_000_000_000);
        let mut noting = self.book.begin(received, self.at(second));
        let origin = Origin { series, monitor: &self.monitor, topic: &self.topic, upstream: "u" };
        noting.note(origin, Arrived { counting, numbers: Numbers { behind, last }, repeat: false });
    }

    fn message(&self, second: u64, series: u64, number: Number) {
        self.note(second, series, Counting::Messages, (number - 1, number));
    }

    fn at(&self, second: u64) -> Instant {
        self.began + Duration::from_secs(second)
    }

    fn counts(&self) -> SequenceCounts {
        let rows = self.book.rows();
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0].counts
    }
}

#[test]
fn leaps_of_a_topic_are_told_together_once_they_were_waited_for() {
    let bench = Bench::new();
    for (second, series, number) in [(0, 1, 1), (0, 2, 50), (1, 1, 3), (2, 2, 53), (7, 1, 5)] {
        bench.message(second, series, number);
    }
    assert!(bench.book.take_settled(bench.at(6)).is_empty());
    let leaps = bench.book.take_settled(bench.at(8));
    let [leap] = &leaps[..] else { panic!("{leaps:?}") };
    let second = |second: i64| UnixNanos(second * 1_000_000_000);
    assert_eq!(leap.missed, Missed { start: second(0), end: second(2), missing: Some(3) });
    assert!(bench.book.take_settled(bench.at(8)).is_empty(), "it is told once");
    assert_eq!(bench.book.take_all().iter().map(|leap| leap.missed.missing).collect::<Vec<_>>(), [Some(1)]);
    assert_eq!(bench.counts(), SequenceCounts { seen: 5, missing: 4, breaks: 3, restarts: 0 });
    assert_eq!(bench.counts().expected(), 9);
}

#[test]
fn only_messages_are_counted_in_a_gap_since_ranges_and_chains_do_not_count_them() {
    for (counting, missing) in [(Counting::Ranges, 5), (Counting::Chain, 0)] {
        let bench = Bench::new();
        bench.note(0, 1, counting, (0, 10));
        bench.note(1, 1, counting, (15, 20));
        let leaps = bench.book.take_settled(bench.at(20));
        assert_eq!(leaps.iter().map(|leap| leap.missed.missing).collect::<Vec<_>>(), [None], "{counting:?}");
        let counts = bench.counts();
        assert_eq!((counts.missing, counts.breaks), (missing, 1), "{counting:?}");
    }
}

#[test]
fn a_series_that_ends_gives_up_what_it_waits_for_and_its_counts_stay() {
    let bench = Bench::new();
    bench.message(0, 9, 1);
    bench.message(0, 9, 4);
    bench.book.end(9);
    bench.book.end(9);
    assert_eq!(bench.book.take_settled(bench.at(100)).len(), 1);
    assert_eq!(bench.counts(), SequenceCounts { seen: 2, missing: 2, breaks: 1, restarts: 0 });
    bench.message(1, 9, 77);
    assert_eq!(bench.counts().missing, 2, "another one begins");
}

#[test]
fn with_more_keys_than_there_is_room_for_the_longest_idle_ones_go() {
    let bench = Bench::new();
    let most = SERIES_MAX as u64;
    for series in 0..most {
        bench.message(series / 1000, series, 1);
    }
    bench.message(100, 0, 2);
    bench.message(100, most, 1);
    let state = bench.book.lock();
    assert_eq!(state.series.len(), SERIES_MAX - CROWDED_OUT + 1);
    assert!(state.series.contains_key(&0), "it came again");
    assert!(!state.series.contains_key(&1));
    assert!(state.series.contains_key(&(most - 1)));
    drop(state);
    assert_eq!(bench.counts().seen, most + 2, "what they had is still counted");
}
