//! The numbers of one message.

/// Numbers as feeds have them fit into 64 bits, with or without a sign; one more is next to each.
pub type Number = i128;

/// What a sequence counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counting {
    /// Messages: each has the next number.
    Messages,
    /// Something smaller than messages, each of which has one or more of it.
    Ranges,
    /// Nothing: each message names the one before it.
    Chain,
}

/// Every number above `behind`, up to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// The number that the message goes on from.
    pub behind: Number,
    /// The message's last number.
    pub last: Number,
}

/// Reads a number, or a string that holds one.
pub(in crate::monitor) fn read(token: &[u8]) -> Option<Number> {
    let digits = match token {
        [b'"', inner @ .., b'"'] => inner,
        other => other,
    };
    let (negative, digits) = match digits {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    // The longest of 64 bits has 20 digits; more would not fit anyway.
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    let mut value: Number = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + Number::from(digit - b'0');
    }
    let value = if negative { -value } else { value };
    (Number::from(i64::MIN)..=Number::from(u64::MAX)).contains(&value).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_of_64_bits_are_read_as_they_are_or_as_strings() {
        for (text, number) in [
            ("0", 0),
            ("\"17\"", 17),
            ("-1", -1),
            ("18446744073709551615", Number::from(u64::MAX)),
            ("\"-9223372036854775808\"", Number::from(i64::MIN)),
        ] {
            assert_eq!(read(text.as_bytes()), Some(number), "{text}");
        }
        for text in
            ["", "\"\"", "-", "1.0", "1e3", "18446744073709551616", "-9223372036854775809", "null", "[1]", "\"x\""]
        {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }
}
