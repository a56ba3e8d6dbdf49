//! What a series makes of every order of arrival.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

struct Bench {
    series: Option<Series>,
    began: Instant,
    seconds: u64,
    seen: u64,
    anew: u32,
    given_up: Vec<Span>,
}

impl Bench {
    fn new() -> Self {
        Self { series: None, began: Instant::now(), seconds: 0, seen: 0, anew: 0, given_up: Vec::new() }
    }

    fn arrival(&self, counting: Counting, behind: Number, last: Number) -> Arrival {
        Arrival {
            counting,
            numbers: Numbers { behind, last },
            repeat: false,
            received: UnixNanos(i64::try_from(self.seconds).unwrap() * 1_000_000_000),
            now: self.began + Duration::from_secs(self.seconds),
        }
    }

    fn take(&mut self, arrival: &Arrival) {
        match &mut self.series {
            None => {
                self.series = Some(Series::begin(arrival));
                self.seen += arrival.all();
            }
            Some(series) => match series.note(arrival, &mut self.given_up) {
                Noted::Fresh(count) => self.seen += count,
                Noted::Anew(_) => self.anew += 1,
            },
        }
    }

    fn message(&mut self, number: Number) {
        self.take(&self.arrival(Counting::Messages, number - 1, number));
    }

    fn range(&mut self, first: Number, last: Number) {
        self.take(&self.arrival(Counting::Ranges, first - 1, last));
    }

    fn link(&mut self, previous: Number, value: Number) {
        self.take(&self.arrival(Counting::Chain, previous, value));
    }

    /// Every number that is missing, whether it is still waited for or not.
    fn missing(&self) -> BTreeSet<Number> {
        let waiting = self.series.iter().flat_map(|series| &series.missing);
        let spans: Vec<&Span> = waiting.chain(&self.given_up).collect();
        let numbers = spans.iter().flat_map(|span| span.numbers.behind + 1..=span.numbers.last);
        let found: BTreeSet<Number> = numbers.clone().collect();
        assert_eq!(found.len(), numbers.count(), "a number is missing once: {spans:?}");
        assert_eq!(found.len() as u64, spans.iter().map(|span| span.length()).sum::<u64>());
        found
    }
}

/// Every order of these.
fn orders(numbers: &[Number]) -> Vec<Vec<Number>> {
    if numbers.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (place, first) in numbers.iter().enumerate() {
        let rest: Vec<Number> =
            numbers.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, n)| *n).collect();
        all.extend(orders(&rest).into_iter().map(|order| [&[*first][..], &order].concat()));
    }
    all
}

/// What must be missing behind the first that came: whatever lies below the greatest and did not come.
fn expected(order: &[Number]) -> BTreeSet<Number> {
    let Some(greatest) = order.iter().max() else { return BTreeSet::new() };
    (order[0]..*greatest).filter(|number| !order.contains(number)).collect()
}

#[test]
fn in_every_order_of_arrival_exactly_what_did_not_come_is_missing() {
    let mut checked = 0;
    for came in 0_u32..1 << 6 {
        let numbers: Vec<Number> =
            (0..6).filter(|bit| came >> bit & 1 == 1).map(|bit| 10 + Number::from(bit)).collect();
        for order in orders(&numbers) {
            let mut bench = Bench::new();
            for number in &order {
                bench.message(*number);
            }
            assert_eq!(bench.missing(), expected(&order), "{order:?}");
            let seen = order.iter().filter(|number| **number >= order[0]).count() as u64;
            assert_eq!(bench.seen, seen, "{order:?}");
            checked += 1;
        }
    }
    assert_eq!(checked, 1957, "every order of every choice of six");
}

proptest! {
    /// Long, with repeats and late ones; only the number of spans that are waited for is bounded, not the count.
    #[test]
    fn numbers_are_missing_once_and_only_as_long_as_they_do_not_come(
        numbers in proptest::collection::vec(1_000_i64..1_400, 1..300),
    ) {
        let mut bench = Bench::new();
        let mut came: Vec<Number> = Vec::new();
        for number in numbers {
            bench.message(number.into());
            came.push(number.into());
            let series = bench.series.as_ref().unwrap();
            prop_assert!(series.missing.len() <= SPANS_MAX);
            // What was given up stays missing although it comes later.
            let given_up = bench.given_up.iter().flat_map(|span| span.numbers.behind + 1..=span.numbers.last);
            let late: BTreeSet<Number> = given_up.filter(|number| came.contains(number)).collect();
            let expected: BTreeSet<Number> = expected(&came).into_iter().chain(late).collect();
            prop_assert_eq!(bench.missing(), expected);
        }
    }

    /// Ranges and the links of a chain arrive in any order: what is missing are the pieces that did not come.
    #[test]
    fn pieces_of_any_length_fill_exactly_what_they_cover(
        pieces in proptest::collection::vec((1_i64..5, any::<bool>(), any::<u32>()), 1..12),
        chain in any::<bool>(),
    ) {
        let mut at: Number = 100;
        let mut cut: Vec<(Numbers, u32)> = Vec::new();
        for (length, came, order) in pieces {
            let numbers = Numbers { behind: at, last: at + Number::from(length) };
            at = numbers.last;
            if came {
                cut.push((numbers, order));
            }
        }
        cut.sort_by_key(|(_, order)| *order);
        let mut bench = Bench::new();
        for (numbers, _) in &cut {
            if chain { bench.link(numbers.behind, numbers.last) } else { bench.range(numbers.behind + 1, numbers.last) }
        }
        let covered: BTreeSet<Number> = cut.iter().flat_map(|(numbers, _)| numbers.behind + 1..=numbers.last).collect();
        let first = cut.first().map_or(0, |(numbers, _)| numbers.last);
        let greatest = covered.last().copied().unwrap_or_default();
        let expected: BTreeSet<Number> = (first..greatest).filter(|number| !covered.contains(number)).collect();
        prop_assert_eq!(bench.missing(), expected);
        prop_assert_eq!(bench.anew, 0);
    }
}

#[test]
fn what_is_missing_is_given_up_only_when_it_was_waited_for_and_says_between_which_messages_it_was() {
    let mut bench = Bench::new();
    for (second, number) in [(1, 1), (2, 4), (5, 6)] {
        bench.seconds = second;
        bench.message(number);
    }
    let series = bench.series.as_mut().unwrap();
    series.settle(bench.began + Duration::from_secs(5), &mut bench.given_up);
    let [span] = bench.given_up[..] else { panic!("{:?}", bench.given_up) };
    assert_eq!((span.length(), span.start.0, span.end.0), (2, 1_000_000_000, 2_000_000_000));
    assert!(bench.series.as_ref().unwrap().is_waiting(), "the other one is waited for still");
    bench.message(5);
    bench.message(3);
    assert!(!bench.series.as_ref().unwrap().is_waiting());
    assert_eq!(bench.missing(), BTreeSet::from([2, 3]), "one that comes too late stays missing");
}

#[test]
fn of_more_spans_than_are_waited_for_the_oldest_go_first() {
    let mut bench = Bench::new();
    for number in 0..=SPANS_MAX as Number + 1 {
        bench.message(2 * number);
    }
    assert_eq!(bench.given_up.iter().map(|span| span.numbers.last).collect::<Vec<_>>(), [1]);
    assert_eq!(bench.series.unwrap().missing.len(), SPANS_MAX);
}

#[test]
fn counting_begins_anew_at_its_beginning_but_not_for_a_repeat_nor_for_a_link_that_lags() {
    let mut bench = Bench::new();
    bench.message(5000);
    bench.message(5002);
    bench.message(4000);
    let repeat = Arrival { repeat: true, ..bench.arrival(Counting::Messages, 0, 1) };
    bench.take(&repeat);
    assert_eq!((bench.anew, bench.missing()), (0, BTreeSet::from([5001])));
    bench.message(1);
    bench.message(2);
    bench.message(4);
    assert_eq!(bench.anew, 1);
    assert_eq!(bench.missing(), BTreeSet::from([5001, 3]), "what was missing before is missing still");

    let mut young = Bench::new();
    for number in [0, 1, 2, 3, 0, 1, 2, 3, 4] {
        young.message(number);
    }
    assert_eq!((young.anew, young.missing().len()), (0, 0), "another link may bring the beginning once more");
}

#[test]
fn where_only_lower_numbers_come_for_a_minute_counting_has_begun_anew_there() {
    let mut bench = Bench::new();
    bench.message(5000);
    for second in [1, 30, 59] {
        bench.seconds = second;
        bench.message(100 + Number::from(second));
    }
    assert_eq!(bench.anew, 0);
    bench.seconds = 60;
    bench.message(160);
    bench.message(161);
    bench.message(163);
    assert_eq!((bench.anew, bench.missing()), (1, BTreeSet::from([162])));
}

#[test]
fn a_leap_beyond_all_measure_is_no_loss() {
    for (beyond, anew, waiting) in [(0, 0, true), (1, 1, false)] {
        let mut bench = Bench::new();
        bench.message(7);
        bench.message(8 + LEAP_MAX + beyond);
        assert_eq!((bench.anew, bench.series.unwrap().is_waiting()), (anew, waiting), "{beyond} beyond");
    }
}

#[test]
fn a_chain_is_whole_through_snapshots_standstills_and_resets() {
    let mut bench = Bench::new();
    for (previous, value) in [(-1, 10), (10, 14), (14, 14), (14, 20)] {
        bench.link(previous, value);
    }
    bench.link(-1, 17);
    bench.link(-1, 40);
    bench.link(40, 44);
    assert_eq!((bench.anew, bench.missing().len()), (0, 0), "a snapshot goes on from nothing");
    bench.link(44, 3);
    bench.link(3, 8);
    assert_eq!((bench.anew, bench.missing().len()), (1, 0), "a reset names the number before it");
    bench.link(9, 12);
    assert!(bench.series.as_ref().unwrap().is_waiting(), "one is missing in the chain");
    bench.link(8, 9);
    assert!(!bench.series.as_ref().unwrap().is_waiting());
}
