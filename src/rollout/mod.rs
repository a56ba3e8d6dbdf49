//! The change-over from the legacy path to the smart one: who is on which, and what decides it.

pub mod choice;
pub mod figures;
mod paths;

pub use paths::{MonitorPath, Paths};
