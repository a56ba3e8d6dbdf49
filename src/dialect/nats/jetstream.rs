//! What the reply subject of a message tells that a JetStream consumer delivers.
//!
//! Source: "JetStream wire API reference", and ADR 15 of the NATS architecture: `$JS.ACK.` and then stream, consumer, deliveries, stream
//! sequence, consumer sequence, time in nanoseconds, pending; newer servers put domain and account before them, and may put
//! more behind.

/// Where a message stands in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivered<'a> {
    pub(super) stream: &'a str,
    pub(super) consumer: &'a str,
    /// How often it was delivered, this time included.
    pub(super) count: u64,
    pub(super) sequence: u64,
    /// Nanoseconds since 1970.
    pub(super) time: u64,
}

/// Whether an acknowledgement is waited for at this subject.
pub(super) fn wants_acknowledgement(reply: &str) -> bool {
    reply.starts_with("$JS.ACK.")
}

impl<'a> Delivered<'a> {
    pub(super) fn of(reply: &'a str) -> Option<Self> {
        let parts: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').take(12).collect();
        let parts = match parts.len() {
            7 => &parts[..],
            9.. => &parts[2..9],
            _ => return None,
        };
        let number = |at: usize| parts[at].parse::<u64>().ok();
        Some(Self { stream: parts[0], consumer: parts[1], count: number(2)?, sequence: number(3)?, time: number(5)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_reply_subject_are_known() {
        let expected =
            Delivered { stream: "S", consumer: "C", count: 2, sequence: 17, time: 1_700_000_000_000_000_001 };
        for reply in [
            "$JS.ACK.S.C.2.17.5.1700000000000000001.0",
            "$JS.ACK._.acc.S.C.2.17.5.1700000000000000001.0",
            "$JS.ACK.hub.acc.S.C.2.17.5.1700000000000000001.0.rnd",
        ] {
            assert_eq!(Delivered::of(reply), Some(expected), "{reply}");
        }
        for reply in ["$JS.ACK.S.C.2", "_INBOX.x", "$JS.ACK.S.C.x.17.5.1.0", ""] {
            assert_eq!(Delivered::of(reply), None, "{reply}");
        }
    }
}
