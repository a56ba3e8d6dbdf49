//! The account (every message is an event, a repeat, control or quarantined) adds up at all times, and what became durable
//! stays, whatever the feed does and however the daemon ends.

use std::collections::{BTreeMap, HashMap, HashSet};

use rustix::process::Signal;

use super::ledger::{Mark, Sent, ledger, mark_of};
use super::processes::{
    Account, Daemon, Event, Feed, OWN_MONITORS, Settings, accounts, json, quarantined, query, stat, until,
};
use super::support::Workplace;

/// What the daemon must make of frames in this order: the events, how many of them conflicts that are kept, and counts.
#[derive(Debug, Default)]
struct Expected {
    events: Vec<Mark>,
    repeats: u64,
    quarantined: u64,
    conflicts: u64,
}

fn expect<'a>(sent: impl IntoIterator<Item = &'a Sent>, keeps_conflicts: impl Fn(&str) -> bool) -> Expected {
    let mut expected = Expected::default();
    let mut seen: HashMap<(&str, &str), Vec<u32>> = HashMap::new();
    for frame in sent {
        if frame.is_bad() {
            expected.quarantined += 1;
            continue;
        }
        let known = seen.entry((&frame.topic, &frame.id)).or_default();
        if known.contains(&frame.crc) {
            expected.repeats += 1;
            continue;
        }
        let conflict = !known.is_empty();
        known.push(frame.crc);
        expected.conflicts += u64::from(conflict);
        if conflict && !keeps_conflicts(&frame.topic) {
            expected.repeats += 1;
        } else {
            expected.events.push((frame.topic.clone(), frame.id.clone(), frame.crc));
        }
    }
    expected
}

fn total(accounts: &BTreeMap<String, Account>) -> Account {
    let feed = accounts.iter().filter(|(monitor, _)| !OWN_MONITORS.contains(&monitor.as_str()));
    feed.fold(Account::default(), |sum, (_, account)| Account {
        messages: sum.messages + account.messages,
        events: sum.events + account.events,
        repeats: sum.repeats + account.repeats,
        control: sum.control + account.control,
        quarantined: sum.quarantined + account.quarantined,
    })
}

fn monitors(settings: Settings) -> Settings {
    settings.monitor("trades", "spot", "feed", &["btcusdt@trade", "ethusdt@trade"], "").monitor(
        "both",
        "spot",
        "feed",
        &["solusdt@trade"],
        "on_conflict = \"keep\"",
    )
}

#[test]
fn the_account_adds_up_at_every_moment_and_to_what_was_sent() {
    let place = Workplace::new();
    let feed = Feed::start(
        &place,
        &[
            "--dialect",
            "binance",
            "--rate",
            "3000",
            "--seed",
            "7",
            "--repeats",
            "0.05",
            "--conflicts",
            "0.03",
            "--bad-frames",
            "0.02",
            "--disorder",
            "0.05",
            "--ledger",
            "ledger.jsonl",
        ],
    );
    let settings = monitors(Settings::new().upstream("feed", "binance", feed.url()));
    let daemon = Daemon::start(&place, &settings);
    for least in [500, 1500, 3000, 4500, 6000] {
        let now = until("messages are journaled", || {
            let now = accounts(&place);
            (total(&now).messages >= least).then_some(now)
        });
        for (monitor, account) in &now {
            assert!(account.adds_up(), "{monitor} while running: {account:?}");
        }
    }
    let metrics = daemon.metrics();
    daemon.stop();
    feed.stop();

    let accounts = accounts(&place);
    let total = total(&accounts);
    assert!(total.adds_up() && accounts.values().all(Account::adds_up), "{accounts:?}");
    // One link, never lost: it read a whole number of the frames sent, in order, and one acknowledgement beside them.
    let sent = ledger(&place);
    assert_eq!(total.control, 1);
    let read = usize::try_from(total.messages - total.control).unwrap();
    let expected = expect(&sent[..read], |topic| topic == "solusdt@trade");
    let context = format!("seed 7, {read} of {} frames", sent.len());
    assert_eq!(total.events, expected.events.len() as u64, "{context}");
    assert_eq!(total.repeats, expected.repeats, "{context}");
    assert_eq!(total.quarantined, expected.quarantined, "{context}");
    assert!(expected.repeats > 100 && expected.quarantined > 50 && expected.conflicts > 50, "{context}: {expected:?}");
    let conflicts = metrics.value("sluice_conflicts_total", &[]);
    assert!(conflicts > 0 && conflicts <= expected.conflicts, "{context}: {conflicts}");
    // The journal's order is the order of arrival.
    let events = query(&place, &[]);
    let marks: Vec<Mark> = events.iter().map(mark_of).collect();
    for (place, (found, wanted)) in marks.iter().zip(&expected.events).enumerate() {
        assert_eq!(found, wanted, "{context}, event {place}");
    }
    let kept = events.iter().filter(|event| event.conflict).count();
    assert!(kept > 0, "conflicts of `both` are kept and marked");
    assert!(events.iter().filter(|event| event.conflict).all(|event| event.monitor == "both"));
}

#[test]
fn lost_links_lose_and_double_nothing_that_was_read() {
    let place = Workplace::new();
    let feed = Feed::start(
        &place,
        &[
            "--dialect",
            "binance",
            "--rate",
            "3000",
            "--seed",
            "11",
            "--repeats",
            "0.05",
            "--disorder",
            "0.05",
            "--bad-frames",
            "0.01",
            "--disconnect-every",
            "400ms",
            "--ledger",
            "ledger.jsonl",
        ],
    );
    let settings = monitors(Settings::new().upstream("feed", "binance", feed.url()));
    let daemon = Daemon::start(&place, &settings);
    until("the link was lost 5 times", || {
        (daemon.metrics().value("sluice_link_connects_total", &[]) >= 6).then_some(())
    });
    assert!(daemon.metrics().value("sluice_link_failures_total", &[("upstream", "feed")]) >= 5);
    let log = daemon.stop();
    feed.stop();
    assert!(log.contains("link lost"), "{log}");
    assert!(accounts(&place).values().all(Account::adds_up), "{:?}", accounts(&place));

    let sent = ledger(&place);
    let events = query(&place, &[]);
    let mut marks = HashSet::new();
    for event in &events {
        assert!(marks.insert(mark_of(event)), "seed 11: twice in the journal: {event:?}");
    }
    // What a connection sent last may not have arrived; whatever came before the last that did has arrived too.
    let connections: HashSet<u64> = sent.iter().map(|frame| frame.connection).collect();
    let mut whole = 0;
    for connection in connections {
        let frames: Vec<&Sent> =
            sent.iter().filter(|frame| frame.connection == connection && !frame.is_bad()).collect();
        let mark = |frame: &Sent| (frame.topic.clone(), frame.id.clone(), frame.crc);
        // A repeat that never arrived is in the journal all the same, by its original: it does not tell what was read.
        let arrived = |frame: &&Sent| frame.fault.is_none() && marks.contains(&mark(frame));
        let read = frames.iter().rposition(arrived).map_or(0, |last| last + 1);
        for frame in &frames[..read] {
            assert!(marks.contains(&mark(frame)), "seed 11: lost: {frame:?}");
            whole += 1;
        }
    }
    assert!(whole > 500, "{whole}");
    // What came between is in the journal as a span that was not seen, for each topic.
    let gaps = json(&place, &["query", "--domain", "_sluice", "--monitor", "gaps"]);
    assert!(gaps.lines().count() >= 3, "{gaps}");
    assert!(gaps.contains("\"cause\":\"disconnect\"") && gaps.contains("\"topic\":\"btcusdt@trade\""), "{gaps}");
    assert_eq!(stat(&place)["gaps"], gaps.lines().count());
}

const RECORDING: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/binance-futures/combined_2021-07-22.session.jsonl.gz");

/// A monitor of everything in the recording; every message of it has an id.
fn recorded_monitors(settings: Settings) -> Settings {
    let symbols = ["sushiusdt", "akrousdt", "keepusdt", "ctkusdt"];
    let kinds = ["aggTrade", "depth@100ms", "kline_1m", "bookTicker"];
    let topics: Vec<String> = kinds.iter().flat_map(|kind| symbols.map(|symbol| format!("{symbol}@{kind}"))).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    settings.monitor("all", "futures", "feed", &topics, "")
}

#[test]
fn what_comes_again_after_a_restart_is_dropped() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--recording", RECORDING]);
    let settings = recorded_monitors(Settings::new().upstream("feed", "binance", feed.url()));
    let daemon = Daemon::start(&place, &settings);
    until("the recording is read", || (daemon.frames("feed") == 1536).then_some(()));
    let log = daemon.stop();
    let own = || query(&place, &["--domain", "_sluice"]).len();
    // Beside the recording's.
    assert!(log.contains(&format!("{} events are durable", 1535 + own())), "{log}");
    let before = json(&place, &["query"]);
    assert_eq!(before.lines().count(), 1535);

    let daemon = Daemon::again(&place);
    until("the recording is read again", || (daemon.frames("feed") == 1536).then_some(()));
    let log = daemon.stop();
    assert!(log.contains("1535 ids of the last"), "the ids were read out of the journal: {log}");
    assert!(log.contains("closed cleanly before"), "{log}");
    let all = accounts(&place)["all"];
    assert_eq!(all, Account { messages: 3070, events: 1535, repeats: 1535, control: 0, quarantined: 0 });
    assert_eq!(json(&place, &["query"]), before, "nothing was added or changed");
    let of_a_run = |monitor: &str| accounts(&place)[monitor].events;
    assert_eq!((of_a_run("state"), of_a_run("metrics")), (2, 2), "one of each run");
    assert_eq!(of_a_run("gaps"), 16, "that it was down between them, for each topic");
    assert_eq!(stat(&place)["durable_offset"], 1535 + own());
}

#[test]
fn a_journal_begins_with_a_snapshot_and_a_stop_adds_figures_that_are_its_account() {
    let place = Workplace::new();
    let feed = Feed::start(
        &place,
        &[
            "--dialect",
            "binance",
            "--rate",
            "2000",
            "--repeats",
            "0.05",
            "--bad-frames",
            "0.05",
            "--disconnect-every",
            "300ms",
        ],
    );
    let settings = monitors(Settings::new().upstream("feed", "binance", feed.url()));
    let daemon = Daemon::start(&place, &settings);
    until("the link was lost twice", || (daemon.metrics().value("sluice_link_connects_total", &[]) >= 3).then_some(()));
    daemon.stop();
    let own = query(&place, &["--domain", "_sluice"]);
    let first = &own[0];
    assert_eq!((first.offset, first.monitor.as_str()), (0, "state"));
    // It overtakes the last blocks of links in the queue, and counts what is in them.
    let last = own.iter().rfind(|event| event.monitor == "metrics").expect("a stop adds one");

    let figures: serde_json::Value = serde_json::from_str(last.payload.get()).unwrap();
    let mut told: BTreeMap<String, Account> = BTreeMap::new();
    for row in figures["monitors"].as_array().unwrap() {
        let account: Account = serde_json::from_value(row.clone()).unwrap();
        told.insert(row["monitor"].as_str().unwrap().to_owned(), account);
    }
    let mut journaled = accounts(&place);
    assert!(journaled.values().all(Account::adds_up), "{journaled:?}");
    // Each of these has an account of its own beside: an event is a message.
    for monitor in OWN_MONITORS {
        journaled.remove(monitor).unwrap();
    }
    assert!(told["trades"].repeats > 0 && told["upstream:feed"].quarantined > 0, "{told:?}");
    assert_eq!(told, journaled);
    assert!(figures["upstreams"][0]["reconnects"].as_u64() >= Some(2), "{figures}");
    assert_eq!(figures["dedupe"]["ids"], told["trades"].events + told["both"].events);
    let own_names: HashSet<&str> = own.iter().map(|event| event.monitor.as_str()).collect();
    assert_eq!(own_names, HashSet::from(OWN_MONITORS));
    // None of the others is taken for a gap or a quarantined frame.
    let of = |monitor: &str| own.iter().filter(|event| event.monitor == monitor).count();
    assert_eq!(stat(&place)["gaps"], of("gaps"));
    assert_eq!(quarantined(&place).len(), of("quarantine"));
}

/// Every event, also the daemon's own.
const EVERYTHING: [&str; 5] = ["query", "--domain", "futures", "--domain", "_sluice"];

#[test]
fn nothing_durable_is_lost_or_changed_by_kill_9() {
    let place = Workplace::new();
    // 20 s of recording in 2 s; each connection gets it from its start.
    let feed = Feed::start(&place, &["--recording", RECORDING, "--speed", "10"]);
    let settings = recorded_monitors(Settings::new().upstream("feed", "binance", feed.url()));
    let mut daemon = Daemon::start(&place, &settings);
    let mut known = String::new();
    for events in [200, 500, 900] {
        let durable = until("more is durable", || {
            let durable = daemon.metrics().value("sluice_journal_durable_offset", &[]);
            (durable >= events).then_some(durable)
        });
        known = json(&place, &[&EVERYTHING[..], &["--to", &durable.to_string()]].concat());
        assert_eq!(known.lines().count() as u64, durable, "what the metric calls durable can be read");
        daemon.kill();
        let after = json(&place, &EVERYTHING);
        assert!(after.starts_with(&known), "durable events are there after the kill");
        daemon = Daemon::again(&place);
        assert!(daemon.log().contains("not closed cleanly before"), "{}", daemon.log());
        let after = json(&place, &EVERYTHING);
        assert!(after.starts_with(&known), "and after the recovery");
    }
    until("the rest is there", || (query(&place, &[]).len() >= 1535).then_some(()));
    daemon.stop();
    feed.stop();
    let all = json(&place, &EVERYTHING);
    assert!(all.starts_with(&known), "what was durable stays as it was");
    let offsets = all.lines().map(|line| serde_json::from_str::<Event>(line).unwrap().offset);
    assert!(offsets.enumerate().all(|(place, offset)| offset == place as u64), "offsets are dense");
    let events = query(&place, &[]);
    assert_eq!(events.len(), 1535, "every event of the recording once, though most came up to four times");
    let ids: HashSet<&str> = events.iter().filter_map(|event| event.id.as_deref()).collect();
    assert_eq!(ids.len(), 1535);
    let account = accounts(&place)["all"];
    assert!(account.adds_up() && account.repeats > 0, "{account:?}");
}

#[test]
fn a_stop_under_faults_leaves_an_account_that_adds_up() {
    let place = Workplace::new();
    let feed = Feed::start(
        &place,
        &["--dialect", "deribit", "--rate", "2000", "--repeats", "0.1", "--bad-frames", "0.05", "--conflicts", "0.05"],
    );
    let settings = Settings::new()
        .upstream("feed", "deribit", feed.url())
        .monitor("trades", "options", "feed", &["trades.BTC-PERPETUAL.100ms"], "")
        .monitor("books", "options", "feed", &["book.BTC-PERPETUAL.100ms"], "");
    for messages in [500, 1500] {
        let mut daemon = Daemon::start(&place, &settings);
        until("messages came", || (total(&accounts(&place)).messages >= messages).then_some(()));
        daemon.signal(Signal::TERM);
        assert!(daemon.end().success(), "{}", daemon.log());
        let accounts = accounts(&place);
        assert!(accounts.values().all(Account::adds_up), "{accounts:?}");
        assert!(accounts["trades"].events > 0 && accounts["trades"].repeats > 0, "{accounts:?}");
        let stat = stat(&place);
        let quarantined: u64 = accounts.values().map(|account| account.quarantined).sum();
        let repeats: u64 = accounts.values().map(|account| account.repeats).sum();
        assert_eq!((stat["quarantined"].as_u64(), stat["duplicates"].as_u64()), (Some(quarantined), Some(repeats)));
    }
}
