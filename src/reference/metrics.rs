//! `docs/reference/metrics.md`, of the one list of metrics.
