//! Faults in a connection's stream of messages: what is sent twice, late, wrong or not at all.

use std::sync::Arc;

use super::figures::Fault;
use super::hub::Event;
use super::settings::Faults;

/// How many messages later a repeat or a conflict comes at most. Source: a guess; far inside any dedupe window.
const LATER_MAX: u64 = 64;
/// Messages held back at once for disorder; one a topic.
const HELD_MAX: usize = 256;
/// How deep the nested frame is: far deeper than any parser's limit, and 40 KB short, since many may be quarantined.
const NESTED_DEPTH: usize = 20_000;

/// A message to send, and what is to be wrong with it.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    pub(crate) event: Arc<Event>,
    pub(crate) fault: Option<Fault>,
}

/// Decides about each message of one connection.
#[derive(Debug)]
pub(crate) struct FaultMaker {
    repeats: f64,
    drop: f64,
    disorder: f64,
    bad_frames: f64,
    conflicts: f64,
    rng: fastrand::Rng,
    /// Waiting for the next message of their topic.
    held: Vec<Arc<Event>>,
    /// To be sent once so many messages have passed.
    later: Vec<(u64, Sending)>,
    passed: u64,
    passed_at_beat: u64,
    bad_made: usize,
    any: bool,
}

impl FaultMaker {
    pub(crate) fn new(faults: &Faults, seed: u64) -> Self {
        let Faults { repeats, drop, disorder, bad_frames, conflicts, .. } = *faults;
        Self {
            repeats,
            drop,
            disorder,
            bad_frames,
            conflicts,
            rng: fastrand::Rng::with_seed(seed),
            held: Vec::new(),
            later: Vec::new(),
            passed: 0,
            passed_at_beat: 0,
            bad_made: 0,
            any: repeats > 0.0 || drop > 0.0 || disorder > 0.0 || bad_frames > 0.0 || conflicts > 0.0,
        }
    }

    /// Makes other faults from now on. What is held back is to be sent first.
    pub(crate) fn change(&mut self, faults: &Faults, out: &mut Vec<Sending>) {
        self.flush(out);
        let Faults { repeats, drop, disorder, bad_frames, conflicts, .. } = *faults;
        (self.repeats, self.drop, self.disorder) = (repeats, drop, disorder);
        (self.bad_frames, self.conflicts) = (bad_frames, conflicts);
        self.any = repeats > 0.0 || drop > 0.0 || disorder > 0.0 || bad_frames > 0.0 || conflicts > 0.0;
    }

    /// Whether any fault is asked for.
    pub(crate) fn makes_any(&self) -> bool {
        self.any
    }

    fn chance(&mut self, fraction: f64) -> bool {
        fraction > 0.0 && self.rng.f64() < fraction
    }

    /// Says what is to be sent now that `event` has come.
    pub(crate) fn pass(&mut self, event: Arc<Event>, out: &mut Vec<Sending>) {
        self.passed += 1;
        if !self.any {
            out.push(Sending { event, fault: None });
            return;
        }
        if self.chance(self.drop) {
            out.push(Sending { event, fault: Some(Fault::Dropped) });
            return;
        }
        let waiting = self.held.iter().position(|held| held.topic_index == event.topic_index);
        if waiting.is_none() && self.held.len() < HELD_MAX && self.chance(self.disorder) {
            self.held.push(event);
        } else {
            self.draw_later(&event);
            let bad = self.chance(self.bad_frames).then(|| self.next_bad(&event));
            out.push(Sending { event: Arc::clone(&event), fault: None });
            if let Some(position) = waiting {
                let late = self.held.swap_remove(position);
                self.draw_later(&late);
                out.push(Sending { event: late, fault: Some(Fault::Disorder) });
            }
            if let Some(fault) = bad {
                out.push(Sending { event, fault: Some(fault) });
            }
        }
        let mut index = 0;
        while index < self.later.len() {
            if self.later[index].0 <= self.passed {
                out.push(self.later.swap_remove(index).1);
            } else {
                index += 1;
            }
        }
    }

    fn draw_later(&mut self, event: &Arc<Event>) {
        for (fraction, fault) in [(self.repeats, Fault::Repeat), (self.conflicts, Fault::Conflict)] {
            let possible = fault == Fault::Repeat || event.draft.twist.is_some();
            if possible && self.chance(fraction) {
                let due = self.passed + self.rng.u64(1..=LATER_MAX);
                self.later.push((due, Sending { event: Arc::clone(event), fault: Some(fault) }));
            }
        }
    }

    fn next_bad(&mut self, event: &Event) -> Fault {
        const TURN: [Fault; 5] = [Fault::Truncated, Fault::InvalidUtf8, Fault::Junk, Fault::Nested, Fault::ChangedId];
        let fault = TURN[self.bad_made % TURN.len()];
        self.bad_made += 1;
        if fault == Fault::ChangedId && event.draft.id_span.is_empty() { Fault::Truncated } else { fault }
    }

    /// Everything still waiting, to be sent before a clean end.
    pub(crate) fn flush(&mut self, out: &mut Vec<Sending>) {
        let late = self.held.drain(..).map(|event| Sending { event, fault: Some(Fault::Disorder) });
        out.extend(late);
        out.extend(self.later.drain(..).map(|(_, sending)| sending));
    }

    /// Called now and then: what waits for messages that do not come is sent.
    pub(crate) fn beat(&mut self, out: &mut Vec<Sending>) {
        if self.passed_at_beat == self.passed {
            self.flush(out);
        }
        self.passed_at_beat = self.passed;
    }

    /// Makes the payload of a faulty frame out of the sound `text`; true: as a binary frame. `shift` is how far the
    /// draft's spans have moved to the right in `text` beyond `splice`.
    pub(crate) fn spoil(&mut self, fault: Fault, event: &Event, token: usize, text: &mut Vec<u8>) -> bool {
        let moved = |at: usize| if event.draft.splice.is_some_and(|splice| splice <= at) { at + token } else { at };
        match fault {
            Fault::Repeat | Fault::Disorder | Fault::Dropped => false,
            Fault::Conflict => {
                if let Some(digit) = event.draft.twist.and_then(|at| text.get_mut(moved(at))) {
                    *digit = if digit.is_ascii_digit() { b'0' + (*digit - b'0' + 1) % 10 } else { *digit };
                }
                false
            }
            Fault::Truncated => {
                text.truncate(text.len() / 2);
                false
            }
            Fault::InvalidUtf8 => {
                let middle = text.len() / 2;
                text.insert(middle, 0xff);
                true
            }
            Fault::Junk => {
                text.clear();
                // The first byte is never one that JSON, gzip or zstd begins with.
                text.push(0x07);
                text.extend(std::iter::repeat_with(|| self.rng.u8(..)).take(63));
                true
            }
            Fault::Nested => {
                text.clear();
                text.resize(NESTED_DEPTH, b'[');
                text.resize(2 * NESTED_DEPTH, b']');
                false
            }
            Fault::ChangedId => {
                let span = moved(event.draft.id_span.start)..moved(event.draft.id_span.end - 1) + 1;
                let changed = [br#"{"was":"#, &text[span.clone()], b"}"].concat();
                text.splice(span, changed);
                false
            }
        }
    }
}
