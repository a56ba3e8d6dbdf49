//! The HTTP server: metrics, health, and what the daemon knows of its monitors and sinks.

mod guard;
mod health;
mod metrics;
mod monitors;
mod quarantine;
mod serve;
mod sinks;
mod views;

pub use guard::{Access, AccessError};
pub use health::{Health, HealthState};
pub use monitors::MonitorRow;
pub use quarantine::{RetryOutcome, RetryRefusal, RetryReport, RetryRequest, RetryRow};
pub use serve::{ServerError, View, listen, serve};
pub use views::{Buffer, Latency, Running};
