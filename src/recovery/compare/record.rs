//! What is compared: records of two sources, what they are joined by, and which of them count.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use super::payload::PayloadForm;
use crate::clock::UnixNanos;
use crate::journal::JournalError;

/// A record, as a source gives it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Record<'a> {
    /// Its number on its side: an offset, a row, a line. The same each time that the source is read.
    pub place: u64,
    /// How far its source is read with it, of what [`Source::total`] says.
    pub done: u64,
    /// The monitor, where the source tells.
    pub monitor: Option<&'a str>,
    /// The topic, where the source tells.
    pub topic: Option<&'a str>,
    /// The key.
    pub key: Option<&'a str>,
    /// The id. None: it is joined by its payload.
    pub id: Option<&'a str>,
    /// When it was received.
    pub time: Option<UnixNanos>,
    /// Its payload, where the source has it.
    pub payload: Option<&'a [u8]>,
    /// Whether a side may have dropped its repeats, because it has an id.
    pub repeats_dropped: bool,
}

/// Where records come from. Read up to twice, with the same records under the same places.
pub trait Source {
    /// What it is, for people: `the journal`, `table public.trades of db.example:5432/market`.
    fn name(&self) -> String;

    /// What its places are: `offset`, `row`, `line`.
    fn place_name(&self) -> &'static str;

    /// How much there is to read, in the unit of [`Record::done`], where that is known beforehand.
    fn total(&self) -> Option<u64>;

    /// Gives all records, in any order, until `take` breaks. With `only`, those at other places may be left out.
    ///
    /// # Errors
    /// When it cannot be read to its end.
    fn read(
        &mut self,
        only: Option<&BTreeSet<u64>>,
        take: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError>;

    /// What there is to say of it after it was read: lines that were left out, holes.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Why a source cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It is not as it was said to be: no such table, column, file.
    #[error("{0}")]
    Mapping(String),
    /// It cannot be had, or was lost in the middle.
    #[error("{0}")]
    Unreachable(String),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What tells two records to be the same one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Join {
    /// The id; of records without one, the payload.
    #[default]
    Id,
    /// The payload.
    Payload,
}

/// What it means that one side has a record more often than the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Repeats {
    /// One is missing there, or extra here.
    #[default]
    Differ,
    /// Nothing, where a side may have dropped repeats; they are counted.
    Counted,
}

/// How two sides are compared.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// What they are joined by.
    pub join: Join,
    /// Whether records of different monitors are different ones.
    pub by_monitor: bool,
    /// Whether records of different topics are.
    pub by_topic: bool,
    /// Whether records of different keys are.
    pub by_key: bool,
    /// How payloads are compared.
    pub payload: PayloadForm,
    /// What it means that one side has more.
    pub repeats: Repeats,
    /// Which records count.
    pub spans: Spans,
}

/// From a moment on, up to but without another; open where none is named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// From here on.
    pub since: Option<UnixNanos>,
    /// Up to here.
    pub until: Option<UnixNanos>,
}

impl Span {
    /// Whether nothing is outside of it.
    pub fn is_open(self) -> bool {
        self.since.is_none() && self.until.is_none()
    }

    /// Whether a moment is in it.
    pub fn contains(self, time: UnixNanos) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }

    /// The same, with so much more at both ends.
    #[must_use]
    pub fn widened(self, by: std::time::Duration) -> Self {
        Self {
            since: self.since.map(|since| since.saturating_sub(by)),
            until: self.until.map(|until| until.saturating_add(by)),
        }
    }
}

/// Which records count, so that one whose partner lies just outside is no difference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// What is read.
    pub read: Span,
    /// A pair counts when one of both is in here.
    pub paired: Span,
    /// A record without a partner counts when it is in here.
    pub single: Span,
}

impl Counted {
    /// All that was received within `span`; partners are looked for up to `tolerance` outside.
    pub fn within(span: Span, tolerance: std::time::Duration) -> Self {
        Self { read: span.widened(tolerance), paired: span, single: span }
    }
}

/// [`Counted`] of each monitor.
#[derive(Debug, Clone)]
pub enum Spans {
    /// The same for all.
    Same(Counted),
    /// By name; others are not compared.
    ByMonitor(HashMap<String, Vec<Counted>>),
}

impl Default for Spans {
    fn default() -> Self {
        Self::Same(Counted::default())
    }
}

impl Spans {
    /// Those of a monitor: a record counts when it is in one of them. None: it is not compared.
    pub(super) fn of(&self, monitor: Option<&str>) -> &[Counted] {
        match self {
            Self::Same(counted) => std::slice::from_ref(counted),
            Self::ByMonitor(by_name) => monitor.and_then(|monitor| by_name.get(monitor)).map_or(&[][..], Vec::as_slice),
        }
    }
}
