//! `sluice config infer`: what is proposed for a recorded feed is taken by `config check`, and run against the recording it accounts
//! for every message.

use std::path::Path;

use serde_json::Value;

use super::processes::{Account, Daemon, Feed, Settings, accounts, until};
use super::support::Workplace;

fn data(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name).display().to_string()
}

/// Infers, checks, runs, and gives the monitor's account.
fn run(name: &str, frames: u64) -> (Account, Account, String) {
    let place = Workplace::new();
    let path = data(name);
    let proposed = place.run(["config", "infer", &path]);
    assert_eq!(proposed.code, Some(0), "{}", proposed.stderr);
    let feed = Feed::start(&place, &["--recording", &path, "--patience", "300ms", "--pace", "fast"]);
    let url = proposed.stdout.lines().find(|line| line.starts_with("url = ")).expect("an address");
    place.write("proposed.toml", &proposed.stdout);
    let checked = place.run(["config", "check", "--config", "proposed.toml"]);
    assert_eq!(checked.code, Some(0), "{}\n{}", checked.stderr, proposed.stdout);
    let settings = proposed.stdout.replace(url, &format!("url = \"{}\"", feed.url()));
    let settings = settings.replace("[smart_streaming]\nenabled = true\n", "");
    let settings = Settings::new().with(&settings);
    let daemon = Daemon::start(&place, &settings);
    until("every frame is read", || (daemon.frames("feed") >= frames).then_some(()));
    assert_eq!(daemon.frames("feed"), frames);
    daemon.stop();
    feed.stop();
    let mut accounts = accounts(&place);
    let own = accounts.remove("feed").unwrap_or_default();
    (own, accounts.remove("upstream:feed").unwrap_or_default(), proposed.stdout)
}

#[test]
fn a_feed_whose_topics_are_named_by_two_places_is_inferred_and_accounted_for() {
    let (own, rest, proposed) = run("okx-v5/public_2022-05-13.session.jsonl.gz", 410);
    assert_eq!((own.events, own.quarantined, rest.quarantined), (392, 0, 0), "{proposed}");
    assert_eq!(own.control + rest.control, 18, "{proposed}");
    for line in [
        "topic = [\"{/arg/channel}:{/arg/instId}\", \"{/arg/channel}\"]",
        "id = [\"/arg/channel\", \"/arg/instId\", \"/data/0/tradeId\"]    # 74 distinct of 74, growing",
        "time = \"/data/0/ts\"",
        "time_unit = \"ms\"",
    ] {
        assert!(proposed.contains(line), "{line}\n{proposed}");
    }
}

#[test]
fn a_feed_of_json_rpc_whose_ids_are_learned_is_inferred_and_accounted_for() {
    let (own, rest, proposed) = run("ethereum-jsonrpc/anvil_reorg.session.jsonl.gz", 51);
    assert_eq!((own.events + own.repeats, own.quarantined, rest.quarantined), (49, 0, 0), "{proposed}");
    assert!(proposed.contains("id = \"/params/result/hash\""), "{proposed}");
    assert!(proposed.contains("time_unit = \"hex_s\""), "{proposed}");
}

#[test]
fn a_feed_without_a_recorded_request_is_inferred_and_its_sequence_found() {
    let (own, rest, proposed) = run("binance-futures/combined_2021-07-22.session.jsonl.gz", 1535);
    assert_eq!(own.events + own.repeats, 1535, "{proposed}");
    assert_eq!((own.quarantined, rest.quarantined), (0, 0), "{proposed}");
    assert!(proposed.contains("topic = \"{/stream}\""), "{proposed}");
}

#[test]
fn what_is_no_json_gets_no_guess() {
    let place = Workplace::new();
    let said = place.run(["config", "infer", &data("atproto-firehose-binary/frames_2026-07-04.session.jsonl.gz")]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{}", said.stderr);
    assert!(said.stderr.contains("none of its 60 frames is JSON"), "{}", said.stderr);
}

#[test]
fn programs_get_the_evidence() {
    let place = Workplace::new();
    let path = data("coinbase-exchange/level2_ticker_matches_2021-04-17.session.jsonl.gz");
    let said = place.run(["config", "infer", &path, "--output", "json"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let evidence: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&evidence["messages"], &evidence["control"]), (&6000.into(), &3.into()));
    let parts: Vec<&str> = evidence["routes"][0]["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(parts, ["/type", "/product_id"]);
    let counted: u64 = evidence["topics"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(counted, 5997);
}
