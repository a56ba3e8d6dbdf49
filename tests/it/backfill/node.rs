//! `eth_getLogs` of the node anvil, over gaps made by killing the daemon and by killing the node.

use std::collections::BTreeMap;

use super::super::anvil_node::{Anvil, free_port, height, number, result};
use super::*;
use crate::processes::Event;

fn settings(port: u16) -> Settings {
    Settings::new().upstream("node", "ethereum", &format!("ws://127.0.0.1:{port}")).monitor(
        "chain",
        "chain",
        "node",
        &["newHeads", "logs {}"],
        "[monitors.chain.backfill]\nrate = { count = 100, per = \"1s\" }\ndelay = \"100ms\"",
    )
}

/// The logs in the journal: how often each is there, by transaction and number in its block.
fn logs(place: &Workplace) -> BTreeMap<(String, u64), usize> {
    let mut logs = BTreeMap::new();
    for event in query(place, &["--monitor", "chain"]).iter().filter(|event| event.topic == "logs {}") {
        let log = result(event);
        let id = (log["blockHash"].as_str().unwrap().to_owned(), number(&log["logIndex"]));
        *logs.entry(id).or_default() += 1;
    }
    logs
}

fn heads(place: &Workplace) -> Vec<u64> {
    let events: Vec<Event> = query(place, &["--monitor", "chain"]);
    let mut heads: Vec<u64> =
        events.iter().filter(|event| event.topic == "newHeads").map(|event| height(&result(event))).collect();
    heads.sort_unstable();
    heads
}

/// Every log and head of the node's own chain since `first` is in the journal once.
fn complete(place: &Workplace, anvil: &Anvil, first: u64) {
    let newest = anvil.newest();
    until("the newest head is durable", || heads(place).last().is_some_and(|head| *head >= newest).then_some(()));
    let expected = anvil.logs(first, newest);
    until("every log is durable", || {
        let known = logs(place);
        let id = |log: &Value| (log["blockHash"].as_str().unwrap().to_owned(), number(&log["logIndex"]));
        expected.iter().all(|log| known.contains_key(&id(log))).then_some(())
    });
    let known = logs(place);
    assert!(known.values().all(|count| *count == 1), "a log is there twice: {known:?}");
    let heads: Vec<u64> = heads(place).into_iter().filter(|head| (first..=newest).contains(head)).collect();
    assert_eq!(heads, (first..=newest).collect::<Vec<_>>(), "every head once");
}

fn emit(anvil: &Anvil, count: usize) {
    for _ in 0..count {
        anvil.emit();
    }
}

#[test]
fn logs_and_heads_of_blocks_that_passed_while_the_daemon_was_killed_are_fetched_from_the_node() {
    let place = Workplace::new();
    let port = free_port();
    let anvil = Anvil::start(port);
    let daemon = Daemon::start(&place, &settings(port));
    until("heads come", || (heads(&place).len() >= 2).then_some(()));
    emit(&anvil, 5);
    until("logs come", || (logs(&place).len() >= 5).then_some(()));
    let first = heads(&place)[0];
    daemon.kill();
    let before = anvil.newest();
    emit(&anvil, 20);
    until("blocks pass", || (anvil.newest() >= before + 4).then_some(()));
    let daemon = Daemon::again(&place);
    until("both gaps are filled", || {
        let gaps = gaps(&place, &["--cause", "downtime"]);
        (gaps.len() >= 2 && gaps.iter().all(|gap| gap["filled"] == "backfill")).then_some(())
    });
    emit(&anvil, 3);
    complete(&place, &anvil, first);
    daemon.stop();
}

#[test]
fn logs_of_blocks_that_passed_while_the_node_was_away_are_fetched_when_it_is_back() {
    let place = Workplace::new();
    let port = free_port();
    let anvil = Anvil::start(port);
    let daemon = Daemon::start(&place, &settings(port));
    emit(&anvil, 3);
    until("logs come", || (logs(&place).len() >= 3).then_some(()));
    let first = heads(&place)[0];
    let state = place.path("chain.json");
    anvil.dump(&state);
    anvil.kill();
    until("it is lost", || (!gaps(&place, &["--open"]).is_empty()).then_some(()));
    // Elsewhere, so that its blocks pass unseen.
    let load = state.to_str().unwrap().to_owned();
    let elsewhere = Anvil::start_with(free_port(), &["--block-time", "0.33", "--load-state", &load]);
    let before = elsewhere.newest();
    emit(&elsewhere, 10);
    until("blocks pass", || (elsewhere.newest() >= before + 3).then_some(()));
    elsewhere.dump(&state);
    elsewhere.kill();
    let anvil = Anvil::start_with(port, &["--block-time", "0.33", "--load-state", &load]);
    until("both gaps are filled", || {
        let gaps = gaps(&place, &["--cause", "disconnect"]);
        (gaps.len() >= 2 && gaps.iter().all(|gap| gap["filled"] == "backfill")).then_some(())
    });
    emit(&anvil, 2);
    complete(&place, &anvil, first);
    daemon.stop();
}
