//! What becomes of a batch that a store refuses: halved until single rows are left, which are put aside.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::batch::Batch;
use crate::journal::Offset;

/// So many rows are put aside without a single one being taken, then the sink stops: it is not the rows that are wrong.
const PARKED_IN_A_ROW_MAX: u32 = 100;

/// Time between two warnings of rows that were put aside.
const PARKED_WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// How far a runner is with rows that are refused.
#[derive(Debug, Default)]
pub(super) struct Narrowing {
    parked_in_a_row: u32,
    warned: Option<Instant>,
}

impl Narrowing {
    /// A row was taken, or a person has looked: it may be the rows again that are wrong.
    pub(super) fn begin_anew(&mut self) {
        self.parked_in_a_row = 0;
    }

    /// The store refuses the first batch of `work`, and may have named the row: in two it is seen which half it is; a single row
    /// is put aside.
    ///
    /// # Errors
    /// When that leads nowhere: what a person should know.
    pub(super) fn narrow(
        &mut self,
        sink: &str,
        work: &mut VecDeque<Batch>,
        reason: &str,
        offset: Option<Offset>,
    ) -> Result<(), String> {
        let Some(batch) = work.pop_front() else { return Err(reason.to_owned()) };
        match batch.len() {
            0 => {
                let message = format!("it refuses to move its cursor, or to put rows aside: {reason}");
                work.push_front(batch);
                return Err(message);
            }
            1 if self.parked_in_a_row >= PARKED_IN_A_ROW_MAX => {
                work.push_front(batch);
                return Err(format!(
                    "it refused {PARKED_IN_A_ROW_MAX} rows one after the other, which were put aside, and took none: {reason}. Mend \
                     what it asks for, then `sluice sinks enable {sink}`"
                ));
            }
            1 => {
                self.parked_in_a_row += 1;
                let parked = batch.park(reason);
                if self.warned.is_none_or(|at| at.elapsed() >= PARKED_WARNING_INTERVAL) {
                    self.warned = Some(Instant::now());
                    let offset = parked.parked().first().map_or(0, |row| row.offset);
                    tracing::warn!(
                        sink,
                        offset,
                        "a row was refused and put aside; `sluice sinks parked {sink}` shows all such: {reason}"
                    );
                }
                work.push_front(parked);
            }
            rows => {
                let named = offset.and_then(|offset| batch.events().position(|event| event.offset == offset));
                let (first, second) = match named {
                    Some(0) => batch.split_at(1),
                    Some(row) => batch.split_at(row),
                    None => batch.split_at(rows / 2),
                };
                // The named row alone, so that it is put aside without what follows it being tried again.
                let second = match named {
                    Some(1..) if second.len() > 1 => {
                        let (row, rest) = second.split_at(1);
                        work.push_front(rest);
                        row
                    }
                    _ => second,
                };
                work.push_front(second);
                work.push_front(first);
            }
        }
        Ok(())
    }
}
