//! Decimal numbers of any size in the server's binary form: groups of four decimal digits.

/// Digits before and behind the point that the server keeps.
const BEFORE_POINT_MAX: i64 = 131_072;
const BEHIND_POINT_MAX: i64 = 16_383;

/// Appends a decimal number as `numeric`, with as many digits behind the point as it was written with; false where the text
/// is none, or one that the type does not hold.
pub(super) fn put_numeric(text: &[u8], out: &mut Vec<u8>) -> bool {
    match Decimal::parse(text) {
        Some(decimal) => {
            decimal.put(out);
            true
        }
        None => false,
    }
}

struct Decimal<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    /// How many places the point is moved to the right.
    exponent: i64,
}

impl<'a> Decimal<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&text[..at], std::str::from_utf8(&text[at + 1..]).ok()?.parse::<i32>().ok()?.into()),
            None => (text, 0_i64),
        };
        let (whole, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
            None => (mantissa, &[][..]),
        };
        let decimal = Self { negative, whole, fraction, exponent };
        let digits = whole.iter().chain(fraction).all(u8::is_ascii_digit) && !(whole.is_empty() && fraction.is_empty());
        (digits && decimal.fits()).then_some(decimal)
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.whole.iter().chain(self.fraction).map(|digit| digit - b'0')
    }

    fn zeros_before(&self) -> usize {
        self.digits().take_while(|&digit| digit == 0).count()
    }

    /// Digits before the point, once it was moved; negative where there are zeros behind it first.
    fn point(&self) -> i64 {
        count(self.whole.len()) + self.exponent - count(self.zeros_before())
    }

    fn scale(&self) -> i64 {
        (count(self.fraction.len()) - self.exponent).max(0)
    }

    fn fits(&self) -> bool {
        self.scale() <= BEHIND_POINT_MAX
            && (self.zeros_before() == self.whole.len() + self.fraction.len() || self.point() <= BEFORE_POINT_MAX)
    }

    fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        let point = self.point();
        // The power of 10,000 of the first group.
        let weight = (point - 1).div_euclid(4);
        // The first group's missing digits are zeros in front.
        let mut filled = 4 - (point - weight * 4);
        let (mut group, mut written, mut significant) = (0_u16, 0_u16, 0_u16);
        for digit in self.digits().skip(self.zeros_before()) {
            group = group * 10 + u16::from(digit);
            filled += 1;
            if filled == 4 {
                out.extend_from_slice(&group.to_be_bytes());
                written += 1;
                significant = if group == 0 { significant } else { written };
                (group, filled) = (0, 0);
            }
        }
        if filled > 0 && group > 0 {
            while filled < 4 {
                group *= 10;
                filled += 1;
            }
            out.extend_from_slice(&group.to_be_bytes());
            written += 1;
            significant = written;
        }
        // Groups of zeros at the end are not written.
        out.truncate(start + 8 + 2 * usize::from(significant));
        let weight = if significant == 0 { 0 } else { i16::try_from(weight).unwrap_or(0) };
        let sign: u16 = if self.negative && significant > 0 { 0x4000 } else { 0 };
        let scale = u16::try_from(self.scale()).unwrap_or(0);
        let head = [significant, weight.cast_unsigned(), sign, scale];
        for (at, value) in head.into_iter().enumerate() {
            out[start + 2 * at..start + 2 * at + 2].copy_from_slice(&value.to_be_bytes());
        }
    }
}

fn count(digits: usize) -> i64 {
    i64::try_from(digits).expect("a message is far shorter")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups, weight, negative, scale.
    fn read(text: &str) -> Option<(Vec<u16>, i16, bool, u16)> {
        let mut out = Vec::new();
        if !put_numeric(text.as_bytes(), &mut out) {
            assert!(out.is_empty());
            return None;
        }
        let words: Vec<u16> = out.chunks(2).map(|word| u16::from_be_bytes(word.try_into().unwrap())).collect();
        assert_eq!(usize::from(words[0]), words.len() - 4);
        Some((words[4..].to_vec(), words[1].cast_signed(), words[2] == 0x4000, words[3]))
    }

    #[test]
    fn numbers_are_kept_digit_by_digit() {
        assert_eq!(read("0"), Some((vec![], 0, false, 0)));
        assert_eq!(read("-0.00"), Some((vec![], 0, false, 2)));
        assert_eq!(read("1"), Some((vec![1], 0, false, 0)));
        assert_eq!(read("10000"), Some((vec![1], 1, false, 0)));
        assert_eq!(read("-12345.6700"), Some((vec![1, 2345, 6700], 1, true, 4)));
        assert_eq!(read("0.00012"), Some((vec![1, 2000], -1, false, 5)));
        assert_eq!(read("0.00001"), Some((vec![1000], -2, false, 5)));
        assert_eq!(read("1.5e3"), Some((vec![1500], 0, false, 0)));
        assert_eq!(read("15E-1"), Some((vec![1, 5000], 0, false, 1)));
        assert_eq!(read("1e4"), Some((vec![1], 1, false, 0)));
        assert_eq!(read("18446744073709551616"), Some((vec![1844, 6744, 737, 955, 1616], 4, false, 0)));
        assert_eq!(read("0007.50"), Some((vec![7, 5000], 0, false, 2)));
    }

    #[test]
    fn what_the_type_does_not_hold_is_no_number() {
        for text in ["", "-", ".", "1.2.3", "1e", "e5", "NaN", "0x10", " 1", "1e131072", "1e-16384", "1e99999999999"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(read("1e131071").is_some());
        assert!(read("0e131072").is_some());
        assert!(read("1e-16383").is_some());
    }
}
