//! Settings from the environment and from `.env` files: a table of names that must work as they are, and
//! `SLUICE_<SECTION>__<KEY>` for every other setting of a fixed section.

use std::cell::Cell;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use config::{Value, ValueKind};

use super::layer::{Layer, find, from_text};
use super::problem::{Problem, nearest};

/// How the text of a name is read.
#[derive(Debug, Clone, Copy)]
enum Unit {
    /// `true`, `false`, and what people write for them.
    Flag,
    /// A number.
    Number,
    /// A bare number is milliseconds.
    Milliseconds,
    /// A bare number is bytes.
    Bytes,
    /// A text as it stands, also where it looks like a number.
    Text,
    /// Texts: a JSON list, or separated by commas.
    List,
}

/// A name that works as it is.
struct Alias {
    name: &'static str,
    setting: &'static [&'static str],
    unit: Unit,
}

/// Names without our prefix. A setting that is built later brings its name along: one more line here.
const NAMES: [Alias; 18] = [
    Alias { name: "USE_SMART_STREAMING", setting: &["smart_streaming", "enabled"], unit: Unit::Flag },
    Alias { name: "SMART_STREAMING_CANARY", setting: &["smart_streaming", "canary"], unit: Unit::Number },
    Alias { name: "POOL_MIN_CONNECTIONS", setting: &["pool", "min_connections"], unit: Unit::Number },
    Alias { name: "POOL_MAX_CONNECTIONS", setting: &["pool", "max_connections"], unit: Unit::Number },
    Alias { name: "POOL_HEALTH_CHECK_INTERVAL", setting: &["pool", "health_check_interval"], unit: Unit::Milliseconds },
    Alias { name: "BATCH_MIN_SIZE", setting: &["batch", "min_size"], unit: Unit::Number },
    Alias { name: "BATCH_MAX_SIZE", setting: &["batch", "max_size"], unit: Unit::Number },
    Alias { name: "BATCH_TIMEOUT", setting: &["batch", "timeout"], unit: Unit::Milliseconds },
    Alias { name: "CACHE_TTL_MULTIPLIER", setting: &["cache", "ttl_multiplier"], unit: Unit::Number },
    Alias { name: "CACHE_COMPRESSION_THRESHOLD", setting: &["cache", "compression_threshold"], unit: Unit::Bytes },
    Alias { name: "CORS_ORIGINS", setting: &["server", "cors_origins"], unit: Unit::List },
    Alias { name: "CHECKPOINT_DIR", setting: &["checkpoint", "dir"], unit: Unit::Text },
    Alias { name: "FAULT_TOLERANCE_ENABLED", setting: &["fault_tolerance", "enabled"], unit: Unit::Flag },
    Alias { name: "EVENT_MONITORING_ENABLED", setting: &["sinks", "events", "enabled"], unit: Unit::Flag },
    Alias { name: "EVENT_MONITORING_DB_PATH", setting: &["sinks", "events", "folder"], unit: Unit::Text },
    Alias {
        name: "EVENT_MONITORING_RETENTION_DAYS",
        setting: &["sinks", "events", "retention_days"],
        unit: Unit::Number,
    },
    Alias { name: "EVENT_MONITORING_BUFFER_SIZE", setting: &["sinks", "events", "batch_max"], unit: Unit::Number },
    Alias {
        name: "EVENT_MONITORING_FLUSH_INTERVAL",
        setting: &["sinks", "events", "flush_interval"],
        unit: Unit::Milliseconds,
    },
];

const PREFIX: &str = "SLUICE_";

/// Names with our prefix that Kubernetes puts into every container of a namespace with a service called `sluice`.
const FOREIGN: [&str; 2] = ["SLUICE_SERVICE_", "SLUICE_PORT_"];

/// Sections whose keys are names that users choose: variables cannot carry dots and lower case, so these stay in the file.
const OPEN_SECTIONS: [&str; 5] = ["dialects", "upstreams", "monitors", "sinks", "reports"];

/// One variable and where it was found.
struct Variable<'a> {
    name: &'a str,
    text: &'a str,
    origin: String,
}

/// The layer of the process's environment.
pub(super) fn layer(variables: &[(OsString, OsString)], defaults: &Layer, problems: &mut Vec<Problem>) -> Layer {
    let mut found = Vec::new();
    for (name, text) in variables {
        let Some(name) = name.to_str().filter(|name| is_ours(name)) else { continue };
        let origin = format!("environment variable {name}");
        match text.to_str() {
            Some(text) => found.push(Variable { name, text, origin }),
            None => problems.push(Problem::at(origin, "the value is not UTF-8")),
        }
    }
    apply(&mut found, "the environment", defaults, problems)
}

/// What a service manager says of folders: it counts less than anything that a person set.
pub(super) fn service_layer(variables: &[(OsString, OsString)]) -> Option<Layer> {
    const NAME: &str = "STATE_DIRECTORY";
    let (_, value) = variables.iter().find(|(name, _)| name == NAME)?;
    // There may be several, separated by colons; the first is the daemon's own.
    let folder = value.to_str()?.split(':').next().filter(|folder| folder.starts_with('/'))?;
    let origin = format!("environment variable {NAME}");
    let mut layer = Layer::empty(&origin);
    let dir = ValueKind::String(format!("{}/checkpoints", folder.trim_end_matches('/')));
    layer.set(["checkpoint", "dir"], Value::new(Some(&origin), dir));
    Some(layer)
}

/// The layer of a `.env` file. Names that are not ours are left alone: such files serve other programs too.
pub(super) fn dot_env_layer(text: &str, shown: &Path, defaults: &Layer, problems: &mut Vec<Problem>) -> Layer {
    let name = shown.display().to_string();
    let line = Rc::new(Cell::new(0));
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = Lines { rest: text.as_bytes(), count: Rc::clone(&line) };
    let mut entries = Vec::new();
    for entry in dotenvy::from_read_iter(lines) {
        let origin = format!("{name}:{}", line.get().max(1));
        match entry {
            Ok((key, value)) => entries.push((key, value, origin)),
            // The error itself quotes the line, which may hold a secret.
            Err(_) => problems.push(Problem::at(origin, "not a line of the form NAME=value")),
        }
    }
    let mut found: Vec<Variable<'_>> = entries
        .iter()
        .filter(|(key, _, _)| is_ours(key))
        .map(|(key, value, origin)| Variable { name: key, text: value, origin: origin.clone() })
        .collect();
    apply(&mut found, &name, defaults, problems)
}

/// Hands out a text line by line and counts, so that who reads it through a buffer can be asked how far it is.
struct Lines<'a> {
    rest: &'a [u8],
    count: Rc<Cell<usize>>,
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line_end = memchr::memchr(b'\n', self.rest).map_or(self.rest.len(), |at| at + 1);
        let length = line_end.min(buffer.len());
        let (taken, rest) = self.rest.split_at(length);
        buffer[..length].copy_from_slice(taken);
        self.rest = rest;
        if length > 0 && (length == line_end) {
            self.count.set(self.count.get() + 1);
        }
        Ok(length)
    }
}

fn is_ours(name: &str) -> bool {
    // The token is the commands' own, and no setting: settings are shown.
    let foreign =
        name == "SLUICE_PORT" || name == "SLUICE_TOKEN" || FOREIGN.iter().any(|foreign| name.starts_with(foreign));
    (name.starts_with(PREFIX) && !foreign) || NAMES.iter().any(|known| known.name == name)
}

fn apply(found: &mut [Variable<'_>], origin: &str, defaults: &Layer, problems: &mut Vec<Problem>) -> Layer {
    let mut layer = Layer::empty(origin);
    // Where both names of a setting are given, the prefixed one wins: it cannot be meant for another program.
    found.sort_by_key(|variable| variable.name.starts_with(PREFIX));
    for Variable { name, text, origin } in found {
        if let Some(known) = NAMES.iter().find(|known| known.name == *name) {
            layer.set(known.setting.iter().copied(), read(text, known.unit, origin));
        } else if let Some((_, keys)) = prefixed_names(defaults).into_iter().find(|(known, _)| known == name) {
            let default = find(defaults.root(), &keys.iter().collect()).map(|value| &value.kind);
            let value = from_text(text, default, origin);
            layer.set(keys.iter().map(String::as_str), value);
        } else {
            let known = prefixed_names(defaults);
            let word = name.strip_prefix(PREFIX).unwrap_or(name);
            let hint = match nearest(word, known.iter().map(|(known, _)| known.strip_prefix(PREFIX).unwrap_or(known))) {
                Some(near) => format!("did you mean `{PREFIX}{near}`?"),
                None => format!(
                    "names are `{PREFIX}<SECTION>__<KEY>`, such as `{PREFIX}BATCH__TIMEOUT`, for all sections but {}",
                    OPEN_SECTIONS.map(|section| format!("`{section}`")).join(", ")
                ),
            };
            problems.push(Problem::at(origin.clone(), format!("no setting has this name; {hint}")));
        }
    }
    layer
}

fn read(text: &str, unit: Unit, origin: &str) -> Value {
    let text = text.trim();
    let bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let kind = match unit {
        Unit::Flag => match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => ValueKind::Boolean(true),
            "false" | "0" | "no" | "off" => ValueKind::Boolean(false),
            _ => ValueKind::String(text.to_owned()),
        },
        Unit::Number => return from_text(text, None, origin),
        Unit::List if text.starts_with('[') => return from_text(text, None, origin),
        Unit::List => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            let value = |part: &str| Value::new(Some(&origin.to_owned()), ValueKind::String(part.to_owned()));
            ValueKind::Array(parts.map(value).collect())
        }
        Unit::Milliseconds if bare => ValueKind::String(format!("{text}ms")),
        Unit::Bytes if bare => ValueKind::String(format!("{text}B")),
        Unit::Milliseconds | Unit::Bytes | Unit::Text => ValueKind::String(text.to_owned()),
    };
    Value::new(Some(&origin.to_owned()), kind)
}

/// All names with our prefix and the keys they stand for, from the tree of built-in defaults.
fn prefixed_names(defaults: &Layer) -> Vec<(String, Vec<String>)> {
    fn walk(value: &Value, keys: &[String], names: &mut Vec<(String, Vec<String>)>) {
        if let ValueKind::Table(inner) = &value.kind {
            for (key, value) in inner {
                if keys.is_empty() && OPEN_SECTIONS.contains(&key.as_str()) {
                    continue;
                }
                walk(value, &[keys, std::slice::from_ref(key)].concat(), names);
            }
        } else {
            names.push((format!("{PREFIX}{}", keys.join("__").to_uppercase()), keys.to_vec()));
        }
    }
    let mut names = Vec::new();
    walk(defaults.root(), &[], &mut names);
    names
}

/// Names that must work as they are, and what they set.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    NAMES.iter().map(|known| (known.name, known.setting))
}

/// Every name that works, and the setting that it sets.
#[cfg(test)]
pub(crate) fn environment_names() -> Vec<(String, Vec<String>)> {
    let older = names().map(|(name, setting)| (name.to_owned(), setting.iter().map(|&key| key.to_owned()).collect()));
    prefixed_names(&Layer::defaults()).into_iter().chain(older).collect()
}
