//! Typed settings, their layers, and the checks that name file, line and nearest key.

mod endpoint;
mod settings;
pub mod units;

pub use endpoint::Endpoint;
pub use settings::*;
pub use units::ByteSize;
