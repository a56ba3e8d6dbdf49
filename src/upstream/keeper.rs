//! Keeps a pool: which links are open, which topics are on which, and what becomes of those of a lost one.
//!
//! One task an upstream. It decides, and waits for nothing but what may happen next; connecting and everything about messages is
//! done by a task for each link, which takes [`Order`]s and sends [`Report`]s.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{Object, Pool, PoolError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::connect::Connector;
use super::link::{Begin, Link, LinkEnd};
use super::orders::{Keeping, ORDERS_MAX, Order, REPORTS_MAX, Report};
use super::placement::{Placement, SlotNumber, Step, Steps, links_wanted};
use super::pool::Shared;
use super::resume::{QUERY, ResumePoint};
use super::status::{LinkState, TopicState};
use crate::backoff::Backoff;
use crate::dialect::TopicId;
use crate::monitor::roster::Roster;

/// How often loads are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How far loads of links may differ, as a part of their mean, before topics are moved. Source: a guess.
const TOLERANCE: f64 = 0.4;

/// So many looks in a row must find links uneven, so that a burst moves nothing. Source: a guess.
const UNEVEN_LOOKS: u32 = 10;

/// So many looks in a row must find a pool too small. Source: a guess; opening is cheap, and closing what is wanted again soon is
/// not, so that a pool that is too large is looked at for longer: `pool.shrink_after`.
const CROWDED_LOOKS: u32 = 3;

/// A pool shrinks only where the links that remain would be loaded up to here. Source: a guess.
const SHRINK_TO: f64 = 0.5;

/// What a slot is doing.
enum Doing {
    /// Nothing: it is not needed.
    Idle,
    /// Waiting for its next attempt.
    Waiting { until: Instant },
    /// Connecting, or open.
    Busy { orders: mpsc::Sender<Order>, open: bool, stop: CancellationToken },
}

/// The place of a link.
struct Slot {
    doing: Doing,
    /// What the link has no room for yet.
    pending: VecDeque<Order>,
    backoff: Backoff,
    /// The next attempt is no sooner.
    not_before: Instant,
    /// Whether it is to be closed when its last topic has gone.
    closing: bool,
}

/// How a link's task ended.
enum SlotEnd {
    Stopped,
    Lost { reason: String, cause: &'static str, stay_away: Option<Duration>, lasted: Option<Duration> },
}

/// The task of an upstream.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    connections: Pool<Connector>,
    wanted: watch::Receiver<Arc<Roster>>,
    placement: Placement,
    slots: Vec<Slot>,
    tasks: JoinSet<(SlotNumber, SlotEnd)>,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
    /// Slots that are to have links.
    links: usize,
    uneven: u32,
    crowded: u32,
    /// Since when every look has found the pool too large.
    roomy: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, connections: Pool<Connector>, wanted: watch::Receiver<Arc<Roster>>) -> Self {
        let slots = connections.status().max_size;
        let slot = || Slot {
            doing: Doing::Idle,
            pending: VecDeque::new(),
            backoff: Backoff::new(shared.pool.backoff_min, shared.pool.backoff_max),
            not_before: Instant::now(),
            closing: false,
        };
        Self {
            placement: Placement::new(slots, shared.limits.topics_per_link),
            slots: std::iter::repeat_with(slot).take(slots).collect(),
            tasks: JoinSet::new(),
            reports: mpsc::channel(REPORTS_MAX),
            links: 0,
            uneven: 0,
            crowded: 0,
            roomy: None,
            shared,
            connections,
            wanted,
        }
    }

    /// Until `stop` is given; what was read before is then in the journal's hands.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        self.take_roster();
        let mut next_look = Instant::now() + LOOK;
        loop {
            self.tend(&stop);
            let next = self.next_attempt().map_or(next_look, |at| at.min(next_look));
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                changed = self.wanted.changed() => {
                    // A sender lives as long as the daemon's view of this upstream; without one nothing changes any more.
                    if changed.is_ok() {
                        self.take_roster();
                    } else {
                        stop.cancelled().await;
                        break;
                    }
                }
                Some(report) = self.reports.1.recv() => self.heard(&report),
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok((slot, end)) => self.link_ended(slot, end),
                    Err(error) => self.broken(error),
                },
                () = sleep_until(next) => {
                    if Instant::now() >= next_look {
                        self.look();
                        next_look = Instant::now() + LOOK;
                    }
                }
            }
        }
        // Links hear `stop` themselves. Their reports and orders are of no more use.
        self.reports.1.close();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                self.broken(error);
            }
        }
        (0..self.slots.len()).for_each(|slot| self.shared.status.set_link(slot, LinkState::Idle));
    }

    /// A bug of ours. The supervisor, which sees this, stops everything in order.
    fn broken(&self, error: tokio::task::JoinError) {
        tracing::error!(upstream = %self.shared.name, %error, "a link's task ended; this is a bug");
        if error.is_panic() {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    /// Takes the newest generation of the roster: links are told of it before they are told of its topics.
    fn take_roster(&mut self) {
        let roster = Arc::clone(&self.wanted.borrow_and_update());
        self.shared.status.grow(roster.topics.len());
        self.shared.set_roster(Arc::clone(&roster));
        for slot in &mut self.slots {
            if let Doing::Busy { .. } = slot.doing {
                slot.pending.retain(|order| !matches!(order, Order::Adopt(_)));
                slot.pending.push_back(Order::Adopt(Arc::clone(&roster)));
            }
        }
        self.resize(&roster);
        let before: Vec<TopicId> = self.placement.left_out().collect();
        let steps = self.placement.want(&roster);
        self.order(steps);
        let left_out: Vec<TopicId> = self.placement.left_out().collect();
        let now_wanted = before.iter().copied().filter(|topic| !left_out.contains(topic));
        self.shared.status.set_topics(now_wanted, &TopicState::Waiting);
        self.shared.status.set_topics(left_out.iter().copied(), &TopicState::LeftOut);
        if !left_out.is_empty() && left_out != before {
            tracing::error!(
                upstream = %self.shared.name, left_out = left_out.len(), links = self.links,
                topics_per_link = self.shared.limits.topics_per_link,
                "not all topics fit; the least important are left out: raise `pool.max_connections` or `topics_per_link`"
            );
        }
    }

    /// As many links as the topics of a roster need, and no fewer than load has made it.
    fn resize(&mut self, roster: &Roster) {
        let wanted = roster.topic_priorities.iter().flatten().count();
        let needed = if wanted == 0 { 0 } else { self.needed(wanted) };
        let links = if wanted == 0 { 0 } else { needed.max(self.links) };
        self.set_links(links);
    }

    fn needed(&self, topics: usize) -> usize {
        let Shared { pool, limits, .. } = &*self.shared;
        let (min, max) = (pool.min_connections, pool.max_connections);
        links_wanted(topics, limits.topics_per_link, min, max, limits.idle_links).min(self.slots.len())
    }

    fn set_links(&mut self, links: usize) {
        for slot in 0..self.slots.len() {
            if slot < links {
                self.slots[slot].closing = false;
                self.placement.set_usable(slot, true);
            } else if !self.slots[slot].closing && slot < self.links {
                self.slots[slot].closing = true;
                let steps = self.placement.empty(slot);
                self.order(steps);
            }
        }
        self.links = links;
        self.shared.status.set_wanted(links);
    }

    /// Opens and closes what is to be, and passes orders on.
    fn tend(&mut self, stop: &CancellationToken) {
        for number in 0..self.slots.len() {
            let empty = self.placement.count(number) == 0;
            let idle_links = self.shared.limits.idle_links;
            let slot = &mut self.slots[number];
            let needed = (number < self.links && idle_links) || !empty;
            match &slot.doing {
                Doing::Idle if needed => {
                    slot.doing = Doing::Waiting { until: slot.not_before };
                }
                Doing::Waiting { .. } if !needed => {
                    slot.doing = Doing::Idle;
                    self.shared.status.set_link(number, LinkState::Idle);
                }
                // Once its orders have been heard, an empty link has nothing more to say.
                Doing::Busy { stop, .. } if empty && slot.pending.is_empty() && (slot.closing || !idle_links) => {
                    stop.cancel();
                }
                _ => {}
            }
            if let Doing::Waiting { until } = slot.doing
                && until <= Instant::now()
            {
                self.connect(number, stop);
            }
            self.pass_orders(number);
            let topics = self.placement.count(number);
            self.shared.status.update_link(number, |link| link.topics = topics);
        }
    }

    fn next_attempt(&self) -> Option<Instant> {
        let attempts = self.slots.iter().filter_map(|slot| match slot.doing {
            Doing::Waiting { until } => Some(until),
            // Orders wait for room, which a link makes within a burst.
            Doing::Busy { open: true, .. } if !slot.pending.is_empty() => {
                Some(Instant::now() + Duration::from_millis(5))
            }
            _ => None,
        });
        attempts.min()
    }

    fn pass_orders(&mut self, number: SlotNumber) {
        let slot = &mut self.slots[number];
        let Doing::Busy { orders, open: true, .. } = &slot.doing else { return };
        while let Some(order) = slot.pending.pop_front() {
            if let Err(refused) = orders.try_send(order) {
                if let mpsc::error::TrySendError::Full(order) = refused {
                    slot.pending.push_front(order);
                }
                break;
            }
        }
    }

    /// Steps of a slot without a link need not be told: the link asks for what its slot has when it is opened.
    fn order(&mut self, steps: Steps) {
        for (number, step) in steps {
            let slot = &mut self.slots[number];
            if matches!(slot.doing, Doing::Busy { .. }) {
                slot.pending.push_back(Order::Step(step));
            } else {
                // What it was to let go is gone with the link that had it.
                self.let_go_without_link(number, &step);
            }
        }
    }

    fn let_go_without_link(&mut self, number: SlotNumber, step: &Step) {
        if let Step::Drain { topics } | Step::Drop { topics, .. } = step {
            let steps = self.placement.left(number, topics);
            self.order(steps);
        }
    }

    fn connect(&mut self, number: SlotNumber, stop: &CancellationToken) {
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        let stop = stop.child_token();
        let (topics, overlapping) = self.placement.topics_of(number);
        let slot = &mut self.slots[number];
        slot.pending.clear();
        slot.doing = Doing::Busy { orders, open: false, stop: stop.clone() };
        let slot = Connecting {
            shared: Arc::clone(&self.shared),
            connections: self.connections.clone(),
            number,
            topics,
            overlapping,
            orders: inbox,
            reports: self.reports.0.clone(),
        };
        self.tasks.spawn(async move { (number, slot.run(stop).await) });
    }

    fn link_opened(&mut self, number: SlotNumber) {
        if let Doing::Busy { open, .. } = &mut self.slots[number].doing {
            *open = true;
        }
        self.placement.opened(number);
        // Those that are still without a link need not wait any longer.
        for other in 0..self.slots.len() {
            if matches!(self.slots[other].doing, Doing::Waiting { .. }) {
                let steps = self.placement.lost(other, self.resumes_by_address());
                self.order(steps);
            }
        }
    }

    /// Whether a link must be opened anew to go on from somewhere.
    fn resumes_by_address(&self) -> bool {
        self.shared.dialect.resumption().is_some_and(|resumption| resumption.query().is_some())
    }

    fn heard(&mut self, report: &Report) {
        let steps = match report {
            Report::Opened { slot } => return self.link_opened(*slot),
            Report::Up { slot, topics } => self.placement.up(*slot, topics),
            Report::Left { slot, topics } => {
                let steps = self.placement.left(*slot, topics);
                let left_out = topics.iter().copied().filter(|topic| self.placement.is_left_out(*topic));
                self.shared.status.set_topics(left_out, &TopicState::LeftOut);
                steps
            }
            Report::Refused { slot, topics } => self.placement.refused(*slot, topics),
        };
        self.order(steps);
    }

    fn link_ended(&mut self, number: SlotNumber, end: SlotEnd) {
        let slot = &mut self.slots[number];
        let pending = std::mem::take(&mut slot.pending);
        slot.doing = Doing::Idle;
        let SlotEnd::Lost { reason, cause, stay_away, lasted } = end else {
            self.shared.status.set_link(number, LinkState::Idle);
            self.gone(number, pending);
            return;
        };
        if let Some(lasted) = lasted {
            slot.backoff.was_up(lasted);
        }
        let wait = slot.backoff.next(stay_away);
        slot.not_before = Instant::now() + wait;
        slot.doing = Doing::Waiting { until: slot.not_before };
        let what = if lasted.is_some() { "link lost" } else { "no link" };
        self.shared.metrics.failed(cause);
        self.shared.status.set_link(number, LinkState::Waiting);
        self.shared.status.update_link(number, |link| link.last_error = Some(reason.clone()));
        tracing::warn!(
            upstream = %self.shared.name, link = number, cause, "{what}: {reason}; trying again in {:.1} s", wait.as_secs_f64()
        );
        self.gone(number, pending);
    }

    /// A slot has no link: what it was still to be told is done in another way.
    fn gone(&mut self, number: SlotNumber, pending: VecDeque<Order>) {
        let steps = self.placement.lost(number, self.resumes_by_address());
        self.order(steps);
        for order in pending {
            if let Order::Step(step) = order {
                self.let_go_without_link(number, &step);
            }
        }
    }

    /// Looks at loads: grows and shrinks the pool, and evens links out.
    fn look(&mut self) {
        let rates = self.shared.status.topic_rates();
        self.placement.know_ids(self.shared.status.topics_with_ids());
        self.grow_or_shrink();
        // What was on its way to a link when that was to be emptied has arrived there, and what found no room may find it now.
        for number in 0..self.slots.len() {
            if self.slots[number].closing && self.placement.count(number) > 0 {
                let steps = self.placement.empty(number);
                self.order(steps);
            }
        }
        let (mut open, mut bare) = (0, false);
        for number in 0..self.links {
            if matches!(self.slots[number].doing, Doing::Busy { open: true, .. }) {
                open += 1;
                bare |= self.placement.count(number) == 0;
            }
        }
        bare |= !self.shared.limits.idle_links && open > 0 && open < self.links;
        self.uneven += 1;
        // A link that carries nothing protects nobody from the loss of the others.
        if (open > 1 || bare) && (bare || self.uneven >= UNEVEN_LOOKS) {
            self.uneven = 0;
            let steps = self.placement.rebalance(&rates, TOLERANCE);
            if !steps.is_empty() {
                tracing::debug!(upstream = %self.shared.name, "links are evened out");
            }
            self.order(steps);
        }
    }

    fn grow_or_shrink(&mut self) {
        let wanted = self.placement.wanted();
        if wanted == 0 {
            return;
        }
        let rate_max = f64::from(self.shared.pool.link_rate_max);
        let rate: f64 = self.shared.status.links().iter().map(|link| link.rate).sum();
        let needed = self.needed(wanted);
        #[expect(clippy::cast_precision_loss, reason = "links are few")]
        let (links, fewer) = (self.links as f64, self.links.saturating_sub(1) as f64);
        let all_open = (0..self.links).all(|slot| {
            matches!(self.slots[slot].doing, Doing::Busy { open: true, .. }) || self.placement.count(slot) == 0
        });
        let max = if self.shared.limits.idle_links { self.slots.len() } else { self.slots.len().min(wanted) };
        self.crowded = if rate > rate_max * links && all_open { self.crowded + 1 } else { 0 };
        let now = Instant::now();
        let roomy = self.links > needed && rate < rate_max * fewer * SHRINK_TO;
        self.roomy = roomy.then(|| self.roomy.unwrap_or(now));
        if self.crowded >= CROWDED_LOOKS && self.links < max {
            self.crowded = 0;
            tracing::info!(upstream = %self.shared.name, links = self.links + 1, rate = rate.round(), "the pool grows");
            self.set_links(self.links + 1);
        } else if self.roomy.is_some_and(|since| now - since >= self.shared.pool.shrink_after) {
            self.roomy = None;
            tracing::info!(upstream = %self.shared.name, links = self.links - 1, rate = rate.round(), "the pool shrinks");
            self.set_links(self.links - 1);
        }
    }
}

/// A link's task: connects, works, and ends.
struct Connecting {
    shared: Arc<Shared>,
    connections: Pool<Connector>,
    number: SlotNumber,
    topics: Vec<TopicId>,
    overlapping: Vec<TopicId>,
    orders: mpsc::Receiver<Order>,
    reports: mpsc::Sender<Report>,
}

impl Connecting {
    async fn run(self, stop: CancellationToken) -> SlotEnd {
        let Self { shared, connections, number, topics, overlapping, orders, reports } = self;
        shared.status.set_link(number, LinkState::Connecting);
        let resume = ResumePoint::of(&shared, &shared.roster(), &topics);
        if let Some(resume) = &resume {
            resume.remember_ids(&shared).await;
        }
        let query = resume.as_ref().and_then(|resume| resume.query(&shared));
        let connection = tokio::select! {
            biased;
            () = stop.cancelled() => return SlotEnd::Stopped,
            connection = QUERY.scope(query, connections.get()) => connection,
        };
        let mut connection = match connection {
            Ok(connection) => connection,
            Err(PoolError::Backend(error)) => {
                return SlotEnd::Lost {
                    reason: error.to_string(),
                    cause: error.cause(),
                    stay_away: error.stay_away(shared.pool.backoff_max),
                    lasted: None,
                };
            }
            Err(PoolError::Closed) => return SlotEnd::Stopped,
            Err(error) => {
                return SlotEnd::Lost { reason: error.to_string(), cause: "pool", stay_away: None, lasted: None };
            }
        };
        shared.status.set_link(number, LinkState::Open);
        shared.metrics.connected(number);
        tracing::info!(upstream = %shared.name, link = number, topics = topics.len(), "link open");
        if let Some(ResumePoint { point, .. }) = &resume {
            tracing::info!(upstream = %shared.name, link = number, point, "asked to go on from there");
        }
        // The keeper always listens, but for when all is being stopped.
        reports.send(Report::Opened { slot: number }).await.ok();
        let begin = Begin { slot: number, topics, overlapping, resume };
        let end = Link::new(&shared, begin).run(&mut connection, Keeping { orders, reports }, &stop).await;
        let lasted = connection.opened.elapsed();
        // A connection is never shared or handed on: what it was subscribed to would come to another.
        drop(Object::take(connection));
        match end {
            LinkEnd::Stopped => SlotEnd::Stopped,
            LinkEnd::Lost { reason, cause } => SlotEnd::Lost { reason, cause, stay_away: None, lasted: Some(lasted) },
        }
    }
}
