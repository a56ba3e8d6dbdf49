//! A server that is not ours: the Ethereum node anvil, which `scripts/test` installs.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::anvil_node::{Anvil, free_port, height, result, subscription};
use super::processes::{Account, Daemon, Event, Settings, accounts, json as printed, query, until};
use super::support::Workplace;

/// Heads and logs are, each once and without a hole, what the node says over HTTP.
fn assert_is_the_chain(anvil: &Anvil, heads: &[Event], logs: &[Event], emitted: usize) {
    let first = height(&result(&heads[0]));
    for (number, event) in (first..).zip(heads) {
        let head = result(event);
        assert_eq!(height(&head), number, "no block is missing and none comes twice");
        let block = anvil.call("eth_getBlockByNumber", &json!([format!("{number:#x}"), false]));
        assert_eq!(head["hash"], block["hash"], "block {number}");
        assert_eq!(event.id.as_deref(), block["hash"].as_str());
        let seconds = u64::from_str_radix(block["timestamp"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
        let time: jiff::Timestamp = event.event_time.as_deref().expect("a time").parse().unwrap();
        assert_eq!(time.as_second().cast_unsigned(), seconds);
    }
    let mark =
        |log: &Value| (log["blockHash"].to_string(), log["logIndex"].to_string(), log["transactionHash"].to_string());
    let said = anvil.call("eth_getLogs", &json!([{"fromBlock": "0x0", "toBlock": "latest"}]));
    let said: BTreeSet<_> = said.as_array().expect("an array").iter().map(mark).collect();
    let journaled: Vec<_> = logs.iter().map(|event| mark(&result(event))).collect();
    assert_eq!((journaled.len(), said.len()), (emitted, emitted));
    assert_eq!(journaled.into_iter().collect::<BTreeSet<_>>(), said);
}

#[test]
fn blocks_and_logs_of_a_real_node_are_journaled_once_also_after_its_restart() {
    const LOGS: usize = 4;
    let port = free_port();
    let anvil = Anvil::start(port);
    let place = Workplace::new();
    let settings = Settings::new()
        .upstream("node", "ethereum", &format!("ws://127.0.0.1:{port}"))
        .monitor("heads", "chain", "node", &["newHeads"], "")
        .monitor("logs", "contracts", "node", &["logs {}"], "");
    let daemon = Daemon::start(&place, &settings);
    let live = |daemon: &Daemon| {
        until("both monitors are live", || {
            let monitors = daemon.monitors();
            (monitors["heads"]["state"] == "live" && monitors["logs"]["state"] == "live").then_some(())
        });
    };
    // Of subscriptions other than `before`.
    let gather = |before: &BTreeSet<String>| {
        until("blocks and logs", || {
            let of = |monitor: &str| {
                let events = query(&place, &["--monitor", monitor]).into_iter();
                events.filter(|event| !before.contains(&subscription(event))).collect::<Vec<Event>>()
            };
            let (heads, logs) = (of("heads"), of("logs"));
            (heads.len() >= 5 && logs.len() >= LOGS).then_some((heads, logs))
        })
    };
    let ids = |heads: &[Event], logs: &[Event]| heads.iter().chain(logs).map(subscription).collect::<BTreeSet<_>>();

    live(&daemon);
    for _ in 0..LOGS {
        anvil.emit();
    }
    let (heads, logs) = gather(&BTreeSet::new());
    assert_is_the_chain(&anvil, &heads, &logs, LOGS);
    let before = ids(&heads, &logs);
    assert_eq!(before.len(), 2);

    anvil.kill();
    until("the loss is noticed", || daemon.log().contains("link lost").then_some(()));
    // A new chain, whose blocks have the old ones' numbers and other hashes.
    let anvil = Anvil::start(port);
    live(&daemon);
    for _ in 0..LOGS {
        anvil.emit();
    }
    let (heads, logs) = gather(&before);
    assert_is_the_chain(&anvil, &heads, &logs, LOGS);
    assert_eq!(ids(&heads, &logs).len(), 2, "new subscriptions have new ids");
    assert_eq!(daemon.metrics().value("sluice_link_connects_total", &[("upstream", "node")]), 2);
    let log = daemon.stop();
    assert!(log.contains("link lost"), "{log}");
    let accounts = accounts(&place);
    assert!(accounts.values().all(Account::adds_up), "{accounts:?}");
    for monitor in ["heads", "logs"] {
        let account = accounts[monitor];
        assert_eq!((account.control, account.repeats, account.quarantined), (2, 0, 0), "{monitor}: {account:?}");
    }
    let gaps = printed(&place, &["query", "--domain", "_sluice", "--monitor", "gaps"]);
    assert_eq!(gaps.lines().count(), 2, "the span without the node, once for each topic: {gaps}");
}
