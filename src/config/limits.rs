//! What the machine lets one process have: the memory of it, or of the container around us.
//!
//! Promises: the least of all bounds that are there; none where the system does not say.

use std::path::Path;

/// Bytes of memory that this process can come to have; beyond them the kernel ends it.
pub fn memory() -> Option<u64> {
    least(Path::new("/"))
}

/// The least bound of a tree that holds `proc` and `sys`.
fn least(root: &Path) -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let total = read("proc/meminfo");
    let total = total.lines().find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix("kB"));
    let total = total.and_then(|kib| kib.trim().parse::<u64>().ok()).map(|kib| kib << 10);
    let groups = read("proc/self/cgroup");
    let of_groups = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (kinds, path) = (parts.next()?, parts.next()?);
        match kinds {
            "" => lowest(&root.join("sys/fs/cgroup"), path, "memory.max"),
            _ if kinds.split(',').any(|kind| kind == "memory") => {
                lowest(&root.join("sys/fs/cgroup/memory"), path, "memory.limit_in_bytes")
            }
            _ => None,
        }
    });
    of_groups.chain(total).min()
}

/// The least bound of a group and of those that it is in. A container sees its own as the top.
fn lowest(mount: &Path, path: &str, file: &str) -> Option<u64> {
    let group = mount.join(path.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|dir| dir.starts_with(mount));
    // No bound is the word `max`, or in the older version a number beyond all memory.
    let bound = |dir: &Path| std::fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok();
    groups.filter_map(bound).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_bound_holds() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
            std::fs::write(path, text).expect("written");
        };
        assert_eq!(least(dir.path()), None);
        write("proc/meminfo", "MemTotal:       24000 kB\nMemFree:          10 kB\n");
        assert_eq!(least(dir.path()), Some(24_000 << 10));
        write("proc/self/cgroup", "0::/a/b\n");
        write("sys/fs/cgroup/a/b/memory.max", "max\n");
        assert_eq!(least(dir.path()), Some(24_000 << 10));
        write("sys/fs/cgroup/a/memory.max", "4096\n");
        assert_eq!(least(dir.path()), Some(4096));
        write("sys/fs/cgroup/memory.max", "2048\n");
        assert_eq!(least(dir.path()), Some(2048), "as a container sees it");
        write("proc/self/cgroup", "3:cpu,memory:/x\n");
        write("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(least(dir.path()), Some(24_000 << 10));
        write("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1024\n");
        assert_eq!(least(dir.path()), Some(1024));
    }

    #[test]
    fn this_machine_says() {
        assert!(!cfg!(target_os = "linux") || memory() > Some(1 << 26));
    }
}
