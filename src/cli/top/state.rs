//! What is looked at, and what keys do to it: no terminal, no daemon, no clock.

use std::collections::VecDeque;
use std::time::Duration;

use super::snapshot::{Away, Snapshot};

/// Seconds of throughput that are drawn at most: more than a terminal has columns.
const HISTORY_MAX: usize = 512;

/// A key that means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are called as they are meant")]
pub enum Key {
    Quit,
    Help,
    Pause,
    Sort,
    Reverse,
    Up,
    Down,
    NextPanel,
    PreviousPanel,
    Open,
    Back,
}

/// What can be gone into.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are called as they are meant")]
pub enum Panel {
    #[default]
    Monitors,
    Upstreams,
    Sinks,
}

impl Panel {
    const ALL: [Self; 3] = [Self::Monitors, Self::Upstreams, Self::Sinks];

    fn beside(self, steps: usize) -> Self {
        let at = Self::ALL.iter().position(|panel| *panel == self).unwrap_or(0);
        Self::ALL[(at + steps) % Self::ALL.len()]
    }
}

/// By what monitors are sorted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are called as they are meant")]
pub enum Sort {
    #[default]
    Name,
    Rate,
    Events,
    Quarantined,
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::Name => Self::Rate,
            Self::Rate => Self::Events,
            Self::Events => Self::Quarantined,
            Self::Quarantined => Self::Name,
        }
    }

    /// For people.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Rate => "events/s",
            Self::Events => "events",
            Self::Quarantined => "quarantined",
        }
    }
}

/// All of it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is switched by a key of its own, and every combination means something"
)]
#[derive(Debug, Default)]
pub struct State {
    /// Which panel keys move in.
    pub panel: Panel,
    /// By what monitors are sorted.
    pub sort: Sort,
    /// The other way round.
    pub reversed: bool,
    /// Whether what is shown stands still.
    pub paused: bool,
    /// Whether the keys are explained.
    pub help: bool,
    /// Whether one row is shown by itself.
    pub detail: bool,
    /// Whether it is over.
    pub over: bool,
    /// The chosen row's name, by panel: it stays chosen when rows change places.
    chosen: [Option<String>; 3],
    pub(super) snapshot: Option<Snapshot>,
    /// Why the daemon does not answer, if so.
    pub(super) away: Option<Away>,
    /// Events a second, a look each, the newest last.
    pub(super) history: VecDeque<u64>,
    /// The last look: when, and how many events there were.
    counted: Option<(Duration, u64)>,
}

impl State {
    /// Takes what the daemon answered, `at` so long after the start.
    pub fn take(&mut self, answer: Result<Snapshot, Away>, at: Duration) {
        match answer {
            Err(away) => {
                self.away = Some(away);
                self.counted = None;
            }
            Ok(snapshot) => {
                self.away = None;
                let events = snapshot.events();
                if let Some((before, counted)) = self.counted
                    && events >= counted
                    && at > before
                {
                    #[expect(
                        clippy::cast_precision_loss,
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "a rate that is drawn"
                    )]
                    let rate = ((events - counted) as f64 / at.saturating_sub(before).as_secs_f64()).round() as u64;
                    self.history.push_back(rate);
                    while self.history.len() > HISTORY_MAX {
                        self.history.pop_front();
                    }
                }
                self.counted = Some((at, events));
                if !self.paused || self.snapshot.is_none() {
                    self.snapshot = Some(snapshot);
                }
            }
        }
    }

    /// Does what a key means.
    pub fn key(&mut self, key: Key) {
        // A page that lies over the others goes away by any key that does not end all.
        if self.help && key != Key::Quit {
            self.help = false;
            return;
        }
        match key {
            Key::Quit => self.over = true,
            Key::Help => self.help = true,
            Key::Pause => self.paused = !self.paused,
            Key::Sort => self.sort = self.sort.next(),
            Key::Reverse => self.reversed = !self.reversed,
            Key::Up => self.step(-1),
            Key::Down => self.step(1),
            Key::NextPanel if !self.detail => self.panel = self.panel.beside(1),
            Key::PreviousPanel if !self.detail => self.panel = self.panel.beside(2),
            Key::NextPanel | Key::PreviousPanel => {}
            Key::Open => self.detail = self.chosen().is_some(),
            Key::Back => self.detail = false,
        }
    }

    fn step(&mut self, by: isize) {
        let names = self.names(self.panel);
        if names.is_empty() {
            return;
        }
        let at = self.place(self.panel).unwrap_or(0);
        let to = at.saturating_add_signed(by).min(names.len() - 1);
        self.chosen[self.panel as usize] = Some(names[to].clone());
    }

    /// The chosen row of a panel: the first where none was chosen, or it is gone.
    pub(super) fn place(&self, panel: Panel) -> Option<usize> {
        let names = self.names(panel);
        let chosen = self.chosen[panel as usize].as_ref();
        let place = chosen.and_then(|chosen| names.iter().position(|name| name == chosen));
        place.or(if names.is_empty() { None } else { Some(0) })
    }

    /// The chosen row's name in the panel that keys move in.
    pub fn chosen(&self) -> Option<String> {
        self.place(self.panel).and_then(|place| self.names(self.panel).into_iter().nth(place))
    }

    /// Rows of a panel, in the order in which they are shown.
    pub fn names(&self, panel: Panel) -> Vec<String> {
        let Some(snapshot) = &self.snapshot else { return Vec::new() };
        match panel {
            Panel::Monitors => self.monitors().iter().map(|row| format!("{} {}", row.name, row.upstream)).collect(),
            Panel::Upstreams => {
                let name = |row: &crate::server::PoolRow| match &row.monitor {
                    Some(monitor) => format!("{} {monitor}", row.upstream),
                    None => row.upstream.clone(),
                };
                snapshot.pools.iter().map(name).collect()
            }
            Panel::Sinks => snapshot.sinks.iter().map(|row| row.name.clone()).collect(),
        }
    }

    /// Monitors as they are sorted.
    pub(super) fn monitors(&self) -> Vec<&crate::server::MonitorRow> {
        let Some(snapshot) = &self.snapshot else { return Vec::new() };
        let rate = |name: &str| snapshot.rates.get(name).map_or(0.0, |(rate, _)| *rate);
        let mut rows: Vec<_> = snapshot.monitors.iter().collect();
        rows.sort_by(|one, other| {
            // The most is first; names go from a to z.
            let order = match self.sort {
                Sort::Name => std::cmp::Ordering::Equal,
                Sort::Rate => rate(&other.name).total_cmp(&rate(&one.name)),
                Sort::Events => other.events.cmp(&one.events),
                Sort::Quarantined => other.quarantined.cmp(&one.quarantined),
            };
            order.then_with(|| (&one.name, &one.upstream).cmp(&(&other.name, &other.upstream)))
        });
        if self.reversed {
            rows.reverse();
        }
        rows
    }
}
