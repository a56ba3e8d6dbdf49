//! What operators set while a daemon runs: the last layer, over the command line. It is a list of keys that were given a value
//! or taken away; the journal remembers it.

use std::collections::BTreeMap;

use config::{Value, ValueKind};
use serde::{Deserialize, Serialize};

use super::key::KeyPath;
use super::layer::{Layer, find, from_json, from_text, put, remove, to_json};
use super::load::{Base, Loaded};
use super::plan::Effect;
use super::problem::{ConfigError, Problem, hides_a_secret};

/// The origin of what an operator set at run time.
const ORIGIN: &str = "set at run time";

/// What became of one key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunTimeValue {
    /// It has this value; a table replaces what other layers have there.
    Set(serde_json::Value),
    /// It is as if no layer had it.
    Removed,
}

/// Why a key cannot be set at run time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunTimeRefusal {
    /// It is no key.
    #[error("`{0}` is not a key; write one such as `log.level` or `monitors.\"a.b\".topics`")]
    NoKey(String),
    /// It takes effect at a start only.
    #[error(
        "`{0}` cannot be set at run time, as it takes effect at a start only: put it into the settings file and restart the daemon"
    )]
    NeedsRestart(KeyPath),
    /// What switches the smart path off must win, wherever it stands.
    #[error(
        "`smart_streaming.enabled` is not set to true at run time, where it would win over a file and over USE_SMART_STREAMING=false: put it into the settings file and `sluice reload`; how many monitors are on the smart path, `sluice canary set` says"
    )]
    Switch,
    /// The journal would show it to everybody who may query.
    #[error(
        "`{0}` may hold a secret, and what is set at run time is kept in the journal, where `query` shows it: put it into the settings file"
    )]
    Secret(KeyPath),
}

/// Keys that were set or taken away at run time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunTimeLayer {
    /// A table comes before what is inside it.
    entries: BTreeMap<KeyPath, RunTimeValue>,
}

impl RunTimeLayer {
    /// Gives a key a value or takes it away. What was said before of anything inside it counts no more.
    pub fn set(&mut self, key: KeyPath, value: RunTimeValue) {
        self.unset(&key);
        self.entries.insert(key, value);
    }

    /// Takes back what was said of a key and of everything inside it. False where nothing was.
    pub fn unset(&mut self, key: &KeyPath) -> bool {
        let before = self.entries.len();
        self.entries.retain(|known, _| !known.is_within(key));
        self.entries.len() < before
    }

    /// What was said of exactly this key.
    pub fn get(&self, key: &KeyPath) -> Option<&RunTimeValue> {
        self.entries.get(key)
    }

    /// Whether nothing was set.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every key with what was said of it, in the order in which they are applied.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyPath, &RunTimeValue)> {
        self.entries.iter()
    }

    /// Keys that were taken away.
    pub fn removed(&self) -> Vec<KeyPath> {
        let removed = self.entries.iter().filter(|(_, value)| **value == RunTimeValue::Removed);
        removed.map(|(key, _)| key.clone()).collect()
    }

    /// Whether a key may be set at run time to a value.
    ///
    /// # Errors
    /// When it takes effect at a start only, or may hold a secret.
    pub fn check(key: &KeyPath, value: &serde_json::Value) -> Result<(), RunTimeRefusal> {
        Self::check_key(key)?;
        let switch = match (key.key_at(0), key.key_at(1)) {
            (Some("smart_streaming"), Some("enabled")) => Some(value),
            (Some("smart_streaming"), None) => value.get("enabled"),
            _ => None,
        };
        if switch.is_some_and(|value| *value == serde_json::Value::Bool(true)) {
            return Err(RunTimeRefusal::Switch);
        }
        match secret_in(key, value) {
            Some(key) => Err(RunTimeRefusal::Secret(key)),
            None => Ok(()),
        }
    }

    /// Whether a key may be set at run time to anything.
    ///
    /// # Errors
    /// When it takes effect at a start only. A key that does not exist is refused when settings are read with it.
    pub fn check_key(key: &KeyPath) -> Result<(), RunTimeRefusal> {
        // Names of sinks are whatever users choose.
        let known = key.key_at(0) == Some("sinks") || find(Layer::defaults().root(), key).is_some();
        if known && Effect::of(key) == Effect::Restart {
            return Err(RunTimeRefusal::NeedsRestart(key.clone()));
        }
        Ok(())
    }

    /// The value that a text stands for, read as `--set` reads it.
    pub fn value_of_text(key: &KeyPath, text: &str) -> serde_json::Value {
        let defaults = Layer::defaults();
        let default: Option<&ValueKind> = find(defaults.root(), key).map(|value| &value.kind);
        to_json(&from_text(text, default, ORIGIN))
    }

    /// Puts it over the other layers.
    pub(super) fn apply_to(&self, root: &mut Value) {
        for (key, value) in &self.entries {
            match value {
                RunTimeValue::Set(json) => put(root, key, from_json(json, ORIGIN)),
                // What no other layer has need not be taken away.
                RunTimeValue::Removed => drop(remove(root, key)),
            }
        }
    }
}

impl FromIterator<(KeyPath, RunTimeValue)> for RunTimeLayer {
    fn from_iter<I: IntoIterator<Item = (KeyPath, RunTimeValue)>>(entries: I) -> Self {
        Self { entries: entries.into_iter().collect() }
    }
}

fn secret_in(key: &KeyPath, value: &serde_json::Value) -> Option<KeyPath> {
    use serde_json::Value as Json;
    match value {
        Json::Object(entries) => entries.iter().find_map(|(name, inner)| secret_in(&key.key(name), inner)),
        Json::Array(list) => list.iter().find_map(|item| secret_in(key, item)),
        Json::String(text) => hides_a_secret(key, text).then(|| key.clone()),
        Json::Number(_) => hides_a_secret(key, "").then(|| key.clone()),
        Json::Null | Json::Bool(_) => None,
    }
}

/// Settings with as much of the run-time layer as fits the other layers.
#[derive(Debug)]
pub struct Fitted {
    /// The settings.
    pub loaded: Loaded,
    /// What of the layer is in them.
    pub run_time: RunTimeLayer,
    /// What is not, and why.
    pub left_out: Vec<LeftOut>,
}

/// A key that was set at run time and no longer fits the other layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Which.
    pub key: KeyPath,
    /// Why.
    pub reason: String,
}

impl Base {
    /// Settings with the run-time layer, or with what of it fits: the file may have changed since, and what an operator once set
    /// for a monitor that it no longer has must not stop a start. `usable` says what is wrong beyond types and checks.
    ///
    /// # Errors
    /// When these layers cannot be used by themselves.
    pub fn fit(
        &self,
        run_time: &RunTimeLayer,
        usable: impl Fn(&Loaded) -> Result<(), ConfigError>,
    ) -> Result<Fitted, ConfigError> {
        let load = |layer: &RunTimeLayer| {
            let loaded = self.with(layer)?;
            usable(&loaded).map(|()| loaded)
        };
        let (mut kept, mut left_out) = (run_time.clone(), Vec::new());
        loop {
            let error = match load(&kept) {
                Ok(loaded) => return Ok(Fitted { loaded, run_time: kept, left_out }),
                Err(error) => error,
            };
            let named = entries_named_by(&kept, &error);
            if named.is_empty() {
                break;
            }
            for LeftOut { key, reason } in named {
                kept.entries.remove(&key);
                left_out.push(LeftOut { key, reason });
            }
        }
        // The mistake shows elsewhere than it was made: an upstream was taken away that a new monitor of the file wants. One
        // after the other then, again and again, since one may need another.
        let mut waiting = std::mem::take(&mut kept.entries);
        let mut loaded = load(&kept)?;
        loop {
            let before = waiting.len();
            let mut refused = BTreeMap::new();
            for (key, value) in waiting {
                kept.entries.insert(key.clone(), value.clone());
                match load(&kept) {
                    Ok(with_it) => loaded = with_it,
                    Err(error) => {
                        kept.entries.remove(&key);
                        refused.insert(key, (value, error.to_string()));
                    }
                }
            }
            if refused.len() == before || refused.is_empty() {
                left_out.extend(refused.into_iter().map(|(key, (_, reason))| LeftOut { key, reason }));
                return Ok(Fitted { loaded, run_time: kept, left_out });
            }
            waiting = refused.into_iter().map(|(key, (value, _))| (key, value)).collect();
        }
    }
}

/// The entries that problems are about.
fn entries_named_by(layer: &RunTimeLayer, error: &ConfigError) -> Vec<LeftOut> {
    let about = |key: &KeyPath| {
        let at_or_in =
            |problem: &&Problem| !problem.key.is_root() && (problem.key.is_within(key) || key.is_within(&problem.key));
        error.problems().iter().find(at_or_in).map(ToString::to_string)
    };
    let named = layer.entries.keys().filter_map(|key| Some(LeftOut { key: key.clone(), reason: about(key)? }));
    named.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{LoadOptions, load};

    const FILE: &str = "[upstreams.feed]\nurl = \"wss://example.com/ws\"\ndialect = \"binance\"\n\
        [monitors.a]\ndomain = \"d\"\nupstream = \"feed\"\ntopics = [\"x@trade\"]\n";

    fn base(text: &str) -> Base {
        let options = LoadOptions {
            file: None,
            set: vec!["log.level=warn".into()],
            environment: Vec::new(),
            current_dir: "/nowhere".into(),
            run_time: RunTimeLayer::default(),
        };
        Base::proposed(&options, "s.toml".as_ref(), text).unwrap()
    }

    fn layer<const N: usize>(entries: [(&str, RunTimeValue); N]) -> RunTimeLayer {
        entries.into_iter().map(|(key, value)| (KeyPath::parse(key).unwrap(), value)).collect()
    }

    fn set(value: serde_json::Value) -> RunTimeValue {
        RunTimeValue::Set(value)
    }

    #[test]
    fn what_was_set_at_run_time_wins_over_every_other_layer_and_says_so() {
        let layer = layer([
            ("log.level", set(json!("debug"))),
            ("monitors.a", RunTimeValue::Removed),
            ("monitors.b", set(json!({"domain": "d", "upstream": "feed", "topics": ["y@trade"]}))),
            ("monitors.b.priority", set(json!("low"))),
        ]);
        let loaded = base(FILE).with(&layer).unwrap();
        assert_eq!(loaded.settings.log.level, "debug");
        assert_eq!(loaded.origins.of_setting(&KeyPath::from(["log", "level"])), "set at run time");
        assert_eq!(loaded.settings.monitors.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(loaded.settings.monitors["b"].priority, crate::config::Priority::Low);
        assert_eq!(loaded.removed, [KeyPath::from(["monitors", "a"])]);
        assert_eq!(base(FILE).with(&RunTimeLayer::default()).unwrap().settings.log.level, "warn");
    }

    #[test]
    fn a_table_set_at_run_time_replaces_the_files() {
        let layer = layer([("monitors.a", set(json!({"domain": "e", "upstream": "feed", "topics": ["z@trade"]})))]);
        let loaded = base(&FILE.replace("domain = \"d\"", "domain = \"d\"\npriority = \"low\"")).with(&layer).unwrap();
        assert_eq!(loaded.settings.monitors["a"].priority, crate::config::Priority::Medium);
        assert_eq!(loaded.settings.monitors["a"].domain, "e");
    }

    #[test]
    fn a_value_that_cannot_be_used_is_refused_as_set_at_run_time() {
        let error = base(FILE).with(&layer([("monitors.a.topics", set(json!("no list")))])).unwrap_err().to_string();
        assert!(error.starts_with("set at run time: monitors.a.topics"), "{error}");
        let error = base(FILE).with(&layer([("monitors.a.topcis", set(json!(["x"])))])).unwrap_err().to_string();
        assert!(error.contains("did you mean `topics`?"), "{error}");
    }

    #[test]
    fn entries_that_no_longer_fit_are_left_out_and_the_others_hold() {
        let monitor = |upstream: &str| set(json!({"domain": "d", "upstream": upstream, "topics": ["y@trade"]}));
        let layer = layer([
            ("log.level", set(json!("debug"))),
            // Monitors that the file no longer has, and of an upstream that it no longer has.
            ("monitors.gone.priority", set(json!("low"))),
            ("monitors.b", monitor("was-there")),
            ("monitors.c", monitor("made")),
            ("upstreams.made", set(json!({"url": "wss://example.com/m", "dialect": "binance"}))),
            // The file's own monitor wants it.
            ("upstreams.feed", RunTimeValue::Removed),
        ]);
        let fitted = base(FILE).fit(&layer, |_| Ok(())).unwrap();
        assert_eq!(fitted.loaded.settings.log.level, "debug");
        assert_eq!(fitted.loaded.settings.monitors.keys().collect::<Vec<_>>(), ["a", "c"]);
        let mut left_out: Vec<String> = fitted.left_out.iter().map(|left| left.key.to_string()).collect();
        left_out.sort();
        assert_eq!(left_out, ["monitors.b", "monitors.gone.priority", "upstreams.feed"]);
        assert!(fitted.left_out.iter().all(|left| !left.reason.is_empty()));
        assert_eq!(fitted.run_time.iter().count(), 3);
    }

    #[test]
    fn values_that_need_each_other_are_both_taken() {
        let both = layer([("pool.max_connections", set(json!(9))), ("pool.min_connections", set(json!(8)))]);
        let fitted = base(FILE).fit(&both, |_| Ok(())).unwrap();
        assert_eq!((fitted.loaded.settings.pool.min_connections, fitted.left_out), (8, vec![]));
    }

    #[test]
    fn what_takes_effect_at_a_start_only_is_not_set_at_run_time() {
        for key in ["daemon.data_dir", "journal.retention", "server.listen", "checkpoint.dir", "sinks.x.kind", "batch"]
        {
            let refused = RunTimeLayer::check(&KeyPath::parse(key).unwrap(), &json!(1));
            assert!(matches!(refused, Err(RunTimeRefusal::NeedsRestart(_))), "{key}: {refused:?}");
        }
        for key in ["log.level", "pool.max_connections", "monitors.x", "upstreams.x.url", "shedding.enabled"] {
            assert_eq!(RunTimeLayer::check(&KeyPath::parse(key).unwrap(), &json!(true)), Ok(()), "{key}");
        }
    }

    #[test]
    fn a_secret_is_not_set_at_run_time() {
        let upstream = |url: &str| json!({"url": url, "dialect": "binance"});
        let check = |value| RunTimeLayer::check(&KeyPath::from(["upstreams", "x"]), &value);
        assert_eq!(check(upstream("wss://example.com")), Ok(()));
        assert_eq!(check(upstream("ws://127.0.0.1:9/stream?streams=a")), Ok(()));
        for url in ["wss://me:pass@example.com", "wss://example.com/?key=1", "wss://me:***@example.com"] {
            assert!(matches!(check(upstream(url)), Err(RunTimeRefusal::Secret(_))), "{url}");
        }
        let headers = json!({"extends": "binance", "headers": {"X": "1"}});
        assert!(RunTimeLayer::check(&KeyPath::from(["dialects", "x"]), &headers).is_err());
    }

    #[test]
    fn a_text_is_read_as_set_reads_it() {
        let value = |key: &str, text: &str| RunTimeLayer::value_of_text(&KeyPath::parse(key).unwrap(), text);
        assert_eq!(value("monitors.a.topics", "[\"x\", 1]"), json!(["x", 1]));
        assert_eq!(value("log.level", "2026"), json!("2026"));
        assert_eq!(value("pool.max_connections", "3"), json!(3));
        assert_eq!(value("upstreams.x", "{ url = \"ws://x\" }"), json!({"url": "ws://x"}));
    }

    #[test]
    fn without_a_run_time_layer_nothing_changes() {
        let options = LoadOptions {
            file: None,
            set: Vec::new(),
            environment: Vec::new(),
            current_dir: "/nowhere".into(),
            run_time: layer([("log.level", set(json!("debug")))]),
        };
        assert_eq!(load(&options).unwrap().settings.log.level, "debug");
    }
}
