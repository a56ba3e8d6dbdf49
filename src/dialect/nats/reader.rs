//! Reads the lines of the NATS protocol as they come, cut anywhere.

/// The longest line. Source: a server's `max_control_line` is 4 KiB by default; INFO lists all servers of a cluster.
const LINE_BYTES_MAX: usize = 1 << 20;

/// One thing that a server said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    Info(&'a str),
    Message(Delivery<'a>),
    Ping,
    Pong,
    Ok,
    Error(&'a str),
}

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivery<'a> {
    pub(super) subject: &'a str,
    pub(super) sid: &'a str,
    pub(super) reply: Option<&'a str>,
    /// From `NATS/1.0` to the empty line; empty where it has none.
    pub(super) headers: &'a [u8],
    pub(super) payload: &'a [u8],
}

/// What can be read of the front of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Front<'a> {
    /// Something whole, and how many bytes it takes.
    Said(Said<'a>, usize),
    /// Nothing whole yet; so many bytes are needed at least.
    More(usize),
    /// A message that is longer than may be.
    TooLong,
    /// Something that is not of the protocol.
    Broken(&'static str),
}

/// Reads what is at the front. A message with its headers has at most so many bytes; a server's `max_payload` is 1 MiB by
/// default.
pub(super) fn read(bytes: &[u8], message_bytes_max: usize) -> Front<'_> {
    let Some(end) = memchr::memchr(b'\n', &bytes[..bytes.len().min(LINE_BYTES_MAX)]) else {
        return if bytes.len() >= LINE_BYTES_MAX {
            Front::Broken("a line does not end")
        } else {
            Front::More(bytes.len() + 1)
        };
    };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    let Ok(line) = std::str::from_utf8(line) else { return Front::Broken("a line is not UTF-8") };
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let rest = rest.trim();
    let said = if word.eq_ignore_ascii_case("MSG") || word.eq_ignore_ascii_case("HMSG") {
        return read_message(bytes, end + 1, rest, word.len() == 4, message_bytes_max);
    } else if word.eq_ignore_ascii_case("INFO") {
        Said::Info(rest)
    } else if word.eq_ignore_ascii_case("PING") {
        Said::Ping
    } else if word.eq_ignore_ascii_case("PONG") {
        Said::Pong
    } else if word.eq_ignore_ascii_case("+OK") {
        Said::Ok
    } else if word.eq_ignore_ascii_case("-ERR") {
        Said::Error(rest.trim_matches('\''))
    } else {
        return Front::Broken("a line begins with no word of the protocol");
    };
    Front::Said(said, end + 1)
}

/// `subject sid [reply] [header bytes] bytes`, and behind the line so many bytes.
fn read_message<'a>(
    bytes: &'a [u8],
    body: usize,
    line: &'a str,
    with_headers: bool,
    message_bytes_max: usize,
) -> Front<'a> {
    const MALFORMED: Front<'static> = Front::Broken("the line of a message is malformed");
    let words: Vec<&str> = line.split_ascii_whitespace().take(6).collect();
    let numbers = 1 + usize::from(with_headers);
    let (subject, sid, reply) = match words[..words.len().saturating_sub(numbers)] {
        [subject, sid] => (subject, sid, None),
        [subject, sid, reply] => (subject, sid, Some(reply)),
        _ => return MALFORMED,
    };
    let number = |at: usize| words[words.len() - at].parse::<usize>().ok();
    let (Some(total), Some(headers)) = (number(1), if with_headers { number(2) } else { Some(0) }) else {
        return MALFORMED;
    };
    if total > message_bytes_max {
        return Front::TooLong;
    }
    if headers > total {
        return MALFORMED;
    }
    let end = body + total;
    // One byte more tells whether it ends where its line says.
    let Some(message) = bytes.get(body..end) else { return Front::More(end + 1) };
    match bytes[end..] {
        [b'\r', b'\n', ..] => {
            let (headers, payload) = message.split_at(headers);
            Front::Said(Said::Message(Delivery { subject, sid, reply, headers, payload }), end + 2)
        }
        [] => Front::More(end + 1),
        [b'\r'] => Front::More(end + 2),
        _ => Front::Broken("a message does not end where its line says"),
    }
}

/// Headers by name and value, and the status that their first line may have.
pub(super) fn headers(block: &[u8]) -> (Option<&str>, impl Iterator<Item = (&str, &str)>) {
    let text = std::str::from_utf8(block).unwrap_or_default();
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|first| first.strip_prefix("NATS/1.0")).map(str::trim);
    let members = lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim(), value.trim()));
    (status.filter(|status| !status.is_empty()), members)
}
