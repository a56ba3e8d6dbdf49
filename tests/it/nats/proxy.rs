//! A proxy between the store and nats-server that understands frames, and loses or holds back some of them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What is to happen to frames. One at a time; the connections that are open obey a new one at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    Pass,
    /// The acknowledgement of the message with this sequence number is lost; all else passes.
    LoseAck(u64),
    /// All acknowledgements from this sequence number on are lost, and the connection with the last one of a batch of so many.
    LoseAcksFrom(u64),
    /// Publishes that expect this last sequence number or a later one are held back, and the client's side of the connection is
    /// closed: they are on their way to the server, and nobody waits for them any more.
    HoldFrom(u64),
}

pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    plan: Mutex<Plan>,
    /// What is held back, with the server's side of its connection.
    held: Mutex<Vec<(TcpStream, Vec<u8>)>>,
    /// What the server said to connections whose client has gone.
    late_answers: Mutex<Vec<String>>,
    lost: Mutex<u64>,
}

impl Proxy {
    pub(crate) fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            plan: Mutex::new(Plan::Pass),
            held: Mutex::default(),
            late_answers: Mutex::default(),
            lost: Mutex::default(),
        });
        let for_thread = Arc::clone(&shared);
        // Ends with the process of the test.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else { continue };
                client.set_nodelay(true).ok();
                server.set_nodelay(true).ok();
                let (shared, client_too, server_too) =
                    (Arc::clone(&for_thread), client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || shared.to_server(&client_too, server_too));
                let shared = Arc::clone(&for_thread);
                thread::spawn(move || shared.to_client(server, client));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    pub(crate) fn plan(&self, plan: Plan) {
        *self.shared.plan.lock().unwrap() = plan;
    }

    /// Frames that were lost.
    pub(crate) fn lost(&self) -> u64 {
        *self.shared.lost.lock().unwrap()
    }

    /// Bytes of publishes that are held back.
    pub(crate) fn held(&self) -> usize {
        self.shared.held.lock().unwrap().iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Lets what was held back go on to the server.
    pub(crate) fn release(&self) {
        for (mut server, bytes) in self.shared.held.lock().unwrap().drain(..) {
            server.write_all(&bytes).unwrap();
        }
    }

    /// What the server said to those whose client has gone.
    pub(crate) fn late_answers(&self) -> Vec<String> {
        self.shared.late_answers.lock().unwrap().clone()
    }
}

impl Shared {
    fn plan(&self) -> Plan {
        *self.plan.lock().unwrap()
    }

    fn to_server(&self, client: &TcpStream, mut server: TcpStream) {
        let mut from = BufReader::new(client.try_clone().unwrap());
        let mut holding: Option<Vec<u8>> = None;
        while let Some(frame) = next_frame(&mut from) {
            let holds = match (self.plan(), expected(&frame)) {
                (Plan::HoldFrom(first), Some(expected)) => expected >= first,
                _ => false,
            };
            if holds || holding.is_some() {
                holding.get_or_insert_default().extend_from_slice(&frame);
            } else if server.write_all(&frame).is_err() {
                break;
            }
            if holding.is_some() && from.buffer().is_empty() {
                // All that the client had sent.
                break;
            }
        }
        client.shutdown(Shutdown::Both).ok();
        match holding {
            Some(bytes) => self.held.lock().unwrap().push((server, bytes)),
            None => server.shutdown(Shutdown::Both).unwrap_or(()),
        }
    }

    fn to_client(&self, server: TcpStream, mut client: TcpStream) {
        let mut from = BufReader::new(server);
        let mut gone = false;
        while let Some(frame) = next_frame(&mut from) {
            let loses = match (self.plan(), acknowledged(&frame)) {
                (Plan::LoseAck(lost), Some(sequence)) => sequence == lost,
                (Plan::LoseAcksFrom(first), Some(sequence)) => sequence >= first,
                _ => false,
            };
            if loses {
                *self.lost.lock().unwrap() += 1;
                continue;
            }
            gone = gone || client.write_all(&frame).is_err();
            if gone {
                self.late_answers.lock().unwrap().push(String::from_utf8_lossy(&frame).into_owned());
            }
        }
        client.shutdown(Shutdown::Both).ok();
    }
}

/// A line, and the bytes behind it where it announces some.
fn next_frame(from: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut frame = Vec::new();
    if from.read_until(b'\n', &mut frame).ok()? == 0 {
        return None;
    }
    let line = String::from_utf8_lossy(&frame).into_owned();
    let verb = line.split(' ').next().unwrap_or_default();
    if matches!(verb, "MSG" | "HMSG" | "PUB" | "HPUB") {
        let bytes: usize = line.trim_end().rsplit(' ').next()?.parse().ok()?;
        let start = frame.len();
        frame.resize(start + bytes + 2, 0);
        from.read_exact(&mut frame[start..]).ok()?;
    }
    Some(frame)
}

/// The last sequence number that a publish expects.
fn expected(frame: &[u8]) -> Option<u64> {
    number_after(frame, "Nats-Expected-Last-Sequence: ")
}

/// The sequence number that an acknowledgement tells.
fn acknowledged(frame: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(frame);
    (text.starts_with("MSG _INBOX") && text.contains("\"stream\":") && !text.contains("\"type\":"))
        .then(|| number_after(frame, "\"seq\":"))
        .flatten()
}

fn number_after(frame: &[u8], name: &str) -> Option<u64> {
    let text = String::from_utf8_lossy(frame);
    let rest = text.split_once(name)?.1.trim_start();
    let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}
