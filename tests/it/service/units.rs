//! The units, looked at by systemd's own tools.

use std::path::Path;
use std::process::Command;

use crate::support::{Workplace, project_file};

/// The units in a folder, with a program that is there. With what older systemd needs, where this one is.
fn rendered(place: &Workplace) {
    let unit = project_file("systemd/sluice.service");
    let rendered = unit.replace("ExecStart=/usr/bin/sluice ", &format!("ExecStart={} ", env!("CARGO_BIN_EXE_sluice")));
    assert_ne!(unit, rendered);
    place.write("sluice.service", rendered);
    place.write("sluice.socket", project_file("systemd/sluice.socket"));
    place.write("sluice.service.d/10-sluice-before-253.conf", project_file("systemd/sluice-before-253.conf"));
}

/// The version of the tools.
fn systemd_version() -> u32 {
    let output = Command::new("systemd-analyze").arg("--version").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    said.split_whitespace().nth(1).and_then(|version| version.parse().ok()).unwrap_or_else(|| panic!("{said}"))
}

/// Whether the tools are here; else the test says that it was skipped.
fn has_tools() -> bool {
    let has = Command::new("systemd-analyze").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has {
        eprintln!("skipped: there is no systemd-analyze");
    }
    has
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if !has_tools() {
        return;
    }
    let place = Workplace::new();
    rendered(&place);
    if systemd_version() < 253 {
        // What the addition beside the unit makes of it; an older one complains of the type all the same.
        let unit = std::fs::read_to_string(place.path("sluice.service")).unwrap();
        place.write("sluice.service", unit.replace("\nType=notify-reload\n", "\nType=notify\n"));
    }
    let verify = |unit: &str| {
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(place.path(unit))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    for unit in ["sluice.service", "sluice.socket"] {
        assert_eq!(verify(unit), (true, String::new()), "{unit}");
    }
    // The test would see a mistake.
    let unit = std::fs::read_to_string(place.path("sluice.service")).unwrap();
    place.write("sluice.service", unit.replace("WatchdogSec=", "WatchdogSecs="));
    let (fine, said) = verify("sluice.service");
    assert!(!fine && said.contains("WatchdogSecs"), "{said}");
}

#[test]
fn the_services_exposure_is_rated_1_5_or_better() {
    if !has_tools() {
        return;
    }
    let place = Workplace::new();
    rendered(&place);
    let rate = || {
        Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=15", "--no-pager"])
            .arg(place.path("sluice.service"))
            .output()
            .unwrap()
    };
    let rated = rate();
    let said = String::from_utf8_lossy(&rated.stdout).into_owned();
    assert!(rated.status.success() && said.contains("Overall exposure level"), "{said}");
    // The test would see it go.
    let unit = std::fs::read_to_string(place.path("sluice.service")).unwrap();
    place.write("sluice.service", unit.replace("CapabilityBoundingSet=\n", ""));
    assert!(!rate().status.success());
}

#[test]
fn the_users_and_folders_are_as_systemd_reads_them() {
    if !has_tools() {
        return;
    }
    let place = Workplace::new();
    place.write("root/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
    place.write("root/etc/group", "root:x:0:\n");
    let root = format!("--root={}", place.path("root").display());
    let project = |path: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let made = Command::new("systemd-sysusers").arg(&root).arg(project("systemd/sluice.sysusers")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let users = std::fs::read_to_string(place.path("root/etc/passwd")).unwrap();
    assert!(users.lines().any(|line| line.starts_with("sluice:") && line.contains(":/var/lib/sluice:")), "{users}");
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make folders of others");
        return;
    }
    let made = Command::new("systemd-tmpfiles")
        .args([&root, "--create"])
        .arg(project("systemd/sluice.tmpfiles"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(place.path("root/var/lib/sluice").is_dir() && place.path("root/etc/sluice").is_dir());
}

#[test]
fn exit_codes_that_a_restart_does_not_help_are_the_units() {
    let unit = project_file("systemd/sluice.service");
    for line in
        ["RestartPreventExitStatus=65 73 78", "Restart=on-failure", "LimitNOFILE=65536", "StateDirectory=sluice"]
    {
        assert!(unit.lines().any(|unit| unit == line), "{line}");
    }
}
