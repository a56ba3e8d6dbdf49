//! `/v1/ws/events` and `/v1/sse/events`: events as they become durable.
//!
//! | file        | is                                                              |
//! |-------------|-----------------------------------------------------------------|
//! | `asked`     | what a client asks for in its address and headers               |
//! | `session`   | what one client is told next, whatever carries it               |
//! | `snapshot`  | what a stream begins with                                       |
//! | `sse`       | server-sent events                                              |
//! | `websocket` | WebSocket, and what clients say over it                         |
//! | `tickets`   | one-time passes for browsers, which cannot show a token         |
//! | `consumers` | offsets that programs commit by name                            |
//! | `desk`      | what all of these share: limits, counts, the hub                |

mod asked;
mod consumers;
mod desk;
mod session;
mod snapshot;
mod sse;
mod tickets;
mod websocket;

use axum::Router;

pub use desk::{StreamDesk, StreamFigures};
pub(super) use tickets::Tickets;

use super::serve::Shown;

/// All of them.
pub(super) fn routes() -> Router<Shown> {
    Router::new()
        .merge(sse::routes())
        .merge(websocket::routes())
        .merge(tickets::routes())
        .merge(consumers::routes())
        .merge(desk::routes())
}
