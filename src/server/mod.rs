//! The HTTP server: metrics, health, and what the daemon knows of its monitors and sinks.

mod guard;
mod health;
mod journal;
mod metrics;
mod monitors;
mod operations;
mod serve;
mod sinks;

pub use guard::{Access, AccessError};
pub use health::{Health, HealthState};
pub use journal::{JournalRow, RetentionRow};
pub use monitors::MonitorRow;
pub use operations::{OperationRow, OperationState, Refusal, ReplayAnswer};
pub use serve::{ServerError, View, listen, serve};
