//! What is done to an upstream: all of it follows from a seed.

use std::time::Duration;

use super::super::fault_proxy::{Door, Flip, Plan, Way};

/// What befalls an upstream for a while.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    /// What the network does to every connection.
    Network(Plan),
    /// Connections that are open are reset, and those that are made meet this.
    Door(Door),
    /// More repeats, disorder, conflicts and bad frames than there are always.
    Noise,
    /// A topic's subscription is refused, once its connection was lost: a number that is taken modulo how many there are.
    RefusedTopic(usize),
    /// The upstream ends its connections: by a close frame, a reset in mid-frame, or just so.
    Closes,
    /// It sends nothing but answers to pings, until its connections end.
    Silence,
    /// It answers no pings.
    NoPong,
    /// Acknowledgements come late, or never.
    LateAcks(Option<Duration>),
    /// Connections that were lost are refused so often with an HTTP status, and told when to come again.
    Refused { status: u16, times: u64, retry_after: Option<Duration> },
    /// Connections that were lost are accepted so often, and closed at once.
    AcceptThenClose(u64),
    /// The process is gone.
    Killed,
}

impl Fault {
    /// For the account.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Network(Plan::Pass) => "nothing",
            Self::Network(Plan::ResetAfter(_)) => "reset at a byte",
            Self::Network(Plan::Stall(_)) => "stall",
            Self::Network(Plan::Trickle(_)) => "trickle",
            Self::Network(Plan::Delay(_)) => "delay",
            Self::Network(Plan::Duplicate(_)) => "duplicated frames",
            Self::Network(Plan::Corrupt(_) | Plan::CorruptFrame(..)) => "flipped bit",
            Self::Door(Door::Open) => "reset",
            Self::Door(Door::Refuses) => "refused connections",
            Self::Door(Door::Blackhole) => "black hole",
            Self::Noise => "noise",
            Self::RefusedTopic(_) => "refused topic",
            Self::Closes => "closed by the upstream",
            Self::Silence => "silence",
            Self::NoPong => "no pongs",
            Self::LateAcks(_) => "late acknowledgements",
            Self::Refused { .. } => "refused handshakes",
            Self::AcceptThenClose(_) => "accepted and closed",
            Self::Killed => "upstream killed",
        }
    }
}

/// A fault, how long it lasts, and how long there is peace after it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub(super) fault: Fault,
    pub(super) lasts: Duration,
    pub(super) peace: Duration,
}

/// Faults of one upstream, one after the other, without end.
#[derive(Debug, Clone)]
pub(super) struct Steps(fastrand::Rng);

impl Steps {
    /// Of the upstream with this number.
    pub(super) fn new(seed: u64, upstream: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed.wrapping_mul(31).wrapping_add(upstream)))
    }
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let random = &mut self.0;
        let ways = [Way::Both, Way::ToClient, Way::ToServer];
        let fault = match random.u8(..20) {
            0 => Fault::Network(Plan::ResetAfter(random.u64(..6_000))),
            1 => Fault::Network(Plan::Stall(ways[random.usize(..3)])),
            2 => Fault::Network(Plan::Trickle(random.u32(2_000..40_000))),
            3 => Fault::Network(Plan::Delay(Duration::from_millis(random.u64(1..150)))),
            4 => Fault::Network(Plan::Duplicate(random.u64(1..6))),
            5 => Fault::Network(Plan::Corrupt(Flip::Payload)),
            6 => Fault::Network(Plan::Corrupt(Flip::Header(random.u32(..)))),
            7 => Fault::Door(Door::Open),
            8 => Fault::Door(Door::Refuses),
            9 => Fault::Door(Door::Blackhole),
            10 => Fault::Noise,
            11 => Fault::RefusedTopic(random.usize(..)),
            12 => Fault::Closes,
            13 => Fault::Silence,
            14 => Fault::NoPong,
            15 => Fault::LateAcks(Some(Duration::from_millis(random.u64(1..400)))),
            16 => Fault::LateAcks(None),
            17 => {
                let (status, retry_after) = [(429, Some(Duration::from_secs(1))), (503, None)][random.usize(..2)];
                Fault::Refused { status, times: random.u64(1..4), retry_after }
            }
            18 => Fault::AcceptThenClose(random.u64(1..4)),
            _ => Fault::Killed,
        };
        let lasts = Duration::from_millis(random.u64(50..1_200));
        let peace = Duration::from_millis(random.u64(50..800));
        Some(Step { fault, lasts, peace })
    }
}

#[test]
fn a_seed_says_what_is_done_and_every_kind_of_fault_comes_up() {
    let first = |seed| Steps::new(seed, 1).take(500).collect::<Vec<_>>();
    assert_eq!(first(7), first(7));
    assert_ne!(first(7), first(8));
    let kinds: std::collections::BTreeSet<&str> = first(7).iter().map(|step| step.fault.name()).collect();
    assert_eq!(kinds.len(), 18, "{kinds:?}");
}
