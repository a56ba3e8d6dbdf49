//! What is looked at once a second and may end in a change of what runs: pressure, and settings files that are watched. Changes wait for
//! the journal, so they are made beside the thread that looks.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::live_settings::LiveSettings;
use super::shedding::{Decision, Pressure, Shedding};
use super::switches::HeldBy;
use super::watch::{self, FileWatch, WATCH_INTERVAL};
use crate::server::MonitorState;

/// Looks, and has done what is to be done.
pub(super) struct Attendant {
    live: Arc<LiveSettings>,
    shedding: Arc<Mutex<Shedding>>,
    files: Arc<Mutex<Option<FileWatch>>>,
    looked: Instant,
    /// What is being done: one thing at a time.
    at_work: Option<JoinHandle<()>>,
}

impl Attendant {
    pub(super) fn new(live: Arc<LiveSettings>) -> Self {
        let by_rule = live.held().values().any(|held| held.by == HeldBy::Rule);
        // As they are now, so that nothing is missed from here on.
        let files = live.settings().reload.watch.then(|| FileWatch::of(&live.watched_files()));
        Self {
            shedding: Arc::new(Mutex::new(Shedding::new(by_rule))),
            live,
            files: Arc::new(Mutex::new(files)),
            looked: Instant::now(),
            at_work: None,
        }
    }

    /// Takes a look. In a runtime.
    pub(super) fn look(&mut self, pressure: Pressure) {
        let now = Instant::now();
        if self.at_work.as_ref().is_some_and(|work| !work.is_finished()) {
            return;
        }
        if self.live.is_taken_over() {
            // The other process decides, from what it finds then.
            return;
        }
        let settings = self.live.settings();
        let decision = lock(&self.shedding).look(now, &settings.shedding, pressure);
        let live = Arc::clone(&self.live);
        if let Some(decision) = decision {
            let shedding = Arc::clone(&self.shedding);
            self.at_work = Some(tokio::task::spawn_blocking(move || {
                if carry_out(&live, decision) {
                    lock(&shedding).done(decision);
                }
            }));
        } else if let over = self.live.shadows_over()
            && !over.is_empty()
        {
            self.at_work = Some(tokio::task::spawn_blocking(move || live.end_shadows(&over)));
        } else if now - self.looked >= WATCH_INTERVAL {
            self.looked = now;
            let files = Arc::clone(&self.files);
            self.at_work = Some(tokio::task::spawn_blocking(move || watch::look(&live, &mut lock(&files))));
        }
    }
}

/// Puts to rest, or wakes. False when that could not be done.
fn carry_out(live: &LiveSettings, decision: Decision) -> bool {
    let (settings, held) = (live.settings(), live.held());
    let least = settings.shedding.priority;
    let (monitors, state): (Vec<String>, _) = match decision {
        Decision::Rest => {
            let may = |(name, monitor): (&String, &crate::config::MonitorSettings)| {
                (monitor.priority >= least && !held.contains_key(name)).then(|| name.clone())
            };
            (settings.monitors.iter().filter_map(may).collect(), MonitorState::Resting)
        }
        // Those that an operator holds back stay as they are.
        Decision::Wake => {
            let ours = held.into_values().filter(|held| held.by == HeldBy::Rule);
            (ours.map(|held| held.monitor).collect(), MonitorState::Running)
        }
    };
    if !monitors.is_empty() {
        let names = monitors.join(", ");
        match decision {
            Decision::Rest => tracing::warn!(monitors = %names, "under pressure: put to rest, as `[shedding]` says"),
            Decision::Wake => tracing::info!(monitors = %names, "the pressure is over: woken"),
        }
    }
    live.hold(&monitors, state, HeldBy::Rule).inspect_err(|error| tracing::warn!("not done: {error}")).is_ok()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
