//! What the keeper of a pool and its links say to each other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::placement::{SlotNumber, Step};
use crate::dialect::TopicId;
use crate::monitor::gap::GapCause;
use crate::monitor::roster::Roster;

/// Orders that may wait at a link; more wait at the keeper, where there is at most one of a kind for each topic.
pub(super) const ORDERS_MAX: usize = 64;

/// Reports that may wait at the keeper; more wait at their link.
pub(super) const REPORTS_MAX: usize = 64;

/// What a link is to do.
#[derive(Debug, Clone)]
pub(super) enum Order {
    /// Go on with the next generation of the roster.
    Adopt(Arc<Roster>),
    /// Something about topics.
    Step(Step),
    /// Ask for topics anew that are silent.
    Renew(Vec<TopicId>),
    /// Close, with what that costs on record.
    Close(GapCause),
}

/// What became of topics on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Report {
    /// The connection is there.
    Opened { slot: SlotNumber },
    /// They are in force there, or have been asked for long enough.
    Up { slot: SlotNumber, topics: Vec<TopicId> },
    /// They were let go, and everything that came of them before is on its way to the journal.
    Left { slot: SlotNumber, topics: Vec<TopicId> },
    /// They are refused there.
    Refused { slot: SlotNumber, topics: Vec<TopicId> },
    /// Nothing comes of them, while something should, and other topics of the link flow.
    Silent { slot: SlotNumber, topics: Vec<TopicId> },
    /// The link should be replaced before it fails; the reason for people, and a short name for metrics.
    Sick { slot: SlotNumber, reason: String, cause: &'static str },
    /// A lost link is to stay away for at least so long.
    Away { slot: SlotNumber, wait: Duration },
}

/// A link's ends of both ways.
pub(super) struct Keeping {
    /// What the keeper says.
    pub(super) orders: mpsc::Receiver<Order>,
    /// What the keeper is told.
    pub(super) reports: mpsc::Sender<Report>,
}
