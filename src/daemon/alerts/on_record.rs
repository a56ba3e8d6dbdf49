//! Alerts read back from the journal at a start.

use super::{ALERTS_TOPIC, SILENCES_TOPIC, cooldown_of};
use crate::alert::book::{Book, BookRecord, Held};
use crate::alert::rules::Rule;
use crate::alert::silence::Silence;
use crate::journal::{ALERTS_MONITOR, BlockFilter, JournalError, JournalReader, OWN_DOMAIN, STATE_MONITOR};

/// So many of the newest segments are read for alerts that are over: what is not is in every snapshot. Source: as far back as resume
/// tokens are looked for.
const SEGMENTS_MAX: usize = 16;

/// What was open, acknowledged, silenced or in cooldown when the journal ends.
pub(in crate::daemon) fn read_book(reader: &mut JournalReader, rules: &[Rule]) -> Result<Book, JournalError> {
    let bases = reader.segment_bases()?;
    let Some(&first) = bases.first() else { return Ok(Book::default()) };
    let newest = bases[bases.len().saturating_sub(SEGMENTS_MAX)];
    let (book, snapshot) = read_from(reader, newest, rules)?;
    if snapshot || newest == first {
        return Ok(book);
    }
    // Segments that recovery made have none.
    Ok(read_from(reader, first, rules)?.0)
}

fn read_from(
    reader: &mut JournalReader,
    from: crate::journal::Offset,
    rules: &[Rule],
) -> Result<(Book, bool), JournalError> {
    let filter = BlockFilter {
        monitors: vec![STATE_MONITOR.into(), ALERTS_MONITOR.into()],
        domains: vec![OWN_DOMAIN.into()],
        ..BlockFilter::all()
    };
    let (mut book, mut snapshot) = (Book::default(), false);
    reader.seek(from);
    while let Some(block) = reader.next_block(&filter)? {
        for event in block.events().filter(|event| filter.admits(event)) {
            if event.monitor == STATE_MONITOR {
                snapshot |= restore(&mut book, event.payload);
            } else {
                take(&mut book, event.topic, event.payload, rules);
            }
        }
    }
    Ok((book, snapshot))
}

fn restore(book: &mut Book, payload: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Snapshot {
        #[serde(default)]
        alerts: BookRecord,
    }
    // One that an older release wrote knows of none.
    let Ok(Snapshot { alerts }) = serde_json::from_slice(payload) else { return false };
    book.restore(alerts);
    true
}

/// What a later release wrote with words that this one does not know is passed over.
fn take(book: &mut Book, topic: &str, payload: &[u8], rules: &[Rule]) {
    match topic {
        ALERTS_TOPIC => {
            if let Ok(held) = serde_json::from_slice::<Held>(payload) {
                book.replay(held, cooldown_of(rules));
            }
        }
        SILENCES_TOPIC => {
            if let Ok(silence) = serde_json::from_slice::<Silence>(payload) {
                book.replay_silence(silence);
            }
        }
        _ => {}
    }
}
