//! What the ledger answers, and how it stands then.

use std::collections::BTreeMap;

use super::*;
use crate::config::{MonitorSettings, QuarantineSettings};
use crate::monitor::event_id::IdHasher;
use crate::monitor::roster::{Identities, RosterParts};

const BOTH: TopicId = TopicId(0);
const OF_B: TopicId = TopicId(1);

/// Monitors `a` and `b` want `both`, and `b` alone `of-b`.
fn roster(upstream: &str) -> Roster {
    paused(upstream, &BTreeMap::new())
}

/// As [`roster`], and some of them pause.
fn paused(upstream: &str, pauses: &BTreeMap<String, Pause>) -> Roster {
    let monitor = |topics: &str| -> MonitorSettings {
        toml::from_str(&format!(
            "domain = \"d\"\nupstream = \"{upstream}\"\ntopics = {topics}\nevent = {{ id = \"/id\" }}"
        ))
        .unwrap()
    };
    let monitors =
        BTreeMap::from([("a".to_owned(), monitor("[\"both\"]")), ("b".to_owned(), monitor("[\"both\", \"of-b\"]"))]);
    let (quarantine, hasher) = (QuarantineSettings::default(), IdHasher::new(1));
    let parts = RosterParts { pauses, ..RosterParts::new(upstream, &monitors, &quarantine, &hasher) };
    Roster::new(&parts, &mut Identities::default()).unwrap()
}

fn second(seconds: i64) -> UnixNanos {
    UnixNanos(seconds * 1_000_000_000)
}

fn gaps(records: &[LedgerRecord]) -> Vec<&GapRecord> {
    let mut found = Vec::new();
    for record in records {
        if let LedgerRecord::Gap(gap) = record {
            found.push(gap);
        }
    }
    found
}

fn coverage(records: &[LedgerRecord]) -> Vec<&CoverageRecord> {
    let mut found = Vec::new();
    for record in records {
        if let LedgerRecord::Coverage(coverage) = record {
            found.push(coverage);
        }
    }
    found
}

/// Monitor, topic, start and end in seconds, and by what it was filled.
fn spans(records: &[LedgerRecord]) -> Vec<(String, String, i64, i64, Option<Filled>)> {
    let at = |text: &str| text.parse::<UnixNanos>().unwrap().0 / 1_000_000_000;
    let span = |gap: &&GapRecord| (gap.monitor.clone(), gap.topic.clone(), at(&gap.start), at(&gap.end), gap.filled);
    gaps(records).iter().map(span).collect()
}

fn open(ledger: &GapLedger) -> Vec<(String, String, i64, GapCause)> {
    let gap = |gap: OpenGap| (gap.monitor.to_string(), gap.topic.to_string(), gap.start.0 / 1_000_000_000, gap.cause);
    ledger.open().into_iter().map(gap).collect()
}

#[test]
fn topics_are_watched_from_when_they_are_in_force_first_and_this_is_told_once_a_monitor() {
    let (ledger, roster) = (GapLedger::default(), roster("u"));
    let records = ledger.covered(&roster, [BOTH, OF_B], second(1), None);
    let told: Vec<(&str, usize)> = coverage(&records)
        .iter()
        .map(|record| match record {
            CoverageRecord::Watched(watched) => (watched.monitor.as_str(), watched.topics.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [("a", 1), ("b", 2)]);
    assert!(ledger.covered(&roster, [BOTH, OF_B], second(2), None).is_empty(), "that is no news");
    assert!(ledger.open().is_empty());
}

#[test]
fn a_lost_topic_is_open_for_all_who_want_it_until_it_is_in_force_again() {
    let (ledger, roster) = (GapLedger::default(), roster("u"));
    drop(ledger.covered(&roster, [BOTH, OF_B], second(1), None));
    let records = ledger.lost(&roster, [BOTH, OF_B], second(10), GapCause::Disconnect);
    assert_eq!(coverage(&records).len(), 2, "one a monitor: {records:?}");
    assert_eq!(ledger.open().len(), 3);
    assert!(ledger.lost(&roster, [BOTH], second(15), GapCause::Backpressure).is_empty(), "it is lost already");
    let closed = ledger.covered(&roster, [BOTH], second(20), None);
    let span = |monitor: &str| (monitor.to_owned(), "both".to_owned(), 10, 20, None);
    assert_eq!(spans(&closed), [span("a"), span("b")]);
    assert!(gaps(&closed).iter().all(|gap| gap.cause == GapCause::Disconnect), "the cause is that of its beginning");
    assert_eq!(open(&ledger), [("b".to_owned(), "of-b".to_owned(), 10, GapCause::Disconnect)]);
    let figures = &ledger.figures()["u"];
    assert_eq!((figures.open, figures.unwanted[&GapCause::Disconnect]), (1, 1));
    assert_eq!(figures.closed[&GapCause::Disconnect], Duration::from_secs(20), "two monitors missed 10 s each");
}

#[test]
fn every_gap_has_a_number_of_its_own_also_those_that_are_told_together() {
    let (ledger, roster) = (GapLedger::default(), roster("u"));
    drop(ledger.lost(&roster, [BOTH, OF_B], second(10), GapCause::Refused));
    let mut ids: Vec<u64> = ledger.open().iter().map(|gap| gap.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2]);
    assert_eq!(ledger.standing().next_id, 3);
}

#[test]
fn a_gap_begins_no_earlier_than_its_topic_was_watched() {
    let (ledger, roster) = (GapLedger::default(), roster("u"));
    drop(ledger.covered(&roster, [OF_B], second(10), None));
    drop(ledger.lost(&roster, [OF_B], second(5), GapCause::Disconnect));
    assert_eq!(open(&ledger)[0].2, 10, "it was not even watched before");
}

#[test]
fn the_ledger_goes_on_from_what_a_snapshot_holds() {
    let (before, roster) = (GapLedger::default(), roster("u"));
    drop(before.covered(&roster, [BOTH, OF_B], second(1), None));
    drop(before.lost(&roster, [OF_B], second(10), GapCause::Silence));
    let ledger = GapLedger::of(before.standing());
    assert_eq!(ledger.standing(), before.standing());
    let down = ledger.down(|_, _| second(30));
    assert_eq!(down.len(), 2, "what was in force: {down:?}");
    let down_for = |monitor: &str| (monitor.to_owned(), "both".to_owned(), 30, GapCause::Downtime);
    let silent = ("b".to_owned(), "of-b".to_owned(), 10, GapCause::Silence);
    assert_eq!(open(&ledger), [down_for("a"), down_for("b"), silent], "what was open goes on from its start");
    assert!(ledger.down(|_, _| second(40)).is_empty());
    let mut ids: Vec<u64> = ledger.open().iter().map(|gap| gap.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2], "no number comes twice");
}

#[test]
fn each_topic_is_down_since_its_own_moment() {
    let (ledger, roster) = (GapLedger::default(), roster("u"));
    drop(ledger.covered(&roster, [BOTH, OF_B], second(1), None));
    let records = ledger.down(|upstream, topic| second(if (upstream, topic) == ("u", "of-b") { 8 } else { 5 }));
    assert_eq!(records.len(), 3, "one for each monitor and moment: {records:?}");
    let starts: Vec<i64> = open(&ledger).into_iter().map(|(_, _, start, _)| start).collect();
    assert_eq!(starts, [5, 5, 8]);
}

#[test]
fn two_ends_that_a_crash_lost_are_both_told_in_the_end() {
    let topic = StandingTopic {
        monitor: "b".into(),
        upstream: "u".into(),
        topic: "of-b".into(),
        since: second(1),
        open: vec![(3, second(10), GapCause::Disconnect), (7, second(20), GapCause::Silence)],
    };
    let ledger = GapLedger::of(Standing { next_id: 8, topics: vec![topic] });
    let closed = ledger.covered(&roster("u"), [OF_B], second(30), None);
    assert_eq!(gaps(&closed).iter().map(|gap| gap.id).collect::<Vec<_>>(), [Some(3), Some(7)]);
}

#[test]
fn what_is_taken_up_at_or_before_its_loss_is_filled_and_later_it_is_not() {
    let (ledger, roster) = (GapLedger::default(), roster("u"));
    let resumed = |seconds| ResumedFrom { point: "token".into(), oldest: second(seconds) };
    drop(ledger.covered(&roster, [OF_B], second(1), None));
    for (token, filled) in [(9, Some(Filled::Resumed)), (10, Some(Filled::Resumed)), (11, None)] {
        let ledger = GapLedger::of(ledger.standing());
        drop(ledger.lost(&roster, [OF_B], second(10), GapCause::Disconnect));
        let closed = ledger.covered(&roster, [OF_B], second(20), Some(&resumed(token)));
        let gap = gaps(&closed)[0];
        assert_eq!((gap.filled, gap.resumed_from.as_deref()), (filled, Some("token")), "from {token} s on");
    }
}

#[test]
fn another_upstream_fills_a_gap_only_if_it_had_the_topic_for_the_whole_span() {
    let (one, other) = (roster("one"), roster("other"));
    let lose_and_cover = |ledger: &GapLedger| {
        drop(ledger.lost(&one, [OF_B], second(10), GapCause::Disconnect));
        spans(&ledger.covered(&one, [OF_B], second(20), None))[0].4
    };
    let ledger = GapLedger::default();
    drop(ledger.covered(&one, [OF_B], second(1), None));
    assert_eq!(lose_and_cover(&ledger), None, "there is none");

    let ledger = GapLedger::default();
    drop(ledger.covered(&one, [OF_B], second(1), None));
    drop(ledger.covered(&other, [OF_B], second(5), None));
    assert_eq!(lose_and_cover(&ledger), Some(Filled::OtherUpstream));

    let ledger = GapLedger::default();
    drop(ledger.covered(&one, [OF_B], second(1), None));
    drop(ledger.covered(&other, [OF_B], second(15), None));
    assert_eq!(lose_and_cover(&ledger), None, "it came too late");

    let ledger = GapLedger::default();
    drop(ledger.covered(&one, [OF_B], second(1), None));
    drop(ledger.covered(&other, [OF_B], second(1), None));
    drop(ledger.lost(&other, [OF_B], second(8), GapCause::Silence));
    assert_eq!(lose_and_cover(&ledger), None, "it was lost itself");
    drop(ledger.covered(&other, [OF_B], second(30), None));
    drop(ledger.lost(&one, [OF_B], second(25), GapCause::Disconnect));
    assert_eq!(spans(&ledger.covered(&one, [OF_B], second(40), None))[0].4, None, "it was back in the middle of it");
}

#[test]
fn what_another_upstream_was_taken_to_have_filled_is_not_when_it_turns_out_to_have_been_lost_itself() {
    let (ledger, one, other) = (GapLedger::default(), roster("one"), roster("other"));
    drop(ledger.covered(&one, [OF_B], second(1), None));
    drop(ledger.covered(&other, [OF_B], second(1), None));
    drop(ledger.lost(&one, [OF_B], second(10), GapCause::Disconnect));
    let closed = ledger.covered(&one, [OF_B], second(20), None);
    assert_eq!(spans(&closed)[0].4, Some(Filled::OtherUpstream));
    // A connection that was dead for long, and is only now given up.
    let records = ledger.lost(&other, [OF_B], second(15), GapCause::Disconnect);
    let CoverageRecord::Amended(amended) = coverage(&records)[0] else { panic!("{records:?}") };
    assert_eq!((Some(amended.id), amended.unfilled), (gaps(&closed)[0].id, true));
    drop(ledger.covered(&other, [OF_B], second(30), None));
    let later = ledger.lost(&other, [OF_B], second(40), GapCause::Disconnect);
    assert_eq!(later.len(), 1, "that is told once: {later:?}");
}

#[test]
fn data_that_still_comes_does_not_end_the_gap_of_a_monitor_at_rest() {
    let (ledger, roster) = (GapLedger::default(), roster("u"));
    let (b, both): (Arc<str>, Arc<str>) = ("b".into(), "both".into());
    drop(ledger.covered(&roster, [BOTH], second(1), None));
    let records = ledger.monitor_lost("u", &b, [&both], second(10), GapCause::Rest);
    assert_eq!(records.len(), 1);
    assert_eq!(ledger.figures()["u"].open, 1);
    assert!(ledger.figures()["u"].unwanted.is_empty(), "it is as wanted");
    assert!(ledger.covered(&roster, [BOTH], second(15), None).is_empty());
    let ledger = GapLedger::of(ledger.standing());
    assert!(ledger.covered(&roster, [BOTH], second(16), None).is_empty(), "nor after a restart");
    let closed = ledger.monitor_covered("u", &b, [&both], second(20));
    assert_eq!(spans(&closed), [("b".into(), "both".into(), 10, 20, None)]);

    drop(ledger.monitor_lost("u", &b, [&both], second(30), GapCause::Stopped));
    ledger.awake("u", "b");
    assert_eq!(spans(&ledger.covered(&roster, [BOTH], second(40), None)).len(), 1, "when it is awake, it does");
}

#[test]
fn a_generation_in_which_a_monitor_pauses_opens_its_gaps_and_one_in_which_it_does_not_lets_them_end() {
    let (ledger, before) = (GapLedger::default(), roster("u"));
    drop(ledger.covered(&before, [BOTH, OF_B], second(1), None));
    let without_b = paused("u", &BTreeMap::from([("b".to_owned(), Pause::Resting)]));
    assert_eq!(ledger.adopted(&before, &without_b, second(10)).len(), 1);
    let resting = |topic: &str| ("b".to_owned(), topic.to_owned(), 10, GapCause::Rest);
    assert_eq!(open(&ledger), [resting("both"), resting("of-b")]);
    assert!(ledger.adopted(&without_b, &without_b, second(11)).is_empty());
    assert!(ledger.covered(&before, [BOTH], second(12), None).is_empty(), "a link that has not heard of it yet");
    assert!(ledger.adopted(&without_b, &before, second(20)).is_empty(), "it is not in force yet");
    assert_eq!(spans(&ledger.covered(&before, [BOTH, OF_B], second(21), None)).len(), 2);
}

#[test]
fn what_links_let_go_when_the_daemon_stops_is_lost_to_downtime_and_to_nothing_what_nobody_watches() {
    let (ledger, roster) = (GapLedger::default(), roster("u"));
    assert!(ledger.lost(&roster, [BOTH], second(1), GapCause::Handover).is_empty(), "it was not in force");
    drop(ledger.covered(&roster, [OF_B], second(1), None));
    ledger.stopping();
    drop(ledger.lost(&roster, [OF_B], second(10), GapCause::Handover));
    assert_eq!(open(&ledger), [("b".to_owned(), "of-b".to_owned(), 10, GapCause::Downtime)]);
}

#[test]
fn what_is_not_wanted_any_more_ends_and_what_was_down_to_the_end_is_not_missed() {
    let (ledger, roster) = (GapLedger::default(), roster("u"));
    drop(ledger.covered(&roster, [BOTH, OF_B], second(1), None));
    drop(ledger.lost(&roster, [OF_B], second(10), GapCause::Disconnect));
    drop(ledger.down(|_, _| second(20)));
    let records = ledger.unwatch(|_, monitor, _| monitor != "b", second(30));
    assert_eq!(spans(&records), [("b".into(), "of-b".into(), 10, 30, None)]);
    let [CoverageRecord::Unwatched(down), CoverageRecord::Unwatched(lost)] = coverage(&records)[..] else {
        panic!("{records:?}")
    };
    assert_eq!((down.until.parse(), lost.until.parse()), (Ok(second(20)), Ok(second(30))));
    assert_eq!((down.topics[0].as_str(), lost.topics[0].as_str()), ("both", "of-b"));
    assert_eq!(open(&ledger).len(), 1, "the others stay");
    assert!(ledger.unwatch(|_, monitor, _| monitor != "b", second(40)).is_empty());
}

#[test]
fn a_leap_of_a_sequence_is_a_gap_or_says_how_much_another_gap_cost() {
    let (ledger, roster) = (GapLedger::default(), roster("u"));
    let (b, topic): (Arc<str>, Arc<str>) = ("b".into(), "of-b".into());
    drop(ledger.covered(&roster, [OF_B], second(1), None));
    let missed = |start, end, missing: u64| {
        let missing = Some(missing);
        ledger.missed("u", &b, &topic, Missed { start: second(start), end: second(end), missing })
    };
    let records = missed(3, 4, 7);
    let gap = gaps(&records)[0];
    assert_eq!((gap.cause, gap.missing, gap.filled), (GapCause::Sequence, Some(7), None));
    assert!(missed(5, 6, 0).is_empty());

    drop(ledger.lost(&roster, [OF_B], second(10), GapCause::Disconnect));
    let closed = ledger.covered(&roster, [OF_B], second(20), None);
    for (missing, so_far) in [(0, 0), (12, 12), (3, 15)] {
        let records = missed(9, 21, missing);
        let [CoverageRecord::Amended(amended)] = coverage(&records)[..] else { panic!("{records:?}") };
        assert_eq!((Some(amended.id), amended.missing), (gaps(&closed)[0].id, Some(so_far)), "all of it together");
    }
    let uncounted = Missed { start: second(9), end: second(21), missing: None };
    assert!(ledger.missed("u", &b, &topic, uncounted).is_empty(), "the gap says so itself");
}

#[test]
fn a_gap_that_another_upstream_was_taken_to_have_filled_is_not_where_a_sequence_says_that_something_is_missing() {
    let (ledger, one, other) = (GapLedger::default(), roster("one"), roster("other"));
    let (b, topic): (Arc<str>, Arc<str>) = ("b".into(), "of-b".into());
    drop(ledger.covered(&one, [OF_B], second(1), None));
    drop(ledger.covered(&other, [OF_B], second(1), None));
    drop(ledger.lost(&one, [OF_B], second(10), GapCause::Disconnect));
    assert_eq!(spans(&ledger.covered(&one, [OF_B], second(20), None))[0].4, Some(Filled::OtherUpstream));
    let missed = Missed { start: second(12), end: second(13), missing: Some(2) };
    for unfilled in [true, false] {
        let records = ledger.missed("one", &b, &topic, missed);
        let [CoverageRecord::Amended(amended)] = coverage(&records)[..] else { panic!("{records:?}") };
        assert_eq!(amended.unfilled, unfilled, "it is told once: {records:?}");
    }
}

#[test]
fn a_monitor_that_changes_upstreams_misses_its_topics_until_they_are_in_force_there() {
    let ledger = GapLedger::default();
    drop(ledger.covered(&roster("u"), [BOTH, OF_B], second(1), None));
    let wanted = |upstream: &str, monitor: &str, _: &str| upstream == if monitor == "b" { "v" } else { "u" };
    drop(ledger.moved(wanted, ["u", "v"].into_iter(), second(20)));
    drop(ledger.unwatch(wanted, second(20)));
    let lost = |topic: &str| ("b".to_owned(), topic.to_owned(), 20, GapCause::Handover);
    assert_eq!(open(&ledger), [lost("both"), lost("of-b")]);
    let records = ledger.covered(&roster("v"), [OF_B], second(25), None);
    assert_eq!(spans(&records), [("b".into(), "of-b".into(), 20, 25, None)]);
    assert_eq!(open(&ledger), [lost("both")]);
}

#[test]
fn a_link_that_is_found_lost_late_has_missed_what_was_before_another_ones_gap() {
    let (ledger, roster) = (GapLedger::default(), roster("u"));
    drop(ledger.covered(&roster, [OF_B], second(1), None));
    drop(ledger.lost(&roster, [OF_B], second(20), GapCause::Disconnect));
    drop(ledger.lost(&roster, [OF_B], second(10), GapCause::Disconnect));
    let records = ledger.covered(&roster, [OF_B], second(30), None);
    assert!(spans(&records).contains(&("b".into(), "of-b".into(), 10, 30, None)), "{records:?}");
    drop(ledger.lost(&roster, [OF_B], second(25), GapCause::Disconnect));
    let records = ledger.covered(&roster, [OF_B], second(40), None);
    assert_eq!(spans(&records), [("b".into(), "of-b".into(), 25, 40, None)], "also after an end");
    drop(ledger.lost(&roster, [OF_B], second(0), GapCause::Disconnect));
    let records = ledger.covered(&roster, [OF_B], second(50), None);
    assert_eq!(spans(&records), [("b".into(), "of-b".into(), 1, 50, None)], "before it was watched nothing is missed");
}
