//! Places and moves, told step by step.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::config::{MonitorSettings, QuarantineSettings};
use crate::monitor::event_id::IdHasher;
use crate::monitor::roster::{Identities, RosterParts};

/// A roster with a monitor for each line: its settings without domain, upstream and rules.
fn roster(lines: &[&str], previous: Option<&Roster>) -> Roster {
    let monitor = |(number, line): (usize, &&str)| {
        let settings: MonitorSettings =
            toml::from_str(&format!("domain = \"d\"\nupstream = \"u\"\n{}", line.replace("; ", "\n"))).unwrap();
        (format!("m{number}"), settings)
    };
    let monitors: BTreeMap<_, _> = lines.iter().enumerate().map(monitor).collect();
    let (quarantine, hasher) = (QuarantineSettings::default(), IdHasher::new(1));
    let parts = RosterParts { previous, ..RosterParts::new("u", &monitors, &quarantine, &hasher) };
    Roster::new(&parts, &mut Identities::default()).unwrap()
}

const WITH_IDS: &str = "event = { id = \"/id\" }";
const WITHOUT_IDS: &str = "event = { key = \"/k\" }";

fn topics(rest: &str, names: &[&str]) -> String {
    format!("topics = {names:?}; {rest}")
}

fn placed(slots: usize, per_slot: u32, roster: &Roster) -> Placement {
    let mut placement = Placement::new(slots, per_slot);
    (0..slots).for_each(|slot| placement.set_usable(slot, true));
    placement.want(roster);
    (0..slots).for_each(|slot| placement.opened(slot));
    placement
}

fn ids(numbers: &[u32]) -> Vec<TopicId> {
    numbers.iter().copied().map(TopicId).collect()
}

#[test]
fn topics_go_to_the_least_loaded_link_and_the_important_ones_first() {
    let lines = [
        topics("priority = \"low\"; event = { id = \"/id\" }", &["a"]),
        topics("priority = \"high\"; event = { id = \"/id\" }", &["b", "c"]),
        topics(WITH_IDS, &["d"]),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let roster = roster(&lines, None);
    let placement = placed(2, 10, &roster);
    assert_eq!(placement.topics_of(0).0, ids(&[1, 3]));
    assert_eq!(placement.topics_of(1).0, ids(&[0, 2]));
    let placement = placed(1, 3, &roster);
    assert_eq!(placement.left_out().collect::<Vec<_>>(), ids(&[0]), "the least important stays out");
}

#[test]
fn a_pool_opens_what_it_needs_between_min_and_max() {
    assert_eq!(links_wanted(10, 100, 2, 3, true), 2);
    assert_eq!(links_wanted(250, 100, 2, 3, true), 3);
    assert_eq!(links_wanted(1000, 100, 2, 3, true), 3);
    assert_eq!(links_wanted(1, 100, 2, 3, true), 2);
    assert_eq!(links_wanted(1, 100, 2, 3, false), 1, "a link with nothing to ask for would be closed");
}

#[test]
fn a_lost_links_topics_go_to_the_others_as_far_as_they_have_room() {
    let roster = roster(&[&topics(WITHOUT_IDS, &["a", "b", "c", "d", "e"])], None);
    let mut placement = placed(2, 3, &roster);
    let steps = placement.lost(0, false);
    assert_eq!(steps, [(1, Step::Take { topics: ids(&[0]), overlapping: false })]);
    assert_eq!(placement.topics_of(1).0, ids(&[0, 1, 3]));
    assert_eq!(placement.topics_of(0).0, ids(&[2, 4]), "the rest is asked for when the link is back");
    let mut placement = placed(2, 3, &roster);
    assert_eq!(placement.lost(0, true), [], "what can be resumed there stays");
}

#[test]
fn a_topic_all_of_whose_events_had_ids_overlaps_though_not_all_rules_have_one() {
    let rules = "event = [{ when = { \"/a\" = true }, id = \"/id\" }, { key = \"/k\" }]";
    let roster = roster(&[&topics(rules, &["a", "b"])], None);
    let mut placement = placed(2, 10, &roster);
    placement.know_ids(vec![true, false]);
    assert_eq!(placement.topics_of(0).0, ids(&[0]));
    let steps = placement.empty(0);
    assert_eq!(steps[0], (0, Step::Overlap { topics: ids(&[0]) }));
    let steps = placement.empty(1);
    assert_eq!(steps, [], "there is no other to go to");
    placement.set_usable(0, true);
    let steps = placement.empty(1);
    assert_eq!(steps, [(1, Step::Drop { topics: ids(&[1]), why: DropReason::Moved })]);
}

#[test]
fn what_was_on_its_way_to_a_link_that_is_emptied_goes_when_it_is_emptied_again() {
    let roster = roster(&[&topics(WITH_IDS, &["a", "b", "c"])], None);
    let mut placement = placed(3, 10, &roster);
    placement.empty(0);
    assert_eq!(placement.topics_of(1).1, ids(&[0]), "it joins the next one");
    assert_eq!(
        placement.empty(1),
        [(1, Step::Overlap { topics: ids(&[1]) }), (2, Step::Take { topics: ids(&[1]), overlapping: true }),]
    );
    placement.up(1, &ids(&[0]));
    placement.left(0, &ids(&[0]));
    assert_eq!(
        placement.empty(1),
        [(1, Step::Overlap { topics: ids(&[0]) }), (2, Step::Take { topics: ids(&[0]), overlapping: true }),]
    );
}

#[test]
fn a_topic_with_ids_overlaps_and_one_without_ends_before_it_begins() {
    let lines = [topics(WITH_IDS, &["a"]), topics(WITHOUT_IDS, &["b"])];
    let roster = roster(&[&lines[0], &lines[1]], None);
    let mut placement = Placement::new(2, 10);
    placement.set_usable(0, true);
    placement.want(&roster);
    placement.opened(0);
    placement.set_usable(1, true);
    placement.opened(1);
    let steps = placement.empty(0);
    assert_eq!(
        steps,
        [
            (0, Step::Drop { topics: ids(&[1]), why: DropReason::Moved }),
            (0, Step::Overlap { topics: ids(&[0]) }),
            (1, Step::Take { topics: ids(&[0]), overlapping: true }),
        ]
    );
    assert_eq!(placement.left(0, &ids(&[1])), [(1, Step::Take { topics: ids(&[1]), overlapping: false })]);
    assert_eq!(placement.up(1, &ids(&[0, 1])), [(0, Step::Drain { topics: ids(&[0]) })]);
    let seen = [(1, Step::Alone { topics: ids(&[0]) }), (1, Step::Seen { topics: ids(&[0]) })];
    assert_eq!(placement.left(0, &ids(&[0])), seen);
    assert_eq!((placement.count(0), placement.count(1)), (0, 2));
}

#[test]
fn whichever_link_is_lost_in_a_move_the_topic_has_one_place_in_the_end() {
    let roster = roster(&[&topics(WITH_IDS, &["a"])], None);
    let moving = || {
        let mut placement = placed(2, 10, &roster);
        placement.empty(0);
        placement
    };
    let mut placement = moving();
    assert_eq!(placement.lost(1, false), [(0, Step::Alone { topics: ids(&[0]) })]);
    assert_eq!(placement.topics_of(0).0, ids(&[0]));
    let mut placement = moving();
    let seen = [(1, Step::Alone { topics: ids(&[0]) }), (1, Step::Seen { topics: ids(&[0]) })];
    assert_eq!(placement.lost(0, false), seen);
    assert_eq!(placement.topics_of(1).0, ids(&[0]));
    let mut placement = moving();
    placement.up(1, &ids(&[0]));
    assert_eq!(placement.lost(0, false), seen);
    let mut placement = moving();
    placement.up(1, &ids(&[0]));
    assert_eq!(placement.lost(1, false), [(0, Step::Alone { topics: ids(&[0]) })], "it goes on with the old one");
    assert_eq!(placement.topics_of(0).0, ids(&[0]));
    let again = [(0, Step::Take { topics: ids(&[0]), overlapping: false })];
    assert_eq!(placement.left(0, &ids(&[0])), again, "which had just let it go");
    let mut placement = moving();
    let back = placement.refused(1, &ids(&[0]));
    assert_eq!(back.last(), Some(&(1, Step::Drop { topics: ids(&[0]), why: DropReason::Moved })));
    assert_eq!(placement.topics_of(0).0, ids(&[0]));
}

#[test]
fn loads_are_evened_out_by_few_moves_that_cost_no_gap() {
    let lines = [topics(WITH_IDS, &["a", "b", "c", "d"]), topics(WITHOUT_IDS, &["e", "f"])];
    let roster = roster(&[&lines[0], &lines[1]], None);
    let mut placement = placed(2, 10, &roster);
    assert_eq!(placement.topics_of(0).0, ids(&[0, 2, 4]));
    assert_eq!(placement.rebalance(&[10.0, 10.0, 10.0, 10.0, 5.0, 5.0], 0.4), [], "even enough");
    let steps = placement.rebalance(&[50.0, 1.0, 30.0, 1.0, 90.0, 1.0], 0.4);
    let taken: BTreeSet<_> = steps
        .iter()
        .filter_map(|(slot, step)| match step {
            Step::Take { topics, overlapping: true } => Some((*slot, topics.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(taken, BTreeSet::from([(1, ids(&[0, 2]))]), "the heaviest one has no ids and stays");
}

#[test]
fn what_nobody_wants_any_more_goes_and_what_is_new_comes() {
    let before = roster(&[&topics(WITH_IDS, &["a", "b"])], None);
    let mut placement = placed(2, 10, &before);
    let after = roster(&[&topics(WITH_IDS, &["b", "c"])], Some(&before));
    assert_eq!(
        placement.want(&after),
        [
            (0, Step::Drop { topics: ids(&[0]), why: DropReason::Unwanted }),
            (0, Step::Take { topics: ids(&[2]), overlapping: false }),
        ]
    );
    assert_eq!(placement.want(&after), []);
}

#[test]
fn more_important_topics_take_the_room_of_less_important_ones() {
    let before = roster(&[&topics("priority = \"low\"; event = { id = \"/id\" }", &["a", "b"])], None);
    let mut placement = placed(1, 2, &before);
    let lines = [topics("priority = \"low\"; event = { id = \"/id\" }", &["a", "b"]), topics(WITH_IDS, &["c"])];
    let after = roster(&[&lines[0], &lines[1]], Some(&before));
    assert_eq!(
        placement.want(&after),
        [
            (0, Step::Drop { topics: ids(&[1]), why: DropReason::LeftOut }),
            (0, Step::Take { topics: ids(&[2]), overlapping: false }),
        ]
    );
    assert_eq!(placement.left_out().collect::<Vec<_>>(), ids(&[1]));
}
