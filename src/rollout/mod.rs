//! The change-over from the legacy path to the smart one: who is on which, and what decides it.

pub mod choice;
pub mod figures;
mod paths;
pub mod report;
pub mod shadow;

pub use paths::{MonitorPath, Paths};
