//! How much memory this process may use: the least limit of its control groups, else what the host has.

use std::path::Path;

use super::host::Memory;

/// Bytes that this process may use; 0 where neither is known. Reads a few small files.
pub fn memory_limit() -> u64 {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let host = Memory::now().total;
    match limit_of(&groups, Path::new("/sys/fs/cgroup")) {
        // A limit above what there is limits nothing.
        Some(limit) if host == 0 || limit < host => limit,
        _ => host,
    }
}

/// The least limit of the groups that `/proc/self/cgroup` names, and of those that they are in.
fn limit_of(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        // `0::/path` of version 2, `4:memory:/path` of version 1.
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            least(&root.join(path), root, "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            let root = root.join("memory");
            least(&root.join(path), &root, "memory.limit_in_bytes")
        } else {
            None
        }
    });
    limits.min()
}

/// The least number in files of this name from a folder up to `root`. Within a container the path may not be there; its own group
/// is the root then.
fn least(folder: &Path, root: &Path, name: &str) -> Option<u64> {
    let numbers = folder.ancestors().take_while(|folder| folder.starts_with(root)).filter_map(|folder| {
        // `max` where there is no limit.
        std::fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok()
    });
    numbers.min()
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
    fn this_process_has_a_limit() {
        assert!(memory_limit() > 0);
    }
}
