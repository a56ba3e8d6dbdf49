//! A real node under load that is killed and started again, and one that reorganises its chain: what it still has is in the
//! journal once, or in a gap; what it has withdrawn is there too.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::anvil_node::{Anvil, Load, free_port, height, number, result};
use super::processes::{Account, Daemon, Event, Settings, accounts, json as printed, query, until};
use super::support::Workplace;

const TOPICS: [(&str, &str); 3] = [("heads", "newHeads"), ("logs", "logs {}"), ("pending", "newPendingTransactions")];

/// Ten blocks a second.
const BLOCKS: [&str; 2] = ["--block-time", "0.1"];

/// What a head and a log is known by.
type Head = (u64, String);
type Log = (u64, u64, String);

/// A daemon with two links to a node, over which topics are spread.
fn watch(place: &Workplace, port: u16) -> Daemon {
    let settings = Settings::new()
        .with("[batch]\ntimeout = \"50ms\"")
        .upstream("node", "ethereum", &format!("ws://127.0.0.1:{port}"))
        .with("[upstreams.node.pool]\nmin_connections = 2\nmax_connections = 2");
    let watching =
        |settings: Settings, (monitor, topic): &(&str, &str)| settings.monitor(monitor, "chain", "node", &[topic], "");
    Daemon::start(place, &TOPICS.iter().fold(settings, watching))
}

fn live(daemon: &Daemon) {
    until("all monitors are live", || {
        let monitors = daemon.monitors();
        monitors.values().all(|row| row["state"] == "live").then_some(())
    });
}

fn open_links(daemon: &Daemon) -> u64 {
    daemon.metrics().value("sluice_links", &[("upstream", "node"), ("state", "open")])
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn received(event: &Event) -> Timestamp {
    time(&event.received_time)
}

fn head(block: &Value) -> Head {
    (height(block), block["hash"].as_str().expect("a text").to_owned())
}

fn log(log: &Value) -> Log {
    (number(&log["blockNumber"]), number(&log["logIndex"]), log["blockHash"].as_str().expect("a text").to_owned())
}

/// What the node says over HTTP of its chain, from a height on.
#[derive(Default)]
struct Chain {
    heads: Vec<Head>,
    logs: Vec<Log>,
}

impl Chain {
    fn of(anvil: &Anvil, from: u64) -> Self {
        let newest = anvil.newest();
        let mut logs: Vec<Log> = anvil.logs(from, newest).iter().map(log).collect();
        logs.sort();
        Self { heads: anvil.blocks(from, newest).iter().map(head).collect(), logs }
    }
}

/// What is in the journal: each with when it was received, in order.
struct Journaled {
    heads: Vec<(Head, Timestamp)>,
    logs: Vec<(Log, Timestamp)>,
    pending: Vec<(String, Timestamp)>,
}

impl Journaled {
    /// Also checks that nothing is there twice, and what each is known by.
    fn read(place: &Workplace) -> Self {
        let of = |monitor: &str| query(place, &["--monitor", monitor]);
        let (heads, logs, pending) = (of("heads"), of("logs"), of("pending"));
        for events in [&heads, &logs, &pending] {
            let ids: BTreeSet<&str> = events.iter().map(|event| event.id.as_deref().expect("an id")).collect();
            assert_eq!(ids.len(), events.len(), "each is there once");
        }
        for event in &heads {
            assert_eq!(event.id.as_deref(), result(event)["hash"].as_str(), "never its height, which comes again");
        }
        for event in &logs {
            let (id, result) = (event.id.as_deref().unwrap(), result(event));
            let known_by = |field: &str| id.contains(result[field].as_str().unwrap());
            assert!(known_by("blockHash") && known_by("logIndex") && id.ends_with("false"), "{id}: {result}");
        }
        let hash = |event: &Event| result(event).as_str().expect("a hash").to_owned();
        Self {
            heads: heads.iter().map(|event| (head(&result(event)), received(event))).collect(),
            logs: logs.iter().map(|event| (log(&result(event)), received(event))).collect(),
            pending: pending.iter().map(|event| (hash(event), received(event))).collect(),
        }
    }
}

/// The last before and the first behind a moment.
fn around<T>(events: &[(T, Timestamp)], moment: Timestamp) -> (Option<Timestamp>, Option<Timestamp>) {
    let of = |wanted: &dyn Fn(Timestamp) -> bool| {
        events.iter().map(|(_, at)| *at).filter(move |at| wanted(*at)).collect::<Vec<_>>()
    };
    (of(&|at| at < moment).into_iter().max(), of(&|at| at >= moment).into_iter().min())
}

/// Of what the node has everything is journaled that lies between the first and the last that came. What came before the first
/// was before the subscription; what comes behind the last was lost with the node.
fn assert_nothing_is_missing<T: Ord + std::fmt::Debug>(said: &[T], journaled: &BTreeSet<&T>) {
    let Some(first) = said.iter().find(|one| journaled.contains(one)) else { panic!("nothing came: {said:?}") };
    let last = said.iter().rev().find(|one| journaled.contains(one)).expect("there is a first");
    let missing: Vec<&T> = said.iter().filter(|one| (first..=last).contains(one) && !journaled.contains(one)).collect();
    assert!(missing.is_empty(), "between {first:?} and {last:?}: {missing:?}");
}

/// A node's life: from when on what comes is of it, and what it said of itself.
struct Run {
    began: Timestamp,
    chain: Option<Chain>,
    sent: Vec<Vec<String>>,
}

impl Run {
    /// What came in a run.
    fn of<T: Ord>(events: &[(T, Timestamp)], from: Timestamp, to: Timestamp) -> BTreeSet<&T> {
        events.iter().filter(|(_, at)| (from..to).contains(at)).map(|(one, _)| one).collect()
    }

    fn assert_is_journaled(&self, journaled: &Journaled, until: Timestamp) {
        if let Some(chain) = &self.chain {
            assert_nothing_is_missing(&chain.heads, &Self::of(&journaled.heads, self.began, until));
            assert_nothing_is_missing(&chain.logs, &Self::of(&journaled.logs, self.began, until));
        }
        // Transactions of one batch come in any order, so nothing is said of those of the first and of the last one.
        let pending = Self::of(&journaled.pending, self.began, until);
        let came = |batch: &Vec<String>| batch.iter().any(|hash| pending.contains(hash));
        let (first, last) = (self.sent.iter().position(came), self.sent.iter().rposition(came));
        if let (Some(first), Some(last)) = (first, last) {
            let between = self.sent.iter().take(last).skip(first + 1).flatten();
            let missing: Vec<&String> = between.filter(|hash| !pending.contains(hash)).collect();
            assert!(missing.is_empty(), "{missing:?}");
        }
    }
}

/// Every topic has a gap around this moment, at which no link was there: it begins when or after the last event came, and ends
/// when or before the next one did.
fn assert_gap_around(place: &Workplace, journaled: &Journaled, moment: Timestamp) {
    let Journaled { heads, logs, pending } = journaled;
    let around = [around(heads, moment), around(logs, moment), around(pending, moment)];
    for ((monitor, topic), (before, behind)) in TOPICS.iter().zip(around) {
        let gaps: Vec<Value> = serde_json::from_str(&printed(place, &["gaps", "--monitor", monitor])).expect("JSON");
        let at = |gap: &Value, field: &str| time(gap[field].as_str().unwrap_or_else(|| panic!("no {field} in {gap}")));
        let covering = gaps.iter().filter(|gap| gap["cause"] == "disconnect");
        let covering = covering.filter(|gap| at(gap, "start") < moment && moment < at(gap, "end")).collect::<Vec<_>>();
        let [gap] = covering[..] else { panic!("one gap of {topic} at {moment}: {gaps:?}") };
        assert_eq!((&gap["topic"], &gap["upstream"]), (&json!(topic), &json!("node")));
        assert!(before.is_none_or(|before| before <= at(gap, "start")), "{gap} begins before {before:?}");
        assert!(behind.is_none_or(|behind| at(gap, "end") <= behind), "{gap} ends after {behind:?}");
    }
}

#[test]
fn what_a_node_has_that_is_killed_again_and_again_under_load_is_journaled_once_or_in_a_gap() {
    /// What becomes of a node's chain when it is killed.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Kill {
        Forgets,
        /// It goes on from a while before.
        Keeps,
        /// As it forgets, and before anybody has subscribed.
        AtOnce,
    }
    let port = free_port();
    let place = Workplace::new();
    let state = place.path("state.json");
    let mut runs = vec![Run { began: Timestamp::now(), chain: None, sent: Vec::new() }];
    let mut anvil = Anvil::start_with(port, &BLOCKS);
    let daemon = watch(&place, port);
    let heads = || query(&place, &["--monitor", "heads"]).len();
    let more_heads = |count: usize| {
        let before = heads();
        until("more heads are durable", || (heads() >= before + count).then_some(()));
    };
    for kill in [Kill::Keeps, Kill::Forgets, Kill::AtOnce, Kill::Forgets] {
        let load = Load::start(&anvil, &anvil.accounts());
        if kill != Kill::AtOnce {
            live(&daemon);
            // So high that chains which begin anew come to the same heights.
            more_heads(if kill == Kill::Keeps { 40 } else { 5 });
        }
        if kill == Kill::Keeps {
            anvil.dump(&state);
            more_heads(5);
        }
        let run = runs.last_mut().unwrap();
        run.chain = (kill != Kill::AtOnce).then(|| Chain::of(&anvil, 1));
        anvil.kill();
        run.sent = load.end();
        until("all links are lost", || (open_links(&daemon) == 0).then_some(()));
        // The count is as old as a second: a link may have been opened and lost since.
        until("nobody has a link", || daemon.monitors().values().all(|row| row["state"] != "live").then_some(()));
        runs.push(Run { began: Timestamp::now(), chain: None, sent: Vec::new() });
        let loaded = state.to_str().unwrap();
        let more = if kill == Kill::Keeps { vec!["--load-state", loaded] } else { Vec::new() };
        anvil = Anvil::start_with(port, &[&BLOCKS[..], &more].concat());
    }
    let load = Load::start(&anvil, &anvil.accounts());
    live(&daemon);
    more_heads(20);
    let last = runs.last_mut().unwrap();
    last.sent = load.end();
    let chain = Chain::of(&anvil, 1);
    let newest = chain.heads.last().unwrap().clone();
    until("the newest block is durable", || {
        query(&place, &["--monitor", "heads"]).iter().any(|event| head(&result(event)) == newest).then_some(())
    });
    last.chain = Some(chain);
    daemon.stop();

    let journaled = Journaled::read(&place);
    let ends: Vec<Timestamp> = runs.iter().skip(1).map(|run| run.began).chain([Timestamp::MAX]).collect();
    for (run, end) in runs.iter().zip(ends) {
        run.assert_is_journaled(&journaled, end);
    }
    for run in runs.iter().skip(1) {
        assert_gap_around(&place, &journaled, run.began);
    }
    let sent: usize = runs.iter().flat_map(|run| &run.sent).map(Vec::len).sum();
    assert!(journaled.pending.len() > 100 && sent >= journaled.pending.len(), "{sent} {}", journaled.pending.len());
    let mut hashes: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    journaled.heads.iter().for_each(|((height, hash), _)| _ = hashes.entry(*height).or_default().insert(hash));
    assert!(hashes.values().any(|hashes| hashes.len() > 1), "heights come again with other hashes: {hashes:?}");
    let accounts = accounts(&place);
    assert!(accounts.values().all(Account::adds_up), "{accounts:?}");
    assert!(TOPICS.iter().all(|(monitor, _)| accounts[*monitor].quarantined == 0), "{accounts:?}");
}

#[test]
fn a_reorganisation_under_load_leaves_both_sides_in_the_journal_and_no_gap() {
    let port = free_port();
    let place = Workplace::new();
    let anvil = Anvil::start_with(port, &BLOCKS);
    let daemon = watch(&place, port);
    let accounts_of_node = anvil.accounts();
    let (senders, carried) = accounts_of_node.split_at(7);
    live(&daemon);
    let load = Load::start(&anvil, senders);
    let began = anvil.newest() + 1;
    until("the chain is long enough", || (anvil.newest() > 10).then_some(()));
    let mut withdrawn: Vec<(Log, Log)> = Vec::new();
    for sender in carried {
        let transaction = anvil.emit_from(sender);
        let logs_of = |transaction: &str| {
            let events = query(&place, &["--monitor", "logs"]);
            let results = events.iter().map(result).filter(|log| log["transactionHash"] == *transaction);
            results.map(|one| log(&one)).collect::<Vec<Log>>()
        };
        let before = until("its log is durable", || logs_of(&transaction).pop());
        let raw = anvil.call("eth_getRawTransactionByHash", &json!([transaction]));
        // The chain goes on meanwhile, so the first time may not reach its block.
        until("its block is withdrawn", || {
            let depth = anvil.newest() - before.0 + 3;
            anvil.call("anvil_reorg", &json!([depth, []]));
            (head(&anvil.blocks(before.0, before.0)[0]).1 != before.2).then_some(())
        });
        // What the senders sent is withdrawn, and what they had sent behind it would wait for that without end.
        anvil.call("anvil_dropAllTransactions", &json!([]));
        assert_eq!(
            anvil.call("eth_sendRawTransaction", &json!([raw])),
            json!(transaction),
            "the same goes into another block"
        );
        let behind = until("its log comes again", || logs_of(&transaction).into_iter().find(|log| *log != before));
        assert_ne!(before.2, behind.2, "in another block");
        withdrawn.push((before, behind));
        let logs = || query(&place, &["--monitor", "logs"]).len();
        let count = logs();
        until("the load goes on", || (logs() > count + 50).then_some(()));
    }
    let sent = load.end();
    let chain = Chain::of(&anvil, began);
    let newest = chain.heads.last().unwrap().clone();
    until("the newest block is durable", || {
        query(&place, &["--monitor", "heads"]).iter().any(|event| head(&result(event)) == newest).then_some(())
    });
    let gaps = printed(&place, &["gaps"]);
    assert_eq!(gaps.trim(), "[]", "nothing was missed");
    assert_eq!(daemon.metrics().value("sluice_link_failures_total", &[("upstream", "node")]), 0);
    daemon.stop();

    let journaled = Journaled::read(&place);
    let heads: BTreeSet<&Head> = journaled.heads.iter().map(|(head, _)| head).collect();
    let logs: BTreeSet<&Log> = journaled.logs.iter().map(|(log, _)| log).collect();
    assert!(chain.heads.iter().all(|head| heads.contains(head)), "every block that the node has: {:?}", chain.heads);
    let missing: Vec<&Log> = chain.logs.iter().filter(|log| !logs.contains(log)).collect();
    assert!(missing.is_empty(), "every log that it has: {missing:?}");
    let sent = sent.iter().flatten().count();
    assert!(chain.logs.len() > 100 && sent > 150, "under load: {sent} and {}", chain.logs.len());
    let hashes_at = |at: u64| heads.iter().filter(|(height, _)| *height == at).count();
    for (before, behind) in &withdrawn {
        assert!(logs.contains(before) && logs.contains(behind));
        assert!(!chain.heads.contains(&(before.0, before.2.clone())), "it is withdrawn");
        assert!(heads.contains(&(before.0, before.2.clone())), "a withdrawn block stays: {before:?}");
        assert!(hashes_at(before.0) >= 2, "and the one in its place is there: {before:?}");
    }
    let accounts = accounts(&place);
    assert!(accounts.values().all(Account::adds_up), "{accounts:?}");
}
