//! Clients that do not keep up cost themselves.

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::Value;

use super::super::processes::{Daemon, until, until_within};
use super::super::support::Workplace;
use super::{Sse, journaled, start};

fn health(daemon: &Daemon) -> Value {
    serde_json::from_str(&daemon.get("/v1/health/streaming").1).unwrap()
}

/// Asks for a stream and never reads it.
fn stalled(address: &str, query: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
    write!(socket, "GET /v1/sse/events{query} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    socket
}

#[test]
fn clients_that_never_read_are_cut_off_and_those_beside_them_get_everything() {
    let place = Workplace::new();
    let (daemon, feed) = start(&place, "5000", "[server.streams]\nstall_timeout = \"2s\"\n");
    let mut reader = Sse::open(daemon.address(), "?from=0", "");
    let never: Vec<TcpStream> = (0..10).map(|_| stalled(daemon.address(), "?events=all")).collect();
    until("all listen", || (health(&daemon)["metrics"]["sse_connections"].as_u64()? == 11).then_some(()));
    let mut got = Vec::new();
    // As many as fill each buffer on the way, and more.
    until("those that never read are gone", || {
        got.extend(std::iter::from_fn(|| reader.event()).take(2000).map(|sent| sent.id.unwrap()));
        (health(&daemon)["metrics"]["sse_connections"].as_u64()? == 1).then_some(())
    });
    let journal: Vec<u64> = journaled(&place, &[]).into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(got, journal[..got.len()]);
    drop((never, daemon, feed));
}

#[test]
fn a_slow_client_that_hears_what_is_now_is_told_what_it_lost_low_ones_first() {
    let place = Workplace::new();
    let (daemon, feed) = start(&place, "5000", "[server.streams]\nstall_timeout = \"10m\"\n");
    let socket = stalled(daemon.address(), "?events=monitor:solana");
    until("it listens", || (health(&daemon)["metrics"]["sse_connections"] == 1).then_some(()));
    until_within(std::time::Duration::from_secs(90), "it has lost some", || {
        health(&daemon)["metrics"]["events_dropped_total"].as_u64().filter(|dropped| *dropped > 0)
    });
    // It reads again.
    socket.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let mut stream = Sse { lines: std::io::BufReader::new(socket), body: Vec::new() };
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        std::io::BufRead::read_line(&mut stream.lines, &mut head).unwrap();
    }
    let (mut last, mut told) = (None::<u64>, 0);
    let mut expected: Vec<u64> = Vec::new();
    while told == 0 || expected.len() < 50 {
        let sent = stream.next().unwrap();
        match sent.event.as_str() {
            "event" => {
                assert!(last < sent.id);
                last = sent.id;
                if told > 0 {
                    expected.extend(sent.id);
                }
            }
            "dropped" => {
                let drops = sent.json();
                assert!(last < drops["from"].as_u64() && drops["high"] == 0, "{drops}");
                told += drops["low"].as_u64().unwrap();
            }
            _ => {}
        }
    }
    drop((daemon, feed));
}
