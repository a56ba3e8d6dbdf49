//! What goes wrong while a gap is filled.

use super::exchange::{Exchange, Fault, PAGE};
use super::*;

fn watched(backfill: &str) -> (Workplace, Exchange, Daemon) {
    let (place, exchange) = (Workplace::new(), Exchange::start());
    let daemon = Daemon::start(&place, &watching(&exchange, backfill));
    live(&place, 30);
    (place, exchange, daemon)
}

#[test]
fn a_provider_that_wants_to_be_left_alone_is_and_the_gap_is_filled_later() {
    let (place, exchange, daemon) = watched(BY_ITEM);
    exchange.faults([Fault::Status(429, Some(1)), Fault::Status(503, Some(1)), Fault::Status(429, Some(0))]);
    cut(&place, &exchange, PAGE * 3);
    let gap = filled(&place, "disconnect");
    all_once(&place, &exchange);
    let done = operations(&daemon);
    let operation = done.iter().find(|operation| operation["outcome"]["gap"] == gap["id"]).unwrap();
    assert!(operation["duration_seconds"].as_f64().unwrap() >= 2.0, "it waited as it was told: {operation}");
    let circuits = daemon.get("/api/v1/circuits").1;
    let circuits: Vec<Value> = serde_json::from_str(&circuits).unwrap();
    let circuit = circuits.iter().find(|row| row["kind"] == "backfill" && row["name"] == "x").unwrap();
    assert_eq!((&circuit["state"], &circuit["failures_total"]), (&"closed".into(), &0.into()), "that is no failure");
    daemon.stop();
}

#[test]
fn broken_answers_are_asked_for_again_and_nothing_of_them_is_journaled() {
    let (place, exchange, daemon) = watched(BY_ITEM);
    exchange.faults([
        Fault::Garbage("<html>we are sorry</html>"),
        Fault::CutShort,
        Fault::Status(500, None),
        Fault::Garbage("{\"items\":[{\"trade_id\":1"),
    ]);
    cut(&place, &exchange, PAGE * 3);
    filled(&place, "disconnect");
    all_once(&place, &exchange);
    let quarantined = super::super::processes::quarantined(&place);
    assert!(quarantined.is_empty(), "{quarantined:?}");
    daemon.stop();
}

#[test]
fn a_gap_that_could_not_be_filled_is_tried_again_until_it_is() {
    let (place, exchange, daemon) = watched(BY_ITEM);
    exchange.faults([Fault::Garbage("[]"), Fault::Garbage("{}"), Fault::Garbage("nothing")]);
    cut(&place, &exchange, PAGE * 2);
    until("the first attempt failed", || operations(&daemon).iter().any(|row| row["state"] == "failed").then_some(()));
    assert!(
        gaps(&place, &["--cause", "disconnect"])[0]["filled"].is_null(),
        "what was not filled is not told as filled"
    );
    filled(&place, "disconnect");
    all_once(&place, &exchange);
    daemon.stop();
}

#[test]
fn items_that_nobody_asked_for_are_left_out_and_an_answer_of_nothing_else_is_none() {
    let (place, exchange, daemon) = watched(
        "path = \"/rpc\"\nbody = '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"trades\",\"params\":[{from},{to}]}'\neach = \"/result\"\n\
         range = { by = \"sequence\", at = \"/data/id\", position = \"/trade_id\" }\npages = { by = \"split\", step = 10 }",
    );
    exchange.faults([Fault::WithForeign, Fault::OnlyForeign]);
    cut(&place, &exchange, PAGE * 2);
    until("the first attempt failed", || {
        let failed = operations(&daemon).into_iter().find(|row| row["state"] == "failed")?;
        assert!(failed["error"].as_str().unwrap().contains("none of 5 items is of what was asked for"), "{failed}");
        Some(())
    });
    filled(&place, "disconnect");
    all_once(&place, &exchange);
    assert!(ids(&place).iter().all(|id| *id < 1_000_000), "nothing of somebody else's is in the journal");
    daemon.stop();
}

#[test]
fn killed_in_the_middle_it_begins_again_at_the_next_start_and_nothing_is_there_twice() {
    let (place, exchange, daemon) = watched(BY_ITEM);
    let seen = ids(&place);
    exchange.answers(Some(2));
    cut(&place, &exchange, PAGE * 5);
    until("the third page is asked for", || (exchange.requests().len() >= 3).then_some(()));
    let first_page = *seen.last().unwrap() + 5;
    until("something of the first pages is durable", || ids(&place).contains(&first_page).then_some(()));
    daemon.kill();
    assert!(gaps(&place, &["--cause", "disconnect"])[0]["filled"].is_null());
    exchange.trade_on(PAGE * 2);
    exchange.answers(None);
    let daemon = Daemon::again(&place);
    let gap = filled(&place, "disconnect");
    assert!(gap["fetched"].as_u64().unwrap() >= (PAGE * 5) as u64, "what the first attempt brought counts too: {gap}");
    filled(&place, "downtime");
    all_once(&place, &exchange);
    daemon.stop();
}

#[test]
fn a_gap_by_downtime_is_filled_after_the_start() {
    let (place, exchange, daemon) = watched(BY_ITEM);
    daemon.stop();
    exchange.trade_on(PAGE * 3);
    let daemon = Daemon::again(&place);
    filled(&place, "downtime");
    all_once(&place, &exchange);
    let completeness: Value = serde_json::from_str(&json(&place, &["gaps", "completeness"])).unwrap();
    assert_eq!(completeness["total"]["completeness"], 1.0, "{completeness}");
    daemon.stop();
}

#[test]
fn what_the_provider_has_no_longer_stays_missing_and_is_told() {
    let backfill = BY_ITEM.replace("by = \"time\"", "by = \"time\", reach = \"1s\"");
    let (place, exchange, daemon) = watched(&backfill);
    exchange.close();
    until("it is lost", || (!gaps(&place, &["--open"]).is_empty()).then_some(()));
    let start: jiff::Timestamp = gaps(&place, &["--open"])[0]["start"].as_str().unwrap().parse().unwrap();
    until("the gap is longer than the reach", || {
        (jiff::Timestamp::now().duration_since(start).as_secs_f64() > 2.0).then_some(())
    });
    exchange.open();
    let gap = until("it is filled in part", || {
        gaps(&place, &["--cause", "disconnect"]).into_iter().find(|gap| gap["filled"] == "backfill")
    });
    assert_eq!(gap["left_from"], gap["start"], "{gap}");
    let left: jiff::Timestamp = gap["left_to"].as_str().unwrap().parse().unwrap();
    assert!(left > start, "{gap}");
    assert_eq!(gaps(&place, &["--cause", "disconnect", "--unfilled"]).len(), 1, "it counts as not filled");
    daemon.stop();
}

#[test]
fn a_declaration_that_cannot_be_used_is_refused_before_anything_starts() {
    let (place, exchange) = (Workplace::new(), Exchange::start());
    for (backfill, says) in [
        ("path = \"/x\"", "`range` is missing"),
        ("path = \"/{symbl}\"\nrange = { by = \"time\" }", "knows no `{symbl}`"),
        ("topic = \"other:{x}\"\nrange = { by = \"time\" }", "for none of the monitor's topics"),
        ("rnage = 1", "no such setting; did you mean `range`?"),
    ] {
        watching(&exchange, backfill).write(&place);
        let outcome = place.run(["config", "check", "--config", "sluice.toml"]);
        assert_eq!(outcome.code, Some(78), "{backfill}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(says), "{backfill}: {}", outcome.stderr);
    }
}
