//! Promises of the dialect.
