//! `[server.streams]`: events as they become durable, over WebSocket and as server-sent events.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units;

/// `[server.streams]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamSettings {
    /// Whether events are streamed at all.
    pub enabled: bool,
    /// Over WebSocket.
    pub websocket: bool,
    /// As server-sent events.
    pub sse: bool,
    /// Clients at once, of each of both.
    pub clients_max: u32,
    /// A client of which nothing else is to be told hears so often that the connection is alive.
    #[serde(with = "units::duration")]
    pub heartbeat: Duration,
    /// A client that takes nothing for so long is cut off.
    #[serde(with = "units::duration")]
    pub stall_timeout: Duration,
    /// Named consumers.
    pub consumers_max: u32,
    /// A named consumer that does not come for so long is forgotten.
    #[serde(with = "units::duration")]
    pub consumer_ttl: Duration,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            websocket: true,
            sse: true,
            clients_max: 10_000,
            heartbeat: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            consumers_max: 1_000,
            consumer_ttl: Duration::from_hours(7 * 24),
        }
    }
}
