//! Three upstreams, each behind a proxy that spoils its connections, each of which misbehaves by itself as well and is killed now and
//! then; and still every message that they made is in the journal exactly once, or within a gap that the journal tells of.
//!
//! The account is kept here, outside of the daemon: the simulators tell what they made, whether or not they could send it, and the
//! journal is read as any reader beside the daemon does. All that is done follows from a seed. `scripts/chaos` runs it as long as
//! asked.

mod account;
mod feed;
mod plan;
mod run;

use std::time::Duration;

/// Of faults, in every run of the tests.
const SHORT: Duration = Duration::from_secs(15);

/// A number out of the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

fn seed() -> u64 {
    number("CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000))
}

#[test]
fn under_faults_of_every_kind_each_message_that_was_made_is_journaled_once_or_within_a_gap() {
    let account = run::run(seed(), SHORT, |_| {});
    println!("{account}");
    account.assert_right();
}

#[test]
#[ignore = "takes as long as asked: scripts/chaos"]
fn as_long_as_asked() {
    let account =
        run::run(seed(), number("CHAOS_SECONDS").map_or(SHORT, Duration::from_secs), |said| println!("{said}"));
    println!("{account}");
    account.assert_right();
}
