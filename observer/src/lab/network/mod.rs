//! Small networks inside this process: hosts are network namespaces, wires are threads that carry frames between them.

pub mod capture;
pub mod fault;
pub mod host;
pub mod sighting;
pub mod tap;
pub mod traffic;
pub mod wire;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, PipeWriter};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use capture::Capture;
use host::Host;
use rustix::thread::{UnshareFlags, unshare_unsafe};
use wire::{End, Gauge, Mover, Terminal, Wire};

/// The network of one run of a scenario.
#[derive(Debug)]
pub struct Network {
    capture: Arc<Capture>,
    hosts: Vec<Arc<Host>>,
    wires: Vec<Running>,
    descriptions: Vec<WireDescription>,
}

/// A network in words, as it was built.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Description {
    /// The hosts.
    #[serde(rename = "host")]
    pub hosts: Vec<HostDescription>,
    /// The wires between them.
    #[serde(rename = "wire")]
    pub wires: Vec<WireDescription>,
}

/// A host in words.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct HostDescription {
    /// What the scenario calls it.
    pub name: &'static str,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Kernel parameters that it does not have by default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sysctls: Vec<String>,
}

/// A wire in words.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct WireDescription {
    /// The hosts at its near and its far end.
    pub between: [&'static str; 2],
    /// How long a frame is on its way, in microseconds.
    pub delay_us: u64,
    /// The hosts at whose end it is captured.
    pub captured_at: Vec<&'static str>,
    /// The tag that frames have on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// What goes wrong on it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// What a host has at its end of a wire.
#[derive(Clone, Copy, Debug)]
pub struct Plug<'a> {
    /// The host.
    pub host: &'a Host,
    /// The interface that the wire ends in; made for it.
    pub interface: &'static str,
    /// The interface's addresses, each with the length of its prefix.
    pub addresses: &'a [&'static str],
}

#[derive(Debug)]
struct Running {
    gauge: Arc<Gauge>,
    stop: PipeWriter,
    thread: JoinHandle<io::Result<()>>,
}

impl Network {
    /// A network of nothing yet; `comment` goes into its capture.
    pub fn new(comment: &str) -> Result<Self> {
        let capture = Arc::new(Capture::new(comment)?);
        Ok(Self { capture, hosts: Vec::new(), wires: Vec::new(), descriptions: Vec::new() })
    }

    /// Two hosts, `client` (10.0.0.1, fd00::1) and `server` (10.0.0.2, fd00::2), with `wire` between them.
    pub fn pair(&mut self, wire: Wire) -> Result<[Arc<Host>; 2]> {
        let [client, server] = [self.host("client")?, self.host("server")?];
        self.wire(
            Plug { host: &client, interface: "eth0", addresses: &["10.0.0.1/24", "fd00::1/64"] },
            Plug { host: &server, interface: "eth0", addresses: &["10.0.0.2/24", "fd00::2/64"] },
            wire,
        )?;
        Ok([client, server])
    }

    /// One more host.
    pub fn host(&mut self, name: &'static str) -> Result<Arc<Host>> {
        let host = Arc::new(Host::new(name)?);
        self.hosts.push(Arc::clone(&host));
        Ok(host)
    }

    /// Lays a wire between two hosts and sets it to work. Both know each other's hardware address from the start, so
    /// that no ARP stands in the capture.
    pub fn wire(&mut self, near: Plug<'_>, far: Plug<'_>, wire: Wire) -> Result<()> {
        let number = self.wires.len();
        let hardware = |end: u8| format!("02:00:00:00:{number:02x}:{end:02x}");
        let [mine, others] = [hardware(1), hardware(2)];
        let [near_tap, far_tap] = [near.plug_in(&mine, &others, &far)?, far.plug_in(&others, &mine, &near)?];
        self.descriptions.push(WireDescription {
            between: [near.host.name(), far.host.name()],
            delay_us: wire.delay.as_micros() as u64,
            captured_at: wire
                .captured
                .iter()
                .map(|end| if *end == End::Near { &near } else { &far }.host.name())
                .collect(),
            vlan: wire.vlan,
            faults: wire.faults.iter().map(|fault| fault.about.clone()).collect(),
        });
        let [near_terminal, far_terminal] =
            [(End::Near, &near, &far, near_tap), (End::Far, &far, &near, far_tap)].map(|(end, here, there, tap)| {
                let description = || format!("the end at {} of the wire to {}", here.host.name(), there.host.name());
                let interface =
                    wire.captured.contains(&end).then(|| self.capture.interface(here.interface, &description()));
                Terminal { tap, interface }
            });
        let gauge = Arc::new(Gauge::default());
        let (reader, stop) = io::pipe().context("making a pipe")?;
        let mover = Mover {
            near: near_terminal,
            far: far_terminal,
            wire,
            capture: Arc::clone(&self.capture),
            gauge: Arc::clone(&gauge),
            stop: reader,
        };
        self.wires.push(Running { gauge, stop, thread: thread::spawn(|| mover.run()) });
        Ok(())
    }

    /// The capture in the making.
    pub fn capture(&self) -> Arc<Capture> {
        Arc::clone(&self.capture)
    }

    /// What happens from now on is no part of the capture.
    pub fn stop_capture(&self) {
        self.capture.stop();
    }

    /// Waits until no frame is on its way and no socket but listening ones and those in TIME-WAIT is left, then takes
    /// the network down. Gives the capture, and the network in words.
    pub fn finish(self) -> Result<(Vec<u8>, Description)> {
        self.settle()?;
        let hosts = self.hosts.iter().map(|host| host.describe()).collect();
        for Running { stop, thread, .. } in self.wires {
            drop(stop);
            thread.join().map_err(|_| anyhow!("a wire panicked"))?.context("carrying frames")?;
        }
        Ok((self.capture.finish(), Description { hosts, wires: self.descriptions }))
    }

    fn settle(&self) -> Result<()> {
        const DEADLINE: Duration = Duration::from_secs(60);
        /// Longer than a delayed ACK waits (TCP_DELACK_MAX, 200 ms).
        const QUIET: Duration = Duration::from_millis(250);
        const PAUSE: Duration = Duration::from_millis(5);
        let start = Instant::now();
        let mut quiet_since = start;
        let mut read_before = u64::MAX;
        loop {
            let open = self.hosts.iter().map(|host| host.open_sockets()).sum::<Result<usize>>()?;
            let in_flight: usize = self.wires.iter().map(|wire| wire.gauge.in_flight.load(Ordering::Acquire)).sum();
            let read: u64 = self.wires.iter().map(|wire| wire.gauge.read.load(Ordering::Acquire)).sum();
            if open > 0 || in_flight > 0 || read != read_before {
                quiet_since = Instant::now();
                read_before = read;
            }
            if quiet_since.elapsed() >= QUIET {
                return Ok(());
            }
            ensure!(start.elapsed() < DEADLINE, "the network does not come to rest: {open} sockets are still open");
            thread::sleep(PAUSE);
        }
    }
}

impl Plug<'_> {
    /// Makes the interface; its neighbour on the wire is `other`.
    fn plug_in(&self, hardware: &str, neighbour: &str, other: &Plug<'_>) -> Result<File> {
        let Self { host, interface, addresses } = self;
        let tap = tap::open(host, interface)?;
        let mut lines = format!("link set {interface} address {hardware} up\n");
        for address in *addresses {
            // Nobody else has it: it is to be usable at once.
            let flag = if address.contains(':') { "nodad" } else { "" };
            let _ = writeln!(lines, "addr add {address} dev {interface} {flag}");
            host.note_address(address)?;
        }
        for address in other.addresses.iter().filter_map(|address| address.split('/').next()) {
            let _ = writeln!(lines, "neigh add {address} lladdr {neighbour} dev {interface} nud permanent");
        }
        host.ip(&lines)?;
        Ok(tap)
    }
}

/// Gives this process the rights that namespaces and interfaces take, where it has not got them: a user namespace in
/// which it is root. No thread may have been started yet.
pub fn acquire_rights() -> Result<()> {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    if user.is_root() {
        return Ok(());
    }
    // SAFETY: the descriptor table stays shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER) }
        .context("making a user namespace (labs take root, or a system that lets users make these)")?;
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1", user = user.as_raw())),
        ("gid_map", format!("0 {group} 1", group = group.as_raw())),
    ] {
        let path = format!("/proc/self/{file}");
        fs::write(&path, &text).with_context(|| format!("writing {text:?} to {path}"))?;
    }
    Ok(())
}

/// The running kernel's release.
pub fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}
