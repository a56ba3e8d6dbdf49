//! Whether settings that fit their types can be used: what a start finds out, without starting anything.

use super::assembly::check;
use crate::config::{ConfigError, KeyPath, Loaded, Problem};
use crate::enrich;
use crate::server::Access;
use crate::sink::{self, SinkError};
use crate::upstream;

/// Says what stands in the way of a start with these settings.
///
/// # Errors
/// When something does, with where it was set.
pub fn usable(loaded: &Loaded) -> Result<(), ConfigError> {
    let settings = &loaded.settings;
    let at = |key: KeyPath, message: String| {
        let origin = loaded.origins.nearest(&key).to_owned();
        ConfigError::Invalid(vec![Problem { origin, key, value: None, message }])
    };
    check(settings).map_err(|error| at(error.key(), error.to_string()))?;
    Access::new(&settings.server).map_err(|error| at(KeyPath::from(["server"]), error.to_string()))?;
    for (name, upstream) in &settings.upstreams {
        upstream::check_trust(name, upstream, settings).map_err(|error| at(error.key(), error.to_string()))?;
    }
    enrich::check(settings).map_err(|error| at(error.key(), error.to_string()))?;
    sink::check(settings).map_err(|error| match &error {
        SinkError::Settings { sink, .. } => at(KeyPath::from(["sinks", sink]), error.to_string()),
        SinkError::Runtime(_) => at(KeyPath::from(["sinks"]), error.to_string()),
    })
}
