//! What a service manager is told: the other end of `NOTIFY_SOCKET`.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::processes::{Daemon, until};
use crate::support::Workplace;

/// Takes all that is told, as long as the test goes on.
pub(crate) struct Manager {
    told: Arc<Mutex<Vec<String>>>,
}

impl Manager {
    /// On the socket `notify` of a folder.
    pub(crate) fn listen(place: &Workplace) -> Self {
        let socket = UnixDatagram::bind(place.path("notify")).unwrap();
        let told = Arc::<Mutex<Vec<String>>>::default();
        let into = Arc::clone(&told);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length) = socket.recv(&mut bytes) {
                into.lock().unwrap().push(String::from_utf8_lossy(&bytes[..length]).into_owned());
            }
        });
        Self { told }
    }

    /// The daemon as this manager would start it. `watchdog_usec` is how often it wants to be told that all is well.
    pub(crate) fn command(place: &Workplace, watchdog_usec: Option<u64>) -> Command {
        let mut command = place.command(["run", "--config", "sluice.toml"]);
        command.env("NOTIFY_SOCKET", place.path("notify"));
        if let Some(usec) = watchdog_usec {
            command.env("WATCHDOG_USEC", usec.to_string());
        }
        command
    }

    /// As [`Manager::command`], once it serves.
    pub(crate) fn start(place: &Workplace, watchdog_usec: Option<u64>) -> Daemon {
        Daemon::of(Self::command(place, watchdog_usec))
    }

    /// Every datagram so far.
    pub(crate) fn all(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    /// How many begin so.
    pub(crate) fn count(&self, beginning: &str) -> usize {
        self.all().iter().filter(|word| word.starts_with(beginning)).count()
    }

    /// Waits for one that begins so, behind so many that do.
    pub(crate) fn told(&self, beginning: &str, behind: usize) -> String {
        until(&format!("the manager is told {beginning}"), || {
            self.all().into_iter().filter(|word| word.starts_with(beginning)).nth(behind)
        })
    }

    /// The main process that it is told of as ready, behind so many.
    pub(crate) fn main_process(&self, behind: usize) -> u32 {
        let told = self.told("MAINPID=", behind);
        let pid = told.strip_suffix("\nREADY=1\n").and_then(|line| line.strip_prefix("MAINPID="));
        pid.and_then(|pid| pid.parse().ok()).unwrap_or_else(|| panic!("{told:?}"))
    }
}
