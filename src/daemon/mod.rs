//! The whole: opens the journal, starts links and server, watches over them, and stops everything in order.

mod assembly;
mod figures;
mod history;
mod journal_events;
mod operations;
mod own_events;
mod pool_rows;
mod retry;
mod snapshot;
mod start;
mod summary;
mod supervise;
mod switches;
mod troubles;
mod upstreams;
mod view;
mod watched;
#[cfg(test)]
mod watching;
mod works;

pub use assembly::{AssemblyError, check};
pub use figures::{JournalFigures, UpstreamFigures};
pub use start::{Daemon, Fault, StartError, Stopped};
pub use summary::Summary;
pub use supervise::{Ending, run};
pub use upstreams::{Applied, ApplyError};
pub use view::DaemonView;
