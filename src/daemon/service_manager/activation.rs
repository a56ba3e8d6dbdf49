//! The HTTP port's socket, where the service manager opened it (`LISTEN_FDS`, `man sd_listen_fds`): who connects while the daemon starts
//! or restarts waits, and is not refused.

use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

/// Why sockets that were handed over cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// It is no TCP socket.
    #[error(
        "the service manager has handed over what is no listening TCP socket: {0}; see `ListenStream=` of the socket unit"
    )]
    Unfit(std::io::Error),
    /// The settings say something else.
    #[error(
        "the service manager has handed over a socket that listens on {handed}, and `server.listen` is {set}; make \
         `ListenStream=` of the socket unit and the setting the same"
    )]
    Elsewhere {
        /// Where it listens.
        handed: SocketAddr,
        /// Where it should.
        set: SocketAddr,
    },
}

/// The socket that was handed to this process, where one was. It must listen where the settings say: commands, and the rule who may
/// ask, go by them.
///
/// # Errors
/// When it cannot be used.
pub(in crate::daemon) fn handed_listener(set: SocketAddr) -> Result<Option<TcpListener>, ActivationError> {
    let mut handed = ListenFd::from_env();
    if handed.len() == 0 {
        return Ok(None);
    }
    if handed.len() > 1 {
        tracing::warn!("the service manager has handed over {} sockets; the first is used", handed.len());
    }
    let Some(listener) = handed.take_tcp_listener(0).map_err(ActivationError::Unfit)? else { return Ok(None) };
    let prepare = || {
        // Processes that this one starts are not to keep it open.
        rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::CLOEXEC)?;
        listener.set_nonblocking(true)?;
        listener.local_addr()
    };
    let address = prepare().map_err(ActivationError::Unfit)?;
    let fits = address.ip() == set.ip() && (set.port() == 0 || set.port() == address.port());
    if !fits {
        return Err(ActivationError::Elsewhere { handed: address, set });
    }
    tracing::info!("HTTP is served on the socket that the service manager has opened: {address}");
    Ok(Some(listener))
}
