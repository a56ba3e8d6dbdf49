//! The daemon is killed over and over under load, at random moments, also while it recovers, and so are the servers that it feeds;
//! and still every durable event is in the journal and in every sink exactly once, in order.
//!
//! The account is kept here, outside of the daemon: what the feed sent is in the simulator's ledger, what was promised is what the
//! daemon's own port told, and what the sinks hold is read from them by their own means. `scripts/torture` runs it as long as asked.

pub(crate) mod account;
mod plan;
mod power_cut;
pub(crate) mod run;
pub(crate) mod stores;

use plan::Plan;

/// Cycles of the share that every run of the tests has.
const SHORT: u32 = 12;

/// A number out of the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

fn seed() -> u64 {
    number("TORTURE_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000))
}

#[test]
fn a_daemon_killed_over_and_over_loses_and_doubles_nothing() {
    let account = run::run(&Plan::new(seed(), SHORT), |_| {});
    println!("{account}");
}

/// A failure prints its seed; with it the same is done to the daemon again.
#[test]
fn a_seed_replays_what_is_done_to_the_daemon() {
    let done = |seed| run::run(&Plan::new(seed, 3), |_| {}).done;
    let first = done(11);
    assert_eq!(first, done(11));
    assert_ne!(Plan::new(11, 100).cycles, Plan::new(12, 100).cycles);
}

#[test]
#[ignore = "takes as long as asked: scripts/torture"]
fn as_long_as_asked() {
    let cycles = number("TORTURE_CYCLES").map_or(SHORT, |cycles| u32::try_from(cycles).expect("fewer cycles"));
    let account = run::run(&Plan::new(seed(), cycles), |said| println!("{said}"));
    println!("{account}");
}
