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
//! | `file_work` | what stores of files do on it: live, or for a replay                       |
//! | `interest`  | which events a sink takes                                                  |
//! | `reading`   | reading the journal ahead of the store, so much and no more                |
//! | `pacing`    | how many events a transaction takes                                        |
//! | `hold`      | keeping retention behind the cursor                                        |
//! | `runner`    | one sink at work                                                           |
//! | `following` | where it is in the journal, and when the next batch is due                 |
//! | `narrowing` | finding the rows that a store refuses                                      |
//! | `lost`      | spans that a sink did not get                                              |
//! | `status`    | how a sink stands                                                          |
//! | `switch`    | switching a sink off and on at run time                                    |
//! | `running`   | all sinks: started, asked, told, stopped                                   |
//! | `trial`     | whether a sink could write, without writing                                |
//! | `postgres`, `sqlite`, `nats`, `jsonl` | the stores                                       |

mod any_store;
mod batch;
mod file_work;
mod following;
mod hold;
mod interest;
mod jsonl;
mod lost;
mod narrowing;
mod nats;
mod pacing;
pub(crate) mod postgres;
mod reading;
mod runner;
mod running;
mod sqlite;
mod status;
mod store;
mod switch;
mod trial;
mod worker;

pub use any_store::AnyStore;
pub use batch::{Batch, BatchBuilder, BatchLimits, Parked};
pub use interest::Interest;
pub use lost::{LOST_TOPIC, LostCause, LostLog, LostSpan, LostWhy};
pub use running::{ReadySinks, RunningSinks, SinkError, SinkStart, Sinks, check};
pub use status::{LatencyMs, SinkMark, SinkRow, SinkState};
pub use store::{Opening, Purpose, Store, StoreError, StoreFigures, StoredPayload, StoredRow};
pub use switch::{Resume, SinkChange, SinkSwitch, SwitchRefusal, SwitchedSink};
pub use trial::Trial;
