//! Enrichment: what is looked up for an event, over HTTP or in a file, and added beside its payload, which stays to the byte.
//!
//! The way of a message is not touched. A follower behind the journal finds the keys of monitors that enrich and has them
//! looked up; each new or changed answer is journaled as an event of the daemon's own, so that what was known when is on record and
//! outlives a restart. Whoever shows or stores an event adds the fields that are known for it.
//!
//! | file       | is                                                                           |
//! |------------|------------------------------------------------------------------------------|
//! | `subject`  | what a look-up is about: the values of its holes in an event                    |
//! | `answer`   | fields taken out of an answer, and the record of them in the journal            |
//! | `table`    | a CSV or JSON file as a table                                                  |
//! | `look_up`  | one look-up: its cache, what is asked for now, its breaker                      |
//! | `asking`   | the task that asks for a look-up                                               |
//! | `log`      | answers on their way into the journal                                           |
//! | `running`  | all look-ups of a daemon: started, changed, stopped; the follower; what is known |
//! | `recorded` | what was known when, read back from the journal                                 |
//!
//! **What is promised.** No event waits for a look-up, but in a sink for at most `wait` of it, and not while its breaker is
//! not closed or the sink is behind. An event whose look-up fails goes on without fields. One request is under way for a
//! key. The last answer of a key stays as long as the look-up fails, at most until it is crowded out.

mod answer;
mod asking;
mod log;
mod look_up;
mod recorded;
mod running;
mod subject;
mod table;

pub use look_up::LookUpRow;
pub use recorded::RecordedAnswers;
pub use running::{EnrichError, Enrichment, EnrichmentParts, Pending, check, is_declared};
