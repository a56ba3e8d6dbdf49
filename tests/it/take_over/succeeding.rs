//! Take-overs that succeed.

use serde_json::Value;

use super::{
    Poller, Provider, TOPICS, WITH_IDS, WITHOUT_IDS, adds_up, gaps, goes_on, journaled, missing, no_trade_twice,
    on_record, take_over, take_over_command,
};
use crate::processes::{Daemon, json, query, until};
use crate::support::Workplace;

const SINK: &str = "[sinks.days]\nkind = \"sqlite\"\nfolder = \"days\"\nflush_interval = \"10ms\"";

#[test]
fn three_take_overs_in_a_row_lose_nothing_take_nothing_twice_and_leave_no_request_unanswered() {
    let provider = Provider::start();
    let place = Workplace::new();
    let mut daemon = Daemon::start(&place, &provider.settings(WITH_IDS).with(SINK));
    goes_on(&place);
    let poller = Poller::start(&daemon);
    for round in 1..=3 {
        (daemon, _) = take_over(&place, daemon);
        goes_on(&place);
        let measured = until("it is on record", || on_record(&place).into_iter().nth(round - 1));
        let feed = &measured["upstreams"]["feed"];
        assert_eq!((&feed["gap_seconds"], &feed["links_beside"]), (&0.0.into(), &2.into()), "{measured}");
        assert!(feed["repeats_dropped"].as_u64() > Some(0) && measured["handed_over"] == true, "{measured}");
        assert!(daemon.log().contains("gap_seconds=0.0"), "{}", daemon.log());
    }
    poller.stop();
    assert_eq!(gaps(&place), Vec::<Value>::new(), "nothing was missed");
    assert_eq!(daemon.metrics().value("sluice_link_failures_total", &[]), 0, "{}", daemon.log());
    daemon.stop();
    let absent = missing(&place, &provider.made());
    assert!(absent.is_empty(), "{absent:?}");
    no_trade_twice(&place);
    adds_up(&place);
    let compared: Value = serde_json::from_str(&json(&place, &["verify"])).unwrap();
    assert!(compared.to_string().contains("days"), "{compared}");
    provider.stop();
}

fn time(gap: &Value, field: &str) -> i64 {
    let at: jiff::Timestamp = gap[field].as_str().unwrap_or_else(|| panic!("no {field}: {gap}")).parse().unwrap();
    i64::try_from(at.as_nanosecond()).unwrap()
}

/// What is missing was made within what is on record as missed.
pub(super) fn missing_is_on_record(absent: &[(String, u64, i64)], gaps: &[Value]) {
    // What was made a moment before may have been under way.
    const UNDER_WAY: i64 = 1_000_000_000;
    for (topic, trade, at) in absent {
        let covers = |gap: &&Value| {
            gap["topic"] == **topic && time(gap, "start") - UNDER_WAY <= *at && *at <= time(gap, "end") + UNDER_WAY
        };
        assert!(gaps.iter().any(|gap| covers(&gap)), "{topic} {trade}, made at {at}, is in no gap of {gaps:?}");
    }
}

#[test]
fn topics_without_ids_are_let_go_first_so_that_none_comes_twice_and_the_span_is_a_gap_of_the_hand_over() {
    let provider = Provider::start();
    let place = Workplace::new();
    let daemon = Daemon::start(&place, &provider.settings(WITHOUT_IDS));
    goes_on(&place);
    let (daemon, _) = take_over(&place, daemon);
    goes_on(&place);
    let measured = until("it is on record", || on_record(&place).pop());
    assert!(measured["upstreams"]["feed"]["gap_seconds"].as_f64() > Some(0.0), "{measured}");
    daemon.stop();
    no_trade_twice(&place);
    let gaps: Vec<Value> = gaps(&place).into_iter().filter(|gap| gap["cause"] != "downtime").collect();
    assert_eq!(gaps.len(), TOPICS.len(), "one each: {gaps:?}");
    assert!(gaps.iter().all(|gap| gap["cause"] == "handover"), "{gaps:?}");
    missing_is_on_record(&missing(&place, &provider.made()), &gaps);
    adds_up(&place);
    provider.stop();
}

#[test]
fn topics_without_ids_that_take_overlaps_miss_nothing_and_what_comes_twice_is_marked() {
    let provider = Provider::start();
    let place = Workplace::new();
    let daemon = Daemon::start(&place, &provider.settings(&format!("handover = \"overlap\"\n{WITHOUT_IDS}")));
    goes_on(&place);
    let (daemon, _) = take_over(&place, daemon);
    goes_on(&place);
    assert_eq!(gaps(&place), Vec::<Value>::new());
    daemon.stop();
    assert!(missing(&place, &provider.made()).is_empty());
    // Each trade that is there twice is marked the second time.
    let marked = json(&place, &["query", "--monitor", "m"]);
    let marked = marked.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let marked = marked.filter(|event| event["handover"] == true).count();
    let twice: usize = journaled(&place)
        .values()
        .map(|trades| trades.len() - trades.iter().collect::<std::collections::BTreeSet<_>>().len())
        .sum();
    assert!(twice > 0 && marked >= twice, "{twice} twice, {marked} marked");
    adds_up(&place);
    provider.stop();
}

#[test]
fn an_upstream_that_may_not_be_connected_to_twice_is_connected_to_once_the_old_process_has_let_go() {
    let provider = Provider::start();
    let place = Workplace::new();
    let settings = crate::processes::Settings::new()
        .with(&format!(
            "[upstreams.feed]\nurl = \"{}\"\ndialect = \"binance\"\ntake_over = \"after\"",
            provider.feed.url()
        ))
        .monitor("m", "trading", "feed", &TOPICS, WITH_IDS);
    let daemon = Daemon::start(&place, &settings);
    goes_on(&place);
    let (daemon, _) = take_over(&place, daemon);
    goes_on(&place);
    assert!(daemon.log().contains("connected to once the running daemon has let go"), "{}", daemon.log());
    let measured = until("it is on record", || on_record(&place).pop());
    let feed = &measured["upstreams"]["feed"];
    assert_eq!(feed["links_beside"], 0, "{measured}");
    assert!(feed["gap_seconds"].as_f64() > Some(0.0), "{measured}");
    daemon.stop();
    no_trade_twice(&place);
    let gaps: Vec<Value> = gaps(&place).into_iter().filter(|gap| gap["cause"] == "handover").collect();
    assert_eq!(gaps.len(), TOPICS.len(), "{gaps:?}");
    missing_is_on_record(&missing(&place, &provider.made()), &gaps);
    adds_up(&place);
    provider.stop();
}

#[test]
fn monitors_on_the_legacy_path_are_taken_over_as_well() {
    // Each waits for the disk.
    let provider = Provider::at_rate(20);
    let place = Workplace::new();
    let legacy = ["run", "--config", "sluice.toml", "--set", "smart_streaming.enabled=false"];
    provider.settings(WITH_IDS).monitor("other", "trading", "feed", &TOPICS[..1], WITH_IDS).write(&place);
    let mut old = Daemon::of(place.command(legacy));
    goes_on(&place);
    let new = Daemon::of(place.command(legacy.iter().copied().chain(["--take-over"])));
    assert!(old.end().success(), "{}", old.log());
    goes_on(&place);
    let measured = until("it is on record", || on_record(&place).pop());
    assert_eq!(measured["upstreams"]["feed"]["links_beside"], 2, "one each: {measured}");
    assert_eq!(gaps(&place), Vec::<Value>::new(), "{measured}");
    new.stop();
    let absent = missing(&place, &provider.made());
    assert!(absent.is_empty(), "{absent:?}");
    no_trade_twice(&place);
    adds_up(&place);
    assert!(!json(&place, &["query", "--monitor", "m"]).contains("\"path\":\"smart\""));
    provider.stop();
}

#[test]
fn where_no_daemon_runs_it_just_starts_also_over_what_a_killed_one_left() {
    let provider = Provider::start();
    let place = Workplace::new();
    provider.settings(WITH_IDS).write(&place);
    for killed in [true, false] {
        let daemon = Daemon::of(take_over_command(&place));
        assert!(daemon.log().contains("there is nobody to take over from"), "{}", daemon.log());
        assert!(place.path("data/take-over.sock").exists());
        goes_on(&place);
        if killed {
            daemon.kill();
            assert!(place.path("data/take-over.sock").exists());
        } else {
            daemon.stop();
            assert!(!place.path("data/take-over.sock").exists());
        }
    }
    provider.stop();
}

#[test]
fn what_operators_set_at_run_time_goes_on_in_the_new_process() {
    let provider = Provider::start();
    let place = Workplace::new();
    let settings = provider.settings(WITH_IDS).monitor("still", "trading", "feed", &["solusdt@trade"], WITH_IDS);
    let daemon = Daemon::start(&place, &settings);
    goes_on(&place);
    let outcome = crate::changing::command(&place, &daemon, &["monitors", "stop", "still"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let (daemon, _) = take_over(&place, daemon);
    goes_on(&place);
    crate::changing::in_state(&daemon, "still", "stopped");
    let before = query(&place, &["--monitor", "still"]).len();
    goes_on(&place);
    assert_eq!(query(&place, &["--monitor", "still"]).len(), before);
    daemon.stop();
    provider.stop();
}
