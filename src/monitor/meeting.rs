//! A topic that two sides bring at once, because one takes it over from the other.
//!
//! That a side answers a ping, or that anything else comes over it, does not say that it has brought what the upstream had for it:
//! answers and heartbeats may pass what waits to be sent. Only an event that both have brought does: the old side has then brought
//! everything before it, and the new one brings everything behind it.

use std::collections::VecDeque;

use crate::clock::UnixNanos;

/// Events that are remembered of the old side: the last ones. Source: a guess; a new side that is so many behind the old one is not
/// waited for.
const OLD_MAX: usize = 256;

/// Events that are remembered of the new side: the first ones, of which the old one has to bring any.
const NEW_MAX: usize = 64;

/// Who brings something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that lets the topic go.
    Old,
    /// The one that takes it.
    New,
}

/// How much speaks for the old side having brought everything that the new one does not bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The new side has brought nothing of the topic yet.
    Quiet,
    /// The new side has brought events that the old one has not.
    Behind,
    /// Both have brought an event. An upstream that sends two messages in the wrong order may still have the one before it.
    Once,
    /// Twice.
    Whole,
}

/// What both sides brought.
#[derive(Debug, Default)]
pub struct Meeting {
    /// Bursts that brought what the other side had brought, up to two. One message may hold several events.
    met: u8,
    met_last: Option<UnixNanos>,
    old: VecDeque<u64>,
    new: Vec<u64>,
}

impl Meeting {
    /// A burst of a side brought an event, told by a hash of its id.
    pub fn brought(&mut self, side: Side, at: UnixNanos, hash: u64) {
        let both = match side {
            Side::Old => {
                if self.old.len() == OLD_MAX {
                    self.old.pop_front();
                }
                self.old.push_back(hash);
                self.new.contains(&hash)
            }
            Side::New => {
                if self.new.len() < NEW_MAX {
                    self.new.push(hash);
                }
                self.old.contains(&hash)
            }
        };
        if both && self.met_last.is_none_or(|last| last < at) {
            self.met_last = Some(at);
            self.met = self.met.saturating_add(1);
        }
    }

    /// What is proven.
    pub fn proof(&self) -> Proof {
        match self.met {
            0 if self.new.is_empty() => Proof::Quiet,
            0 => Proof::Behind,
            1 => Proof::Once,
            _ => Proof::Whole,
        }
    }
}
