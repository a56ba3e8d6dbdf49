//! The sink `postgres`, against a real server.

mod daemon;
mod faults;
mod fields;
mod journals;
mod replay;
mod schema;
mod support;
mod tls;
mod writing;
