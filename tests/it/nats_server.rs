//! A real nats-server with JetStream, in a folder of its own and on a port of its own; killed when the test ends.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream;
use rustix::process::Signal;
use tempfile::TempDir;

use super::processes::{Process, until};

pub(crate) struct NatsServer {
    folder: TempDir,
    address: SocketAddr,
    process: Option<Process>,
}

impl NatsServer {
    pub(crate) fn start() -> Self {
        Self::with("")
    }

    /// With more lines in its settings. `FOLDER` in them is its folder.
    pub(crate) fn with(more: &str) -> Self {
        Self::with_files(more, &[])
    }

    /// And with files in its folder.
    pub(crate) fn with_files(more: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // The port is free now, and hardly anybody else takes it before the server does.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it listens");
        drop(listener);
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("a written file");
        }
        let mut settings = String::new();
        writeln!(settings, "listen: \"{address}\"").expect("a string takes it");
        if !more.contains("jetstream") {
            writeln!(settings, "jetstream {{ store_dir: \"FOLDER/store\" }}").expect("a string takes it");
        }
        settings.push_str(more);
        let settings = settings.replace("FOLDER", folder.path().to_str().expect("a plain path"));
        std::fs::write(folder.path().join("server.conf"), settings).expect("a written file");
        let mut server = Self { folder, address, process: None };
        server.begin();
        server
    }

    /// Starts it on what is there, and waits until it answers.
    pub(crate) fn begin(&mut self) {
        let mut command = Command::new("nats-server");
        command.arg("-c").arg(self.folder.path().join("server.conf"));
        let mut process = Process::of(command);
        let address = self.address;
        until("nats-server answers", || {
            assert!(!process.has_ended(), "nats-server ended: {}", process.stderr());
            let stream = TcpStream::connect(address).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket");
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).ok()?;
            line.starts_with("INFO ").then_some(())
        });
        self.process = Some(process);
    }

    /// kill -9
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.signal(Signal::KILL);
        process.end();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// For looking at streams, and changing them.
    pub(crate) async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(self.url()).await.expect("the server answers"))
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            // A stopped process must be killed all the same, which SIGKILL does.
            process.signal(Signal::KILL);
        }
    }
}
