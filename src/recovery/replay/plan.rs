//! What is asked for, and the span that it means. The plan of a replay that was begun is kept in a small file until it is
//! complete: the same command then finds the same span, whatever has been journaled since.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::Hasher as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use uuid::Uuid;

use crate::checkpoint::{self, CheckpointError};
use crate::clock::UnixNanos;
use crate::config::units::parse_moment;
use crate::config::{Settings, SinkKind};
use crate::journal::{BlockHeader, JournalError, JournalId, JournalReader, Offset, Passage};
use crate::sink::{Interest, StoreError};

/// What is asked for. One of the three beginnings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplayRequest {
    /// Which sink; may be left out where there is one only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// From where the sink was at this checkpoint, or `newest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_checkpoint: Option<String>,
    /// From this offset on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_offset: Option<u64>,
    /// What was received since; RFC 3339, or so long ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Up to, but without, this offset; else up to what is durable when it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_offset: Option<u64>,
    /// Where else it goes: for `nats` an empty stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Only these monitors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub monitors: Vec<String>,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
}

/// Why a replay cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// What is asked for makes no sense here; says what would.
    #[error("{0}")]
    Request(String),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The store.
    #[error("sink `{sink}`: {reason}")]
    Store {
        /// Which sink.
        sink: String,
        /// Why.
        reason: StoreError,
    },
    /// The plan cannot be kept.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It was told to stop.
    #[error("stopped at offset {at}; the same command goes on from there")]
    Stopped {
        /// How far it came.
        at: Offset,
    },
}

/// Where a replay takes place.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// All settings.
    pub settings: &'a Settings,
    /// Whose offsets these are.
    pub journal: JournalId,
}

/// A span of the journal on its way into a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Under which the store keeps the replay's cursor.
    pub id: String,
    /// Whose offsets these are.
    journal: String,
    /// Which sink.
    pub sink: String,
    /// The first offset.
    pub from: u64,
    /// The offset after the last.
    pub to: u64,
    /// Where else it goes.
    pub target: Option<String>,
    /// Only these monitors; all that the sink takes, where there are none.
    pub monitors: Vec<String>,
    /// When it was begun.
    pub began: String,
    /// What `from` was made of, for people.
    pub from_what: String,
    /// The file that keeps it.
    #[serde(skip)]
    file: PathBuf,
    /// Whether it was begun before.
    #[serde(skip)]
    pub resumed: bool,
}

/// What a plan means in events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Events that the store will get.
    pub events: u64,
    /// The same by monitor.
    pub monitors: BTreeMap<String, u64>,
}

impl Plan {
    /// The plan of a request: that of the same request before, where it was not completed, else a new one. Blocking; nothing is
    /// written.
    ///
    /// # Errors
    /// When the request makes no sense, or the span is not there.
    pub fn of(request: &ReplayRequest, scene: Scene<'_>, reader: &mut JournalReader) -> Result<Self, ReplayError> {
        let refuse = |reason: String| Err(ReplayError::Request(reason));
        let (sink, kind) = choose_sink(request, scene.settings)?;
        match (kind, &request.to) {
            (SinkKind::Nats, None) => {
                return refuse(format!(
                    "a replay into `{sink}` needs an empty stream of its own, as a stream can only grow; name one with --to STREAM"
                ));
            }
            (SinkKind::Nats, Some(_)) | (_, None) => {}
            (_, Some(_)) => {
                return refuse(format!("--to goes with sinks of kind nats; `{sink}` is written to in place"));
            }
        }
        let file =
            scene.settings.daemon.data_dir.join("replays").join(format!("{}.json", key(request, &sink, scene.journal)));
        if let Some(begun) = Self::begun(&file, scene.journal)? {
            return Ok(begun);
        }
        let (durable, earliest) = (reader.durable()?, reader.earliest()?);
        let to = Offset(request.to_offset.unwrap_or(durable.0));
        if to > durable {
            return refuse(format!("the journal ends at {durable}, before --to-offset {to}"));
        }
        let (from, from_what) = beginning(request, scene, &sink, reader)?;
        if from < earliest {
            return Err(JournalError::OffsetGone { asked: from, earliest }.into());
        }
        if from > to {
            return refuse(format!("it would begin at {from} ({from_what}), behind its end at {to}"));
        }
        let mut monitors = request.monitors.clone();
        monitors.sort();
        monitors.dedup();
        Ok(Self {
            id: Uuid::new_v4().simple().to_string(),
            journal: scene.journal.to_string(),
            sink,
            from: from.0,
            to: to.0,
            target: request.to.clone(),
            monitors,
            began: UnixNanos::now().to_string(),
            from_what,
            file,
            resumed: false,
        })
    }

    /// The plan that a file keeps. One that cannot be read was not begun: its replay starts anew.
    fn begun(file: &Path, journal: JournalId) -> Result<Option<Self>, ReplayError> {
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ReplayError::Io { action: "read", path: file.to_owned(), source }),
        };
        let Ok(plan) = serde_json::from_slice::<Self>(&text) else { return Ok(None) };
        let ours = plan.journal == journal.to_string() && plan.from <= plan.to;
        Ok(ours.then(|| Self { file: file.to_owned(), resumed: true, ..plan }))
    }

    /// Keeps the plan, so that it can be gone on with. Blocking.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self) -> Result<(), ReplayError> {
        let unfinished = self.file.with_extension("tmp");
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let write = || {
            fs::create_dir_all(folder)?;
            let mut file = File::create(&unfinished)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(&unfinished, &self.file)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|source| ReplayError::Io { action: "write", path: self.file.clone(), source })
    }

    /// It is complete: the same command begins anew.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget(&self) -> Result<(), ReplayError> {
        match fs::remove_file(&self.file) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(ReplayError::Io { action: "remove", path: self.file.clone(), source })
            }
            _ => Ok(()),
        }
    }

    /// Whether the store gets an event of this monitor.
    pub(super) fn names(&self, monitor: &str) -> bool {
        self.monitors.is_empty() || self.monitors.iter().any(|named| named == monitor)
    }

    /// Whether a block may have something for the store.
    pub(super) fn may_want(&self, interest: &Interest, header: &BlockHeader) -> bool {
        interest.may_want(header) && header.rows().iter().any(|row| self.names(&row.monitor.name))
    }

    /// Counts what the store will get. Blocking.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn count(&self, interest: &Interest, reader: &mut JournalReader) -> Result<Counted, ReplayError> {
        let mut counted = Counted::default();
        reader.seek(Offset(self.from));
        while reader.position().0 < self.to {
            let Some(passage) = reader.next_passage(|header| self.may_want(interest, header))? else { break };
            let Passage::Block(block) = passage else { continue };
            for event in block.events().filter(|event| event.offset.0 < self.to) {
                if self.names(event.monitor) && interest.wants(&event) {
                    counted.events += 1;
                    *counted.monitors.entry(event.monitor.to_owned()).or_default() += 1;
                }
            }
        }
        Ok(counted)
    }
}

fn choose_sink(request: &ReplayRequest, settings: &Settings) -> Result<(String, SinkKind), ReplayError> {
    let refuse = |reason: String| Err(ReplayError::Request(reason));
    let names = |on: bool| {
        let names = settings.sinks.iter().filter(|(_, sink)| sink.enabled || !on).map(|(name, _)| name.as_str());
        names.collect::<Vec<_>>()
    };
    if let Some(name) = &request.sink {
        return match settings.sinks.get(name) {
            Some(sink) => Ok((name.clone(), sink.kind)),
            None => refuse(format!("there is no sink `{name}`; there are {}", names(false).join(", "))),
        };
    }
    // One that is off may be meant, but then it is named.
    match names(true)[..] {
        [] => refuse("there is no sink to replay into; add a table `[sinks.NAME]` to the settings".to_owned()),
        [name] => Ok((name.to_owned(), settings.sinks[name].kind)),
        _ => refuse(format!("there are several sinks; choose one with --sink: {}", names(true).join(", "))),
    }
}

fn beginning(
    request: &ReplayRequest,
    scene: Scene<'_>,
    sink: &str,
    reader: &mut JournalReader,
) -> Result<(Offset, String), ReplayError> {
    match (&request.from_checkpoint, request.from_offset, &request.since) {
        (None, Some(offset), None) => Ok((Offset(offset), format!("offset {offset}"))),
        (None, None, Some(since)) => {
            let time = parse_moment(since).map_err(ReplayError::Request)?;
            reader.seek_received(time)?;
            Ok((reader.position(), format!("received since {time}")))
        }
        (Some(id), None, None) => {
            let id = Some(id.as_str()).filter(|id| *id != "newest");
            let checkpoint = checkpoint::read(&scene.settings.checkpoint.dir, Some(scene.journal), id)?;
            if checkpoint.journal != scene.journal {
                let reason =
                    format!("the checkpoint belongs to journal {}, and here is {}", checkpoint.journal, scene.journal);
                return Err(ReplayError::Request(reason));
            }
            let written = checkpoint.written;
            Ok(match checkpoint.sink(sink).filter(|mark| mark.journal == scene.journal) {
                Some(mark) => (mark.next, format!("where `{sink}` was at the checkpoint of {written}")),
                None => (checkpoint.durable, format!("what was durable at the checkpoint of {written}")),
            })
        }
        _ => Err(ReplayError::Request(
            "say where to begin, in one way: --from-checkpoint [ID], --from-offset N, or --since TIME".to_owned(),
        )),
    }
}

/// The same for the same command, and for no other.
fn key(request: &ReplayRequest, sink: &str, journal: JournalId) -> String {
    let mut monitors = request.monitors.clone();
    monitors.sort();
    monitors.dedup();
    let same = ReplayRequest { sink: Some(sink.to_owned()), monitors, dry_run: false, ..request.clone() };
    let mut hasher = SipHasher13::new();
    hasher.write(journal.0.as_bytes());
    // Strings and numbers only: serialization has nothing to refuse.
    hasher.write(&serde_json::to_vec(&same).unwrap_or_default());
    format!("{:016x}", hasher.finish())
}
