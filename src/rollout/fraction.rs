//! A share of the monitors.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A share from 0 to 1. Written as a number, or as a text such as `50%`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Fraction(f64);

impl Fraction {
    /// Nobody.
    pub const NONE: Self = Self(0.0);
    /// Everybody.
    pub const ALL: Self = Self(1.0);

    /// So much of 1; none outside of 0 to 1.
    pub fn new(share: f64) -> Option<Self> {
        // -0 is 0, also where it is written.
        (0.0..=1.0).contains(&share).then_some(Self(share.abs()))
    }

    /// Of 1.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// What is no [`Fraction`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no fraction; write one from 0 to 1 such as `0.5`, or from 0% to 100% such as `50%`")]
pub struct NoFraction(String);

impl FromStr for Fraction {
    type Err = NoFraction;

    fn from_str(text: &str) -> Result<Self, NoFraction> {
        let text = text.trim();
        let share = match text.strip_suffix('%') {
            Some(percent) => percent.trim_end().parse::<f64>().map(|percent| percent / 100.0),
            None => text.parse::<f64>(),
        };
        share.ok().and_then(Self::new).ok_or_else(|| NoFraction(text.to_owned()))
    }
}

/// In percent, as people read it.
impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // To the thousandth of a percent; what is not a whole number of them was typed to be odd.
        write!(f, "{} %", (self.0 * 100_000.0).round() / 1000.0)
    }
}

impl Serialize for Fraction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl<'de> Deserialize<'de> for Fraction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl Visitor<'_> for Written {
            type Value = Fraction;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a fraction from 0 to 1, or a text such as \"50%\"")
            }

            fn visit_f64<E: serde::de::Error>(self, share: f64) -> Result<Fraction, E> {
                Fraction::new(share).ok_or_else(|| E::custom(NoFraction(share.to_string())))
            }

            fn visit_i64<E: serde::de::Error>(self, whole: i64) -> Result<Fraction, E> {
                match whole {
                    0 => Ok(Fraction::NONE),
                    1 => Ok(Fraction::ALL),
                    _ => Err(E::custom(NoFraction(whole.to_string()))),
                }
            }

            fn visit_u64<E: serde::de::Error>(self, whole: u64) -> Result<Fraction, E> {
                self.visit_i64(i64::try_from(whole).map_err(|_| E::custom(NoFraction(whole.to_string())))?)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Fraction, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Written).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_is_written_as_a_number_or_in_percent() {
        for (text, share) in [("0", 0.0), ("0.5", 0.5), ("50%", 0.5), (" 12.5 % ", 0.125), ("1", 1.0), ("100%", 1.0)] {
            assert_eq!(text.parse(), Ok(Fraction(share)), "{text}");
        }
        for text in ["", "%", "1.5", "-0.1", "101%", "half", "NaN", "inf", "50 percent"] {
            let refused = text.parse::<Fraction>().unwrap_err().to_string();
            assert!(refused.contains("from 0 to 1"), "{refused}");
        }
        let read = |json: &str| serde_json::from_str::<Fraction>(json).ok().map(Fraction::get);
        assert_eq!(
            [read("0"), read("1"), read("0.25"), read("\"25%\"")],
            [Some(0.0), Some(1.0), Some(0.25), Some(0.25)]
        );
        assert_eq!([read("2"), read("-1"), read("1.01"), read("\"x\""), read("null")], [None; 5]);
        assert_eq!(serde_json::to_string(&Fraction(0.5)).unwrap(), "0.5");
    }

    #[test]
    fn a_fraction_reads_in_percent() {
        assert_eq!(Fraction(0.5).to_string(), "50 %");
        assert_eq!(Fraction(0.07).to_string(), "7 %");
        assert_eq!(Fraction(1.0 / 3.0).to_string(), "33.333 %");
    }
}
