//! Proxies that connections go through: HTTP's `CONNECT`, and SOCKS5, which is also told the host by its name, so that the name is
//! looked up there.
//!
//! Written out, since both are a few bytes each way, and what a proxy says no with should be told.

use std::fmt;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest head of an answer to `CONNECT`.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// How a proxy is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// RFC 9110, `CONNECT`.
    Http,
    /// RFC 1928, with RFC 1929 where there are credentials.
    Socks5,
}

/// A proxy, with its credentials, which nothing shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: ProxyKind,
    host: String,
    port: u16,
    login: Option<(String, String)>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Scheme, host and port.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            ProxyKind::Http => "http",
            ProxyKind::Socks5 => "socks5",
        };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// Why a proxy does not let us through.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// It cannot be reached, or the connection to it broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It wants other credentials.
    #[error("{0}; check user and password in `proxy`")]
    Credentials(String),
    /// It lets nobody through, or not there.
    #[error("{0}")]
    Refused(String),
    /// What answered is no such proxy.
    #[error("it does not answer as {0} does; check scheme and port in `proxy`")]
    Foreign(&'static str),
}

impl Proxy {
    /// A proxy with user and password, if it wants any.
    pub fn new(kind: ProxyKind, host: String, port: u16, login: Option<(String, String)>) -> Self {
        Self { kind, host, port, login }
    }

    /// As the HTTP client knows proxies: the host's name is told to it too.
    ///
    /// # Errors
    /// When its host is none.
    pub(crate) fn for_http(&self) -> Result<reqwest::Proxy, reqwest::Error> {
        let scheme = match self.kind {
            ProxyKind::Http => "http",
            ProxyKind::Socks5 => "socks5h",
        };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let proxy = reqwest::Proxy::all(format!("{scheme}://{host}:{}", self.port))?;
        Ok(match &self.login {
            Some((user, password)) => proxy.basic_auth(user, password),
            None => proxy,
        })
    }

    /// A connection to `host` through it. One that is given up half-way is closed.
    ///
    /// # Errors
    /// When it cannot be reached or says no.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, ProxyError> {
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        match self.kind {
            ProxyKind::Http => self.tunnel(&mut stream, host, port).await?,
            ProxyKind::Socks5 => self.socks(&mut stream, host, port).await?,
        }
        Ok(stream)
    }

    async fn tunnel(&self, stream: &mut TcpStream, host: &str, port: u16) -> Result<(), ProxyError> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
        if let Some((user, password)) = &self.login {
            let basic = STANDARD.encode(format!("{user}:{password}"));
            request.extend(["Proxy-Authorization: Basic ", &basic, "\r\n"]);
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        let foreign = || ProxyError::Foreign("an HTTP proxy");
        let mut head = Vec::new();
        // Byte by byte: what comes behind the head is the upstream's already.
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() == HEAD_BYTES_MAX {
                return Err(foreign());
            }
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(error) if is_end(&error) => return Err(foreign()),
                Err(error) => return Err(error.into()),
            }
        }
        let head = String::from_utf8_lossy(&head);
        let line = head.lines().next().unwrap_or_default();
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
        match status.and_then(|status| status.parse::<u16>().ok()).ok_or_else(foreign)? {
            200..=299 => Ok(()),
            407 => Err(ProxyError::Credentials("it refused the credentials with HTTP 407".into())),
            status => Err(ProxyError::Refused(format!("it answered CONNECT with HTTP {status}"))),
        }
    }

    async fn socks(&self, stream: &mut TcpStream, host: &str, port: u16) -> Result<(), ProxyError> {
        const VERSION: u8 = 5;
        const CONNECT: u8 = 1;
        const NO_LOGIN: u8 = 0;
        const USER_PASSWORD: u8 = 2;
        const NONE: u8 = 0xff;
        let foreign = || ProxyError::Foreign("a SOCKS5 proxy");
        let methods: &[u8] = if self.login.is_some() { &[NO_LOGIN, USER_PASSWORD] } else { &[NO_LOGIN] };
        let count = u8::try_from(methods.len()).unwrap_or_default();
        stream.write_all(&[&[VERSION, count], methods].concat()).await?;
        let mut chosen = [0; 2];
        read(stream, &mut chosen, foreign).await?;
        match (chosen, &self.login) {
            ([VERSION, NO_LOGIN], _) => {}
            ([VERSION, USER_PASSWORD], Some((user, password))) => {
                let length = |text: &str| u8::try_from(text.len()).ok().filter(|length| *length > 0);
                let (Some(users), Some(passwords)) = (length(user), length(password)) else {
                    return Err(ProxyError::Credentials("SOCKS5 has users and passwords of 1 to 255 bytes".into()));
                };
                let login = [&[1, users], user.as_bytes(), &[passwords], password.as_bytes()].concat();
                stream.write_all(&login).await?;
                let mut answer = [0; 2];
                read(stream, &mut answer, foreign).await?;
                if answer[1] != 0 {
                    return Err(ProxyError::Credentials("it refused the credentials".into()));
                }
            }
            ([VERSION, NONE], login) => {
                let why = if login.is_some() {
                    "it takes neither nobody nor user and password"
                } else {
                    "it wants credentials"
                };
                return Err(ProxyError::Credentials(why.into()));
            }
            _ => return Err(foreign()),
        }
        let address = match host.parse() {
            Ok(std::net::IpAddr::V4(address)) => [&[1][..], &address.octets()].concat(),
            Ok(std::net::IpAddr::V6(address)) => [&[4][..], &address.octets()].concat(),
            Err(_) => {
                let length =
                    u8::try_from(host.len()).map_err(|_| ProxyError::Refused("the host's name is too long".into()))?;
                [&[3, length], host.as_bytes()].concat()
            }
        };
        stream.write_all(&[&[VERSION, CONNECT, 0], &address[..], &port.to_be_bytes()].concat()).await?;
        let mut answer = [0; 4];
        read(stream, &mut answer, foreign).await?;
        if answer[0] != VERSION {
            return Err(foreign());
        }
        if answer[1] != 0 {
            return Err(ProxyError::Refused(format!("it did not connect: {}", socks_reason(answer[1]))));
        }
        // The address that it connects from: of no use to us, and to be read away.
        let rest = match answer[3] {
            1 => 4,
            4 => 16,
            3 => {
                let mut length = [0];
                read(stream, &mut length, foreign).await?;
                usize::from(length[0])
            }
            _ => return Err(foreign()),
        };
        read(stream, &mut vec![0; rest + 2], foreign).await
    }
}

/// Reads so many bytes; an end before says that this is something else.
async fn read(stream: &mut TcpStream, into: &mut [u8], foreign: impl Fn() -> ProxyError) -> Result<(), ProxyError> {
    match stream.read_exact(into).await {
        Ok(_) => Ok(()),
        Err(error) if is_end(&error) => Err(foreign()),
        Err(error) => Err(error.into()),
    }
}

/// Whether the other side went away: what it was said, it did not understand.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}

/// RFC 1928, section 6.
fn socks_reason(code: u8) -> String {
    match code {
        1 => "general failure".into(),
        2 => "its rules do not allow it".into(),
        3 => "network unreachable".into(),
        4 => "host unreachable".into(),
        5 => "connection refused".into(),
        6 => "the time to live was over".into(),
        7 => "it knows no CONNECT".into(),
        8 => "it knows no such kind of address".into(),
        code => format!("code {code}"),
    }
}
