//! The sink `events`, which is there without being declared, and off until `EVENT_MONITORING_ENABLED` says otherwise.
//!
//! Variables of the environment cannot declare a sink: they know fixed names only. This one has fixed names. Where a settings
//! file or the command line has a table `[sinks.events]`, it is a sink like any other, but that `kind`, left out, means
//! `sqlite`, and that variables go on to set their keys of it.

use config::{Map, Value, ValueKind};

use super::key::KeyPath;
use super::layer::{DEFAULT_ORIGIN, Layer, find};

/// Its name.
pub(super) const NAME: &str = "events";

/// Whether a layer has a table of it.
pub(super) fn is_named_by(layer: &Layer) -> bool {
    find(layer.root(), &KeyPath::from(["sinks", NAME])).is_some()
}

/// Puts the defaults under what the layers say of it. `declared`: a file or the command line has a table of it, so that it runs
/// unless it says otherwise.
pub(super) fn complete(root: &mut Value, declared: bool) {
    let ValueKind::Table(sections) = &mut root.kind else { return };
    let ValueKind::Table(sinks) = &mut sections.entry("sinks".into()).or_insert_with(|| default(table())).kind else {
        return;
    };
    let ValueKind::Table(keys) = &mut sinks.entry(NAME.into()).or_insert_with(|| default(table())).kind else { return };
    let is_sqlite = match keys.get("kind").map(|kind| &kind.kind) {
        None => true,
        Some(ValueKind::String(kind)) => kind == "sqlite",
        Some(_) => false,
    };
    let mut fill = |key: &str, kind: ValueKind| {
        keys.entry(key.to_owned()).or_insert_with(|| default(kind));
    };
    if is_sqlite {
        fill("kind", ValueKind::String("sqlite".into()));
        fill("batch_max", ValueKind::I64(1000));
        fill("flush_interval", ValueKind::String("100ms".into()));
        fill("retention_days", ValueKind::I64(14));
    }
    if !declared {
        fill("enabled", ValueKind::Boolean(false));
    }
}

fn table() -> ValueKind {
    ValueKind::Table(Map::new())
}

fn default(kind: ValueKind) -> Value {
    Value::new(Some(&DEFAULT_ORIGIN.to_owned()), kind)
}
