//! Finds JSON Pointers in a raw text in one validating pass.

/// Where pointers were found in a text.
#[derive(Debug, Clone, Default)]
pub struct Fields {}
