//! Settings as they may be shown to anyone: every value with the layer it came from, secrets redacted.

use std::collections::BTreeMap;

use serde_json::Value;

use super::key::KeyPath;
use super::load::{Loaded, paths};
use super::problem::redacted;

/// One setting.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ShownSetting {
    /// Its full name, as `--set` takes it.
    pub key: String,
    /// Its value as it is in force; null where it is not set and has no default.
    pub value: Value,
    /// Where it was set.
    pub origin: String,
}

/// All settings in force, by section and name.
pub fn show(loaded: &Loaded) -> Vec<ShownSetting> {
    let mut settings = loaded.settings.clone();
    settings.sinks.extend(loaded.off_sinks.clone());
    for (_, path) in paths(&mut settings) {
        // The folder that we are in may have any name; JSON has UTF-8 only.
        *path = path.to_string_lossy().into_owned().into();
    }
    // All else is maps with string keys, texts and numbers, so that nothing is ever lost here.
    let tree = serde_json::to_value(&settings).unwrap_or_default();
    let mut rows = Vec::new();
    walk(tree, &KeyPath::default(), loaded, &mut rows);
    let removed = loaded.removed.iter().map(|key| ShownSetting {
        key: key.to_string(),
        value: Value::Null,
        origin: "removed at run time".to_owned(),
    });
    rows.extend(removed);
    rows
}

/// Every entry of a section whose names users choose, as it is in force.
pub fn shown_table(loaded: &Loaded, section: &str) -> BTreeMap<String, Value> {
    let mut settings = loaded.settings.clone();
    for (_, path) in paths(&mut settings) {
        *path = path.to_string_lossy().into_owned().into();
    }
    let tree = serde_json::to_value(&settings).unwrap_or_default();
    let path = KeyPath::from([section]);
    match tree.get(section) {
        Some(Value::Object(entries)) => {
            entries.iter().map(|(name, entry)| (name.clone(), hide(entry.clone(), &path.key(name)))).collect()
        }
        _ => BTreeMap::new(),
    }
}

fn walk(value: Value, path: &KeyPath, loaded: &Loaded, rows: &mut Vec<ShownSetting>) {
    match value {
        // A section without entries is no setting.
        Value::Object(entries) => {
            for (key, inner) in entries {
                walk(inner, &path.key(&key), loaded, rows);
            }
        }
        leaf => rows.push(ShownSetting {
            key: path.to_string(),
            value: hide(leaf, path),
            origin: loaded.origins.of_setting(path).to_owned(),
        }),
    }
}

/// Redacts texts, those inside lists and the tables of lists too.
fn hide(value: Value, path: &KeyPath) -> Value {
    match value {
        Value::String(text) => Value::String(redacted(path, &text)),
        Value::Array(list) => {
            Value::Array(list.into_iter().enumerate().map(|(index, item)| hide(item, &path.index(index))).collect())
        }
        Value::Object(entries) => {
            Value::Object(entries.into_iter().map(|(key, inner)| (key.clone(), hide(inner, &path.key(&key)))).collect())
        }
        plain => plain,
    }
}
