//! Upstreams: a bounded pool of links to each, kept open, verified, and given their share of the topics.

mod connect;
mod keeper;
mod link;
mod orders;
mod placement;
mod pool;
mod resume;
mod status;
mod subscriptions;

pub use connect::ConnectError;

pub use pool::{Upstream, UpstreamControl, UpstreamError, Wiring, check_trust};
pub use status::{LinkState, LinkStatus, OpenGap, TopicState, TopicStatus, UpstreamStatus};
