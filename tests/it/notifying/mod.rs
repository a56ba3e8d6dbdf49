//! Telling people of alerts: what real servers are told, what becomes of it where they are not well, and who is never told.

mod channels;
mod daemon;
mod faults;
mod reports;
mod servers;

use std::sync::Arc;

use sluice::alert::notify::{Delivery, Notice, Notifier, Notify as _, Occasion, Outcome};
use sluice::alert::{Alert, AlertKind, AlertStatus, Severity};
use sluice::circuits::Circuits;
use sluice::config::{LoadOptions, NotifySettings, RunTimeLayer, load};

use super::processes::until;
use super::support::Workplace;

/// `[notify]` as it is loaded from `lines`, in a folder.
fn settings(place: &Workplace, lines: &str) -> NotifySettings {
    place.write("s.toml", lines);
    let options = LoadOptions {
        file: Some(place.path("s.toml")),
        set: Vec::new(),
        environment: Vec::new(),
        current_dir: place.path(""),
        run_time: RunTimeLayer::default(),
    };
    load(&options).unwrap_or_else(|error| panic!("{error}")).settings.notify
}

/// Channels at work.
struct Channels {
    notifier: Notifier,
    circuits: Arc<Circuits>,
}

impl Channels {
    fn start(place: &Workplace, lines: &str) -> Self {
        let circuits = Arc::new(Circuits::new(true, Vec::new()));
        let notifier = Notifier::start(&settings(place, lines), Arc::clone(&circuits)).unwrap();
        Self { notifier, circuits }
    }

    fn tell(&self, alert: &Alert, occasion: Occasion) {
        self.notifier.offer(Notice { alert: alert.clone(), occasion });
    }

    /// What became of notices, the oldest first, once it is known of so many.
    fn deliveries(&self, count: usize) -> Vec<Delivery> {
        until(&format!("{count} deliveries"), || {
            let mut known = self.notifier.deliveries(usize::MAX);
            known.reverse();
            (known.len() >= count).then_some(known)
        })
    }

    /// Tries the one channel that there is.
    fn test(&self) -> Delivery {
        self.notifier.test_channel(None).unwrap().remove(0)
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        self.notifier.stop();
    }
}

fn alert(severity: Severity) -> Alert {
    Alert {
        id: "0190f3a2-0000-7000-8000-000000000001".into(),
        kind: AlertKind::SinkDown,
        severity,
        status: AlertStatus::Open,
        subject: "warehouse".into(),
        message: "the sink <warehouse> & its server cannot be reached".into(),
        value: 61.25,
        threshold: 60.0,
        created_at: "2026-11-20T12:00:00Z".into(),
        acknowledged_at: None,
        acknowledged_by: None,
        notes: None,
        resolved_at: None,
        resolved_by: None,
        resolution: None,
        notifications: Vec::new(),
    }
}

fn assert_sent(delivery: &Delivery) {
    assert_eq!((delivery.outcome, &delivery.error), (Outcome::Sent, &None), "{delivery:?}");
}

fn assert_ended(delivery: &Delivery, outcome: Outcome, why: &str) {
    let error = delivery.error.clone().unwrap_or_default();
    assert!(delivery.outcome == outcome && error.contains(why), "{delivery:?}");
}
