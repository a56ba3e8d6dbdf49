//! A run: one feed, one journal, one set of stores; the daemon starts and dies as the plan says.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::super::ledger::ledger;
use super::super::processes::{Feed, Metrics, Process, Settings, get};
use super::super::support::Workplace;
use super::account::Account;
use super::plan::{Cycle, End, Plan};
use super::stores::{self, Stores};

/// Far above what anything takes on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(90);
/// Cycles between two looks at the whole journal.
const WHOLE: usize = 100;

pub(crate) fn run(plan: &Plan, mut say: impl FnMut(&str)) -> Account {
    let seed = plan.seed;
    let _told = TellSeed(seed);
    let place = Workplace::new();
    let seed_text = seed.to_string();
    let feed = Feed::start(
        &place,
        &[
            "--dialect",
            "binance",
            "--rate",
            "1000",
            "--repeats",
            "0.02",
            "--seed",
            &seed_text,
            "--ledger",
            "ledger.jsonl",
        ],
    );
    let mut stores = Stores::start(&place);
    settings(&feed, &stores).write(&place);
    let journal = place.path("data/journal");
    let mut account = Account::new(seed);
    account.servers_killed = stores.servers().map(|name| (name, 0)).collect();
    let started = Instant::now();
    for (number, cycle) in plan.cycles.iter().enumerate() {
        one(&place, cycle, &mut stores, &mut account);
        account.note(cycle.end);
        account.read_on(&journal);
        if (number + 1) % WHOLE == 0 {
            account.read_again(&journal);
            let (cycles, promised) = (number + 1, account.promised);
            say(&format!("{cycles} cycles in {} s, {promised} events durable", started.elapsed().as_secs()));
        }
    }
    account.settle(&place, feed, &stores, &journal);
    account
}

impl Account {
    /// Starts the daemon in peace, lets everybody catch up, and holds all there is against each other.
    pub(crate) fn settle(&mut self, place: &Workplace, feed: Feed, stores: &Stores, journal: &Path) {
        let mut daemon = Running::start(place);
        daemon.until_new_events(self);
        feed.stop();
        let durable = stores::until_caught_up(&mut daemon, stores);
        self.promised = self.promised.max(durable);
        daemon.end(Signal::TERM);
        let marks = self.read_again(journal);
        self.hold_against_ledger(&marks, &ledger(place));
        for store in stores.all() {
            self.hold_store(store.name(), &store.rows());
        }
        self.assert_right();
    }
}

/// Small batches and segments, so that much happens in little time.
fn settings(feed: &Feed, stores: &Stores) -> Settings {
    Settings::new()
        .with("[batch]\nmin_size = 1\nmax_size = 200\nmax_bytes = \"32KiB\"\ntimeout = \"20ms\"")
        .with("[journal]\nsegment_size = \"128KiB\"\nsync_interval = \"2ms\"")
        .with(&stores.settings())
        .upstream("feed", "binance", feed.url())
        .monitor("trades", "spot", "feed", &["btcusdt@trade", "ethusdt@trade", "solusdt@trade"], "")
}

fn one(place: &Workplace, cycle: &Cycle, stores: &mut Stores, account: &mut Account) {
    let mut daemon = Running::start(place);
    let (signal, after) = match cycle.end {
        End::KilledStarting(after) | End::Killed(after) | End::PowerCut(after) => (Signal::KILL, after),
        End::Stopped(after) => (Signal::TERM, after),
    };
    if !matches!(cycle.end, End::KilledStarting(_)) {
        daemon.until_new_events(account);
    }
    if let Some(name) = cycle.server.and_then(|number| stores.kill_one(number)) {
        let killed = account.servers_killed.iter_mut().find(|(server, _)| *server == name);
        killed.expect("it is a server").1 += 1;
    }
    daemon.listen_for(after, account);
    daemon.end(signal);
    stores.start_again();
}

/// A daemon that need not have come as far as to say where it serves.
pub(crate) struct Running {
    process: Process,
    started: Instant,
    address: Option<String>,
}

impl Running {
    pub(crate) fn start(place: &Workplace) -> Self {
        let process = Process::start(place, &["run", "--config", "sluice.toml"]);
        Self { process, started: Instant::now(), address: None }
    }

    pub(crate) fn address(&self) -> String {
        self.address.clone().expect("it was waited for")
    }

    fn find_address(&mut self) -> Option<String> {
        if self.address.is_none() {
            let said = self.process.stderr();
            let line = said.lines().find(|line| line.contains("/v1/health/ready"));
            self.address = line.and_then(|line| Some(line.split_once("http://")?.1.split_once('/')?.0.to_owned()));
        }
        self.address.clone()
    }

    /// The durable offset as the daemon tells it.
    pub(crate) fn durable(&mut self) -> Option<u64> {
        let (status, text) = get(&self.find_address()?, "/metrics").ok()?;
        (status == 200).then(|| Metrics(text).value("sluice_journal_durable_offset", &[]))
    }

    /// Lets it work for so long, and notes what it promises meanwhile.
    pub(crate) fn listen_for(&mut self, duration: Duration, account: &mut Account) {
        let until = Instant::now() + duration;
        while Instant::now() + Duration::from_millis(30) < until {
            self.listen(account);
            std::thread::sleep(Duration::from_millis(25));
        }
        // The one wait of this harness that is for no condition: the moment of the end.
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }

    fn listen(&mut self, account: &mut Account) {
        if let Some(durable) = self.durable() {
            account.promised = account.promised.max(durable);
        }
    }

    pub(crate) fn wait<T>(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> Option<T>) -> T {
        loop {
            if let Some(value) = condition(self) {
                return value;
            }
            let said = || self.process.stderr();
            assert!(self.started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}\n{}", said());
            assert!(!self.process.has_ended(), "the daemon ended: {}", self.process.stderr());
            std::thread::sleep(Duration::from_millis(4));
        }
    }

    pub(crate) fn until_ready(&mut self, account: &mut Account) {
        self.wait("it is ready", |daemon| {
            let address = daemon.find_address()?;
            get(&address, "/v1/health/ready").is_ok_and(|(status, _)| status == 200).then_some(())
        });
        account.slowest_ready = account.slowest_ready.max(self.started.elapsed());
    }

    /// Until it is ready and has taken something new.
    pub(crate) fn until_new_events(&mut self, account: &mut Account) {
        self.until_ready(account);
        let before = self.wait("it tells what is durable", Self::durable);
        // Its own snapshot may be one.
        self.wait("new events become durable", |daemon| (daemon.durable()? > before + 2).then_some(()));
        account.slowest_event = account.slowest_event.max(self.started.elapsed());
        self.listen(account);
    }

    pub(crate) fn end(&mut self, signal: Signal) {
        assert!(!self.process.has_ended(), "the daemon ended by itself: {}", self.process.stderr());
        self.process.signal(signal);
        let status = self.process.end();
        let log = self.process.stderr();
        assert!(!log.contains("panicked"), "{log}");
        if signal == Signal::TERM {
            assert!(status.success(), "{status}: {log}");
        }
    }
}

/// Says the seed when a run fails.
pub(crate) struct TellSeed(pub(crate) u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was seed {0}: TORTURE_SEED={0} does the same to the daemon again", self.0);
        }
    }
}
