//! The journal against what others wrote, and one path against the other.

mod million;
mod paths;
mod stores;
mod support;
