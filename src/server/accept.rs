//! Takes connections: how many there may be, how long they may take, and how they end.
//!
//! A loop of our own, since that of the HTTP library knows neither limits nor TLS.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::serve::Listening;
use super::stall::Stalling;

/// The largest head of a request, and how many headers it may have. Tokens and cookies are far below.
const HEAD_BYTES_MAX: usize = 32 * 1024;
const HEADERS_MAX: usize = 64;
/// The wait after the system has refused a connection, for want of file descriptors or memory, doubled each time.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// The same complaint at most this often.
const COMPLAINT_INTERVAL: Duration = Duration::from_mins(1);

/// What whoever comes too much is told.
fn too_many() -> String {
    let body = r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"too many connections; see `server.connections_max` and `server.connections_per_peer`, and try again soon"}"#;
    let length = body.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: {length}\r\n\
         Retry-After: 1\r\nConnection: close\r\n\r\n{body}"
    )
}

/// What connections are held to.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionLimits {
    /// The longest a request's head, or a TLS handshake, may take.
    pub(super) head_timeout: Duration,
    /// A client that takes nothing for so long is gone.
    pub(super) stall_timeout: Duration,
    /// Connections at once.
    pub(super) connections_max: usize,
    /// Of these, from one address.
    pub(super) per_peer_max: usize,
}

/// Who is connected.
#[derive(Debug, Default)]
struct Places(Mutex<(usize, HashMap<IpAddr, usize>)>);

/// A connection's place, for its handlers: one that has a limit of its own gives it back.
#[derive(Clone)]
pub(super) struct KeptPlace(Arc<Mutex<Option<Place>>>);

impl KeptPlace {
    /// Counts this connection no longer among those that ask.
    pub(super) fn give_back(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// A connection's place; free again when it is dropped.
struct Place {
    places: Arc<Places>,
    peer: IpAddr,
}

impl Places {
    fn take(self: &Arc<Self>, peer: IpAddr, limits: ConnectionLimits) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = taken.1.get(&peer).copied().unwrap_or(0);
        if taken.0 >= limits.connections_max || of_peer >= limits.per_peer_max {
            return None;
        }
        taken.0 += 1;
        taken.1.insert(peer, of_peer + 1);
        Some(Place { places: Arc::clone(self), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.0 -= 1;
        if let Some(of_peer) = taken.1.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                taken.1.remove(&self.peer);
            }
        }
    }
}

/// Says the same thing seldom.
#[derive(Default)]
struct Complaint(Option<Instant>);

impl Complaint {
    fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

/// Takes connections until `stop` is given or another process does, and then waits for the requests under way.
pub(super) async fn accept(
    Listening { listener, leave }: Listening,
    router: Router,
    limits: ConnectionLimits,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let places = Arc::<Places>::default();
    let (mut full, mut refused) = (Complaint::default(), Complaint::default());
    let mut backoff = BACKOFF.0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = leave.cancelled() => {
                stop.cancelled().await;
                break;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                if refused.is_due() {
                    tracing::error!("no connection can be taken: {error}; raise `LimitNOFILE=` if it is about files");
                }
                // The connection still waits, so that trying at once would spin.
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(BACKOFF.1);
                continue;
            }
        };
        backoff = BACKOFF.0;
        let Some(place) = places.take(peer.ip().to_canonical(), limits) else {
            if full.is_due() {
                tracing::warn!(%peer, "too many connections; see `server.connections_max`");
            }
            if tls.is_none() {
                // Whoever cannot even take this is not waited for.
                stream.try_write(too_many().as_bytes()).ok();
            }
            continue;
        };
        let (router, tls, stop) = (router.clone(), tls.clone(), stop.clone());
        // It ends by itself, and by `stop`; what it has to say its client is told.
        drop(connections.spawn(async move {
            let place = KeptPlace(Arc::new(Mutex::new(Some(place))));
            connect(stream, (peer, place), router, limits, tls, stop).await;
        }));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Errors that are over with the connection they are about.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connect(
    stream: TcpStream,
    (peer, place): (SocketAddr, KeptPlace),
    router: Router,
    limits: ConnectionLimits,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
) {
    // Answers are written whole.
    stream.set_nodelay(true).ok();
    let stream = Stalling::new(stream, limits.stall_timeout);
    let head_timeout = limits.head_timeout;
    let Some(tls) = tls else { return serve(stream, (peer, place), router, head_timeout, stop).await };
    let handshake = tokio::time::timeout(head_timeout, tls.accept(stream));
    tokio::select! {
        () = stop.cancelled() => {}
        shaken = handshake => match shaken {
            Ok(Ok(stream)) => serve(stream, (peer, place), router, head_timeout, stop).await,
            Ok(Err(error)) => tracing::debug!(%peer, "no TLS: {error}"),
            Err(_) => tracing::debug!(%peer, "no TLS within {head_timeout:?}"),
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    (peer, place): (SocketAddr, KeptPlace),
    router: Router,
    head_timeout: Duration,
    stop: CancellationToken,
) {
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(place.clone());
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, "a connection broke: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_and_one_peer_cannot_have_all() {
        let limits = ConnectionLimits {
            head_timeout: Duration::from_secs(1),
            stall_timeout: Duration::from_secs(1),
            connections_max: 3,
            per_peer_max: 2,
        };
        let places = Arc::<Places>::default();
        let take = |last: u8| places.take(IpAddr::from([10, 0, 0, last]), limits);
        let (first, second) = (take(1), take(1));
        assert!(first.is_some() && second.is_some() && take(1).is_none());
        let other = take(2);
        assert!(other.is_some() && take(3).is_none());
        drop(first);
        assert!(take(3).is_some());
        drop((second, other));
        assert_eq!(places.0.lock().unwrap().0, 0);
        assert!(places.0.lock().unwrap().1.is_empty());
    }
}
