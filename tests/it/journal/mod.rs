//! What the journal promises.

mod blocks;
mod crashes;
mod damage;
mod following;
mod model;
mod repair;
mod room;
pub(crate) mod sim_storage;
mod snapshots;
pub(crate) mod support;
mod writing;
