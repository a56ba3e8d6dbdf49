//! `docs/reference/settings.md`: names, types and defaults of the settings' own types, meanings of `config/sluice.toml`, names of the
//! environment and what a reload does of the code that decides it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value as Json;
use toml::{Table, Value};

use super::{cell, hold_current, project_file};
use crate::config::{Effect, KeyPath, Settings, environment_names};

const HEAD: &str = "# Settings\n\n\
    Made of the settings' types and of the comments in [`config/sluice.toml`](../../config/sluice.toml) by `src/reference/settings.rs`; do \
    not edit it by hand.\n\n\
    Layers, later wins: built-in defaults, the file, a `.env` beside it, the environment, `--set KEY=VALUE`, what an operator set at run time \
    (`sluice config set`). `sluice config show` says what is in force and which layer it came from. Durations are written `500ms`, `30s`, \
    `5m`, `14d`; sizes `5000B`, `64KiB`, `1GB`.\n\n\
    *Reload* says when a change in the file is in force after `sluice reload` or SIGHUP: *at once*; *links*: at once, by opening, closing or \
    subscribing links as needed; *restart*: at the next start, and the answer to the reload lists it. What `sluice sinks`, `monitors`, `circuits` and \
    `canary` change at run time needs no restart.\n\n\
    In tables whose names you choose (`[upstreams.NAME]` and so on) the environment has no names, but for those shown. What dialects, event rules, \
    credentials, look-ups and back-fills may say beyond these keys is in [dialects](../dialects.md), [credentials](../credentials.md) and \
    [enrichment](../enrichment.md).\n";

/// A setting as the shipped file has it.
struct Entry {
    /// Keys from the root; names that users choose are those of the file's examples.
    path: Vec<String>,
    value: Value,
    meaning: String,
    /// Whether the comment ends the line: then it is this key's alone.
    at_end: bool,
}

/// A table of the shipped file: its name, what is said above it, and its settings.
struct Section {
    name: String,
    about: String,
    entries: Vec<Entry>,
}

/// Reads the shipped file as a person does: comments belong to what follows them, or to the line that they end.
fn sections(text: &str, takes: impl Fn(&[String], &Value) -> bool) -> Vec<Section> {
    let mut found: Vec<Section> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    let mut trails = false;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim().is_empty() {
            comment.clear();
            trails = false;
            continue;
        }
        // `#key = …` is an example, and `# key = …` one that does not go with the others.
        let bare = line.strip_prefix("# ").or(line.strip_prefix('#')).unwrap_or(line);
        if let Some(name) =
            bare.strip_prefix('[').and_then(|name| name.split(']').next()).filter(|_| !bare.starts_with("[["))
        {
            found.push(Section { name: name.to_owned(), about: comment.join(" "), entries: Vec::new() });
            if let Some(end) = trailing(bare) {
                found.last_mut().expect("just pushed").about = end;
            }
            comment.clear();
            trails = false;
            continue;
        }
        let mut whole = bare.to_owned();
        if bare.contains(" = ") && !line.starts_with('#') {
            while whole.parse::<Table>().is_err() && lines.peek().is_some() {
                whole = format!("{whole}\n{}", lines.next().unwrap_or_default());
            }
        }
        let setting = whole.parse::<Table>().ok().filter(|table| table.len() == 1);
        let section = found.last_mut();
        if let (Some(table), Some(section)) = (setting, section) {
            let (keys, value) = leaf(&table, &whole);
            let path: Vec<String> = section.name.split('.').map(str::to_owned).chain(keys).collect();
            if takes(&path, &value) {
                let end = trailing(&whole);
                trails = end.is_some();
                let above = comment.join(" ");
                comment.clear();
                // Keys under one comment share it; what stands above a table explains a first key without one.
                let shared = match section.entries.last() {
                    None => section.about.clone(),
                    Some(before) if before.at_end => String::new(),
                    Some(before) => before.meaning.clone(),
                };
                let at_end = end.is_some();
                let meaning = end.or(Some(above).filter(|above| !above.is_empty())).unwrap_or(shared);
                section.entries.push(Entry { path, value, meaning, at_end });
                continue;
            }
        }
        if let Some(prose) = line.strip_prefix('#') {
            // Below a comment that ends a line, far to the right, it goes on.
            let deep = prose.len() - prose.trim_start().len() > 20;
            match section_end(&mut found).filter(|_| deep && trails) {
                Some(entry) => entry.meaning = format!("{} {}", entry.meaning, prose.trim().trim_start_matches("# ")),
                None => comment.push(prose.trim()),
            }
        }
    }
    found
}

fn section_end(found: &mut [Section]) -> Option<&mut Entry> {
    found.last_mut()?.entries.last_mut()
}

/// The keys that a line sets and its value. A dotted key is several; an inline table is a value.
fn leaf(table: &Table, line: &str) -> (Vec<String>, Value) {
    let dots = line.split(" = ").next().unwrap_or_default().matches('.').count();
    let mut keys = Vec::new();
    let mut value = Value::Table(table.clone());
    for _ in 0..=dots {
        let Value::Table(inner) = &value else { break };
        let Some((key, next)) = inner.iter().next() else { break };
        keys.push(key.clone());
        value = next.clone();
    }
    (keys, value)
}

/// The comment that ends a line, without what stands in quotes.
fn trailing(line: &str) -> Option<String> {
    let mut quote = None;
    for (at, character) in line.char_indices() {
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, '#') => return Some(line[at + 1..].trim().to_owned()),
            _ => {}
        }
    }
    None
}

/// The shipped file with its examples made real.
fn with_examples(text: &str) -> Table {
    let real = |line: &str| match line.strip_prefix('#') {
        Some(example) if !example.is_empty() && !example.starts_with(' ') => format!("{example}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(real).collect::<String>().parse().expect("the shipped file is TOML")
}

/// Whether `value` at `path`, all else as in `base`, is one that the settings' types take; else what they say.
fn accepted(base: &Table, path: &[String], value: &Value) -> Result<(), String> {
    fn put(table: &mut Table, path: &[String], value: &Value) {
        match path {
            [] => {}
            [last] => drop(table.insert(last.clone(), value.clone())),
            [first, rest @ ..] => {
                let inner = table.entry(first.clone()).or_insert_with(|| Value::Table(Table::new()));
                if let Value::Table(inner) = inner {
                    put(inner, rest, value);
                }
            }
        }
    }
    let mut table = base.clone();
    put(&mut table, path, value);
    table.try_into::<Settings>().map(drop).map_err(|error| error.to_string())
}

/// A setting's type, found by what its own type takes.
fn kind(base: &Table, path: &[String], example: &Value) -> String {
    let takes = |value: Value| accepted(base, path, &value).is_ok();
    let text = |text: &str| Value::String(text.to_owned());
    match example {
        Value::Boolean(_) => "true or false".to_owned(),
        Value::Integer(_) | Value::Float(_) if takes(Value::Float(0.5)) => "number".to_owned(),
        Value::Integer(_) | Value::Float(_) => "whole number".to_owned(),
        Value::String(_) if takes(text("no such word")) => "text".to_owned(),
        Value::String(_) if takes(text("7s")) => "duration".to_owned(),
        Value::String(_) if takes(text("7MiB")) => "size".to_owned(),
        Value::String(_) => {
            let refusal = accepted(base, path, &text("no-such-word")).err().unwrap_or_default();
            // What follows on further lines says where it was.
            let line = refusal.lines().find(|line| line.contains("expected")).unwrap_or_default();
            let words = line.split("expected").nth(1).unwrap_or_default();
            let words: Vec<&str> = words.split('`').skip(1).step_by(2).collect();
            match words.as_slice() {
                [] => "text".to_owned(),
                words => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
            }
        }
        Value::Array(_) => "list".to_owned(),
        Value::Table(_) => "table".to_owned(),
        Value::Datetime(_) => "time".to_owned(),
    }
}

/// Tables whose names users choose, and what an entry cannot do without.
const NEEDED: [(&str, &[&str]); 3] = [
    ("upstreams", &["url", "dialect"]),
    ("monitors", &["domain", "upstream", "topics"]),
    ("sinks", &["kind", "url", "folder"]),
];

/// What is in force where nobody says anything: of fixed sections the built-in defaults, of tables that users name those of an entry
/// that says the least.
fn defaults(base: &Table) -> Json {
    let mut least = Table::new();
    for (section, needed) in NEEDED {
        let Some(Value::Table(entries)) = base.get(section) else { continue };
        let least_of = |entry: &Value| {
            let mut entry = entry.as_table().cloned().unwrap_or_default();
            entry.retain(|key, _| needed.contains(&key));
            Value::Table(entry)
        };
        // The sink `events` is there without a kind, which its layer gives it.
        let entries = entries.iter().filter(|(name, _)| (section, name.as_str()) != ("sinks", "events"));
        let entries: Table = entries.map(|(name, entry)| (name.clone(), least_of(entry))).collect();
        least.insert(section.to_owned(), Value::Table(entries));
    }
    let settings: Settings = least.try_into().expect("what is needed is enough");
    serde_json::to_value(settings).expect("settings are JSON")
}

fn at<'j>(tree: &'j Json, path: &[String]) -> Option<&'j Json> {
    path.iter().try_fold(tree, |tree, key| tree.get(key))
}

fn shown(value: Option<&Json>) -> String {
    match value {
        None | Some(Json::Null) => "none".to_owned(),
        Some(Json::Array(list)) if list.is_empty() => "none".to_owned(),
        Some(Json::String(text)) => format!("`{text}`"),
        Some(other) => format!("`{other}`"),
    }
}

/// What a cell says of a setting's default.
fn default_of(entry: &Entry, defaults: &Json) -> String {
    let path: Vec<&str> = entry.path.iter().map(String::as_str).collect();
    match path.as_slice() {
        // The comment says that the file shows them.
        ["sinks", "events", "folder"] => "`events` in `daemon.data_dir`".to_owned(),
        ["sinks", "events", _] => shown(serde_json::to_value(&entry.value).ok().as_ref()),
        [section, _, key] if NEEDED.iter().any(|(of, needed)| of == section && needed.contains(key)) => {
            "must be set".to_owned()
        }
        _ => shown(at(defaults, &entry.path)),
    }
}

/// A table's name with `NAME` where users choose one, and the name in the file.
fn heading(section: &str) -> String {
    const CHOSEN: [&str; 6] =
        ["upstreams.", "monitors.", "sinks.", "server.tokens.", "alerts.rules.", "alerts.custom."];
    let chosen = CHOSEN
        .iter()
        .filter(|_| section != "sinks.events")
        .find_map(|above| Some((above, section.strip_prefix(above)?)));
    let Some((above, rest)) = chosen else { return format!("`[{section}]`") };
    let below = rest.split_once('.').map_or(String::new(), |(_, below)| format!(".{below}"));
    let name = if *above == "alerts.rules." { "TYPE" } else { "NAME" };
    format!("`[{above}{name}{below}]`, such as `{section}`")
}

fn leaves(tree: &Json, path: &[String], found: &mut Vec<Vec<String>>) {
    match tree {
        Json::Object(entries) => {
            for (key, inner) in entries {
                leaves(inner, &[path, std::slice::from_ref(key)].concat(), found);
            }
        }
        _ => found.push(path.to_vec()),
    }
}

fn settings_page() -> String {
    let text = project_file("config/sluice.toml");
    let mut base = with_examples(&text);
    if let Some(Value::Table(events)) = base.get_mut("sinks").and_then(|sinks| sinks.get_mut("events")) {
        events.entry("kind").or_insert_with(|| Value::String("sqlite".into()));
    }
    let sections = sections(&text, |path, value| accepted(&base, path, value).is_ok());
    let defaults = defaults(&base);
    let mut names: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
    for (name, path) in environment_names() {
        names.entry(path).or_default().push(format!("`{name}`"));
    }

    let mut page = String::from(HEAD);
    for section in sections.iter().filter(|section| !section.entries.is_empty()) {
        write!(page, "\n## {}\n", heading(&section.name)).ok();
        if !section.about.is_empty() {
            write!(page, "\n{}\n", section.about).ok();
        }
        write!(
            page,
            "\n| key | type | default | environment | reload | means |\n| --- | --- | --- | --- | --- | --- |\n"
        )
        .ok();
        for entry in &section.entries {
            let Entry { path, value, meaning, .. } = entry;
            let is_said_above = meaning.is_empty() || *meaning == section.about;
            let meaning = if is_said_above { "as above" } else { meaning };
            let key = path[section.name.split('.').count()..].join(".");
            let reload = match Effect::of(&path.iter().cloned().collect::<KeyPath>()) {
                Effect::AtOnce => "at once",
                Effect::Links => "links",
                Effect::Restart => "restart",
            };
            writeln!(
                page,
                "| `{key}` | {} | {} | {} | {reload} | {} |",
                cell(&kind(&base, path, value)),
                cell(&default_of(entry, &defaults)),
                names.get(path).map(|names| names.join(", ")).unwrap_or_default(),
                cell(meaning),
            )
            .ok();
        }
    }

    let mut every = Vec::new();
    leaves(&serde_json::to_value(Settings::default()).expect("settings are JSON"), &[], &mut every);
    let mut untold = Vec::new();
    for path in every.iter().filter(|path| path.len() > 1) {
        let entry = sections.iter().flat_map(|section| &section.entries).find(|entry| path.starts_with(&entry.path));
        match entry {
            None => untold.push(format!("{} has no line", path.join("."))),
            Some(entry) if entry.meaning.is_empty() => untold.push(format!("{} has no comment", path.join("."))),
            Some(_) => {}
        }
    }
    assert!(untold.is_empty(), "in config/sluice.toml:\n{}", untold.join("\n"));
    page
}

#[test]
fn the_reference_of_settings_has_each_with_its_type_default_and_names() {
    hold_current("settings.md", &settings_page());
}
