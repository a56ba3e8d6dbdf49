//! Every style of pages.

use super::exchange::{Exchange, PAGE};
use super::*;

/// A gap is filled by pages of this style, and by more than one of them.
fn fills(backfill: &str) {
    let place = Workplace::new();
    let exchange = Exchange::start();
    let daemon = Daemon::start(&place, &watching(&exchange, backfill));
    live(&place, 40);
    cut(&place, &exchange, PAGE * 4);
    let gap = filled(&place, "disconnect");
    assert!(gap["fetched"].as_u64().unwrap() >= (PAGE * 4) as u64, "{gap}\n{}", daemon.log());
    live(&place, 20);
    all_once(&place, &exchange);
    assert!(exchange.requests().len() > 3, "{:?}", exchange.requests());
    let done = operations(&daemon);
    assert!(
        done.iter().any(|operation| operation["state"] == "done" && operation["outcome"]["gap"] == gap["id"]),
        "{done:?}"
    );
    assert!(daemon.metrics().value("sluice_backfill_events_total", &[("monitor", "m")]) >= (PAGE * 4) as u64);
    let log = daemon.stop();
    assert!(log.contains("gap filled"), "{log}");
    // What was fetched can be told from what a link brought.
    let fetched = query(&place, &["--domain", "_sluice", "--monitor", "fetched"]);
    let records: Vec<Value> = fetched.iter().map(|event| serde_json::from_str(event.payload.get()).unwrap()).collect();
    let of_gap = records.iter().filter(|record| record["gap"] == gap["id"] && record["by"] == "backfill");
    assert_eq!(of_gap.map(|record| record["events"].as_u64().unwrap()).sum::<u64>(), gap["fetched"].as_u64().unwrap());
}

#[test]
fn a_gap_is_filled_page_by_page_from_where_the_last_item_stands() {
    fills(BY_ITEM);
}

#[test]
fn a_gap_is_filled_by_following_a_cursor() {
    fills(
        "path = \"/cursor\"\nparams = { from = \"{from}\", to = \"{to}\", cursor = \"{cursor}\" }\neach = \"/items\"\n\
         range = { by = \"time\", position = \"/time\" }\npages = { by = \"cursor\", next = \"/next\" }",
    );
}

#[test]
fn a_gap_is_filled_by_counting_pages_until_one_is_empty() {
    fills(
        "path = \"/number\"\nparams = { from = \"{from}\", to = \"{to}\", page = \"{page}\" }\neach = \"/items\"\n\
         range = { by = \"time\", position = \"/time\" }\npages = { by = \"number\" }",
    );
}

#[test]
fn a_gap_is_filled_by_following_links() {
    fills(
        "path = \"/link\"\nparams = { from = \"{from}\", to = \"{to}\" }\neach = \"/items\"\n\
         range = { by = \"time\", position = \"/time\" }\npages = { by = \"link\" }",
    );
}

#[test]
fn a_gap_of_numbers_is_split_over_json_rpc_until_answers_are_short_enough() {
    fills(
        "path = \"/rpc\"\nbody = '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"trades\",\"params\":[{from},{to}]}'\neach = \"/result\"\n\
         range = { by = \"sequence\", at = \"/data/id\", position = \"/trade_id\", overlap_count = 3 }\n\
         pages = { by = \"split\", step = 50, too_long = \"too many\" }",
    );
}

#[test]
fn a_gap_of_ids_is_filled_from_the_newest_back_by_a_cursor_in_a_header() {
    fills(
        "path = \"/newest\"\nparams = { to = \"{to}\", before = \"{cursor}\" }\neach = \"/items\"\n\
         range = { by = \"id\", at = \"/data/id\", position = \"/trade_id\" }\n\
         pages = { by = \"cursor\", header = \"x-before\", descending = true }",
    );
}

#[test]
fn a_dry_run_says_what_would_be_asked_and_asks_nobody() {
    let place = Workplace::new();
    let exchange = Exchange::start();
    // No gap is filled by itself.
    let daemon = Daemon::start(&place, &watching(&exchange, &format!("{BY_ITEM}\ncauses = \"unreadable\"")));
    live(&place, 20);
    cut(&place, &exchange, 30);
    let gap = gaps(&place, &["--unfilled", "--cause", "disconnect"]).remove(0);
    let port = format!("server.listen=\"{}\"", daemon.address());
    let fill = |more: &[&str]| -> (Option<i32>, String) {
        let outcome = place
            .run(["--config", "sluice.toml", "--set", &port, "gaps", "fill", "--output", "json"].iter().chain(more));
        (outcome.code, outcome.stdout + &outcome.stderr)
    };
    let number = gap["id"].to_string();
    let (code, text) = fill(&[&number, "--dry-run"]);
    assert_eq!(code, Some(0), "{text}");
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!((rows.len(), &rows[0]["gap"], &rows[0]["state"]), (1, &gap["id"], &Value::from("would_ask")));
    assert!(
        rows[0]["from"].as_str().unwrap().parse::<u64>().unwrap() < rows[0]["to"].as_str().unwrap().parse().unwrap()
    );
    assert!(exchange.requests().is_empty(), "{:?}", exchange.requests());

    let (code, text) = fill(&["999"]);
    assert!(code != Some(0) && text.contains("no gap 999"), "{text}");
    let (code, text) = fill(&["--monitor", "m"]);
    assert!(code == Some(0) && text.contains("queued"), "{text}");
    filled(&place, "disconnect");
    all_once(&place, &exchange);
    let (_, body) = post(&daemon, "/api/v1/gaps/fill", "{\"gap\": true}");
    assert!(body.contains("no request to fill gaps"), "{body}");
    daemon.stop();
}
