//! What the journal promises.

mod blocks;
mod support;
mod writing;
