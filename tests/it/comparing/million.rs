//! A million rows in PostgreSQL.

use std::process::Stdio;
use std::sync::Arc;

use sluice::clock::UnixNanos;
use sluice::journal::{
    BlockBuilder, DedupeHash, Encoder, EventId, MonitorIdentity, NewEvent, Part, Path as Way, SourceSlot,
};

use super::support::{START, append, counts, examples, named, place};
use crate::journal::support::open;
use crate::postgres_server::PostgresServer;
use crate::processes::until_within;

const ROWS: u64 = 1_000_000;

/// What the process may have resident. Its records alone, 56 bytes each on both sides, would be 107 MiB.
const RESIDENT_MAX_KIB: u64 = 80 << 10;

/// A journal of a million trades, one a millisecond.
fn write(folder: &std::path::Path) {
    std::fs::create_dir_all(folder).unwrap();
    let journal = open(folder);
    let monitor = Arc::new(MonitorIdentity { index: 0, name: "trades".into(), domain: "spot".into() });
    let mut encoder = Encoder::new();
    for block in 0..ROWS / 5000 {
        let mut builder = BlockBuilder::new(Way::Smart);
        let source = builder.source(&monitor, "topic", SourceSlot(0));
        for number in block * 5000..(block + 1) * 5000 {
            let payload = format!("{{\"t\":{number},\"p\":{}}}", number % 7919);
            let end = u32::try_from(payload.find(',').unwrap()).unwrap();
            builder.push(&NewEvent {
                source,
                received: UnixNanos(START + i64::try_from(number).unwrap() * 1_000_000),
                event_time: None,
                payload: payload.as_bytes(),
                id: EventId::Parts(&[Part::Span { start: 5, end }]),
                key: None,
                hash: Some(DedupeHash { hash: number.into(), payload_check: 1 }),
                conflict: false,
                handover: false,
            });
        }
        append(&journal, builder, &mut encoder);
    }
    journal.close().unwrap();
}

#[test]
fn seeded_differences_in_a_million_rows_are_found_exactly_in_bounded_memory() {
    let place = place();
    let server = PostgresServer::start();
    std::thread::scope(|scope| {
        scope.spawn(|| write(&place.path("data/journal")));
        // Each 3 ms later than the journal has it.
        server.sql(&format!(
            "CREATE UNLOGGED TABLE trades AS SELECT n AS trade_id, format('{{\"t\":%s,\"p\":%s}}', n, n % 7919) AS raw, \
             '2026-01-01T00:00:00Z'::timestamptz + (n + 3) * interval '1 ms' AS at FROM generate_series(0, {} - 1) AS n; \
             DELETE FROM trades WHERE trade_id IN (17, 250017, 999999); \
             INSERT INTO trades SELECT trade_id + 5000000, raw, at FROM trades WHERE trade_id IN (1, 500000); \
             INSERT INTO trades SELECT * FROM trades WHERE trade_id = 77; \
             UPDATE trades SET raw = raw || ' ' WHERE trade_id IN (5, 600000, 999998); ANALYZE trades",
            ROWS
        ));
    });
    let against = format!("postgres:{}?table=trades&id=trade_id&payload=raw&time=at", server.url());
    let command = ["--config", "sluice.toml", "verify", "--against", &against, "--output", "json", "--memory", "8MiB"];
    let mut child = place.command(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut resident = 0;
    until_within(std::time::Duration::from_secs(100), "it has compared", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        resident = peak.and_then(|peak| peak.split_whitespace().next()?.parse().ok()).unwrap_or(resident).max(resident);
        child.try_wait().unwrap()
    });
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let told = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(counts(&told), [ROWS - 3, 3, 3, 3], "{told}");
    let mut found = examples(&told);
    found.sort();
    let mut expected = named(&[
        ("missing", 17),
        ("missing", 250_017),
        ("missing", 999_999),
        ("extra", 77),
        ("extra", 5_000_001),
        ("extra", 5_500_000),
        ("differing", 5),
        ("differing", 600_000),
        ("differing", 999_998),
    ]);
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(told["store_delay"]["later"]["events"], ROWS - 3);
    assert_eq!(told["store_delay"]["later"]["max_ms"], 3.0);
    assert!(resident > 0 && resident < RESIDENT_MAX_KIB, "{resident} KiB were resident");
    let left = std::fs::read_dir(place.path("data")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["journal"], "nothing stays in the data folder");
}
