//! `monitors compare` and `verify --against legacy`: the smart path against the legacy one.

use serde_json::Value;
use sluice::journal::Path as Way;

use super::support::{Given, Id, compare, examples, is_narrow, journal_of, moment, named, run, trade, verify, write};
use crate::processes::{Daemon, Feed, Settings};
use crate::support::Workplace;

/// in both, only smart, only legacy, differing
fn counts(told: &Value) -> [u64; 4] {
    ["in_both", "only_smart", "only_legacy", "differing"]
        .map(|name| told[name].as_u64().unwrap_or_else(|| panic!("{told}")))
}

/// A second between two trades, so that a span has room for its edges.
fn slow(number: u64) -> Given {
    Given { at: trade(number).at * 1000, ..trade(number) }
}

/// Trades 0 to 199 on smart and their shadows from 50 to 149, mostly 30 ms later: 80 is only on smart, 1090 only on legacy, 100
/// differs, 110 came 20 ms earlier.
fn shadowed() -> Vec<Given> {
    let mut all: Vec<Given> = (0..200).map(slow).collect();
    let mut shadow: Vec<Given> = (50..150)
        .filter(|number| *number != 80)
        .map(|number| slow(number).shadow(if number == 110 { -20 } else { 30 }))
        .collect();
    shadow.iter_mut().find(|given| given.at == 100_030).unwrap().payload = "{\"t\":100}".into();
    shadow.insert(45, Given { id: Id::Token("1090".into()), at: 95_500, ..shadow[0].clone() });
    all.extend(shadow);
    all
}

fn is_found(told: &Value) {
    assert_eq!(counts(told), [99, 1, 1, 1], "{told}");
    assert_eq!(examples(told), named(&[("only_smart", 80), ("only_legacy", 1090), ("differing", 100)]));
    let (later, earlier) = (&told["legacy_later"], &told["legacy_earlier"]);
    assert_eq!((&later["events"], &later["max_ms"]), (&98.into(), &30.0.into()), "{told}");
    assert_eq!((&earlier["events"], &earlier["p99_ms"]), (&1.into(), &20.0.into()), "{told}");
    assert_eq!(told["at_once"], 0);
    let differs = &told["first"][2];
    assert!(differs["smart_payload"].as_str().unwrap().contains("40100.50"), "{differs}");
    assert_eq!((&differs["legacy_payload"], &differs["smart_offset"]), (&"{\"t\":100}".into(), &100.into()));
}

#[test]
fn a_shadow_shows_exactly_what_only_one_path_has_and_what_differs() {
    let place = journal_of(&shadowed());
    let (code, told) = compare(&place, &["trades"]);
    is_found(&told);
    assert_eq!(code, Some(1));
    // What is compared is the time in which the shadow ran.
    let row = &told["monitors"][0];
    assert_eq!((&row["monitor"], &row["since"]), (&"trades".into(), &moment(50_030).into()), "{told}");
    assert_eq!((&row["in_both"], &row["only_smart"]), (&99.into(), &1.into()));
    assert!((told["data_match"].as_f64().unwrap() - 98.0 / 101.0).abs() < 1e-9, "{told}");
    // All monitors that both paths took; and the same by `verify`.
    is_found(&compare(&place, &[]).1);
    let (code, told) = verify(&place, "legacy", &["--monitor", "trades"]);
    is_found(&told);
    assert_eq!(code, Some(1));
    // Not seen are what lies outside of a span, and payloads that are not looked at.
    let (since, until) = (moment(105_000), moment(145_000));
    let (code, told) = compare(&place, &["--since", &since, "--until", &until]);
    assert_eq!((code, counts(&told)), (Some(0), [40, 0, 0, 0]), "{told}");
    assert_eq!(told["data_match"], 1.0);
    let (_, told) = compare(&place, &["--payload", "none"]);
    assert_eq!(counts(&told), [99, 1, 1, 0]);
    let table = run(&place, &["monitors", "compare", "trades"]);
    assert!(table.stdout.contains("different: 1 only on smart, 1 only on legacy, 1 differing"), "{table:?}");
    is_narrow(&table.stdout);
    let page = run(&place, &["monitors", "compare", "trades", "--format", "html"]).stdout;
    assert!(page.starts_with("<!doctype html>") && page.contains("only_legacy"), "{page}");
}

#[test]
fn a_shadow_is_compared_while_the_daemon_runs() {
    let place = Workplace::new();
    write(&place.path("data/journal"), &shadowed());
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "50", "--seed", "3"]);
    let settings = Settings::new().upstream("feed", "binance", feed.url()).monitor(
        "other",
        "spot",
        "feed",
        &["btcusdt@trade"],
        "",
    );
    let settings = settings.with("[journal]\nretention = \"10000d\"");
    let daemon = Daemon::start(&place, &settings);
    let (code, told) = compare(&place, &["trades"]);
    is_found(&told);
    assert_eq!(code, Some(1));
    daemon.stop();
}

#[test]
fn what_lies_at_an_edge_is_not_taken_for_lost() {
    // The legacy path took over 30 s: its first and last events have no partner by chance of the edge only.
    let smart: Vec<Given> = (0..100).map(slow).collect();
    let mut legacy: Vec<Given> = (30..60).map(|number| slow(number).shadow(4000)).collect();
    legacy.insert(0, Given { id: Id::Token("2000".into()), ..slow(33).shadow(1) });
    let place = journal_of(&[smart, legacy].concat());
    let (code, told) = compare(&place, &[]);
    assert_eq!((code, counts(&told)), (Some(0), [30, 0, 0, 0]), "{told}");
    assert_eq!(told["at_edge"], 5, "the one that only legacy has, and what smart had of the last four seconds: {told}");
    // With no tolerance each of them is a difference, and so is what pairs only over the edge.
    let (code, told) = compare(&place, &["--tolerance", "0s"]);
    assert_eq!(code, Some(1));
    assert!(told["only_legacy"].as_u64().unwrap() > 0 && told["at_edge"] == 0, "{told}");
    // Partners of what a named span has are looked for outside of it.
    let (since, until) = (moment(40_000), moment(50_000));
    let (code, told) = compare(&place, &["--since", &since, "--until", &until]);
    assert_eq!((code, counts(&told)), (Some(0), [14, 0, 0, 0]), "{told}");
    let (code, _) = compare(&place, &["--since", &since, "--until", &until, "--tolerance", "1s"]);
    assert_eq!(code, Some(1));
}

#[test]
fn events_without_ids_are_told_by_their_payloads_and_repeats_of_ids_are_no_difference() {
    let of = |monitor, id: Id, number| Given { monitor, id, ..slow(number) };
    let mut smart = Vec::new();
    for number in 0..100 {
        smart.extend([of("hashed", Id::Hash, number), of("nameless", Id::None, number), slow(number)]);
    }
    let mut legacy: Vec<Given> = smart.iter().map(|given| given.shadow(0)).collect();
    // The legacy path keeps what comes twice; of what has no id the smart path would have kept it too.
    legacy.push(legacy[150].clone());
    legacy.push(legacy[152].clone());
    legacy.push(legacy[151].clone());
    legacy.sort_by_key(|given| given.at);
    let place = journal_of(&[smart, legacy].concat());
    let (code, told) = compare(&place, &[]);
    assert_eq!((code, counts(&told)), (Some(1), [300, 0, 1, 0]), "{told}");
    let monitors = told["monitors"].as_array().unwrap();
    let rows: Vec<_> = monitors
        .iter()
        .map(|row| (row["monitor"].as_str().unwrap(), counts(row), row["legacy_repeats"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        rows,
        [("hashed", [100, 0, 0, 0], 1), ("nameless", [100, 0, 1, 0], 1), ("trades", [100, 0, 0, 0], 1)],
        "{told}"
    );
}

#[test]
fn of_several_shadows_the_last_one_is_compared_and_never_the_time_between_them() {
    let crossing = (10..20).map(|number| Given { way: Way::Legacy, ..slow(number) });
    let shadow = |numbers: std::ops::Range<u64>, lost: u64| -> Vec<Given> {
        numbers.filter(|number| *number != lost).map(|number| slow(number).shadow(30)).collect()
    };
    let mut all: Vec<Given> = (0..20).map(slow).chain(crossing).collect();
    all.extend((20..120).map(slow));
    all.extend(shadow(50..100, 70));
    all.extend((120..300).map(slow));
    all.extend(shadow(200..250, 220));
    let place = journal_of(&all);
    let notes = |told: &Value| told["notes"].to_string();
    for (code, told) in [compare(&place, &["trades"]), compare(&place, &[]), verify(&place, "legacy", &[])] {
        assert_eq!((code, counts(&told)), (Some(1), [49, 1, 0, 0]), "{told}");
        assert_eq!(examples(&told), named(&[("only_smart", 220)]));
        assert_eq!(told["monitors"][0]["since"], moment(200_030), "{told}");
        assert!(
            notes(&told).contains("took it 2 times") && notes(&told).contains("the last one is compared"),
            "{told}"
        );
    }
    // A span is cut to the shadows in it; the crossing is none.
    let (code, told) = compare(&place, &["--since", &moment(0)]);
    assert_eq!((code, counts(&told)), (Some(1), [98, 2, 0, 0]), "{told}");
    assert_eq!(examples(&told), named(&[("only_smart", 70), ("only_smart", 220)]));
    assert!(notes(&told).contains("the time between is not compared"), "{told}");
    let (since, until) = (moment(0), moment(150_000));
    let (code, told) = compare(&place, &["trades", "--since", &since, "--until", &until]);
    assert_eq!((code, examples(&told)), (Some(1), named(&[("only_smart", 70)])), "{told}");
    let (from, to) = (moment(50_030), moment(99_030));
    assert!(notes(&told).contains(&format!("only what lies between {from} and {to} is compared")), "{told}");
    // Within a shadow nothing is cut.
    let (since, until) = (moment(80_000), moment(90_000));
    let (code, told) = compare(&place, &["--since", &since, "--until", &until]);
    assert_eq!((code, counts(&told), told["notes"].as_array().unwrap().len()), (Some(0), [11, 0, 0, 0], 0), "{told}");
}

#[test]
fn a_monitor_that_only_changed_its_path_is_not_compared() {
    let moved = |number, way| Given { way, monitor: "moved", ..slow(number) };
    let smart: Vec<Given> = (0..60).map(|number| moved(number, Way::Smart)).collect();
    let legacy: Vec<Given> = (100..160).map(|number| moved(number, Way::Legacy)).collect();
    let alone = journal_of(&[smart.clone(), legacy.clone()].concat());
    for (command, words) in [
        (&["verify", "--against", "legacy"][..], "no monitor had a shadow in the span"),
        (&["verify", "--against", "legacy", "--since", "2026-01-01T00:00:01Z"], "no monitor had a shadow in the span"),
        (&["monitors", "compare"], "no monitor had a shadow in the span"),
        (&["monitors", "compare", "moved"], "`moved` had no shadow in the span, and never came by both paths at once"),
    ] {
        let outcome = run(&alone, command);
        assert!(outcome.code == Some(2) && outcome.stderr.contains(words), "{command:?}: {outcome:?}");
    }
    let place = journal_of(&[smart, shadowed(), legacy].concat());
    let since = moment(0);
    for more in [&[][..], &["--since", &since]] {
        let (code, told) = verify(&place, "legacy", more);
        assert_eq!((code, counts(&told)), (Some(1), [99, 1, 1, 1]), "{told}");
        let monitors = told["monitors"].as_array().unwrap();
        assert!(monitors.len() == 1 && monitors[0]["monitor"] == "trades", "{told}");
    }
}

#[test]
fn monitors_that_were_on_both_paths_are_compared_without_a_shadow_too() {
    let legacy = |number| Given { way: Way::Legacy, ..slow(number) };
    // Smart up to 60, legacy from 40 on, as a monitor crosses; 50 is lost on legacy.
    let mut all: Vec<Given> = (0..60).map(slow).collect();
    all.extend((40..100).filter(|number| *number != 50).map(legacy));
    let place = journal_of(&all);
    let (code, told) = verify(&place, "legacy", &["--tolerance", "2s", "--monitor", "trades"]);
    assert_eq!((code, counts(&told)), (Some(1), [19, 1, 0, 0]), "{told}");
    assert_eq!(examples(&told), named(&[("only_smart", 50)]));
    // Only where they are named: a crossing is no shadow.
    for command in [&["verify", "--against", "legacy"][..], &["monitors", "compare"]] {
        let outcome = run(&place, command);
        assert!(outcome.code == Some(2) && outcome.stderr.contains("no monitor had a shadow"), "{outcome:?}");
        assert_eq!(outcome.stdout, "");
    }
}

#[test]
fn what_cannot_be_compared_is_told() {
    let place = journal_of(&shadowed());
    for (names, words) in [
        (&["trade"][..], "no event of a monitor `trade` in the span; did you mean `trades`?"),
        (
            &["trades", "--since", "2020-01-01T00:00:00Z", "--until", "2020-01-02T00:00:00Z"],
            "no event of a monitor `trades` in the span",
        ),
        (
            &["trades", "--until", &moment(20_000), "--tolerance", "1s"],
            "only events of path smart of the monitor `trades`",
        ),
        (&["--until", &moment(20_000), "--tolerance", "1s"], "no monitor had a shadow in the span"),
        (&["--since", "1m", "--until", "2m"], "ends before it begins"),
    ] {
        let outcome = run(&place, &[&["monitors", "compare"], names].concat());
        assert!(outcome.code == Some(2) && outcome.stderr.contains(words), "{names:?}: {outcome:?}");
    }
}
