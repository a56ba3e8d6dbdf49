//! Whether something that goes on for ever still does its rounds: it is asked something empty, and answers when it comes by.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// A question without content, and its answer. One asks, one answers; nobody waits.
#[derive(Debug, Default)]
pub struct Pulse {
    asked: AtomicU64,
    answered: AtomicU64,
    /// Whether there is somebody to answer.
    beating: AtomicBool,
    wake: Notify,
}

impl Pulse {
    /// Of something that is there as long as it is asked.
    pub fn always() -> Self {
        Self { beating: AtomicBool::new(true), ..Self::default() }
    }

    /// Asks anew.
    pub fn ask(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Waits until it is asked. Cancel safe: a question stays until somebody has waited for it.
    pub async fn asked(&self) {
        self.wake.notified().await;
    }

    /// Answers all that was asked so far.
    pub fn answer(&self) {
        self.answered.store(self.asked.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// From here on somebody answers, until what this returns is dropped.
    pub fn begin(&self) -> Beating<'_> {
        self.answer();
        self.beating.store(true, Ordering::Relaxed);
        Beating(self)
    }

    /// Whether nothing that was asked waits for an answer of somebody who is there.
    pub fn is_answered(&self) -> bool {
        !self.beating.load(Ordering::Relaxed)
            || self.answered.load(Ordering::Relaxed) >= self.asked.load(Ordering::Relaxed)
    }
}

/// Somebody answers.
#[derive(Debug)]
pub struct Beating<'p>(&'p Pulse);

impl Drop for Beating<'_> {
    fn drop(&mut self) {
        self.0.beating.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_waits_for_its_answer_as_long_as_somebody_is_there() {
        let pulse = Pulse::default();
        pulse.ask();
        assert!(pulse.is_answered(), "nobody is there");
        let beating = pulse.begin();
        assert!(pulse.is_answered(), "what was asked before does not count");
        pulse.ask();
        assert!(!pulse.is_answered());
        pulse.answer();
        assert!(pulse.is_answered());
        pulse.ask();
        drop(beating);
        assert!(pulse.is_answered(), "it has ended");
    }

    #[tokio::test]
    async fn a_question_that_was_asked_before_it_is_waited_for_is_heard() {
        let pulse = Pulse::default();
        pulse.ask();
        pulse.asked().await;
    }
}
