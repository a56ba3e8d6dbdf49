//! The command line's door.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _set_off = sluice::crash_point::from_environment();
    sluice::cli::main()
}
