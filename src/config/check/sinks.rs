//! What must hold of `[sinks.*]`, and of the fields that monitors declare for them.

use std::collections::BTreeMap;

use super::{Checker, KeyPath, Reach};
use crate::config::problem::suggestion;
use crate::config::sink_settings::{FieldType, SinkKind, SinkSettings};
use crate::config::units::show_duration;
use crate::config::{MonitorSettings, Settings};
use crate::journal::{OWN_DOMAIN, OWN_MONITORS};

/// Columns that every table of events has.
const FIXED_COLUMNS: [&str; 13] = [
    "offset",
    "journal",
    "monitor",
    "domain",
    "topic",
    "key",
    "id",
    "event_time",
    "received_time",
    "payload",
    "path",
    "conflict",
    "handover",
];

/// The longest name of a column. Source: PostgreSQL cuts longer ones.
const COLUMN_BYTES_MAX: usize = 63;

/// The most events of a transaction. A guess: above it a transaction takes seconds, and what is in hand much memory.
const BATCH_MAX: u32 = 1_000_000;

impl Checker<'_> {
    pub(super) fn sinks(&mut self, settings: &Settings) {
        let mut folders = BTreeMap::new();
        for (name, sink) in &settings.sinks {
            let path = KeyPath::from(["sinks", name]);
            self.name(&path, name, "a sink's name");
            self.kind(&path, sink);
            self.sizes(&path, sink);
            self.filters(&path, sink, settings);
            if let Some(folder) = &sink.folder
                && let Some(other) = folders.insert(folder, name)
            {
                let message = format!("is the folder of sink `{other}` already; each needs its own");
                self.refuse(&path.key("folder"), folder.display(), message);
            }
        }
        self.fields(settings);
    }

    /// Keys that belong to other kinds, and those that this one needs.
    fn kind(&mut self, path: &KeyPath, sink: &SinkSettings) {
        use SinkKind::{Jsonl, Nats, Postgres, Sqlite};
        let keys: [(&str, bool, &[SinkKind]); 11] = [
            ("url", sink.url.is_some(), &[Postgres, Nats]),
            ("ca_file", sink.ca_file.is_some(), &[Postgres, Nats]),
            ("table", sink.table.is_some(), &[Postgres]),
            ("payload", sink.payload.is_some(), &[Postgres]),
            ("stream", sink.stream.is_some(), &[Nats]),
            ("subject", sink.subject.is_some(), &[Nats]),
            ("credentials_file", sink.credentials_file.is_some(), &[Nats]),
            ("folder", sink.folder.is_some(), &[Sqlite, Jsonl]),
            ("retention_days", sink.retention_days.is_some(), &[Sqlite, Jsonl]),
            ("rotate_size", sink.rotate_size.is_some(), &[Jsonl]),
            ("rotate_interval", sink.rotate_interval.is_some(), &[Jsonl]),
        ];
        let keys = keys.into_iter().chain([("compression", sink.compression.is_some(), &[Jsonl][..])]);
        for (key, _, kinds) in keys.filter(|(_, given, kinds)| *given && !kinds.contains(&sink.kind)) {
            let kinds: Vec<String> = kinds.iter().map(|kind| format!("`{}`", kind.as_str())).collect();
            let message =
                format!("belongs to sinks of kind {}, and this one is `{}`", kinds.join(" and "), sink.kind.as_str());
            self.refuse_key(&path.key(key), message);
        }
        let (needed, given, example) = match sink.kind {
            Postgres => ("url", sink.url.is_some(), "postgres://sluice@localhost/market"),
            Nats => ("url", sink.url.is_some(), "nats://localhost:4222"),
            Sqlite | Jsonl => ("folder", sink.folder.is_some(), "data/events"),
        };
        if !given {
            let message = format!("a sink of kind `{}` needs `{needed}`, such as \"{example}\"", sink.kind.as_str());
            self.refuse_key(path, message);
        }
        if let Some(url) = &sink.url {
            let (schemes, kind): (&[&str], _) = match sink.kind {
                Postgres => (&["postgres", "postgresql"], "postgres"),
                Nats => (&["nats", "tls"], "nats"),
                Sqlite | Jsonl => return,
            };
            if !schemes.contains(&url.reveal().scheme()) {
                let spoken: Vec<String> = schemes.iter().map(|scheme| format!("`{scheme}://`")).collect();
                let message = format!("must begin with {} for a sink of kind `{kind}`", spoken.join(" or "));
                self.refuse(&path.key("url"), url, message);
            }
        }
        if sink.folder.as_ref().is_some_and(|folder| folder.as_os_str().is_empty()) {
            self.refuse(&path.key("folder"), "\"\"", "must name a folder");
        }
    }

    fn sizes(&mut self, path: &KeyPath, sink: &SinkSettings) {
        if !(1..=BATCH_MAX).contains(&sink.batch_max) {
            self.refuse(&path.key("batch_max"), sink.batch_max, format!("must be from 1 to {BATCH_MAX}"));
        }
        self.positive(&path.key("read_ahead"), sink.read_ahead);
        self.duration(&path.key("timeout"), sink.timeout);
        // Neither waiting nor rewinding is a choice too.
        self.not_forever(&path.key("rewind"), sink.rewind);
        if sink.flush_interval > std::time::Duration::from_hours(1) {
            self.refuse(&path.key("flush_interval"), show_duration(sink.flush_interval), "must be at most 1h");
        }
        if sink.retention_days == Some(0) {
            self.refuse(&path.key("retention_days"), 0, "must be at least 1");
        }
        if let Some(size) = sink.rotate_size {
            self.positive(&path.key("rotate_size"), size);
        }
        if let Some(interval) = sink.rotate_interval {
            self.duration(&path.key("rotate_interval"), interval);
        }
    }

    /// A filter that names nothing there is would leave the sink empty without a word.
    fn filters(&mut self, path: &KeyPath, sink: &SinkSettings, settings: &Settings) {
        let monitors = settings.monitors.keys().map(String::as_str).chain(OWN_MONITORS);
        self.all_known(&path.key("monitors"), &sink.monitors, "monitor", &monitors);
        let domains = settings.monitors.values().map(|monitor| monitor.domain.as_str()).chain([OWN_DOMAIN]);
        let named: Vec<String> =
            sink.domains.iter().map(|domain| domain.strip_prefix("_shadow.").unwrap_or(domain).to_owned()).collect();
        self.all_known(&path.key("domains"), &named, "domain", &domains);
    }

    fn all_known<'a>(
        &mut self,
        path: &KeyPath,
        named: &[String],
        what: &str,
        known: &(impl Iterator<Item = &'a str> + Clone),
    ) {
        for (index, name) in named.iter().enumerate() {
            if !known.clone().any(|known| known == name) {
                let hint = suggestion(name, known.clone());
                self.refuse(&path.index(index), format!("{name:?}"), format!("no such {what}{hint}"));
            }
        }
    }

    /// Declared fields: of all monitors together, because their events share a table.
    fn fields(&mut self, settings: &Settings) {
        let mut columns: BTreeMap<String, (FieldType, &str)> = BTreeMap::new();
        for (name, MonitorSettings { fields, .. }) in &settings.monitors {
            let path = KeyPath::from(["monitors", name, "fields"]);
            for (column, field) in fields {
                let key = path.key(column);
                self.pointer(&key.key("pointer"), &field.pointer, Reach::Message);
                self.column(&key, column);
                let (kind, first) = columns.entry(column.to_ascii_lowercase()).or_insert((field.kind, name));
                if *kind != field.kind {
                    let message =
                        format!("monitor `{first}` has a field of this name with another type; a column has one type");
                    self.refuse_key(&key, message);
                }
            }
        }
    }

    fn column(&mut self, key: &KeyPath, name: &str) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let fault = if name.is_empty() {
            "must not be empty".to_owned()
        } else if !name.bytes().all(plain) || name.as_bytes()[0].is_ascii_digit() {
            "is a column's name: letters, digits and `_` only, and no digit first".to_owned()
        } else if name.len() > COLUMN_BYTES_MAX {
            format!("is a column's name and must have at most {COLUMN_BYTES_MAX} characters")
        } else if FIXED_COLUMNS.iter().any(|fixed| fixed.eq_ignore_ascii_case(name)) {
            format!("is a column that every event has; choose another name, such as `{name}_value`")
        } else {
            return;
        };
        self.refuse_key(key, fault);
    }
}
