//! What the same work costs with nothing around it: frames by tokio-tungstenite on one thread, three pointers looked up, a
//! hash set of ids, zstd level 1 blocks of 64 KiB, a checksummed append, fdatasync at most every 100 ms.
//!
//! It loses what a daemon must not (it never forgets an id, reads nothing back, bounds nothing), so it is a floor and not
//! a rival.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use sonic_rs::{JsonValueTrait, PointerTree};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::consumer::{Figures, Flood, topics};

const BLOCK_BYTES: usize = 64 << 10;
const SYNC_INTERVAL: Duration = Duration::from_millis(100);

/// Runs the baseline as a process of its own.
pub(crate) fn measure(flood: &Flood, connections: usize, messages: u64, folder: &Path) -> Figures {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--baseline", &flood.url, &connections.to_string(), &messages.to_string()])
        .arg(folder.join("blocks"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the baseline starts");
    let started = Instant::now();
    let mut done = [0; 4];
    child.stdout.as_mut().expect("it is piped").read_exact(&mut done).expect("it gets done");
    let figures = Figures::of(child.id(), messages, started, 0.0);
    drop(child.stdin.take());
    child.wait().ok();
    figures
}

/// The process: takes the messages, says so, and waits to be measured.
pub(crate) fn main(arguments: &[String]) {
    let [url, connections, messages, path] = arguments else { panic!("url, connections, messages, path") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let connections = connections.parse().expect("a number");
    runtime.block_on(take(url, connections, messages.parse().expect("a number"), Path::new(path)));
    print!("done");
    std::io::stdout().flush().expect("somebody listens");
    std::io::stdin().read_to_end(&mut Vec::new()).ok();
}

async fn take(url: &str, connections: usize, messages: u64, path: &Path) {
    let topics = topics(4);
    let mut sockets = futures_util::stream::SelectAll::new();
    for connection in 0..connections {
        let address = url.trim_start_matches("ws://").split('/').next().expect("an address").to_owned();
        let tcp = TcpStream::connect(address).await.expect("it listens");
        let (mut socket, _): (WebSocketStream<TcpStream>, _) =
            tokio_tungstenite::client_async(url, tcp).await.expect("a handshake");
        let mine: Vec<&String> = topics.iter().skip(connection).step_by(connections).collect();
        let request = serde_json::json!({ "method": "SUBSCRIBE", "params": mine, "id": 1 });
        socket.send(Message::text(request.to_string())).await.expect("it reads");
        sockets.push(socket);
    }
    let mut tree = PointerTree::new();
    tree.add_path(&["data", "t"]);
    tree.add_path(&["data", "s"]);
    tree.add_path(&["data", "E"]);
    // Ids of a flood are unique over its topics, and there is room for all from the start: as cheap as a set can be.
    let mut seen: HashSet<u64> = HashSet::with_capacity(usize::try_from(messages).expect("a count"));
    let mut log = Log::create(path);
    let mut taken = 0;
    while taken < messages {
        let Some(Ok(message)) = sockets.next().await else { panic!("the flood ended early") };
        let Message::Text(text) = message else { continue };
        let Ok(found) = sonic_rs::get_many(text.as_str(), &tree) else { continue };
        let [Some(id), Some(_symbol), Some(_time)] = &found[..] else { continue };
        if seen.insert(id.as_u64().expect("a number")) {
            log.append(text.as_bytes());
            taken += 1;
        }
    }
    log.flush();
    log.file.sync_data().expect("a sync");
}

struct Log {
    file: File,
    block: Vec<u8>,
    compressor: zstd::bulk::Compressor<'static>,
    synced: Instant,
}

impl Log {
    fn create(path: &Path) -> Self {
        Self {
            file: File::create(path).expect("a file"),
            block: Vec::with_capacity(BLOCK_BYTES + 4096),
            compressor: zstd::bulk::Compressor::new(1).expect("a level"),
            synced: Instant::now(),
        }
    }

    fn append(&mut self, text: &[u8]) {
        self.block.extend_from_slice(&u32::try_from(text.len()).expect("short").to_le_bytes());
        self.block.extend_from_slice(text);
        if self.block.len() >= BLOCK_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let compressed = self.compressor.compress(&self.block).expect("zstd compresses");
        let mut header = [0; 8];
        header[..4].copy_from_slice(&u32::try_from(compressed.len()).expect("short").to_le_bytes());
        header[4..].copy_from_slice(&crc32c::crc32c(&compressed).to_le_bytes());
        self.file.write_all(&header).expect("a write");
        self.file.write_all(&compressed).expect("a write");
        self.block.clear();
        if self.synced.elapsed() >= SYNC_INTERVAL {
            self.file.sync_data().expect("a sync");
            self.synced = Instant::now();
        }
    }
}
