//! Settings files that are watched: `[reload] watch`.

use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::{ApplyWatched, Risk};
use crate::server::{Changed, Control};

use super::live_settings::LiveSettings;

/// Time between two looks.
pub(super) const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// What is remembered of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { modified: metadata.modified().ok(), bytes: metadata.len() }
    }
}

#[derive(Debug)]
struct Seen {
    path: PathBuf,
    /// None: there is no such file.
    stamp: Option<Stamp>,
    content: u64,
}

impl Seen {
    fn of(path: &Path) -> Self {
        let stamp = std::fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata));
        Self { path: path.to_owned(), stamp, content: content_of(path) }
    }

    /// Whether what is in the file is not what it was.
    fn has_changed(&mut self) -> bool {
        let stamp = std::fs::metadata(&self.path).ok().map(|metadata| Stamp::of(&metadata));
        if stamp == self.stamp {
            return false;
        }
        // Written anew is not changed.
        let content = content_of(&self.path);
        let changed = content != self.content;
        (self.stamp, self.content) = (stamp, content);
        changed
    }
}

fn content_of(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    std::fs::read(path).ok().hash(&mut hasher);
    hasher.finish()
}

/// Files as they were when last looked at.
#[derive(Debug, Default)]
pub(super) struct FileWatch {
    seen: Vec<Seen>,
}

impl FileWatch {
    /// As files are now.
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        Self { seen: paths.iter().map(|path| Seen::of(path)).collect() }
    }

    /// Whether any has another content than at the last look.
    pub(super) fn have_changed(&mut self) -> bool {
        // Every one is looked at, so that two that change together are one change.
        let mut changed = false;
        for seen in &mut self.seen {
            changed |= seen.has_changed();
        }
        changed
    }
}

/// Looks at the files, and applies or tells what has changed. Blocking.
pub(super) fn look(live: &LiveSettings, watch: &mut Option<FileWatch>) {
    let settings = live.settings().reload.clone();
    if !settings.watch {
        *watch = None;
        return;
    }
    let Some(files) = watch else {
        *watch = Some(FileWatch::of(&live.watched_files()));
        return;
    };
    if !files.have_changed() {
        return;
    }
    let planned = match live.reload(true) {
        Ok(planned) => planned,
        Err(error) => {
            tracing::warn!("the settings file has changed and cannot be used, so nothing is changed: {error}");
            return;
        }
    };
    if planned.plan.is_empty() {
        return;
    }
    if planned.plan.risk > Risk::Low || settings.apply == ApplyWatched::None {
        tracing::warn!("the settings file has changed; `sluice reload` would do: {}", in_words(&planned));
        return;
    }
    match live.reload(false) {
        Ok(done) => tracing::info!("the settings file has changed, and is applied: {}", in_words(&done)),
        Err(error) => tracing::warn!("the settings file has changed, and cannot be applied: {error}"),
    }
}

/// A change in a line of the log.
pub(super) fn in_words(changed: &Changed) -> String {
    let plan = &changed.plan;
    if plan.is_empty() {
        return "nothing has changed".to_owned();
    }
    let mut words = Vec::new();
    let mut named = |what: &str, names: Vec<String>| {
        if !names.is_empty() {
            words.push(format!("{what}: {}", names.join(", ")));
        }
    };
    let of_monitor = |plan: &crate::config::MonitorPlan| format!("{} {}", plan.monitor, plan.change.as_str());
    named("monitors", plan.monitors.iter().map(of_monitor).collect());
    let of_upstream = |plan: &crate::config::UpstreamPlan| format!("{} {}", plan.upstream, plan.change.as_str());
    named("upstreams", plan.upstreams.iter().map(of_upstream).collect());
    named("paths", plan.paths.iter().map(|path| format!("{} to {}", path.monitor, path.to.as_str())).collect());
    named("settings", plan.at_once.clone());
    named("needs a restart, not applied", plan.restart_needed.clone());
    named("note", changed.notes.clone());
    let (added, removed, moved) = (plan.topics_added.len(), plan.topics_removed.len(), plan.topics_moved.len());
    let (opened, closed) = (plan.connections_opened, plan.connections_closed);
    format!(
        "risk {}; {}; topics +{added} -{removed}, {moved} moved; links +{opened} -{closed}",
        plan.risk.as_str(),
        words.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_changed_when_its_content_has_and_not_when_it_was_only_written() {
        let folder = tempfile::tempdir().unwrap();
        let (file, dot_env) = (folder.path().join("s.toml"), folder.path().join(".env"));
        std::fs::write(&file, "a").unwrap();
        let mut watch = FileWatch::of(&[file.clone(), dot_env.clone()]);
        assert!(!watch.have_changed());
        let later = |seconds| SystemTime::now() + Duration::from_secs(seconds);
        let touch = |text: &str, seconds| {
            std::fs::write(&file, text).unwrap();
            std::fs::File::options().write(true).open(&file).unwrap().set_modified(later(seconds)).unwrap();
        };
        touch("a", 10);
        assert!(!watch.have_changed(), "the same content");
        touch("b", 20);
        assert!(watch.have_changed());
        assert!(!watch.have_changed(), "it was told once");
        std::fs::write(&dot_env, "X=1").unwrap();
        assert!(watch.have_changed(), "one that was not there");
        std::fs::remove_file(&file).unwrap();
        assert!(watch.have_changed(), "one that is gone");
    }
}
