//! An upstream that is asked over HTTP, whose answers a test writes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use tokio::time::Instant;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Path and query.
    pub(crate) target: String,
    /// `name: value`, names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) at: Instant,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// An answer: its head but for the length, and its body.
pub(crate) enum Answer {
    /// Status line and headers, and a body that ends.
    Whole(String, Vec<u8>),
    /// A body in pieces, with no end until the flag is given.
    Endless(Vec<Vec<u8>>, Arc<Mutex<bool>>),
}

impl Answer {
    pub(crate) fn ok(headers: &str, body: &str) -> Self {
        Self::Whole(format!("200 OK\r\n{headers}"), body.as_bytes().to_vec())
    }

    pub(crate) fn status(line: &str) -> Self {
        Self::Whole(format!("{line}\r\n"), Vec::new())
    }
}

/// The server. Its threads end with the connections, at the latest with the process.
pub(crate) struct HttpUpstream {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl HttpUpstream {
    /// Answers the Nth request, from 1, by `script`.
    pub(crate) fn start(script: impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (noted, script) = (Arc::clone(&asked), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (noted, script) = (Arc::clone(&noted), Arc::clone(&script));
                // A client that leaves in the middle is what some tests are about.
                thread::spawn(move || serve(stream, &noted, &*script).ok());
            }
        });
        Self { address, asked }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    stream: TcpStream,
    noted: &Mutex<Vec<Asked>>,
    script: &(dyn Fn(usize, &Asked) -> Answer + Send + Sync),
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut stream = stream;
    let first = lines.next().ok_or_else(|| std::io::Error::other("no request"))??;
    let mut asked = Asked {
        target: first.split(' ').nth(1).unwrap_or_default().to_owned(),
        headers: Vec::new(),
        at: Instant::now(),
    };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        asked.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let number = {
        let mut noted = noted.lock().unwrap();
        noted.push(asked.clone());
        noted.len()
    };
    match script(number, &asked) {
        Answer::Whole(head, body) => {
            let length = body.len();
            write!(stream, "HTTP/1.1 {head}Content-Length: {length}\r\nConnection: close\r\n\r\n")?;
            stream.write_all(&body)
        }
        Answer::Endless(pieces, over) => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n";
            stream.write_all(head.as_bytes())?;
            for piece in pieces {
                stream.write_all(&piece)?;
                stream.flush()?;
            }
            while !*over.lock().unwrap() {
                thread::sleep(std::time::Duration::from_millis(5));
            }
            Ok(())
        }
    }
}
