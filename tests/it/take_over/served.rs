//! As a service: a signal has the program on disk take over, and the service manager follows.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::{Provider, WITH_IDS, adds_up, gaps, goes_on, missing, no_trade_twice};
use crate::processes::{Daemon, until};
use crate::service::manager::Manager;
use crate::support::Workplace;

/// A process that is no child of the test's. Killed when the test ends.
struct Heir(Pid);

impl Heir {
    fn lives(&self) -> bool {
        test_kill_process(self.0).is_ok()
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        // It may have ended.
        kill_process(self.0, Signal::KILL).ok();
    }
}

#[test]
fn a_signal_has_the_program_on_disk_take_over_and_the_service_manager_is_told_of_the_new_process() {
    let provider = Provider::start();
    let place = Workplace::new();
    let manager = Manager::listen(&place);
    provider.settings(WITH_IDS).write(&place);
    let mut old = Manager::start(&place, Some(2_000_000));
    assert_eq!(manager.main_process(0), old.id());
    goes_on(&place);
    old.signal(Signal::USR2);
    let pid = manager.main_process(1);
    assert_ne!(pid, old.id());
    let heir = Heir(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap());
    until("the old process ends", || old.has_ended().then_some(()));
    assert!(old.log().contains(&format!("process {pid} has taken over")), "{}", old.log());
    goes_on(&place);
    assert!(gaps(&place).is_empty());
    // And once more, from the one that was started so.
    kill_process(heir.0, Signal::USR2).unwrap();
    let again = Heir(Pid::from_raw(i32::try_from(manager.main_process(2)).unwrap()).unwrap());
    until("the one before ends", || (!heir.lives()).then_some(()));
    goes_on(&place);
    kill_process(again.0, Signal::TERM).unwrap();
    manager.told("STOPPING=1\n", 0);
    let stopped: Vec<bool> = manager.all().iter().map(|word| word.starts_with("STOPPING")).collect();
    assert_eq!(stopped.iter().filter(|stopped| **stopped).count(), 1, "and not before, when there was one to go on");
    until("it ends", || (!again.lives()).then_some(()));
    assert!(missing(&place, &provider.made()).is_empty());
    no_trade_twice(&place);
    adds_up(&place);
    provider.stop();
}

#[test]
fn a_signal_with_settings_that_cannot_be_used_changes_nothing() {
    let provider = Provider::start();
    let place = Workplace::new();
    let old = Daemon::start(&place, &provider.settings(WITH_IDS));
    goes_on(&place);
    place.write("sluice.toml.good", std::fs::read(place.path("sluice.toml")).unwrap());
    place.write("sluice.toml", "[batch]\nmin_size = 0\n");
    old.signal(Signal::USR2);
    until("it is told", || {
        old.log().contains("the process that was to take over has ended: exit status: 78").then_some(())
    });
    std::fs::rename(place.path("sluice.toml.good"), place.path("sluice.toml")).unwrap();
    goes_on(&place);
    assert!(gaps(&place).is_empty());
    old.stop();
    provider.stop();
}
