//! What one client is told next, whatever carries it: the snapshot, what it missed, what comes, and why it ends.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::desk::{Seat, StreamDesk};
use crate::clock::UnixNanos;
use crate::journal::Offset;
use crate::live::{CatchUpError, Form, Joined, Lease, LiveMessage, Polled, Terms, Wanted};

/// The most bytes that are given to a connection at once. Source: a guess; some writes' worth.
const BYTES_AT_ONCE: usize = 64 << 10;

/// What is to be sent.
#[derive(Debug)]
pub(super) enum Out {
    /// Events.
    Messages(Vec<Arc<LiveMessage>>),
    /// Something that is no event: its `type`, and the text.
    Note(&'static str, String),
    /// Nothing more; the client is told why.
    End(Ended),
}

/// Why a stream ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// The client was too slow, or the daemon stops.
    Cut(String),
    /// What comes next is no longer in the journal.
    Gone(String),
    /// Another client has come as the same consumer.
    Taken,
    /// Nothing can be read.
    Broken(String),
}

impl Ended {
    /// In a sentence.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Cut(reason) | Self::Gone(reason) | Self::Broken(reason) => reason,
            Self::Taken => "another client has come as this consumer",
        }
    }

    /// In a word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Cut(_) => "cut_off",
            Self::Gone(_) => "gone",
            Self::Taken => "taken_over",
            Self::Broken(_) => "broken",
        }
    }
}

/// Where a client begins.
#[derive(Debug)]
pub(super) enum Begin {
    /// With what comes.
    Now,
    /// With this event.
    At(Offset),
    /// Where a consumer has come to.
    Consumer(Lease),
}

/// One client.
pub(super) struct Session {
    desk: Arc<StreamDesk>,
    wanted: Arc<Wanted>,
    pub(super) form: Form,
    /// Its place among all clients; given back when it goes.
    pub(super) seat: Seat,
    pub(super) lease: Option<Lease>,
    heartbeat: Duration,
    state: State,
}

enum State {
    /// The snapshot comes first.
    Opening { from: Option<Offset> },
    /// The journal is read; once it is nearly done, the client has joined.
    Reading { next: Offset, joined: Option<Joined> },
    /// It hears what comes.
    Listening { joined: Joined },
    /// There is no more.
    Over(Ended),
}

impl Session {
    /// Of a client that has a seat.
    pub(super) fn new(desk: Arc<StreamDesk>, wanted: Wanted, form: Form, seat: Seat, begin: Begin) -> Self {
        let heartbeat = desk.settings().heartbeat;
        let (from, lease) = match begin {
            Begin::Now => (None, None),
            Begin::At(offset) => (Some(offset), None),
            Begin::Consumer(lease) => (Some(lease.next), Some(lease)),
        };
        Self { desk, wanted: Arc::new(wanted), form, seat, lease, heartbeat, state: State::Opening { from } }
    }

    /// What to send next; a heartbeat where there is nothing for long. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> Out {
        let heartbeat = self.heartbeat;
        let taken = self.lease.as_ref().map(|lease| lease.taken.clone());
        let taken = async {
            match taken {
                Some(taken) => taken.cancelled_owned().await,
                None => std::future::pending().await,
            }
        };
        let out = tokio::select! {
            biased;
            () = taken => Out::End(Ended::Taken),
            out = self.step() => out,
            () = tokio::time::sleep(heartbeat) => {
                let durable = self.desk.durable().0;
                let time = UnixNanos::now().to_string();
                Out::Note("heartbeat", json!({"type": "heartbeat", "durable_offset": durable, "time": time}).to_string())
            }
        };
        match &out {
            Out::End(ended) => self.state = State::Over(ended.clone()),
            Out::Messages(messages) => self.seat.sent(messages.len()),
            Out::Note(..) => {}
        }
        out
    }

    async fn step(&mut self) -> Out {
        loop {
            match &mut self.state {
                State::Opening { from } => {
                    let from = *from;
                    let (state, next) = if let Some(next) = from {
                        (State::Reading { next, joined: None }, next)
                    } else {
                        let joined = self.desk.hub().join(Wanted::clone(&self.wanted), Terms::Newest);
                        let next = joined.from;
                        (State::Listening { joined }, next)
                    };
                    let text = super::snapshot::text(&self.desk, &self.wanted, next);
                    self.state = state;
                    return Out::Note("initial", text);
                }
                State::Reading { next, joined } => {
                    let until = joined.as_ref().map_or_else(|| self.desk.durable(), |joined| joined.from);
                    if *next < until {
                        match self.desk.catch_up().read(&self.wanted, *next, until, BYTES_AT_ONCE).await {
                            Err(CatchUpError::Gone { asked, earliest }) => {
                                let error = CatchUpError::Gone { asked, earliest };
                                return Out::End(Ended::Gone(error.to_string()));
                            }
                            Err(error) => return Out::End(Ended::Broken(error.to_string())),
                            Ok(stretch) => {
                                *next = if stretch.ended { stretch.next.max(until) } else { stretch.next };
                                if !stretch.messages.is_empty() {
                                    return Out::Messages(stretch.messages);
                                }
                            }
                        }
                        continue;
                    }
                    match joined.take() {
                        // From here on what comes is kept for it, while it reads the little that is left.
                        None => *joined = Some(self.desk.hub().join(Wanted::clone(&self.wanted), Terms::Every)),
                        Some(joined) => self.state = State::Listening { joined },
                    }
                }
                State::Listening { joined } => match joined.queue.next(BYTES_AT_ONCE).await {
                    Polled::Messages(messages) => return Out::Messages(messages),
                    Polled::Dropped(drops) => {
                        let note = json!({
                            "type": "dropped", "from": drops.from, "to": drops.to,
                            "high": drops.high, "medium": drops.medium, "low": drops.low,
                        });
                        return Out::Note("dropped", note.to_string());
                    }
                    Polled::Behind(next) => self.state = State::Reading { next, joined: None },
                    Polled::Cut(reason) => return Out::End(Ended::Cut(reason)),
                },
                State::Over(ended) => return Out::End(ended.clone()),
            }
        }
    }
}
