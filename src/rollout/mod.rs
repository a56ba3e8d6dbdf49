//! The change-over from the legacy path to the smart one: who is on which, and what decides it.
//!
//! | file       | is                                                                          |
//! |------------|-----------------------------------------------------------------------------|
//! | `choice`   | which monitors a fraction puts on the smart path                            |
//! | `paths`    | which path each monitor is on                                               |
//! | `decision` | what was decided, by whom, and how it is put on record                      |
//! | `history`  | all of that, read back from the journal                                     |
//! | `plan`     | stages that are entered one after the other while all is well               |
//! | `guard`    | when the smart path is worse than the legacy one, so that it is left again  |
//! | `way_back` | how long that takes                                                         |
//! | `measured` | what the journal tells of both paths, for the report                        |
//! | `report`   | figures held against targets, with a verdict each                           |
//! | `shadow`   | what both paths brought of a monitor, compared                              |
//! | `figures`  | what both paths of an upstream did                                          |
//!
//! All but `history`, `measured` and `shadow` is pure: time and figures come in. `daemon/canary.rs` does what they say.

pub mod choice;
pub mod decision;
pub mod figures;
mod fraction;
pub mod guard;
pub mod history;
pub mod measured;
mod paths;
pub mod plan;
pub mod report;
pub mod shadow;
pub mod way_back;

pub use fraction::{Fraction, NoFraction};
pub use paths::{MonitorPath, Paths};
