//! `[sinks.NAME]`, and the fields that monitors declare for them.

use super::{Checker, check_pointer};
use crate::config::key::KeyPath;
use crate::config::settings::{MonitorSettings, Settings};
use crate::config::sink_settings::{SinkKind, SinkSettings};
use crate::config::units::show_duration;

/// A key, the kinds that have it, and whether a sink does.
type OfKinds = (&'static str, &'static [SinkKind], fn(&SinkSettings) -> bool);

/// Keys that only some kinds have.
const OF_KINDS: [OfKinds; 12] = [
    ("url", &[SinkKind::Postgres, SinkKind::Nats], |sink| sink.url.is_some()),
    ("ca_file", &[SinkKind::Postgres, SinkKind::Nats], |sink| sink.ca_file.is_some()),
    ("table", &[SinkKind::Postgres], |sink| sink.table.is_some()),
    ("payload", &[SinkKind::Postgres], |sink| sink.payload.is_some()),
    ("stream", &[SinkKind::Nats], |sink| sink.stream.is_some()),
    ("subject", &[SinkKind::Nats], |sink| sink.subject.is_some()),
    ("credentials_file", &[SinkKind::Nats], |sink| sink.credentials_file.is_some()),
    ("folder", &[SinkKind::Sqlite, SinkKind::Jsonl], |sink| sink.folder.is_some()),
    ("retention_days", &[SinkKind::Sqlite, SinkKind::Jsonl], |sink| sink.retention_days.is_some()),
    ("rotate_size", &[SinkKind::Jsonl], |sink| sink.rotate_size.is_some()),
    ("rotate_interval", &[SinkKind::Jsonl], |sink| sink.rotate_interval.is_some()),
    ("compression", &[SinkKind::Jsonl], |sink| sink.compression.is_some()),
];

/// Keys without which a kind does not know where to write.
const NEEDED: [(SinkKind, &str); 3] =
    [(SinkKind::Postgres, "url"), (SinkKind::Nats, "url"), (SinkKind::Nats, "stream")];

impl Checker<'_> {
    pub(super) fn sinks(&mut self, settings: &Settings) {
        for (name, sink) in &settings.sinks {
            let path = KeyPath::from(["sinks", name]);
            self.name(&path, name, "a sink's name");
            self.sink(&path, sink);
        }
    }

    fn sink(&mut self, path: &KeyPath, sink: &SinkSettings) {
        let kind = sink.kind.as_str();
        for (key, kinds, given) in OF_KINDS {
            if given(sink) && !kinds.contains(&sink.kind) {
                let those: Vec<_> = kinds.iter().map(|kind| format!("`{}`", kind.as_str())).collect();
                self.refuse(
                    &path.key(key),
                    "",
                    format!("is of sinks of kind {}, not of `{kind}`", those.join(" and ")),
                );
            }
            let needed = NEEDED.contains(&(sink.kind, key));
            if needed && !given(sink) {
                self.refuse(path, "", format!("a sink of kind `{kind}` needs `{key}`"));
            }
        }
        if let Some(url) = &sink.url {
            let (known, example): (&[_], _) = match sink.kind {
                SinkKind::Nats => (&["nats", "tls"], "nats://HOST"),
                _ => (&["postgres", "postgresql"], "postgres://USER@HOST/DATABASE"),
            };
            if !known.contains(&url.reveal().scheme()) {
                self.refuse(&path.key("url"), url, format!("must be as `{example}` for a sink of kind `{kind}`"));
            }
        }
        if sink.batch_max == 0 {
            self.refuse(&path.key("batch_max"), 0, "must be at least 1");
        }
        self.positive(&path.key("read_ahead"), sink.read_ahead);
        self.duration(&path.key("timeout"), sink.timeout);
        self.not_forever(&path.key("rewind"), sink.rewind);
        self.not_forever(&path.key("flush_interval"), sink.flush_interval);
        if let Some(interval) = sink.rotate_interval {
            if interval.is_zero() {
                self.refuse(&path.key("rotate_interval"), show_duration(interval), "must be longer than 0");
            }
            self.not_forever(&path.key("rotate_interval"), interval);
        }
        if sink.retention_days == Some(0) {
            self.refuse(&path.key("retention_days"), 0, "must be at least 1");
        }
    }

    pub(super) fn fields(&mut self, path: &KeyPath, monitor: &MonitorSettings) {
        for (name, field) in &monitor.fields {
            let path = path.key("fields").key(name);
            self.name(&path, name, "a field's name");
            if let Err(fault) = check_pointer(&field.pointer) {
                let key = path.key("pointer");
                self.refuse(&key, format!("{:?}", field.pointer), format!("not a JSON Pointer: {fault}"));
            }
        }
    }
}
