//! Putting files in place while others look at the same folder.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Held for the moments in which files get other names or lines are appended, so that the live sink, its compression and a
/// replay that comes to its end do not meet half-way.
#[derive(Debug)]
pub(super) struct SwapLock {
    _file: File,
}

impl SwapLock {
    /// Waits for it. Nobody holds it for long.
    pub(super) fn take(folder: &Path) -> io::Result<Self> {
        let path = folder.join("swap.lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        file.lock()?;
        Ok(Self { _file: file })
    }
}
