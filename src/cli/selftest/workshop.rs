//! The self-test's own daemon: a process of this program in a temporary folder, with a simulated feed.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::cli::{CliError, Context, Exit, api};
use crate::simulator::{Running, SimulatedDialect, Simulator, SimulatorSettings};

/// The longest that a single step waits for anything. Source: a guess; each takes well under a second.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Events a second of the feed: enough that nothing waits for them.
const RATE: u64 = 500;

/// Lines of the daemon's log that are told where something failed.
const LAST_WORDS: usize = 3;

/// Variables that a process needs to run at all, and those of tests; no other reaches the daemon, so that settings in the operator's
/// environment are not what is tested.
const VARIABLES: [&str; 6] = ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "RUST_BACKTRACE", "FAILPOINTS"];

/// The folder, the feed and the daemon. Whatever is left of it goes when it is dropped.
pub(super) struct Workshop {
    folder: PathBuf,
    set: Vec<String>,
    runtime: Runtime,
    interrupted: Arc<AtomicBool>,
    pub(super) address: SocketAddr,
    pub(super) feed: Option<Running>,
    daemon: Option<Child>,
    /// Events that were durable when it was looked last.
    pub(super) durable: u64,
}

impl Workshop {
    pub(super) fn open(context: &Context) -> Result<Self, CliError> {
        let failed = |what: &str, error: std::io::Error| CliError::new(Exit::No, what, error);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("simulator")
            .enable_all()
            .build()
            .map_err(|error| failed("the simulator's thread cannot be started", error))?;
        let interrupted = Arc::new(AtomicBool::new(false));
        listen_for_signals(&runtime, &interrupted).map_err(|error| failed("signals cannot be listened for", error))?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = port.map_err(|error| failed("there is no free port on 127.0.0.1", error))?;
        let folder = std::env::temp_dir().join(format!("sluice-selftest-{}", std::process::id()));
        std::fs::create_dir(&folder)
            .map_err(|error| failed(&format!("{} cannot be made; set TMPDIR", folder.display()), error))?;
        let set = context.set.clone();
        Ok(Self { folder, set, runtime, interrupted, address, feed: None, daemon: None, durable: 0 })
    }

    /// Begins the feed, and writes the settings that name it.
    pub(super) fn begin_feed(&mut self) -> Result<String, String> {
        let settings = SimulatorSettings { rate: RATE, ..SimulatorSettings::synthetic(SimulatedDialect::Binance) };
        let feed = self.runtime.block_on(Simulator::start(settings)).map_err(|error| error.to_string())?;
        let url = feed.url();
        let settings = format!(
            "[daemon]\ndata_dir = \"data\"\n\n[smart_streaming]\nenabled = true\n\n[server]\nlisten = \"{}\"\n\n\
             [batch]\ntimeout = \"50ms\"\n\n[upstreams.feed]\nurl = \"{url}\"\ndialect = \"binance\"\n\n\
             [monitors.trades]\ndomain = \"selftest\"\nupstream = \"feed\"\ntopics = [\"btcusdt@trade\", \"ethusdt@trade\"]\n\
             event = {{ id = [\"/stream\", \"/data/t\"], key = \"/data/s\", time = \"/data/E\" }}\n\n\
             [sinks.rows]\nkind = \"sqlite\"\nfolder = \"rows\"\n",
            self.address
        );
        std::fs::write(self.folder.join("selftest.toml"), settings).map_err(|error| error.to_string())?;
        self.feed = Some(feed);
        Ok(url)
    }

    /// Begins the daemon, and waits until it is ready.
    pub(super) fn begin_daemon(&mut self) -> Result<Duration, String> {
        let began = Instant::now();
        let log = File::options().create(true).append(true).open(self.folder.join("log"));
        let log = log.map_err(|error| format!("its log cannot be written: {error}"))?;
        let mut command = self.command(&["run"])?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.daemon = Some(child.map_err(|error| format!("it cannot be started: {error}"))?);
        let address = self.address;
        self.until("it is ready", |workshop| {
            if let Some(status) = workshop.ended()? {
                return Err(format!("it ended at its start: {status}"));
            }
            let health = api::get_at(address, "/v1/health/ready");
            let body = health.map(|answer| String::from_utf8_lossy(&answer.body).into_owned()).unwrap_or_default();
            Ok(body.contains("\"healthy\"").then_some(()))
        })?;
        Ok(began.elapsed())
    }

    /// Asks the daemon to stop, and waits until it has.
    pub(super) fn end_daemon(&mut self) -> Result<Duration, String> {
        let began = Instant::now();
        let child = self.daemon.as_ref().ok_or("there is no daemon")?;
        kill_process(Pid::from_child(child), Signal::TERM).map_err(|error| format!("it takes no signal: {error}"))?;
        let status = self.until("it stops", Self::ended)?;
        self.daemon = None;
        if status.success() { Ok(began.elapsed()) } else { Err(format!("it ended with {status}")) }
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        let Some(child) = &mut self.daemon else { return Err("there is no daemon".to_owned()) };
        child.try_wait().map_err(|error| error.to_string())
    }

    /// Waits for something, a step's patience at most.
    pub(super) fn until<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>, String>,
    ) -> Result<T, String> {
        let began = Instant::now();
        loop {
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            if self.interrupted.load(Ordering::Relaxed) {
                return Err("interrupted".to_owned());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("waited {} s in vain: {what}", PATIENCE.as_secs()));
            }
            thread::sleep(LOOK);
        }
    }

    /// What the daemon answers.
    pub(super) fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let answer = api::get_at(self.address, path).ok_or("the daemon does not answer")?;
        if answer.status != 200 {
            let said = String::from_utf8_lossy(&answer.body).trim().to_owned();
            return Err(format!("{path} is answered with {}: {said}", answer.status));
        }
        serde_json::from_slice(&answer.body).map_err(|error| format!("the answer of {path} cannot be read: {error}"))
    }

    /// Runs a command on the daemon's settings, and gives what it printed.
    pub(super) fn sluice(&mut self, arguments: &[&str]) -> Result<String, String> {
        let name = arguments.first().copied().unwrap_or_default().to_owned();
        let mut command = self.command(arguments)?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| format!("`sluice {name}` cannot be started: {error}"))?;
        let read = |pipe: Option<Box<dyn std::io::Read + Send>>| {
            thread::spawn(move || {
                let mut text = String::new();
                // What is no text is told by its absence.
                pipe.and_then(|mut pipe| pipe.read_to_string(&mut text).ok());
                text
            })
        };
        let stdout = read(child.stdout.take().map(|pipe| Box::new(pipe) as _));
        let stderr = read(child.stderr.take().map(|pipe| Box::new(pipe) as _));
        let status =
            self.until(&format!("`sluice {name}` ends"), |_| child.try_wait().map_err(|error| error.to_string()));
        if status.is_err() {
            // It may end at this very moment.
            child.kill().ok();
            child.wait().ok();
        }
        let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
        match status? {
            status if status.success() => Ok(stdout),
            status => Err(format!("`sluice {name}` ended with {status}: {}", stderr.trim())),
        }
    }

    /// The beginning of an answer that has no end: as much as it takes until `enough`; none where there is no such resource.
    pub(super) fn stream(&mut self, path: &str, enough: impl Fn(&str) -> bool) -> Result<Option<String>, String> {
        let failed = |error: std::io::Error| format!("the stream broke: {error}");
        let mut stream = TcpStream::connect(self.address).map_err(failed)?;
        stream.set_read_timeout(Some(Duration::from_millis(200))).map_err(failed)?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n", self.address);
        stream.write_all(head.as_bytes()).map_err(failed)?;
        let (mut text, mut buffer) = (String::new(), [0; 16 << 10]);
        self.until("events come over the stream", |_| {
            match stream.read(&mut buffer) {
                Ok(0) => return Err("the stream ended".to_owned()),
                Ok(read) => text.push_str(&String::from_utf8_lossy(&buffer[..read])),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                }
                Err(error) => return Err(failed(error)),
            }
            match text.split(' ').nth(1) {
                Some("404") => Ok(Some(None)),
                Some("200") | None => Ok(enough(&text).then(|| Some(text.clone()))),
                Some(status) => Err(format!("{path} is answered with {status}")),
            }
        })
    }

    fn command(&self, arguments: &[&str]) -> Result<Command, String> {
        let program = std::env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
        let mut command = Command::new(program);
        command.current_dir(&self.folder).env_clear().args(arguments).args(["--config", "selftest.toml"]);
        command.envs(VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.args(self.set.iter().flat_map(|set| ["--set", set]));
        Ok(command)
    }

    /// The end of the daemon's log.
    pub(super) fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS)..].join(" | ")
    }

    /// Ends what runs, and takes the folder away.
    pub(super) fn close(mut self) -> Result<(), CliError> {
        self.clear()
            .map_err(|error| CliError::new(Exit::No, format!("{} cannot be taken away", self.folder.display()), error))
    }

    fn clear(&mut self) -> std::io::Result<()> {
        if let Some(mut child) = self.daemon.take() {
            // It was not stopped, so a step has failed; nothing of it is needed any more.
            child.kill().ok();
            child.wait()?;
        }
        self.feed = None;
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // Nobody is left to be told.
        self.clear().ok();
    }
}

fn listen_for_signals(runtime: &Runtime, interrupted: &Arc<AtomicBool>) -> std::io::Result<()> {
    let _entered = runtime.enter();
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signals = signal(kind)?;
        let interrupted = Arc::clone(interrupted);
        runtime.spawn(async move {
            if signals.recv().await.is_some() {
                interrupted.store(true, Ordering::Relaxed);
            }
        });
    }
    Ok(())
}
