//! From what the kernel knows of a process to what a person wants to know: command line, cgroup, unit, container, pod.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use observer::record::{OwnerHow, ProcessRecord};
use observer_ebpf::{How, Task};

/// How long what was read of a process is believed: within it, no process identifier is given out twice.
const FRESH: Duration = Duration::from_secs(1);

/// How many of each are kept.
const MOST: usize = 8192;

/// How deep cgroups are looked for.
const DEEPEST: usize = 12;

/// What is known of processes and cgroups.
#[derive(Debug)]
pub struct Owners {
    records: HashMap<Key, (Instant, Arc<ProcessRecord>)>,
    cgroups: HashMap<u64, Option<Arc<Cgroup>>>,
    root: Option<PathBuf>,
    /// When the tree of cgroups was searched last.
    searched: Option<Instant>,
}

/// What makes two records of a process the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    task: Task,
    how: How,
    cgroup: u64,
}

/// A cgroup, and what its path says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    path: String,
    unit: Option<String>,
    container: Option<String>,
    container_id: Option<String>,
    pod: Option<String>,
}

impl Owners {
    /// Nothing known.
    pub fn new() -> Self {
        Self { records: HashMap::new(), cgroups: HashMap::new(), root: root(), searched: None }
    }

    /// The process of a socket whose own cgroup is `cgroup`.
    pub fn record(&mut self, task: &Task, how: How, cgroup: u64) -> Arc<ProcessRecord> {
        let place = if cgroup == 0 { task.cgroup } else { cgroup };
        let key = Key { task: *task, how, cgroup: place };
        let now = Instant::now();
        if let Some((read, record)) = self.records.get(&key)
            && now.duration_since(*read) < FRESH
        {
            return Arc::clone(record);
        }
        let record = Arc::new(self.look_up(task, how, place));
        if self.records.len() >= MOST {
            self.records.retain(|_, (read, _)| now.duration_since(*read) < FRESH);
        }
        if self.records.len() < MOST {
            self.records.insert(key, (now, Arc::clone(&record)));
        }
        record
    }

    fn look_up(&mut self, task: &Task, how: How, cgroup: u64) -> ProcessRecord {
        let args = read_args(task);
        let cgroup = self.cgroup(cgroup);
        let cgroup = cgroup.as_deref();
        ProcessRecord {
            pid: Some(task.pid),
            name: Some(comm(task)),
            command: args.as_ref().and_then(|args| args.first().cloned()),
            args: args.map(|args| args.get(1..).unwrap_or_default().join(" ")),
            uid: Some(task.uid),
            parent_pid: (task.parent != 0).then_some(task.parent),
            container: cgroup.and_then(|cgroup| cgroup.container.clone()),
            container_id: cgroup.and_then(|cgroup| cgroup.container_id.clone()),
            pod: cgroup.and_then(|cgroup| cgroup.pod.clone()),
            cgroup: cgroup.map(|cgroup| cgroup.path.clone()),
            unit: cgroup.and_then(|cgroup| cgroup.unit.clone()),
            how: Some(match how {
                How::Connect => OwnerHow::Connect,
                How::Listen => OwnerHow::Listen,
                How::Accept => OwnerHow::Accept,
                How::Descriptor => OwnerHow::Descriptor,
                How::Close => OwnerHow::Close,
            }),
            ..ProcessRecord::default()
        }
    }

    /// The path of a cgroup, from the root of cgroup v2.
    pub fn cgroup_path(&mut self, id: u64) -> Option<String> {
        self.cgroup(id).map(|cgroup| cgroup.path.clone())
    }

    fn cgroup(&mut self, id: u64) -> Option<Arc<Cgroup>> {
        if id == 0 {
            return None;
        }
        if let Some(known) = self.cgroups.get(&id) {
            return known.clone();
        }
        // A search finds all there are. One that is gone by then stays unknown.
        if self.searched.is_none_or(|searched| searched.elapsed() >= FRESH) {
            self.searched = Some(Instant::now());
            if self.cgroups.len() >= MOST {
                self.cgroups.clear();
            }
            if let Some(root) = self.root.clone() {
                self.search(&root, "/", 0);
            }
            return self.cgroups.entry(id).or_default().clone();
        }
        None
    }

    fn search(&mut self, folder: &Path, name: &str, depth: usize) {
        let Ok(data) = fs::metadata(folder) else { return };
        self.cgroups.insert(data.ino(), Some(Arc::new(Cgroup::from_path(name))));
        if depth >= DEEPEST {
            return;
        }
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let below = format!("{}/{}", name.trim_end_matches('/'), entry.file_name().to_string_lossy());
                self.search(&entry.path(), &below, depth + 1);
            }
        }
    }
}

/// Where cgroup v2 is mounted. Whom `ip netns exec` starts has another `/sys` without it: then it is where the first process
/// has it.
pub fn root() -> Option<PathBuf> {
    let of = |process: &str| {
        let mounts = fs::read_to_string(format!("/proc/{process}/mountinfo")).ok()?;
        mounts.lines().find_map(|line| {
            let (place, kind) = line.split_once(" - ")?;
            kind.starts_with("cgroup2 ").then(|| PathBuf::from(place.split(' ').nth(4).unwrap_or_default()))
        })
    };
    of("self").or_else(|| Some(Path::new("/proc/1/root").join(of("1")?.strip_prefix("/").ok()?)))
}

/// The identifier of a cgroup by its path, below the root of cgroup v2 or in the file system; `None` where there is none.
pub fn cgroup(path: &str) -> Option<u64> {
    let root = root()?;
    let below = root.join(path.trim_start_matches('/'));
    let place = [PathBuf::from(path), below].into_iter().find(|place| place.starts_with(&root) && place.is_dir())?;
    Some(fs::metadata(place).ok()?.ino())
}

/// The arguments of a process whose name is still that of `task`.
fn read_args(task: &Task) -> Option<Vec<String>> {
    /// More is of no use to a reader.
    const LONGEST: usize = 4096;
    let folder = format!("/proc/{}", task.pid);
    let mut line = fs::read(format!("{folder}/cmdline")).ok()?;
    let name = fs::read(format!("{folder}/comm")).ok()?;
    if name.trim_ascii_end() != comm(task).as_bytes() {
        return None;
    }
    line.truncate(LONGEST);
    let words: Vec<_> = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let filled = words.iter().rposition(|word| !word.is_empty())? + 1;
    Some(words.into_iter().take(filled).collect())
}

/// A process's name.
fn comm(task: &Task) -> String {
    let name = task.comm.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

impl Cgroup {
    /// What a path below the root of cgroup v2 says, by the names that container runtimes and systemd give.
    fn from_path(path: &str) -> Self {
        let mut cgroup = Self { path: path.to_string(), ..Self::default() };
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let bare = part.strip_suffix(".scope").unwrap_or(part);
            if let Some((runtime, id)) = container(bare, path) {
                cgroup.container = Some(format!("{runtime}/{}", &id[..12]));
                cgroup.container_id = Some(id.to_string());
            } else if let Some(pod) = pod(part) {
                cgroup.pod = Some(pod);
            } else if [".service", ".scope", ".socket", ".mount"].iter().any(|kind| part.ends_with(kind)) {
                cgroup.unit = Some(part.to_string());
            }
        }
        cgroup
    }
}

/// The runtime and identifier of a container: `docker-ID`, `cri-containerd-ID`, `crio-ID`, `libpod-ID`, or an identifier
/// alone below `docker/` or `kubepods/`.
fn container<'a>(part: &'a str, path: &str) -> Option<(&'static str, &'a str)> {
    const NAMED: [(&str, &str); 5] = [
        ("docker-", "docker"),
        ("cri-containerd-", "containerd"),
        ("crio-", "cri-o"),
        ("libpod-", "podman"),
        ("nerdctl-", "containerd"),
    ];
    let is_id = |id: &str| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let named = NAMED.iter().find_map(|(prefix, runtime)| Some((*runtime, part.strip_prefix(prefix)?)));
    let (runtime, id) = named.unwrap_or_else(|| {
        let runtime = if path.contains("/docker/") { "docker" } else { "container" };
        (runtime, part)
    });
    is_id(id).then_some((runtime, id))
}

/// The identifier of a Kubernetes pod: `kubepods-burstable-podUID.slice` or `podUID`.
fn pod(part: &str) -> Option<String> {
    let bare = part.strip_suffix(".slice").unwrap_or(part);
    let id = bare.rsplit_once("-pod").map_or_else(|| bare.strip_prefix("pod"), |(_, id)| Some(id))?;
    let id = id.replace('_', "-");
    (id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_containers_pods_and_units() {
        let id = "0123456789abcdef".repeat(4);
        let docker = Cgroup::from_path(&format!("/system.slice/docker-{id}.scope"));
        assert_eq!(docker.container.as_deref(), Some("docker/0123456789ab"));
        assert_eq!(docker.container_id.as_deref(), Some(id.as_str()));
        let pod = "/kubepods.slice/kubepods-burstable.slice/\
                   kubepods-burstable-pod8a1d5e3c_0f5b_4c58_9b39_0a2b1c3d4e5f.slice/cri-containerd-";
        let pod = Cgroup::from_path(&format!("{pod}{id}.scope"));
        assert_eq!(pod.pod.as_deref(), Some("8a1d5e3c-0f5b-4c58-9b39-0a2b1c3d4e5f"));
        assert_eq!(pod.container.as_deref(), Some("containerd/0123456789ab"));
        let old = Cgroup::from_path(&format!("/docker/{id}"));
        assert_eq!(old.container.as_deref(), Some("docker/0123456789ab"));
        let unit = Cgroup::from_path("/system.slice/nginx.service");
        assert_eq!((unit.unit.as_deref(), unit.container), (Some("nginx.service"), None));
    }
}
