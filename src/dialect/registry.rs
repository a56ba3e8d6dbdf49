//! Dialects by name: presets, and those that a settings file declares.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Dialect;
use super::error::{DialectError, Fault};
use super::json::JsonDialect;
use super::json_rpc::JsonRpcDialect;

/// A declaration that comes with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Its name in settings.
    pub name: &'static str,
    /// The declaration, as a settings file would have it under `[dialects.NAME]`.
    pub toml: &'static str,
}

const PRESETS: [Preset; 8] = [
    Preset { name: "binance", toml: include_str!("presets/binance.toml") },
    Preset { name: "bybit", toml: include_str!("presets/bybit.toml") },
    Preset { name: "coinbase", toml: include_str!("presets/coinbase.toml") },
    Preset { name: "deribit", toml: include_str!("presets/deribit.toml") },
    Preset { name: "ethereum", toml: include_str!("presets/ethereum.toml") },
    Preset { name: "kraken", toml: include_str!("presets/kraken.toml") },
    Preset { name: "okx", toml: include_str!("presets/okx.toml") },
    Preset { name: "solana", toml: include_str!("presets/solana.toml") },
];

/// All presets, by name.
pub fn presets() -> &'static [Preset] {
    &PRESETS
}

/// The longest chain of `extends`; more is a circle or a mistake.
const EXTENDS_MAX: usize = 8;

/// The dialect of a name: a declared one, else a preset.
///
/// # Errors
/// When there is none of this name, or its declaration has a mistake.
pub fn build(name: &str, declared: &BTreeMap<String, toml::Table>) -> Result<Arc<dyn Dialect>, DialectError> {
    let mut table = resolve(name, declared)?;
    let built: Result<Arc<dyn Dialect>, Fault> = match table.remove("kind") {
        Some(toml::Value::String(kind)) if kind == "json" => {
            JsonDialect::from_table(table).map(|dialect| Arc::new(dialect) as _)
        }
        Some(toml::Value::String(kind)) if kind == "json_rpc" => {
            JsonRpcDialect::from_table(table).map(|dialect| Arc::new(dialect) as _)
        }
        Some(other) => Err(Fault::new("kind", format!("is {other}; it is \"json\" or \"json_rpc\""))),
        None => Err(Fault::new("kind", "is missing; say `kind = \"json\"`, \"json_rpc\", or `extends = \"a preset\"`")),
    };
    built.map_err(|fault| fault.of(name))
}

/// A dialect's table with everything that it extends under it.
fn resolve(name: &str, declared: &BTreeMap<String, toml::Table>) -> Result<toml::Table, DialectError> {
    let mut layers = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(layer) = next {
        if layers.len() == EXTENDS_MAX {
            return Err(Fault::new("extends", "leads in a circle, or through too many dialects").of(name));
        }
        // A declared dialect may have the name of the preset that it extends.
        let own = declared.get(&layer).filter(|_| !layers.iter().any(|(known, _)| *known == layer));
        let mut table = match own {
            Some(table) => table.clone(),
            None => preset(&layer).ok_or_else(|| unknown(&layer, declared))?,
        };
        next = match table.remove("extends") {
            None => None,
            Some(toml::Value::String(base)) => Some(base),
            Some(other) => return Err(Fault::new("extends", format!("is {other}; it is a dialect's name")).of(name)),
        };
        layers.push((layer, table));
    }
    let mut table = toml::Table::new();
    for (_, layer) in layers.into_iter().rev() {
        overlay(&mut table, layer);
    }
    Ok(table)
}

/// Tables are merged key by key; everything else, lists too, is replaced.
fn overlay(under: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => overlay(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

fn preset(name: &str) -> Option<toml::Table> {
    let preset = PRESETS.iter().find(|preset| preset.name == name)?;
    Some(preset.toml.parse().expect("a test reads every preset"))
}

fn unknown(name: &str, declared: &BTreeMap<String, toml::Table>) -> DialectError {
    let mut known: Vec<&str> = declared.keys().map(String::as_str).chain(PRESETS.iter().map(|row| row.name)).collect();
    known.sort_unstable();
    known.dedup();
    let nearest = known
        .iter()
        .map(|other| (strsim::jaro_winkler(name, other), *other))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    DialectError::Unknown {
        name: name.to_owned(),
        nearest: nearest.map(|(_, other)| other.to_owned()),
        known: known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}
