//! Any text taken for a settings file is refused with its problems, or gives settings that can be shown and used.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sluice::config::{LoadOptions, RunTimeLayer, load};

/// In memory, where the system has such a folder.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let above = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let folder = above.join(format!("sluice-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
});

fuzz_target!(init: sluice_fuzz::seeds::write(sluice_fuzz::seeds::settings), |text: &[u8]| {
    let file = FOLDER.join("sluice.toml");
    std::fs::write(&file, text).unwrap();
    let options = LoadOptions {
        file: Some(file),
        set: Vec::new(),
        environment: Vec::new(),
        current_dir: FOLDER.clone(),
        run_time: RunTimeLayer::default(),
    };
    match load(&options) {
        Ok(loaded) => {
            let shown = sluice::config::show(&loaded);
            assert!(!format!("{shown:?}").is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
