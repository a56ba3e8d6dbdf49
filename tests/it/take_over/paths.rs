//! Take-overs while monitors are compared, and right after they were told to change paths.

use serde_json::Value;

use super::{Provider, WITH_IDS, adds_up, gaps, goes_on, missing, no_trade_twice, take_over};
use crate::paths::ask;
use crate::processes::{Daemon, query, until};
use crate::support::Workplace;

/// On the legacy path each message waits for the disk.
const RATE: u64 = 50;

fn shadow(place: &Workplace, daemon: &Daemon) {
    let outcome = ask(place, daemon, &["monitors", "shadow", "m", "--for", "1h"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    shadow_goes_on(place);
}

fn shadow_goes_on(place: &Workplace) {
    let taken = || query(place, &["--domain", "_shadow.trading"]).len();
    let before = taken();
    until("the shadow is taken", || (taken() > before + 20).then_some(()));
}

/// Every trade is there, once, and nothing is on record as missed.
fn nothing_was_missed(place: &Workplace, provider: Provider, new: Daemon, old_log: &str) {
    assert!(!old_log.contains("have not read as far"), "{old_log}");
    assert_eq!(gaps(place), Vec::<Value>::new(), "{old_log}");
    new.stop();
    let absent = missing(place, &provider.made());
    assert!(absent.is_empty(), "{absent:?}\n{old_log}");
    no_trade_twice(place);
    adds_up(place);
    provider.stop();
}

#[test]
fn a_shadow_is_taken_over_and_neither_waited_for_nor_missed() {
    let provider = Provider::at_rate(RATE);
    let place = Workplace::new();
    let old = Daemon::start(&place, &provider.settings(WITH_IDS));
    goes_on(&place);
    shadow(&place, &old);
    let (new, log) = take_over(&place, old);
    goes_on(&place);
    shadow_goes_on(&place);
    nothing_was_missed(&place, provider, new, &log);
}

#[test]
fn a_take_over_right_behind_a_change_of_paths_takes_every_message_once_and_has_no_gap() {
    let provider = Provider::at_rate(RATE);
    let place = Workplace::new();
    let mut daemon = Daemon::start(&place, &provider.settings(WITH_IDS));
    goes_on(&place);
    let mut log = String::new();
    for fraction in ["0", "1"] {
        let outcome = ask(&place, &daemon, &["canary", "set", fraction]);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        let (new, old_log) = take_over(&place, daemon);
        log.push_str(&old_log);
        daemon = new;
        goes_on(&place);
        let wanted = if fraction == "0" { "legacy" } else { "smart" };
        assert_eq!(daemon.monitors()["m"]["path"], wanted, "it begins where the old one has arrived: {log}");
    }
    nothing_was_missed(&place, provider, daemon, &log);
}

#[test]
fn a_take_over_with_a_shadow_right_behind_a_change_of_paths_takes_every_message_once_and_has_no_gap() {
    let provider = Provider::at_rate(RATE);
    let place = Workplace::new();
    let old = Daemon::start(&place, &provider.settings(WITH_IDS));
    goes_on(&place);
    shadow(&place, &old);
    let outcome = ask(&place, &old, &["canary", "set", "0"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let (new, log) = take_over(&place, old);
    goes_on(&place);
    shadow_goes_on(&place);
    assert_eq!(new.monitors()["m"]["path"], "legacy");
    nothing_was_missed(&place, provider, new, &log);
}
