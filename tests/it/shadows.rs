//! A monitor that both paths take, to be compared: its events go to a domain of their own and nowhere else, and differences show.

use serde_json::Value;
use sluice::simulator::{SimulatedDialect, Simulator, SimulatorSettings};
use tokio::runtime::Runtime;

use super::paths::ask;
use super::processes::{Daemon, Settings, accounts, json as printed, query, until};
use super::support::Workplace;

const EVENT: &str = "event = { id = [\"/stream\", \"/data/t\"], time = \"/data/E\" }";

fn events(place: &Workplace, domain: &str) -> usize {
    query(place, &["--domain", domain]).len()
}

#[test]
fn a_shadow_goes_to_its_own_domain_and_to_no_sink_and_ends_at_its_time_and_survives_a_restart() {
    let runtime = Runtime::new().unwrap();
    let settings = SimulatorSettings { rate: 100, ..SimulatorSettings::synthetic(SimulatedDialect::Binance) };
    let feed = runtime.block_on(Simulator::start(settings)).unwrap();
    let place = Workplace::new();
    let settings = Settings::new()
        .upstream("feed", "binance", &feed.url())
        .monitor("a", "spot", "feed", &["btcusdt@trade"], EVENT)
        .monitor("b", "spot", "feed", &["ethusdt@trade"], EVENT)
        .with("[sinks.all]\nkind = \"jsonl\"\nfolder = \"out\"\nmonitors = [\"a\", \"b\"]\n");
    let mut daemon = Daemon::start(&place, &settings);
    let outcome = ask(&place, &daemon, &["monitors", "shadow", "a", "--for", "1h"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("legacy") && outcome.stdout.contains("_shadow.spot"), "{}", outcome.stdout);
    until("the shadow is taken", || (events(&place, "_shadow.spot") > 20).then_some(()));
    daemon.kill();
    daemon = Daemon::again(&place);
    let before = events(&place, "_shadow.spot");
    until("it goes on after a restart", || (events(&place, "_shadow.spot") > before + 20).then_some(()));
    let shadows = query(&place, &["--domain", "_shadow.spot"]);
    assert!(shadows.iter().all(|event| event.monitor == "a" && event.path == "legacy"), "by the other path alone");
    let live = query(&place, &["--monitor", "a"]);
    assert!(live.iter().all(|event| event.domain == "spot" && event.path == "smart"), "what counts stays where it was");
    assert_eq!(printed(&place, &["gaps", "--cause", "handover"]).trim(), "[]", "a shadow misses nothing of anybody's");
    let outcome = ask(&place, &daemon, &["monitors", "shadow", "a", "--for", "100ms"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    until("its connection is gone at its time", || {
        let pool: Vec<Value> = serde_json::from_str(&daemon.get("/api/v1/pool").1).unwrap();
        pool.iter().all(|row| row["path"] == "smart").then_some(())
    });
    daemon.stop();
    let mut rows = 0;
    for entry in std::fs::read_dir(place.path("out")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read(&path).unwrap();
        let text =
            if path.extension().is_some_and(|end| end == "zst") { zstd::decode_all(&*text).unwrap() } else { text };
        for line in String::from_utf8(text).unwrap().lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            // The last line of a file says how far it goes.
            if row.get("payload").is_some() {
                assert_eq!(row["domain"], "spot", "no shadow in a sink: {row}");
                rows += 1;
            }
        }
    }
    assert!(rows > 40, "{rows} rows");
    runtime.block_on(feed.stop()).unwrap();
}

#[test]
fn two_paths_that_are_given_the_same_are_found_the_same_by_the_comparison() {
    let runtime = Runtime::new().unwrap();
    let settings = SimulatorSettings { rate: 200, ..SimulatorSettings::synthetic(SimulatedDialect::Binance) };
    let feed = runtime.block_on(Simulator::start(settings)).unwrap();
    let place = Workplace::new();
    let settings = Settings::new().upstream("feed", "binance", &feed.url()).monitor(
        "a",
        "spot",
        "feed",
        &["btcusdt@trade"],
        EVENT,
    );
    let daemon = Daemon::start(&place, &settings);
    until("events", || (accounts(&place).get("a")?.events > 20).then_some(()));
    assert_eq!(ask(&place, &daemon, &["monitors", "shadow", "a", "--for", "1h"]).code, Some(0));
    let begun = until("the shadow is taken", || query(&place, &["--domain", "_shadow.spot"]).into_iter().nth(5));
    let ended = until("both have more", || query(&place, &["--domain", "_shadow.spot"]).into_iter().nth(200));
    let span = ["--since", &begun.received_time, "--until", &ended.received_time];
    until("both are past the span", || {
        let last = query(&place, &["--domain", "_shadow.spot"]).pop()?.received_time;
        let live = query(&place, &["--monitor", "a"]).pop()?.received_time;
        (last > ended.received_time && live > ended.received_time).then_some(())
    });
    daemon.stop();
    let compared = printed(&place, &[&["monitors", "compare", "a"], &span[..]].concat());
    let compared: Value = serde_json::from_str(&compared).unwrap();
    for (name, wanted) in [("only_smart", 0), ("only_legacy", 0), ("differing", 0)] {
        assert_eq!(compared[name].as_u64(), Some(wanted), "{name}: {compared}");
    }
    assert!(compared["in_both"].as_u64().is_some_and(|both| both >= 190), "{compared}");
    runtime.block_on(feed.stop()).unwrap();
}

#[test]
fn a_shadow_of_nobody_or_for_no_time_is_refused_with_what_to_do() {
    let place = Workplace::new();
    let settings = Settings::new().upstream("feed", "binance", "ws://127.0.0.1:1").monitor(
        "a",
        "spot",
        "feed",
        &["btcusdt@trade"],
        EVENT,
    );
    let daemon = Daemon::start(&place, &settings);
    let outcome = ask(&place, &daemon, &["monitors", "shadow", "nobody", "--for", "1h"]);
    assert!(outcome.code != Some(0) && outcome.stderr.contains("nobody"), "{}", outcome.stderr);
    let outcome = ask(&place, &daemon, &["monitors", "shadow", "a"]);
    assert!(outcome.code == Some(2) && outcome.stderr.contains("--for"), "{}", outcome.stderr);
    let outcome = ask(&place, &daemon, &["monitors", "shadow", "a", "--stop"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    daemon.stop();
}
