//! Walks over the events that a command is about, and says which it cannot show because they are lost.

use std::io::{self, Write};
use std::ops::ControlFlow;

use super::CliError;
use super::run::journal_error;
use super::selection::{Selection, Span};
use crate::journal::{Event, Hole, JournalReader};

/// Gives every event that fits to `take`, in order, until it breaks or the durable end is reached.
pub(super) fn each_event(
    reader: &mut JournalReader,
    selection: &Selection,
    span: &Span,
    mut take: impl FnMut(&Event<'_>) -> Result<ControlFlow<()>, CliError>,
) -> Result<(), CliError> {
    let wanted = selection.filter(span);
    let filter = wanted.block_filter();
    wanted.seek(reader).map_err(journal_error)?;
    loop {
        let block = reader.next_block(&filter).map_err(journal_error)?;
        let holes = reader.take_holes();
        tell(holes.iter().filter(|hole| !wanted.is_past(hole.from)));
        let Some(block) = block else { return Ok(()) };
        for event in block.events() {
            if wanted.is_past(event.offset) {
                return Ok(());
            }
            if wanted.takes(&event) && take(&event)?.is_break() {
                return Ok(());
            }
        }
    }
}

/// Says what no command can show. Beside the data, so that programs read on.
pub(super) fn tell<'a>(holes: impl IntoIterator<Item = &'a Hole>) {
    let mut note = io::stderr().lock();
    for hole in holes {
        // A note for people: its loss costs nothing.
        writeln!(note, "events {} to {} are lost: a repair of the journal recorded a hole", hole.from, hole.to.0 - 1)
            .ok();
    }
}
