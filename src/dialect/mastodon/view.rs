//! A message with its payload as a value in the place of the string that holds it.

use crate::scanner::{Span, Token};

/// Writes a message whose payload is at `payload`, a string, into `view`. False where the string holds no object or list, as that
/// of a `delete`, whose payload is an id; whether it is sound JSON shows when the text is scanned.
pub(super) fn put_view(message: &[u8], payload: Span, view: &mut Vec<u8>) -> bool {
    let Some(content) = Token::new(payload.of(message)).as_str() else { return false };
    if !content.trim_start().starts_with(['{', '[']) {
        return false;
    }
    view.clear();
    view.extend_from_slice(&message[..payload.start as usize]);
    view.extend_from_slice(content.as_bytes());
    view.extend_from_slice(&message[payload.end as usize..]);
    true
}
