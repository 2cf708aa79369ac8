//! What this host allows observer to see, found out by trying it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use observer::record::{CapabilityRecord, CheckRecord, FeatureRecord};
use observer_ebpf::{HOOKS, Hook};

use super::ebpf::probe;
use super::libpcap::{self, ANY, Interfaces};
use super::rights::{
    self, BPF, DAC_READ_SEARCH, ENOUGH, NET_ADMIN, NET_RAW, OLDEST, PERFMON, RIGHTS, Right, SYS_ADMIN, SYS_PTRACE,
    SYSLOG,
};
use super::sock_diag::{self, Tables};
use super::{namespace, owner};
use crate::failure::in_words;

/// Tries everything.
pub fn check() -> CheckRecord {
    let mut features = vec![
        feature("kernel", "eBPF as observer uses it", kernel(), || format!("Linux {}.{} or later", OLDEST.0, OLDEST.1)),
        feature("types (BTF)", "where the kernel's fields lie", probe::types().map(some), || {
            "a kernel built with CONFIG_DEBUG_INFO_BTF=y".to_string()
        }),
    ];
    features.extend(ebpf());
    let full = features.iter().all(|feature| feature.works);
    let follows_states = features.iter().any(|feature| feature.name == name(Hook::State) && feature.works);
    let packets = feature("libpcap", "packets, where there is no eBPF", packets(), || NET_RAW.name.to_string());
    let tables = feature("sock_diag", "the kernel's tables of sockets, where there is neither", tables(), || {
        "a kernel with CONFIG_INET_TCP_DIAG (modprobe tcp_diag)".to_string()
    });
    let source = match () {
        () if follows_states => Some("ebpf"),
        () if packets.works => Some("pcap"),
        () if tables.works => Some("sock_diag"),
        () => None,
    };
    features.extend([packets, tables]);
    features.extend(around());
    let capability = |right: &Right| CapabilityRecord {
        name: right.name,
        held: right.is_held().unwrap_or(false),
        used_for: right.used_for,
    };
    CheckRecord {
        kernel: rights::release(),
        source,
        full,
        features,
        capabilities: RIGHTS.iter().map(capability).collect(),
        setcap: format!("sudo setcap {}=ep {}", names(&ENOUGH, ",").to_lowercase(), program().display()),
        unit: unit(),
    }
}

/// A feature by what came of trying it.
fn feature(
    name: &str,
    gives: &'static str,
    tried: Result<Option<String>>,
    needs: impl FnOnce() -> String,
) -> FeatureRecord {
    let name = name.to_string();
    match tried {
        Ok(detail) => FeatureRecord { name, works: true, gives, detail, needs: None },
        Err(error) => {
            let (detail, needs) = (Some(in_words(&error)), Some(needs()));
            FeatureRecord { name, works: false, gives, detail, needs }
        }
    }
}

fn some(text: impl Into<String>) -> Option<String> {
    Some(text.into())
}

fn kernel() -> Result<Option<String>> {
    let release = rights::release();
    match rights::version(&release) {
        Some(version) if version < OLDEST => bail!("{release} is too old for the eBPF programs"),
        _ => Ok(Some(release)),
    }
}

/// The maps, and each hook.
fn ebpf() -> Vec<FeatureRecord> {
    let probe = probe::hooks();
    let have_maps = probe.maps.is_ok();
    let maps = probe.maps.map(|()| None);
    let mut features =
        vec![feature("ring buffer", "what the hooks see, handed over", maps, || missing(&[BPF, PERFMON]))];
    for hook in HOOKS {
        let why = probe.hooks.iter().find(|(tried, _)| *tried == hook).and_then(|(_, why)| why.clone());
        let tried = match why {
            _ if !have_maps => Err(anyhow::anyhow!("there is no ring buffer")),
            Some(why) => Err(anyhow::anyhow!(why)),
            None => Ok(None),
        };
        let needs = || match hook {
            Hook::Packets => missing(&[BPF, PERFMON, NET_RAW]),
            Hook::Accept => missing(&[BPF, PERFMON, NET_ADMIN]),
            _ => missing(&[BPF, PERFMON]),
        };
        features.push(feature(&name(hook), gives(hook), tried, needs));
    }
    features
}

fn name(hook: Hook) -> String {
    format!("hook {}", hook.name())
}

/// What a hook shows.
const fn gives(hook: Hook) -> &'static str {
    match hook {
        Hook::State => "every socket's states; without it, no eBPF",
        Hook::Destroy => "the end of sockets, with the kernel's last counters",
        Hook::Retransmit => "segments sent again",
        Hook::SynAck => "SYN-ACKs sent again",
        Hook::ResetSent => "resets sent, with the kernel's reason",
        Hook::ResetReceived => "resets received",
        Hook::Drop => "packets dropped, with reason and place",
        Hook::Error => "errors that sockets are told",
        Hook::Accept => "which process accepted a connection",
        Hook::Packets => "flags, handshake times, first octets of each direction",
        Hook::Existing => "sockets that were there before (iterators)",
        Hook::Congestion => "congestion states of senders, where asked for",
        Hook::Exec => "command lines of processes that are gone again",
    }
}

/// What is around connections.
fn around() -> Vec<FeatureRecord> {
    vec![
        feature("enter namespaces", "packets in other network namespaces", namespaces(), || SYS_ADMIN.name.to_string()),
        feature("see namespaces", "namespaces that only other users' processes are in", others("ns/net"), || {
            SYS_PTRACE.name.to_string()
        }),
        feature("see descriptors", "whose sockets they are, where there is no eBPF", others("fd"), || {
            format!("{} and {}", DAC_READ_SEARCH.name, SYS_PTRACE.name)
        }),
        feature("see command lines", "what processes were started with", others("cmdline"), || {
            "a /proc mounted without hidepid".to_string()
        }),
        feature("cgroups", "unit, container and pod of a process", cgroups(), || {
            "cgroup v2, mounted (mount -t cgroup2)".to_string()
        }),
        feature("kernel symbols", "where packets are dropped, by name", symbols(), || {
            format!("{}, or the sysctl kernel.kptr_restrict=0 as root", SYSLOG.name)
        }),
        feature("conntrack", "how full the firewall's table of connections is", conntrack(), || {
            "the module nf_conntrack (a firewall with state loads it)".to_string()
        }),
        feature("tracefs", "nothing more than BTF does", tracefs(), || {
            "mount -t tracefs tracefs /sys/kernel/tracing, and root".to_string()
        }),
    ]
}

fn packets() -> Result<Option<String>> {
    let options = libpcap::Options {
        interfaces: vec![ANY.to_string()],
        netns: None,
        snaplen: 64,
        buffer: 1 << 19,
        promiscuous: false,
        filter: None,
        keylog: None,
    };
    Interfaces::open(&options).map(|_| None)
}

fn tables() -> Result<Option<String>> {
    let netns = Some(namespace::own()?);
    Tables::open(sock_diag::Options { netns, interval: Duration::from_secs(1) }).map(|_| None)
}

fn namespaces() -> Result<Option<String>> {
    // Going into one's own takes the same right as going into another.
    namespace::within(&PathBuf::from("/proc/self/ns/net"), || Ok(()))?;
    Ok(Some(format!("{} seen", namespace::all().len())))
}

/// Whether `what` can be read of other users' processes.
fn others(what: &str) -> Result<Option<String>> {
    let read = |process: &PathBuf| match what {
        "fd" => fs::read_dir(process.join(what)).map(drop),
        "cmdline" => fs::read(process.join(what)).map(drop),
        _ => fs::metadata(process.join(what)).map(drop),
    };
    let (mut readable, mut first_error) = (0, None);
    let others = of_other_users();
    for process in &others {
        match read(process) {
            Ok(()) => readable += 1,
            Err(error) => first_error = first_error.or(Some((process, error))),
        }
    }
    // Of some, the kernel shows nothing to anybody.
    match first_error {
        Some((process, error)) if readable == 0 => {
            Err(error).with_context(|| format!("reading {}", process.join(what).display()))
        }
        _ => Ok(Some(format!("{readable} of {} processes", others.len()))),
    }
}

/// The processes of other users, as `/proc` names them.
fn of_other_users() -> Vec<PathBuf> {
    let own = rustix::process::geteuid().as_raw();
    let is_process = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let is_other = |path: &PathBuf| fs::metadata(path).is_ok_and(|data| data.uid() != own);
    // Threads of the kernel have neither files nor arguments.
    let has_program = |path: &PathBuf| fs::read(path.join("statm")).is_ok_and(|sizes| !sizes.starts_with(b"0 "));
    let all = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    all.filter(is_process).filter(is_other).filter(has_program).collect()
}

fn cgroups() -> Result<Option<String>> {
    let root = owner::root().context("cgroup v2 is not mounted")?;
    fs::read_dir(&root).with_context(|| format!("reading {}", root.display()))?;
    Ok(Some(root.display().to_string()))
}

fn symbols() -> Result<Option<String>> {
    let text = fs::read_to_string("/proc/kallsyms").context("reading /proc/kallsyms")?;
    let is_hidden = |line: &str| line.split(' ').next().is_none_or(|address| address.bytes().all(|byte| byte == b'0'));
    ensure!(!text.lines().all(is_hidden), "the kernel hides its addresses");
    Ok(None)
}

fn conntrack() -> Result<Option<String>> {
    let number = |name: &str| {
        let path = format!("/proc/sys/net/netfilter/{name}");
        fs::read_to_string(&path).map(|text| text.trim().to_string()).with_context(|| format!("reading {path}"))
    };
    Ok(Some(format!("{} of {} entries", number("nf_conntrack_count")?, number("nf_conntrack_max")?)))
}

fn tracefs() -> Result<Option<String>> {
    let places = ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"];
    let is_readable = |place: &&&str| fs::read_dir(Path::new(place)).is_ok();
    places.iter().find(is_readable).map(|place| some(*place)).context("there is none that can be read")
}

/// Those of `rights` that this process has not.
fn missing(rights: &[Right]) -> String {
    let missing: Vec<_> = rights.iter().filter(|right| right.is_missing()).copied().collect();
    if missing.is_empty() { "a kernel that allows it".to_string() } else { names(&missing, ", ") }
}

fn names(rights: &[Right], between: &str) -> String {
    rights.iter().map(|right| right.name).collect::<Vec<_>>().join(between)
}

/// Where this program is.
fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/local/bin/observer"))
}

fn unit() -> Vec<String> {
    let all = names(&ENOUGH, " ");
    vec![
        format!("ExecStart={} watch --output json", program().display()),
        "DynamicUser=yes".to_string(),
        format!("AmbientCapabilities={all}"),
        format!("CapabilityBoundingSet={all}"),
        "NoNewPrivileges=yes".to_string(),
        // Before Linux 5.11 eBPF maps counted as locked memory.
        "LimitMEMLOCK=infinity".to_string(),
    ]
}
