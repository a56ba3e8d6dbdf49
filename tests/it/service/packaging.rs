//! The Debian package, built of the program under test.

use std::path::Path;
use std::process::Command;

use crate::support::project_file;

/// What `scripts/package` makes by itself, and where.
const MADE: [&str; 5] = [
    "target/release/sluice",
    "target/release/package/sluice.toml",
    "target/release/package/completions/",
    "target/release/package/man/*.1",
    "docs/*.md",
];

#[test]
fn what_the_package_is_to_have_is_there_or_made_and_its_settings_are_never_written_over() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = toml::from_str(&project_file("Cargo.toml")).unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    let assets: Vec<(&str, &str)> = deb["assets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|asset| (asset[0].as_str().unwrap(), asset[1].as_str().unwrap()))
        .collect();
    for (from, to) in &assets {
        let made = MADE.iter().any(|made| from.starts_with(made));
        assert!(made || project.join(from).is_file(), "{from}, which is to be {to}");
    }
    for (file, to) in [("sluice.service", "usr/lib/systemd/system/"), ("sluice.sysusers", "usr/lib/sysusers.d/")] {
        assert!(assets.iter().any(|(from, at)| from.ends_with(file) && at.starts_with(to)), "{file}");
    }
    let settings = assets.iter().filter(|(_, to)| to.starts_with("etc/")).map(|(_, to)| format!("/{to}"));
    let kept = deb["conf-files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap().to_owned());
    assert_eq!(settings.collect::<Vec<_>>(), kept.collect::<Vec<_>>());
    for script in ["postinst", "prerm", "postrm"] {
        let path = project.join(deb["maintainer-scripts"].as_str().unwrap()).join(script);
        let checked = Command::new("sh").arg("-n").arg(&path).output().unwrap();
        assert!(checked.status.success(), "{script}: {}", String::from_utf8_lossy(&checked.stderr));
    }
    // Purging alone deletes the journal.
    let removes = project_file("packaging/debian/postrm");
    let (before, purge) = removes.split_once("if [ \"$1\" = purge ]; then").unwrap();
    assert!(purge.contains("rm -rf /var/lib/sluice") && !before.contains("/var/lib/sluice"));
}

#[test]
fn the_package_has_program_units_settings_pages_and_completions() {
    let has = |command: &str, arguments: &[&str]| {
        Command::new(command).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    if !has("cargo", &["deb", "--version"]) || !has("dpkg-deb", &["--version"]) {
        eprintln!("skipped: there is no cargo-deb or no dpkg-deb");
        return;
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = Path::new(env!("CARGO_BIN_EXE_sluice")).parent().and_then(Path::parent).unwrap();
    let built = Command::new(project.join("scripts/package"))
        .args(["--no-build", "--debug"])
        .env("CARGO_TARGET_DIR", target)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let package = String::from_utf8(built.stdout).unwrap();
    let package = package.lines().last().expect("the package's path").to_owned();
    let ask = |what: &str| {
        let output = Command::new("dpkg-deb").args([what, &package]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let content = ask("-c");
    for (mode, path) in [
        ("-rwxr-xr-x", "./usr/bin/sluice"),
        ("-rw-r-----", "./etc/sluice/sluice.toml"),
        ("-rw-r-----", "./etc/sluice/environment"),
        ("-rw-r--r--", "./usr/lib/systemd/system/sluice.service"),
        ("-rw-r--r--", "./usr/lib/systemd/system/sluice.socket"),
        ("-rw-r--r--", "./usr/lib/sysusers.d/sluice.conf"),
        ("-rw-r--r--", "./usr/lib/tmpfiles.d/sluice.conf"),
        ("-rw-r--r--", "./usr/share/sluice/sluice-before-253.conf"),
        ("-rw-r--r--", "./usr/share/man/man1/sluice-journal-stat.1.gz"),
        ("-rw-r--r--", "./usr/share/bash-completion/completions/sluice"),
    ] {
        let line = content.lines().find(|line| line.ends_with(&format!(" {path}")));
        assert!(line.is_some_and(|line| line.starts_with(mode)), "{mode} {path} in {content}");
    }
    let control = ask("-I");
    for file in ["conffiles", "postinst", "prerm", "postrm", "Depends:"] {
        assert!(control.contains(file), "{file} in {control}");
    }
    let conffiles = Command::new("dpkg-deb").args(["-I", &package, "conffiles"]).output().unwrap();
    assert_eq!(String::from_utf8(conffiles.stdout).unwrap().trim(), "/etc/sluice/sluice.toml\n/etc/sluice/environment");
}
