//! On paused time.

use super::policy::{FAILURES_IN_A_ROW, OPEN_MAX};
use super::*;

fn breaker() -> Breaker {
    Breaker::new(CircuitKind::Sink, "s")
}

fn opened() -> Breaker {
    let breaker = breaker();
    for _ in 0..FAILURES_IN_A_ROW {
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.permit().unwrap().failed("it is dead");
    }
    assert_eq!(breaker.state(), BreakerState::Open);
    breaker
}

async fn half_open(breaker: &Breaker) -> Permit {
    let Err(Refusal::Until(until)) = breaker.permit() else { panic!("it is open") };
    assert!(until <= Instant::now() + OPEN_MAX);
    tokio::time::sleep_until(until).await;
    breaker.permit().unwrap()
}

#[tokio::test(start_paused = true)]
async fn while_half_open_one_call_passes_and_what_came_of_it_decides() {
    let breaker = opened();
    let probe = half_open(&breaker).await;
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    for _ in 0..10 {
        assert_eq!(breaker.permit().unwrap_err(), Refusal::Probing);
    }
    probe.failed("it is dead");
    assert_eq!(breaker.state(), BreakerState::Open, "one failure is enough");
    half_open(&breaker).await.succeeded();
    assert_eq!(breaker.state(), BreakerState::Closed);
    breaker.permit().unwrap().failed("it is dead");
    assert_eq!(breaker.state(), BreakerState::Closed, "one failure is no reason again");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_given_up_lets_another_one_pass() {
    let breaker = opened();
    drop(half_open(&breaker).await);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    breaker.permit().unwrap().succeeded();
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_every_other_time_opens_and_stays_open_ever_longer() {
    let breaker = breaker();
    let (mut opened, mut waits) = (0, Vec::new());
    for call in 0_u32..400 {
        let permit = match breaker.permit() {
            Ok(permit) => permit,
            Err(Refusal::Until(until)) => {
                opened += 1;
                waits.push(until - Instant::now());
                tokio::time::sleep_until(until).await;
                breaker.permit().unwrap()
            }
            Err(other) => panic!("{other:?}"),
        };
        if call % 2 == 0 { permit.failed("it is dead") } else { permit.succeeded() }
    }
    assert!(opened >= 5, "{opened}");
    assert!(waits.last() > waits.first() && waits.iter().all(|wait| *wait <= OPEN_MAX), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn an_operator_holds_it_open_or_closed_until_it_is_reset() {
    let breaker = breaker();
    breaker.force(Forced::Open, "a test");
    assert_eq!((breaker.state(), breaker.permit().unwrap_err()), (BreakerState::Open, Refusal::Forced));
    breaker.force(Forced::Closed, "a test");
    for _ in 0..100 {
        breaker.permit().unwrap().failed("it is dead");
    }
    let now = breaker.now();
    assert_eq!((now.state, now.forced), (BreakerState::Closed, Some(Forced::Closed)));
    assert_eq!((now.failures_in_a_row, now.failures, now.openings), (100, 100, 0));
    breaker.reset("a test");
    let now = breaker.now();
    assert_eq!((now.state, now.forced, now.failures_in_a_row), (BreakerState::Closed, None, 0));
}

#[tokio::test(start_paused = true)]
async fn it_tells_why_it_opened_and_how_often() {
    let breaker = opened();
    let now = breaker.now();
    assert_eq!((now.failures_in_a_row, now.openings, now.last_error.as_deref()), (5, 1, Some("it is dead")));
    half_open(&breaker).await.failed("still");
    half_open(&breaker).await.succeeded();
    let now = breaker.now();
    assert_eq!((now.failures_in_a_row, now.failures, now.openings), (0, 6, 2));
    assert_eq!(now.last_error.as_deref(), Some("still"), "the last error stays to be read");
}

#[tokio::test(start_paused = true)]
async fn a_reset_lets_calls_pass_at_once_and_tells_who_waits() {
    let breaker = opened();
    let probe = half_open(&breaker).await;
    let mut changes = breaker.changes();
    breaker.reset("a test");
    changes.changed().await.unwrap();
    assert_eq!(*changes.borrow(), BreakerState::Closed);
    for _ in 0..FAILURES_IN_A_ROW - 1 {
        breaker.permit().unwrap().failed("it is dead");
    }
    probe.failed("a call from before the reset");
    assert_eq!(breaker.state(), BreakerState::Closed, "what began before the reset counts no more");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_switched_off_never_opens() {
    let breaker = Breaker::disabled(CircuitKind::Upstream, "u");
    for _ in 0..100 {
        breaker.permit().unwrap().failed("it is dead");
    }
    breaker.force(Forced::Open, "a test");
    let now = breaker.now();
    assert_eq!((now.state, now.enabled), (BreakerState::Closed, false));
    assert!(breaker.permit().is_ok());
}
