//! Every decision, out of the journal: with or without a daemon.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::decision::CanaryEvent;
use crate::clock::UnixNanos;
use crate::journal::{BlockFilter, CANARY_MONITOR, JournalError, JournalReader, OWN_DOMAIN};

/// A decision, and where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CanaryRow {
    /// Its place in the journal.
    pub offset: u64,
    /// What was decided.
    #[serde(flatten)]
    pub event: CanaryEvent,
}

/// The newest decisions that the journal has, at most so many, oldest first; whether there are older ones.
///
/// # Errors
/// When the journal cannot be read.
pub fn read(
    reader: &mut JournalReader,
    since: Option<UnixNanos>,
    limit: usize,
) -> Result<(VecDeque<CanaryRow>, bool), JournalError> {
    let filter =
        BlockFilter { monitors: vec![CANARY_MONITOR.into()], domains: vec![OWN_DOMAIN.into()], ..BlockFilter::all() };
    match since {
        Some(since) => reader.seek_received(since)?,
        None => reader.seek(reader.earliest()?),
    }
    let (mut rows, mut more) = (VecDeque::new(), false);
    while let Some(block) = reader.next_block(&filter)? {
        let fitting = block.events().filter(|event| filter.admits(event));
        for event in fitting.filter(|event| since.is_none_or(|since| event.received >= since)) {
            // One of a later release, with a word that this one does not know, is passed over.
            let Ok(decided) = serde_json::from_slice(event.payload) else { continue };
            rows.push_back(CanaryRow { offset: event.offset.0, event: decided });
            if rows.len() > limit {
                rows.pop_front();
                more = true;
            }
        }
    }
    Ok((rows, more))
}
