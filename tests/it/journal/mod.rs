//! What the journal promises.

mod blocks;
mod crashes;
mod damage;
mod following;
mod repair;
mod room;
pub(crate) mod sim_storage;
mod snapshots;
mod support;
mod writing;
