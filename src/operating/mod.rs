//! How the daemon did over a span, out of the journal alone: with and without a running daemon, in bounded memory, and on a journal whose
//! oldest part was deleted. What nobody measured is unknown, and said to be.
//!
//! | file       | is                                                                                 |
//! |------------|------------------------------------------------------------------------------------|
//! | `points`   | the daemon's own records as they are read back: what each process said of itself    |
//! | `runs`     | processes: when each was up, how it ended, how long until the next one took events  |
//! | `counts`   | what was counted, by hour, out of the headers of blocks                             |
//! | `history`  | what the figures of a span come to: latencies, breakers, checkpoints, sinks, memory |
//! | `losses`   | gaps by cause, lost connections                                                     |
//! | `measure`  | all of these together                                                               |
//! | `figures`  | figures held against targets                                                        |
//! | `account`  | the report: figures, restarts, hours; read back as a baseline                       |
//! | `shown`    | the same for people, `form` in which form                                           |

mod account;
mod counts;
mod figures;
mod form;
mod history;
mod losses;
mod measure;
mod points;
mod runs;
mod shown;

pub use account::{Figure, HourRow, OperatingReport, RestartRow, Section};
pub use counts::Hour;
pub use form::{FormError, OperatingFormat};
pub use measure::{Asked, Measured, measure};
pub use runs::Ending;
