//! The demo's three simulated upstreams, and its settings with their addresses.

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::cli::{CliError, Exit};
use crate::simulator::{Faults, Running, SimulatedDialect, Simulator, SimulatorSettings};

/// The settings as shipped.
const SETTINGS: &str = include_str!("../../../config/demo.toml");

/// Upstreams by the name they have in the settings, with their share of the rate in sixths.
const UPSTREAMS: [(&str, SimulatedDialect, u64); 3] = [
    ("binance", SimulatedDialect::Binance, 3),
    ("coinbase", SimulatedDialect::Coinbase, 2),
    ("ethereum", SimulatedDialect::Ethereum, 1),
];

/// The mean time after which a connection is broken: with two connections to each of three upstreams the first is within
/// half a minute, and then one about every 5 s.
const DISCONNECT_EVERY: Duration = Duration::from_secs(30);
/// Enough that repeats show within seconds at the default rate.
const REPEATS: f64 = 0.01;
/// The same of bad frames.
const BAD_FRAMES: f64 = 0.002;

/// Simulators on a thread of their own.
pub(super) struct Providers {
    runtime: Runtime,
    running: Vec<(&'static str, Running)>,
}

impl Providers {
    /// Starts them on free ports of the loopback.
    pub(super) fn start(rate: u64) -> Result<Self, CliError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("simulator")
            .enable_all()
            .build()
            .map_err(|error| CliError::new(Exit::No, "the simulators' thread cannot be started", error))?;
        let mut running = Vec::new();
        for (seed, (name, dialect, sixths)) in (1..).zip(UPSTREAMS) {
            let settings = SimulatorSettings {
                rate: (rate * sixths / 6).max(1),
                seed,
                faults: Faults {
                    repeats: REPEATS,
                    bad_frames: BAD_FRAMES,
                    disconnect_every: Some(DISCONNECT_EVERY),
                    ..Faults::default()
                },
                ..SimulatorSettings::synthetic(dialect)
            };
            running.push((name, runtime.block_on(Simulator::start(settings))?));
        }
        Ok(Self { runtime, running })
    }

    /// The demo's settings with the simulators' addresses, and this address for the server.
    pub(super) fn settings(&self, server: &str) -> String {
        let urls: Vec<(String, String)> =
            self.running.iter().map(|(name, running)| (format!("upstreams.{name}"), running.url())).collect();
        let mut replacements = vec![("daemon", "data_dir", "."), ("server", "listen", server)];
        replacements.extend(urls.iter().map(|(section, url)| (section.as_str(), "url", url.as_str())));
        let used = SETTINGS.split_once("\n\n").map_or(SETTINGS, |(_, settings)| settings);
        format!(
            "# Written by `sluice demo`, which overwrites it the next time: the settings of config/demo.toml as they were used.\n\
             # The simulated upstreams end with the demo; everything that only reads the journal goes on working.\n\n{}",
            replace(used, &replacements)
        )
    }

    /// Ends them.
    pub(super) fn stop(self) {
        let Self { runtime, running } = self;
        runtime.block_on(async {
            for (name, simulator) in running {
                // They keep no ledger that could fail to be written.
                if let Ok(figures) = simulator.stop().await {
                    tracing::info!("simulated upstream {name} stopped: {figures}");
                }
            }
        });
    }
}

/// Gives keys other texts, line by line, so that the comments stay. Keys are (section, key, text).
fn replace(settings: &str, replacements: &[(&str, &str, &str)]) -> String {
    let mut section = "";
    let mut out = String::with_capacity(settings.len());
    for line in settings.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        }
        let key = line.split_once(" = ").map_or("", |(key, _)| key);
        match replacements.iter().find(|(in_section, name, _)| *in_section == section && *name == key) {
            Some((_, _, text)) => out.extend([key, " = ", &toml::Value::from(*text).to_string(), "\n"]),
            None => out.extend([line, "\n"]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_the_shipped_settings_is_replaced() {
        let urls: Vec<String> = UPSTREAMS.iter().map(|(name, ..)| format!("upstreams.{name}")).collect();
        let mut replacements = vec![("daemon", "data_dir", "here"), ("server", "listen", "there")];
        replacements.extend(urls.iter().map(|section| (section.as_str(), "url", "ws://simulated")));
        let settings: toml::Table = replace(SETTINGS, &replacements).parse().unwrap();
        assert_eq!(settings["daemon"]["data_dir"].as_str(), Some("here"));
        assert_eq!(settings["server"]["listen"].as_str(), Some("there"));
        let upstreams = settings["upstreams"].as_table().unwrap();
        assert_eq!(upstreams.len(), UPSTREAMS.len());
        for (name, upstream) in upstreams {
            assert_eq!(upstream["url"].as_str(), Some("ws://simulated"), "{name}");
        }
    }
}
