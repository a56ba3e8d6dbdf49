//! Attempts with wrong tokens, by peer: after some of them the peer waits, longer each time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many are free: people mistype.
const FREE: u32 = 5;
/// The first wait, doubled with each further attempt.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest. A guess: at two attempts a minute even a short token lasts, and an operator behind the same address can wait.
const WAIT_MAX: Duration = Duration::from_secs(32);
/// After so long without an attempt all is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);
/// Peers that are remembered; the one that waits least goes first.
const PEERS_MAX: usize = 4096;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
    until: Instant,
}

/// Who failed lately.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<HashMap<IpAddr, Failures>>);

/// Whoever has an IPv6 address has 2⁶⁴ of them.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Attempts {
    /// How long this peer has to wait before it may try again.
    pub(super) fn wait(&self, peer: IpAddr, now: Instant) -> Option<Duration> {
        let peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let until = peers.get(&network(peer))?.until;
        until.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// It showed a token that is none.
    pub(super) fn failed(&self, peer: IpAddr, now: Instant) {
        let peer = network(peer);
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= PEERS_MAX && !peers.contains_key(&peer) {
            peers.retain(|_, of| now.duration_since(of.last) < FORGOTTEN_AFTER);
            if peers.len() >= PEERS_MAX {
                let least = peers.iter().min_by_key(|(_, of)| of.until).map(|(peer, _)| *peer);
                least.and_then(|least| peers.remove(&least));
            }
        }
        let of = peers.entry(peer).or_insert(Failures { count: 0, last: now, until: now });
        if now.duration_since(of.last) >= FORGOTTEN_AFTER {
            of.count = 0;
        }
        of.count = of.count.saturating_add(1);
        of.last = now;
        if let Some(beyond) = of.count.checked_sub(FREE) {
            of.until = now + WAIT_MIN.saturating_mul(1 << beyond.min(16)).min(WAIT_MAX);
        }
    }

    /// It showed a good one.
    pub(super) fn succeeded(&self, peer: IpAddr) {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !peers.is_empty() {
            peers.remove(&network(peer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_guesses_waits_longer_each_time_and_others_do_not() {
        let attempts = Attempts::default();
        let (guesser, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        for _ in 1..FREE {
            attempts.failed(guesser, Instant::now());
        }
        assert_eq!(attempts.wait(guesser, Instant::now()), None);
        for seconds in [1, 2, 4, 8, 16, 32, 32] {
            attempts.failed(guesser, Instant::now());
            assert_eq!(attempts.wait(guesser, Instant::now()), Some(Duration::from_secs(seconds)));
            assert_eq!(attempts.wait(other, Instant::now()), None);
            tokio::time::advance(Duration::from_secs(seconds)).await;
            assert_eq!(attempts.wait(guesser, Instant::now()), None);
        }
        attempts.succeeded(guesser);
        attempts.failed(guesser, Instant::now());
        assert_eq!(attempts.wait(guesser, Instant::now()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_peers_guess_few_are_remembered() {
        let attempts = Attempts::default();
        for peer in 0..3 * PEERS_MAX {
            attempts.failed(IpAddr::from(u32::try_from(peer).unwrap().to_be_bytes()), Instant::now());
        }
        assert_eq!(attempts.0.lock().unwrap().len(), PEERS_MAX);
        let [one, neighbour] = ["2001:db8::1", "2001:db8::2"].map(|ip| network(ip.parse().unwrap()));
        assert_eq!(one, neighbour);
    }
}
