//! How much memory this process may use: the least limit of its control groups, else what the host has.

use std::path::{Path, PathBuf};

use super::host::Memory;

/// Bytes that this process may use; 0 where neither is known. Reads a few small files.
pub fn memory_limit() -> u64 {
    let host = Memory::now().total;
    limiting_group(host).map_or(host, |group| group.limit)
}

/// The control group whose memory is the least that this process and others in it may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MemoryGroup {
    /// Bytes that all in it may use.
    pub(super) limit: u64,
    folder: PathBuf,
    second: bool,
}

impl MemoryGroup {
    /// Bytes that are in use, less what the kernel gives back before it kills: pages of files that nobody has used lately.
    pub(super) fn used(&self) -> Option<u64> {
        let (usage, idle) = if self.second {
            ("memory.current", "inactive_file")
        } else {
            ("memory.usage_in_bytes", "total_inactive_file")
        };
        let usage: u64 = std::fs::read_to_string(self.folder.join(usage)).ok()?.trim().parse().ok()?;
        let stat = std::fs::read_to_string(self.folder.join("memory.stat")).unwrap_or_default();
        let idle = stat.lines().find_map(|line| line.strip_prefix(idle)?.trim().parse().ok());
        Some(usage.saturating_sub(idle.unwrap_or(0)))
    }
}

/// The group that limits this process, where one does so more than the host's memory.
pub(super) fn limiting_group(host: u64) -> Option<MemoryGroup> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    // A limit above what there is limits nothing.
    limit_of(&groups, Path::new("/sys/fs/cgroup")).filter(|group| host == 0 || group.limit < host)
}

/// The least limit of the groups that `/proc/self/cgroup` names, and of those that they are in.
fn limit_of(groups: &str, root: &Path) -> Option<MemoryGroup> {
    let limits = groups.lines().filter_map(|line| {
        // `0::/path` of version 2, `4:memory:/path` of version 1.
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            least(&root.join(path), root, true)
        } else if controllers.split(',').any(|controller| controller == "memory") {
            let root = root.join("memory");
            least(&root.join(path), &root, false)
        } else {
            None
        }
    });
    limits.min_by_key(|group| group.limit)
}

/// The least limit from a folder up to `root`. Within a container the path may not be there; its own group is the root then.
fn least(folder: &Path, root: &Path, second: bool) -> Option<MemoryGroup> {
    let name = if second { "memory.max" } else { "memory.limit_in_bytes" };
    let groups = folder.ancestors().take_while(|folder| folder.starts_with(root)).filter_map(|folder| {
        // `max` where there is no limit.
        let limit = std::fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok()?;
        Some(MemoryGroup { limit, folder: folder.to_owned(), second })
    });
    groups.min_by_key(|group| group.limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn the_least_limit_of_the_groups_that_the_process_is_in_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let limit_of = |groups, root| limit_of(groups, root).map(|group| group.limit);
        write(root, "a/memory.max", "1000\n");
        write(root, "a/b/memory.max", "max\n");
        write(root, "other/memory.max", "10\n");
        assert_eq!(limit_of("0::/a/b\n", root), Some(1000));
        write(root, "a/b/memory.max", "500\n");
        assert_eq!(limit_of("0::/a/b\n", root), Some(500));
        assert_eq!(limit_of("0::/nowhere\n", root), None);
        write(root, "memory/x/memory.limit_in_bytes", "200\n");
        assert_eq!(
            limit_of("9:name=systemd:/\n4:cpu,memory:/x\n0::/a\n", root),
            Some(200),
            "also of the first version"
        );
        assert_eq!(limit_of("", root), None);
    }

    #[test]
    fn what_the_kernel_gives_back_by_itself_is_not_in_use() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a/memory.max", "1000\n");
        write(folder.path(), "a/memory.current", "700\n");
        write(folder.path(), "a/memory.stat", "anon 300\ninactive_file 250\n");
        assert_eq!(limit_of("0::/a\n", folder.path()).unwrap().used(), Some(450));
    }

    #[test]
    fn this_process_has_a_limit() {
        assert!(memory_limit() > 0);
    }
}
