//! As a service: what the service manager is told and hands over, the environment file, installation, packages, and what is generated from
//! the command line.

mod activation;
mod generated;
#[cfg(feature = "failpoints")]
mod hanging;
mod installing;
pub(crate) mod manager;
mod notifying;
mod packaging;
mod toggles;
mod units;
