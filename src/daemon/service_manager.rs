//! Tells the service manager how the daemon is: one datagram a word, to the socket that `NOTIFY_SOCKET` names. Nothing where there is
//! none.
//!
//! Format: `man sd_notify`. A path that begins with `@` is a name of the abstract kind.

mod activation;

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

pub(super) use self::activation::{ActivationError, handed_listener};

/// The longest that a word which must not be lost waits for the manager to take it. Source: a guess; it reads at once unless it hangs.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// The most characters of a status. Source: a guess at what `systemctl status` shows in a few lines.
const STATUS_CHARS_MAX: usize = 400;

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// Everything runs. Also says which process that is now: it may have taken over from another.
    Ready,
    /// It reads its settings again; [`Word::Reloaded`] follows. The manager wants to know when, so that it can tell an answer to its
    /// own signal from an earlier one.
    Reloading,
    /// It has, whatever came of it.
    Reloaded,
    /// It stops, and nobody takes over; within this time.
    Stopping { within: Duration },
    /// A start, or a stop, needs so much longer, from now on.
    Longer(Duration),
    /// Every stage answers.
    Alive,
    /// How it is, in a line.
    Status(String),
}

impl Word {
    fn text(&self) -> String {
        match self {
            Self::Ready => format!("MAINPID={}\nREADY=1\n", std::process::id()),
            Self::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}\n", monotonic().as_micros()),
            Self::Reloaded => "READY=1\n".to_owned(),
            Self::Stopping { within } => format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}\n", within.as_micros()),
            Self::Longer(more) => format!("EXTEND_TIMEOUT_USEC={}\n", more.as_micros()),
            Self::Alive => "WATCHDOG=1\n".to_owned(),
            Self::Status(line) => {
                // A line break would begin another word.
                let line = line.chars().map(|char| if char.is_control() { ' ' } else { char });
                format!("STATUS={}\n", line.take(STATUS_CHARS_MAX).collect::<String>())
            }
        }
    }

    /// Whether it is told again soon, so that nobody need wait for a manager that does not listen.
    fn comes_again(&self) -> bool {
        matches!(self, Self::Alive | Self::Status(_) | Self::Longer(_))
    }
}

/// `CLOCK_MONOTONIC`, the clock that the service manager compares with.
fn monotonic() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

/// Tells it, where somebody wants to know.
pub(super) fn tell(word: &Word) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    match send(&socket, word) {
        Ok(()) => {}
        // It lags behind what we say, and hears the next one.
        Err(error) if word.comes_again() && error.kind() == io::ErrorKind::WouldBlock => {
            tracing::debug!("the service manager does not listen now");
        }
        Err(error) => tracing::warn!(socket = %socket.display(), "the service manager cannot be told: {error}"),
    }
}

fn send(socket: &OsStr, word: &Word) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let ours = UnixDatagram::unbound()?;
    if word.comes_again() {
        ours.set_nonblocking(true)?;
    } else {
        ours.set_write_timeout(Some(SEND_TIMEOUT))?;
    }
    ours.send_to_addr(word.text().as_bytes(), &address).map(drop)
}

/// How often the manager wants to be told [`Word::Alive`] at least; none where it does not watch, or watches another process. One that
/// takes over is watched as the one before it was.
pub(super) fn watchdog_interval() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let micros = number("WATCHDOG_USEC").filter(|micros| *micros > 0)?;
    let other = number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(std::process::id()));
    (!other).then(|| Duration::from_micros(micros))
}

/// Variables that name a process by its id, which a process that this one starts does not have.
pub(super) const OF_THIS_PROCESS: [&str; 4] = ["WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_abstract_kind_is_told_like_a_path() {
        let name = format!("sluice-test-{}", std::process::id());
        let abstract_one = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let named = UnixDatagram::bind(&path).unwrap();
        let mut bytes = [0; 64];
        for (socket, at) in [(abstract_one, format!("@{name}").into()), (named, path.into_os_string())] {
            send(&at, &Word::Ready).unwrap();
            let length = socket.recv(&mut bytes).unwrap();
            assert_eq!(bytes[..length], *format!("MAINPID={}\nREADY=1\n", std::process::id()).as_bytes());
        }
        assert!(send(OsStr::new("/nowhere/at/all"), &Word::Alive).is_err());
    }

    #[test]
    fn a_manager_that_does_not_listen_holds_nobody_up_who_tells_it_again_soon() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let refused = (0..100_000).find_map(|_| send(path.as_os_str(), &Word::Alive).err());
        assert_eq!(refused.map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
    }

    #[test]
    fn words_are_as_the_manager_reads_them() {
        assert_eq!(Word::Status("a\nREADY=1".into()).text(), "STATUS=a READY=1\n");
        assert_eq!(Word::Longer(Duration::from_secs(1)).text(), "EXTEND_TIMEOUT_USEC=1000000\n");
        let before = monotonic().as_micros();
        let told = Word::Reloading.text();
        let at = told.trim().strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!((before..=monotonic().as_micros()).contains(&at), "{told}");
    }
}
