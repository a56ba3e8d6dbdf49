//! What a sink of kind `nats` promises, against a real nats-server.

pub(crate) mod bus;
mod daemon;
mod faults;
mod ownership;
mod proxy;
mod publishing;
mod security;
