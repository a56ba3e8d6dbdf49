//! How often something may be done that an upstream limits: connecting, sending.
//!
//! A limit of N within a time holds for *any* span of that time, so what counts is when the last N were: no bucket is refilled, and
//! no window begins anew. All upstreams of the same host and port share their attempts to connect, since that is how providers
//! count them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Rate;
use crate::dialect::Limits;

/// Never more connects at once, whatever the provider allows: links that were lost together do not come back together. Source: a
/// guess; a pool of three is back at once, one of a hundred within some seconds.
const SPREAD: Rate = Rate::new(4, Duration::from_millis(250));

/// No rate counts beyond this: a larger one is held as if it were so much. Source: a guess; published are up to 500.
const COUNT_MAX: usize = 4096;

/// After a wait that the upstream asked for, up to this part of it is waited more, so that not everybody who was sent away comes
/// back at the same moment. Source: a guess.
const HOLD_JITTER: f64 = 0.1;

/// And no more than this.
const HOLD_JITTER_MAX: Duration = Duration::from_secs(5);

/// How long the last of so many attempts to connect, made as soon as each may be, waits for its turn.
pub fn connects_within(attempts: usize, rate: Option<Rate>) -> Duration {
    let last = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    let turn =
        |rate: Rate| rate.per.saturating_mul(last / rate.count.get().min(u32::try_from(COUNT_MAX).unwrap_or(u32::MAX)));
    rate.map_or(Duration::ZERO, turn).max(turn(SPREAD))
}

/// When the last ones were, as many as the largest rate asks for.
#[derive(Debug, Default)]
struct Takes {
    at: VecDeque<Instant>,
}

impl Takes {
    /// When one more is within `rate`; none: now.
    fn next(&self, rate: Rate, now: Instant) -> Option<Instant> {
        let count = (rate.count.get() as usize).min(COUNT_MAX);
        let nth_last = self.at.len().checked_sub(count).map(|place| self.at[place] + rate.per);
        nth_last.filter(|at| *at > now)
    }

    fn take(&mut self, now: Instant, keep: usize) {
        while self.at.len() >= keep.clamp(1, COUNT_MAX) {
            self.at.pop_front();
        }
        self.at.push_back(now);
    }
}

/// The pace of connecting to one host and port. Cheap to clone; all links there go through the same one.
#[derive(Debug, Clone)]
pub struct ConnectPace {
    host: Arc<Mutex<Host>>,
    /// What the provider allows, as this upstream was told.
    rate: Option<Rate>,
}

#[derive(Debug, Default)]
struct Host {
    takes: Takes,
    /// Nobody connects before.
    hold: Option<Instant>,
    random: fastrand::Rng,
}

impl ConnectPace {
    /// When the next connection may be attempted: `now`, or later.
    pub fn next_at(&self, now: Instant) -> Instant {
        self.due(&self.lock(), now).unwrap_or(now)
    }

    /// Takes the right to attempt one connection now.
    ///
    /// # Errors
    /// When that may be done no sooner than this: ask again then. Another may have been quicker.
    pub fn take(&self, now: Instant) -> Result<(), Instant> {
        let mut host = self.lock();
        if let Some(at) = self.due(&host, now) {
            return Err(at);
        }
        host.takes.take(now, COUNT_MAX);
        Ok(())
    }

    /// The upstream wants to be left alone until then; a little is added, which is not the same for everybody. Of two such words
    /// the later one counts.
    pub fn hold_until(&self, now: Instant, until: Instant) {
        let mut host = self.lock();
        let share = HOLD_JITTER * host.random.f64();
        let more = until.saturating_duration_since(now).mul_f64(share).min(HOLD_JITTER_MAX);
        host.hold = host.hold.max(Some(until + more));
    }

    /// Until when the upstream wants to be left alone, if it does.
    pub fn held_until(&self, now: Instant) -> Option<Instant> {
        self.lock().hold.filter(|hold| *hold > now)
    }

    fn due(&self, host: &Host, now: Instant) -> Option<Instant> {
        let rate = self.rate.and_then(|rate| host.takes.next(rate, now));
        let hold = host.hold.filter(|hold| *hold > now);
        rate.max(hold).max(host.takes.next(SPREAD, now))
    }

    fn lock(&self) -> MutexGuard<'_, Host> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every host's pace of connecting. What was attempted there stays known as long as the process lives: an upstream that is taken
/// away and put back is the same to the provider.
#[derive(Debug, Default)]
pub struct Paces {
    /// By host and port; operators name them, so they are few.
    hosts: Mutex<BTreeMap<String, Arc<Mutex<Host>>>>,
}

impl Paces {
    /// The pace of connecting to `address`, host and port, where an upstream allows `rate`. Upstreams that share an address and
    /// were told different rates each keep to their own, counting all attempts.
    pub fn of(&self, address: &str, rate: Option<Rate>) -> ConnectPace {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let host = hosts.entry(address.to_ascii_lowercase()).or_default();
        ConnectPace { host: Arc::clone(host), rate }
    }
}

/// What is to be sent over a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// A request that subscribes or ends a subscription.
    Subscription,
    /// Anything else.
    Other,
}

/// The pace of sending over one link.
#[derive(Debug)]
pub struct SendPace {
    interval: Duration,
    last: Option<Instant>,
    messages: Option<(Rate, Takes)>,
    subscriptions: Option<(Rate, Takes)>,
}

impl SendPace {
    /// Of a new link; what other links sent does not count.
    pub fn new(limits: &Limits) -> Self {
        let takes = |rate: Option<Rate>| rate.map(|rate| (rate, Takes::default()));
        Self {
            interval: limits.send_interval,
            last: None,
            messages: takes(limits.messages),
            subscriptions: takes(limits.subscriptions),
        }
    }

    /// When it may be sent; none: now. A few comparisons.
    pub fn next_at(&self, sending: Sending, now: Instant) -> Option<Instant> {
        let within = |limit: &Option<(Rate, Takes)>| limit.as_ref().and_then(|(rate, takes)| takes.next(*rate, now));
        let interval = self.last.map(|last| last + self.interval).filter(|at| *at > now);
        let subscriptions = if sending == Sending::Subscription { within(&self.subscriptions) } else { None };
        interval.max(within(&self.messages)).max(subscriptions)
    }

    /// It was sent.
    pub fn sent(&mut self, sending: Sending, now: Instant) {
        self.last = Some(now);
        let subscriptions = self.subscriptions.as_mut().filter(|_| sending == Sending::Subscription);
        for (rate, takes) in self.messages.as_mut().into_iter().chain(subscriptions) {
            takes.take(now, rate.count.get() as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Connects as soon as it may, so many times; when each was, from the start.
    async fn connect(pace: &ConnectPace, times: usize) -> Vec<Duration> {
        let start = Instant::now();
        let mut at = Vec::new();
        while at.len() < times {
            match pace.take(Instant::now()) {
                Ok(()) => at.push(start.elapsed()),
                Err(later) => {
                    assert_eq!(pace.next_at(Instant::now()), later);
                    tokio::time::sleep_until(later).await;
                }
            }
        }
        at
    }

    /// The most within any span of so long.
    fn most_within(at: &[Duration], span: Duration) -> usize {
        let within = |from: &Duration| at.iter().filter(|other| **other >= *from && **other < *from + span).count();
        at.iter().map(within).max().unwrap_or(0)
    }

    #[tokio::test(start_paused = true)]
    async fn no_span_of_the_stated_length_has_more_connects_than_the_provider_allows() {
        let pace = Paces::default().of("h:443", Some(Rate::new(10, 60 * SECOND)));
        let first = connect(&pace, 7).await;
        assert!(first[6] < SECOND, "{first:?}");
        tokio::time::sleep(50 * SECOND).await;
        let start = Instant::now();
        let mut all: Vec<Duration> = first.clone();
        let offset = first[6] + 50 * SECOND;
        all.extend(connect(&pace, 30).await.iter().map(|at| *at + offset));
        assert!(start.elapsed() >= 120 * SECOND, "{:?}", start.elapsed());
        assert_eq!(most_within(&all, 60 * SECOND), 10, "{all:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn links_that_were_lost_together_do_not_come_back_together() {
        let pace = Paces::default().of("h:443", None);
        let at = connect(&pace, 100).await;
        assert_eq!(most_within(&at, Duration::from_millis(250)), 4);
        assert_eq!(at[3], Duration::ZERO, "the first few do not wait");
        assert!(at[99] < 7 * SECOND, "{:?}", at[99]);
    }

    #[tokio::test(start_paused = true)]
    async fn upstreams_of_the_same_host_share_their_connects() {
        let paces = Paces::default();
        let (one, other) =
            (paces.of("Host:443", Some(Rate::new(3, SECOND))), paces.of("host:443", Some(Rate::new(2, SECOND))));
        let (elsewhere, now) = (paces.of("host:444", Some(Rate::new(3, SECOND))), Instant::now());
        assert_eq!((one.take(now), one.take(now)), (Ok(()), Ok(())));
        assert_eq!(other.take(now), Err(now + SECOND), "it was told a stricter rate");
        assert_eq!((one.take(now), one.take(now)), (Ok(()), Err(now + SECOND)));
        assert_eq!(elsewhere.take(now), Ok(()));
        let again = paces.of("host:443", Some(Rate::new(3, SECOND)));
        assert_eq!(again.take(now), Err(now + SECOND), "put back, it is the same to the provider");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_upstream_asks_for_blocks_every_link_and_they_come_back_spread() {
        let paces = Paces::default();
        let (pace, other, now) = (paces.of("h:443", None), paces.of("h:443", None), Instant::now());
        pace.hold_until(now, now + 60 * SECOND);
        pace.hold_until(now, now + SECOND);
        let held = other.held_until(now).unwrap();
        assert!(held >= now + 60 * SECOND && held <= now + 66 * SECOND, "{:?}", held - now);
        assert_eq!(other.take(now), Err(held));
        let at = connect(&other, 20).await;
        assert!(at[0] >= 60 * SECOND);
        assert_eq!(most_within(&at, Duration::from_millis(250)), 4);
        assert_eq!(pace.held_until(Instant::now()), None);
    }

    fn limits(messages: Option<Rate>, subscriptions: Option<Rate>) -> Limits {
        Limits {
            topics_per_link: 1,
            idle_links: true,
            send_interval: Duration::from_millis(100),
            connects: None,
            messages,
            subscriptions,
            max_age: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_sends_no_more_than_the_interval_the_messages_and_the_subscriptions_allow() {
        let limits = limits(Some(Rate::new(5, SECOND)), Some(Rate::new(8, 60 * SECOND)));
        let mut pace = SendPace::new(&limits);
        let start = Instant::now();
        let (mut subscriptions, mut all) = (Vec::new(), Vec::new());
        while subscriptions.len() < 20 {
            let now = Instant::now();
            match pace.next_at(Sending::Subscription, now) {
                None => {
                    pace.sent(Sending::Subscription, now);
                    subscriptions.push(start.elapsed());
                    all.push(start.elapsed());
                }
                // A ping meanwhile waits for nothing but the other two.
                Some(at) if pace.next_at(Sending::Other, now).is_none() => {
                    pace.sent(Sending::Other, now);
                    all.push(start.elapsed());
                    tokio::time::sleep_until(at.min(now + SECOND)).await;
                }
                Some(at) => tokio::time::sleep_until(at.min(now + SECOND)).await,
            }
        }
        assert_eq!(most_within(&subscriptions, 60 * SECOND), 8, "{subscriptions:?}");
        assert_eq!(most_within(&all, SECOND), 5);
        assert!(all.windows(2).all(|pair| pair[1] >= pair[0] + limits.send_interval), "{all:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_states_no_rates_is_sent_to_at_its_interval() {
        let mut pace = SendPace::new(&limits(None, None));
        let now = Instant::now();
        assert_eq!(pace.next_at(Sending::Subscription, now), None);
        pace.sent(Sending::Subscription, now);
        assert_eq!(pace.next_at(Sending::Other, now), Some(now + Duration::from_millis(100)));
        assert_eq!(pace.next_at(Sending::Other, now + Duration::from_millis(100)), None);
    }
}
