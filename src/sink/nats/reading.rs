//! Reading a span of events back from the stream, a few at a time.

use std::ops::Range;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use futures_util::StreamExt as _;

use super::connection::{Connection, chain};
use super::message::Stamp;
use super::stream::{Target, end_of, refused, unanswered};
use crate::clock::UnixNanos;
use crate::journal::Offset;
use crate::sink::{Opening, StoreError, StoredPayload, StoredRow};

/// Bytes asked for at a time, by the average size of the stream's messages.
const READ_BYTES: u64 = 8 << 20;

/// The most messages asked for at a time.
const READ_MESSAGES_MAX: u64 = 512;

/// The longest wait for what was asked for.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The server forgets a reader that has not asked for so long.
const READER_FORGOTTEN: Duration = Duration::from_mins(1);

/// Gives all events of `span` that the stream has to `take`, in order.
pub(super) async fn read_back(
    connection: &Connection,
    context: &Context,
    target: &Target,
    opening: &Opening,
    span: Range<Offset>,
    take: &mut (dyn FnMut(StoredRow<'_>) + Send),
) -> Result<(), StoreError> {
    let Some(stream) = target.find(connection, context).await? else { return Ok(()) };
    let state = stream.cached_info().state.clone();
    if state.messages == 0 || span.is_empty() {
        return Ok(());
    }
    let sequences = state.first_sequence..state.last_sequence + 1;
    let first = first_at(connection, &stream, opening, sequences, span.start).await?;
    if first > state.last_sequence {
        return Ok(());
    }
    let at_a_time = READ_BYTES / (state.bytes / state.messages).max(1);
    let reader = Reader {
        connection,
        stream: &stream,
        opening,
        span,
        last: state.last_sequence,
        at_a_time: usize::try_from(at_a_time.clamp(1, READ_MESSAGES_MAX)).unwrap_or(1),
    };
    reader.read_from(first, take).await
}

struct Reader<'a> {
    connection: &'a Connection,
    stream: &'a Stream,
    opening: &'a Opening,
    span: Range<Offset>,
    /// The stream's last sequence number when we began; what comes later is not waited for.
    last: u64,
    at_a_time: usize,
}

impl Reader<'_> {
    async fn read_from(&self, first: u64, take: &mut (dyn FnMut(StoredRow<'_>) + Send)) -> Result<(), StoreError> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: first },
            ack_policy: AckPolicy::None,
            inactive_threshold: READER_FORGOTTEN,
            memory_storage: true,
            ..pull::Config::default()
        };
        let consumer: PullConsumer =
            self.connection.ask(self.stream.create_consumer(config)).await?.map_err(|error| self.failed(&error))?;
        let mut seen = 0;
        while !self.read_some(&consumer, &mut seen, take).await? {}
        // The server would forget it by itself.
        self.connection.ask(self.stream.delete_consumer(&consumer.cached_info().name)).await?.ok();
        Ok(())
    }

    /// Asks for some messages and gives them on. Whether these were the last.
    async fn read_some(
        &self,
        consumer: &PullConsumer,
        seen: &mut u64,
        take: &mut (dyn FnMut(StoredRow<'_>) + Send),
    ) -> Result<bool, StoreError> {
        let asked = consumer.batch().max_messages(self.at_a_time).expires(READ_TIMEOUT).messages();
        let mut messages = self.connection.ask(asked).await?.map_err(|error| self.failed(&error))?;
        let mut some = false;
        while let Some(message) = self.connection.ask(messages.next()).await? {
            let message = message.map_err(|error| StoreError::Unavailable(format!("reading back: {error}")))?;
            let place = message.info().map_err(|error| StoreError::Unavailable(format!("reading back: {error}")))?;
            some = true;
            *seen += 1;
            if place.consumer_sequence != *seen {
                return Err(StoreError::Unavailable("reading back: messages were lost on the way; try again".into()));
            }
            if place.stream_sequence > self.last {
                return Ok(true);
            }
            let stamp = stamp(message.headers.as_ref(), place.stream_sequence)?;
            let end = end_of(self.opening.journal, &self.opening.ancestors, stamp.journal);
            if end.is_some_and(|end| stamp.offset < end) {
                if stamp.offset >= self.span.end {
                    return Ok(true);
                }
                if stamp.offset >= self.span.start {
                    take(StoredRow {
                        offset: stamp.offset,
                        monitor: &stamp.monitor,
                        received: stamp.received.unwrap_or(UnixNanos(0)),
                        payload: StoredPayload::Raw(&message.payload),
                    });
                }
            }
            if place.stream_sequence == self.last || place.pending == 0 {
                return Ok(true);
            }
        }
        if some {
            return Ok(false);
        }
        Err(StoreError::Unavailable(format!("{} gives nothing back for {READ_TIMEOUT:?}", self.connection.shown())))
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static)) -> StoreError {
        StoreError::Unavailable(format!("{}: reading back: {}", self.connection.shown(), chain(error)))
    }
}

/// The first sequence number whose event has the offset `from` or a later one: a search by halves, since offsets grow with
/// sequence numbers.
async fn first_at(
    connection: &Connection,
    stream: &Stream,
    opening: &Opening,
    mut sequences: Range<u64>,
    from: Offset,
) -> Result<u64, StoreError> {
    if from == Offset::ZERO {
        return Ok(sequences.start);
    }
    while !sequences.is_empty() {
        let middle = sequences.start + (sequences.end - sequences.start) / 2;
        let asked = stream.raw_message_builder().sequence(middle).next_by_subject(">").send();
        match connection.ask(asked).await? {
            Ok(message) => {
                let stamp = stamp(Some(&message.headers), message.sequence)?;
                // What an ancestor had beyond its end counts as its end: so the order is kept.
                let end = end_of(opening.journal, &opening.ancestors, stamp.journal);
                if end.is_none_or(|end| stamp.offset.min(end) >= from) {
                    sequences.end = middle;
                } else {
                    sequences.start = message.sequence + 1;
                }
            }
            Err(error) => match error.kind() {
                // Those from the middle on have gone meanwhile.
                RawMessageErrorKind::NoMessageFound => sequences.end = middle,
                RawMessageErrorKind::JetStream(error) => return Err(refused(connection, &error)),
                _ => return Err(unanswered(connection, &error)),
            },
        }
    }
    Ok(sequences.start)
}

fn stamp(headers: Option<&async_nats::HeaderMap>, sequence: u64) -> Result<Stamp, StoreError> {
    headers.and_then(Stamp::read).ok_or_else(|| {
        StoreError::Stop(format!(
            "message {sequence} of the stream is none of this sink's, which must have the stream for itself: remove the message \
             (`nats stream rmm`) and whoever publishes such"
        ))
    })
}
