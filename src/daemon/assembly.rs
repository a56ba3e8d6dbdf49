//! Makes upstreams ready out of settings: their dialects and rosters. Also what `config check` does beyond the types.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Settings;
use crate::dialect::{Dialect, DialectError, registry};
use crate::monitor::event_id::IdHasher;
use crate::monitor::roster::{Identities, Roster, RosterError};

/// Settings that fit their types and each other, but not what they are about.
#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
    /// A dialect.
    #[error("`upstreams.{upstream}.dialect`: {source}")]
    Dialect {
        /// Which upstream.
        upstream: String,
        /// Why.
        source: DialectError,
    },
    /// A monitor's rules.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// A topic's wording.
    #[error("`monitors.{monitor}.topics`: `{topic}`: {reason}")]
    Topic {
        /// Whose.
        monitor: String,
        /// Which.
        topic: String,
        /// Why.
        reason: String,
    },
}

/// An upstream's dialect and monitors.
#[derive(Debug)]
pub struct Assembled {
    /// How it speaks.
    pub dialect: Arc<dyn Dialect>,
    /// Who watches it.
    pub roster: Arc<Roster>,
}

/// Makes every upstream that a monitor watches ready.
///
/// # Errors
/// When a dialect is unknown, a topic cannot be asked for, or a rule cannot be used.
pub fn assemble(
    settings: &Settings,
    hasher: &IdHasher,
    identities: &mut Identities,
) -> Result<BTreeMap<String, Assembled>, AssemblyError> {
    let mut assembled = BTreeMap::new();
    for (name, upstream) in &settings.upstreams {
        let dialect = registry::build(&upstream.dialect, &settings.dialects)
            .map_err(|source| AssemblyError::Dialect { upstream: name.clone(), source })?;
        for (monitor, watched) in settings.monitors.iter().filter(|(_, monitor)| monitor.upstream == *name) {
            for topic in &watched.topics {
                dialect.check_topic(topic).map_err(|reason| AssemblyError::Topic {
                    monitor: monitor.clone(),
                    topic: topic.clone(),
                    reason,
                })?;
            }
        }
        let rules = dialect.default_event_rules();
        let roster = Roster::new(name, &settings.monitors, rules, &settings.quarantine, hasher, identities)?;
        // An upstream that nobody watches is not connected to.
        if !roster.topics.is_empty() {
            assembled.insert(name.clone(), Assembled { dialect, roster: Arc::new(roster) });
        }
    }
    Ok(assembled)
}
