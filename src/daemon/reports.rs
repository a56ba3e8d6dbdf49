//! Reports that are made from time to time, an operation each. Which period was the last one stands in a file, so that none has two
//! reports, however often the daemon starts anew.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::works::Works;
use crate::alert::notify::{Document, send_document};
use crate::clock::UnixNanos;
use crate::config::ReportSettings;
use crate::operating::{Asked, FormError, OperatingReport, measure};
use crate::rollout::report::Targets;

const REPORT: &str = "report";

/// The file within the data folder.
const FILE: &str = "reports.json";

/// Time between two looks whether one is due.
const LOOK: Duration = Duration::from_secs(1);

/// So often one is tried that cannot be made; then its period has none.
const ATTEMPTS_MAX: u32 = 3;

/// Time until it is tried again. Source: a guess; a full disk or a folder that is not there takes a person.
const RETRY_AFTER: Duration = Duration::from_mins(1);

/// Why a report is not made.
#[derive(Debug, thiserror::Error)]
enum MakeError {
    #[error("the journal cannot be read: {0}")]
    Journal(#[from] crate::journal::JournalError),
    #[error("it cannot be written in this form: {0}")]
    Form(#[from] FormError),
    #[error("cannot write {file}: {source}")]
    Write { file: PathBuf, source: std::io::Error },
    #[error("it was not sent by {0}")]
    Send(String),
}

/// The end of the newest period that is over, by periods that are counted from a time of day on 1970-01-01.
fn due(report: &ReportSettings, now: UnixNanos) -> UnixNanos {
    let nanos = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
    let (every, at) = (nanos(report.every).max(1), nanos(report.time_of_day().unwrap_or_default()));
    UnixNanos(now.0 - (now.0 - at).rem_euclid(every))
}

/// Periods that are done with: the end of the last one, by report.
struct Done {
    file: PathBuf,
    last: BTreeMap<String, UnixNanos>,
}

impl Done {
    /// What cannot be read is as if nothing had been done: then the next period is the first.
    fn read(file: PathBuf) -> Self {
        let text = std::fs::read(&file).unwrap_or_default();
        let times: BTreeMap<String, String> = serde_json::from_slice(&text).unwrap_or_default();
        let last = times.into_iter().filter_map(|(name, time)| Some((name, time.parse().ok()?))).collect();
        Self { file, last }
    }

    fn note(&mut self, name: &str, end: UnixNanos) {
        self.last.insert(name.to_owned(), end);
        let times: BTreeMap<&str, String> =
            self.last.iter().map(|(name, end)| (name.as_str(), end.to_string())).collect();
        let text = serde_json::to_vec(&times).unwrap_or_default();
        if let Err(error) = replace(&self.file, &text) {
            tracing::warn!(
                "which reports were made is not on record, so one may be made again after a restart: {error}"
            );
        }
    }
}

/// Writes a file so that it is there whole or as it was before.
fn replace(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let beside = file.with_file_name(name);
    let mut written = std::fs::File::create(&beside)?;
    written.write_all(text)?;
    written.sync_all()?;
    std::fs::rename(&beside, file)
}

/// Makes them until operations are stopped.
pub(super) fn begin(works: &Arc<Works>) {
    if works.settings.reports.is_empty() {
        return;
    }
    let (works, stop) = (Arc::clone(works), works.operations.stop.clone());
    works.clone().operations.attend(async move {
        let mut maker = Maker::new(works);
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            // A panic is a bug, and told as such by the operation that it ends.
            match tokio::task::spawn_blocking(move || maker.look(UnixNanos::now())).await {
                Ok(back) => maker = back,
                Err(_) => return,
            }
        }
    });
}

/// What makes them.
struct Maker {
    works: Arc<Works>,
    done: Done,
    /// How often the period under way was tried, and when to try again.
    tried: BTreeMap<String, (UnixNanos, u32, UnixNanos)>,
    /// By report and channel: the end of the period that was sent last.
    sent: BTreeMap<(String, String), UnixNanos>,
}

impl Maker {
    fn new(works: Arc<Works>) -> Self {
        let done = Done::read(works.settings.daemon.data_dir.join(FILE));
        Self { works, done, tried: BTreeMap::new(), sent: BTreeMap::new() }
    }

    /// Makes those that are due. Of periods that ended while nobody was there the last one has a report. Blocking.
    fn look(mut self, now: UnixNanos) -> Self {
        let works = Arc::clone(&self.works);
        for (name, report) in &works.settings.reports {
            let end = due(report, now);
            match self.done.last.get(name).copied() {
                // What was before it was wanted for the first time has none.
                None => self.done.note(name, end),
                Some(last) if last >= end => {}
                Some(_) => self.attempt(name, report, end, now),
            }
        }
        self
    }

    fn attempt(&mut self, name: &str, report: &ReportSettings, end: UnixNanos, now: UnixNanos) {
        let tried = self.tried.get(name).copied().filter(|(period, ..)| *period == end);
        if tried.is_some_and(|(_, _, next)| now < next) || self.works.operations.stop.is_cancelled() {
            return;
        }
        let attempts = tried.map_or(0, |(_, attempts, _)| attempts) + 1;
        let works = Arc::clone(&self.works);
        let made = works.operations.record(REPORT, name, || Ok::<_, MakeError>(((), self.make(name, report, end)?)));
        match made {
            Ok(()) => tracing::info!(report = name, "report made"),
            Err(error) => {
                tracing::warn!(report = name, attempts, "no report could be made: {error}");
                if attempts < ATTEMPTS_MAX {
                    self.tried.insert(name.to_owned(), (end, attempts, now.saturating_add(RETRY_AFTER)));
                    return;
                }
            }
        }
        self.tried.remove(name);
        self.done.note(name, end);
    }

    fn make(&mut self, name: &str, report: &ReportSettings, end: UnixNanos) -> Result<serde_json::Value, MakeError> {
        let file = (!report.to.as_os_str().is_empty()).then(|| report.file(name, &end.to_string()));
        // Written whole, and then the process died before that was on record.
        let was_there = file.as_ref().is_some_and(|file| file.exists());
        if was_there && report.send_to.is_empty() {
            return Ok(json!({ "file": file, "until": end.to_string(), "was_there": true }));
        }
        let asked = Asked { since: end.saturating_sub(report.span()), until: end, running: true, data_match: None };
        let measured = measure(&mut self.works.journal.reader(), asked)?;
        let made = OperatingReport::new(&measured, &Targets::default());
        let text = made.render(report.format)?;
        if let Some(file) = file.as_ref().filter(|_| !was_there) {
            let write = || {
                if let Some(folder) = file.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                replace(file, text.as_bytes())
            };
            write().map_err(|source| MakeError::Write { file: file.clone(), source })?;
        }
        let outcome = json!({
            "file": file, "sent_to": report.send_to, "since": made.since, "until": made.until, "verdict": made.verdict,
        });
        self.send(name, report, end, text)?;
        Ok(outcome)
    }

    /// By each channel that has not had it.
    fn send(&mut self, name: &str, report: &ReportSettings, end: UnixNanos, text: String) -> Result<(), MakeError> {
        let (media_type, extension) = report.format.media_type();
        let until = end.to_string();
        let document = Document {
            id: format!("report-{name}-{}", end.0 / 1_000_000_000),
            title: format!("Sluice: report {name} up to {until}"),
            file_name: format!("{name}-{}.{extension}", until.replace(':', "")),
            media_type,
            text,
        };
        let mut refused = Vec::new();
        for channel in &report.send_to {
            let had = (name.to_owned(), channel.clone());
            if self.sent.get(&had) == Some(&end) {
                continue;
            }
            let sending = send_document(&self.works.settings.notify, channel, &document);
            match tokio::runtime::Handle::current().block_on(sending) {
                Ok(()) => drop(self.sent.insert(had, end)),
                Err(reason) => refused.push(format!("{channel}: {reason}")),
            }
        }
        if refused.is_empty() { Ok(()) } else { Err(MakeError::Send(refused.join("; "))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixNanos {
        text.parse().unwrap()
    }

    #[test]
    fn periods_are_counted_from_the_time_of_day_whenever_the_daemon_started() {
        let daily = ReportSettings { at: "06:00".into(), ..ReportSettings::default() };
        assert_eq!(due(&daily, at("2026-11-20T05:59:59Z")), at("2026-11-19T06:00:00Z"));
        assert_eq!(due(&daily, at("2026-11-20T06:00:00Z")), at("2026-11-20T06:00:00Z"));
        let hourly = ReportSettings { every: Duration::from_hours(1), at: "00:15".into(), ..ReportSettings::default() };
        assert_eq!(due(&hourly, at("2026-11-20T05:59:59Z")), at("2026-11-20T05:15:00Z"));
    }

    #[test]
    fn what_was_done_is_known_over_a_restart_and_a_file_that_was_broken_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        Done::read(file.clone()).note("daily", at("2026-11-20T06:00:00Z"));
        assert_eq!(Done::read(file.clone()).last["daily"], at("2026-11-20T06:00:00Z"));
        std::fs::write(&file, "{\"da").unwrap();
        assert!(Done::read(file).last.is_empty());
    }
}
