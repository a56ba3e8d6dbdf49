//! The machine, what runs on it, and the daemon as the kernel sees it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::bundle::Bundle;
use crate::config::Loaded;

/// Adds versions, host and process.
pub(super) fn gather(bundle: &mut Bundle, loaded: Option<&Loaded>, daemon: Option<u32>) {
    bundle.json("versions.json", &versions());
    bundle.json("host.json", &host(loaded));
    for name in ["loadavg", "meminfo", "stat", "diskstats", "mounts", "pressure/cpu", "pressure/io", "pressure/memory"]
    {
        bundle.file(&format!("host/{}", name.replace('/', "-")), &Path::new("/proc").join(name));
    }
    let Some(process) = daemon else {
        bundle.miss("process", "no daemon has the journal");
        return;
    };
    let folder = Path::new("/proc").join(process.to_string());
    for name in ["status", "smaps_rollup", "limits", "io", "stat", "sched", "cgroup"] {
        bundle.file(&format!("process/{name}"), &folder.join(name));
    }
    let count = |name: &str| std::fs::read_dir(folder.join(name)).map(Iterator::count).ok();
    bundle.json(
        "process/figures.json",
        &json!({ "process": process, "files": count("fd"), "threads": threads(&folder) }),
    );
}

/// Names of a process's threads.
fn threads(folder: &Path) -> Vec<String> {
    let tasks = std::fs::read_dir(folder.join("task")).into_iter().flatten().flatten();
    let mut names: Vec<String> = tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect();
    names.sort();
    names
}

/// Names and values of a process's environment; none where we may not look at it.
pub(super) fn environment_of(process: u32) -> Vec<(OsString, OsString)> {
    let text = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
    let pairs = text.split(|byte| *byte == 0).filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        Some((OsStr::from_bytes(&pair[..at]).to_owned(), OsStr::from_bytes(&pair[at + 1..]).to_owned()))
    });
    pairs.collect()
}

fn versions() -> Value {
    json!({
        "sluice": env!("CARGO_PKG_VERSION"),
        "rustc": option_env!("SLUICE_RUSTC"),
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
        "failpoints": cfg!(feature = "failpoints"),
        "kernel": line_of("/proc/version"),
        "libc": said_by("getconf", &["GNU_LIBC_VERSION"]),
        "system": std::fs::read_to_string("/etc/os-release").ok().and_then(|text| {
            text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).map(|name| name.trim_matches('"').to_owned())
        }),
        "systemd": said_by("systemctl", &["--version"]),
    })
}

fn host(loaded: Option<&Loaded>) -> Value {
    let model = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let settings = loaded.map(|loaded| &loaded.settings);
    let folders = settings.into_iter().flat_map(|settings| {
        let sinks = settings.sinks.values().filter_map(|sink| sink.folder.as_ref());
        [&settings.daemon.data_dir, &settings.checkpoint.dir].into_iter().chain(sinks)
    });
    let disks: Vec<Value> = folders
        .map(|folder| {
            let there = folder.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
            let disk = rustix::fs::statvfs(there).ok();
            json!({
                "folder": folder.display().to_string(),
                "is_there": there == folder,
                "bytes": disk.as_ref().map(|disk| disk.f_blocks * disk.f_frsize),
                "free": disk.as_ref().map(|disk| disk.f_bavail * disk.f_frsize),
                "files_free": disk.as_ref().map(|disk| disk.f_favail),
            })
        })
        .collect();
    json!({
        "cpus": std::thread::available_parallelism().ok().map(std::num::NonZero::get),
        "cpu": model,
        "disks": disks,
        "files_max": line_of("/proc/sys/fs/file-max"),
        "uptime_and_idle_seconds": line_of("/proc/uptime"),
        "time": jiff::Timestamp::now().to_string(),
    })
}

fn line_of(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.lines().next()?.to_owned())
}

/// The first line that a program says; none where there is no such program.
fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned())
}
