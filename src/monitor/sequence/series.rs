//! One series of numbers: how far it is, and what is missing before that.

use std::time::Duration;

use tokio::time::Instant;

use super::numbers::{Counting, Number, Numbers};
use crate::clock::UnixNanos;

/// Spans that may be waited for at once; of more the oldest are given up. Source: a guess.
pub(super) const SPANS_MAX: usize = 64;

/// A number this low, in a series that is [`RESTART_ABOVE`], says that the counting has begun anew.
const FIRST_MAX: Number = 1;

/// Below it, low numbers may be repeats that come over another link. Source: a guess, above what a link can lag behind.
const RESTART_ABOVE: Number = 1024;

/// Where only lower numbers come for so long, counting has begun anew: a link does not lag behind for that long while another
/// one is silent. Source: a guess.
const RESTART_AFTER: Duration = Duration::from_mins(1);

/// A leap beyond it is no loss: counting goes on elsewhere. Source: a guess; a busy feed has a million messages in a minute.
const LEAP_MAX: Number = 1_000_000_000;

/// A span that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    numbers: Numbers,
    /// When the message before it was received.
    pub(super) start: UnixNanos,
    /// When the message behind it was.
    pub(super) end: UnixNanos,
    found: Instant,
}

impl Span {
    /// How many numbers it has.
    pub(super) fn length(&self) -> u64 {
        length(self.numbers)
    }
}

/// A message's numbers on their arrival.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) counting: Counting,
    pub(super) numbers: Numbers,
    /// Its event came before.
    pub(super) repeat: bool,
    pub(super) received: UnixNanos,
    pub(super) now: Instant,
}

impl Arrival {
    /// What it counts for where none of it came before.
    pub(super) fn all(&self) -> u64 {
        if self.counting == Counting::Chain { 1 } else { length(self.numbers) }
    }
}

/// What a message was to its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// It had so many numbers that had not come before: 0 for a repeat, and the messages of a chain count 1.
    Fresh(u64),
    /// Counting has begun anew with it, from this number.
    Anew(Number),
}

/// How far a series is. What is missing lies below the head, in spans that do not touch each other.
#[derive(Debug)]
pub(super) struct Series {
    head: Number,
    /// When the head was received.
    at: UnixNanos,
    /// The same on a clock that only runs on.
    advanced: Instant,
    /// The oldest numbers first.
    missing: Vec<Span>,
}

impl Series {
    /// Begins with a message: nothing is known of what was before.
    pub(super) fn begin(arrival: &Arrival) -> Self {
        Self { head: arrival.numbers.last, at: arrival.received, advanced: arrival.now, missing: Vec::new() }
    }

    /// Takes a message's numbers. Spans that are waited for no longer go to `given_up`.
    pub(super) fn note(&mut self, arrival: &Arrival, given_up: &mut Vec<Span>) -> Noted {
        let Arrival { counting, numbers: Numbers { behind, last }, received, now, .. } = *arrival;
        if counting == Counting::Chain
            && let Some(noted) = self.note_turn(arrival, given_up)
        {
            return noted;
        }
        if last <= self.head {
            let filled = self.fill(arrival.numbers, given_up);
            if filled == 0 && self.begins_anew(arrival) {
                return self.begin_anew(arrival, given_up);
            }
            return Noted::Fresh(if counting == Counting::Chain { u64::from(filled > 0) } else { filled });
        }
        if behind - self.head > LEAP_MAX {
            return self.begin_anew(arrival, given_up);
        }
        let late = if behind < self.head { self.fill(Numbers { behind, last: self.head }, given_up) } else { 0 };
        if behind > self.head {
            let numbers = Numbers { behind: self.head, last: behind };
            self.missing.push(Span { numbers, start: self.at, end: received, found: now });
            self.keep_few(given_up);
        }
        let fresh = late + length(Numbers { behind: behind.max(self.head), last });
        (self.head, self.at, self.advanced) = (last, received, now);
        Noted::Fresh(if counting == Counting::Chain { 1 } else { fresh })
    }

    /// What chains have beside links: beginnings, standstills, and steps back.
    fn note_turn(&mut self, arrival: &Arrival, given_up: &mut Vec<Span>) -> Option<Noted> {
        let Numbers { behind, last } = arrival.numbers;
        if behind == last {
            // Sent to show that the feed is alive.
            return Some(Noted::Fresh(0));
        }
        if behind < 0 {
            // A snapshot: it goes on from nothing, and what was before it is in it. One that is older than what came since over
            // another link is no news.
            if last > self.head {
                (self.head, self.at, self.advanced) = (last, arrival.received, arrival.now);
            }
            return Some(Noted::Fresh(1));
        }
        (last < behind).then(|| self.begin_anew(arrival, given_up))
    }

    /// Spans that were found before this moment are waited for no longer.
    pub(super) fn settle(&mut self, found_before: Instant, given_up: &mut Vec<Span>) {
        given_up.extend(self.missing.extract_if(.., |span| span.found < found_before));
    }

    /// All of them are.
    pub(super) fn settle_all(&mut self, given_up: &mut Vec<Span>) {
        given_up.append(&mut self.missing);
    }

    /// Whether anything is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        !self.missing.is_empty()
    }

    /// When the newest number came.
    pub(super) fn advanced(&self) -> Instant {
        self.advanced
    }

    /// Takes numbers out of what is missing; how many were.
    fn fill(&mut self, numbers: Numbers, given_up: &mut Vec<Span>) -> u64 {
        if self.missing.last().is_none_or(|newest| newest.numbers.last <= numbers.behind) {
            return 0;
        }
        let mut filled = 0;
        let mut left = Vec::with_capacity(self.missing.len() + 1);
        for span in self.missing.drain(..) {
            let Numbers { behind, last } = span.numbers;
            let common = Numbers { behind: behind.max(numbers.behind), last: last.min(numbers.last) };
            if common.last <= common.behind {
                left.push(span);
                continue;
            }
            filled += length(common);
            for rest in [Numbers { behind, last: common.behind }, Numbers { behind: common.last, last }] {
                if rest.last > rest.behind {
                    left.push(Span { numbers: rest, ..span });
                }
            }
        }
        self.missing = left;
        self.keep_few(given_up);
        filled
    }

    fn keep_few(&mut self, given_up: &mut Vec<Span>) {
        let above = self.missing.len().saturating_sub(SPANS_MAX);
        given_up.extend(self.missing.drain(..above));
    }

    fn begins_anew(&self, arrival: &Arrival) -> bool {
        let Arrival { numbers, repeat, now, .. } = *arrival;
        let first = numbers.behind + 1;
        !repeat
            && ((first <= FIRST_MAX && self.head >= RESTART_ABOVE)
                || (numbers.last < self.head && now.saturating_duration_since(self.advanced) >= RESTART_AFTER))
    }

    fn begin_anew(&mut self, arrival: &Arrival, given_up: &mut Vec<Span>) -> Noted {
        self.settle_all(given_up);
        *self = Self::begin(arrival);
        Noted::Anew(arrival.numbers.last)
    }
}

/// Above what a leap can be only where a feed's numbers are no sequence.
fn length(numbers: Numbers) -> u64 {
    u64::try_from(numbers.last - numbers.behind).unwrap_or(0)
}

#[cfg(test)]
mod tests;
