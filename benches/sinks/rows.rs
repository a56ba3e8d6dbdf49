//! Rows that sinks are measured with, and figures of a row.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sluice::clock::UnixNanos;
use sluice::config::Settings;
use sluice::journal::{
    BlockBuilder, Encoder, EventId, Journal, JournalOptions, MonitorIdentity, NewEvent, Offset, Part, Path as Way,
    SourceSlot,
};

use super::taking::Taken;

/// A journal of messages like those of an exchange, all durable.
pub(crate) fn fill_journal(dir: &Path, rows: u64) -> Arc<Journal> {
    let (journal, _) = Journal::open(dir, JournalOptions::new(Settings::default().journal)).expect("a journal");
    let monitor = Arc::new(MonitorIdentity { index: 0, name: "spot-trades".into(), domain: "trading".into() });
    let (mut builder, mut encoder) = (BlockBuilder::new(Way::Smart), Encoder::new());
    let mut random = fastrand::Rng::with_seed(7);
    let now = UnixNanos::now().0;
    for from in (0..rows).step_by(1_000) {
        for number in from..(from + 1_000).min(rows) {
            let symbol = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"][random.usize(..4)];
            let millis = now / 1_000_000 + i64::try_from(number).unwrap_or(0) / 50;
            let text = format!(
                r#"{{"stream":"{}@trade","data":{{"e":"trade","E":{millis},"s":"{symbol}","t":{},"p":"{}.{:02}000000","q":"0.{:05}000","T":{millis},"m":{},"M":true}}}}"#,
                symbol.to_lowercase(),
                4_000_000_000 + number,
                60_000 + random.u32(..200),
                random.u32(..100),
                random.u32(..100_000),
                random.bool(),
            );
            let part = |needle: &str, len: u32| {
                let start = u32::try_from(text.find(needle).expect("it is there") + needle.len()).unwrap_or(0);
                Part::Span { start, end: start + len }
            };
            let source =
                builder.source(&monitor, &format!("{}@trade", symbol.to_lowercase()), SourceSlot(index(symbol)));
            builder.push(&NewEvent {
                source,
                received: UnixNanos(now + i64::try_from(number).unwrap_or(0) * 20_000),
                event_time: Some(UnixNanos(millis * 1_000_000)),
                payload: text.as_bytes(),
                id: EventId::Parts(&[part(r#""t":"#, 10)]),
                key: Some(part(r#""s":"#, 9)),
                hash: None,
                conflict: false,
                handover: false,
            });
        }
        let mut block = builder.finish(&mut encoder);
        while let Err(back) = journal.try_submit(block) {
            block = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    while journal.durable() < Offset(rows) {
        std::thread::sleep(Duration::from_millis(1));
    }
    Arc::new(journal)
}

fn index(symbol: &str) -> u32 {
    symbol.bytes().next().map_or(0, u32::from)
}

/// Microseconds.
pub(crate) fn cpu_per_row(rows: u64, taken: &Taken) -> f64 {
    taken.cpu.as_secs_f64() * 1e6 / as_float(rows)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) fn as_float(rows: u64) -> f64 {
    rows as f64
}

/// In thousands.
pub(crate) fn per_second(rows: u64, elapsed: Duration) -> f64 {
    as_float(rows) / elapsed.as_secs_f64() / 1000.0
}

/// The median, and all.
pub(crate) fn summary(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let all: Vec<String> = values.iter().map(|value| format!("{value:.digits$}")).collect();
    format!("{:.digits$} ({})", sorted[sorted.len() / 2], all.join(" "))
}
