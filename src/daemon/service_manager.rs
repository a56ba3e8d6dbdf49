//! Tells the service manager how the daemon is: one datagram a word, to the socket that `NOTIFY_SOCKET` names. Nothing where there is
//! none.
//!
//! Format: `man sd_notify`. A path that begins with `@` is a name of the abstract kind.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Something to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Everything runs. Also says which process that is now: it may have taken over from another.
    Ready,
    /// It stops, and nobody takes over.
    Stopping,
}

impl Word {
    fn text(self) -> String {
        match self {
            Self::Ready => format!("MAINPID={}\nREADY=1\n", std::process::id()),
            Self::Stopping => "STOPPING=1\n".to_owned(),
        }
    }
}

/// Tells it, where somebody wants to know.
pub(super) fn tell(word: Word) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    if let Err(error) = send(&socket, &word.text()) {
        tracing::warn!(socket = %socket.display(), "the service manager cannot be told: {error}");
    }
}

fn send(socket: &OsStr, text: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address).map(drop)
}

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
            send(&at, &Word::Ready.text()).unwrap();
            let length = socket.recv(&mut bytes).unwrap();
            assert_eq!(bytes[..length], *format!("MAINPID={}\nREADY=1\n", std::process::id()).as_bytes());
        }
        assert!(send(OsStr::new("/nowhere/at/all"), "x").is_err());
    }
}
