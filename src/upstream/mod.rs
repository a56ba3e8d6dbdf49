//! Upstreams: a bounded pool of links to each, kept open, verified, and given their share of the topics.

mod connect;
mod counts;
mod health;
mod keeper;
mod link;
mod meeting;
mod orders;
mod pace;
mod placement;
mod pool;
mod prepare;
mod quietness;
mod resume;
mod status;
mod subscriptions;
mod tap;
mod wire;

pub use connect::ConnectError;
pub use counts::{PathCounts, PathCountsBook};
pub use health::{LinkHealth, Sick};
pub use pace::{ConnectPace, Paces, SendPace, Sending, connects_within};
pub use pool::{Upstream, UpstreamControl, UpstreamError, Wiring, check_trust, links_for};
pub use prepare::{Made, Preparation, Prepared, PreparedStanding, Taken, unit_name};
pub use quietness::{QuietBounds, Quietness, Second, Silence};
pub use status::{LinkState, LinkStatus, TopicState, TopicStatus, UpstreamStatus};
pub use tap::{Heard, HeardTopic, Tap, TapEnd, Watcher};
