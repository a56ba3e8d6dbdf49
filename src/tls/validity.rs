//! From when until when a certificate holds, so that it can be said before a server does, in fewer words.
//!
//! X.509 in DER: a certificate begins with its `TBSCertificate`, which has, in this order, perhaps a version, a serial number, an
//! algorithm, an issuer and the two times.

use crate::clock::UnixNanos;

/// The times of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: UnixNanos,
    pub(super) until: UnixNanos,
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

impl Validity {
    /// None where it is not where it should be, which is for others to find fault with.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (_, mut certificate) = value(&mut &*certificate).filter(|(tag, _)| *tag == SEQUENCE)?;
        let (_, mut body) = value(&mut certificate).filter(|(tag, _)| *tag == SEQUENCE)?;
        if body.first() == Some(&VERSION) {
            value(&mut body)?;
        }
        for _ in ["serial number", "algorithm", "issuer"] {
            value(&mut body)?;
        }
        let (_, mut times) = value(&mut body).filter(|(tag, _)| *tag == SEQUENCE)?;
        Some(Self { from: time(value(&mut times)?)?, until: time(value(&mut times)?)? })
    }
}

/// The tag and content of what stands first, which is taken away.
fn value<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&[tag, first], mut after) = rest.split_first_chunk()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let (bytes, behind) =
            after.split_at_checked(usize::from(first & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
        after = behind;
        bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
    };
    let (content, behind) = after.split_at_checked(length)?;
    *rest = behind;
    Some((tag, content))
}

/// `YYMMDDhhmmssZ`, of which the years are 1950 to 2049, or the same with four digits of the year (RFC 5280, 4.1.2.5).
fn time((tag, text): (u8, &[u8])) -> Option<UnixNanos> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match tag {
        UTC_TIME if text.get(..2)?.parse::<u8>().ok()? < 50 => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let moment = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    let moment = moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    // Beyond what a moment can be written as is for ever, or has always been.
    let nanos = moment.as_nanosecond().clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    i64::try_from(nanos).ok().map(UnixNanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_certificate_are_those_it_was_made_with() {
        for (from, until) in [((2019, 1, 2), (2020, 3, 4)), ((1999, 12, 31), (2150, 6, 1))] {
            let mut made = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            made.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
            made.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
            let certificate = made.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            let validity = Validity::of(certificate.der()).unwrap();
            let shown = |(year, month, day)| format!("{year}-{month:02}-{day:02}T00:00:00Z");
            assert_eq!((validity.from.to_string(), validity.until.to_string()), (shown(from), shown(until)));
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_times() {
        for bytes in [&b""[..], b"0", b"\x30\x03abc", b"\x30\x84\xff\xff\xff\xff", b"\x30\x80\x30\x80"] {
            assert_eq!(Validity::of(bytes), None);
        }
    }
}
