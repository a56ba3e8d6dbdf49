//! What the journal promises.

mod blocks;
mod crashes;
mod sim_storage;
mod support;
mod writing;
