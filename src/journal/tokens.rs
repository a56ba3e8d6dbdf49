//! Where upstreams can be taken up again: resume tokens of durable events, as the blocks' headers have them.

use std::ops::ControlFlow;

use super::block::{BlockHeader, ResumeToken};
use super::error::JournalError;
use super::offset::Offset;
use super::reader::JournalReader;
use super::segment::{OpenSegment, list_segments};
use crate::clock::UnixNanos;

/// A resume token whose last event is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableToken {
    /// The token, with what it is good for.
    pub token: ResumeToken,
    /// The offset after the last event of its block.
    pub offset: Offset,
    /// When that event was received.
    pub received: UnixNanos,
}

impl JournalReader {
    /// Tokens from the newest on backwards, until `take` breaks off, so many segments were looked at, or all that is left was
    /// durable before `until`. Reads headers only.
    ///
    /// # Errors
    /// What the system refused, or damage found on the way.
    pub fn tokens_backwards(
        &self,
        until: Offset,
        segments_max: usize,
        mut take: impl FnMut(DurableToken) -> ControlFlow<()>,
    ) -> Result<(), JournalError> {
        for &name in list_segments(self.storage().as_ref())?.iter().rev().take(segments_max) {
            let segment = match OpenSegment::open(self.storage().as_ref(), name) {
                // Retention was faster, and takes the oldest first.
                Err(JournalError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => break,
                opened => opened?,
            };
            let headers: Vec<BlockHeader> = match segment.index()? {
                Some(index) => index.blocks.into_iter().map(|(_, header)| header).collect(),
                None => self.headers_of(name)?.0,
            };
            for header in headers.into_iter().rev() {
                let (offset, received) = (header.end(), header.received().greatest);
                if offset < until {
                    return Ok(());
                }
                for token in header.tokens {
                    if take(DurableToken { token, offset, received }).is_break() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}
