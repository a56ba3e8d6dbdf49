//! How the daemon is, in a line for the service manager: `systemctl status` shows it.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::Instant;

use super::canary;
use super::service_manager::{self, Word};
use super::view::DaemonView;
use crate::sink::{SinkRow, SinkState};

/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// Tells it from time to time.
#[derive(Debug, Default)]
pub(super) struct StatusLine {
    /// When it was last told, and up to where events were durable then.
    told: Option<(Instant, u64)>,
}

impl StatusLine {
    /// Tells it, when that is due.
    pub(super) fn tell(&mut self, view: &DaemonView, now: Instant) {
        if self.told.is_some_and(|(at, _)| now - at < INTERVAL) {
            return;
        }
        let figures = view.line_figures();
        let line = figures.line(self.told.map(|(at, before)| (now - at, figures.durable.saturating_sub(before))));
        self.told = Some((now, figures.durable));
        service_manager::tell(&Word::Status(line));
    }
}

/// What the line is made of.
pub(super) struct LineFigures {
    pub(super) durable: u64,
    pub(super) writable: bool,
    pub(super) links: usize,
    pub(super) open: usize,
    pub(super) sinks: Vec<SinkRow>,
    /// None where everything is on the legacy path by the settings.
    pub(super) canary: Option<f64>,
}

impl LineFigures {
    /// `before`: how long ago the last line was, and how many events became durable since.
    fn line(&self, before: Option<(Duration, u64)>) -> String {
        let mut line = String::new();
        if !self.writable {
            line.push_str("the journal takes nothing; ");
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate has three digits")]
        let rate = before.map(|(time, events)| events as f64 / time.as_secs_f64().max(0.001));
        // A string takes whatever is written to it.
        match rate {
            Some(rate) => write!(line, "{rate:.0} events/s").ok(),
            None => write!(line, "started").ok(),
        };
        write!(line, ", {} durable; links {} of {}", self.durable, self.open, self.links).ok();
        for (number, SinkRow { name, state, lag_seconds, .. }) in self.sinks.iter().enumerate() {
            write!(line, "{} {name} ", if number == 0 { "; sinks:" } else { "," }).ok();
            match (state, lag_seconds) {
                (SinkState::Connected | SinkState::Lagging, Some(lag)) => write!(line, "{lag:.1} s behind").ok(),
                _ => write!(line, "{}", state.as_str()).ok(),
            };
        }
        match self.canary {
            Some(fraction) => write!(line, "; canary {:.0}%", fraction * 100.0).ok(),
            None => write!(line, "; smart streaming off").ok(),
        };
        line
    }
}

impl DaemonView {
    fn line_figures(&self) -> LineFigures {
        let upstreams = self.upstreams();
        let settings = self.settings_in_force();
        LineFigures {
            durable: self.journal().durable.0,
            writable: self.is_writable(),
            links: upstreams.iter().map(|upstream| upstream.links).sum(),
            open: upstreams.iter().map(|upstream| upstream.open).sum(),
            sinks: self.sink_rows(),
            canary: settings.smart_streaming.enabled.then(|| canary::in_force(&self.rollout(), &settings).get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_rate_links_sinks_and_canary() {
        let mut figures =
            LineFigures { durable: 500, writable: true, links: 6, open: 5, sinks: Vec::new(), canary: Some(0.25) };
        assert_eq!(figures.line(None), "started, 500 durable; links 5 of 6; canary 25%");
        figures.writable = false;
        figures.canary = None;
        assert_eq!(
            figures.line(Some((Duration::from_secs(10), 123))),
            "the journal takes nothing; 12 events/s, 500 durable; links 5 of 6; smart streaming off"
        );
    }
}
