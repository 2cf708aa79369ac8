//! Which process has a socket open, by the links of `/proc/PID/fd`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use observer_ebpf::Task;

/// The processes that have one of `wanted` open, by the inode of the socket. Other users' processes show their
/// descriptors only to who may trace them (CAP_SYS_PTRACE).
pub fn find(wanted: &HashSet<u32>) -> HashMap<u32, Task> {
    let mut found = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let mut task = None;
        for descriptor in fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten() {
            let link = fs::read_link(descriptor.path()).ok();
            let inode = link.as_ref().and_then(|link| inode(link.to_str()?));
            if let Some(inode) = inode.filter(|inode| wanted.contains(inode))
                && let Some(task) = task.get_or_insert_with(|| read(pid))
            {
                // A parent comes before those that inherited from it.
                found.entry(inode).or_insert(*task);
            }
        }
    }
    found
}

/// `socket:[INODE]`
fn inode(link: &str) -> Option<u32> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// A process; `None` where it is gone.
fn read(pid: u32) -> Option<Task> {
    let folder = format!("/proc/{pid}");
    let uid = fs::metadata(&folder).ok()?.uid();
    let stat = fs::read_to_string(format!("{folder}/stat")).ok()?;
    let (name, parent) = name_and_parent(&stat)?;
    let mut comm = [0; 16];
    comm.iter_mut().zip(name.bytes().take(15)).for_each(|(to, from)| *to = from);
    Some(Task { pid, uid, parent, padding: 0, cgroup: 0, comm })
}

/// Fields 2 and 4 of proc_pid_stat(5). The name may hold anything, parentheses too.
fn name_and_parent(stat: &str) -> Option<(&str, u32)> {
    let (_, rest) = stat.split_once('(')?;
    let (name, rest) = rest.rsplit_once(')')?;
    Some((name, rest.split_ascii_whitespace().nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_names_are_read() {
        assert_eq!(inode("socket:[4711]"), Some(4711));
        assert_eq!(inode("pipe:[4711]"), None);
        assert_eq!(name_and_parent("17 (a) b (c)) S 4 17 17 0"), Some(("a) b (c)", 4)));
        assert_eq!(name_and_parent("17"), None);
    }
}
