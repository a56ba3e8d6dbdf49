//! Business counters as the journal has them on record: in snapshots of state and in the history of figures.

use serde::Deserialize;

use crate::journal::{BlockFilter, JournalError, JournalReader, METRICS_MONITOR, OWN_DOMAIN, STATE_MONITOR};
use crate::views::CounterRecord;

/// What of such an event matters here.
#[derive(Debug, Deserialize)]
struct Recorded {
    /// Absent where there were none.
    #[serde(default)]
    counters: Vec<CounterRecord>,
}

/// The newest record of them. Reads back to the newest segment with a snapshot, and no further.
pub(super) fn counters_on_record(reader: &mut JournalReader) -> Result<Vec<CounterRecord>, JournalError> {
    let filter = BlockFilter {
        monitors: vec![STATE_MONITOR.into(), METRICS_MONITOR.into()],
        domains: vec![OWN_DOMAIN.into()],
        ..BlockFilter::all()
    };
    for base in reader.segment_bases()?.into_iter().rev() {
        let mut newest = None;
        reader.seek(base);
        while let Some(block) = reader.next_block(&filter)? {
            for event in block.events().filter(|event| filter.admits(event)) {
                newest = serde_json::from_slice::<Recorded>(event.payload).ok().or(newest);
            }
        }
        if let Some(newest) = newest {
            return Ok(newest.counters);
        }
    }
    Ok(Vec::new())
}
