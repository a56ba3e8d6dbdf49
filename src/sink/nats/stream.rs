//! The stream: created or checked, and what it says of how far the sink is.
//!
//! A stream belongs to one sink. Whoever publishes to it by the rules of `pipeline` leaves a gapless prefix of what the sink
//! wants, so its last message is the cursor. Where that message has gone (expired, purged, deleted), sequence number and cursor
//! as they were known together decide; and where these do not fit either, a person.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, RawMessageErrorKind, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{Context, ErrorCode};

use super::connection::{Connection, chain};
use super::message::Stamp;
use super::subject::{SubjectTemplate, covers};
use crate::journal::{Ancestor, JournalId, Offset};
use crate::sink::{Opening, Purpose, StoreError};

/// The server remembers message ids for so long. The sequence numbers alone keep repeats out, however long an outage lasts; the
/// ids are for whoever copies the stream. So the memory that they cost the server may be small: at 100,000 events a second the
/// default of 2 minutes would be 12 million ids.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(1);

/// What descriptions of streams begin with that were created by sinks, and by replays.
const OWNER: &str = "sluice ";
const REPLAY: &str = "sluice replay ";

/// Which stream, and what goes into it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) stream: String,
    pub(super) subjects: SubjectTemplate,
    /// What the stream's description says of whose it is: `sluice sink bus`.
    owner: String,
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Of the last message that the stream ever took; 0: none.
    pub(super) last_sequence: u64,
    pub(super) bytes: u64,
    /// `max_msg_size`
    pub(super) message_max: usize,
    /// Of that message, where it is still there.
    pub(super) last: Last,
}

/// The last message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Last {
    /// There was none, or it has gone.
    Gone,
    Ours(Stamp),
    /// It has not the headers that ours have.
    Strange,
}

/// How far a sink was at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The stream's sequence number of the last message.
    pub(super) sequence: u64,
    /// The cursor; none as long as it had nothing.
    pub(super) next: Option<Offset>,
}

impl Target {
    /// For following the journal.
    pub(super) fn of_sink(sink: &str, stream: String, subjects: SubjectTemplate) -> Self {
        Self { stream, subjects, owner: format!("{OWNER}sink {sink}") }
    }

    /// For a replay.
    pub(super) fn of_replay(id: &str, sink: &str, stream: String, subjects: SubjectTemplate) -> Self {
        Self { stream, subjects, owner: format!("{REPLAY}{id} of sink {sink}") }
    }

    /// Looks at the stream. None: there is none.
    pub(super) async fn look(&self, connection: &Connection, context: &Context) -> Result<Option<Found>, StoreError> {
        let Some(stream) = self.find(connection, context).await? else { return Ok(None) };
        let info = stream.cached_info();
        self.check(&info.config)?;
        let last = last_message(connection, &stream, info).await?;
        Ok(Some(Found {
            last_sequence: info.state.last_sequence,
            bytes: info.state.bytes,
            message_max: usize::try_from(info.config.max_message_size)
                .ok()
                .filter(|&max| max > 0)
                .unwrap_or(usize::MAX),
            last,
        }))
    }

    /// The stream, as it is now. None: there is none.
    pub(super) async fn find(&self, connection: &Connection, context: &Context) -> Result<Option<Stream>, StoreError> {
        connection.ask(context.get_stream(&self.stream)).await?.map(Some).or_else(|error| match error.kind() {
            GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            GetStreamErrorKind::JetStream(error) => Err(refused(connection, &error)),
            _ => Err(unanswered(connection, &error)),
        })
    }

    /// Creates the stream.
    pub(super) async fn create(&self, connection: &Connection, context: &Context) -> Result<(), StoreError> {
        let config = Config {
            name: self.stream.clone(),
            description: Some(self.owner.clone()),
            subjects: vec![self.subjects.pattern()],
            storage: StorageType::File,
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            max_messages: -1,
            max_bytes: -1,
            max_messages_per_subject: -1,
            max_consumers: -1,
            max_message_size: -1,
            num_replicas: 1,
            duplicate_window: DUPLICATE_WINDOW,
            ..Config::default()
        };
        match connection.ask(context.create_stream(config)).await? {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.kind() {
                CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_SUBJECT_OVERLAP => {
                    StoreError::Stop(format!(
                        "stream {} cannot be created: another stream on {} takes subjects of `{}`; give the sink another \
                         `subject`, or the other stream (`nats stream subjects`) others",
                        self.stream,
                        connection.shown(),
                        self.subjects.pattern()
                    ))
                }
                CreateStreamErrorKind::JetStream(error) => refused(connection, &error),
                _ => unanswered(connection, &error),
            }),
        }
    }

    /// Whether a stream that is there can be a sink's.
    fn check(&self, config: &Config) -> Result<(), StoreError> {
        let wanted = self.subjects.pattern();
        // Of a replay's stream the messages tell whose it is.
        let other = config.description.as_deref().filter(|owner| {
            owner.starts_with(OWNER)
                && **owner != *self.owner
                && !(owner.starts_with(REPLAY) && self.owner.starts_with(REPLAY))
        });
        if let Some(other) = other {
            return Err(StoreError::Stop(format!(
                "stream {} belongs to another, as its description says (`{other}`), and a stream belongs to one sink: give the sink \
                 another `stream`, then `sluice sinks enable`",
                self.stream
            )));
        }
        let fault = if config.retention != RetentionPolicy::Limits {
            "its retention is not `limits`: messages would go as they are consumed, and with them the sink's place"
        } else if config.sealed {
            "it is sealed"
        } else if config.no_ack {
            "it acknowledges nothing (`no_ack`)"
        } else if config.mirror.is_some() || config.sources.as_ref().is_some_and(|sources| !sources.is_empty()) {
            "it copies messages from other streams, and a sink's stream must have nobody else's"
        } else if !config.subjects.iter().any(|subjects| covers(subjects, &wanted)) {
            return Err(StoreError::Stop(format!(
                "stream {} takes {} but not `{wanted}`, which this sink publishes to: `nats stream edit {} --subjects '{wanted}'`, \
                 or mend `subject` of the sink, then `sluice sinks enable`",
                self.stream,
                quoted(&config.subjects),
                self.stream,
            )));
        } else {
            return Ok(());
        };
        Err(StoreError::Stop(format!(
            "stream {} cannot be used: {fault}; mend it, or give the sink another `stream`, then `sluice sinks enable`",
            self.stream
        )))
    }
}

/// What opening comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) create: bool,
    /// Of the last message that the stream ever took.
    pub(super) sequence: u64,
    pub(super) cursor: Option<Offset>,
}

/// Reconciles what is there with what is known.
pub(super) fn settle(
    stream: &str,
    opening: &Opening,
    found: Option<&Found>,
    known: Option<Position>,
) -> Result<Settled, StoreError> {
    let sink = &opening.sink;
    let stop = |reason: String| Err(StoreError::Stop(reason));
    // Nothing that was known counts where a person has decided so.
    let known = known.filter(|_| !opening.anew);
    let choice = format!(
        "`sluice sinks enable {sink} --anew` goes on all the same: it creates what is missing, and publishes everything from the \
         earliest event on that the journal keeps"
    );
    let Some(found) = found else {
        return match known {
            Some(known) if known.sequence > 0 => stop(format!(
                "stream {stream} is gone, although {} messages were published to it{}; {choice}",
                known.sequence,
                known.next.map(|next| format!(", of events below offset {next}")).unwrap_or_default(),
            )),
            _ => Ok(Settled { create: true, sequence: 0, cursor: known.and_then(|known| known.next) }),
        };
    };
    let settled = |cursor| Ok(Settled { create: false, sequence: found.last_sequence, cursor });
    let here = known.filter(|known| known.sequence == found.last_sequence);
    match &found.last {
        Last::Ours(stamp) => {
            own(stream, opening, stamp)?;
            let cursor = cursor_of(opening, stamp).ok_or_else(|| {
                StoreError::Stop(format!(
                    "stream {stream} has events of another journal ({}), not of this one ({}): give the sink another `stream` and `subject`, or \
                     remove that one with `nats stream rm {stream}` and then `sluice sinks enable {sink} --anew`",
                    stamp.journal, opening.journal
                ))
            })?;
            // Behind the last message there may be events that were not wanted, or put aside.
            settled(Some(here.and_then(|here| here.next).map_or(cursor, |next| next.max(cursor))))
        }
        Last::Strange => stop(format!(
            "stream {stream} has messages that this sink has not published, and it must have the stream for itself: give the sink \
             another `stream` or `subject`, or remove that stream with `nats stream rm {stream}`, then `sluice sinks enable {sink} --anew`"
        )),
        Last::Gone => match here {
            Some(here) => settled(here.next),
            None if known.is_none() && (found.last_sequence == 0 || opening.anew) => settled(None),
            None if found.last_sequence == 0 => {
                let known = known.map_or(0, |known| known.sequence);
                stop(format!(
                    "stream {stream} was made anew: it is empty, although {known} messages were published to it; {choice}"
                ))
            }
            None => stop(format!(
                "the last message of stream {stream} (sequence {}) has expired or was removed, and {}, so it cannot be told which \
                 events the stream has had; {choice}",
                found.last_sequence,
                known.map_or("no checkpoint remembers this sink".into(), |known| format!(
                    "the newest checkpoint remembers only up to sequence {}",
                    known.sequence
                )),
            )),
        },
    }
}

/// Whether the last message is of this sink, for this purpose.
fn own(stream: &str, opening: &Opening, stamp: &Stamp) -> Result<(), StoreError> {
    let sink = &opening.sink;
    if *stamp.sink != **sink {
        return Err(StoreError::Stop(format!(
            "stream {stream} belongs to the sink `{}`, and no two sinks can share one: give the sink `{sink}` another `stream` and `subject`, then `sluice sinks enable {sink} --anew`",
            stamp.sink
        )));
    }
    match (&opening.purpose, &stamp.replay) {
        (Purpose::Replay { id, .. }, Some(replay)) if id == replay => Ok(()),
        (Purpose::Replay { .. }, _) => Err(StoreError::Stop(format!(
            "stream {stream} is not empty, and a replay goes only into an empty one: name another with `--to`"
        ))),
        (Purpose::Live, Some(replay)) => Err(StoreError::Stop(format!(
            "stream {stream} is that of the replay {replay}: give the sink `{sink}` another `stream` and `subject`, then `sluice sinks enable {sink} --anew`"
        ))),
        (Purpose::Live | Purpose::Inspect, _) => Ok(()),
    }
}

/// The offset after the event of a message, as this journal counts; none if it is of a stranger.
fn cursor_of(opening: &Opening, stamp: &Stamp) -> Option<Offset> {
    let end = end_of(opening.journal, &opening.ancestors, stamp.journal)?;
    // An ancestor may have gone on after the backup: those events are none of this journal's.
    Some(stamp.offset.plus(1).min(end))
}

/// Up to where the offsets of `journal` mean the same as those of `ours`.
pub(super) fn end_of(ours: JournalId, ancestors: &Arc<[Ancestor]>, journal: JournalId) -> Option<Offset> {
    if journal == ours {
        return Some(Offset(u64::MAX));
    }
    ancestors.iter().find(|ancestor| ancestor.journal == journal).map(|ancestor| ancestor.end)
}

async fn last_message(connection: &Connection, stream: &Stream, info: &Info) -> Result<Last, StoreError> {
    if info.state.messages == 0 {
        return Ok(Last::Gone);
    }
    match connection.ask(stream.get_raw_message(info.state.last_sequence)).await? {
        Ok(message) => Ok(Stamp::read(&message.headers).map_or(Last::Strange, Last::Ours)),
        Err(error) => match error.kind() {
            RawMessageErrorKind::NoMessageFound => Ok(Last::Gone),
            RawMessageErrorKind::JetStream(error) => Err(refused(connection, &error)),
            _ => Err(unanswered(connection, &error)),
        },
    }
}

/// What JetStream's refusal of a request means.
pub(super) fn refused(connection: &Connection, error: &async_nats::jetstream::Error) -> StoreError {
    let shown = connection.shown();
    match error.error_code() {
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => without_jetstream(shown),
        // The server's own troubles.
        _ if error.code() >= 500 => StoreError::Unavailable(format!("{shown} cannot: {error}")),
        _ => StoreError::Stop(format!("{shown} refuses: {error}")),
    }
}

/// What no answer to a request means.
pub(super) fn unanswered(connection: &Connection, error: &(dyn std::error::Error + 'static)) -> StoreError {
    let shown = connection.shown();
    if !connection.client.server_info().jetstream {
        return without_jetstream(shown);
    }
    StoreError::Unavailable(format!("{shown} does not answer: {}", chain(error)))
}

fn without_jetstream(shown: &str) -> StoreError {
    StoreError::Stop(format!(
        "{shown} has no JetStream, or not for this account: start it with `jetstream {{ … }}` in its settings (`nats-server -js`), \
         then `sluice sinks enable`"
    ))
}

fn quoted(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("`{text}`")).collect();
    if quoted.is_empty() { "nothing".into() } else { quoted.join(", ") }
}
