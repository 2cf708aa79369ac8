//! What the other commands need of the system, and how to install it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::fs::statvfs;

use crate::process;

/// Something the system must have, and what the package managers call it (in the order of [`MANAGERS`]).
#[derive(Debug)]
pub struct Need {
    /// What it is, for people.
    what: &'static str,
    probe: Probe,
    /// Several packages are separated by spaces.
    packages: [&'static str; MANAGERS.len()],
}

/// How to see whether it is there.
#[derive(Debug)]
enum Probe {
    /// The search path holds this program.
    Program(&'static str),
    /// A C program that includes this header links with this library.
    Library { header: &'static str, name: &'static str },
    /// [`llvm_config`] finds it.
    Llvm,
    /// This cargo command runs; rustup, where there is one, calls its component so.
    Component { subcommand: &'static str, name: &'static str },
}

/// A package manager and how it installs without asking.
struct Manager {
    program: &'static str,
    /// What to run first, for a machine that has never asked its servers what there is.
    refresh: &'static [&'static str],
    install: &'static [&'static str],
}

impl Manager {
    fn is_here(&self) -> bool {
        process::find(self.program).is_some()
    }
}

const MANAGERS: [Manager; 4] = [
    Manager {
        program: "apt-get",
        refresh: &["apt-get", "update"],
        // tshark's package would ask who may capture.
        install: &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--no-install-recommends"],
    },
    Manager { program: "dnf", refresh: &[], install: &["dnf", "install", "--assumeyes"] },
    Manager { program: "apk", refresh: &[], install: &["apk", "add", "--update-cache"] },
    Manager { program: "pacman", refresh: &[], install: &["pacman", "-Sy", "--needed", "--noconfirm"] },
];

/// What building observer needs.
pub const BUILD: &[Need] = &[
    Need {
        what: "a C compiler and linker",
        probe: Probe::Program("cc"),
        packages: ["gcc libc6-dev", "gcc", "gcc musl-dev", "gcc"],
    },
    Need { what: "make", probe: Probe::Program("make"), packages: ["make"; 4] },
    Need {
        what: "libpcap and its headers",
        probe: Probe::Library { header: "pcap.h", name: "pcap" },
        packages: ["libpcap-dev", "libpcap-devel", "libpcap-dev", "libpcap"],
    },
];

/// What checking the sources needs beyond [`BUILD`].
pub const LINT: &[Need] = &[
    Need {
        what: "rustfmt",
        probe: Probe::Component { subcommand: "fmt", name: "rustfmt" },
        packages: ["rustfmt", "rustfmt", "rustfmt", "rust"],
    },
    Need {
        what: "clippy",
        probe: Probe::Component { subcommand: "clippy", name: "clippy" },
        packages: ["rust-clippy", "clippy", "rust-clippy", "rust"],
    },
];

/// What tests and labs use beyond [`BUILD`]; without it those tests say that they are skipped.
pub const TEST: &[Need] = &[
    Need { what: "tcpdump", probe: Probe::Program("tcpdump"), packages: ["tcpdump"; 4] },
    Need {
        what: "tshark",
        probe: Probe::Program("tshark"),
        packages: ["tshark", "wireshark-cli", "tshark", "wireshark-cli"],
    },
    Need { what: "nft", probe: Probe::Program("nft"), packages: ["nftables"; 4] },
    Need {
        what: "ip, of iproute2",
        probe: Probe::Program("ip"),
        packages: ["iproute2", "iproute", "iproute2", "iproute2"],
    },
    Need { what: "ss", probe: Probe::Program("ss"), packages: ["iproute2", "iproute", "iproute2-ss", "iproute2"] },
    Need { what: "tc", probe: Probe::Program("tc"), packages: ["iproute2", "iproute-tc", "iproute2-tc", "iproute2"] },
    Need {
        what: "sysctl",
        probe: Probe::Program("sysctl"),
        packages: ["procps", "procps-ng", "procps-ng", "procps-ng"],
    },
    Need { what: "ethtool", probe: Probe::Program("ethtool"), packages: ["ethtool"; 4] },
];

/// The servers and clients whose traffic observer is held against tshark over, beyond [`TEST`]; what is missing is left out.
pub const SERVERS: &[Need] = &[
    Need { what: "nginx", probe: Probe::Program("nginx"), packages: ["nginx"; 4] },
    Need { what: "curl", probe: Probe::Program("curl"), packages: ["curl"; 4] },
    Need { what: "openssl", probe: Probe::Program("openssl"), packages: ["openssl"; 4] },
    Need {
        what: "nghttp",
        probe: Probe::Program("nghttp"),
        packages: ["nghttp2-client", "nghttp2", "nghttp2", "nghttp2"],
    },
    Need {
        what: "nghttpd",
        probe: Probe::Program("nghttpd"),
        packages: ["nghttp2-server", "nghttp2", "nghttp2", "nghttp2"],
    },
    Need {
        what: "nghttpx",
        probe: Probe::Program("nghttpx"),
        packages: ["nghttp2-proxy", "nghttp2", "nghttp2", "nghttp2"],
    },
    Need {
        what: "dnsmasq",
        probe: Probe::Program("dnsmasq"),
        packages: ["dnsmasq-base", "dnsmasq", "dnsmasq", "dnsmasq"],
    },
    Need {
        what: "dig",
        probe: Probe::Program("dig"),
        packages: ["bind9-dnsutils", "bind-utils", "bind-tools", "bind"],
    },
    Need {
        what: "redis-server",
        probe: Probe::Program("redis-server"),
        packages: ["redis-server", "redis", "redis", "redis"],
    },
    Need { what: "memcached", probe: Probe::Program("memcached"), packages: ["memcached"; 4] },
    Need { what: "mosquitto", probe: Probe::Program("mosquitto"), packages: ["mosquitto"; 4] },
    Need {
        what: "mosquitto_pub",
        probe: Probe::Program("mosquitto_pub"),
        packages: ["mosquitto-clients", "mosquitto", "mosquitto-clients", "mosquitto"],
    },
];

/// Other observers of connections, beside which `bench live` measures; what is missing is left out.
pub const OBSERVERS: &[Need] = &[
    Need { what: "tcpdump", probe: Probe::Program("tcpdump"), packages: ["tcpdump"; 4] },
    Need {
        what: "tcplife and tcpstates",
        probe: Probe::Program("tcplife"),
        packages: ["libbpf-tools", "libbpf-tools", "bcc-tools", "bcc-tools"],
    },
    Need { what: "bpftrace", probe: Probe::Program("bpftrace"), packages: ["bpftrace"; 4] },
];

/// What building fuzz targets needs beyond [`BUILD`].
pub const FUZZ: &[Need] =
    &[Need { what: "a C++ compiler", probe: Probe::Program("c++"), packages: ["g++", "gcc-c++", "g++", "gcc"] }];

/// What running other kernels needs beyond [`BUILD`].
pub const VM: &[Need] = &[
    Need {
        what: "qemu for x86-64",
        probe: Probe::Program("qemu-system-x86_64"),
        packages: ["qemu-system-x86", "qemu-system-x86-core", "qemu-system-x86_64", "qemu-system-x86"],
    },
    Need {
        what: "busybox",
        probe: Probe::Program("busybox"),
        packages: ["busybox-static", "busybox", "busybox", "busybox"],
    },
    Need { what: "xz", probe: Probe::Program("xz"), packages: ["xz-utils", "xz", "xz", "xz"] },
];

/// The LLVM of the linker of eBPF programs: as new as the one of the compilers whose output it reads.
pub const LLVM: &str = "22";

/// What building the eBPF programs needs beyond [`BUILD`].
pub const EBPF: &[Need] = &[Need {
    what: "LLVM 22 with its headers",
    probe: Probe::Llvm,
    packages: ["llvm-22-dev", "llvm-devel", "llvm22-dev", "llvm"],
}];

/// The program of [`LLVM`] that says where its libraries are.
pub fn llvm_config() -> Option<PathBuf> {
    let suffixed = [format!("llvm-config-{LLVM}"), format!("llvm{LLVM}-config"), "llvm-config".to_owned()];
    suffixed.iter().filter_map(|name| process::find(name)).find(|program| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|output| output.stdout.starts_with(format!("{LLVM}.").as_bytes()))
    })
}

/// Installs those of `needs` that are missing, and says so. Where it cannot, the error says what to install by hand.
pub fn ensure(needs: &[Need]) -> Result<()> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("set-up: missing: {}", names(&missing));
    let cause = match supply(&missing) {
        Ok(()) => match self::missing(needs).as_slice() {
            [] => return Ok(()),
            still => format!("after installing, still missing: {}", names(still)),
        },
        Err(error) => format!("{error:#}"),
    };
    bail!("{cause}\nplease install by hand: {}\n{}", names(&missing), commands(&missing));
}

/// Gets Rust's own tools from rustup where there is one, and everything else as packages.
fn supply(missing: &[&Need]) -> Result<()> {
    let mut packages = Vec::new();
    for need in missing {
        match need.probe {
            Probe::Component { name, .. } if process::find("rustup").is_some() => {
                step(&["rustup", "component", "add", name])?;
            }
            _ => packages.push(*need),
        }
    }
    if packages.is_empty() { Ok(()) } else { install(&packages) }
}

fn names(needs: &[&Need]) -> String {
    needs.iter().map(|need| need.what).collect::<Vec<_>>().join("; ")
}

fn missing(needs: &[Need]) -> Vec<&Need> {
    needs.iter().filter(|need| !need.probe.finds()).collect()
}

impl Probe {
    fn finds(&self) -> bool {
        match self {
            Self::Program(program) => process::find(program).is_some(),
            Self::Library { header, name } => links(header, name),
            Self::Llvm => llvm_config().is_some(),
            Self::Component { subcommand, .. } => process::has_subcommand(subcommand),
        }
    }
}

/// Whether the C compiler finds the header and the linker the library: the question that the build will ask, whatever
/// folders this system keeps them in.
fn links(header: &str, library: &str) -> bool {
    let source = format!("#include <{header}>\nint main(void) {{ return 0; }}\n");
    let compiler = Command::new("cc")
        .args(["-x", "c", "-", "-o", "/dev/null", &format!("-l{library}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut compiler) = compiler else { return false };
    if let Some(mut stdin) = compiler.stdin.take() {
        // A compiler that does not read its input ends with an error, which is the answer.
        let _ = std::io::Write::write_all(&mut stdin, source.as_bytes());
    }
    compiler.wait().is_ok_and(|status| status.success())
}

fn install(needs: &[&Need]) -> Result<()> {
    let (index, manager) = manager()?;
    // Where one of several servers does not answer, the packages may be there all the same.
    if let Err(error) = refresh() {
        eprintln!("set-up: {error:#}; going on");
    }
    let mut command = as_root(manager.install)?;
    command.extend(needs.iter().flat_map(|need| need.packages[index].split(' ')));
    step(&command)
}

/// Has the package manager of this system ask its servers what there is.
pub fn refresh() -> Result<()> {
    match manager()?.1.refresh {
        [] => Ok(()),
        words => step(&as_root(words)?),
    }
}

/// The package manager of this system, and its place in [`MANAGERS`].
fn manager() -> Result<(usize, &'static Manager)> {
    let found = MANAGERS.iter().enumerate().find(|(_, manager)| manager.is_here());
    found.context("this system has none of the package managers that are known here")
}

/// The command as root runs it.
fn as_root(words: &[&'static str]) -> Result<Vec<&'static str>> {
    Ok(become_root()?.into_iter().chain(words.iter().copied()).collect())
}

/// The program that makes root of an ordinary user; `None` for root.
fn become_root() -> Result<Option<&'static str>> {
    if rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let program = ["sudo", "doas"].into_iter().find(|program| process::find(program).is_some());
    program.map(Some).context("installing needs root, and there is neither sudo nor doas")
}

/// Says so where `folder`, or what will hold it, has less than `gigabytes` free: a compiler's own words about a full disk
/// are hard to read.
pub fn warn_of_little_room(folder: &Path, gigabytes: u64) -> Result<()> {
    let there = folder.ancestors().find(|path| path.exists()).context("no folder above it is there")?;
    let file_system = statvfs(there).with_context(|| format!("asking how much room {} has", there.display()))?;
    let free = file_system.f_bavail.saturating_mul(file_system.f_frsize) / 1_000_000_000;
    if free < gigabytes {
        let there = there.display();
        eprintln!("set-up: {there} has {free} GB free; what is built takes up to {gigabytes} GB: it may not be enough");
    }
    Ok(())
}

/// Runs one command of the set-up and says which.
fn step(words: &[&str]) -> Result<()> {
    let (program, arguments) = words.split_first().context("an empty command")?;
    let mut command = Command::new(program);
    // What is written to standard output must stay the output of the command that was asked for.
    command.args(arguments).stdout(std::io::stderr());
    say(&command);
    process::run(&mut command)
}

/// Says which command of the set-up comes now.
pub fn say(command: &Command) {
    eprintln!("set-up: {}", process::line(command));
}

/// The command that installs `needs`, for the package manager of this system; on an unknown system for every one.
fn commands(needs: &[&Need]) -> String {
    let known = MANAGERS.iter().any(Manager::is_here);
    let managers = MANAGERS.iter().enumerate().filter(|(_, manager)| manager.is_here() || !known);
    let lines = managers.map(|(index, manager)| {
        let packages = needs.iter().map(|need| need.packages[index]).collect::<Vec<_>>().join(" ");
        format!("  {} {packages}", manager.install.join(" "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = &'static Need> {
        [BUILD, LINT, TEST, SERVERS, OBSERVERS, FUZZ, EBPF, VM].into_iter().flatten()
    }

    #[test]
    fn every_need_has_a_package_under_every_manager() {
        for need in all() {
            for (package, manager) in need.packages.iter().zip(&MANAGERS) {
                assert!(!package.is_empty(), "{} has no package for {}", need.what, manager.program);
            }
        }
    }

    #[test]
    fn probes_tell_present_from_absent() {
        assert!(Probe::Program("sh").finds());
        assert!(!Probe::Program("no-such-program").finds());
        assert!(Probe::Library { header: "math.h", name: "m" }.finds());
        assert!(!Probe::Library { header: "no-such-header.h", name: "m" }.finds());
        assert!(!Probe::Library { header: "math.h", name: "no-such-library" }.finds());
        assert!(!Probe::Component { subcommand: "no-such-command", name: "none" }.finds());
    }
}
