//! From what the kernel knows of a process to what a person wants to know: command line, cgroup, unit, container, pod.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use observer::record::{OwnerHow, ProcessRecord};
use observer_ebpf::{How, Task};

use super::commands::{Command, Commands, Found, Process};
use super::stat::Stat;

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
    /// What processes were started with, as far as a source hears of that.
    pub commands: Commands,
}

/// What makes two records of a process the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    task: Task,
    how: How,
    cgroup: u64,
    /// Since when it runs what it runs; 0 where that is not known.
    since: u64,
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
        Self {
            records: HashMap::new(),
            cgroups: HashMap::new(),
            root: root(),
            searched: None,
            commands: Commands::default(),
        }
    }

    /// The process of a socket whose own cgroup is `cgroup`. It was seen to be its at some time in `during`, in nanoseconds of
    /// the kernel's clock.
    pub fn record(&mut self, task: &Task, how: How, cgroup: u64, during: RangeInclusive<u64>) -> Arc<ProcessRecord> {
        let place = if cgroup == 0 { task.cgroup } else { cgroup };
        let ran = self.commands.find(task, during);
        let key = Key { task: *task, how, cgroup: place, since: ran.as_ref().map_or(0, |ran| ran.since) };
        let now = Instant::now();
        if let Some((read, record)) = self.records.get(&key)
            && now.duration_since(*read) < FRESH
        {
            return Arc::clone(record);
        }
        let mut record = self.look_up(task, how, place, ran.as_ref());
        // It may be gone by now.
        if record.command.is_none()
            && task.started != 0
            && let Some((_, before)) = self.records.get(&key)
        {
            record = ProcessRecord { command: before.command.clone(), args: before.args.clone(), ..record };
        }
        let record = Arc::new(record);
        if self.records.len() >= MOST {
            self.records.retain(|_, (read, _)| now.duration_since(*read) < FRESH);
        }
        if self.records.len() < MOST {
            self.records.insert(key, (now, Arc::clone(&record)));
        }
        record
    }

    fn look_up(&mut self, task: &Task, how: How, cgroup: u64, ran: Option<&Found>) -> ProcessRecord {
        let args = arguments(task, ran);
        let process = Process { pid: task.pid, started: task.started };
        let cgroup = self.cgroup(cgroup);
        let cgroup = cgroup.as_deref();
        ProcessRecord {
            pid: Some(task.pid),
            name: Some(comm(task)),
            command: args.as_ref().and_then(|args| args.first().cloned()),
            args: args.map(|args| ProcessRecord::arguments(args.get(1..).unwrap_or_default())),
            uid: Some(task.uid),
            parent_pid: (task.parent != 0).then_some(task.parent),
            ancestors: self.commands.ancestors(process).map(|process| process.pid).collect(),
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

/// The arguments of a process: of one that lives, as it shows them itself, unless it has run something else by now.
fn arguments(task: &Task, ran: Option<&Found>) -> Option<Vec<String>> {
    let still_runs = ran.is_none_or(|ran| ran.is_last);
    let shown = if still_runs { running(task.pid, task.started, &task.comm) } else { None };
    shown.as_ref().or(ran.map(|ran| &ran.command)).and_then(Command::words)
}

/// The command line of a process that lives, that began at `started` (0 where that is not known), and whose name is still
/// `comm`.
pub fn running(pid: u32, started: u32, comm: &[u8; 16]) -> Option<Command> {
    /// More is of no use to a reader.
    const LONGEST: u64 = 4096;
    let folder = format!("/proc/{pid}");
    let mut octets = Vec::new();
    File::open(format!("{folder}/cmdline")).ok()?.take(LONGEST + 1).read_to_end(&mut octets).ok()?;
    let line = fs::read(format!("{folder}/stat")).ok()?;
    let stat = Stat::parse(&line)?;
    let is_it = started == 0 || stat.started == started || *CLOCK_IS_OWN;
    if octets.is_empty() || stat.name != name(comm) || !is_it {
        return None;
    }
    let is_cut = octets.len() as u64 > LONGEST;
    octets.truncate(LONGEST as usize);
    Some(Command { octets: octets.into(), is_cut })
}

/// Whether processes are shown to this one to have begun at other times than to the programs in the kernel: a time namespace
/// has a boot clock of its own (time_namespaces(7)).
static CLOCK_IS_OWN: LazyLock<bool> = LazyLock::new(|| {
    let offsets = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    let boot = offsets.lines().find_map(|line| line.strip_prefix("boottime"));
    boot.is_some_and(|boot| boot.split_ascii_whitespace().any(|number| number != "0"))
});

/// A process's name.
fn comm(task: &Task) -> String {
    String::from_utf8_lossy(name(&task.comm)).into_owned()
}

/// A name without what is behind it.
fn name(comm: &[u8; 16]) -> &[u8] {
    comm.split(|byte| *byte == 0).next().unwrap_or_default()
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

    /// This process, as the kernel's programs would tell of it.
    fn own() -> Task {
        let line = fs::read("/proc/self/stat").expect("there is a /proc");
        let stat = Stat::parse(&line).expect("it is well formed");
        let mut comm = [0; 16];
        comm.iter_mut().zip(stat.name).for_each(|(to, from)| *to = *from);
        Task { pid: std::process::id(), started: stat.started, comm, ..Task::NONE }
    }

    #[test]
    fn a_process_is_asked_only_where_it_is_still_the_same() {
        let own = own();
        let words: Vec<_> = std::env::args().collect();
        assert_eq!(arguments(&own, None).as_ref(), Some(&words));
        assert_eq!(arguments(&Task { started: 0, ..own }, None).as_ref(), Some(&words), "by its name alone");
        assert_eq!(arguments(&Task { started: own.started - 1, ..own }, None), None, "another had its identifier");
        assert_eq!(arguments(&Task { comm: [b'x'; 16], ..own }, None), None);
    }

    #[test]
    fn what_a_process_ran_before_is_not_asked_of_it() {
        let command = Command { octets: b"before\0-x\0".as_slice().into(), is_cut: false };
        let ran = |is_last| Found { since: 1, is_last, command: command.clone() };
        let before = Some(vec!["before".to_string(), "-x".to_string()]);
        assert_eq!(arguments(&own(), Some(&ran(false))), before);
        assert_ne!(arguments(&own(), Some(&ran(true))), before, "it shows them itself");
        assert_eq!(arguments(&Task { pid: u32::MAX, ..own() }, Some(&ran(true))), before, "there is none");
    }

    #[test]
    fn what_a_process_was_started_with_is_told_after_it_is_gone() {
        let mut owners = Owners::new();
        let mut comm = [0; 16];
        comm[..4].copy_from_slice(b"curl");
        let gone = Task { pid: u32::MAX, started: 7, comm, ..Task::NONE };
        let process = Process { pid: gone.pid, started: gone.started };
        let command = Command { octets: b"curl\0-s".as_slice().into(), is_cut: false };
        owners.commands.executed(process, 10, comm, Some(command));
        let record = owners.record(&gone, How::Connect, 0, 20..=20);
        assert_eq!((record.command.as_deref(), record.args.as_deref()), (Some("curl"), Some("-s")));
        let later = Task { started: 8, ..gone };
        let record = owners.record(&later, How::Connect, 0, 30..=30);
        assert_eq!((record.name.as_deref(), record.args.as_deref()), (Some("curl"), None), "it is another");
    }

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
