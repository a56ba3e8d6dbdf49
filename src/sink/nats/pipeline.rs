//! Publishing with acknowledgements in flight.
//!
//! Each message carries the sequence number that the last message of the stream must have, one more than the message before it.
//! So the server takes all of a batch in order, or a first part of it: behind a message that was lost, refused or not sent,
//! everything else is refused. A message that arrives late, when its place has been taken, is refused too.
//!
//! If somebody else publishes to the stream in the middle of a batch, our next message is refused, and the one behind it finds
//! the very sequence number that it expects. So each also carries the id of the message before it. The first over a connection
//! does not: the server knows the last id only as long as it neither restarts nor forgets it.
//!
//! Acknowledgements come in the order of the messages. One that is missing (the next one comes first, or none comes) ends
//! the batch like a refusal: nothing more is published, what is in flight is waited for, and the store is opened again, which
//! reads in the stream itself how far it came.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::{StatusCode, Subscriber};
use futures_util::{FutureExt as _, StreamExt as _};
use serde::Deserialize;

use super::connection::Connection;
use super::message::{Author, Limits, Message};
use crate::crash_point::crash_point;
use crate::journal::{Event, Offset};
use crate::sink::{Batch, StoreError};

/// The most messages in flight. Source: the client for Go has the same limit by default for asynchronous publishing.
const IN_FLIGHT_MESSAGES: usize = 4096;

/// The most bytes of payload in flight; one larger message goes alone. A guess: what a server takes in 10 ms.
const IN_FLIGHT_BYTES: usize = 8 << 20;

/// The most acknowledgements that may wait for us.
pub(super) const ACKS_MAX: usize = 2 * IN_FLIGHT_MESSAGES;

/// The longest that what is in flight is waited for when a batch has failed already.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// A stream, with a place to take its acknowledgements.
#[derive(Debug)]
pub(super) struct Pipeline {
    connection: Connection,
    /// Acknowledgements of all messages that went over this connection.
    acks: Subscriber,
    inbox: String,
    /// Of the last message published over this connection.
    last_id: Option<String>,
    /// Messages that were ever published over this connection: the next one's place in the inbox.
    published: u64,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// The longest wait for an acknowledgement.
    ack_timeout: Duration,
}

#[derive(Debug)]
struct InFlight {
    /// Its place in the inbox.
    number: u64,
    /// The stream's sequence number that it will have.
    sequence: u64,
    offset: Offset,
    bytes: usize,
}

/// The server's answer to a message.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    seq: u64,
    #[serde(borrow)]
    error: Option<Refusal<'a>>,
}

#[derive(Deserialize)]
struct Refusal<'a> {
    code: u16,
    #[serde(default)]
    err_code: u64,
    #[serde(default, borrow)]
    description: std::borrow::Cow<'a, str>,
}

impl Pipeline {
    pub(super) async fn new(connection: Connection, ack_timeout: Duration) -> Result<Self, StoreError> {
        let inbox = connection.client.new_inbox();
        let acks = connection.ask(connection.client.subscribe(format!("{inbox}.*"))).await?;
        let acks = acks.map_err(|error| StoreError::Unavailable(format!("{}: {error}", connection.shown())))?;
        Ok(Self {
            connection,
            acks,
            inbox,
            last_id: None,
            published: 0,
            in_flight: VecDeque::with_capacity(IN_FLIGHT_MESSAGES),
            in_flight_bytes: 0,
            ack_timeout,
        })
    }

    /// Publishes events behind the message `last_sequence`, and waits until the stream has them all. The sequence number of the
    /// last one.
    ///
    /// # Errors
    /// The stream has a first part of them; which, it says itself. After an error this is of no use any more.
    pub(super) async fn publish(
        &mut self,
        (author, limits): (&Author, &Limits),
        batch: &Batch,
        last_sequence: u64,
    ) -> Result<u64, StoreError> {
        debug_assert!(self.in_flight.is_empty(), "a batch ends with nothing in flight, or with the pipeline");
        let published = self.publish_all((author, limits), batch, last_sequence).await;
        if published.is_err() {
            self.drain().await;
        }
        published
    }

    async fn publish_all(
        &mut self,
        (author, limits): (&Author, &Limits),
        batch: &Batch,
        mut sequence: u64,
    ) -> Result<u64, StoreError> {
        for (event, enriched) in batch.enriched_events() {
            let bytes = event.payload.len();
            while self.is_full(bytes) {
                self.take_ack().await?;
            }
            let message = author.write_enriched(&event, enriched, limits);
            let number = self.published;
            self.send(message, sequence, event.payload).await?;
            sequence += 1;
            self.in_flight.push_back(InFlight { number, sequence, offset: event.offset, bytes });
            self.in_flight_bytes += bytes;
            crash_point!("nats.published");
            self.take_what_is_there()?;
        }
        crash_point!("nats.all_published");
        while !self.in_flight.is_empty() {
            self.take_ack().await?;
        }
        crash_point!("nats.acknowledged");
        Ok(sequence)
    }

    /// The connection, if it is of any use still.
    pub(super) fn healthy(&self) -> Option<&Connection> {
        (self.in_flight.is_empty() && !self.connection.is_broken()).then_some(&self.connection)
    }

    fn is_full(&self, bytes: usize) -> bool {
        self.in_flight.len() >= IN_FLIGHT_MESSAGES
            || (!self.in_flight.is_empty() && self.in_flight_bytes + bytes > IN_FLIGHT_BYTES)
    }

    /// Hands a message to the client.
    async fn send(&mut self, mut message: Message, last_sequence: u64, payload: &[u8]) -> Result<(), StoreError> {
        let reply = format!("{}.{}", self.inbox, self.published);
        self.published += 1;
        let subject = std::mem::take(&mut message.subject);
        let id = std::mem::take(&mut message.id);
        let headers = message.expecting(last_sequence, self.last_id.as_deref());
        self.last_id = Some(id);
        let mut sending = std::pin::pin!(self.connection.client.publish_with_reply_and_headers(
            subject,
            reply,
            headers,
            payload.to_vec().into()
        ));
        // Nearly always there is room.
        let sent = if let Some(sent) = (&mut sending).now_or_never() {
            sent
        } else {
            tokio::select! {
                biased;
                sent = sending => sent,
                trouble = self.connection.broken() => return Err(trouble),
                () = tokio::time::sleep(self.ack_timeout) => {
                    return Err(StoreError::Unavailable(format!(
                        "{} has taken nothing for {:?}",
                        self.connection.shown(),
                        self.ack_timeout
                    )));
                }
            }
        };
        sent.map_err(|error| StoreError::Unavailable(format!("{}: {error}", self.connection.shown())))
    }

    /// Takes the acknowledgements that have come.
    fn take_what_is_there(&mut self) -> Result<(), StoreError> {
        while let Some(Some(answer)) = self.acks.next().now_or_never() {
            self.acknowledged(&answer)?;
        }
        Ok(())
    }

    /// Waits for the next acknowledgement.
    async fn take_ack(&mut self) -> Result<(), StoreError> {
        let answer = if let Some(answer) = self.acks.next().now_or_never() {
            answer
        } else {
            tokio::select! {
                biased;
                answer = self.acks.next() => answer,
                trouble = self.connection.broken() => return Err(trouble),
                () = tokio::time::sleep(self.ack_timeout) => {
                    return Err(StoreError::Unavailable(format!(
                        "{} has acknowledged nothing for {:?}; {} messages were in flight",
                        self.connection.shown(),
                        self.ack_timeout,
                        self.in_flight.len()
                    )));
                }
            }
        };
        match answer {
            Some(answer) => self.acknowledged(&answer),
            None => Err(self.connection.broken().await),
        }
    }

    /// Holds an answer against the oldest message in flight.
    fn acknowledged(&mut self, answer: &async_nats::Message) -> Result<(), StoreError> {
        let number = answer.subject.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
        let Some(oldest) = self.in_flight.pop_front() else {
            return Err(StoreError::Moved("an acknowledgement came for nothing that is in flight".into()));
        };
        self.in_flight_bytes -= oldest.bytes;
        if number != Some(oldest.number) {
            return Err(StoreError::Moved(format!("the acknowledgement of event {} was lost", oldest.offset)));
        }
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(StoreError::Moved(format!("no stream takes the subject of event {}", oldest.offset)));
        }
        let said: Answer<'_> = serde_json::from_slice(&answer.payload).map_err(|error| {
            StoreError::Moved(format!("the acknowledgement of event {} cannot be read: {error}", oldest.offset))
        })?;
        match said.error {
            Some(refusal) => Err(refusal.meaning(oldest.offset)),
            // One that the server knows by its id stands where it stood before. That may be the very place: then an earlier
            // attempt, given up by us, has come through.
            None if said.seq != oldest.sequence => Err(StoreError::Moved(format!(
                "event {} is message {} of the stream and not {}: it was published before",
                oldest.offset, said.seq, oldest.sequence
            ))),
            None => Ok(()),
        }
    }

    /// Waits for what is in flight, whatever the answers are, so that it does not come between when the stream is asked.
    async fn drain(&mut self) {
        let Some(last) = self.in_flight.back().map(|last| last.number) else { return };
        let all = async {
            while let Some(answer) = self.acks.next().await {
                if answer.subject.rsplit('.').next().and_then(|number| number.parse().ok()) >= Some(last) {
                    break;
                }
            }
        };
        tokio::select! {
            () = all => {}
            _ = self.connection.broken() => {}
            () = tokio::time::sleep(DRAIN_TIMEOUT) => {}
        }
        self.in_flight.clear();
    }
}

/// The first event of a batch that the server will never take, if there is one. To be asked before anything of the batch is
/// published, so that it is refused as a whole.
pub(super) fn refused(author: &Author, limits: &Limits, batch: &Batch) -> Option<StoreError> {
    batch.events().find_map(|event| refusal(author, limits, &event))
}

fn refusal(author: &Author, limits: &Limits, event: &Event<'_>) -> Option<StoreError> {
    let len = |text: Option<std::borrow::Cow<'_, str>>| text.map_or(0, |text| text.len());
    let texts = event.monitor.len() + event.domain.len() + event.topic.len() + len(event.key()) + len(event.id());
    if limits.surely_admit(texts, event.payload.len()) {
        return None;
    }
    let reason = author.write(event).refusal(event.payload.len(), limits)?;
    Some(StoreError::Refused { reason, offset: Some(event.offset) })
}

impl Refusal<'_> {
    /// What the server's refusal of a message means.
    fn meaning(&self, offset: Offset) -> StoreError {
        let said = format!("{} (error {})", self.description, self.err_code);
        match ErrorCode(self.err_code) {
            ErrorCode::STREAM_WRONG_LAST_SEQUENCE | ErrorCode::STREAM_WRONG_LAST_MESSAGE_ID => {
                StoreError::Moved(format!("the stream does not end where it was left: {said}"))
            }
            ErrorCode::STREAM_STORE_FAILED => StoreError::Unavailable(format!(
                "the stream takes no more: {said}; raise its limits (`nats stream edit`), let it discard old messages, or remove some"
            )),
            ErrorCode::STREAM_SEALED | ErrorCode::STREAM_NOT_MATCH => {
                StoreError::Stop(format!("the stream cannot be published to: {said}; give the sink another `stream`"))
            }
            // Not this message but the server: it has no room, no leader, no storage.
            _ if self.code >= 500 => StoreError::Unavailable(format!("the server cannot store event {offset}: {said}")),
            _ => StoreError::Refused { reason: format!("the server says: {said}"), offset: Some(offset) },
        }
    }
}
