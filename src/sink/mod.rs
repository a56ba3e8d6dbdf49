//! Sinks: stores outside of the journal, fed from it, each event exactly once and in journal order.
//!
//! Each sink has a cursor of its own, kept by the store together with the rows, and a runner of its own; none waits for another.
//!
//! | file        | is                                                                        |
//! |-------------|---------------------------------------------------------------------------|
//! | `store`     | what a store must do: open, write a batch and move the cursor in one step  |
//! | `batch`     | consecutive events of the journal, on their way into a store               |
//! | `any_store` | which store a sink's settings mean                                         |
//! | `worker`    | a thread that owns what blocks                                             |
//! | `postgres`, `sqlite`, `nats`, `jsonl` | the stores                                       |

mod any_store;
mod batch;
mod jsonl;
mod nats;
mod postgres;
mod sqlite;
mod store;
mod worker;

pub use any_store::AnyStore;
pub use batch::{Batch, BatchBuilder, Parked};
pub use store::{Opening, Purpose, Store, StoreError, StoreFigures, StoredPayload, StoredRow};
