//! `observer check`: what this host allows, and what the rest would need.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use observer::record::{CheckRecord, FeatureRecord, Object};

use crate::sink::json;
use crate::source::ebpf::probe;
use crate::source::libpcap::{self, ANY, Interfaces};
use crate::source::rights::{self, BPF, NET_RAW, OLDEST, PERFMON, RIGHTS, Right, SYS_ADMIN, SYS_PTRACE};
use crate::source::sock_diag::{self, Tables};
use crate::source::{namespace, owner};

/// Tell what this host allows observer to see, and what the rest would need
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    sudo observer check\n  \
    observer check --output json | jq '.features[] | select(.works | not)'\n\n\
    The exit status is 0 where eBPF works in full, 1 where it does not. Every hook is attached for a moment.")]
pub struct Check {
    /// What to print
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

/// What `observer check` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// A line for each feature
    #[default]
    Text,
    /// One object (see `observer schema`)
    Json,
}

/// The capabilities for all that one network namespace has to show.
const FOR_ONE: [Right; 4] = [BPF, PERFMON, NET_RAW, SYS_PTRACE];

impl Check {
    /// Tries everything, and tells.
    pub fn run(self) -> Result<ExitCode> {
        let (record, is_full) = check();
        let mut out = io::stdout().lock();
        match self.output {
            Output::Text => out.write_all(text(&record).as_bytes()),
            Output::Json => {
                let mut line = Vec::new();
                json::line(&mut line, &Object::Check(Box::new(record)))?;
                out.write_all(&line)
            }
        }
        .context("writing to standard output")?;
        Ok(if is_full { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What works, and whether eBPF does in full.
fn check() -> (CheckRecord, bool) {
    let mut features = vec![feature("kernel", kernel(), || format!("Linux {}.{} or later", OLDEST.0, OLDEST.1))];
    let types = probe::types().map(str::to_string);
    features.push(feature("types (BTF)", types, || "a kernel built with CONFIG_DEBUG_INFO_BTF".to_string()));
    features.extend(hooks());
    let is_full = features.iter().all(|feature| feature.works);
    let packets = feature("packet capture", packets(), || NET_RAW.name.to_string());
    let tables = feature("sock_diag", tables(), || "a kernel with CONFIG_INET_TCP_DIAG".to_string());
    let source = match () {
        () if hooks_work(&features) => Some("ebpf"),
        () if packets.works => Some("pcap"),
        () if tables.works => Some("sock_diag"),
        () => None,
    };
    features.extend([packets, tables]);
    features.push(feature("other network namespaces", namespaces(), || SYS_ADMIN.name.to_string()));
    features.push(feature("other users' processes", descriptors(), || SYS_PTRACE.name.to_string()));
    features.push(feature("command lines of other users' processes", command_lines(), || {
        "a /proc mounted without hidepid".to_string()
    }));
    features.push(feature("cgroups", cgroups(), || "cgroup v2, mounted (mount -t cgroup2)".to_string()));
    features.push(feature("tracefs", tracefs(), || {
        "nothing: it would serve where there is no BTF; root can read it where it is mounted".to_string()
    }));
    let record = CheckRecord {
        kernel: rights::release(),
        source,
        features,
        capabilities: held(),
        setcap: format!("sudo setcap {}=ep {}", names(&FOR_ONE, ",").to_lowercase(), program().display()),
        unit: unit(),
    };
    (record, is_full)
}

/// A feature by what came of trying it.
fn feature(name: &str, tried: Result<String>, needs: impl FnOnce() -> String) -> FeatureRecord {
    let name = name.to_string();
    match tried {
        Ok(detail) => FeatureRecord { name, works: true, detail: Some(detail), needs: None },
        Err(error) => FeatureRecord { name, works: false, detail: Some(format!("{error:#}")), needs: Some(needs()) },
    }
}

fn kernel() -> Result<String> {
    let release = rights::release();
    match rights::version(&release) {
        Some(version) if version < OLDEST => bail!("{release} is too old for the eBPF programs"),
        _ => Ok(release),
    }
}

fn hooks() -> Vec<FeatureRecord> {
    let needs = || {
        let missing: Vec<_> = FOR_ONE.iter().filter(|right| !right.is_held().unwrap_or(false)).copied().collect();
        if missing.is_empty() { "a kernel that has it".to_string() } else { names(&missing, ", ") }
    };
    match probe::hooks() {
        Ok(hooks) => hooks
            .into_iter()
            .map(|(hook, why)| {
                let works = why.is_none();
                FeatureRecord { name: format!("hook {}", hook.name()), works, detail: why, needs: (!works).then(needs) }
            })
            .collect(),
        Err(error) => vec![feature("hooks", Err(error), needs)],
    }
}

/// Whether `watch` would use eBPF: states can be followed.
fn hooks_work(features: &[FeatureRecord]) -> bool {
    features.iter().any(|feature| feature.name == "hook state" && feature.works)
}

fn packets() -> Result<String> {
    let options = libpcap::Options {
        interfaces: vec![ANY.to_string()],
        netns: None,
        snaplen: 64,
        buffer: 1 << 19,
        promiscuous: false,
        filter: None,
    };
    Interfaces::open(&options)?;
    Ok("libpcap can capture on any interface".to_string())
}

fn tables() -> Result<String> {
    let netns = Some(namespace::own()?);
    Tables::open(sock_diag::Options { netns, interval: Duration::from_secs(1) })?;
    Ok("the tables of TCP sockets can be read".to_string())
}

fn namespaces() -> Result<String> {
    // Going into one's own takes the same right as going into another.
    namespace::within(&PathBuf::from("/proc/self/ns/net"), || Ok(()))?;
    Ok(format!("{} can be seen and entered", namespace::all().len()))
}

/// A process of another user, as `/proc` names it.
fn of_another_user() -> Option<PathBuf> {
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
    all.filter(is_process).filter(is_other).find(has_program)
}

fn descriptors() -> Result<String> {
    // Root owns the first process; where all processes are our own, nothing is hidden.
    let Some(process) = of_another_user() else { return Ok("there are none".to_string()) };
    let folder = process.join("fd");
    fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    Ok("their sockets can be seen".to_string())
}

fn command_lines() -> Result<String> {
    let file = of_another_user().unwrap_or_else(|| PathBuf::from("/proc/1")).join("cmdline");
    fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    Ok("they can be read".to_string())
}

fn cgroups() -> Result<String> {
    let root = owner::root().context("cgroup v2 is not mounted")?;
    fs::read_dir(&root).with_context(|| format!("reading {}", root.display()))?;
    Ok(format!("version 2 at {}", root.display()))
}

fn tracefs() -> Result<String> {
    let places = ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"];
    let is_readable = |place: &&&str| fs::read_dir(Path::new(place)).is_ok();
    let place = places.iter().find(is_readable).context("there is none that can be read")?;
    Ok((*place).to_string())
}

fn held() -> Vec<String> {
    let held = RIGHTS.iter().filter(|right| right.is_held().unwrap_or(false));
    held.map(|right| right.name.to_string()).collect()
}

fn names(rights: &[Right], between: &str) -> String {
    rights.iter().map(|right| right.name).collect::<Vec<_>>().join(between)
}

/// Where this program is.
fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/local/bin/observer"))
}

fn unit() -> Vec<String> {
    let all = names(&FOR_ONE, " ");
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

fn text(record: &CheckRecord) -> String {
    let mut text = String::new();
    let width = record.features.iter().map(|feature| feature.name.chars().count()).max().unwrap_or(0);
    for FeatureRecord { name, works, detail, needs } in &record.features {
        let mark = if *works { "yes" } else { "no " };
        let detail = detail.as_deref().unwrap_or_default();
        text.push_str(format!("{mark}  {name:width$}  {detail}").trim_end());
        text.push('\n');
        if let Some(needs) = needs {
            text.push_str(&format!("     {:width$}  needs: {needs}\n", ""));
        }
    }
    let capabilities = if record.capabilities.is_empty() { "none".to_string() } else { record.capabilities.join(" ") };
    text.push_str(&format!("\nCapabilities held: {capabilities}\n"));
    for right in RIGHTS {
        text.push_str(&format!("  {:15} {}\n", right.name, right.used_for));
    }
    text.push_str(&match record.source {
        Some(source) => format!("\n`observer watch` uses {source} here.\n"),
        None => "\n`observer watch` can see nothing here.\n".to_string(),
    });
    text.push_str(&format!("\nTo run it without root:\n  {}\n", record.setcap));
    text.push_str("or as a service, in the unit's [Service] section:\n");
    record.unit.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    text.push_str(&format!(
        "With {} besides, packets in other network namespaces are seen too.\n",
        SYS_ADMIN.name.to_lowercase()
    ));
    text
}
