//! A child process opens the folder first: sled may panic, hang, or ask for absurd amounts of memory over a damaged one, and
//! none of it is to reach the daemon.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use super::store::ViewStore;

/// The command of the program that runs [`run`]; its argument is the folder.
pub const PROBE_COMMAND: &str = "views-probe";

/// The longest a child may take. Source: a guess, far above the 10 ms that a whole folder of full size takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// What the child may map. Source: a guess; twenty times what it needs.
const ADDRESS_SPACE: u64 = 2 << 30;

/// How a folder is tried before it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// By this program as a child process.
    Child,
    /// Not at all: for tests of what no child may see.
    #[cfg(test)]
    None,
}

/// The child: opens the folder and reads all of it. False if it cannot be used.
pub fn run(dir: &Path) -> bool {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // A limit that cannot be set is one guard less; the parent still watches the clock.
    setrlimit(Resource::As, Rlimit { current: Some(ADDRESS_SPACE), maximum: Some(ADDRESS_SPACE) }).ok();
    ViewStore::open(dir).is_ok()
}

impl Probe {
    /// Whether the folder can be opened. The error says why not, for people.
    pub(super) fn try_folder(self, dir: &Path) -> Result<(), String> {
        match self {
            Self::Child => {
                let mut child = Command::new("/proc/self/exe")
                    .arg(PROBE_COMMAND)
                    .arg(dir)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .map_err(|error| format!("no process could be started to try it: {error}"))?;
                let deadline = Instant::now() + PATIENCE;
                loop {
                    match child.try_wait() {
                        Ok(Some(status)) if status.success() => return Ok(()),
                        Ok(Some(status)) => return Err(said(status)),
                        Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK_INTERVAL),
                        Ok(None) | Err(_) => {
                            child.kill().ok();
                            child.wait().ok();
                            return Err(format!("it could not be read within {} s", PATIENCE.as_secs()));
                        }
                    }
                }
            }
            #[cfg(test)]
            Self::None => Ok(()),
        }
    }
}

fn said(status: ExitStatus) -> String {
    match status.code() {
        Some(1) => "it is not as it was left".to_owned(),
        _ => "sled breaks over it".to_owned(),
    }
}
