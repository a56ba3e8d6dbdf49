//! A run: three upstreams, one daemon, and faults for as long as asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::processes::{Daemon, Settings};
use super::super::support::Workplace;
use super::account::{Account, Journaled, Watched, hold};
use super::feed::Feed;
use super::plan::Steps;

/// For the daemon to come to rest: far above what it takes, and above the longest that a breaker stays open.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two words to whoever watches a long run.
const REPORT: Duration = Duration::from_secs(30);

/// Small waits and deadlines, so that much happens in little time.
const POOL: &str = "[upstreams.NAME.limits]\nconnects = { count = 4096, per = \"1s\" }\n\
    messages = { count = 4096, per = \"1s\" }\nsubscriptions = { count = 4096, per = \"1s\" }\nsend_interval = \"5ms\"\n\
    [upstreams.NAME.pool]\nrefused_wait = \"200ms\"\nmin_connections = 2\nmax_connections = 3\nbackoff_min = \"20ms\"\n\
    backoff_max = \"200ms\"\nhealth_check_interval = \"100ms\"\npong_timeout = \"300ms\"\nconnect_timeout = \"300ms\"\n\
    handshake_timeout = \"300ms\"\nconfirm_timeout = \"300ms\"";

/// Monitors of an upstream, each with some of its topics; two of them share one.
const MONITORS: [(&str, &[usize]); 3] = [("few", &[0, 1]), ("most", &[1, 2, 3]), ("one", &[0])];

pub(super) fn run(seed: u64, lasts: Duration, mut say: impl FnMut(&str)) -> Account {
    let _told = TellSeed(seed);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let runtime = Arc::new(runtime);
    let mut feeds = Feed::three(&runtime, seed);
    let place = Workplace::new();
    let daemon = Daemon::start(&place, &settings(&feeds));
    until(&daemon, "every topic is live", || all_live(&daemon).then_some(()));
    let journal = place.path("data/journal");
    until(&daemon, "every topic has events", || has_all(&Journaled::read(&journal), &feeds, 0).then_some(()));

    let resident = resident_kib(daemon.id());
    let started = Instant::now();
    let mut faults: BTreeMap<&'static str, u64> = BTreeMap::new();
    std::thread::scope(|scope| {
        let busy: Vec<_> = feeds
            .iter_mut()
            .zip(0..)
            .map(|(feed, number)| scope.spawn(move || befall(feed, Steps::new(seed, number), started + lasts)))
            .collect();
        while started.elapsed() + REPORT < lasts {
            std::thread::sleep(REPORT);
            let (seconds, memory) = (started.elapsed().as_secs(), resident_kib(daemon.id()));
            let durable = daemon.metrics().value("sluice_journal_durable_offset", &[]);
            say(&format!("{seconds} s: {durable} events durable, {memory} KiB resident"));
        }
        for feed in busy {
            for (name, count) in feed.join().expect("no fault fails to be made") {
                *faults.entry(name).or_default() += count;
            }
        }
    });
    let resident = [resident, resident_kib(daemon.id())];

    feeds.iter().for_each(Feed::settle);
    until(&daemon, "every topic is live again", || all_live(&daemon).then_some(()));
    let before = feeds.iter().map(|feed| feed.made().len()).max().unwrap_or_default();
    until(&daemon, "every topic goes on", || has_all(&Journaled::read(&journal), &feeds, before).then_some(()));
    feeds.iter().for_each(Feed::pause);
    until(&daemon, "the last messages come", || has_all(&Journaled::read(&journal), &feeds, usize::MAX).then_some(()));
    daemon.stop();

    let journal = Journaled::read(&journal);
    let rows = feeds.iter().map(|feed| hold(feed.dialect.name(), &feed.made(), &watched(feed), &journal)).collect();
    let connections = feeds.iter().map(|feed| feed.done().connections).sum();
    Account { seed, rows, faults, connections, resident }
}

/// One fault after the other. How often each was made is given.
fn befall(feed: &mut Feed, steps: Steps, until: Instant) -> BTreeMap<&'static str, u64> {
    let mut made = BTreeMap::new();
    for step in steps {
        if Instant::now() >= until {
            break;
        }
        feed.begin(&step.fault);
        // The waits of this harness that are for no condition: how long a fault lasts, and the peace after it.
        std::thread::sleep(step.lasts);
        feed.end(&step.fault);
        *made.entry(step.fault.name()).or_default() += 1;
        std::thread::sleep(step.peace);
    }
    made
}

fn settings(feeds: &[Feed]) -> Settings {
    // Some of the faults are what takes monitors back from their pools; the account is of the pools.
    let without_guard = Settings::new().with("[guard]\nenabled = false");
    feeds.iter().fold(without_guard, |settings, feed| {
        let name = feed.dialect.name();
        let settings = settings.upstream(name, name, &feed.url()).with(&POOL.replace("NAME", name));
        MONITORS.iter().fold(settings, |settings, (monitor, topics)| {
            let topics: Vec<&str> = topics.iter().map(|topic| feed.topics[*topic]).collect();
            settings.monitor(&format!("{name}_{monitor}"), "chaos", name, &topics, "")
        })
    })
}

fn watched(feed: &Feed) -> BTreeSet<Watched> {
    let topics = |(monitor, topics): &(&str, &'static [usize])| {
        let monitor = format!("{}_{monitor}", feed.dialect.name());
        topics.iter().map(move |topic| (monitor.clone(), *topic)).collect::<Vec<_>>()
    };
    MONITORS.iter().flat_map(topics).map(|(monitor, topic)| (monitor, feed.topics[topic].to_owned())).collect()
}

fn all_live(daemon: &Daemon) -> bool {
    daemon.monitors().values().all(|row| {
        let topics = row["topics"].as_str().expect("a count");
        row["state"] == "live" && topics.split_once('/').is_some_and(|(live, all)| live == all)
    })
}

/// Whether every monitor has of every topic the last one that was made among an upstream's first so many, or a later one.
fn has_all(journal: &Journaled, feeds: &[Feed], first: usize) -> bool {
    feeds.iter().all(|feed| {
        let made = feed.made();
        watched(feed).iter().all(|watched| {
            let Some(events) = journal.events.get(watched) else { return false };
            let ids: std::collections::HashSet<&str> = events.iter().map(|(id, _)| &**id).collect();
            let of_topic = made.iter().enumerate().filter(|(_, one)| *one.topic == *watched.1);
            let wanted = of_topic.clone().rfind(|(place, _)| *place < first).map_or(0, |(place, _)| place);
            of_topic.filter(|(place, _)| *place >= wanted).any(|(_, one)| ids.contains(&*one.id))
        })
    })
}

/// The resident memory of a process, in KiB.
fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn until<T>(daemon: &Daemon, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        if Instant::now() >= deadline {
            let monitors = daemon.monitors();
            panic!("waited {PATIENCE:?} in vain: {what}\n{monitors:?}\n{}", daemon.log());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Says the seed when a run fails.
struct TellSeed(u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was seed {0}: CHAOS_SEED={0} makes the same faults again", self.0);
        }
    }
}
