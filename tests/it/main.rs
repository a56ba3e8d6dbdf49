//! Promises kept by the built program and its rooms, a module each. `support` is how tests reach it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod account;
mod anvil_node;
mod auth;
mod backpressure;
mod bad_input;
mod changing;
mod chaos;
mod checkpoints;
mod circuits;
#[cfg(feature = "failpoints")]
mod clock_jumps;
mod commands;
#[cfg(feature = "failpoints")]
mod crash_points;
mod demo;
mod failing_disk;
mod fault_proxy;
mod faulty_network;
mod file_sinks;
mod gap_causes;
mod gaps;
mod half_open;
mod hand_over;
mod http_upstream;
mod inferring;
mod journal;
mod journal_tools;
mod ledger;
mod losses;
mod nats;
mod nats_server;
mod natures;
mod natures_resume;
mod node_under_load;
mod older_files;
mod over_http;
mod placement;
mod pool;
mod postgres;
mod postgres_server;
mod processes;
mod quarantine_retry;
mod raw_upstream;
mod readme;
mod real_server;
mod recording;
mod recordings;
mod redundancy;
mod refusals;
mod reload;
mod replay;
mod resume;
mod run_time_settings;
mod scarcity;
mod sequences;
mod settings;
mod signals;
mod simulated_dialects;
mod simulator;
mod sinks;
mod support;
mod torture;
mod verify;
mod views;
