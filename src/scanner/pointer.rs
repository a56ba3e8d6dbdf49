//! JSON Pointers as RFC 6901 writes them.

use std::fmt;

/// A parsed JSON Pointer: `/data/t`; the empty one is the whole text.
///
/// Two pointers are equal when they name the same place; RFC 6901 leaves only one spelling for each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pointer {
    tokens: Box<[Box<str>]>,
}

impl Pointer {
    /// Reads a pointer in its string form, not in that of a URI fragment.
    ///
    /// # Errors
    /// When it neither is empty nor begins with `/`, or has a `~` that is not followed by `0` or `1`.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        if text.is_empty() {
            return Ok(Self { tokens: Box::default() });
        }
        let Some(path) = text.strip_prefix('/') else {
            return Err(PointerError::NoSlash { pointer: text.to_owned() });
        };
        let tokens: Option<_> = path.split('/').map(unescape).collect();
        tokens.map(|tokens| Self { tokens }).ok_or_else(|| PointerError::Tilde { pointer: text.to_owned() })
    }

    /// The decoded reference tokens, from the root on.
    pub fn tokens(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tokens.iter().map(AsRef::as_ref)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tokens.iter().try_for_each(|token| write!(f, "/{}", token.replace('~', "~0").replace('/', "~1")))
    }
}

/// Why a text is no JSON Pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// It does not begin with a slash.
    #[error("JSON Pointer `{pointer}` must be empty or begin with `/`, as in `/data/t`")]
    NoSlash {
        /// The text.
        pointer: String,
    },
    /// A tilde that escapes nothing.
    #[error("JSON Pointer `{pointer}` has a `~` that is not part of `~0` (a tilde) or `~1` (a slash)")]
    Tilde {
        /// The text.
        pointer: String,
    },
}

/// One reference token decoded, left to right, so that `~01` is `~1` and not `/`.
fn unescape(token: &str) -> Option<Box<str>> {
    let mut parts = token.split('~');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (decoded_char, rest) = match part.as_bytes().first()? {
            b'0' => ('~', &part[1..]),
            b'1' => ('/', &part[1..]),
            _ => return None,
        };
        decoded.push(decoded_char);
        decoded.push_str(rest);
    }
    Some(decoded.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_shown_as_it_was_written() {
        for text in ["", "/", "/data/t", "/a~1b/m~0n", "/~01", "//", "/ /\"", "/0/-"] {
            assert_eq!(Pointer::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn escapes_are_decoded_once_from_left_to_right() {
        let pointer = Pointer::parse("/~01/~10/~0~1").unwrap();
        assert_eq!(pointer.tokens().collect::<Vec<_>>(), ["~1", "/0", "~/"]);
    }

    #[test]
    fn what_is_no_pointer_is_refused_with_its_text() {
        for text in ["data/t", "#/data", " /a", "~0"] {
            assert!(matches!(Pointer::parse(text), Err(PointerError::NoSlash { pointer }) if pointer == text));
        }
        for text in ["/~", "/a~2", "/~~0", "/a/~/b"] {
            assert!(matches!(Pointer::parse(text), Err(PointerError::Tilde { pointer }) if pointer == text));
        }
    }
}
