//! When a monitor is polled and when no longer. Pure; fed some times a second.

use std::time::Duration;

use tokio::time::Instant;

use crate::server::PollAction;

/// What is to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// To polling, because the circuit is open; or because an operator says so.
    ToPolling { forced: bool },
    /// Back to what links bring.
    Back { forced: bool },
}

/// Where a monitor stands with one upstream.
#[derive(Debug, Default)]
pub(super) struct Mode {
    polling: bool,
    /// Since when the circuit is as it is.
    open: Option<Instant>,
    closed: Option<Instant>,
}

/// How long a circuit has to be as it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Open, before it is polled.
    pub(super) after: Duration,
    /// Closed, before it is polled no longer.
    pub(super) back_after: Duration,
}

impl Mode {
    /// Whether it is polled.
    pub(super) fn is_polling(&self) -> bool {
        self.polling
    }

    /// Takes a look; `forced` is what an operator says.
    pub(super) fn look(
        &mut self,
        now: Instant,
        circuit_open: bool,
        forced: PollAction,
        patience: Patience,
    ) -> Option<Turn> {
        (self.open, self.closed) = if circuit_open {
            (Some(self.open.unwrap_or(now)), None)
        } else {
            (None, Some(self.closed.unwrap_or(now)))
        };
        let lasted = |since: Option<Instant>, least: Duration| since.is_some_and(|since| now - since >= least);
        let (polls, by_operator) = match forced {
            PollAction::On => (true, true),
            PollAction::Off => (false, true),
            // A circuit that opens and closes in turn is polled all the while.
            PollAction::Auto if self.polling => (!lasted(self.closed, patience.back_after), false),
            PollAction::Auto => (lasted(self.open, patience.after), false),
        };
        let changes = std::mem::replace(&mut self.polling, polls) != polls;
        changes.then_some(if polls {
            Turn::ToPolling { forced: by_operator }
        } else {
            Turn::Back { forced: by_operator }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { after: Duration::from_secs(2), back_after: Duration::from_secs(5) };

    /// What is said at each second.
    fn run(mode: &mut Mode, begin: Instant, looks: &[(bool, PollAction)]) -> Vec<Option<Turn>> {
        (0..)
            .zip(looks)
            .map(|(second, (open, forced))| mode.look(begin + Duration::from_secs(second), *open, *forced, PATIENCE))
            .collect()
    }

    #[test]
    fn a_circuit_that_stays_open_is_polled_until_it_has_been_closed_for_a_while() {
        let (open, closed) = ((true, PollAction::Auto), (false, PollAction::Auto));
        let mut mode = Mode::default();
        let looks = [vec![closed, open, closed], vec![open; 3], vec![closed; 3], vec![open], vec![closed; 6]].concat();
        let turns = run(&mut mode, Instant::now(), &looks);
        let said: Vec<(usize, Turn)> = turns.iter().enumerate().filter_map(|(at, turn)| Some((at, (*turn)?))).collect();
        assert_eq!(said, [(5, Turn::ToPolling { forced: false }), (15, Turn::Back { forced: false })]);
        assert!(!mode.is_polling());
    }

    #[test]
    fn what_an_operator_says_is_done_at_once_and_let_go_by_the_circuit() {
        let mut mode = Mode::default();
        let looks =
            [(false, PollAction::On), (false, PollAction::On), (true, PollAction::Off), (true, PollAction::Auto)];
        let turns = run(&mut mode, Instant::now(), &looks);
        let (to, back) = (Turn::ToPolling { forced: true }, Turn::Back { forced: true });
        assert_eq!(turns, [Some(to), None, Some(back), None], "the circuit has not been open for long enough yet");
    }
}
