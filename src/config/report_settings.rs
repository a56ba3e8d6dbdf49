//! `[reports.NAME]`: reports that the daemon makes by itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units;
use crate::operating::OperatingFormat;

/// A report that is made from time to time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportSettings {
    /// Time between two.
    #[serde(with = "units::duration")]
    pub every: Duration,
    /// When in a day, UTC: `06:00`. Periods are counted from there, so that they do not move with restarts.
    pub at: String,
    /// How far back each looks; absent: `every`.
    #[serde(default, with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub since: Option<Duration>,
    /// In which form.
    pub format: OperatingFormat,
    /// Where to: a file, with `{name}`, `{date}` and `{time}` of its period; relative to the settings file.
    pub to: PathBuf,
    /// Channels of `[notify]` that it is sent by: `email`, `webhook`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub send_to: Vec<String>,
}

impl Default for ReportSettings {
    fn default() -> Self {
        Self {
            every: Duration::from_hours(24),
            at: "00:00".into(),
            since: None,
            format: OperatingFormat::default(),
            to: PathBuf::new(),
            send_to: Vec::new(),
        }
    }
}

impl ReportSettings {
    /// The shortest time between two. Source: a guess; nobody looks more often, and each reads its span.
    pub const EVERY_MIN: Duration = Duration::from_secs(1);

    /// When in a day; none where it cannot be read.
    pub fn time_of_day(&self) -> Option<Duration> {
        let (hours, minutes) = self.at.split_once(':')?;
        let number = |text: &str, below: u64| {
            let plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u64>().ok().filter(|number| plain && *number < below)
        };
        Some(Duration::from_secs(number(hours, 24)? * 3600 + number(minutes, 60)? * 60))
    }

    /// How far back it looks.
    pub fn span(&self) -> Duration {
        self.since.unwrap_or(self.every)
    }

    /// Whether `to` has a place for what tells one period from the next.
    pub fn tells_periods_apart(&self) -> bool {
        let to = self.to.to_string_lossy();
        to.contains("{time}") || (to.contains("{date}") && self.every >= Duration::from_hours(24))
    }

    /// The file of the period that ends at a time, RFC 3339 in whole seconds UTC.
    pub fn file(&self, name: &str, end: &str) -> PathBuf {
        let (date, time) = end.split_once('T').unwrap_or((end, ""));
        let time: String =
            time.chars().take_while(|character| *character != '.').filter(char::is_ascii_digit).collect();
        let text = self.to.to_string_lossy().replace("{name}", name).replace("{date}", date).replace("{time}", &time);
        Path::new(&text).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_hours_and_minutes() {
        let at = |at: &str| ReportSettings { at: at.into(), ..ReportSettings::default() }.time_of_day();
        assert_eq!(at("06:30"), Some(Duration::from_mins(6 * 60 + 30)));
        for odd in ["24:00", "6:00", "06:60", "noon", "", "+6:00"] {
            assert_eq!(at(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_period_has_a_file_of_its_own() {
        let report = ReportSettings { to: "/r/{name}-{date}-{time}.html".into(), ..ReportSettings::default() };
        assert_eq!(report.file("daily", "2026-11-20T06:00:00Z"), Path::new("/r/daily-2026-11-20-060000.html"));
    }
}
