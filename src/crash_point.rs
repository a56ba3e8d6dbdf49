//! Places in the code at which a test can have the process die as by SIGKILL, to show that nothing durable is lost there.
//!
//! Without the feature `failpoints` there is nothing of them in the program. With it the environment sets them off:
//! `FAILPOINTS="journal.appended=2*off->return"` kills the process when it comes by `journal.appended` for the third time.
//! A name is the room and what has just been done. `tests/it/crash_points.rs` finds them in the source and tries each.

/// Here the process may be made to die.
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        $crate::crash_point::reach($name);
    };
}
pub(crate) use crash_point;

/// What sets the points off, until it is dropped.
#[cfg(feature = "failpoints")]
pub struct CrashPoints(#[expect(dead_code, reason = "what counts is that it is there")] fail::FailScenario<'static>);

/// Reads FAILPOINTS.
#[cfg(feature = "failpoints")]
pub fn from_environment() -> CrashPoints {
    CrashPoints(fail::FailScenario::setup())
}

#[cfg(feature = "failpoints")]
pub(crate) fn reach(name: &str) {
    fail::fail_point!(name, |_| {
        // Neither an exit nor an abort will do: nothing of ours may run any more.
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).ok();
        loop {
            std::thread::park();
        }
    });
}
