//! Durations (`500ms`, `14d`) and sizes (`64MiB`) as settings write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::clock::UnixNanos;
use serde::de::{SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes, written with a unit: `5000B`, `64MiB`, `1GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// `n` KiB.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// `n` GiB.
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// As a count of bytes in memory; more than the platform can address becomes the most it can.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// The largest binary unit that divides it, else plain bytes: what is shown can be written back as it is.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("`{text}` has no unit; write a size such as `64MiB` or `5000B`"));
        }
        text.parse::<bytesize::ByteSize>()
            .map(|size| Self(size.as_u64()))
            .map_err(|_| format!("`{text}` is not a size; write one such as `64MiB` or `5000B`"))
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Written { expecting: "a size such as \"64MiB\" or \"5000B\"", parse: str::parse })
    }
}

/// Reads a text with a unit; anything else is refused in the words of what is expected.
struct Written<T> {
    expecting: &'static str,
    parse: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
}

/// Reads `500ms`, `30s`, `5m`, `14d`.
///
/// # Errors
/// When the text is not a duration with a unit.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("`{text}` is not a duration; write one such as `500ms`, `30s`, `5m` or `14d`"))
}

/// A moment: so long ago, or RFC 3339.
///
/// # Errors
/// When the text is neither.
pub fn parse_moment(text: &str) -> Result<UnixNanos, String> {
    if let Ok(ago) = parse_duration(text) {
        return Ok(UnixNanos::now().saturating_sub(ago));
    }
    let timestamp: jiff::Timestamp = text
        .parse()
        .map_err(|_| format!("`{text}` is neither a time such as 2026-11-20T12:00:00Z nor a duration such as 5m"))?;
    i64::try_from(timestamp.as_nanosecond()).map(UnixNanos).map_err(|_| format!("`{text}` is outside 1677 to 2262"))
}

/// A duration as people read it: `1m 30s`.
pub fn show_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// For `#[serde(with)]` on a [`Duration`].
pub mod duration {
    use super::{Deserializer, Duration, Serializer, Written, parse_duration, show_duration};

    /// Written as people read it.
    ///
    /// # Errors
    /// As the serializer has them.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&show_duration(*duration))
    }

    /// Read from a text with a unit.
    ///
    /// # Errors
    /// When it is none.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let expecting = "a duration such as \"500ms\", \"30s\" or \"14d\"";
        deserializer.deserialize_str(Written { expecting, parse: parse_duration })
    }
}

/// For `#[serde(with)]` on an optional [`Duration`].
pub mod optional_duration {
    use serde::Deserialize;

    use super::{Deserializer, Duration, Serializer, show_duration};

    /// A duration where there is one.
    #[derive(Deserialize)]
    struct Present(#[serde(with = "super::duration")] Duration);

    /// Written as people read it.
    ///
    /// # Errors
    /// As the serializer has them.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_str(&show_duration(*duration)),
            None => serializer.serialize_none(),
        }
    }

    /// Read from a text with a unit.
    ///
    /// # Errors
    /// When it is none.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Present>::deserialize(deserializer)?.map(|Present(duration)| duration))
    }
}

/// Writes a list of one as that one: as [`one_or_many`] reads it.
///
/// # Errors
/// As the serializer has them.
pub fn one_as_itself<T: Serialize, S: Serializer>(list: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    match list {
        [one] => one.serialize(serializer),
        list => list.serialize(serializer),
    }
}

/// Reads a list, or one value that stands for a list of one.
///
/// # Errors
/// When it is neither.
pub fn one_or_many<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct OneOrMany<T>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("one value or a list of them")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            T::deserialize(serde::de::value::StrDeserializer::new(text)).map(|one| vec![one])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(list))
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
            T::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(|one| vec![one])
        }
    }

    deserializer.deserialize_any(OneOrMany(std::marker::PhantomData))
}
