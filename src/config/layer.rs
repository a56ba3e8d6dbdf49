//! A layer of settings: a tree of values, each of which knows where it was set.
//!
//! The tree and the `Source` trait are those of the crate `config`. Its builder is not used to put layers together: it
//! reads the names of top-level tables as path expressions (`"a[9999999999]"` would allocate that many elements, `"a.b"`
//! would be split) and forgets where tables were set. [`Layer`] merges into the tree itself instead.

use config::{Map, Source, Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::{KeyPath, Step};
use super::problem::Problem;
use super::settings::Settings;

/// The origin of every built-in default.
pub(super) const DEFAULT_ORIGIN: &str = "built-in default";

/// One layer. Tables of a later layer are merged into those of earlier ones; any other value replaces what was there.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    root: Value,
}

impl Layer {
    /// A layer that says nothing.
    pub(super) fn empty(origin: &str) -> Self {
        Self { root: table(origin) }
    }

    /// The layer of built-in defaults. Optional settings without a default are in it as `Nil`, so that their names are known.
    pub(super) fn defaults() -> Self {
        // Settings consist of maps with string keys, texts and numbers, all of which JSON has.
        let json = serde_json::to_value(Settings::default()).expect("built-in settings are representable");
        Self { root: from_json(&json, DEFAULT_ORIGIN) }
    }

    /// A layer of one TOML table; `place` names where a span of the text is.
    pub(super) fn from_toml(table: &DeTable<'_>, place: &dyn Fn(usize) -> String, problems: &mut Vec<Problem>) -> Self {
        Self { root: from_toml_table(table, &KeyPath::default(), &place(0), place, problems) }
    }

    /// Sets one value, making the tables on the way.
    pub(super) fn set<'k>(&mut self, keys: impl IntoIterator<Item = &'k str>, value: Value) {
        put(&mut self.root, &keys.into_iter().collect(), value);
    }

    /// As [`Layer::set`], by a path.
    pub(super) fn set_at(&mut self, path: &KeyPath, value: Value) {
        put(&mut self.root, path, value);
    }

    /// What this layer says, as a tree.
    pub(super) fn root(&self) -> &Value {
        &self.root
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        self.root.clone().into_table()
    }

    fn collect_to(&self, cache: &mut Value) -> Result<(), config::ConfigError> {
        merge(cache, &self.root);
        Ok(())
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (&mut into.kind, &from.kind) {
        (ValueKind::Table(known), ValueKind::Table(new)) => {
            for (key, value) in new {
                match known.get_mut(key) {
                    Some(place) => merge(place, value),
                    None => {
                        known.insert(key.clone(), value.clone());
                    }
                }
            }
            // A table counts as set by the last layer that has it: what it lacks is missing there.
            let kind = std::mem::take(&mut into.kind);
            *into = Value::new(from.origin().map(str::to_owned).as_ref(), kind);
        }
        _ => *into = from.clone(),
    }
}

/// The value at a path.
pub(super) fn find<'v>(root: &'v Value, path: &KeyPath) -> Option<&'v Value> {
    path.steps().iter().try_fold(root, |at, step| match (&at.kind, step) {
        (ValueKind::Table(inner), Step::Key(key)) => inner.get(key),
        (ValueKind::Array(list), Step::Index(index)) => list.get(*index),
        _ => None,
    })
}

/// Where the value at a path was set, or the nearest table above it.
pub(super) fn origin_of(root: &Value, path: &KeyPath) -> String {
    let mut path = path.clone();
    loop {
        if let Some(origin) = find(root, &path).and_then(Value::origin) {
            return origin.to_owned();
        }
        match path.parent() {
            Some(above) => path = above,
            None => return DEFAULT_ORIGIN.to_owned(),
        }
    }
}

/// Takes the value at a path out of the tree. Elements of lists are left, so that the others keep their numbers.
pub(super) fn remove(root: &mut Value, path: &KeyPath) -> bool {
    let Some((Step::Key(name), above)) = path.steps().split_last() else { return false };
    let mut at = root;
    for step in above {
        let next = match (&mut at.kind, step) {
            (ValueKind::Table(inner), Step::Key(key)) => inner.get_mut(key),
            (ValueKind::Array(list), Step::Index(index)) => list.get_mut(*index),
            _ => None,
        };
        match next {
            Some(next) => at = next,
            None => return false,
        }
    }
    match &mut at.kind {
        ValueKind::Table(inner) => inner.remove(name).is_some(),
        _ => false,
    }
}

/// Sets the value at a path, making the tables on the way; what stood there is gone. A path through a list leads nowhere.
pub(super) fn put(root: &mut Value, path: &KeyPath, value: Value) {
    let origin = value.origin().unwrap_or_default().to_owned();
    let mut at = root;
    for step in path.steps() {
        let Step::Key(key) = step else { return };
        if !matches!(at.kind, ValueKind::Table(_)) {
            *at = table(&origin);
        }
        let ValueKind::Table(inner) = &mut at.kind else { return };
        at = inner.entry(key.clone()).or_insert_with(|| table(&origin));
    }
    *at = value;
}

fn table(origin: &str) -> Value {
    Value::new(Some(&origin.to_owned()), ValueKind::Table(Map::new()))
}

pub(super) fn from_json(json: &serde_json::Value, origin: &str) -> Value {
    use serde_json::Value as Json;
    let kind = match json {
        Json::Null => ValueKind::Nil,
        Json::Bool(truth) => ValueKind::Boolean(*truth),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => ValueKind::I64(integer),
            None => ValueKind::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => ValueKind::String(text.clone()),
        Json::Array(list) => ValueKind::Array(list.iter().map(|item| from_json(item, origin)).collect()),
        Json::Object(map) => {
            ValueKind::Table(map.iter().map(|(key, value)| (key.clone(), from_json(value, origin))).collect())
        }
    };
    Value::new(Some(&origin.to_owned()), kind)
}

/// The same the other way. What JSON has no form for (`nan`) is a text, which no number takes.
pub(super) fn to_json(value: &Value) -> serde_json::Value {
    use serde_json::Value as Json;
    match &value.kind {
        ValueKind::Nil => Json::Null,
        ValueKind::Boolean(truth) => (*truth).into(),
        ValueKind::I64(number) => (*number).into(),
        ValueKind::U64(number) => (*number).into(),
        ValueKind::I128(number) => number.to_string().into(),
        ValueKind::U128(number) => number.to_string().into(),
        ValueKind::Float(number) => {
            serde_json::Number::from_f64(*number).map_or_else(|| number.to_string().into(), Json::Number)
        }
        ValueKind::String(text) => text.clone().into(),
        ValueKind::Array(list) => list.iter().map(to_json).collect(),
        ValueKind::Table(table) => table.iter().map(|(key, inner)| (key.clone(), to_json(inner))).collect(),
    }
}

/// A TOML value as a value of the tree. What settings have no use for (dates, integers beyond 64 bits) is a problem.
pub(super) fn from_toml_value(
    value: &Spanned<DeValue<'_>>,
    key: &KeyPath,
    origin: &str,
    place: &dyn Fn(usize) -> String,
    problems: &mut Vec<Problem>,
) -> Value {
    let mut refuse = |message: String| {
        problems.push(Problem { origin: origin.to_owned(), key: key.clone(), value: None, message });
        ValueKind::Nil
    };
    let kind = match value.get_ref() {
        DeValue::String(text) => ValueKind::String(text.clone().into_owned()),
        DeValue::Boolean(truth) => ValueKind::Boolean(*truth),
        DeValue::Integer(digits) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(integer) => ValueKind::I64(integer),
            Err(_) => refuse("the number does not fit into 64 bits".to_owned()),
        },
        DeValue::Float(digits) => match digits.as_str().parse() {
            Ok(float) => ValueKind::Float(float),
            Err(_) => refuse("not a number".to_owned()),
        },
        DeValue::Datetime(_) => refuse("no setting is a date; write a text in quotes".to_owned()),
        DeValue::Array(list) => ValueKind::Array(
            list.iter()
                .enumerate()
                .map(|(index, item)| {
                    from_toml_value(item, &key.index(index), &place(item.span().start), place, problems)
                })
                .collect(),
        ),
        DeValue::Table(inner) => return from_toml_table(inner, key, origin, place, problems),
    };
    Value::new(Some(&origin.to_owned()), kind)
}

fn from_toml_table(
    table: &DeTable<'_>,
    key: &KeyPath,
    origin: &str,
    place: &dyn Fn(usize) -> String,
    problems: &mut Vec<Problem>,
) -> Value {
    let mut entries = Map::new();
    for (name, value) in table {
        // A key's line, not its value's: the value of `[table]` and of a list over many lines begins elsewhere.
        let inner = from_toml_value(value, &key.key(name.get_ref()), &place(name.span().start), place, problems);
        entries.insert(name.get_ref().clone().into_owned(), inner);
    }
    Value::new(Some(&origin.to_owned()), ValueKind::Table(entries))
}

/// The value that a text from the environment or the command line stands for: TOML where it is, a list or table of JSON, else the text. Where the
/// built-in default is a text, numbers stay texts, so that a folder may be named `2026`.
pub(super) fn from_text(text: &str, default: Option<&ValueKind>, origin: &str) -> Value {
    let as_text = || Value::new(Some(&origin.to_owned()), ValueKind::String(text.to_owned()));
    let of_json = || -> Option<String> {
        let written = text.trim_start().starts_with(['[', '{']).then(|| serde_json::from_str::<toml::Value>(text));
        Some(written?.ok()?.to_string())
    };
    let json = if DeValue::parse(text).is_err() { of_json() } else { None };
    let Ok(parsed) = DeValue::parse(json.as_deref().unwrap_or(text)) else { return as_text() };
    if matches!(default, Some(ValueKind::String(_))) && !parsed.get_ref().is_str() {
        return as_text();
    }
    let mut refused = Vec::new();
    let value = from_toml_value(&parsed, &KeyPath::default(), origin, &|_| origin.to_owned(), &mut refused);
    if refused.is_empty() { value } else { as_text() }
}
