//! The stores that the daemon feeds in a run, and what they hold, read by their own means.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::super::support::Workplace;
use super::run::Running;

/// The feed is gone, and a batch waits 20 ms.
const QUIET: Duration = Duration::from_millis(500);

/// An event as a store holds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoredRow {
    pub(super) offset: u64,
    /// Of its payload.
    pub(super) crc: u32,
}

/// A store under test.
pub(super) trait StoreUnderTest {
    fn name(&self) -> &'static str;
    /// Its `[sinks.…]`.
    fn settings(&self) -> String;
    /// All that it holds, in its own order.
    fn rows(&self) -> Vec<StoredRow>;
    /// Whether it is a server, which can be killed and started again.
    fn is_server(&self) -> bool {
        false
    }
    fn kill(&mut self) {}
    fn start_again(&mut self) {}
}

/// All of them.
pub(super) struct Stores {
    stores: Vec<Box<dyn StoreUnderTest>>,
    killed: Vec<usize>,
}

impl Stores {
    pub(super) fn start(_place: &Workplace) -> Self {
        Self { stores: Vec::new(), killed: Vec::new() }
    }

    /// Those that are files, in a folder.
    pub(super) fn of_files(_folder: &Path) -> Self {
        Self { stores: Vec::new(), killed: Vec::new() }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &dyn StoreUnderTest> {
        self.stores.iter().map(Box::as_ref)
    }

    pub(super) fn servers(&self) -> impl Iterator<Item = &'static str> {
        self.all().filter(|store| store.is_server()).map(StoreUnderTest::name)
    }

    pub(super) fn settings(&self) -> String {
        self.all().map(StoreUnderTest::settings).collect::<Vec<_>>().join("\n")
    }

    /// Kills one of the servers, if there are any.
    pub(super) fn kill_one(&mut self, number: usize) -> Option<&'static str> {
        let servers: Vec<usize> = (0..self.stores.len()).filter(|index| self.stores[*index].is_server()).collect();
        let index = *servers.get(number.checked_rem(servers.len())?)?;
        self.stores[index].kill();
        self.killed.push(index);
        Some(self.stores[index].name())
    }

    pub(super) fn start_again(&mut self) {
        for index in self.killed.drain(..) {
            self.stores[index].start_again();
        }
    }
}

/// Waits until nothing is on its way any more, and every sink has all that is durable. Tells the durable offset.
pub(super) fn until_caught_up(daemon: &mut Running, _stores: &Stores) -> u64 {
    let mut last = (0, Instant::now());
    daemon.wait("nothing is on its way any more", |daemon| {
        let durable = daemon.durable()?;
        if durable != last.0 {
            last = (durable, Instant::now());
        }
        (last.1.elapsed() > QUIET).then_some(durable)
    })
}
