//! The whole: opens the journal, starts links and server, watches over them, and stops everything in order.

mod assembly;
mod start;
mod summary;
mod supervise;
mod view;

pub use assembly::{AssemblyError, assemble};
pub use start::{Daemon, Fault, StartError, Stopped};
pub use summary::Summary;
pub use supervise::{Ending, run};
