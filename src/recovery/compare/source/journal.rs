//! Events of the journal as records.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;

use super::Selection;
use crate::clock::UnixNanos;
use crate::journal::{BlockHeader, Event, JournalError, JournalReader, Offset, Passage, TimeRange};
use crate::recovery::compare::record::{Record, Source, SourceError, Span};

/// Which ids of events count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// All, as `query` prints them.
    All,
    /// Those made of parts: a hash of the payload is another one in another scope.
    OfParts,
}

/// Which events are wanted.
#[derive(Debug)]
struct Scope {
    selection: Selection,
    span: Span,
    first: Offset,
    end: Offset,
}

/// Events of a span of the journal, up to what was durable when this was made.
#[derive(Debug)]
pub struct JournalSource {
    reader: JournalReader,
    name: String,
    scope: Scope,
    ids: Ids,
    topics_of: Option<HashSet<String>>,
    holes: Vec<String>,
}

impl JournalSource {
    /// Those that were received in a span.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn new(
        mut reader: JournalReader,
        name: &str,
        selection: Selection,
        span: Span,
        ids: Ids,
    ) -> Result<Self, JournalError> {
        let end = reader.durable()?;
        match span.since {
            Some(since) => reader.seek_received(since)?,
            None => reader.seek(reader.earliest()?),
        }
        let scope = Scope { selection, span, first: reader.position(), end };
        Ok(Self { reader, name: name.to_owned(), scope, ids, topics_of: None, holes: Vec::new() })
    }

    /// Tells the topics of these monitors only: of others an event is the same over whichever topic it came.
    #[must_use]
    pub fn telling_topics_of(self, monitors: HashSet<String>) -> Self {
        Self { topics_of: Some(monitors), ..self }
    }
}

impl Scope {
    /// Whether some event of the block may be wanted.
    fn may_have(&self, header: &BlockHeader, only: Option<&BTreeSet<u64>>) -> bool {
        let range = TimeRange {
            least: self.span.since.unwrap_or(UnixNanos(i64::MIN)),
            greatest: self.span.until.unwrap_or(UnixNanos(i64::MAX)),
        };
        let path = Some(header.path().as_str());
        header.base() < self.end
            && header.received().overlaps(range)
            && only.is_none_or(|only| only.range(header.base().0..header.end().0).next().is_some())
            && header.rows().iter().any(|row| {
                row.events > 0 && self.selection.takes(Some(&row.monitor.name), Some(&row.monitor.domain), None, path)
            })
    }

    fn takes(&self, event: &Event<'_>) -> bool {
        event.offset < self.end
            && event.offset >= self.first
            && self.span.contains(event.received)
            && self.selection.takes(
                Some(event.monitor),
                Some(event.domain),
                Some(event.topic),
                Some(event.path.as_str()),
            )
    }
}

impl Source for JournalSource {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn place_name(&self) -> &'static str {
        "offset"
    }

    fn total(&self) -> Option<u64> {
        Some(self.scope.end.0.saturating_sub(self.scope.first.0))
    }

    fn read(
        &mut self,
        only: Option<&BTreeSet<u64>>,
        take: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let from = only.and_then(|only| only.first().copied()).map_or(self.scope.first, Offset);
        self.reader.seek(from);
        self.reader.take_holes();
        loop {
            let Self { reader, scope, topics_of, .. } = self;
            let Some(passage) = reader.next_passage(|header| scope.may_have(header, only))? else { break };
            let block = match passage {
                Passage::Passed(to) if to >= scope.end => break,
                Passage::Passed(_) => continue,
                Passage::Block(block) => block,
            };
            for event in block.events() {
                if !scope.takes(&event) {
                    continue;
                }
                let (id, key) = (event.id(), event.key());
                let has_parts = !event.id_is_hash();
                let record = Record {
                    place: event.offset.0,
                    done: event.offset.0.saturating_sub(scope.first.0),
                    monitor: Some(event.monitor),
                    topic: Some(event.topic)
                        .filter(|_| topics_of.as_ref().is_none_or(|monitors| monitors.contains(event.monitor))),
                    key: key.as_deref(),
                    id: id.as_deref().filter(|_| has_parts || self.ids == Ids::All),
                    time: Some(event.received),
                    payload: Some(event.payload),
                    repeats_dropped: event.hash().is_some(),
                };
                if take(&record).is_break() {
                    return Ok(());
                }
            }
            if block.header().end() >= scope.end {
                break;
            }
        }
        if only.is_none() {
            let holes = self.reader.take_holes();
            let within = holes.iter().filter(|hole| !hole.is_empty() && hole.from < self.scope.end);
            self.holes = within
                .map(|hole| {
                    format!(
                        "offsets {} to {} are a hole that a repair left: they are not compared",
                        hole.from,
                        hole.to.0 - 1
                    )
                })
                .collect();
        }
        Ok(())
    }

    fn notes(&self) -> Vec<String> {
        self.holes.clone()
    }
}
