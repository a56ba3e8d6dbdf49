//! What clients of streams cost: `cargo bench --bench streams` (or `-- --quick`, or `-- --clients 20000`).
//!
//! A feed in another process gives about 1,000 events a second to the daemon. Then so many clients come, half over WebSocket, half as
//! server-sent events: 100 of them take every event, a tenth of the others never read, the rest listen to a monitor that nobody has.
//! Told are: what the links' threads cost a message with and without clients, memory for each client that hears nothing, and what
//! delivering costs for each event and client: the threads `http` and `live` of the daemon, beside a bare tokio-tungstenite server in
//! another process that broadcasts texts of the same length to as many clients at the same rate.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

const ACTIVE: usize = 100;
const RATE: u64 = 1_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<usize>().ok()
    };
    let all = 65_536;
    let limit = rustix::process::Rlimit { current: Some(all), maximum: Some(all) };
    // Who may not raise it takes fewer clients.
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).ok();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    if let Some(length) = number("--broadcast") {
        return runtime.block_on(broadcast_bare(length));
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let clients = number("--clients").unwrap_or(if quick { 1_000 } else { 10_000 });
    let span = Duration::from_secs(if quick { 5 } else { 20 });
    runtime.block_on(measure(clients, span));
}

/// Something that ends with the bench.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts a program and waits for the line that says its address.
fn start(command: &mut Command, file: &Path, says: &str) -> (Process, String) {
    let out = std::fs::File::create(file).expect("a file");
    let command = command.stdin(Stdio::null()).stdout(out.try_clone().expect("a handle")).stderr(out);
    let process = Process(command.spawn().expect("it starts"));
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if let Some(rest) = text.split(says).nth(1)
            && let Some(address) = rest.split([' ', '\n', '/', '"', '\u{1b}']).find(|word| word.contains(':'))
        {
            return (process, address.to_owned());
        }
        assert!(Instant::now() < deadline, "it did not say where it is: {text}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Seconds of CPU of the threads whose names begin so.
fn cpu(process: u32, names: &[&str]) -> f64 {
    let mut ticks = 0;
    for task in std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs").flatten() {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let Some((head, rest)) = stat.rsplit_once(')') else { continue };
        let name = head.split_once('(').map_or("", |(_, name)| name);
        if names.is_empty() || names.iter().any(|wanted| name.starts_with(wanted)) {
            let fields: Vec<u64> = rest.split_whitespace().filter_map(|field| field.parse().ok()).collect();
            // utime and stime: the 14th and 15th field, of which the state, a letter, is not among these.
            ticks += fields[10] + fields[11];
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let seconds = ticks as f64 / 100.0;
    seconds
}

fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// What a client does with what comes.
#[derive(Clone, Copy)]
enum Manner {
    Reads,
    NeverReads,
}

/// A client that asks for a stream and counts bytes of what it reads.
async fn client(address: String, path: String, websocket: bool, manner: Manner, bytes: Arc<AtomicU64>) {
    let Ok(mut socket) = TcpStream::connect(&address).await else { return };
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let upgrade = if websocket { upgrade } else { "" };
    let ask = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{upgrade}\r\n");
    if socket.write_all(ask.as_bytes()).await.is_err() {
        return;
    }
    if matches!(manner, Manner::NeverReads) {
        return std::future::pending().await;
    }
    // Small, so that thousands of clients fit in here.
    let mut buffer = vec![0; 4096];
    while let Ok(read) = socket.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        bytes.fetch_add(read as u64, Ordering::Relaxed);
    }
}

async fn figures(address: &str) -> (u64, u64, u64) {
    let health = get(address, "/v1/health/streaming").await;
    let of = |name: &str| -> u64 {
        let rest = health.split(&format!("\"{name}\":")).nth(1).unwrap_or("0");
        rest.split(|character: char| !character.is_ascii_digit()).next().and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    let clients = of("websocket_connections") + of("sse_connections");
    (clients, of("events_emitted_total"), of("websocket_messages_sent_total") + of("sse_messages_sent_total"))
}

async fn get(address: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(address).await.expect("the daemon listens");
    let ask = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(ask.as_bytes()).await.expect("it is asked");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("it answers");
    answer
}

/// Events of the feed that the daemon has journaled.
async fn journaled(address: &str) -> f64 {
    let metrics = get(address, "/metrics").await;
    let lines = metrics.lines().filter(|line| line.starts_with("sluice_events_total{") && line.contains("trades"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// What the links' threads cost a message, in µs, over a span.
async fn ingest(process: u32, address: &str, span: Duration) -> f64 {
    let (before, events) = (cpu(process, &["ingest", "journal-writer"]), journaled(address).await);
    tokio::time::sleep(span).await;
    let (after, more) = (cpu(process, &["ingest", "journal-writer"]), journaled(address).await);
    (after - before) / (more - events) * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
async fn measure(clients: usize, span: Duration) {
    let folder =
        tempfile::Builder::new().prefix("sluice-bench").tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let file = |name: &str| -> PathBuf { folder.path().join(name) };
    let program = env!("CARGO_BIN_EXE_sluice");
    let rate = RATE.to_string();
    let mut simulate = Command::new(program);
    simulate.args(["simulate", "--dialect", "binance", "--listen", "127.0.0.1:0", "--rate", &rate]);
    let (_feed, feed_at) = start(&mut simulate, &file("feed.log"), "ws://");
    let settings = format!(
        "[smart_streaming]\nenabled = true\n[server]\nlisten = \"127.0.0.1:0\"\n[server.streams]\nheartbeat = \"1h\"\nstall_timeout = \"1h\"\n\
         [upstreams.feed]\nurl = \"ws://{feed_at}/\"\ndialect = \"binance\"\n\
         [monitors.trades]\ndomain = \"spot\"\nupstream = \"feed\"\ntopics = [\"btcusdt@trade\"]\n"
    );
    std::fs::write(file("sluice.toml"), settings).expect("settings");
    let mut run = Command::new(program);
    run.args(["--config", "sluice.toml", "run"]).current_dir(folder.path());
    let (daemon, address) = start(&mut run, &file("daemon.log"), "http://");
    let process = daemon.0.id();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let alone = ingest(process, &address, span).await;

    let bytes = Arc::new(AtomicU64::new(0));
    let idle = clients.saturating_sub(ACTIVE);
    let memory = resident(process);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..idle {
        let websocket = number % 2 == 0;
        let manner = if number % 10 == 0 { Manner::NeverReads } else { Manner::Reads };
        let kind = if websocket { "ws" } else { "sse" };
        let path = format!("/v1/{kind}/events?events=monitor:nobody");
        tasks.spawn(client(address.clone(), path, websocket, manner, Arc::clone(&bytes)));
        if number % 100 == 99 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let here = wait_for(&address, idle as u64).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let each = resident(process).saturating_sub(memory) as f64 / here.max(1) as f64;
    println!("{here} clients that hear nothing, half over WebSocket: {:.1} KiB of memory each", each / 1024.0);

    for number in 0..ACTIVE {
        let websocket = number % 2 == 0;
        let kind = if websocket { "ws" } else { "sse" };
        let path = format!("/v1/{kind}/events");
        tasks.spawn(client(address.clone(), path, websocket, Manner::Reads, Arc::clone(&bytes)));
    }
    wait_for(&address, (idle + ACTIVE) as u64).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (_, _, sent) = figures(&address).await;
    let (delivering, taken) = (cpu(process, &["http", "live"]), bytes.load(Ordering::Relaxed));
    let beside = ingest(process, &address, span).await;
    let (_, _, more) = figures(&address).await;
    let (delivered, taken) = ((more - sent) as f64, bytes.load(Ordering::Relaxed) - taken);
    let cost = (cpu(process, &["http", "live"]) - delivering) / delivered * 1e6;
    println!(
        "links and journal: {alone:.2} µs of CPU a message without clients, {beside:.2} with them (ratio {:.3})",
        beside / alone
    );
    println!(
        "{:.0} events a second to each of {ACTIVE}: {cost:.2} µs of CPU for each event and client",
        delivered / span.as_secs_f64() / ACTIVE as f64
    );
    tasks.shutdown().await;
    drop(daemon);

    // The same bytes in texts of the same length.
    let length = (taken as f64 / delivered).round().max(32.0) as usize;
    let mut bare = Command::new(std::env::current_exe().expect("this program"));
    bare.args(["--broadcast", &length.to_string()]);
    let (bare, address) = start(&mut bare, &file("bare.log"), "listening on ");
    for _ in 0..ACTIVE {
        tasks.spawn(client(address.clone(), "/".to_owned(), true, Manner::Reads, Arc::clone(&bytes)));
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (before, taken) = (cpu(bare.0.id(), &[]), bytes.load(Ordering::Relaxed));
    tokio::time::sleep(span).await;
    let delivered = (bytes.load(Ordering::Relaxed) - taken) as f64 / length as f64;
    let bare_cost = (cpu(bare.0.id(), &[]) - before) / delivered * 1e6;
    println!(
        "a bare broadcast of {length} bytes to {ACTIVE}: {bare_cost:.2} µs of CPU for each text and client; ratio {:.2}",
        cost / bare_cost
    );
}

async fn wait_for(address: &str, clients: u64) -> u64 {
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        let (now, ..) = figures(address).await;
        if now >= clients || Instant::now() > deadline {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// As little as there can be: one task a client, each text sent as it comes.
async fn broadcast_bare(length: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("listening on {} ", listener.local_addr().expect("an address"));
    let (texts, _) = broadcast::channel::<Arc<str>>(4096);
    let source = texts.clone();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let text: Arc<str> = "x".repeat(length).into();
        let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / RATE));
        loop {
            ticks.tick().await;
            // Nobody may be there yet.
            source.send(Arc::clone(&text)).ok();
        }
    });
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let mut texts = texts.subscribe();
        tasks.spawn(async move {
            let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { return };
            let (mut sending, _receiving) = socket.split();
            while let Ok(text) = texts.recv().await {
                if sending.send(Message::text(&*text)).await.is_err() {
                    return;
                }
            }
        });
    }
}
