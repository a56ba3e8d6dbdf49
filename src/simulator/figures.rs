//! What a simulator has done: counters, and on request a ledger of each event sent.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::Serialize;

use super::settings::LedgerSettings;

/// A fault made in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The same text a second time.
    Repeat,
    /// Not sent at all.
    Dropped,
    /// After a later message of its topic.
    Disorder,
    /// The id of an earlier message with another payload.
    Conflict,
    /// JSON that ends early.
    Truncated,
    /// Text with a byte in it that is not UTF-8, in a binary frame.
    InvalidUtf8,
    /// A binary frame of random bytes.
    Junk,
    /// JSON arrays in arrays, 20,000 deep.
    Nested,
    /// A message whose id is an object.
    ChangedId,
}

/// One event that a synthetic feed made, whether or not anybody got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The topic, as the simulator calls it.
    pub topic: Arc<str>,
    /// The event's id as in the text, without quotes; empty where it has none.
    pub id: String,
    /// The message that it was in, by number: a message may have several events.
    pub message: u64,
    /// When it was made: nanoseconds since 1970.
    pub at: i64,
}

/// One event that was handed to a socket, or dropped on request. Where a connection broke, the last ones may not have arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LedgerEntry {
    /// The connection's number, from 1.
    pub connection: u64,
    /// The topic, as the simulator calls it; `recording` for recordings.
    pub topic: String,
    /// The event's id as in the text, without quotes; empty where it has none. For recordings the frame's number.
    pub id: String,
    /// CRC-32C of the frame's payload as sent.
    pub crc: u32,
    /// What is wrong with it; a bad frame that is no event has an entry too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// What a simulator has done so far.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        pub struct Figures { $($(#[$doc])* pub $name: u64,)+ }

        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: AtomicU64,)+ }

        impl Counters {
            pub(crate) fn figures(&self) -> Figures {
                Figures { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

figures! {
    /// Connections whose handshake succeeded.
    accepted,
    /// Connections open now.
    open,
    /// Handshakes answered with an error status.
    handshakes_refused,
    /// Events made or served, without those sent as faults.
    events,
    /// Frames handed to sockets: events, faults, acknowledgements, heartbeats; not pings, pongs and close frames.
    frames,
    /// Bytes handed to sockets.
    bytes,
    /// Topics subscribed now, over all connections.
    subscriptions,
    /// Requests read from clients.
    requests,
    /// Subscriptions refused.
    refused,
    /// Messages sent a second time.
    repeats,
    /// Messages not sent on request.
    dropped,
    /// Messages sent after a later one of their topic.
    disorder,
    /// Messages sent with an earlier one's id and another payload.
    conflicts,
    /// Bad frames sent.
    bad_frames,
    /// Connections broken on request.
    disconnects,
    /// Connections, and topics of connections, gone silent on request.
    silenced,
    /// Acknowledgements kept back for good.
    acks_lost,
    /// Giant frames begun.
    giant_frames,
    /// Connections cut because they took nothing.
    slow_readers,
    /// Recordings begun though the client had asked for nothing.
    unasked,
    /// Recordings served to their end.
    recordings_served,
    /// Recorded replies not sent, since their request was never made.
    replies_withheld,
    /// Requests answered in the dialect's words, since the recording has no reply to them.
    replies_made,
    /// Ledger entries not kept, for lack of room or since the file failed.
    ledger_lost,
    /// Events made that are not kept in memory, for lack of room.
    made_lost,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections open ({} accepted), {} topics, {} events, {} frames, {} bytes",
            self.open, self.accepted, self.subscriptions, self.events, self.frames, self.bytes
        )?;
        let faults = [
            ("handshakes refused", self.handshakes_refused),
            ("subscriptions refused", self.refused),
            ("repeats", self.repeats),
            ("dropped", self.dropped),
            ("out of order", self.disorder),
            ("conflicts", self.conflicts),
            ("bad frames", self.bad_frames),
            ("disconnects", self.disconnects),
            ("gone silent", self.silenced),
            ("acknowledgements lost", self.acks_lost),
            ("giant frames", self.giant_frames),
            ("slow readers cut", self.slow_readers),
            ("begun unasked", self.unasked),
            ("recordings served", self.recordings_served),
            ("recorded replies withheld", self.replies_withheld),
            ("replies made", self.replies_made),
            ("ledger entries lost", self.ledger_lost),
            ("made events not kept", self.made_lost),
        ];
        for (name, count) in faults.into_iter().filter(|(_, count)| *count > 0) {
            write!(f, ", {count} {name}")?;
        }
        Ok(())
    }
}

impl Counters {
    /// Counts a fault that was made.
    pub(crate) fn note_fault(&self, fault: Fault) {
        let counter = match fault {
            Fault::Repeat => &self.repeats,
            Fault::Dropped => &self.dropped,
            Fault::Disorder => &self.disorder,
            Fault::Conflict => &self.conflicts,
            Fault::Truncated | Fault::InvalidUtf8 | Fault::Junk | Fault::Nested | Fault::ChangedId => &self.bad_frames,
        };
        add(counter, 1);
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Takes from a counter of what there is now.
pub(crate) fn sub(counter: &AtomicU64, count: u64) {
    counter.fetch_sub(count, Ordering::Relaxed);
}

#[derive(Debug)]
enum Keeper {
    Off,
    Memory { entries: Vec<LedgerEntry>, max: usize },
    File(BufWriter<File>),
}

/// Keeps the ledger. A line is written by the task of its connection: a tool for tests may wait for its disk.
#[derive(Debug)]
pub(crate) struct Ledger {
    keeper: Mutex<Keeper>,
    kept: bool,
}

impl Ledger {
    pub(crate) fn open(settings: &LedgerSettings) -> io::Result<Self> {
        let keeper = match settings {
            LedgerSettings::Off => Keeper::Off,
            LedgerSettings::Memory { entries_max } => Keeper::Memory { entries: Vec::new(), max: *entries_max },
            LedgerSettings::File(path) => Keeper::File(BufWriter::new(File::create(path)?)),
        };
        Ok(Self { kept: *settings != LedgerSettings::Off, keeper: Mutex::new(keeper) })
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }

    /// Takes the entries out of `batch`; says how many were lost.
    pub(crate) fn keep(&self, batch: &mut Vec<LedgerEntry>) -> u64 {
        let Ok(mut keeper) = self.keeper.lock() else { return 0 };
        match &mut *keeper {
            Keeper::Off => {
                batch.clear();
                0
            }
            Keeper::Memory { entries, max } => {
                let room = max.saturating_sub(entries.len()).min(batch.len());
                entries.extend(batch.drain(..room));
                batch.drain(..).len() as u64
            }
            Keeper::File(file) => {
                let mut lost = 0;
                for entry in batch.drain(..) {
                    let written = serde_json::to_writer(&mut *file, &entry).is_ok() && file.write_all(b"\n").is_ok();
                    lost += u64::from(!written);
                }
                lost
            }
        }
    }

    pub(crate) fn entries(&self) -> Vec<LedgerEntry> {
        match self.keeper.lock().as_deref() {
            Ok(Keeper::Memory { entries, .. }) => entries.clone(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn flush(&self) -> io::Result<()> {
        match self.keeper.lock().as_deref_mut() {
            Ok(Keeper::File(file)) => file.flush(),
            _ => Ok(()),
        }
    }
}
