//! What must hold for `[reports.NAME]`.

use std::time::Duration;

use super::Checker;
use crate::alert::notify::DOCUMENT_CHANNELS;
use crate::config::key::KeyPath;
use crate::config::units::show_duration;
use crate::config::{ReportSettings, Settings};

impl Checker<'_> {
    pub(super) fn reports(&mut self, settings: &Settings) {
        for (name, report) in &settings.reports {
            let path = KeyPath::from(["reports", name]);
            self.name(&path, name, "a report's name");
            self.duration(&path.key("every"), report.every);
            if report.every > Duration::ZERO && report.every < ReportSettings::EVERY_MIN {
                let limit = format!(
                    "must be at least {}: each reads its whole span of the journal",
                    show_duration(ReportSettings::EVERY_MIN)
                );
                self.refuse(&path.key("every"), show_duration(report.every), limit);
            }
            if let Some(since) = report.since {
                self.duration(&path.key("since"), since);
            }
            if report.time_of_day().is_none() {
                self.refuse(&path.key("at"), &report.at, "must be a time of day in UTC, such as \"06:00\"");
            }
            for channel in &report.send_to {
                if !DOCUMENT_CHANNELS.contains(&channel.as_str()) {
                    self.refuse(&path.key("send_to"), channel, "must be `email` or `webhook`");
                } else if !settings.notify.configured().contains(&channel.as_str()) {
                    let limit = format!("must be a channel that has what it needs: see `[notify.{channel}]`");
                    self.refuse(&path.key("send_to"), channel, limit);
                }
            }
            if report.to.as_os_str().is_empty() {
                if report.send_to.is_empty() {
                    let limit = "must say where to, such as `to = \"../reports/{name}-{date}.html\"` or `send_to = [\"email\"]`";
                    self.refuse_key(&path, limit);
                }
            } else if !report.tells_periods_apart() {
                let limit = "must have `{date}` in it, or `{time}` where there are several a day: each period has a file of its own";
                self.refuse(&path.key("to"), report.to.display(), limit);
            }
        }
    }
}
