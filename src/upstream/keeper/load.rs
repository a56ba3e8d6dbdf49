//! How large a pool is, and how evenly its links are loaded.

use tokio::time::Instant;

use super::{Doing, Keeper};

/// How far loads of links may differ, as a part of their mean, before topics are moved. Source: a guess.
const TOLERANCE: f64 = 0.4;

/// So many looks in a row must find links uneven, so that a burst moves nothing. Source: a guess.
const UNEVEN_LOOKS: u32 = 10;

/// So many looks in a row must find a pool too small. Source: a guess; opening is cheap, and closing what is wanted again soon is
/// not, so that a pool that is too large is looked at for longer: `pool.shrink_after`.
const CROWDED_LOOKS: u32 = 3;

/// A pool shrinks only where the links that remain would be loaded up to here. Source: a guess.
const SHRINK_TO: f64 = 0.5;

impl Keeper {
    /// Looks at loads: grows and shrinks the pool, and evens links out.
    pub(super) fn look(&mut self) {
        let rates = self.shared.status.topic_rates();
        self.placement.know_ids(self.shared.status.topics_with_ids());
        self.grow_or_shrink();
        self.empty_replaced();
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
        if bare || (open > 1 && self.uneven >= UNEVEN_LOOKS) {
            self.uneven = 0;
            let steps = self.placement.rebalance(&rates, TOLERANCE);
            if !steps.is_empty() {
                tracing::debug!(upstream = %self.shared.name, "links are evened out");
            }
            self.order(steps);
        }
    }

    pub(super) fn grow_or_shrink(&mut self) {
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
