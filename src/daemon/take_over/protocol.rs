//! What the two processes say to each other: a JSON object a line, over a Unix socket; descriptors go with the line that names
//! them.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::clock::UnixNanos;

/// Of what is said. Both sides must have the same.
pub(super) const VERSION: u32 = 2;

/// Longer lines are none of ours. Source: a guess, above what a hundred thousand topics take.
const LINE_BYTES_MAX: usize = 16 << 20;

/// The most descriptors that go with a line.
const FILES_MAX: usize = 3;

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum Word {
    /// The new process: who it is, and the journal that it finds.
    Hello { version: u32, program: String, journal: Option<String> },
    /// The old one agrees.
    Welcome { version: u32, program: String, upstreams: BTreeMap<String, UpstreamNow> },
    /// The old one does not, or not any more.
    Refused { reason: String },
    /// The new one has its links. What came first over them.
    Ready { first: Vec<First> },
    /// The old one has let go of its own.
    LetGo(LetGo),
    /// The descriptors that go with it, in order.
    Handed { durable: u64, files: Vec<Handed> },
    /// The new one runs.
    Taken,
    /// The new one cannot.
    GivenUp { reason: String },
}

/// The first event of a topic that came to the new process, for one of its monitors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::daemon) struct First {
    /// The pool or the links of a monitor that it came over.
    pub(in crate::daemon) unit: String,
    pub(in crate::daemon) monitor: String,
    pub(in crate::daemon) topic: String,
    /// The hash of its id, in hexadecimal.
    pub(in crate::daemon) hash: String,
}

/// Something that the old process had not read as far as what came first to the new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::daemon) struct Behind {
    pub(in crate::daemon) upstream: String,
    pub(in crate::daemon) monitor: String,
    pub(in crate::daemon) topic: String,
    /// From when on something of it may be missing, in nanoseconds since 1970.
    pub(in crate::daemon) from: i64,
}

/// An upstream as the old process has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::daemon) struct UpstreamNow {
    /// Whether a link is open.
    pub(in crate::daemon) connected: bool,
    /// Where it is, by its settings: host and port.
    pub(in crate::daemon) address: String,
    /// Topics that are refused.
    pub(in crate::daemon) refused: Vec<String>,
    /// Topics whose events all had ids so far.
    pub(in crate::daemon) told_apart: Vec<String>,
}

/// How the old process let go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::daemon) struct LetGo {
    /// Until when it has read everything, in nanoseconds since 1970; none where it could not hand all of it to the journal.
    pub(in crate::daemon) read_until: Option<i64>,
    /// Since when it reads nothing.
    pub(in crate::daemon) stopped: i64,
    /// Of what it had not read far enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::daemon) behind: Vec<Behind>,
}

impl LetGo {
    pub(in crate::daemon) fn read_until(&self) -> Option<UnixNanos> {
        self.read_until.map(UnixNanos)
    }
}

/// What a descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::daemon) enum Handed {
    JournalLock,
    CheckpointLock,
    Listener,
}

/// One side's end.
pub(super) struct Channel {
    stream: UnixStream,
    text: Vec<u8>,
    files: VecDeque<OwnedFd>,
}

impl Channel {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, text: Vec::new(), files: VecDeque::new() }
    }

    /// Who is at the other end: user and process, as the system says.
    pub(super) fn peer(&self) -> io::Result<(u32, Option<u32>)> {
        let peer = self.stream.peer_cred()?;
        Ok((peer.uid(), peer.pid().and_then(|pid| u32::try_from(pid).ok())))
    }

    /// Says something.
    pub(super) async fn say(&mut self, word: &Word) -> io::Result<()> {
        self.say_with(word, &[]).await
    }

    /// Says something, with descriptors.
    pub(super) async fn say_with(&mut self, word: &Word, files: &[&File]) -> io::Result<()> {
        let mut line = serde_json::to_vec(word).map_err(io::Error::other)?;
        line.push(b'\n');
        let mut files: Vec<BorrowedFd<'_>> = files.iter().map(|file| file.as_fd()).collect();
        let mut sent = 0;
        while sent < line.len() {
            let stream = &self.stream;
            let rest = &line[sent..];
            sent += stream
                .async_io(Interest::WRITABLE, || {
                    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
                    let mut control = SendAncillaryBuffer::new(&mut space);
                    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&files)) {
                        return Err(io::Error::other("too many descriptors for one line"));
                    }
                    let flags = SendFlags::NOSIGNAL;
                    Ok(rustix::net::sendmsg(stream, &[IoSlice::new(rest)], &mut control, flags)?)
                })
                .await?;
            // They went with the first byte.
            files.clear();
        }
        Ok(())
    }

    /// What the other side says; none when it is gone. Cancel safe.
    pub(super) async fn hear(&mut self) -> io::Result<Option<Word>> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                return serde_json::from_slice(&line).map(Some).map_err(io::Error::other);
            }
            if self.text.len() > LINE_BYTES_MAX {
                return Err(io::Error::other("what the other side says has no end"));
            }
            let Self { stream, text, files } = self;
            let read = stream
                .async_io(Interest::READABLE, || {
                    let mut bytes = [0; 16 << 10];
                    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
                    let mut control = RecvAncillaryBuffer::new(&mut space);
                    let mut into = [IoSliceMut::new(&mut bytes)];
                    let read = rustix::net::recvmsg(&*stream, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
                    for message in control.drain() {
                        if let RecvAncillaryMessage::ScmRights(received) = message {
                            files.extend(received);
                        }
                    }
                    text.extend_from_slice(&bytes[..read.bytes]);
                    Ok(read.bytes)
                })
                .await;
            match read {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Descriptors that came and were not taken yet, in order.
    pub(super) fn take_files(&mut self) -> Vec<OwnedFd> {
        self.files.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, Write as _};

    use super::*;

    #[tokio::test]
    async fn words_arrive_whole_and_in_order_and_files_are_those_that_were_sent() {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut one, mut other) = (Channel::new(one), Channel::new(other));
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"the same file").unwrap();
        // Longer than any buffer on the way.
        let long = Word::Refused { reason: "x".repeat(1 << 20) };
        let ready = Word::Ready {
            first: vec![First { unit: "u".into(), monitor: "m".into(), topic: "t".into(), hash: "ff".into() }],
        };
        let handed = Word::Handed { durable: 7, files: vec![Handed::JournalLock] };
        let (said, heard) = tokio::join!(
            async {
                one.say(&ready).await.unwrap();
                one.say(&long).await.unwrap();
                one.say_with(&handed, &[&file]).await.unwrap();
                drop(one);
            },
            async {
                let mut heard = Vec::new();
                while let Some(word) = other.hear().await.unwrap() {
                    heard.push(word);
                }
                heard
            }
        );
        let () = said;
        assert_eq!(heard, [ready, long, handed]);
        let mut received: Vec<File> = other.take_files().into_iter().map(File::from).collect();
        let mut text = String::new();
        received[0].rewind().unwrap();
        received[0].read_to_string(&mut text).unwrap();
        assert_eq!((received.len(), text.as_str()), (1, "the same file"));
    }

    #[tokio::test]
    async fn what_is_no_word_is_an_error_and_no_panic() {
        let (one, other) = UnixStream::pair().unwrap();
        let mut channel = Channel::new(other);
        one.writable().await.unwrap();
        one.try_write(b"{\"say\":\"sing\"}\n").unwrap();
        assert!(channel.hear().await.is_err());
        assert_eq!(channel.peer().unwrap(), (rustix::process::geteuid().as_raw(), Some(std::process::id())));
    }
}
