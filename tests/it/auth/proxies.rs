//! Proxies: links and HTTP go through them, by the host's name, with credentials that are shown nowhere.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::handshake::live;
use super::servers::{Guarded, HttpServer, acknowledged, read_head};
use crate::processes::{Daemon, Settings, until};
use crate::support::Workplace;

/// What a proxy does with whoever comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// Lets in who has the credentials `user` and `pass word`.
    Guarded,
    /// Lets everybody in.
    Open,
    /// Lets nobody through.
    Shut,
}

/// A proxy, and where it was asked to connect to.
struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(door: Door, shake: fn(&mut TcpStream, Door) -> Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let noted = Arc::clone(&noted);
                thread::spawn(move || {
                    let Some(target) = shake(&mut stream, door) else { return };
                    noted.lock().unwrap().push(target.clone());
                    // The names that tests use are all of this machine, which nobody but the proxy knows.
                    let port = target.rsplit_once(':').unwrap().1.parse().unwrap();
                    let Ok(there) = TcpStream::connect(("127.0.0.1", port)) else { return };
                    join(stream, there);
                });
            }
        });
        Self { address, asked }
    }

    fn http(door: Door) -> Self {
        Self::start(door, http)
    }

    fn socks(door: Door) -> Self {
        Self::start(door, socks)
    }

    fn url(&self, scheme: &str, login: &str) -> String {
        format!("{scheme}://{login}{}", self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn join(one: TcpStream, other: TcpStream) {
    let pass = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || {
            // Ends with either of them.
            std::io::copy(&mut from, &mut to).ok();
            to.shutdown(std::net::Shutdown::Both).ok();
        })
    };
    pass(one.try_clone().unwrap(), other.try_clone().unwrap());
    pass(other, one);
}

fn http(stream: &mut TcpStream, door: Door) -> Option<String> {
    let head = read_head(stream)?;
    let target = head.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    let basic = format!("Basic {}", STANDARD.encode("user:pass word"));
    let known = head.lines().any(|line| {
        line.split_once(": ")
            .is_some_and(|(name, value)| name.eq_ignore_ascii_case("proxy-authorization") && value == basic)
    });
    let answer = match door {
        Door::Shut => "403 Forbidden",
        Door::Guarded if !known => "407 Proxy Authentication Required",
        _ => "200 OK",
    };
    stream.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).ok()?;
    answer.starts_with("200").then_some(target)
}

fn socks(stream: &mut TcpStream, door: Door) -> Option<String> {
    let bytes = |count: usize, stream: &mut TcpStream| {
        let mut read = vec![0; count];
        stream.read_exact(&mut read).ok().map(|()| read)
    };
    let hello = bytes(2, stream)?;
    if hello[0] != 5 {
        return None;
    }
    let methods = bytes(usize::from(hello[1]), stream)?;
    if door == Door::Guarded {
        if !methods.contains(&2) {
            stream.write_all(&[5, 0xff]).ok()?;
            return None;
        }
        stream.write_all(&[5, 2]).ok()?;
        let user = bytes(2, stream)?[1];
        let user = bytes(usize::from(user), stream)?;
        let password = bytes(1, stream)?[0];
        let password = bytes(usize::from(password), stream)?;
        let known = (&user[..], &password[..]) == (b"user", b"pass word");
        stream.write_all(&[1, u8::from(!known)]).ok()?;
        if !known {
            return None;
        }
    } else {
        stream.write_all(&[5, 0]).ok()?;
    }
    let request = bytes(4, stream)?;
    assert_eq!(request[..3], [5, 1, 0]);
    let host = match request[3] {
        1 => bytes(4, stream)?.iter().map(u8::to_string).collect::<Vec<_>>().join("."),
        3 => {
            let length = bytes(1, stream)?[0];
            String::from_utf8(bytes(usize::from(length), stream)?).unwrap()
        }
        kind => panic!("an address of kind {kind}"),
    };
    let port = bytes(2, stream)?;
    let port = u16::from_be_bytes([port[0], port[1]]);
    let code = if door == Door::Shut { 2 } else { 0 };
    stream.write_all(&[5, code, 0, 1, 127, 0, 0, 1, 0, 0]).ok()?;
    (code == 0).then(|| format!("{host}:{port}"))
}

fn upstream() -> Guarded {
    Guarded::start(|_| None, |_, request| acknowledged(request))
}

fn settings(url: &str, proxy: &str, more: &str) -> Settings {
    Settings::new().upstream("feed", "binance", url).with(&format!("proxy = '{proxy}'\n{more}")).monitor(
        "m",
        "d",
        "feed",
        &["x@trade"],
        "",
    )
}

/// A name that only the proxy knows.
fn far(upstream: &Guarded) -> (String, String) {
    (
        format!("ws://feed.nowhere.invalid:{}/stream", upstream.port()),
        format!("feed.nowhere.invalid:{}", upstream.port()),
    )
}

#[test]
fn links_go_through_either_kind_of_proxy_which_looks_the_name_up() {
    for (proxy, scheme) in [(Proxy::http(Door::Open), "http"), (Proxy::socks(Door::Open), "socks5")] {
        let (place, upstream) = (Workplace::new(), upstream());
        let (url, target) = far(&upstream);
        let daemon = Daemon::start(&place, &settings(&url, &proxy.url(scheme, ""), ""));
        live(&daemon);
        until("events come", || (daemon.monitors()["m"]["events"].as_u64() > Some(5)).then_some(()));
        assert_eq!(proxy.asked(), [target]);
        daemon.stop();
    }
}

#[test]
fn a_proxy_is_told_who_we_are_by_its_address_or_by_secrets() {
    for (proxy, scheme) in [(Proxy::http(Door::Guarded), "http"), (Proxy::socks(Door::Guarded), "socks5")] {
        for login in ["user:pass%20word@", "{user}:{password}@"] {
            let place =
                Workplace::new().with_variable("PROXY_USER", "user").with_variable("PROXY_PASSWORD", "pass word");
            let upstream = upstream();
            let more = "auth.secrets = { user = { env = 'PROXY_USER' }, password = { env = 'PROXY_PASSWORD' } }";
            let daemon = Daemon::start(&place, &settings(&far(&upstream).0, &proxy.url(scheme, login), more));
            live(&daemon);
            let shown = place.run(["--config", "sluice.toml", "config", "show"]);
            assert_eq!(shown.code, Some(0), "{}", shown.stderr);
            let log = daemon.stop();
            for said in [&shown.stdout, &shown.stderr, &log] {
                assert!(!said.contains("pass word") && !said.contains("pass%20word"), "{said}");
            }
        }
    }
}

#[test]
fn a_proxy_that_does_not_let_us_through_is_told_with_its_reason() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let no_proxy = HttpServer::start(|_, _| (200, String::new())).url("").replace("http://", "");
    for (proxy, expected) in [
        (Proxy::http(Door::Guarded).url("http", "user:wrong@"), "refused the credentials with HTTP 407"),
        (Proxy::http(Door::Shut).url("http", ""), "answered CONNECT with HTTP 403"),
        (Proxy::socks(Door::Guarded).url("socks5", "user:wrong@"), "refused the credentials"),
        (Proxy::socks(Door::Guarded).url("socks5", ""), "it wants credentials"),
        (Proxy::socks(Door::Shut).url("socks5", ""), "its rules do not allow it"),
        (format!("socks5://{nobody}"), "Connection refused"),
        (format!("socks5://{no_proxy}"), "did not answer within 3s"),
        (Proxy::socks(Door::Open).url("http", ""), "does not answer as an HTTP proxy does"),
    ] {
        let (place, upstream) = (Workplace::new(), upstream());
        let daemon = Daemon::start(&place, &settings(&far(&upstream).0, &proxy, "pool = { connect_timeout = '3s' }"));
        let error = until("it is told", || daemon.monitors()["m"]["error"].as_str().map(str::to_owned));
        assert!(error.contains("proxy ") && error.contains("on the way to feed.nowhere.invalid"), "{error}");
        assert!(error.contains(expected) && !error.contains("wrong"), "{expected}: {error}");
        assert!(daemon.metrics().value("sluice_link_failures_total", &[("upstream", "feed"), ("cause", "proxy")]) > 0);
        daemon.stop();
    }
}

#[test]
fn the_pool_has_a_proxy_for_all_that_say_nothing_else() {
    let (place, proxy) = (Workplace::new(), Proxy::http(Door::Open));
    let (one, other) = (upstream(), upstream());
    let settings = Settings::new()
        .with(&format!("proxy = '{}'", proxy.url("http", "")))
        .upstream("far", "binance", &far(&one).0)
        .upstream("near", "binance", &other.url())
        .with("proxy = 'none'")
        .monitor("m", "d", "far", &["x@trade"], "")
        .monitor("n", "d", "near", &["x@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    until("both are live", || daemon.monitors().values().all(|row| row["state"] == "live").then_some(()));
    assert_eq!(proxy.asked(), [far(&one).1]);
    daemon.stop();
}

#[test]
fn a_token_is_asked_for_through_the_proxy_too() {
    let proxy = Proxy::socks(Door::Guarded);
    let (place, upstream) = (Workplace::new(), upstream());
    let server = HttpServer::start(|_, _| (200, json!({ "token": "t0k3n" }).to_string()));
    let more = format!(
        "auth.token = {{ url = '{}', value = '/token' }}\nauth.headers = {{ X-Token = '{{token}}' }}",
        server.url("/t").replace("127.0.0.1", "tokens.nowhere.invalid")
    );
    let daemon = Daemon::start(&place, &settings(&far(&upstream).0, &proxy.url("socks5", "user:pass%20word@"), &more));
    live(&daemon);
    let asked = proxy.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[0].starts_with("tokens.nowhere.invalid:") && asked[1] == far(&upstream).1, "{asked:?}");
    assert_eq!(upstream.shakes()[0].headers["x-token"], "t0k3n");
    daemon.stop();
}
