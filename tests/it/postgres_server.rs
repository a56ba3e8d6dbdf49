//! A PostgreSQL server of a test's own: real, in a temporary folder, on a free port, with fsync on. It ends with the test.

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use super::processes::until;

/// The superuser of the servers.
const OWNER: &str = "sluice";

/// A server.
pub(crate) struct PostgresServer {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl PostgresServer {
    /// An empty one.
    pub(crate) fn start() -> Self {
        Self::start_with("", &[])
    }

    /// With more lines in `postgresql.conf`, and files (name and content) in its data folder.
    pub(crate) fn start_with(settings: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("sluice-postgres").tempdir().expect("a temporary folder");
        if let Some((user, group)) = servant() {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).expect("root gives folders away");
        }
        let data = folder.path().join("data");
        let initdb = as_servant("initdb")
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--wal-segsize=1", "-U", OWNER, "-D"])
            .arg(&data)
            .output()
            .expect("initdb starts");
        assert!(initdb.status.success(), "initdb: {}", String::from_utf8_lossy(&initdb.stderr));
        let mut own = format!(
            "listen_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nfsync = on\nshared_buffers = 16MB\n\
             max_connections = 20\nautovacuum = off\nmax_wal_size = 64MB\n",
            folder.path().display()
        );
        own.push_str(settings);
        let conf = data.join("postgresql.conf");
        let text = std::fs::read_to_string(&conf).expect("initdb wrote it");
        std::fs::write(&conf, text + &own).expect("a written file");
        for (name, content) in files {
            let path = data.join(name);
            std::fs::write(&path, content).expect("a written file");
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("it is ours");
            if let Some((user, group)) = servant() {
                std::os::unix::fs::chown(&path, Some(user), Some(group)).expect("root gives files away");
            }
        }
        let port = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a free port").port();
        let mut server = Self { folder, port, child: None };
        server.restart();
        server
    }

    /// Starts it again after [`PostgresServer::kill`], on the same port, and waits until it answers.
    pub(crate) fn restart(&mut self) {
        self.begin();
        until("the server answers", || {
            if self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|ended| ended.is_some())) {
                // The one before may still hold its memory.
                self.begin();
            }
            self.try_sql("SELECT 1").ok()
        });
    }

    pub(crate) fn begin(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log"));
        let log = log.expect("a log file");
        let mut command = as_servant("postgres");
        command.arg("-D").arg(self.folder.path().join("data")).args(["-p", &self.port.to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("the server starts");
        self.child = Some(child);
    }

    /// Where sinks find it.
    pub(crate) fn url(&self) -> String {
        format!("postgres://{OWNER}@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where its socket is.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs statements as the superuser; what they print, unaligned, fields separated by `|`.
    pub(crate) fn sql(&self, statements: &str) -> String {
        self.try_sql(statements).unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    pub(crate) fn try_sql(&self, statements: &str) -> Result<String, String> {
        let output = self.psql().args(["-c", statements]).output().expect("psql starts");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// `psql` of this server, quiet, stopping at errors.
    pub(crate) fn psql(&self) -> Command {
        let mut command = Command::new(program("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url()]).stdin(Stdio::null());
        command
    }

    /// SIGKILL for all its processes, as a crash of the machine has it but for the disk.
    pub(crate) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pids = with_children(child.id());
        for pid in pids {
            signal(pid, Signal::KILL);
        }
        child.wait().expect("it was ours");
    }

    /// SIGSTOP for all its processes: connections stay open, and nobody answers.
    pub(crate) fn hang(&self) {
        self.signal_all(Signal::STOP);
    }

    /// The end of [`PostgresServer::hang`].
    pub(crate) fn go_on(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, what: Signal) {
        for pid in self.child.iter().flat_map(|child| with_children(child.id())) {
            signal(pid, what);
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.go_on();
        self.kill();
    }
}

fn signal(pid: u32, what: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        // It may have ended by itself.
        kill_process(pid, what).ok();
    }
}

fn with_children(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    std::iter::once(pid).chain(children.split_whitespace().filter_map(|child| child.parse().ok())).collect()
}

/// A program of the server, on the PATH or where distributions put it; the newest.
fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let on_path =
            std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
        let packaged = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut packaged: Vec<_> = packaged.map(|version| version.path().join("bin")).collect();
        packaged.sort();
        let found = on_path
            .chain(packaged.into_iter().rev())
            .find(|folder| ["initdb", "postgres", "psql"].iter().all(|program| folder.join(program).exists()));
        found.expect("PostgreSQL's initdb, on the PATH or under /usr/lib/postgresql; `scripts/test` installs it")
    });
    folder.join(name)
}

/// The server refuses to run as root: then as whom it is to run.
fn servant() -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("a system has users");
    let find = |wanted: &str| {
        users.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields[0] == wanted).then(|| Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?)))?
        })
    };
    Some(find("postgres").or_else(|| find("nobody")).expect("a user `postgres` or `nobody`"))
}

fn as_servant(name: &str) -> Command {
    let mut command = Command::new(program(name));
    command.env_clear().env("LC_ALL", "C").current_dir("/");
    if let Some((user, group)) = servant() {
        command.uid(user).gid(group);
    }
    command
}

/// How long a test's sink waits for a transaction.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);
