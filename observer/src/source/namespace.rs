//! Network namespaces: which there are, and going into one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, SockAddr, Socket, Type};

/// Where namespaces that have a name are kept (ip-netns(8)).
const NAMED: &str = "/run/netns";

/// Inode of the namespace that this thread is in.
pub fn own() -> Result<u32> {
    inode("/proc/thread-self/ns/net").context("reading this process's network namespace")
}

/// Every network namespace that a process is in or that has a name: its inode, and where it can be entered.
pub fn all() -> BTreeMap<u32, PathBuf> {
    let mut found = BTreeMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let of_processes = processes
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit())))
        .map(|entry| entry.path().join("ns/net"));
    let named = fs::read_dir(NAMED).into_iter().flatten().flatten().map(|entry| entry.path());
    let device = device();
    // Names stay when processes end; of those, the oldest come first.
    for path in named.chain(of_processes) {
        if let Some(data) = fs::metadata(&path).ok().filter(|data| device == Some(data.dev())) {
            found.entry(data.ino() as u32).or_insert(path);
        }
    }
    found
}

/// What ip-netns(8) calls those namespaces that it has named, by their inodes.
pub fn names() -> BTreeMap<u32, String> {
    let device = device();
    let entries = fs::read_dir(NAMED).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| {
        let data = fs::metadata(entry.path()).ok().filter(|data| device == Some(data.dev()))?;
        Some((data.ino() as u32, entry.file_name().to_string_lossy().into_owned()))
    });
    named.collect()
}

/// The device that files of namespaces are on (nsfs). Before its namespace is mounted on it, and after, the name of one is
/// an empty file on another.
fn device() -> Option<u64> {
    Some(fs::metadata("/proc/thread-self/ns/net").ok()?.dev())
}

/// Where the namespace with this inode can be entered.
pub fn path_of(inode: u32) -> Result<PathBuf> {
    let path = all().remove(&inode);
    path.with_context(|| format!("there is no network namespace {inode}, or it is hidden from this user"))
}

/// Inode of the namespace that a process is in; `None` where it has ended or does not show it.
pub fn of_process(pid: u32) -> Option<u32> {
    Some(fs::metadata(format!("/proc/{pid}/ns/net")).ok()?.ino() as u32)
}

/// Inode of the namespace that ip-netns(8) calls `name`.
pub fn named(name: &str) -> Result<u32> {
    inode(std::path::Path::new(NAMED).join(name)).with_context(|| format!("there is no network namespace {name}"))
}

fn inode(path: impl Into<PathBuf>) -> Result<u32> {
    let path = path.into();
    let data = fs::metadata(&path).with_context(|| format!("looking at {}", path.display()))?;
    ensure!(device() == Some(data.dev()), "{} is no namespace", path.display());
    Ok(data.ino() as u32)
}

/// Does something in another namespace, on a thread of its own that ends there.
pub fn within<T: Send>(path: &PathBuf, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let namespace = File::open(path).with_context(|| format!("opening the network namespace {}", path.display()))?;
    std::thread::scope(|scope| {
        let enter = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).with_context(|| {
                format!("entering the network namespace {} (this takes CAP_SYS_ADMIN)", path.display())
            })?;
            work()
        });
        enter.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A packet socket of this thread's namespace that receives nothing yet.
pub fn packet_socket() -> Result<Socket> {
    Socket::new(Domain::PACKET, Type::DGRAM, None).context("opening a packet socket (this takes CAP_NET_RAW)")
}

/// `struct sockaddr_ll` of include/uapi/linux/if_packet.h.
#[repr(C)]
struct LinkAddress {
    family: u16,
    protocol: u16,
    interface: i32,
    hardware: u16,
    kind: u8,
    len: u8,
    address: [u8; 8],
}

/// Protocols of packets (include/uapi/linux/if_ether.h): all of them, and IPv6.
pub const ETH_P_ALL: u16 = 3;
pub const ETH_P_IPV6: u16 = 0x86dd;

/// Lets a packet socket receive what is of a protocol from the interface of its namespace with this index, or from all with 0:
/// what arrives, and what leaves unless that is seen elsewhere, because the kernel clones it for each socket.
pub fn open_up(socket: &Socket, interface: u32, protocol: u16, leaving: bool) -> Result<()> {
    const AF_PACKET: u16 = 17;
    if !leaving {
        ignore_outgoing(socket)?;
    }
    let address = LinkAddress {
        family: AF_PACKET,
        protocol: protocol.to_be(),
        interface: interface.cast_signed(),
        hardware: 0,
        kind: 0,
        len: 0,
        address: [0; 8],
    };
    let size = size_of::<LinkAddress>();
    // SAFETY: the storage is larger than the address and aligned for any; the length says how much was written.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, len| {
            storage.cast::<LinkAddress>().write(address);
            *len = size as _;
            Ok(())
        })
    }?;
    socket.bind(&address).with_context(|| format!("binding a packet socket to the interface with index {interface}"))
}

/// packet(7), PACKET_IGNORE_OUTGOING: since Linux 4.20.
fn ignore_outgoing(socket: &Socket) -> Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: the option's value is an int, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_IGNORE_OUTGOING,
            std::ptr::from_ref(&yes).cast(),
            size_of_val(&yes) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).context("leaving out what leaves") }
}
