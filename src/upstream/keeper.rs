//! Keeps a pool: which links are open, which topics are on which, and what becomes of those of a lost one.
//!
//! One task an upstream. It decides, and waits for nothing but what may happen next; connecting and everything about messages is
//! done by a task for each link, which takes [`Order`]s and sends [`Report`]s.

mod connecting;
mod load;
mod replacing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::Pool;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::connecting::{Connecting, SlotEnd};
use super::connect::Connector;
use super::orders::{ORDERS_MAX, Order, REPORTS_MAX, Report};
use super::placement::{Placement, SlotNumber, Step, Steps, links_wanted};
use super::pool::Shared;
use super::status::{LinkState, TopicState};
use crate::backoff::Backoff;
use crate::breaker::{Forced, Refusal};
use crate::crash_point::crash_point;
use crate::dialect::{Resumption, TopicId};
use crate::monitor::gap::GapCause;
use crate::monitor::roster::Roster;

/// How often loads are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A wait for the pace of connecting that is at least so long is told of.
const PACE_SAID_FROM: Duration = Duration::from_secs(2);

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
    /// How long the upstream wants a lost link to stay away.
    away: Option<Duration>,
    /// The next attempt is no sooner.
    not_before: Instant,
    /// Whether it is to be closed when its last topic has gone.
    closing: bool,
    /// Since when its link is to be replaced: closed when its last topic has gone, and opened anew.
    replacing: Option<Instant>,
    /// Whether it is there only while another one is replaced.
    spare: bool,
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
            away: None,
            not_before: Instant::now(),
            closing: false,
            replacing: None,
            spare: false,
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
        let mut circuit = self.shared.breaker.changes();
        self.heed_circuit();
        let mut next_look = Instant::now() + LOOK;
        let pulse = self.shared.status.pulse();
        let beating = pulse.begin();
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
                // The breaker is ours too, so there always is somebody who may change it.
                Ok(()) = circuit.changed() => self.heed_circuit(),
                Some(report) = self.reports.1.recv() => self.heard(&report),
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok((slot, end)) => self.link_ended(slot, end),
                    Err(error) => self.broken(error),
                },
                () = pulse.asked() => {
                    crash_point!("stage.keeper");
                    pulse.answer();
                }
                () = sleep_until(next) => {
                    if Instant::now() >= next_look {
                        self.look();
                        next_look = Instant::now() + LOOK;
                    }
                }
            }
        }
        // Nobody decides any more; how long links may take to end, the stop's own deadline says.
        drop(beating);
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
        let (ledger, at) = (self.shared.ledger(), self.shared.clock.stamp());
        ledger.later(ledger.adopted(&self.shared.roster(), &roster, at));
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
        let new = left_out.iter().copied().filter(|topic| !before.contains(topic));
        let ledger = self.shared.ledger();
        ledger.later(ledger.lost(&roster, new, at, GapCause::LeftOut));
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
            } else if self.slots[slot].spare {
                // It goes when it is not needed any more.
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
            let needed = (number < self.links && idle_links) || slot.spare || !empty;
            match &slot.doing {
                Doing::Idle if needed => {
                    slot.doing = Doing::Waiting { until: slot.not_before };
                }
                Doing::Waiting { .. } if !needed => {
                    slot.doing = Doing::Idle;
                    self.shared.status.set_link(number, LinkState::Idle);
                }
                // Once its orders have been heard, an empty link has nothing more to say.
                Doing::Busy { stop, .. }
                    if empty
                        && slot.pending.is_empty()
                        && (slot.closing || slot.replacing.is_some() || !(idle_links || slot.spare)) =>
                {
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
        self.shared.meetings.follow(&steps);
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

    /// Connects, if the breaker and the pace of the host let it; else it is tried again when they may.
    fn connect(&mut self, number: SlotNumber, stop: &CancellationToken) {
        let now = Instant::now();
        let permit = match self.shared.breaker.permit() {
            Ok(permit) => permit,
            Err(refusal) => {
                let until = match refusal {
                    Refusal::Until(until) => until,
                    Refusal::Probing | Refusal::Forced => now + LOOK,
                };
                self.wait_until(number, until);
                return;
            }
        };
        // One that was opened beside has been counted then.
        if !self.shared.has_prepared(number)
            && let Err(until) = self.shared.pace.take(now)
        {
            self.tell_of_pace(number, now, until);
            self.wait_until(number, until);
            return;
        }
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
            permit,
        };
        // A link's state is large, and would be part of each task that waits for it.
        self.tasks.spawn(async move { (number, Box::pin(slot.run(stop)).await) });
    }

    /// A wait that a person would wonder about is said.
    fn tell_of_pace(&self, number: SlotNumber, now: Instant, until: Instant) {
        let wait = (until - now).as_secs();
        if wait < PACE_SAID_FROM.as_secs() {
            return;
        }
        let reason = match self.shared.pace.held_until(now) {
            Some(_) => format!("the upstream asked to be left alone: connecting in {wait} s"),
            None => format!("`limits.connects` let it connect in {wait} s"),
        };
        tracing::info!(upstream = %self.shared.name, link = number, "{reason}");
        self.shared.status.update_link(number, |link| link.last_error = Some(reason));
    }

    fn wait_until(&mut self, number: SlotNumber, until: Instant) {
        let slot = &mut self.slots[number];
        slot.not_before = slot.not_before.max(until);
        slot.doing = Doing::Waiting { until: slot.not_before };
        self.shared.status.set_link(number, LinkState::Waiting);
    }

    /// An operator who holds the circuit open wants nothing asked of the upstream: links are closed. One that opened by itself
    /// keeps what still works.
    fn heed_circuit(&mut self) {
        let forced_open = self.shared.breaker.now().forced == Some(Forced::Open);
        for slot in &mut self.slots {
            match &slot.doing {
                Doing::Busy { .. } if forced_open => {
                    slot.pending.clear();
                    slot.pending.push_back(Order::Close(GapCause::CircuitOpen));
                }
                // Tried as soon as the pace allows.
                Doing::Waiting { .. } if !forced_open => {
                    slot.doing = Doing::Waiting { until: Instant::now() };
                }
                _ => {}
            }
        }
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
        self.shared.dialect.resumption().is_some_and(Resumption::is_by_opening)
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
            Report::Silent { slot, topics } => return self.renew(*slot, topics),
            Report::Sick { slot, reason, cause } => return self.replace(*slot, reason, cause),
            Report::Away { slot, wait } => {
                // The upstream may not put us off for longer than we wait at most.
                self.slots[*slot].away = Some((*wait).min(self.shared.pool.backoff_max));
                return;
            }
        };
        self.order(steps);
    }

    fn link_ended(&mut self, number: SlotNumber, end: SlotEnd) {
        let slot = &mut self.slots[number];
        let pending = std::mem::take(&mut slot.pending);
        slot.doing = Doing::Idle;
        if slot.replacing.take().is_some() {
            self.placement.set_usable(number, number < self.links);
        }
        let slot = &mut self.slots[number];
        let (what, reason, cause, wait) = match end {
            SlotEnd::Stopped => {
                self.shared.status.set_link(number, LinkState::Idle);
                self.gone(number, pending);
                return;
            }
            SlotEnd::Lost { reason, cause, lasted } => {
                slot.backoff.was_up(lasted);
                ("link lost", reason, cause, slot.backoff.next(slot.away))
            }
            SlotEnd::Refused { reason, cause, refuses_us: true } => {
                ("no link", reason, cause, slot.backoff.refused(self.shared.pool.refused_wait))
            }
            SlotEnd::Refused { reason, cause, .. } => ("no link", reason, cause, slot.backoff.next(None)),
        };
        let now = Instant::now();
        slot.not_before = self.shared.pace.held_until(now).map_or(now + wait, |held| held.max(now + wait));
        let wait = slot.not_before - now;
        slot.doing = Doing::Waiting { until: slot.not_before };
        self.shared.metrics.failed(cause);
        self.shared.counts.failed();
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
}
