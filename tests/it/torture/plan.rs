//! What is done to the daemon: all of it follows from a seed.

use std::time::Duration;

/// What is to be done, cycle by cycle.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) cycles: Vec<Cycle>,
}

/// From one start of the daemon to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cycle {
    pub(crate) end: End,
    /// A store's server is killed meanwhile: a number that is taken modulo how many there are.
    pub(crate) server: Option<usize>,
}

/// How the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// SIGKILL so long after its start, whatever it is doing then: loading settings, recovering, serving.
    KilledStarting(Duration),
    /// SIGKILL so long after new events became durable.
    Killed(Duration),
    /// SIGTERM so long after new events became durable.
    Stopped(Duration),
    /// The power is cut so long after new events became durable.
    PowerCut(Duration),
}

impl Plan {
    pub(crate) fn new(seed: u64, cycles: u32) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let cycles = (0..cycles).map(|_| Cycle::random(&mut random)).collect();
        Self { seed, cycles }
    }
}

impl Cycle {
    fn random(random: &mut fastrand::Rng) -> Self {
        let mut within = |millis: u64| Duration::from_micros(random.u64(..millis * 1000));
        let (starting, working) = (within(150), within(500));
        let end = match random.u8(..100) {
            0..20 => End::KilledStarting(starting),
            20..24 => End::Stopped(working),
            _ => End::Killed(working),
        };
        let server = (random.u8(..100) < 15).then(|| random.usize(..1000));
        Self { end, server }
    }
}
