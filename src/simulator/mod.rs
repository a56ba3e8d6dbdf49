//! The feed simulator: an upstream of our own, for `sluice demo`, `sluice simulate`, tests and benches.
//!
//! It is a server that speaks the dialects built, over WebSocket or what they have in its place, and takes what it sends from one of three sources:
//!
//! | source      | sends                                                          | file           |
//! |-------------|----------------------------------------------------------------|----------------|
//! | synthetic   | plausible messages for each topic asked for, at a set rate     | [`dialects`]   |
//! | recording   | a recorded session, to the byte                                | [`recording`]  |
//! | flood       | pre-encoded trades, written to the socket in large pieces      | [`flood`]      |
//!
//! A synthetic topic is one stream of events, made while anybody is subscribed to it: two connections that ask for
//! the same topic get the same events, as from a real upstream. Faults are made per connection, after the stream.
//! It imports nothing of the daemon and has WebSocket framing of its own: what is wrong in the one is not hidden by
//! the same wrong in the other, and it can send what no sound library would.

mod connection;
mod conversation;
mod dialects;
mod faults;
mod figures;
mod flood;
mod frames;
mod giant;
mod hub;
mod opening;
mod polled;
mod recording;
mod replay;
mod server;
mod settings;

pub use figures::{Fault, Figures, LedgerEntry, Made};
pub use server::{Running, Simulator, SimulatorError};
pub use settings::{
    AfterRecording, Faults, FloodSettings, Handshake, LedgerSettings, Pace, RecordingSettings, SimulatedDialect,
    SimulatorSettings, Source,
};
