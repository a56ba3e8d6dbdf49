//! How often a channel may be used.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::config::Rate;

/// Counts calls within the rate's span.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Rate,
    /// At most as many as the rate counts, which settings bound.
    calls: VecDeque<Instant>,
}

impl Pace {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, calls: VecDeque::new() }
    }

    /// The rate.
    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes one call.
    ///
    /// # Errors
    /// When the next one may be.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        while self.calls.front().is_some_and(|first| now >= *first + self.rate.per) {
            self.calls.pop_front();
        }
        match self.calls.front() {
            Some(first) if self.calls.len() >= self.rate.count.get() as usize => Err(*first + self.rate.per),
            _ => {
                self.calls.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_span_has_more_calls_than_the_rate_says() {
        let mut pace = Pace::new(Rate::new(2, Duration::from_secs(10)));
        let begun = Instant::now();
        assert_eq!(pace.take(begun), Ok(()));
        assert_eq!(pace.take(begun + Duration::from_secs(4)), Ok(()));
        assert_eq!(pace.take(begun + Duration::from_secs(5)), Err(begun + Duration::from_secs(10)));
        assert_eq!(pace.take(begun + Duration::from_secs(10)), Ok(()));
        assert_eq!(pace.take(begun + Duration::from_secs(13)), Err(begun + Duration::from_secs(14)));
    }
}
