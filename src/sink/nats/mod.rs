//! The store `nats`: a stream of NATS JetStream that belongs to this sink alone.
//!
//! | file         | is                                                                                 |
//! |--------------|------------------------------------------------------------------------------------|
//! | `connection` | one connection, given up at the first sign of trouble                              |
//! | `stream`     | the stream: created or checked; what it says of how far the sink is                |
//! | `message`    | an event as a message, and back                                                    |
//! | `subject`    | the subjects published to                                                          |
//! | `escape`     | texts in subjects and headers                                                      |
//! | `pipeline`   | publishing with acknowledgements in flight, each message in the place it must have |
//! | `parked`     | events that the server will never take                                             |
//! | `reading`    | reading a span back                                                                |
//!
//! There is no cursor beside the messages: the last message of the stream is the cursor, so the two cannot disagree. docs/sinks.md
//! says what operators can rely on.

mod connection;
mod escape;
mod message;
mod parked;
mod pipeline;
mod reading;
mod stream;
mod subject;
mod trial;

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::jetstream::Context;
use tokio::time::Instant;

use super::batch::{Batch, Parked};
use super::store::{Opening, Purpose, Store, StoreError, StoreFigures, StoredRow};
use crate::config::{Settings, SinkSettings};
use crate::journal::{JournalId, Offset};
use connection::{Access, Connection};
use message::{Author, Limits};
use parked::ParkedFile;
use pipeline::Pipeline;
use stream::{Position, Target};
use subject::SubjectTemplate;

/// The longest wait for an acknowledgement, where half the sink's `timeout` is not less. A cluster takes some seconds to choose
/// a new leader.
const ACK_TIMEOUT_MAX: Duration = Duration::from_secs(15);

/// How often the stream is asked for its size.
const SIZE_INTERVAL: Duration = Duration::from_secs(10);

/// The store `nats`.
#[derive(Debug)]
pub struct NatsStore {
    sink: String,
    access: Access,
    target: Target,
    /// The sink's folder in the data folder.
    state: PathBuf,
    ack_timeout: Duration,
    /// None: not open, or in the middle of a write that may have been given up.
    open: Option<Open>,
    /// As it was after the last write; outlives a loss of the connection.
    position: Option<Position>,
    bytes: Option<u64>,
}

/// Ready to publish.
#[derive(Debug)]
struct Open {
    journal: JournalId,
    pipeline: Pipeline,
    context: Context,
    target: Target,
    author: Author,
    limits: Limits,
    /// The stream's last sequence number.
    sequence: u64,
    /// The cursor when it was opened.
    opened_at: Offset,
    /// The cursor.
    next: Offset,
    parked: Option<ParkedFile>,
    parked_path: PathBuf,
    size_asked: Instant,
}

impl NatsStore {
    /// As the settings say. Nothing is touched yet.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn new(name: &str, sink: &SinkSettings, settings: &Settings) -> Result<Self, StoreError> {
        let subjects = match &sink.subject {
            Some(template) => SubjectTemplate::parse(template)
                .map_err(|fault| StoreError::Stop(format!("sinks.{name}.subject = \"{template}\": {fault}")))?,
            None => SubjectTemplate::of_sink(name),
        };
        let stream = sink.stream.clone().unwrap_or_else(|| default_stream(name));
        check_stream_name(&stream)
            .map_err(|fault| StoreError::Stop(format!("sinks.{name}.stream = \"{stream}\": {fault}")))?;
        Ok(Self {
            sink: name.to_owned(),
            access: Access::new(name, sink)?,
            target: Target::of_sink(name, stream, subjects),
            state: settings.daemon.data_dir.join("sinks").join(name),
            ack_timeout: (sink.timeout / 2).min(ACK_TIMEOUT_MAX),
            open: None,
            position: None,
            bytes: None,
        })
    }

    /// Where to, for this purpose.
    fn target(&self, purpose: &Purpose) -> Result<Target, StoreError> {
        match purpose {
            Purpose::Live | Purpose::Inspect => Ok(self.target.clone()),
            Purpose::Replay { to: None, .. } => Err(StoreError::Stop(format!(
                "the sink `{}` is a stream, and a replay goes only into an empty one: name it with `--to STREAM`",
                self.sink
            ))),
            Purpose::Replay { id, to: Some(to) } => {
                check_stream_name(to).map_err(|fault| StoreError::Stop(format!("--to {to}: {fault}")))?;
                let mut prefix = "sluice.replay.".to_owned();
                escape::token(to, &mut prefix);
                let subjects = self.target.subjects.moved_to(prefix);
                Ok(Target::of_replay(id, &self.sink, to.clone(), subjects))
            }
        }
    }

    /// Where rows are put aside. A replay has a file of its own: it runs beside the live sink.
    fn parked_path(&self, purpose: &Purpose) -> PathBuf {
        match purpose {
            Purpose::Live | Purpose::Inspect => self.state.join("parked.jsonl"),
            Purpose::Replay { id, .. } => {
                let mut name = "parked-".to_owned();
                escape::token(id, &mut name);
                // The one character that a token may have and a file's name may not.
                self.state.join(name.replace('/', "%2F") + ".jsonl")
            }
        }
    }

    /// A connection: the one that is there, if it is of any use.
    async fn connection(&mut self) -> Result<Connection, StoreError> {
        let there = self.open.as_ref().and_then(|open| open.pipeline.healthy()).cloned();
        if let Some(connection) = there {
            return Ok(connection);
        }
        // First the old one ends, so that the server has to do with one of us.
        self.open = None;
        self.access.connect(pipeline::ACKS_MAX).await
    }
}

impl Store for NatsStore {
    async fn open(&mut self, opening: &Opening) -> Result<Option<Offset>, StoreError> {
        let target = self.target(&opening.purpose)?;
        let connection = self.connection().await?;
        self.open = None;
        let context = async_nats::jetstream::new(connection.client.clone());
        let found = target.look(&connection, &context).await?;
        // What this process knows is newer than any checkpoint.
        let checkpoint = opening.known_sequence.zip(opening.known_next);
        let known = self.position.or(checkpoint.map(|(sequence, next)| Position { sequence, next: Some(next) }));
        let settled = stream::settle(&target.stream, opening, found.as_ref(), known)?;
        if opening.purpose == Purpose::Inspect {
            return Ok(settled.cursor);
        }
        let found = if let Some(found) = found {
            found
        } else {
            target.create(&connection, &context).await?;
            tracing::info!(sink = self.sink, stream = target.stream, "stream created");
            target.look(&connection, &context).await?.ok_or_else(|| {
                StoreError::Unavailable(format!("stream {} was created and is not there", target.stream))
            })?
        };
        if found.last_sequence != settled.sequence {
            return Err(StoreError::Moved(format!("somebody publishes to stream {}", target.stream)));
        }
        let next = settled.cursor.unwrap_or(Offset::ZERO);
        self.bytes = Some(found.bytes);
        self.position = Some(Position { sequence: found.last_sequence, next: settled.cursor });
        self.open = Some(Open {
            journal: opening.journal,
            author: Author::new(opening, target.subjects.clone()),
            limits: Limits { server: connection.client.max_payload(), stream: found.message_max },
            pipeline: Pipeline::new(connection, self.ack_timeout).await?,
            context,
            target,
            sequence: found.last_sequence,
            opened_at: next,
            next,
            parked: None,
            parked_path: self.parked_path(&opening.purpose),
            size_asked: Instant::now(),
        });
        Ok(settled.cursor)
    }

    async fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        // Taken out while it is in use: whoever drops this future has to open the store again.
        let Some(mut open) = self.open.take() else {
            return Err(StoreError::Moved("the stream is not open".into()));
        };
        // The stream may have taken a part of a batch before it refused the rest. What it has is never published again.
        if batch.from() < open.next {
            return Err(StoreError::Moved(format!(
                "the stream has the events up to {}, and was given those from {} on",
                open.next,
                batch.from()
            )));
        }
        if let Some(refused) = pipeline::refused(&open.author, &open.limits, batch) {
            self.open = Some(open);
            return Err(refused);
        }
        // Before the events behind them are published, since these move the cursor.
        open.park(batch.parked()).await?;
        open.sequence = open.pipeline.publish((&open.author, &open.limits), batch, open.sequence).await?;
        open.next = batch.to();
        self.position = Some(Position { sequence: open.sequence, next: Some(open.next) });
        if open.size_asked.elapsed() >= SIZE_INTERVAL {
            self.bytes = open.size().await.or(self.bytes);
        }
        self.open = Some(open);
        Ok(())
    }

    async fn close(&mut self, _complete: bool) -> Result<(), StoreError> {
        // All that was published is acknowledged, and a replay's place is in its stream: there is nothing to finish.
        self.open = None;
        Ok(())
    }

    async fn read_back(
        &mut self,
        opening: &Opening,
        span: Range<Offset>,
        take: &mut (dyn FnMut(StoredRow<'_>) + Send),
    ) -> Result<(), StoreError> {
        let target = self.target(&opening.purpose)?;
        // One of its own: what is read here must not stand before acknowledgements.
        let connection = self.access.connect(pipeline::ACKS_MAX).await?;
        let context = async_nats::jetstream::new(connection.client.clone());
        reading::read_back(&connection, &context, &target, opening, span, take).await
    }

    async fn parked(&mut self, opening: &Opening, limit: usize) -> Result<Vec<Parked>, StoreError> {
        let path = self.parked_path(&opening.purpose);
        let (at, journal, ancestors) = (path.clone(), opening.journal, opening.ancestors.clone());
        blocking(move || parked::read(&at, journal, &ancestors, limit)).await.map_err(|error| unparked(&path, &error))
    }

    fn figures(&self) -> StoreFigures {
        StoreFigures { files: None, bytes: self.bytes, sequence: self.position.map(|position| position.sequence) }
    }
}

impl Open {
    /// Puts events aside, so that it outlives a crash.
    async fn park(&mut self, rows: &[Parked]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let (file, journal, cursor) = (self.parked.take(), self.journal, self.opened_at);
        let (rows, at) = (rows.to_vec(), self.parked_path.clone());
        let parked = blocking(move || {
            let mut file = match file {
                Some(file) => file,
                None => ParkedFile::open(&at, journal, cursor)?,
            };
            file.append(journal, &rows)?;
            Ok(file)
        });
        self.parked = Some(parked.await.map_err(|error| unparked(&self.parked_path, &error))?);
        Ok(())
    }

    /// Bytes of the stream. None: it did not say, and another time will do.
    async fn size(&mut self) -> Option<u64> {
        self.size_asked = Instant::now();
        let stream = self.target.find(self.pipeline.healthy()?, &self.context).await.ok()??;
        Some(stream.cached_info().state.bytes)
    }
}

/// Work on files, away from the asynchronous threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn unparked(path: &std::path::Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("the file of parked rows {}: {error}", path.display()))
}

/// `SLUICE_BUS` for the sink `bus`.
fn default_stream(sink: &str) -> String {
    let plain = |character: char| if character == '.' { '_' } else { character.to_ascii_uppercase() };
    format!("SLUICE_{}", sink.chars().map(plain).collect::<String>())
}

/// What every server takes as a stream's name, and its file system too.
fn check_stream_name(name: &str) -> Result<(), String> {
    const NAME_BYTES_MAX: usize = 255;
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!("a stream's name has 1 to {NAME_BYTES_MAX} characters"));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
        return Err("a stream's name has letters, digits, `_` and `-` only".into());
    }
    Ok(())
}
