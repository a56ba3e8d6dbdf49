//! A new process takes over from the one that runs: it connects and subscribes beside it, the old one drains and syncs, and hands over
//! its locks, its listening socket and how far it has read.
//!
//! | the new process                         |            | the old process                                                   |
//! |-----------------------------------------|------------|-------------------------------------------------------------------|
//! | `hello`: who it is, of which journal    | ──►        |                                                                   |
//! |                                         |            | holds still: changes are refused, who changes paths is waited for |
//! |                                         | ◄──        | `welcome`: its upstreams; or `refused`, with the reason           |
//! | opens its links, buffers what comes     |            | goes on as ever                                                   |
//! | `ready`, with what came first of topics | ──►        | reads as far, stops its links; what they read is with the journal |
//! | asks for topics that must not come twice| ◄──        | `let_go`: until when it has read                                  |
//! |                                         |            | closes the journal, sinks, last checkpoint                        |
//! |                                         | ◄──        | `handed`, with the descriptors of its locks and listening socket  |
//! | starts; takes what it has buffered      |            | answers HTTP meanwhile                                            |
//! | `taken`                                 | ──►        | exits                                                             |
//!
//! The locks are of open files, so nobody can get between: they are held until the last process has closed its descriptor. Until
//! `ready` nothing of the old process is touched. Afterwards it starts again by itself, with the locks that it still has, when the new
//! one is gone or late; it makes sure of that first (the socket is closed by the end of the new process and nothing else).

mod ask;
mod hand_over;
mod measure;
mod offer;
mod protocol;
mod spawn;
mod standing;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Runtime;

pub use self::ask::TakeOverError;
pub(super) use self::ask::{Asked, ask};
pub(super) use self::hand_over::{HandedOver, hand_over};
pub(super) use self::measure::Measuring;
pub(super) use self::offer::{Candidate, Heard, Offer};
pub(super) use self::protocol::{Behind, LetGo};
pub(super) use self::spawn::Successors;
pub(super) use self::standing::Standing;
use crate::clock::UnixNanos;
use crate::upstream::Prepared;

/// The socket's name in the data folder.
const SOCKET: &str = "take-over.sock";

/// Where a running daemon is asked.
pub(super) fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join(SOCKET)
}

/// A subject of the gap ledger: upstream, monitor and topic.
pub(super) type Subject = (String, String, String);

/// What a daemon starts with that another process, or this one before, had.
#[derive(Default)]
pub(super) struct Inheritance {
    /// The journal's lock, and that of the checkpoints' folder.
    pub(super) journal_lock: Option<File>,
    pub(super) checkpoint_lock: Option<File>,
    /// The socket that HTTP is listened for on.
    pub(super) listener: Option<TcpListener>,
    /// Until when everything was read and is durable. None: as after a crash.
    pub(super) read_until: Option<UnixNanos>,
    /// But for these: until this moment.
    pub(super) behind: BTreeMap<Subject, UnixNanos>,
    /// Links that were opened meanwhile.
    pub(super) beside: Option<Beside>,
}

/// What was opened beside the process before.
pub(super) struct Beside {
    pub(super) prepared: Arc<Prepared>,
    /// What they run on.
    pub(super) ingest: Runtime,
    /// Since when topics are in force.
    pub(super) in_force: BTreeMap<Subject, UnixNanos>,
    /// Whom we take over from.
    pub(super) predecessor: Predecessor,
}

/// The process before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Predecessor {
    pub(super) pid: u32,
    pub(super) program: String,
    /// Whether it handed over; else it died meanwhile.
    pub(super) handed_over: bool,
}
