//! Hosts: network namespaces without names, so that nothing of them outlives this process, however it ends.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use socket2::{Domain, Protocol, Socket, Type};

use super::HostDescription;

/// How long a lab's server or client waits for the other before it is held to hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One host of a lab: a network namespace, its loopback up, IPv6 quiet until an address is given to it.
#[derive(Debug)]
pub struct Host {
    name: &'static str,
    namespace: OwnedFd,
    facts: Mutex<Facts>,
}

#[derive(Debug, Default)]
struct Facts {
    addresses: Vec<IpAddr>,
    sysctls: Vec<String>,
}

impl Host {
    /// A host of its own, without interfaces but loopback.
    pub fn new(name: &'static str) -> Result<Self> {
        let namespace = in_thread(|| {
            // SAFETY: the descriptor table stays shared: only the network namespace of this short-lived thread changes.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
            File::open("/proc/thread-self/ns/net").map(OwnedFd::from)
        })
        .with_context(|| format!("making a network namespace for {name}"))?;
        let host = Self { name, namespace, facts: Mutex::default() };
        host.ip("link set lo up")?;
        // Router solicitations and duplicate address detection would come at times of their own.
        for name in ["accept_dad", "router_solicitations"] {
            host.write_sysctl(&format!("net.ipv6.conf.default.{name}"), "0")?;
        }
        Ok(host)
    }

    /// What the scenario calls it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The host in words.
    pub fn describe(&self) -> HostDescription {
        let facts = self.facts();
        let addresses = facts.addresses.iter().map(ToString::to_string).collect();
        HostDescription { name: self.name, addresses, sysctls: facts.sysctls.clone() }
    }

    /// Its first IPv4 address, as a place to listen at or connect to.
    pub fn at(&self, port: u16) -> Result<SocketAddr> {
        self.first_address(port, IpAddr::is_ipv4)
    }

    /// Its first IPv6 address, as a place to listen at or connect to.
    pub fn at_v6(&self, port: u16) -> Result<SocketAddr> {
        self.first_address(port, IpAddr::is_ipv6)
    }

    fn first_address(&self, port: u16, family: fn(&IpAddr) -> bool) -> Result<SocketAddr> {
        let address = self.facts().addresses.iter().copied().find(family);
        Ok(SocketAddr::new(address.with_context(|| format!("{} has no such address", self.name))?, port))
    }

    /// Takes note of an address, with its prefix length, that an interface was given.
    pub fn note_address(&self, address: &str) -> Result<()> {
        let ip = address.split('/').next().unwrap_or(address);
        let ip = ip.parse().with_context(|| format!("{address} is no address for {}", self.name))?;
        self.facts().addresses.push(ip);
        Ok(())
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in a thread inside the namespace. A socket made there stays there, whoever uses it.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        in_thread(|| {
            move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        })
    }

    /// Runs `ip` in the namespace, once for all `lines`, each a command without the leading `ip`.
    pub fn ip(&self, lines: &str) -> Result<()> {
        self.command("ip", &["-batch", "-"], lines)
    }

    fn command(&self, program: &str, arguments: &[&str], input: &str) -> Result<()> {
        let started = || format!("running `{program}` on {} over: {input}", self.name);
        let output = self
            .enter(|| {
                let mut command = Command::new(program);
                command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
                let mut child = command.spawn()?;
                let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
                let output = child.wait_with_output()?;
                // A program that ends early says on standard error why; that it did not read on is no news.
                written.or_else(|e| if e.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(e) })?;
                Ok(output)
            })
            .with_context(started)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {}", started(), said.trim());
        Ok(())
    }

    /// Sets a kernel parameter of the namespace, by the name that `sysctl` has for it.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        self.facts().sysctls.push(format!("{name}={value}"));
        self.write_sysctl(name, value)
    }

    fn write_sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.enter(|| fs::write(&path, value)).with_context(|| format!("setting {name} to {value} on {}", self.name))
    }

    /// A TCP socket of the family of `to`.
    pub fn socket(&self, to: SocketAddr) -> Result<Socket> {
        self.enter(|| Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP)))
            .with_context(|| format!("making a TCP socket on {}", self.name))
    }

    /// A server at `at`.
    pub fn listen(&self, at: SocketAddr) -> Result<Listener> {
        self.listen_with(at, |_| Ok(()))
    }

    /// A server at `at`, whose socket `prepare` sees before it listens: accepted sockets inherit what is set there.
    pub fn listen_with(&self, at: SocketAddr, prepare: impl FnOnce(&Socket) -> io::Result<()>) -> Result<Listener> {
        const BACKLOG: i32 = 1024;
        let socket = self.socket(at)?;
        let listening = || {
            socket.set_reuse_address(true)?;
            prepare(&socket)?;
            socket.bind(&at.into())?;
            socket.listen(BACKLOG)
        };
        listening().with_context(|| format!("listening at {at} on {}", self.name))?;
        Ok(Listener { socket, at })
    }

    /// Connects to `to`.
    pub fn connect(&self, to: SocketAddr) -> Result<TcpStream> {
        self.connect_with(to, |_| Ok(()))
    }

    /// Connects to `to` with a socket that `prepare` sees before.
    pub fn connect_with(&self, to: SocketAddr, prepare: impl FnOnce(&Socket) -> io::Result<()>) -> Result<TcpStream> {
        let socket = self.socket(to)?;
        prepare(&socket)
            .and_then(|()| socket.connect(&to.into()))
            .with_context(|| format!("connecting to {to} from {}", self.name))?;
        patient(socket)
    }

    /// How many TCP sockets of the namespace are neither listening nor in TIME-WAIT.
    pub fn open_sockets(&self) -> Result<usize> {
        let lines = self
            .enter(|| {
                let mut text = fs::read_to_string("/proc/thread-self/net/tcp")?;
                // Absent where the kernel has no IPv6.
                text.push_str(&fs::read_to_string("/proc/thread-self/net/tcp6").unwrap_or_default());
                Ok(text)
            })
            .with_context(|| format!("reading the sockets of {}", self.name))?;
        const TIME_WAIT: &str = "06";
        const LISTEN: &str = "0A";
        let states = lines.lines().filter_map(|line| line.split_ascii_whitespace().nth(3));
        Ok(states.filter(|state| *state != "st" && *state != TIME_WAIT && *state != LISTEN).count())
    }
}

/// A listening socket that does not wait for ever.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    at: SocketAddr,
}

impl Listener {
    /// The next connection.
    pub fn accept(&self) -> Result<TcpStream> {
        // SO_RCVTIMEO holds for accept as well.
        self.socket
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| self.socket.accept())
            .with_context(|| format!("accepting a connection at {}", self.at))
            .and_then(|(socket, _)| patient(socket))
    }
}

/// A stream whose reads and writes do not wait for ever.
pub fn patient(socket: Socket) -> Result<TcpStream> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

fn in_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|panic| Err(io::Error::other(anyhow!("a thread of the lab panicked: {panic:?}"))))
}
