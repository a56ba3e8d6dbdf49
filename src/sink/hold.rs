//! Keeps retention some way behind a cursor, because a server may lose what it has acknowledged.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::journal::{Hold, Journal, Offset};

/// How finely the way of a cursor is remembered: in so many parts of the rewind.
const PARTS: u32 = 64;

/// Holds what came after the place where a cursor was some time ago.
#[derive(Debug)]
pub(super) struct RewindHold {
    hold: Hold,
    rewind: Duration,
    /// Where the cursor was, oldest first. The first is what is held.
    marks: VecDeque<(Instant, Offset)>,
}

impl RewindHold {
    /// Holds from `from` on, where the cursor is taken to have been for long.
    pub(super) fn new(journal: &Journal, sink: &str, from: Offset, rewind: Duration) -> Self {
        let hold = journal.hold(&format!("sink {sink}"), from);
        Self { hold, rewind, marks: VecDeque::from([(Instant::now(), from)]) }
    }

    /// Begins anew: `rewound` is where the cursor was the rewind ago.
    pub(super) fn begin(&mut self, rewound: Offset) {
        self.marks = VecDeque::from([(Instant::now(), rewound)]);
        self.hold.advance(rewound);
    }

    /// The cursor is there now.
    pub(super) fn cursor(&mut self, cursor: Offset) {
        let now = Instant::now();
        if self.marks.front().is_some_and(|(_, held)| cursor < *held) {
            self.begin(cursor);
        }
        if self.marks.back().is_none_or(|(at, _)| now.duration_since(*at) >= self.rewind / PARTS) {
            self.marks.push_back((now, cursor));
        }
        while let Some((at, next)) = self.marks.get(1)
            && now.duration_since(*at) >= self.rewind
        {
            self.hold.advance(*next);
            self.marks.pop_front();
        }
    }
}
