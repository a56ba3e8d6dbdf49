//! What can go wrong, split by what the caller does about it.

use std::io;
use std::path::PathBuf;

use super::offset::{JournalId, Offset};

/// Why the journal could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process owns the journal.
    #[error(
        "journal {} is locked by {}; stop that one or change `daemon.data_dir`",
        dir.display(),
        pid.map_or_else(|| "a process that has not yet said its id".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// The journal's folder.
        dir: PathBuf,
        /// Who holds it, when it has said so.
        pid: Option<u32>,
    },
    /// Bytes that were durable are not what was written. Nothing was changed.
    #[error(
        "journal segment {} is damaged at byte {position} (event {offset}): {reason}; nothing was changed: \
         `sluice journal check` says what is lost; restore a backup, or keep a copy of the folder and run `sluice journal repair`",
        segment.display()
    )]
    Damaged {
        /// The file.
        segment: PathBuf,
        /// Where in it.
        position: u64,
        /// The first event that cannot be trusted.
        offset: Offset,
        /// What is wrong there.
        reason: String,
    },
    /// Segments are missing, doubled or in each other's place.
    #[error(
        "journal {} is not complete: {reason}; nothing was changed: put the missing segment back, or see `sluice journal check`, restore a backup, or keep a copy of the folder and run `sluice journal repair`",
        dir.display()
    )]
    Incomplete {
        /// The journal's folder.
        dir: PathBuf,
        /// What is not as it should be.
        reason: String,
    },
    /// Files contradict each other in a way that only a person can decide about. Nothing was changed.
    #[error("journal {} cannot be repaired by itself: {reason}; keep a copy of the folder, then put it right by hand or restore a backup", dir.display())]
    Unrepairable {
        /// The journal's folder.
        dir: PathBuf,
        /// What contradicts what.
        reason: String,
    },
    /// A newer release wrote this file. It is left as it is.
    #[error("{} has format version {found}, newer than this release reads; use the newer release", file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A cursor or checkpoint belongs to another journal.
    #[error(
        "{who} belongs to journal {found}, but the journal here is {journal}: was the data folder replaced? Put the \
         journal back, or remove {who} to start it anew from this journal"
    )]
    Foreign {
        /// `sink warehouse`, `checkpoint …`
        who: String,
        /// The journal it belongs to.
        found: JournalId,
        /// The journal that is here.
        journal: JournalId,
    },
    /// A cursor or checkpoint of this journal is ahead of it.
    #[error(
        "{who} has taken events up to {offset}, but the journal ends at {end}: was it restored from a backup? Put the \
         newer journal back, or let this one go on after {offset} by `sluice journal repair --resume-after {offset}`{}",
        give_up(who)
    )]
    Ahead {
        /// `sink warehouse`, `checkpoint …`
        who: String,
        /// What it has taken.
        offset: Offset,
        /// Where the journal ends.
        end: Offset,
    },
    /// A write failed. Final: the journal takes nothing more and promises nothing more.
    #[error("write to {} failed: {source}; no more writes: check the disk, then restart", segment.display())]
    WriteFailed {
        /// The file.
        segment: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A sync failed. Final: a second try could acknowledge pages that the first one lost.
    #[error("sync of {} failed: {source}; no more writes: check the disk, then restart", segment.display())]
    SyncFailed {
        /// The file or the folder.
        segment: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused something else.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `open`, `list`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The asked-for event is no longer kept.
    #[error("event {asked} is no longer in the journal, which begins at {earliest}; start from there")]
    OffsetGone {
        /// What was asked for.
        asked: Offset,
        /// The first event that is kept.
        earliest: Offset,
    },
    /// There is no journal in this folder.
    #[error("there is no journal in {}; check `daemon.data_dir`", dir.display())]
    NoJournal {
        /// The folder.
        dir: PathBuf,
    },
    /// The disk was full at the stop, so that what was taken and never promised could not be written.
    #[error("the disk of {} is full: {events} events that were never promised could not be written", dir.display())]
    NoRoom {
        /// The journal's folder.
        dir: PathBuf,
        /// How many.
        events: u64,
    },
    /// The writer thread ended by a mistake of ours.
    #[error("the journal's writer of {} ended unexpectedly; no more writes: restart", dir.display())]
    WriterDied {
        /// The journal's folder.
        dir: PathBuf,
    },
}

/// Checkpoints can be done without, which cursors cannot.
fn give_up(who: &str) -> &'static str {
    if who.starts_with("checkpoint ") { "; or, to give up what is missing, move the checkpoints away" } else { "" }
}

impl JournalError {
    /// Whether a file was gone when it was opened.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// The process' exit code, of those that the service manager acts on.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Damaged { .. }
            | Self::Incomplete { .. }
            | Self::Unrepairable { .. }
            | Self::Version { .. }
            | Self::Foreign { .. }
            | Self::Ahead { .. } => 65,
            Self::Locked { .. } => 73,
            Self::WriteFailed { .. } | Self::SyncFailed { .. } | Self::WriterDied { .. } => 74,
            Self::Io { .. } | Self::OffsetGone { .. } | Self::NoJournal { .. } | Self::NoRoom { .. } => 1,
        }
    }
}
