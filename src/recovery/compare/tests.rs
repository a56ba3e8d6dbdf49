use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use super::*;

/// A record that a test makes up.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    monitor: Option<&'static str>,
    key: Option<String>,
    id: Option<String>,
    time: Option<UnixNanos>,
    payload: String,
}

fn row(id: u64) -> Row {
    Row {
        monitor: None,
        key: Some(format!("k{}", id % 7)),
        id: Some(id.to_string()),
        time: Some(UnixNanos(i64::try_from(id).unwrap() * 1_000_000)),
        payload: format!("{{\"n\":{id}}}"),
    }
}

struct Rows(Vec<Row>);

impl Source for Rows {
    fn name(&self) -> String {
        "rows".into()
    }

    fn place_name(&self) -> &'static str {
        "row"
    }

    fn total(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }

    fn read(
        &mut self,
        only: Option<&BTreeSet<u64>>,
        take: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        for (place, row) in (1..).zip(&self.0) {
            let record = Record {
                place,
                done: place,
                monitor: row.monitor,
                topic: None,
                key: row.key.as_deref(),
                id: row.id.as_deref(),
                time: row.time,
                payload: Some(row.payload.as_bytes()),
                repeats_dropped: row.id.is_some(),
            };
            let wanted = only.is_none_or(|only| only.contains(&place));
            if wanted && take(&record).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn terms() -> Terms {
    Terms { by_key: true, ..Terms::default() }
}

fn compared(left: Vec<Row>, right: Vec<Row>, terms: &Terms, memory: ByteSize) -> Compared {
    let folder = tempfile::tempdir().unwrap();
    let room = Workroom { folder: folder.path().to_owned(), memory, examples: 5 };
    let compared = compare(&mut Rows(left), &mut Rows(right), terms, &room, &mut |_| {}).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing stays behind");
    compared
}

/// As (kind, id, left place, right place, repeated).
fn examples(compared: &Compared) -> Vec<(Kind, &str, Option<u64>, Option<u64>, bool)> {
    let example = |example: &'_ Example| {
        (example.kind, example.id.clone(), example.left_place, example.right_place, example.repeated)
    };
    let all: Vec<_> = compared.examples.iter().map(example).collect();
    all.into_iter()
        .map(|(kind, id, left, right, repeated)| (kind, &*id.unwrap().leak(), left, right, repeated))
        .collect()
}

#[test]
fn seeded_differences_are_found_exactly_in_any_order_and_in_little_memory() {
    let left: Vec<Row> = (0..20_000).map(row).collect();
    let mut right = left.clone();
    right[77].payload = "{\"n\":0}".into();
    right.push(left[5].clone());
    right.push(row(1_000_000));
    right.remove(3000);
    right.remove(100);
    // By place on the right: the extra ones are at the end before they are mixed.
    let shuffled: Vec<Row> = {
        let mut random = fastrand::Rng::with_seed(7);
        let mut all = right.clone();
        random.shuffle(&mut all);
        all
    };
    for (memory, right) in [(ByteSize::mib(64), &right), (ByteSize::kib(1), &right), (ByteSize::kib(1), &shuffled)] {
        let found = compared(left.clone(), right.clone(), &terms(), memory);
        let total = &found.total;
        assert_eq!((total.left, total.right, total.both), (20_000, 20_000, 19_998), "{total:?}");
        assert_eq!((total.only_left, total.only_right, total.differing), (2, 2, 1));
        assert_eq!((total.left_repeats, total.right_repeats), (0, 1));
        assert!(!found.is_equal());
        let place = |row: &Row| right.iter().rposition(|other| other == row).map(|at| at as u64 + 1);
        let mut expected =
            vec![(Kind::OnlyLeft, "100", Some(101), None, false), (Kind::OnlyLeft, "3000", Some(3001), None, false)];
        let mut extra = [
            (Kind::OnlyRight, "5", None, place(&left[5]), true),
            (Kind::OnlyRight, "1000000", None, place(&row(1_000_000)), false),
        ];
        extra.sort_by_key(|example| example.3);
        expected.extend(extra);
        let altered = right.iter().position(|row| row.id.as_deref() == Some("77")).map(|at| at as u64 + 1);
        expected.push((Kind::Differing, "77", Some(78), altered, false));
        assert_eq!(examples(&found), expected);
        let differing = found.examples.last().unwrap();
        assert_eq!(differing.left_payload.as_deref(), Some("{\"n\":77}"));
        assert_eq!(differing.right_payload.as_deref(), Some("{\"n\":0}"));
        assert_eq!((differing.key.as_deref(), differing.time), (Some("k0"), left[77].time));
    }
}

#[test]
fn the_first_examples_are_those_of_the_least_places() {
    let left: Vec<Row> = (0..1000).map(row).collect();
    let found = compared(left, Vec::new(), &terms(), ByteSize::mib(1));
    let places: Vec<_> = found.examples.iter().map(|example| example.left_place.unwrap()).collect();
    assert_eq!((places, found.total.only_left), (vec![1, 2, 3, 4, 5], 1000));
}

#[test]
fn one_id_on_all_records_takes_no_more_memory_and_pairs_up_all_the_same() {
    let same = |number: u64, of: u64| Row {
        id: Some("0".into()),
        key: None,
        payload: (number % of).to_string(),
        ..row(number)
    };
    let left: Vec<Row> = (0..5000).map(|number| same(number, 5000)).collect();
    // 1,000 payloads, five times each: each pairs up once, the others differ from what is left.
    let right: Vec<Row> = (0..5001).map(|number| same(number, 1000)).collect();
    let total = compared(left, right, &terms(), ByteSize::kib(1)).total;
    assert_eq!((total.both, total.differing, total.only_left, total.only_right), (5000, 4000, 0, 1), "{total:?}");
    assert_eq!((total.left_repeats, total.right_repeats), (4999, 5000));
}

#[test]
fn repeats_that_a_side_drops_are_counted_and_no_difference_where_that_is_asked_for() {
    let left: Vec<Row> = (0..100).map(row).collect();
    let mut right = left.clone();
    right.extend([row(5), row(5), Row { payload: "other".into(), ..row(6) }]);
    let counted = Terms { repeats: Repeats::Counted, ..terms() };
    let found = compared(left.clone(), right.clone(), &counted, ByteSize::mib(1));
    assert!(found.is_equal() && found.total.right_repeats == 3, "{found:?}");
    let found = compared(left.clone(), right, &terms(), ByteSize::mib(1));
    assert_eq!((found.total.only_right, found.total.right_repeats), (3, 3));
    // Without an id nothing was dropped as a repeat: what is there once more is a difference.
    let nameless = |row: Row| Row { id: None, ..row };
    let left: Vec<Row> = left.into_iter().map(nameless).collect();
    let mut right = left.clone();
    right.push(left[9].clone());
    let found = compared(left, right, &counted, ByteSize::mib(1));
    assert_eq!((found.total.both, found.total.only_right), (100, 1), "{found:?}");
}

#[test]
fn a_partner_just_outside_of_the_span_is_found_and_none_is_missed_at_the_edge() {
    let at = |id: u64, seconds: i64| Row { time: Some(UnixNanos(seconds * 1_000_000_000)), ..row(id) };
    let left = vec![at(1, 95), at(2, 101), at(3, 150), at(4, 199), at(5, 150), at(6, 300)];
    let right = vec![at(1, 101), at(2, 99), at(3, 150), at(4, 205), at(7, 105), at(8, 195)];
    let span = Span { since: Some(UnixNanos(100_000_000_000)), until: Some(UnixNanos(200_000_000_000)) };
    let asked = Terms { spans: Spans::Same(Counted::within(span, Duration::from_secs(10))), ..terms() };
    let found = compared(left.clone(), right.clone(), &asked, ByteSize::mib(1));
    let total = &found.total;
    assert_eq!((total.both, total.only_left, total.only_right, total.at_edge), (4, 1, 2, 0), "{total:?}");
    let later = total.delay.later.as_ref().unwrap();
    assert_eq!((later.events, later.max_ms), (2, 6000.0));
    assert_eq!(total.delay.earlier.as_ref().map(|earlier| (earlier.events, earlier.max_ms)), Some((1, 2000.0)));
    assert_eq!(total.delay.at_once, 1);
    // Where the span's ends are those of a side's own events, its neighbours there are not known.
    let counted = Counted {
        read: span.widened(Duration::from_secs(10)),
        paired: span,
        single: Span { since: Some(UnixNanos(110_000_000_000)), until: Some(UnixNanos(190_000_000_000)) },
    };
    let total = compared(left, right, &Terms { spans: Spans::Same(counted), ..terms() }, ByteSize::mib(1)).total;
    assert_eq!((total.both, total.only_left, total.only_right, total.at_edge), (4, 1, 0, 2), "{total:?}");
}

#[test]
fn monitors_are_told_apart_and_counted_each() {
    let of = |monitor, row: Row| Row { monitor: Some(monitor), ..row };
    let left = vec![of("a", row(1)), of("b", row(1)), of("a", row(2))];
    let right = vec![of("a", row(1)), of("b", row(2)), of("c", row(3))];
    let found = compared(left, right, &Terms { by_monitor: true, ..terms() }, ByteSize::mib(1));
    let counts: Vec<_> = found
        .monitors
        .iter()
        .map(|(name, counts)| (name.as_deref().unwrap(), counts.both, counts.only_left, counts.only_right))
        .collect();
    assert_eq!(counts, [("a", 1, 1, 0), ("b", 0, 1, 1), ("c", 0, 0, 1)]);
    assert_eq!((found.total.only_left, found.total.only_right), (2, 2));
}

#[test]
fn a_source_that_breaks_off_is_no_difference() {
    struct Broken;
    impl Source for Broken {
        fn name(&self) -> String {
            "broken".into()
        }
        fn place_name(&self) -> &'static str {
            "row"
        }
        fn total(&self) -> Option<u64> {
            None
        }
        fn read(
            &mut self,
            _: Option<&BTreeSet<u64>>,
            take: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
        ) -> Result<(), SourceError> {
            let _ = take(&Record { id: Some("1"), ..Record::default() });
            Err(SourceError::Unreachable("the server went away".into()))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let room = Workroom { folder: folder.path().to_owned(), memory: ByteSize::mib(1), examples: 5 };
    let error = compare(&mut Rows(vec![row(1)]), &mut Broken, &terms(), &room, &mut |_| {}).unwrap_err();
    assert!(matches!(&error, CompareError::Source(SourceError::Unreachable(why)) if why.contains("went away")));
}
