//! The stores that the daemon feeds in a run, and what they hold, read by their own means.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::super::nats_server::NatsServer;
use super::super::postgres_server::PostgresServer;
use super::super::processes::get;
use super::super::support::Workplace;
use super::run::Running;

/// The feed is gone, and a batch waits 20 ms.
const QUIET: Duration = Duration::from_millis(500);

/// An event as a store holds it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredRow {
    pub(crate) offset: u64,
    /// Of its payload.
    pub(crate) crc: u32,
}

/// A store under test.
pub(crate) trait StoreUnderTest {
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
pub(crate) struct Stores {
    stores: Vec<Box<dyn StoreUnderTest>>,
    killed: Vec<usize>,
}

impl Stores {
    /// Every kind that there is, with servers of their own.
    pub(crate) fn start(place: &Workplace) -> Self {
        let mut stores = Self::of_files(&place.path("data"));
        stores.stores.push(Box::new(Table { server: PostgresServer::start() }));
        stores.stores.push(Box::new(Stream { server: NatsServer::start() }));
        stores
    }

    /// `postgres` alone.
    #[cfg(feature = "failpoints")]
    pub(crate) fn of_postgres() -> Self {
        Self { stores: vec![Box::new(Table { server: PostgresServer::start() })], killed: Vec::new() }
    }

    /// `nats` alone.
    #[cfg(feature = "failpoints")]
    pub(crate) fn of_nats() -> Self {
        Self { stores: vec![Box::new(Stream { server: NatsServer::start() })], killed: Vec::new() }
    }

    /// Those that are files, in a folder.
    pub(crate) fn of_files(folder: &Path) -> Self {
        let stores: Vec<Box<dyn StoreUnderTest>> =
            vec![Box::new(Lines(folder.join("lines"))), Box::new(Days(folder.join("days")))];
        Self { stores, killed: Vec::new() }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &dyn StoreUnderTest> {
        self.stores.iter().map(Box::as_ref)
    }

    pub(crate) fn servers(&self) -> impl Iterator<Item = &'static str> {
        self.all().filter(|store| store.is_server()).map(StoreUnderTest::name)
    }

    pub(crate) fn settings(&self) -> String {
        let common = "flush_interval = \"20ms\"\n";
        self.all().map(|store| store.settings() + common).collect::<Vec<_>>().join("\n")
    }

    /// Kills one of the servers, if there are any.
    pub(crate) fn kill_one(&mut self, number: usize) -> Option<&'static str> {
        let servers: Vec<usize> = (0..self.stores.len()).filter(|index| self.stores[*index].is_server()).collect();
        let index = *servers.get(number.checked_rem(servers.len())?)?;
        self.stores[index].kill();
        self.killed.push(index);
        Some(self.stores[index].name())
    }

    pub(crate) fn start_again(&mut self) {
        for index in self.killed.drain(..) {
            self.stores[index].start_again();
        }
    }
}

/// Waits until nothing is on its way any more, and every sink has all that is durable. Tells the durable offset.
pub(crate) fn until_caught_up(daemon: &mut Running, stores: &Stores) -> u64 {
    let mut last = (0, Instant::now());
    daemon.wait("every sink has all that is durable", |daemon| {
        let durable = daemon.durable()?;
        if durable != last.0 {
            last = (durable, Instant::now());
        }
        let (_, text) = get(&daemon.address(), "/api/v1/sinks").ok()?;
        let sinks: Vec<Value> = serde_json::from_str(&text).ok()?;
        assert_eq!(sinks.len(), stores.all().count(), "{text}");
        let caught_up = sinks.iter().all(|sink| sink["cursor"].as_u64().is_some_and(|cursor| cursor >= durable));
        (caught_up && last.1.elapsed() > QUIET).then_some(durable)
    })
}

/// `jsonl`: lines as they stand in the files, in the order of their names, which begin with the first offset.
struct Lines(PathBuf);

impl StoreUnderTest for Lines {
    fn name(&self) -> &'static str {
        "jsonl"
    }

    fn settings(&self) -> String {
        format!("[sinks.lines]\nkind = \"jsonl\"\nfolder = \"{}\"\nrotate_size = \"64KiB\"\n", self.0.display())
    }

    fn rows(&self) -> Vec<StoredRow> {
        #[derive(Deserialize)]
        struct Line<'a> {
            offset: u64,
            #[serde(borrow)]
            payload: &'a RawValue,
        }
        let mut rows = Vec::new();
        for path in files(&self.0, "events-") {
            let text = std::fs::read_to_string(path).expect("lines");
            rows.extend(text.lines().map(|line| {
                let line: Line<'_> = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
                StoredRow { offset: line.offset, crc: crc32c::crc32c(line.payload.get().as_bytes()) }
            }));
        }
        rows
    }
}

/// `sqlite`: rows of the day files.
struct Days(PathBuf);

impl StoreUnderTest for Days {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn settings(&self) -> String {
        format!("[sinks.days]\nkind = \"sqlite\"\nfolder = \"{}\"\n", self.0.display())
    }

    fn rows(&self) -> Vec<StoredRow> {
        let mut rows = Vec::new();
        for path in files(&self.0, "events-").into_iter().filter(|path| path.extension().is_some_and(|is| is == "db")) {
            let database = rusqlite::Connection::open(path).expect("a database");
            let check: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("an answer");
            assert_eq!(check, "ok");
            let mut select = database.prepare("SELECT offset, payload FROM events ORDER BY offset").expect("a table");
            let found = select.query_map([], |row| {
                let (offset, payload): (i64, String) = (row.get(0)?, row.get(1)?);
                Ok(StoredRow { offset: offset.cast_unsigned(), crc: crc32c::crc32c(payload.as_bytes()) })
            });
            rows.extend(found.expect("rows").map(|row| row.expect("a row")));
        }
        rows
    }
}

/// The files of a folder whose names begin so, in the order of their names.
fn files(folder: &Path, begin: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(begin)));
    paths.sort();
    paths
}

/// `postgres`: a table in a server of its own. A table has no order; the primary key is what keeps rows from being there twice.
struct Table {
    server: PostgresServer,
}

impl StoreUnderTest for Table {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn settings(&self) -> String {
        format!("[sinks.table]\nkind = \"postgres\"\nurl = {:?}\ntable = \"events\"\n", self.server.url())
    }

    fn rows(&self) -> Vec<StoredRow> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let rows = runtime.block_on(async {
            let (client, connection) =
                tokio_postgres::connect(&self.server.url(), tokio_postgres::NoTls).await.expect("it answers");
            let query = client.query("SELECT \"offset\", payload FROM events ORDER BY \"offset\"", &[]);
            tokio::pin!(query, connection);
            tokio::select! {
                rows = &mut query => rows.expect("rows"),
                ended = &mut connection => panic!("the connection ended: {ended:?}"),
            }
        });
        let stored = |row: &tokio_postgres::Row| StoredRow {
            offset: row.get::<_, i64>(0).cast_unsigned(),
            crc: crc32c::crc32c(row.get::<_, &str>(1).as_bytes()),
        };
        rows.iter().map(stored).collect()
    }

    fn is_server(&self) -> bool {
        true
    }

    fn kill(&mut self) {
        self.server.kill();
    }

    fn start_again(&mut self) {
        self.server.restart();
    }
}

/// `nats`: messages in the order of their stream.
struct Stream {
    server: NatsServer,
}

impl StoreUnderTest for Stream {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn settings(&self) -> String {
        format!("[sinks.stream]\nkind = \"nats\"\nurl = {:?}\nstream = \"EVENTS\"\n", self.server.url())
    }

    fn rows(&self) -> Vec<StoredRow> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut stream = self.server.jetstream().await.get_stream("EVENTS").await.expect("a stream");
            let count = stream.info().await.expect("it tells of itself").state.messages;
            let all = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
            let consumer = stream.create_consumer(all).await.expect("a consumer");
            let mut messages = consumer.messages().await.expect("messages");
            let mut rows = Vec::new();
            for _ in 0..count {
                let message = messages.next().await.expect("as many as it told").expect("a message");
                let headers = message.headers.as_ref().expect("headers");
                let offset = headers.get("Sluice-Offset").and_then(|offset| offset.as_str().parse().ok());
                let crc = crc32c::crc32c(&message.payload);
                rows.push(StoredRow { offset: offset.expect("an offset"), crc });
            }
            rows
        })
    }

    fn is_server(&self) -> bool {
        true
    }

    fn kill(&mut self) {
        self.server.kill();
    }

    fn start_again(&mut self) {
        self.server.begin();
    }
}
