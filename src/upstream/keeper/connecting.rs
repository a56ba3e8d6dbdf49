//! A link's task: connects, works, and says how it ended.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{Object, Pool, PoolError};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::breaker::Permit;
use crate::dialect::TopicId;
use crate::upstream::connect::{Connector, OPENING, READY_MADE};
use crate::upstream::link::{Begin, Link, LinkEnd};
use crate::upstream::orders::{Keeping, Order, Report};
use crate::upstream::placement::SlotNumber;
use crate::upstream::pool::Shared;
use crate::upstream::resume::ResumePoint;
use crate::upstream::status::LinkState;

/// How a link's task ended.
pub(super) enum SlotEnd {
    Stopped,
    /// The connection was lost.
    Lost {
        reason: String,
        cause: &'static str,
        lasted: Duration,
    },
    /// There was none.
    Refused {
        reason: String,
        cause: &'static str,
        refuses_us: bool,
    },
}

/// A link's task: connects, works, and ends.
pub(super) struct Connecting {
    pub(super) shared: Arc<Shared>,
    pub(super) connections: Pool<Connector>,
    pub(super) number: SlotNumber,
    pub(super) topics: Vec<TopicId>,
    pub(super) overlapping: Vec<TopicId>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) permit: Permit,
}

impl Connecting {
    pub(super) async fn run(self, stop: CancellationToken) -> SlotEnd {
        let Self { shared, connections, number, topics, overlapping, orders, reports, permit } = self;
        shared.status.set_link(number, LinkState::Connecting);
        let (ready_made, held) = shared.take_prepared(number).await.unzip();
        // What was opened beside goes on from where it is.
        let resume = held.is_none().then(|| ResumePoint::of(&shared, &shared.roster(), &topics)).flatten();
        if let Some(resume) = &resume {
            resume.remember_ids(&shared).await;
        }
        let opening = shared.opening(&topics, resume.as_ref());
        let connection = tokio::select! {
            biased;
            () = stop.cancelled() => return SlotEnd::Stopped,
            connection = OPENING.scope(opening, READY_MADE.scope(RefCell::new(ready_made), connections.get())) => connection,
        };
        let mut connection = match connection {
            Ok(connection) => connection,
            Err(PoolError::Backend(error)) => {
                let reason = error.to_string();
                permit.failed(&reason);
                let now = Instant::now();
                if let Some(wait) = error.asks_to_wait(shared.pool.backoff_max) {
                    shared.pace.hold_until(now, now + wait);
                }
                return SlotEnd::Refused { reason, cause: error.cause(), refuses_us: error.refuses_us() };
            }
            Err(PoolError::Closed) => return SlotEnd::Stopped,
            Err(error) => {
                return SlotEnd::Refused { reason: error.to_string(), cause: "pool", refuses_us: false };
            }
        };
        permit.succeeded();
        shared.status.set_link(number, LinkState::Open);
        shared.metrics.connected(number);
        tracing::info!(upstream = %shared.name, link = number, topics = topics.len(), "link open");
        if let Some(ResumePoint { point, .. }) = &resume {
            tracing::info!(upstream = %shared.name, link = number, point, "asked to go on from there");
        }
        // The keeper always listens, but for when all is being stopped.
        reports.send(Report::Opened { slot: number }).await.ok();
        let begin = Begin { slot: number, topics, overlapping, resume, held };
        let end = Link::new(&shared, begin).run(&mut connection, Keeping { orders, reports }, &stop).await;
        let lasted = connection.opened.elapsed();
        // A connection is never shared or handed on: what it was subscribed to would come to another.
        drop(Object::take(connection));
        match end {
            LinkEnd::Stopped | LinkEnd::Closed { .. } => SlotEnd::Stopped,
            LinkEnd::Lost { reason, cause } => SlotEnd::Lost { reason, cause, lasted },
        }
    }
}
