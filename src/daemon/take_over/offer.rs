//! The old side: a socket in the data folder, as long as the daemon runs, and a process that wants to take over from it.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::protocol::{Channel, First, Handed, LetGo, VERSION, Word};
use super::socket_path;
use super::standing::{HeldStill, Standing};
use crate::journal::Offset;

/// How long a process may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How long its links may take: a large pool opens at the pace that the provider allows. Source: a guess.
const READY_TIMEOUT: Duration = Duration::from_mins(30);

/// Processes that may ask at once; more wait until one has its answer.
const ASKING_MAX: usize = 8;

/// The longest path that a socket's address holds.
const ADDRESS_BYTES_MAX: usize = 107;

enum Phase {
    Open,
    /// A process prepares to take over.
    Busy(u32),
    /// The daemon ends.
    Closed,
}

struct Shared {
    phase: Mutex<Phase>,
    /// The daemon that is there now.
    standing: Mutex<Option<Arc<Standing>>>,
    closing: CancellationToken,
}

impl Shared {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The offer to be taken over from.
pub(in crate::daemon) struct Offer {
    shared: Arc<Shared>,
    candidates: mpsc::Receiver<Candidate>,
    task: JoinHandle<()>,
    path: PathBuf,
    /// Of the socket that we made: another process may have put its own there.
    inode: u64,
}

impl Offer {
    /// Listens in a data folder whose journal is locked for us, so that a socket that is there is a dead process's. In a runtime, as
    /// long as which runs it answers.
    ///
    /// # Errors
    /// What the system refused.
    pub(in crate::daemon) fn new(data_dir: &Path) -> io::Result<Self> {
        let path = socket_path(data_dir);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = at_address(&path, |address| StdListener::bind(address))?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        let inode = path.metadata()?.ino();
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let shared = Arc::new(Shared {
            phase: Mutex::new(Phase::Open),
            standing: Mutex::new(None),
            closing: CancellationToken::new(),
        });
        let (sender, candidates) = mpsc::channel(1);
        #[expect(clippy::disallowed_methods, reason = "its owner is this, which ends it")]
        let task = tokio::spawn(listen(listener, Arc::clone(&shared), sender));
        Ok(Self { shared, candidates, task, path, inode })
    }

    /// Says how the daemon stands from now on.
    pub(in crate::daemon) fn describe(&self, standing: Standing) {
        *self.shared.standing.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(standing));
    }

    /// A process that has its links and waits for us to let go of ours. Cancel safe.
    pub(in crate::daemon) async fn next(&mut self) -> Candidate {
        match self.candidates.recv().await {
            Some(candidate) => candidate,
            // The task has ended, which it does with us alone.
            None => std::future::pending().await,
        }
    }

    /// The daemon ends: who prepares is told, and nobody is let begin.
    pub(in crate::daemon) fn close(&self) {
        let mut phase = self.shared.phase();
        *phase = Phase::Closed;
        self.shared.closing.cancel();
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.task.abort();
        // Whoever has taken over has put its own there.
        if self.path.metadata().is_ok_and(|found| found.ino() == self.inode) {
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Calls with an address that is short enough, whatever the folder's path is.
pub(super) fn at_address<T>(path: &Path, call: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= ADDRESS_BYTES_MAX {
        return call(path);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let folder = File::open(folder)?;
    call(&Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
}

async fn listen(listener: UnixListener, shared: Arc<Shared>, candidates: mpsc::Sender<Candidate>) {
    let mut asking = JoinSet::new();
    loop {
        while asking.try_join_next().is_some() {}
        tokio::select! {
            accepted = listener.accept(), if asking.len() < ASKING_MAX => match accepted {
                Ok((stream, _)) => {
                    asking.spawn(attend(stream, Arc::clone(&shared), candidates.clone()));
                }
                Err(error) => {
                    tracing::warn!("a process that wants to take over cannot be heard: {error}");
                    // Too many open files pass.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            },
            Some(_) = asking.join_next() => {}
        }
    }
}

/// Frees the turn of a process that gives up.
struct Turn(Arc<Shared>);

impl Drop for Turn {
    fn drop(&mut self) {
        let mut phase = self.0.phase();
        if matches!(*phase, Phase::Busy(_)) {
            *phase = Phase::Open;
        }
    }
}

async fn attend(stream: UnixStream, shared: Arc<Shared>, candidates: mpsc::Sender<Candidate>) {
    let mut channel = Channel::new(stream);
    let begun = match timeout(HELLO_TIMEOUT, begin(&mut channel, &shared)).await {
        Ok(Ok(begun)) => begun,
        Ok(Err(reason)) => {
            tracing::warn!("a take-over was refused: {reason}");
            // Who is gone needs no answer.
            timeout(HELLO_TIMEOUT, channel.say(&Word::Refused { reason })).await.ok();
            return;
        }
        Err(_late) => return,
    };
    let Begun { turn, pid, standing } = begun;
    let held = standing.hold_still().await;
    let settled = tokio::select! {
        settled = standing.settled() => settled,
        heard = channel.hear() => {
            tracing::warn!(pid, "the other process does not take over, so we go on: {heard:?}");
            return;
        }
        () = shared.closing.cancelled() => Err("the daemon was told to stop".into()),
    };
    let welcome = match settled {
        Ok(()) => {
            let program = env!("CARGO_PKG_VERSION").to_owned();
            Word::Welcome { version: VERSION, program, upstreams: standing.upstreams() }
        }
        Err(reason) => {
            tracing::warn!("a take-over was refused: {reason}");
            Word::Refused { reason }
        }
    };
    let refused = matches!(welcome, Word::Refused { .. });
    let said = timeout(HELLO_TIMEOUT, channel.say(&welcome)).await;
    if refused || !matches!(said, Ok(Ok(()))) {
        return;
    }
    tracing::info!(pid, "another process prepares to take over");
    let heard = tokio::select! {
        heard = timeout(READY_TIMEOUT, channel.hear()) => heard,
        () = shared.closing.cancelled() => {
            let reason = "the daemon was told to stop".to_owned();
            channel.say(&Word::Refused { reason }).await.ok();
            return;
        }
    };
    let reason = match heard {
        Ok(Ok(Some(Word::Ready { first }))) => {
            // There is room: one takes its turn at a time.
            candidates.send(Candidate { channel, pid, first, _held: held, _turn: turn }).await.ok();
            return;
        }
        Ok(Ok(Some(Word::GivenUp { reason }))) => reason,
        Ok(Ok(Some(word))) => format!("it says {word:?} before it is ready"),
        Ok(Ok(None)) => "it ended before it was ready".into(),
        Ok(Err(error)) => error.to_string(),
        Err(_late) => format!("it was not ready within {READY_TIMEOUT:?}"),
    };
    tracing::warn!(pid, "the other process does not take over, so we go on: {reason}");
}

/// A process that may prepare.
struct Begun {
    turn: Turn,
    pid: u32,
    standing: Arc<Standing>,
}

/// Whether a process may prepare. The error is said to it.
async fn begin(channel: &mut Channel, shared: &Arc<Shared>) -> Result<Begun, String> {
    let (uid, pid) = channel.peer().map_err(|error| error.to_string())?;
    let pid = pid.ok_or("the system does not say which process asks")?;
    if uid != rustix::process::geteuid().as_raw() {
        return Err(format!("process {pid} is another user's ({uid})"));
    }
    let word = channel.hear().await.map_err(|error| error.to_string())?;
    let Some(Word::Hello { version, program, journal }) = word else {
        return Err(format!("process {pid} did not say what it wants"));
    };
    if version != VERSION {
        return Err(format!(
            "version {program} of the program speaks of take-overs in another way than {}; restart without one",
            env!("CARGO_PKG_VERSION")
        ));
    }
    let standing = {
        let standing = shared.standing.lock().unwrap_or_else(PoisonError::into_inner);
        standing.clone().ok_or("the daemon is not up yet; try again in a moment")?
    };
    let ours = standing.journal;
    if journal.as_deref() != Some(&*ours.0.to_string()) {
        let theirs = journal.unwrap_or_else(|| "none".into());
        return Err(format!("the journal there is {theirs}, and that of the running daemon {}", ours.0));
    }
    let turn = {
        let mut phase = shared.phase();
        match *phase {
            Phase::Open => *phase = Phase::Busy(pid),
            Phase::Busy(other) => return Err(format!("process {other} is taking over already")),
            Phase::Closed => return Err("the daemon was told to stop".into()),
        }
        Turn(Arc::clone(shared))
    };
    Ok(Begun { turn, pid, standing })
}

/// A process that is ready to go on in our place.
pub(in crate::daemon) struct Candidate {
    channel: Channel,
    /// Which.
    pub(in crate::daemon) pid: u32,
    /// What came first over its links.
    pub(in crate::daemon) first: Vec<First>,
    /// Until it is clear who goes on.
    _held: HeldStill,
    _turn: Turn,
}

/// What became of a candidate that was handed everything.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::daemon) enum Heard {
    /// It runs.
    Taken,
    /// It is gone, or cannot: the reason. Whether it is certain that it is gone is for [`Candidate::see_gone`] to say.
    Failed(String),
    /// Nothing by the deadline.
    Late,
}

impl Candidate {
    /// Tells it until when we have read.
    pub(in crate::daemon) async fn let_go(&mut self, let_go: &LetGo) {
        // Who is gone is found out when it is waited for.
        self.channel.say(&Word::LetGo(let_go.clone())).await.ok();
    }

    /// Tells it that it is not to go on.
    pub(in crate::daemon) async fn refuse(&mut self, reason: &str) {
        // As above.
        self.channel.say(&Word::Refused { reason: reason.to_owned() }).await.ok();
    }

    /// Hands over.
    ///
    /// # Errors
    /// When it is gone.
    pub(in crate::daemon) async fn hand(&mut self, durable: Offset, files: &[(Handed, File)]) -> io::Result<()> {
        let (names, files): (Vec<Handed>, Vec<&File>) = files.iter().map(|(name, file)| (*name, file)).unzip();
        self.channel.say_with(&Word::Handed { durable: durable.0, files: names }, &files).await
    }

    /// What it says by `deadline`. Cancel safe.
    pub(in crate::daemon) async fn hear(&mut self, deadline: Instant) -> Heard {
        match timeout_at(deadline, self.channel.hear()).await {
            Ok(Ok(Some(Word::Taken))) => Heard::Taken,
            Ok(Ok(Some(Word::GivenUp { reason }))) => Heard::Failed(reason),
            Ok(Ok(Some(word))) => Heard::Failed(format!("it says {word:?}")),
            Ok(Ok(None)) => Heard::Failed("it ended before it had taken over".into()),
            Ok(Err(error)) => Heard::Failed(error.to_string()),
            Err(_late) => Heard::Late,
        }
    }

    /// Passes a signal on.
    pub(in crate::daemon) fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // Gone already is as good.
            kill_process(pid, signal).ok();
        }
    }

    /// Ends it, if it has not ended by itself `within` this time, and waits until it has: two processes must not write one journal. Its
    /// end of the socket is closed by its end and by nothing else.
    pub(in crate::daemon) async fn see_gone(&mut self, within: Duration) {
        let mut patience = within;
        loop {
            match timeout(patience, self.channel.hear()).await {
                Ok(Ok(None)) => return,
                // What it says is of no interest any more.
                Ok(Ok(Some(_)) | Err(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(_late) => {
                    tracing::warn!(pid = self.pid, "the process that was to take over does not end: it is killed");
                    self.signal(Signal::KILL);
                    patience = Duration::from_secs(1);
                }
            }
        }
    }
}
