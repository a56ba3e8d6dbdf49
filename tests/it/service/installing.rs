//! `scripts/install` and `scripts/uninstall`, into a folder that stands for the system.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::Workplace;

fn script(name: &str, root: &Path, more: &[&str]) -> Output {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name))
        .args(["--prefix", "/usr", "--root"])
        .arg(root)
        .args(more)
        .output()
        .expect("the script runs")
}

fn install(root: &Path, systemd: &str) -> String {
    let binary = env!("CARGO_BIN_EXE_sluice");
    let done = script("install", root, &["--binary", binary, "--systemd", systemd]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn uninstall(root: &Path, more: &[&str]) -> String {
    let done = script("uninstall", root, more);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Every file below a folder.
fn files(root: &Path) -> BTreeSet<String> {
    fn walk(folder: &Path, root: &Path, files: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, files);
            } else {
                files.insert(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(root, root, &mut found);
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn installing_twice_keeps_edited_settings_and_uninstalling_keeps_data_until_it_is_purged() {
    let place = Workplace::new();
    let root = place.path("root");
    install(&root, "257");
    let first = files(&root);
    for file in [
        "usr/bin/sluice",
        "usr/share/man/man1/sluice.1",
        "usr/share/man/man1/sluice-journal-stat.1",
        "usr/share/bash-completion/completions/sluice",
        "usr/share/zsh/site-functions/_sluice",
        "usr/share/fish/vendor_completions.d/sluice.fish",
        "etc/systemd/system/sluice.service",
        "etc/systemd/system/sluice.socket",
        "etc/sysusers.d/sluice.conf",
        "etc/tmpfiles.d/sluice.conf",
        "etc/sluice/sluice.toml",
        "etc/sluice/environment",
    ] {
        assert!(first.contains(file), "{file} in {first:?}");
    }
    let mode = |path: &str| std::fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("usr/bin/sluice"), mode("etc/sluice/environment")), (0o755, 0o640));
    // Where the data is nobody says but the service manager.
    let settings = read(&root.join("etc/sluice/sluice.toml"));
    assert!(settings.contains("#data_dir = ") && settings.contains("#dir = \"../checkpoints\""));

    std::fs::write(root.join("etc/sluice/sluice.toml"), "edited").unwrap();
    std::fs::write(root.join("etc/sluice/environment"), "EDITED=1").unwrap();
    std::fs::write(root.join("usr/bin/sluice"), "an older program").unwrap();
    std::fs::write(root.join("usr/share/man/man1/sluice-of-old.1"), "a command that is no more").unwrap();
    let said = install(&root, "257");
    assert!(said.contains("kept as they are: /etc/sluice/sluice.toml /etc/sluice/environment"), "{said}");
    assert_eq!(files(&root), first, "and what is no more is gone");
    assert_eq!(read(&root.join("etc/sluice/sluice.toml")), "edited");
    assert_eq!(read(&root.join("etc/sluice/environment")), "EDITED=1");
    let program = Command::new(root.join("usr/bin/sluice")).arg("--version").output().unwrap();
    assert!(program.status.success());

    std::fs::create_dir_all(root.join("var/lib/sluice/journal")).unwrap();
    std::fs::write(root.join("var/lib/sluice/journal/segment"), "events").unwrap();
    for _ in 0..2 {
        let said = uninstall(&root, &[]);
        assert!(said.contains("--purge deletes them"), "{said}");
        let left: Vec<String> = files(&root).into_iter().collect();
        assert_eq!(left, ["etc/sluice/environment", "etc/sluice/sluice.toml", "var/lib/sluice/journal/segment"]);
    }
    for _ in 0..2 {
        uninstall(&root, &["--purge"]);
        assert!(files(&root).is_empty());
    }
}

#[test]
fn a_systemd_that_does_not_know_the_units_type_gets_what_it_needs_and_an_upgrade_takes_it_away() {
    let place = Workplace::new();
    let root = place.path("root");
    let addition = root.join("etc/systemd/system/sluice.service.d/10-sluice-before-253.conf");
    install(&root, "252");
    let text = read(&addition);
    assert!(text.contains("\nType=notify\n") && text.contains("\nExecReload=/bin/kill -HUP $MAINPID\n"), "{text}");
    install(&root, "253");
    assert!(!addition.exists());
    // Found by the library that is installed there.
    std::fs::create_dir_all(root.join("usr/lib/x86_64-linux-gnu/systemd")).unwrap();
    std::fs::write(root.join("usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so"), "").unwrap();
    let found = script("install", &root, &["--binary", env!("CARGO_BIN_EXE_sluice")]);
    assert!(found.status.success() && addition.exists());
    uninstall(&root, &[]);
    assert!(!addition.exists());
}

#[test]
fn mistakes_on_the_command_line_change_nothing() {
    let place = Workplace::new();
    let root = place.path("root");
    for (name, more) in [
        ("install", &["--prefix", "relative"][..]),
        ("install", &["--binary", "/nowhere/sluice"]),
        ("install", &["--what"]),
        ("uninstall", &["--prefix"]),
        ("uninstall", &["--purge", "--what"]),
    ] {
        let refused = script(name, &root, more);
        assert_eq!(refused.status.code(), Some(2), "{name} {more:?}");
        assert!(!refused.stderr.is_empty());
        assert!(!root.exists(), "{name} {more:?}");
    }
}
