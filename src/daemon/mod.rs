//! The whole: opens the journal, starts links and server, watches over them, and stops everything in order.

mod assembly;
mod attend;
mod backfills;
mod counter_log;
mod fetching;
mod figures;
mod gap_log;
mod history;
mod journal_events;
mod live_settings;
mod operations;
mod own_events;
mod poll_mode;
mod polling;
mod pool_rows;
mod retry;
mod service_manager;
mod shedding;
mod snapshot;
mod start;
mod summary;
mod supervise;
mod switches;
mod take_over;
mod troubles;
mod units;
mod upstreams;
mod usable;
mod verdict;
mod view;
mod watch;
mod watched;
#[cfg(test)]
mod watching;
mod works;

pub use assembly::{AssemblyError, check};
pub use figures::{JournalFigures, UpstreamFigures};
pub use live_settings::SettingsSource;
pub use start::{Daemon, Fault, StartError, Stopped};
pub use summary::Summary;
pub use supervise::{Ending, TakeOvers, run, serve};
pub use switches::run_time_layer;
pub use take_over::TakeOverError;
pub use upstreams::{Applied, ApplyError};
pub use usable::usable;
pub use view::DaemonView;
