//! The machine: files that may be open, folders and their disks, the clock, the server's port and token.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use super::finding::{Check, Finding};
use crate::config::{ByteSize, ServerSettings, Settings};
use crate::journal;

/// Less room is too little to begin with.
const ROOM_MIN: ByteSize = ByteSize::gib(1);

/// What a disk should have at least.
const ROOM_ADVISED: ByteSize = ByteSize::gib(5);

/// Files of a daemon without links, sinks and clients. Source: counted, some 25 with one link; with room for segments and views.
const FILES_OF_ITS_OWN: u64 = 64;

/// Files of a sink: its connections or its files, and the segments it reads.
const FILES_A_SINK: u64 = 8;

/// Clients of the server that there should be room for.
const FILES_OF_CLIENTS: u64 = 256;

/// How long the service manager may take to say how the clock is.
const CLOCK_PATIENCE: Duration = Duration::from_secs(2);

/// File systems that live in memory, by the number that they call themselves. Source: `linux/magic.h`.
const IN_MEMORY: [(u64, &str); 2] = [(0x0102_1994, "tmpfs"), (0x8584_58f6, "ramfs")];

/// How much room a disk must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Without it, it is refused.
    Required,
    /// It is only told.
    Advised,
}

/// Looks at all of it.
pub(super) async fn look(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![files(settings)];
    findings.extend(folder("data_dir", &settings.daemon.data_dir, Room::Required));
    findings.extend(folder("checkpoint.dir", &settings.checkpoint.dir, Room::Advised));
    findings.push(kept_clock().await);
    findings.push(port(settings).await);
    findings.extend(token(&settings.server));
    findings
}

/// File descriptors against what is to be opened.
fn files(settings: &Settings) -> Finding {
    let check = Check::new("files", "this host");
    let links: u64 = settings
        .upstreams
        .values()
        .map(|upstream| u64::from(settings.pool.overridden_by(&upstream.pool).max_connections))
        .sum();
    // On the legacy path each monitor has a connection of its own; both paths may run at once.
    let dedicated = settings.monitors.len() as u64;
    let sinks = settings.sinks.len() as u64 * FILES_A_SINK;
    let needed = FILES_OF_ITS_OWN + links + dedicated + sinks + FILES_OF_CLIENTS;
    let daemon = journal::holder_of(&journal::folder(&settings.daemon.data_dir));
    let (allowed, whose) = match daemon.and_then(files_of) {
        Some(allowed) => (Some(allowed), "the running daemon"),
        None => (getrlimit(Resource::Nofile).current, "this shell"),
    };
    match allowed {
        Some(allowed) if allowed < needed => check.failed(
            format!(
                "{whose} may open {allowed} files; {needed} are needed for {links} links, monitors, sinks and clients"
            ),
            "raise it: `ulimit -n 65536`, or `LimitNOFILE=65536` of the service",
        ),
        Some(allowed) => check.ok(format!("{whose} may open {allowed} files, of which {needed} may be needed")),
        None => check.ok(format!("{whose} may open any number of files")),
    }
}

/// How many files a process may open.
fn files_of(process: u32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A folder that is to be written to: whether it can be, what it is on, and how much room there is.
pub(super) fn folder(subject: &str, folder: &Path, room: Room) -> Vec<Finding> {
    let check = Check::new("folder", subject);
    let shown = folder.display();
    let there = existing(folder);
    let mut findings = vec![match writable(&there) {
        Ok(()) if there == folder => check.ok(format!("{shown} can be written")),
        Ok(()) => check.ok(format!("{shown} is not there yet, and can be made")),
        Err(error) => check.failed(
            format!("{} cannot be written: {error}", there.display()),
            "give the folder to the user of the daemon, or name another",
        ),
    }];
    let check = Check::new("disk", subject);
    if let Ok(system) = rustix::fs::statfs(&there)
        && let Some((_, name)) = IN_MEMORY
            .iter()
            .find(|(magic, _)| *magic == u64::from_ne_bytes(i64::from(system.f_type).to_ne_bytes()) & 0xffff_ffff)
    {
        findings.push(check.warning(
            format!("{} is in memory ({name})", there.display()),
            "what is there is gone after a restart of the machine: name a folder on a disk",
        ));
        return findings;
    }
    findings.push(match rustix::fs::statvfs(&there) {
        Err(error) => check.skipped(format!("its free room cannot be told: {error}")),
        Ok(disk) => {
            let free = ByteSize(disk.f_bavail.saturating_mul(disk.f_frsize));
            let found = format!("{} free", bytesize::ByteSize(free.0));
            let advice = format!("make room: {ROOM_MIN} at least, {ROOM_ADVISED} advised");
            match room {
                Room::Required if free < ROOM_MIN => check.failed(found, advice),
                _ if free < ROOM_ADVISED => check.warning(found, advice),
                _ => check.ok(found),
            }
        }
    });
    findings
}

/// The folder, or the nearest one above it that is there.
fn existing(folder: &Path) -> PathBuf {
    let there = folder.ancestors().find(|above| above.exists());
    there.map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

/// Whether a file can be made there, by making one. It is gone at once.
fn writable(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!(".sluice-doctor-{}", std::process::id()));
    OpenOptions::new().write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)
}

/// Whether somebody keeps the clock.
async fn kept_clock() -> Finding {
    let check = Check::new("clock", "this host");
    let asked = tokio::task::spawn_blocking(|| {
        let mut child = Command::new("timedatectl")
            .args(["show", "--property=NTPSynchronized", "--value"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let until = tokio::time::Instant::now() + CLOCK_PATIENCE;
        while child.try_wait().ok()?.is_none() {
            if tokio::time::Instant::now() > until {
                // It may have ended meanwhile.
                child.kill().ok();
                child.wait().ok();
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let output = child.wait_with_output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    });
    match asked.await.ok().flatten().as_deref() {
        Some("yes") => check.ok("it is kept by NTP"),
        Some("no") => check.warning(
            "it is not kept by NTP",
            "`timedatectl set-ntp true`, or install chrony; signatures and latencies depend on it",
        ),
        _ => check.skipped("nobody here says whether the clock is kept (timedatectl)"),
    }
}

/// Whether the server could have its address.
async fn port(settings: &Settings) -> Finding {
    let address = settings.server.listen;
    let check = Check::new("port", address.to_string());
    match std::net::TcpListener::bind(address) {
        Ok(_) => check.ok("it is free"),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            if is_ours(address).await {
                check.ok("a running daemon has it")
            } else {
                let advice =
                    format!("stop it, or change `server.listen`; `ss -ltnp 'sport = :{}'` names it", address.port());
                check.failed("another program has it", advice)
            }
        }
        Err(error) => check.failed(format!("it cannot be had: {error}"), "change `server.listen`"),
    }
}

/// Whether a daemon answers there.
async fn is_ours(address: SocketAddr) -> bool {
    let asked = tokio::task::spawn_blocking(move || super::super::api::is_a_daemon(address));
    asked.await.unwrap_or(false)
}

/// The token's file: whether it can be read, and by whom else.
fn token(server: &ServerSettings) -> Option<Finding> {
    let path = server.token_file.as_ref()?;
    let check = Check::new("token", path.display().to_string());
    Some(match std::fs::metadata(path) {
        Err(error) => check.failed(format!("it cannot be read: {error}"), "mend `server.token_file`"),
        Ok(file) => {
            let mode = file.permissions().mode() & 0o777;
            match std::fs::read_to_string(path) {
                Err(error) => check.failed(format!("it cannot be read: {error}"), "mend `server.token_file`"),
                Ok(token) if token.trim().len() < 16 => {
                    check.failed("it has fewer than 16 characters", "put a longer token into it")
                }
                Ok(_) if mode & 0o077 != 0 => check.warning(
                    format!("others on this machine may read it (mode {mode:o})"),
                    format!("chmod 600 {}", path.display()),
                ),
                Ok(_) => check.ok(format!("only its owner may read it (mode {mode:o})")),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_is_looked_for_above() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a/b/c");
        assert_eq!(existing(&folder), place.path());
        let findings = super::folder("data_dir", &folder, Room::Required);
        assert!(findings[0].found.contains("can be made"), "{findings:?}");
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn the_files_that_a_process_may_open_are_read() {
        assert!(files_of(std::process::id()).is_some_and(|files| files > 0));
        assert_eq!(files_of(u32::MAX), None);
    }
}
