//! When monitors of low priority are put to rest, and when they are woken: `[shedding]`. Pure; fed once a second.

use tokio::time::Instant;

use crate::config::SheddingSettings;

/// How the daemon keeps up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pressure {
    /// Fill of the journal's queue, in percent.
    pub(super) queue_percent: f64,
    /// Links that are not read from, because the journal cannot take more.
    pub(super) held_links: usize,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Put monitors to rest.
    Rest,
    /// Wake those that were put to rest by the rule.
    Wake,
}

/// Where the rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// All may run; under pressure since then.
    Awake { pressed: Option<Instant> },
    /// Some rest; without pressure since then.
    Resting { calm: Option<Instant> },
}

/// The rule.
#[derive(Debug)]
pub(super) struct Shedding {
    state: State,
}

impl Shedding {
    /// `resting`: an earlier run has put monitors to rest.
    pub(super) fn new(resting: bool) -> Self {
        Self { state: if resting { State::Resting { calm: None } } else { State::Awake { pressed: None } } }
    }

    /// Takes a look. What it says is to be done is said again until [`Shedding::done`]: it may fail.
    pub(super) fn look(&mut self, now: Instant, settings: &SheddingSettings, pressure: Pressure) -> Option<Decision> {
        let is_pressed = pressure.held_links > 0 || pressure.queue_percent >= f64::from(settings.queue_percent);
        match &mut self.state {
            // Whoever switches the rule off wants everybody back.
            State::Resting { .. } if !settings.enabled => Some(Decision::Wake),
            State::Awake { pressed } => {
                let since = (settings.enabled && is_pressed).then(|| pressed.unwrap_or(now));
                *pressed = since;
                since.is_some_and(|since| now - since >= settings.after).then_some(Decision::Rest)
            }
            State::Resting { calm } => {
                let since = (!is_pressed).then(|| calm.unwrap_or(now));
                *calm = since;
                since.is_some_and(|since| now - since >= settings.wake_after).then_some(Decision::Wake)
            }
        }
    }

    /// A decision was carried out.
    pub(super) fn done(&mut self, decision: Decision) {
        *self = Self::new(decision == Decision::Rest);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const CALM: Pressure = Pressure { queue_percent: 79.9, held_links: 0 };
    const FULL: Pressure = Pressure { queue_percent: 80.0, held_links: 0 };
    const HELD: Pressure = Pressure { queue_percent: 0.0, held_links: 1 };

    fn on() -> SheddingSettings {
        SheddingSettings { enabled: true, ..SheddingSettings::default() }
    }

    /// The decision at each second.
    fn run(
        shedding: &mut Shedding,
        settings: &SheddingSettings,
        begin: Instant,
        looks: &[Pressure],
    ) -> Vec<Option<Decision>> {
        let at = |second: usize| begin + Duration::from_secs(second as u64);
        looks.iter().enumerate().map(|(second, pressure)| shedding.look(at(second), settings, *pressure)).collect()
    }

    #[test]
    fn pressure_that_lasts_puts_monitors_to_rest_and_calm_that_lasts_wakes_them() {
        let (mut shedding, begin) = (Shedding::new(false), Instant::now());
        let looks = run(&mut shedding, &on(), begin, &[FULL; 11]);
        assert_eq!(looks.iter().position(Option::is_some), Some(10));
        assert_eq!(looks[10], Some(Decision::Rest));
        shedding.done(Decision::Rest);
        let looks = run(&mut shedding, &on(), begin + Duration::from_secs(11), &[CALM; 61]);
        assert_eq!(looks.iter().position(Option::is_some), Some(60));
        assert_eq!(looks[60], Some(Decision::Wake));
        shedding.done(Decision::Wake);
        assert_eq!(shedding.look(begin + Duration::from_secs(80), &on(), FULL), None);
    }

    #[test]
    fn a_moment_without_pressure_begins_anew_and_so_does_a_moment_of_it_at_rest() {
        let (mut shedding, begin) = (Shedding::new(false), Instant::now());
        let looks = [[FULL; 9].as_slice(), &[CALM], &[HELD; 10]].concat();
        assert!(run(&mut shedding, &on(), begin, &looks).iter().all(Option::is_none));
        shedding.done(Decision::Rest);
        let looks = [[CALM; 60].as_slice(), &[HELD], &[CALM; 60]].concat();
        assert!(run(&mut shedding, &on(), begin, &looks).iter().all(Option::is_none));
    }

    #[test]
    fn a_link_that_is_held_back_is_pressure_whatever_the_queue_says() {
        let mut shedding = Shedding::new(false);
        assert_eq!(run(&mut shedding, &on(), Instant::now(), &[HELD; 11])[10], Some(Decision::Rest));
    }

    #[test]
    fn what_could_not_be_done_is_decided_again() {
        let mut shedding = Shedding::new(false);
        let looks = run(&mut shedding, &on(), Instant::now(), &[FULL; 13]);
        assert_eq!(looks[10..], [Some(Decision::Rest); 3]);
    }

    #[test]
    fn a_rule_that_is_off_rests_nobody_and_wakes_whom_it_had_put_to_rest() {
        let off = SheddingSettings::default();
        let mut shedding = Shedding::new(false);
        assert!(run(&mut shedding, &off, Instant::now(), &[FULL; 100]).iter().all(Option::is_none));
        let mut shedding = Shedding::new(true);
        assert_eq!(shedding.look(Instant::now(), &off, FULL), Some(Decision::Wake));
    }

    #[test]
    fn after_a_restart_those_at_rest_wake_when_it_has_been_calm_for_long_enough() {
        let (mut shedding, begin) = (Shedding::new(true), Instant::now());
        let looks = run(&mut shedding, &on(), begin, &[CALM; 61]);
        assert_eq!((looks[59], looks[60]), (None, Some(Decision::Wake)));
    }
}
