//! Whether exports can go where they are to go.

use super::Checker;
use crate::config::{ExportSettings, KeyPath};

impl Checker<'_> {
    pub(super) fn export(&mut self, export: &ExportSettings) {
        let key = |exporter: &str, name: &str| KeyPath::from(["export", exporter, name]);
        self.duration(&key("otlp", "interval"), export.otlp.interval);
        self.duration(&key("otlp", "timeout"), export.otlp.timeout);
        self.duration(&key("statsd", "interval"), export.statsd.interval);
        let address = &export.statsd.address;
        let fits = match address.strip_prefix("unix:") {
            Some(path) => path.starts_with('/'),
            None => {
                address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
            }
        };
        if !fits {
            self.refuse(&key("statsd", "address"), address, "is no address; write `HOST:PORT` or `unix:/PATH`");
        }
    }
}
