//! Replaces links before they fail, and asks elsewhere for topics of which nothing comes.

use std::time::Duration;

use tokio::time::Instant;

use super::{Doing, Keeper, Slot};
use crate::dialect::TopicId;
use crate::monitor::gap::GapCause;
use crate::upstream::orders::Order;
use crate::upstream::placement::SlotNumber;

/// A link that is to be replaced is closed after this, though there may be topics for which nobody has room. Source: a guess.
const REPLACE_WITHIN: Duration = Duration::from_mins(1);

impl Keeper {
    /// A link is replaced before it fails: its topics go to others, and it is closed when the last one has gone.
    pub(super) fn replace(&mut self, number: SlotNumber, reason: &str, cause: &'static str) {
        if self.slots[number].replacing.is_some() || self.slots[number].closing {
            return;
        }
        tracing::info!(upstream = %self.shared.name, link = number, cause, "link is replaced: {reason}");
        self.shared.metrics.replaced(cause);
        self.slots[number].replacing = Some(Instant::now());
        self.placement.set_usable(number, false);
        self.empty_replaced();
    }

    /// Moves topics from links that are replaced to others; where there are none, a spare one is opened.
    pub(super) fn empty_replaced(&mut self) {
        let replaced: Vec<SlotNumber> =
            (0..self.slots.len()).filter(|slot| self.slots[*slot].replacing.is_some()).collect();
        for number in &replaced {
            let steps = self.placement.empty(*number);
            self.order(steps);
        }
        let stuck = replaced.iter().any(|slot| self.placement.has_resting(*slot));
        let free =
            |(number, slot): &(usize, &Slot)| *number >= self.links && !slot.spare && matches!(slot.doing, Doing::Idle);
        let spare = self.slots.iter().enumerate().find(free).map(|(number, _)| number);
        let has_spare = self.slots.iter().any(|slot| slot.spare);
        match spare {
            Some(spare) if stuck && !has_spare => {
                self.slots[spare].spare = true;
                self.slots[spare].closing = false;
                self.placement.set_usable(spare, true);
            }
            _ => {}
        }
        for number in &replaced {
            let waited = self.slots[*number].replacing.is_some_and(|since| since.elapsed() > REPLACE_WITHIN);
            if waited && matches!(self.slots[*number].doing, Doing::Busy { open: true, .. }) {
                // Nobody has room. It is opened anew at once, and what that costs is on record.
                self.slots[*number].pending.push_back(Order::Close(GapCause::Disconnect));
                self.slots[*number].replacing = Some(Instant::now());
            }
        }
        if replaced.is_empty() && has_spare {
            for number in 0..self.slots.len() {
                if self.slots[number].spare {
                    self.slots[number].spare = false;
                    self.slots[number].closing = true;
                    let steps = self.placement.empty(number);
                    self.order(steps);
                }
            }
        }
    }

    /// Topics of which nothing comes are asked for on another link, or anew on this one where there is no other.
    pub(super) fn renew(&mut self, number: SlotNumber, topics: &[TopicId]) {
        let mut here = Vec::new();
        for topic in topics {
            let steps = self.placement.elsewhere(number, *topic);
            if steps.is_empty() {
                here.push(*topic);
            }
            self.order(steps);
        }
        if !here.is_empty() {
            self.slots[number].pending.push_back(Order::Renew(here));
        }
    }
}
