//! Power cuts: the daemon writes on a file system in an image. It is killed, and the image copied as it is then: what was not synced
//! is in the system's memory only and not in the copy. The copy is what the next daemon has to do with.
//!
//! Needs root and loop devices; without them these tests say that they were skipped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::super::processes::{Feed, Settings};
use super::super::support::Workplace;
use super::account::Account;
use super::plan::End;
use super::run::{Running, TellSeed};
use super::stores::Stores;
use super::{number, seed};

/// Cuts in every run of the tests.
const SHORT: u32 = 2;
/// The journal leaves 64 MiB free.
const IMAGE_BYTES: u64 = 192 << 20;

#[test]
fn a_power_cut_loses_nothing_that_was_durable() {
    match cuts(seed(), SHORT) {
        Ok(account) => println!("{account}"),
        Err(why) => eprintln!("skipped, no power is cut: {why}"),
    }
}

#[test]
#[ignore = "takes as long as asked: scripts/torture"]
fn as_many_cuts_as_asked() {
    let cuts = number("TORTURE_POWER_CUTS").map_or(SHORT, |cuts| u32::try_from(cuts).expect("fewer cuts"));
    if cuts == 0 {
        return;
    }
    match self::cuts(seed(), cuts) {
        Ok(account) => println!("power cuts, {account}"),
        Err(why) => println!("no power was cut: {why}"),
    }
}

/// A file system in an image, mounted.
struct Disk {
    folder: TempDir,
    number: u32,
}

impl Disk {
    fn new() -> Result<Self, String> {
        let disk = Self { folder: tempfile::tempdir().expect("a temporary folder"), number: 0 };
        let image = std::fs::File::create(disk.image()).and_then(|file| file.set_len(IMAGE_BYTES));
        image.map_err(|error| format!("no image: {error}"))?;
        command("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0"], &[&disk.image()])?;
        disk.mount()?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join(format!("{}.img", self.number))
    }

    fn mounted(&self) -> PathBuf {
        self.folder.path().join(self.number.to_string())
    }

    fn mount(&self) -> Result<(), String> {
        std::fs::create_dir(self.mounted()).expect("a folder to mount on");
        // Commits that nobody asked for come long after the copy.
        command("mount", &["-o", "loop,commit=300"], &[&self.image(), &self.mounted()])
    }

    fn unmount(&self) -> Result<(), String> {
        command("umount", &[], &[&self.mounted()])
    }

    /// Cuts the power: what was not synced is gone.
    fn cut(&mut self) {
        let (image, before) = (self.image(), self.mounted());
        self.number += 1;
        command("cp", &["--sparse=always"], &[&image, &self.image()]).expect("the image can be copied");
        // Only now, since it syncs.
        command("umount", &[], &[&before]).expect("it can be unmounted");
        std::fs::remove_file(image).expect("the old image can go");
        self.mount().expect("what mounted before mounts again");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount().ok();
    }
}

fn command(program: &str, arguments: &[&str], paths: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).args(paths).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

fn cuts(seed: u64, cuts: u32) -> Result<Account, String> {
    let _told = TellSeed(seed);
    let mut random = fastrand::Rng::with_seed(seed);
    let place = Workplace::new();
    let mut disk = Disk::new()?;
    let seed_text = seed.to_string();
    let arguments = ["--dialect", "binance", "--rate", "2000", "--seed", &seed_text, "--ledger", "ledger.jsonl"];
    let feed = Feed::start(&place, &arguments);
    let mut account = Account::new(seed);
    for _ in 0..cuts {
        let data = disk.mounted().join("data");
        let stores = Stores::of_files(&data);
        settings(&feed, &data, &stores).write(&place);
        let mut daemon = Running::start(&place);
        daemon.until_new_events(&mut account);
        let after = Duration::from_micros(random.u64(..400_000));
        daemon.listen_for(after, &mut account);
        daemon.end(Signal::KILL);
        account.note(End::PowerCut(after));
        account.read_on(&data.join("journal"));
        disk.cut();
        // What the cut left is brought into order before anybody looks.
        let data = disk.mounted().join("data");
        settings(&feed, &data, &Stores::of_files(&data)).write(&place);
        let mut daemon = Running::start(&place);
        daemon.until_ready(&mut account);
        daemon.end(Signal::KILL);
        account.read_again(&data.join("journal"));
        account.assert_right();
    }
    let data = disk.mounted().join("data");
    let stores = Stores::of_files(&data);
    settings(&feed, &data, &stores).write(&place);
    account.settle(&place, feed, &stores, &data.join("journal"));
    Ok(account)
}

fn settings(feed: &Feed, data: &Path, stores: &Stores) -> Settings {
    Settings::new()
        .with(&format!("[daemon]\ndata_dir = \"{}\"", data.display()))
        .with("[batch]\nmin_size = 1\nmax_size = 200\nmax_bytes = \"32KiB\"\ntimeout = \"20ms\"")
        .with("[journal]\nsegment_size = \"64KiB\"\nsync_interval = \"2ms\"")
        .with(&stores.settings())
        .upstream("feed", "binance", feed.url())
        .monitor("trades", "spot", "feed", &["btcusdt@trade", "ethusdt@trade", "solusdt@trade"], "")
}
