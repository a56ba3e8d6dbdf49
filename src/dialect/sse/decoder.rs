//! Reads `text/event-stream` as it comes, cut anywhere.
//!
//! Source: the section "Server-sent events" of the HTML standard.

use std::time::Duration;

/// A longer id is none: it has to fit into a header of a request.
const ID_BYTES_MAX: usize = 8 << 10;

/// The longest wait that a stream may ask for is bounded elsewhere; this bounds the number.
const RETRY_DIGITS_MAX: usize = 15;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// A line for nobody, which keeps the connection open.
    Comment,
    /// An event; `name` is `message` where none was given.
    Event { name: &'a str, data: &'a [u8] },
    /// An event without data: whatever else it said was noted.
    Empty,
    /// How long to wait before asking again after a loss.
    Retry(Duration),
}

/// A stream being read.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about what was read last")]
pub(super) struct Decoder {
    /// The most that is kept of an event that has not ended.
    event_bytes_max: usize,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The last line ended with CR: a LF that follows belongs to it.
    after_cr: bool,
    /// Whether anything was read; a byte order mark may only be at the very beginning.
    begun: bool,
    data: Vec<u8>,
    has_data: bool,
    name: String,
    /// Whether the event said anything at all.
    touched: bool,
    /// The last id that was set, by an event that has ended or not.
    id: Vec<u8>,
    /// The last id of an event that has ended.
    last_id: Option<Vec<u8>>,
}

/// An event longer than may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Decoder {
    pub(super) fn new(event_bytes_max: usize) -> Self {
        Self {
            event_bytes_max,
            line: Vec::new(),
            after_cr: false,
            begun: false,
            data: Vec::new(),
            has_data: false,
            name: String::new(),
            touched: false,
            id: Vec::new(),
            last_id: None,
        }
    }

    /// The id by which the stream can be taken up behind the last event.
    pub(super) fn last_id(&self) -> Option<&[u8]> {
        self.last_id.as_deref().filter(|id| !id.is_empty())
    }

    /// Reads a piece of the stream.
    pub(super) fn read(&mut self, mut piece: &[u8], mut take: impl FnMut(Item<'_>, &Self)) -> Result<(), TooLong> {
        while !piece.is_empty() {
            if std::mem::take(&mut self.after_cr) && piece[0] == b'\n' {
                piece = &piece[1..];
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', piece) else {
                if self.line.len() + self.data.len() + piece.len() > self.event_bytes_max {
                    return Err(TooLong);
                }
                self.line.extend_from_slice(piece);
                return Ok(());
            };
            self.after_cr = piece[end] == b'\r';
            if self.line.len() + self.data.len() + end > self.event_bytes_max {
                return Err(TooLong);
            }
            if self.line.is_empty() {
                self.line(&piece[..end], &mut take);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&piece[..end]);
                self.line(&line, &mut take);
                line.clear();
                self.line = line;
            }
            piece = &piece[end + 1..];
        }
        Ok(())
    }

    fn line(&mut self, mut line: &[u8], take: &mut impl FnMut(Item<'_>, &Self)) {
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(take);
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(0) => return take(Item::Comment, self),
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => String::from_utf8_lossy(value).as_ref().clone_into(&mut self.name),
            b"id" if value.len() <= ID_BYTES_MAX && !value.contains(&0) => value.clone_into(&mut self.id),
            b"retry" if (1..=RETRY_DIGITS_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_digit) => {
                let digits = std::str::from_utf8(value).unwrap_or_default();
                take(Item::Retry(Duration::from_millis(digits.parse().unwrap_or(u64::MAX))), self);
            }
            _ => {}
        }
        self.touched = true;
    }

    fn dispatch(&mut self, take: &mut impl FnMut(Item<'_>, &Self)) {
        if !std::mem::take(&mut self.touched) {
            return;
        }
        if !self.id.is_empty() {
            self.last_id = Some(self.id.clone());
        }
        if std::mem::take(&mut self.has_data) {
            let (mut data, name) = (std::mem::take(&mut self.data), std::mem::take(&mut self.name));
            let named = if name.is_empty() { "message" } else { &name };
            take(Item::Event { name: named, data: &data }, self);
            data.clear();
            self.data = data;
        } else {
            self.name.clear();
            take(Item::Empty, self);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a stream says, its pieces cut at `at`.
    fn read(stream: &[u8], at: usize) -> Vec<String> {
        let mut decoder = Decoder::new(1 << 20);
        let mut said = Vec::new();
        let (before, behind) = stream.split_at(at.min(stream.len()));
        for piece in [before, behind] {
            let mut note = |item: Item<'_>, decoder: &Decoder| {
                said.push(match item {
                    Item::Comment => "comment".to_owned(),
                    Item::Empty => "empty".to_owned(),
                    Item::Retry(wait) => format!("retry {wait:?}"),
                    Item::Event { name, data } => {
                        let id = decoder.last_id().map(String::from_utf8_lossy);
                        format!("{name} {} {:?}", id.as_deref().unwrap_or("-"), String::from_utf8_lossy(data))
                    }
                });
            };
            decoder.read(piece, &mut note).unwrap();
        }
        said
    }

    #[test]
    fn events_are_the_same_wherever_the_stream_is_cut_and_however_lines_end() {
        let stream = "\u{feff}:ok\n\nretry: 1500\nevent: add\ndata: a\ndata:  b\nid: [{\"o\":1}]\n\n\ndata\n\nid: 7\n\ndata: c\nid: x\0\n\nretry: 1x\ndata: unended";
        let expected = [
            "comment",
            "retry 1.5s",
            "add [{\"o\":1}] \"a\\n b\"",
            "message [{\"o\":1}] \"\"",
            "empty",
            "message 7 \"c\"",
        ];
        for ending in ["\n", "\r", "\r\n"] {
            let stream = stream.replace('\n', ending);
            for at in 0..=stream.len() {
                assert_eq!(read(stream.as_bytes(), at), expected, "{ending:?} cut at {at}");
            }
        }
    }

    #[test]
    fn an_event_that_does_not_end_is_given_up_before_it_takes_all_memory() {
        let mut decoder = Decoder::new(16 << 10);
        let piece = vec![b'x'; 1 << 10];
        let mut read = || decoder.read(&piece, |_, _| {});
        assert!((0..16).all(|_| read().is_ok()));
        assert_eq!(read(), Err(TooLong));
    }
}
