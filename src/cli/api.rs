//! Asks the running daemon over its HTTP server. One request a connection, by HTTP/1.0: the answer then ends where the
//! connection does, and no library is needed for it.

mod tls;

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use self::tls::Connection;
use super::{CliError, Context, Exit};
use crate::config::ServerSettings;

/// The longest any single step of a request may take. Source: a guess; the daemon answers out of memory.
const STEP_MAX: Duration = Duration::from_secs(5);
/// The longest a change may take: it is made durable, and links are changed.
pub(super) const CHANGE_PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is read. Far above a row for each of 10,000 monitors.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Where a token is looked for first.
const TOKEN_VARIABLE: &str = "SLUICE_TOKEN";

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// What came after the head.
    pub(super) body: Vec<u8>,
}

/// Asks the daemon that runs with the settings in force.
pub(super) fn get(context: &Context, path: &str) -> Result<Answer, CliError> {
    send(context, "GET", path, None)
}

/// Tells the daemon to do something; `body` is JSON.
pub(super) fn send(context: &Context, method: &str, path: &str, body: Option<&[u8]>) -> Result<Answer, CliError> {
    send_patiently(context, method, path, body, STEP_MAX)
}

/// As [`send`], for what takes the daemon longer to answer.
pub(super) fn send_patiently(
    context: &Context,
    method: &str,
    path: &str,
    body: Option<&[u8]>,
    patience: Duration,
) -> Result<Answer, CliError> {
    let Asked { answer, address, has_token } = ask(context, &Request { method, path, body, patience })?;
    let foreign = || CliError::plain(Exit::No, format!("what answers at {address} is not a Sluice daemon"));
    match answer.status {
        401 if !has_token => Err(CliError::plain(
            Exit::No,
            format!(
                "the daemon at {address} wants a token; put one into {TOKEN_VARIABLE}, or set `server.token_file` here as it is set there"
            ),
        )),
        401 | 403 => {
            let text = || String::from_utf8_lossy(&answer.body).trim().to_owned();
            let said = refusal(&answer).map_or_else(text, |refusal| refusal.detail);
            Err(CliError::plain(Exit::No, format!("the daemon at {address} refuses: {said}")))
        }
        // What the daemon has to say against it is for people; health says what it has to say with 503.
        400.. => match (refusal(&answer), answer.status) {
            (Some(Refusal { detail, problems }), _) => {
                let exit = if problems.is_empty() { Exit::No } else { Exit::BadSettings };
                Err(CliError::plain(exit, detail))
            }
            (None, 404) => Err(foreign()),
            (None, _) => Ok(answer),
        },
        _ => Ok(answer),
    }
}

/// An answer of any status, and who was asked how.
struct Asked {
    answer: Answer,
    address: SocketAddr,
    has_token: bool,
}

/// Asks for something of which any answer will do.
pub(super) fn get_any(context: &Context, path: &str) -> Result<Answer, CliError> {
    ask(context, &Request { method: "GET", path, body: None, patience: CHANGE_PATIENCE }).map(|asked| asked.answer)
}

fn ask(context: &Context, request: &Request<'_>) -> Result<Asked, CliError> {
    let settings = context.load()?.settings.server;
    let address = reachable(settings.listen);
    if address.port() == 0 {
        let reason = "`server.listen` has port 0, so the daemon chose one when it started; name it: --set server.listen=127.0.0.1:PORT";
        return Err(CliError::plain(Exit::Usage, reason));
    }
    let token = token(&settings)?;
    let certificate = settings.tls.certificate.as_deref();
    let raw = exchange(address, request, token.as_deref(), certificate).map_err(|error| {
        let started =
            if context.file.is_some() { "with the same --config" } else { "or name its settings by --config" };
        let message = format!("no daemon answers at {address}; start it by `sluice run`, {started}");
        CliError::new(Exit::Unreachable, message, said_plainly(error, request.patience))
    })?;
    let foreign = || CliError::plain(Exit::No, format!("what answers at {address} is not a Sluice daemon"));
    Ok(Asked { answer: parse(raw).ok_or_else(foreign)?, address, has_token: token.is_some() })
}

/// What a daemon of ours at an address answers; none where there is no answer. Without a token.
pub(super) fn get_at(address: SocketAddr, path: &str) -> Option<Answer> {
    let request = Request { method: "GET", path, body: None, patience: STEP_MAX };
    exchange(reachable(address), &request, None, None).ok().and_then(parse)
}

/// Whether what answers at an address is a daemon of ours.
pub(super) fn is_a_daemon(address: SocketAddr) -> bool {
    let answer = get_at(address, "/v1/health/live");
    answer.is_some_and(|answer| answer.status == 200 && answer.body == b"ok\n")
}

/// A refusal with its reason.
#[derive(serde::Deserialize)]
struct Refusal {
    /// As `error` an older daemon says it.
    #[serde(alias = "error")]
    detail: String,
    /// What is wrong with settings, where that is the reason.
    #[serde(default)]
    problems: Vec<serde_json::Value>,
}

/// What an answer gives as the reason for a refusal.
fn refusal(answer: &Answer) -> Option<Refusal> {
    serde_json::from_slice(&answer.body).ok()
}

/// A name as a part of a path: settings allow letters, digits, `.`, `_` and `-`; whatever else was typed must not become another path.
pub(super) fn in_path(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// A daemon that listens on every address of its host is asked by the loopback.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listen
}

fn token(settings: &ServerSettings) -> Result<Option<String>, CliError> {
    if let Some(token) = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.trim().is_empty()) {
        return sendable(token.trim()).map(Some).ok_or_else(|| {
            CliError::plain(Exit::Usage, format!("the token in {TOKEN_VARIABLE} has characters that HTTP cannot carry"))
        });
    }
    let Some(path) = &settings.token_file else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|error| {
        CliError::new(Exit::No, format!("cannot read the token of `server.token_file` from {}", path.display()), error)
    })?;
    sendable(text.trim()).map(Some).ok_or_else(|| {
        CliError::plain(Exit::No, format!("the token in {} has characters that HTTP cannot carry", path.display()))
    })
}

/// None where something in it could end the header and begin another.
fn sendable(token: &str) -> Option<String> {
    token.chars().all(|character| character.is_ascii_graphic()).then(|| token.to_owned())
}

struct Request<'a> {
    method: &'a str,
    path: &'a str,
    body: Option<&'a [u8]>,
    /// The longest the daemon may take before it begins to answer.
    patience: Duration,
}

fn exchange(
    address: SocketAddr,
    request: &Request<'_>,
    token: Option<&str>,
    certificate: Option<&Path>,
) -> io::Result<Vec<u8>> {
    let stream = TcpStream::connect_timeout(&address, STEP_MAX)?;
    stream.set_read_timeout(Some(request.patience))?;
    stream.set_write_timeout(Some(STEP_MAX))?;
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let Request { method, path, body, patience: _ } = request;
    let content = match body {
        Some(body) => format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()),
        None => String::new(),
    };
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nAccept: application/json\r\n{content}{authorization}\r\n"
    );
    let mut stream = Connection::new(stream, certificate)?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.unwrap_or_default())?;
    stream.flush()?;
    let mut raw = Vec::new();
    match stream.take(ANSWER_BYTES_MAX).read_to_end(&mut raw) {
        // Of TLS that ends without its own last word; whether the answer is whole, its length says.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !raw.is_empty() => Ok(raw),
        Err(error) => Err(error),
        Ok(_) => Ok(raw),
    }
}

/// A timeout of a blocking socket calls itself "resource temporarily unavailable", which tells nobody anything.
fn said_plainly(error: io::Error, patience: Duration) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", patience.as_secs()))
        }
        _ => error,
    }
}

/// Takes an answer apart; none if it is none, or was cut short.
fn parse(mut raw: Vec<u8>) -> Option<Answer> {
    let head_end = memchr::memmem::find(&raw, b"\r\n\r\n")?;
    let body = raw.split_off(head_end + 4);
    let head = String::from_utf8(raw).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let whole = !name.eq_ignore_ascii_case("content-length") || value.trim().parse() == Ok(body.len());
        // HTTP/1.0 has no pieces; who sends them all the same is not ours.
        if !whole || name.eq_ignore_ascii_case("transfer-encoding") {
            return None;
        }
    }
    Some(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_cut_short_is_none() {
        let whole = b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbody".to_vec();
        let answer = parse(whole.clone()).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (503, &b"body"[..]));
        for length in 0..whole.len() {
            assert!(parse(whole[..length].to_vec()).is_none(), "{length}");
        }
        assert!(parse(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()).is_none());
        assert!(parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec()).is_none());
    }

    #[test]
    fn a_daemon_on_all_addresses_is_asked_by_the_loopback() {
        assert_eq!(reachable("0.0.0.0:9464".parse().unwrap()), "127.0.0.1:9464".parse().unwrap());
        assert_eq!(reachable("[::]:9464".parse().unwrap()), "[::1]:9464".parse().unwrap());
        assert_eq!(reachable("10.0.0.1:1".parse().unwrap()), "10.0.0.1:1".parse().unwrap());
    }
}
