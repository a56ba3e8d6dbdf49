//! Durable events for whoever listens now: read once behind the journal, encoded once, handed to every client that wants them.
//!
//! | file        | is                                                                     |
//! |-------------|------------------------------------------------------------------------|
//! | `wanted`    | which events a client wants                                            |
//! | `message`   | an event in the forms in which it goes out, each made once             |
//! | `queue`     | what waits for one client: three priorities, bounded, what was dropped |
//! | `hub`       | the thread that follows the journal and fills the queues               |
//! | `catch_up`  | what a client has missed, read from the journal at its own pace        |
//! | `consumers` | offsets that programs have committed by name                           |
//!
//! Nothing here is on the way to the journal: a client that is slow costs itself, never an upstream.

mod catch_up;
mod consumers;
mod hub;
mod message;
mod queue;
mod wanted;

pub use catch_up::{CatchUp, CatchUpError, Stretch};
pub use consumers::{Commit, ConsumerBook, ConsumerError, ConsumerRecord, ConsumerRow, Lease};
pub use hub::{Hub, Joined};
pub use message::{Form, LiveMessage, server_sent};
pub use queue::{Drops, Polled, Pushed, Queue, Terms};
pub use wanted::{Asked, OwnKind, Wanted, WantedError};
