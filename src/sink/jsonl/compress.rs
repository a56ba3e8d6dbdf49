//! Finished files are compressed on a thread of their own, so that no write waits for it.
//!
//! A file that waits has the ending `.closed` and all its lines; its compressed form appears under its name when it is whole
//! and durable, then the other is removed. A crash between the two leaves both, and opening removes the first.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;

use super::names::{Form, Name, Stem, list};
use super::state::sync_folder;
use super::swap::SwapLock;
use crate::config::FileCompression;

/// The thread, from its owner's side.
#[derive(Debug)]
pub(super) struct Compressor {
    stop: Arc<AtomicBool>,
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Compressor {
    /// Starts it; what waits already is compressed first.
    pub(super) fn start(folder: PathBuf, compression: FileCompression) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (wake, woken) = sync_channel(1);
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("sink-compress".into())
            .spawn(move || run(&folder, compression, &woken, &stopped))?;
        let compressor = Self { stop, wake: Some(wake), thread: Some(thread) };
        compressor.wake();
        Ok(compressor)
    }

    /// Something waits.
    pub(super) fn wake(&self) {
        if let Some(wake) = &self.wake {
            // Full: it will look anyway.
            wake.try_send(()).ok();
        }
    }

    /// Lets it finish what waits, for so long; then it stops at once, and goes on at the next start.
    pub(super) fn finish(mut self, patience: Duration) {
        self.wake = None;
        let until = Instant::now() + patience;
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // A panic of its own was logged; the files are as after a crash.
            thread.join().ok();
        }
    }
}

fn run(folder: &Path, compression: FileCompression, woken: &Receiver<()>, stop: &AtomicBool) {
    while woken.recv().is_ok() {
        let waiting = list(folder).unwrap_or_default();
        for (name, path) in waiting {
            let Name::Whole(stem, Form::Closed) = name else { continue };
            if stop.load(Ordering::Relaxed) {
                return;
            }
            match compress(folder, &path, &stem, compression, stop) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
                Err(error) => {
                    // It keeps all its lines, is read like any other file, and is tried again with the next.
                    tracing::warn!(file = %path.display(), %error, "cannot compress a finished file; it stays as it is for now");
                }
            }
        }
    }
}

fn compress(
    folder: &Path,
    source: &Path,
    stem: &Stem,
    compression: FileCompression,
    stop: &AtomicBool,
) -> io::Result<()> {
    let form = Form::finished(compression);
    let target = folder.join(stem.name(form));
    let temporary = folder.join(format!("{}.tmp", stem.name(form)));
    let input = File::open(source)?;
    let inode = input.metadata()?.ino();
    let output = File::create(&temporary)?;
    let written = match form {
        Form::Closed | Form::Plain => copy(input, output, stop),
        Form::Gzip => {
            let encoder = flate2::write::GzEncoder::new(BufWriter::new(output), flate2::Compression::default());
            copy(input, encoder, stop).and_then(|encoder| into_file(encoder.finish()?))
        }
        Form::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(BufWriter::new(output), 0)?;
            encoder.include_checksum(true)?;
            copy(input, encoder, stop).and_then(|encoder| into_file(encoder.finish()?))
        }
    };
    let placed = written.and_then(|file| {
        file.sync_all()?;
        let _lock = SwapLock::take(folder)?;
        // A replay's set of files may have taken its place, under the same name even.
        if std::fs::metadata(source).map_or(true, |found| found.ino() != inode) {
            return Ok(());
        }
        std::fs::rename(&temporary, &target)?;
        sync_folder(folder)?;
        std::fs::remove_file(source)
    });
    if temporary.exists() {
        std::fs::remove_file(&temporary)?;
    }
    placed
}

fn into_file(buffered: BufWriter<File>) -> io::Result<File> {
    buffered.into_inner().map_err(io::IntoInnerError::into_error)
}

fn copy<W: Write>(mut input: File, mut output: W, stop: &AtomicBool) -> io::Result<W> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let taken = input.read(&mut buffer)?;
        if taken == 0 {
            output.flush()?;
            return Ok(output);
        }
        output.write_all(&buffer[..taken])?;
    }
}
