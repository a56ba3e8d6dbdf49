//! Who we are to upstreams: what is sent, what is not said, and what becomes of it in time.

mod certificates;
mod examples;
mod handshake;
mod login;
mod proxies;
mod secrecy;
pub(crate) mod servers;
mod tokens;
