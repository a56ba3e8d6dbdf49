//! How an event is printed: one JSON object a line, or a line of a table.

use std::borrow::Cow;
use std::io::{self, Write};

use super::Format;
use crate::enrich::RecordedAnswers;
use crate::journal::{Event, EventObject, JournalError, JournalReader, Offset, payload_text};
use crate::monitor::retry::RetryMarks;

/// Prints events.
pub(super) struct EventPrinter<W> {
    out: W,
    format: Format,
    width: usize,
    headed: bool,
    /// Of the block that was printed from last, by its first offset.
    marks: Option<(Offset, RetryMarks)>,
    /// What was known beside payloads.
    answers: Option<RecordedAnswers>,
}

impl<W: Write> EventPrinter<W> {
    /// A printer onto `out`; lines of a table are cut to `width` columns.
    pub(super) fn new(out: W, format: Format, width: usize) -> Self {
        Self { out, format, width, headed: false, marks: None, answers: None }
    }

    /// Adds to each event what was known beside its payload; only JSON has room for it.
    pub(super) fn enriching(self, answers: Option<RecordedAnswers>) -> Self {
        Self { answers, ..self }
    }

    /// Takes what came to be known since.
    pub(super) fn follow_answers(&mut self, reader: &mut JournalReader) -> Result<(), JournalError> {
        self.answers.as_mut().map_or(Ok(()), |answers| answers.follow(reader))
    }

    /// Prints one event.
    pub(super) fn print(&mut self, event: &Event<'_>) -> io::Result<()> {
        let retried_from = self.retried_from(event);
        match self.format {
            Format::Json => {
                let enriched = self.answers.as_mut().and_then(|answers| answers.enriched(event));
                let object = EventObject::from(event).retried_from(retried_from).enriched(enriched.as_deref());
                serde_json::to_writer(&mut self.out, &object)?;
                self.out.write_all(b"\n")
            }
            Format::Table => {
                if !std::mem::replace(&mut self.headed, true) {
                    self.line(&["OFFSET", "RECEIVED", "MONITOR", "KEY", "ID", "PAYLOAD"])?;
                }
                // To the millisecond: people compare, they do not compute.
                let received = format!("{:.3}", event.received).replace('T', " ").replace('Z', "");
                let offset = event.offset.to_string();
                let (key, id) = (event.key().unwrap_or("-".into()), event.id().unwrap_or("-".into()));
                let payload = payload_text(event.payload);
                self.line(&[&offset, &received, event.monitor, &key, &id, &payload])
            }
        }
    }

    fn retried_from(&mut self, event: &Event<'_>) -> Option<u64> {
        let base = event.block().header().base();
        if self.marks.as_ref().is_none_or(|(of, _)| *of != base) {
            self.marks = Some((base, RetryMarks::of(event.block())));
        }
        self.marks.as_ref().and_then(|(_, marks)| marks.retried_from(event.offset))
    }

    /// Says that what was printed is on its way.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn line(&mut self, cells: &[&str; 6]) -> io::Result<()> {
        const WIDTHS: [usize; 5] = [10, 23, 18, 14, 24];
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(WIDTHS) {
            let cell = printable(cell, width);
            line.push_str(&cell);
            // A cell wider than its column pushes the others; nothing is cut that a filter could need.
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        let room = self.width.saturating_sub(line.chars().count()).max(20);
        line.push_str(&cut(&printable(cells[5], room), room));
        writeln!(self.out, "{}", line.trim_end())
    }
}

/// Without control characters, which could move a terminal's cursor. Looks no further than a line can show.
fn printable(text: &str, room: usize) -> String {
    let most = room.max(256) * 4;
    text.chars().take(most).map(|character| if character.is_control() { ' ' } else { character }).collect()
}

fn cut(text: &str, room: usize) -> Cow<'_, str> {
    if text.chars().count() <= room {
        return Cow::Borrowed(text);
    }
    let mut short: String = text.chars().take(room.saturating_sub(1)).collect();
    short.push('…');
    Cow::Owned(short)
}

/// Columns of the terminal; wide enough for a payload where there is none.
pub(super) fn terminal_width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout()).ok().map_or(200, |size| usize::from(size.ws_col)).max(80)
}
