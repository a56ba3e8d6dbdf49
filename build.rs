//! Tells the program what it was built from: the commit, where there is one, and the compiler.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=SLUICE_COMMIT={}", commit().unwrap_or_else(|| "unknown".into()));
    let rustc = env::var("RUSTC").ok().and_then(|rustc| said_by(Command::new(rustc).arg("--version")));
    println!("cargo::rustc-env=SLUICE_RUSTC={}", rustc.unwrap_or_else(|| "unknown".into()));
}

/// The commit of a release build from our own repository; a tarball has none, nor one that was unpacked within another repository. Other builds
/// go without it, since each commit would build everything anew.
fn commit() -> Option<String> {
    if env::var("PROFILE").ok()? != "release" {
        return None;
    }
    let git = |words: &[&str]| said_by(Command::new("git").args(words));
    let here = Path::new(&env::var("CARGO_MANIFEST_DIR").ok()?).canonicalize().ok()?;
    if Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()? != here {
        return None;
    }
    // Written with each commit and each change of branch. A path that is not there would have every build run this.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn said_by(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
