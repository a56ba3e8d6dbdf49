//! The HTTP server against whoever means it ill, and for those who do not.

mod abuse;
mod document;
mod events;
mod following;
mod problems;
mod tls;
mod tokens;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::processes::{Daemon, Settings};
use crate::support::Workplace;

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The detail of what must be problem details.
    fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"), "{self:?}");
        assert!(problem["title"].is_string() && problem["type"].is_string(), "{self:?}");
        problem["detail"].as_str().filter(|detail| !detail.is_empty()).expect("a detail").to_owned()
    }
}

/// A connection from an address of this host.
fn connect_from(last: u8, address: &str) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let SocketAddr::V4(to) = address.parse().unwrap() else { panic!("{address}") };
    let stream = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&stream, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), 0)).unwrap();
    connect(&stream, &to).unwrap();
    let stream = TcpStream::from(stream);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// What comes until the connection ends.
fn answer(mut stream: TcpStream) -> Answer {
    let mut raw = Vec::new();
    // A server that refuses what is still being sent may break the connection after its answer.
    stream.read_to_end(&mut raw).ok();
    let text = String::from_utf8(raw).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn ask_from(last: u8, address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = connect_from(last, address);
    // By HTTP/1.0 an answer ends with its connection, and comes in no pieces.
    let mut head = vec![format!("{method} {path} HTTP/1.0")];
    if !headers.iter().any(|(name, _)| *name == "Host") {
        head.push(format!("Host: {address}"));
    }
    head.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
    if !body.is_empty() || method != "GET" {
        head.push(format!("Content-Length: {}", body.len()));
    }
    stream.write_all((head.join("\r\n") + "\r\n\r\n").as_bytes()).unwrap();
    stream.write_all(body).ok();
    answer(stream)
}

fn ask(daemon: &Daemon, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    ask_from(1, daemon.address(), method, path, headers, body)
}

fn get(daemon: &Daemon, path: &str) -> Answer {
    ask(daemon, "GET", path, &[], b"")
}

/// A daemon that has nothing to take: what its upstream is does not matter.
fn quiet(place: &Workplace, server: &str) -> Daemon {
    Daemon::start(place, &quiet_settings(server))
}

fn quiet_settings(server: &str) -> Settings {
    let listen = "[smart_streaming]\nenabled = true\n[server]\nlisten = \"127.0.0.1:0\"\n";
    Settings::of(format!("{listen}{server}\n")).upstream("feed", "binance", "ws://127.0.0.1:1/").monitor(
        "trades",
        "spot",
        "feed",
        &["btcusdt@trade"],
        "",
    )
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}
